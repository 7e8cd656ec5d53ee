"""The parallel environment: N accounts, one market, one clock."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.env.crowd_rows import see_accounts, step_crowd
from cryptoenv.env.episode import (
    ACCOUNT_OBSERVATION,
    BAR,
    CLOCK_WIDTH,
    END,
    EPISODE,
    MARKET,
    SEED,
    SEED_MASK,
    begin_episode,
    copy_window,
    mask_row,
)
from cryptoenv.env.single import CUMULATIVE, EXIT_KINDS, NOT_FILLED, ONLY_ROW, ORDER_STATUSES
from cryptoenv.env.spec import CASH_RANGE, EnvironmentSpec, numbers_of
from cryptoenv.files.typed_values import Range, number, whole
from cryptoenv.market.funding_files import FundingArgument
from cryptoenv.market.pool import MarketArgument
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FILL_PRICE,
    FILL_QUANTITY,
    ORDER_STATUS,
    RUINED,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
)
from cryptoenv.trading.config import (
    EXPOSURE_LIMIT,
    Costs,
    Instrument,
    RiskLimits,
    Sizing,
    VenueRules,
)
from cryptoenv.trading.rewards import RewardFunction, finite_reward
from cryptoenv.trading.shared_market import NOTES_WIDTH
from synthetic.installation import install_hint

try:
    from pettingzoo import ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"cryptoenv.multi_agent needs pettingzoo: {install_hint('multi-agent')}", name=error.name
    ) from error

RESET_OPTIONS = ("market", "start", "exposure")
RENDER_MODES = ("ansi",)
MOST_AGENTS = 4096
NO_TARGET = 0.0
OF_STEP = {
    "step_fees": STEP_FEES, "step_slippage": STEP_SLIPPAGE, "step_funding": STEP_FUNDING, "step_borrow": STEP_BORROW,
}  # fmt: skip
Observation = dict[str, NDArray[Any]]
Results = dict[str, Any]


class MultiAgentTradeEnv(ParallelEnv[str, Observation, Any]):
    """`CryptoTrade-v0` for several agents that trade the same bars: each its own account, one market, shared impact.

    Every agent sees and does what the agent of `CryptoTradeEnv` does, and pays by the same kernel; with one agent this
    env is that one, bit for bit. What agents do to each other is in `cryptoenv.trading.shared_market`: orders of one
    side at one open fill at the square-root impact of their whole flow, and together take no more than
    `limits.participation` of the bar's volume. The bars, and with them what is observed of the market, do not change.

    Agents are called "trader_0", "trader_1", ... One that is ruined terminates, and the others go on without it; all
    are truncated at the end of the episode. Spaces, observations, rewards and infos of each agent are those of
    `CryptoTradeEnv` (`action_mask` as int8, which `sample` of an action space takes); `state()` is what all of them see
    together. `pettingzoo.utils.parallel_to_aec(env)` is the same
    for libraries that let agents take turns.

    Args:
        agents: how many, 1 to 4096.
        market, split, timeframes, window, instrument, actions, observation, reward, costs, limits, rules, sizing,
            reward_adaptation, episode_bars, random_start, markets, days, funding: as `CryptoTradeEnv`, for all agents.
        initial_cash: quote currency at the start of an episode, of each agent, or a sequence of one for each.
        render_mode: None, or "ansi": the accounts as a table.

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is.

    Example:
        >>> from cryptoenv.multi_agent import MultiAgentTradeEnv
        >>> env = MultiAgentTradeEnv(2, "easy", window=(4, 2, 1), episode_bars=96, initial_cash=(1e4, 1e6))
        >>> observations, infos = env.reset(seed=0)
        >>> while env.agents:
        ...     actions = {agent: 2 for agent in env.agents}
        ...     observations, rewards, terminations, truncations, infos = env.step(actions)
        >>> infos["trader_0"]["step_fees"], truncations
        (0.0, {'trader_0': True, 'trader_1': True})
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "name": "cryptoenv_trade_v0", "render_modes": list(RENDER_MODES), "is_parallelizable": True,
    }  # fmt: skip

    def __init__(
        self,
        agents: int = 2,
        market: MarketArgument = None,
        *,
        split: str = "train",
        timeframes: Sequence[str] | None = None,
        window: Sequence[int] | None = None,
        instrument: Instrument = "perpetual",
        actions: Sequence[float] | str | None = None,
        observation: str = "window",
        reward: str | dict[str, float] | RewardFunction = "log_return",
        costs: Costs | None = None,
        limits: RiskLimits | None = None,
        rules: VenueRules | None = None,
        sizing: Sizing | None = None,
        reward_adaptation: float = 0.01,
        initial_cash: float | Sequence[float] = 10_000.0,
        episode_bars: int = 2880,
        random_start: bool = True,
        markets: int | str | None = None,
        days: int | None = None,
        funding: FundingArgument = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(f"render_mode={render_mode!r} is unknown; choose None or one of {RENDER_MODES}")
        self.render_mode = render_mode
        count = whole("agents", agents, Range(1, MOST_AGENTS), "agents")
        self.possible_agents = [f"trader_{i}" for i in range(count)]
        self.agents: list[str] = []
        self.cash = checked_cash(initial_cash, count)  #: (N,) quote currency that each begins with
        self.setup = EnvironmentSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, rules=rules, sizing=sizing,
            reward_adaptation=reward_adaptation, initial_cash=self.cash[0], episode_bars=episode_bars,
            random_start=random_start, markets=markets, days=days, funding=funding,
        )  # fmt: skip
        self.observation_spaces = {name: copy.deepcopy(self.setup.observation_space) for name in self.possible_agents}
        self.action_spaces = {name: copy.deepcopy(self.setup.action_space) for name in self.possible_agents}
        self._accounts = np.zeros((count, ACCOUNT_WIDTH), dtype=np.float64)
        self._notes = np.zeros((count, NOTES_WIDTH), dtype=np.float64)
        self._rewards = np.zeros(count, dtype=np.float64)
        self._targets = np.full(count, NO_TARGET, dtype=np.float64)
        self._trades = np.zeros(count, dtype=np.bool_)
        self._clock = np.zeros(CLOCK_WIDTH, dtype=np.int64)
        self._begun = False

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The observation space of an agent, the same object every time."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The action space of an agent, the same object every time."""
        return self.action_spaces[agent]

    @property
    def state_space(self) -> spaces.Box:
        """Of `state()`."""
        return spaces.Box(-np.inf, np.inf, shape=self.state().shape, dtype=np.float32)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Begin an episode for all agents; it is the one that `CryptoTradeEnv` begins with the same seed.

        Args:
            seed: restarts the sequence of episodes; same seed, same episodes.
            options: any of `market`, `start` and `exposure`, as of `CryptoTradeEnv`; exposure is a number for all, or a
                dict by agent. Others are left aside with a warning, as PettingZoo's own tests expect.

        Returns:
            First observations and infos, by agent.

        Raises:
            ValueError, TypeError: an option out of range.
        """
        given = dict(options or {})
        for name in [name for name in given if name not in RESET_OPTIONS]:
            gym.logger.warn(f"reset option {name!r} is unknown, and left aside; known are {RESET_OPTIONS}")
            del given[name]
        market, start = self.setup.checked_start(given)
        exposures = self._checked_exposures(given.get("exposure", 0.0))
        clock = self._clock
        if seed is not None or not self._begun:
            _, drawn = gym.utils.seeding.np_random(seed)
            clock[SEED], clock[EPISODE] = int(drawn) & SEED_MASK, 0
            self._begun = True
        else:
            clock[EPISODE] += 1
        place = int(self.setup.visits.prepare(clock[None], ONLY_ROW, np.array([market]))[0])
        for i, exposure in enumerate(exposures):
            rules = self.setup.episode_rules._replace(cash=self.cash[i])
            begin_episode(self._accounts[i], clock, self.setup.world, rules, place, start, exposure)
        self._trades[:] = True
        self.agents = list(self.possible_agents)
        return self._seen(self.agents), {name: self._info(name) for name in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Ask for each agent's target exposure, and go on to the close of the next bar.

        Args:
            actions: one for every agent that is still there, as of `CryptoTradeEnv`.

        Returns:
            Observations, rewards, terminations, truncations and infos, by agent.

        Raises:
            ValueError: an action that is missing, of an agent that is not there, NaN or out of range; the agent and
                the bar are named. RuntimeError: no episode is running.
        """
        if not self.agents:
            raise RuntimeError("the episode is over (or none was begun): call reset() before step()")
        if set(actions) != set(self.agents):
            lacking, strange = sorted(set(self.agents) - set(actions)), sorted(set(actions) - set(self.agents))
            raise ValueError(f"pass one action for each of {self.agents}: lacking are {lacking}, unknown {strange}")
        targets = [self._target(name, actions[name]) for name in self.agents]  # all, before any counts
        numbers = [self._number(name) for name in self.agents]
        self._targets[numbers] = targets
        step_crowd(
            self._accounts, self._clock, self.setup.world, self._targets, self._trades, self._notes, self._rewards
        )
        acted, bar = self.agents, int(self._clock[BAR])
        rewards = {name: self._reward(i, bar) for name, i in zip(acted, numbers, strict=True)}
        ruined = {name: bool(self._accounts[i, RUINED]) for name, i in zip(acted, numbers, strict=True)}
        over = bar >= int(self._clock[END])
        truncated = {name: over and not ruined[name] for name in acted}
        self._trades[numbers] = [not (over or ruined[name]) for name in acted]
        self.agents = [name for name in acted if self._trades[self._number(name)]]
        return self._seen(acted), rewards, ruined, truncated, {name: self._info(name) for name in acted}

    def state(self) -> NDArray[np.float32]:
        """What all agents see together, (S,) float32: the market's windows (or its index) once, then every account."""
        seen = self._seen(self.possible_agents)
        shared = [array.reshape(-1) for name, array in seen[self.possible_agents[0]].items() if name != "account"]
        accounts = [seen[name]["account"] for name in self.possible_agents]
        return np.concatenate([*shared, *accounts]).astype(np.float32)

    def render(self) -> str | None:  # type: ignore[override]
        """The accounts as text with `render_mode="ansi"`; None and a warning without a render mode."""
        if self.render_mode is None:
            gym.logger.warn(f"render() shows nothing without a render_mode: make the env with one of {RENDER_MODES}")
            return None
        lines = [f"bar {int(self._clock[BAR])}  close {self._accounts[0, CLOSE_PRICE]:g}"]
        for i, name in enumerate(self.possible_agents):
            account = self._accounts[i]
            gone = "" if self._trades[i] else "  (gone)"
            lines.append(f"{name:12s} equity {account[EQUITY]:14.2f}  exposure {account[EXPOSURE]:+7.3f}{gone}")
        return "\n".join(lines)

    def close(self) -> None:
        """Nothing is held open."""

    def action_masks(self, agent: str) -> NDArray[np.bool_]:
        """(A,) bool: which actions of an agent would be accepted now, from what is known at the close.

        Raises:
            AttributeError: continuous actions have no mask.
        """
        if self.setup.targets is None:
            raise AttributeError("continuous actions have no mask; pass a tuple of actions")
        mask = np.ones(len(self.setup.targets), dtype=np.bool_)
        if self.setup.masks_actions:
            mask_row(self._accounts[self._number(agent)], self._clock, self.setup.world, self.setup.targets, mask)
        return mask

    def _number(self, agent: str) -> int:
        return int(agent.removeprefix("trader_"))

    def _checked_exposures(self, given: Any) -> list[float]:
        """Starting exposures of all agents."""
        if not isinstance(given, Mapping):
            return [self.setup.checked_exposure(given)] * len(self.possible_agents)
        strange = sorted(set(given) - set(self.possible_agents))
        if strange:
            raise ValueError(f"options['exposure'] names {strange}; agents are {self.possible_agents}")
        return [self.setup.checked_exposure(given.get(name, 0.0)) for name in self.possible_agents]

    def _target(self, agent: str, action: Any) -> float:
        """Target exposure of an agent's action."""
        told = f"action of {agent} at bar {int(self._clock[BAR])}"
        value = numbers_of(action, told)
        targets, low = self.setup.targets, self.setup.lowest_action
        if targets is not None:
            if value.size == 1 and value.dtype.kind in "iu" and 0 <= value.item() < len(targets):
                return float(targets[int(value.item())])
            raise ValueError(f"{told} is {action!r}: pass a whole number from 0 to {len(targets) - 1}")
        if value.size == 1 and value.dtype.kind in "fiu" and low <= value.item() <= 1.0:
            return float(value.item()) * self.setup.limit
        raise ValueError(f"{told} is {action!r}: pass one finite number in [{low}, 1.0]")

    def _reward(self, i: int, bar: int) -> float:
        function = self.setup.reward_function
        return float(self._rewards[i]) if function is None else finite_reward(function, self._accounts[i], bar)

    def _seen(self, agents: Sequence[str]) -> dict[str, Observation]:
        """Observations of agents, each in memory of its own."""
        accounts = np.empty((len(self.possible_agents), ACCOUNT_OBSERVATION), dtype=np.float32)
        see_accounts(self._accounts, self.setup.world.parameters[EXPOSURE_LIMIT], accounts)
        market: Observation = {}
        if self.setup.observation == "index":
            market["index"] = self._clock[[MARKET, BAR]]
        else:
            window = partial(copy_window, self.setup.world.table, self._clock)
            for k, name in enumerate(self.setup.pool.timeframes):
                market[name] = np.empty(self.setup.observation_space.spaces[name].shape or (), dtype=np.float32)
                window(k, market[name].reshape(-1), len(market[name]))
        return {
            name: {**{key: array.copy() for key, array in market.items()}, "account": accounts[self._number(name)]}
            for name in agents
        }

    def _info(self, agent: str) -> dict[str, Any]:
        """What `CryptoTradeEnv` says in `info`, of an agent's account."""
        row = self._accounts[self._number(agent)].tolist()
        info: dict[str, Any] = {
            "equity": row[EQUITY], "exposure": row[EXPOSURE], "close": row[CLOSE_PRICE],
            "fill_price": row[FILL_PRICE] if row[FILL_QUANTITY] else NOT_FILLED, "fill_quantity": row[FILL_QUANTITY],
            "order_status": ORDER_STATUSES[int(row[ORDER_STATUS])], "exit_kind": EXIT_KINDS[int(row[EXIT_KIND])],
            "exit_price": row[EXIT_PRICE] if row[EXIT_KIND] else NOT_FILLED, "ruined": row[RUINED] == 1.0,
            "bar": int(self._clock[BAR]), "market": int(self.setup.visits.numbers(self._clock[MARKET : MARKET + 1])[0]),
        }  # fmt: skip
        info |= {name: row[column] for name, column in (CUMULATIVE | OF_STEP).items()}
        if self.setup.targets is not None:
            info["action_mask"] = self.action_masks(agent).astype(np.int8)  # what `Discrete.sample` takes
        return info


def checked_cash(cash: float | Sequence[float], agents: int) -> list[float]:
    """What each of N agents begins with, one number for all or one each.

    Raises:
        ValueError: another number of them, or an amount out of range. TypeError: no number.
    """
    amounts = list(cash) if isinstance(cash, (list, tuple, np.ndarray)) else [cash] * agents
    if len(amounts) != agents:
        raise ValueError(f"initial_cash has {len(amounts)} amounts; pass one number, or one for each of the {agents}")
    return [number("initial_cash", amount, Range(*CASH_RANGE), "amounts of quote currency") for amount in amounts]


parallel_env = MultiAgentTradeEnv  # as PettingZoo's own environments are called
