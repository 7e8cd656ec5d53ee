"""The native vector environment of portfolios: one jitted call steps N accounts. Shapes: `N` envs, `A` assets."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, CLOCK_WIDTH, END, ENDED, EPISODE
from cryptoenv.env.market_visits import any_ended
from cryptoenv.env.portfolio.episode import (
    ACCOUNT_FIELDS,
    ACCOUNT_SHOWN,
    ASSET_FIELDS,
    ASSET_SHOWN,
    PortfolioRows,
    PortfolioSeen,
    begin_portfolios,
    copy_portfolio_windows,
    see_portfolios,
    step_portfolios,
)
from cryptoenv.env.portfolio.saved_state import PortfolioState, put_portfolios, taken_portfolios
from cryptoenv.env.portfolio.shared_rows import (
    copy_portfolio_windows_shared,
    copying_portfolios,
    step_portfolios_shared,
    stepping_portfolios,
)
from cryptoenv.env.portfolio.spec import PortfolioArgument, PortfolioSpec
from cryptoenv.env.recycled_memory import RecycledMemory
from cryptoenv.env.row_arguments import checked_mask
from cryptoenv.env.saved_state import copies
from cryptoenv.env.seeds import seed_rows
from cryptoenv.env.spec import checked_options
from cryptoenv.env.stepping_threads import granted_threads, helping
from cryptoenv.files.typed_values import whole
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.config import Costs, Instrument, PortfolioLimits, RiskLimits, Sizing, VenueRules
from cryptoenv.trading.portfolio_account import POSITION_WIDTH
from cryptoenv.trading.rewards import RewardFunction, batched_reward

RESET_OPTIONS = ("market", "start", "weights", "reset_mask")
PARALLEL_ROWS = 512  #: assets of all rows from which stepping pays for waking a helper
PARALLEL_CELLS = 262_144  #: window cells (N * A * W * F) from which copying does
Observation = dict[str, NDArray[Any]]


def empty_portfolios(n: int, assets: int) -> PortfolioRows:
    """Fresh memory for the state of `n` environments of `assets` assets."""
    return PortfolioRows(
        np.zeros((n, ACCOUNT_WIDTH)),
        np.zeros((n, assets, POSITION_WIDTH)),
        np.zeros((n, CLOCK_WIDTH), dtype=np.int64),
        np.zeros((n, assets)),
    )


def portfolio_memory(n: int, assets: int, memory: RecycledMemory) -> PortfolioSeen:
    """Memory for what `n` environments of `assets` assets show, which nobody else uses."""
    return PortfolioSeen(
        memory.array("rewards", (n,), np.float64),
        memory.array("terminated", (n,), np.bool_),
        memory.array("truncated", (n,), np.bool_),
        memory.array("assets", (n, assets, len(ASSET_FIELDS)), np.float32),
        memory.array("account", (n, len(ACCOUNT_FIELDS)), np.float32),
        memory.array("places", (n, 2), np.int64),
        memory.array("shown", (n, len(ACCOUNT_SHOWN)), np.float64),
        memory.array("held", (n, assets, len(ASSET_SHOWN)), np.float64),
        memory.array("kinds", (2, n, assets), np.int8),
        memory.array("tradable", (n, assets), np.bool_),
        memory.array("ruined", (n,), np.bool_),
    )


def told(seen: PortfolioSeen) -> dict[str, Any]:
    """Infos of all N rows, by what they show."""
    info: dict[str, Any] = {name: seen.shown[:, c] for c, name in enumerate(ACCOUNT_SHOWN)}
    info.update({name: seen.held[:, :, c] for c, name in enumerate(ASSET_SHOWN)})
    info["market"], info["bar"] = seen.places[:, 0], seen.places[:, 1]
    info["order_status"], info["exit_kind"] = seen.kinds
    info["tradable"], info["ruined"] = seen.tradable, seen.ruined
    return info


class CryptoPortfolioVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """N independent `CryptoPortfolio-v0` accounts, stepped together; see `CryptoPortfolioEnv` for what they do.

    Row `i` reset with `seed` equals a single env reset with `seed + i` (or `seed[i]`), later episodes included. Infos
    are dicts of (N,) and (N, A) arrays. Rows are stepped by several threads where there are many; the bits are the
    same. Results share no memory with any that is still in use; memory that nobody refers to any more is used again.

    Args:
        num_envs: N, 1 or more.
        autoreset_mode: NEXT_STEP (default), SAME_STEP or DISABLED, as Gymnasium defines them; final observations and
            infos as `CryptoTradeVectorEnv` gives them.
        copy: False reuses the arrays of the last call's results (keep none of them).
        stagger: True spreads the ends of episodes: where a reset begins all rows, row `i` has the first `1 - i / N` of
            the steps of its episode and is truncated then; see `CryptoTradeVectorEnv`.
        render_mode: None; use a single env to render.
        max_episode_steps: None; Gymnasium's name for `episode_bars`, which is to be given instead.
        market, split, timeframes, window, instrument, actions, observation, reward, costs, limits, portfolio_limits,
            rules, sizing, reward_adaptation, initial_cash, episode_bars, random_start, all_listed, portfolios, days:
            as `CryptoPortfolioEnv`.

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> import cryptoenv
        >>> envs = gym.make_vec("CryptoPortfolio-v0", num_envs=3, observation="index", portfolios=1, days=5)
        >>> observations, infos = envs.reset(seed=0)
        >>> observations, rewards, terminated, truncated, infos = envs.step(np.full((3, 4), 0.25))
        >>> observations["assets"].shape, infos["exposures"].shape
        ((3, 4, 5), (3, 4))
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
        market: PortfolioArgument = None,
        *,
        split: str = "train",
        timeframes: Sequence[str] | None = None,
        window: Sequence[int] | None = None,
        instrument: Instrument = "perpetual",
        actions: str = "weights",
        observation: str = "window",
        reward: str | dict[str, float] | RewardFunction = "log_return",
        costs: Costs | None = None,
        limits: RiskLimits | None = None,
        portfolio_limits: PortfolioLimits | None = None,
        rules: VenueRules | None = None,
        sizing: Sizing | None = None,
        reward_adaptation: float = 0.01,
        initial_cash: float = 10_000.0,
        episode_bars: int = 2880,
        random_start: bool = True,
        all_listed: bool = True,
        portfolios: int | None = None,
        days: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        copy: bool = True,
        stagger: bool = False,
        render_mode: str | None = None,
        max_episode_steps: None = None,
    ) -> None:
        if max_episode_steps is not None:
            raise TypeError("max_episode_steps is not for this env: pass episode_bars=, the steps of an episode")
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r} is unknown to the vector env; use a single env to render")
        self.num_envs = whole("num_envs", num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}  # type: ignore[misc]
        self.setup = PortfolioSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, portfolio_limits=portfolio_limits,
            rules=rules, sizing=sizing, reward_adaptation=reward_adaptation, initial_cash=initial_cash,
            episode_bars=episode_bars, random_start=random_start, all_listed=all_listed, portfolios=portfolios,
            days=days,
        )  # fmt: skip
        self.single_observation_space, self.single_action_space = self.setup.observation_space, self.setup.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        for name, value in (("copy", copy), ("stagger", stagger)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name}={value!r} must be True or False")
        self.staggers = bool(stagger)  #: whether a reset of all rows cuts their first episodes to different lengths
        self.copies = bool(copy)  #: whether results stay as they are
        function = self.setup.reward_function
        self._custom_reward = None if function is None else batched_reward(function)
        self._rows = empty_portfolios(self.num_envs, len(self.setup.names))
        self._memory = RecycledMemory()
        self._reused: PortfolioSeen | None = None
        self._windows: Observation = {}  # of the last call, with copy=False
        self._started, self._cut_short = False, False
        self._threads = granted_threads()

    def reset(  # type: ignore[override]
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every row (or where `options["reset_mask"]` is True).

        Args:
            seed: row `i` gets `seed + i`, or `seed[i]`; a `numpy.random.SeedSequence` is spread over the rows. For runs
                that are to be independent pass `cryptoenv.spread_seeds(seed, N)`.
            options: `market`, `start` (one for all rows, or (N,)), `weights` ((A,) or (N, A), held from the start),
                `reset_mask` ((N,) bool).

        Raises:
            ValueError, TypeError: an unknown option, or one out of range, with the row.
        """
        given = checked_options(options, RESET_OPTIONS)
        mask = checked_mask(given.pop("reset_mask", None), self.num_envs)
        if not self._started and not mask.all():
            raise ValueError("the first reset must be of all rows: leave options['reset_mask'] out")
        starts = self.setup.checked_starts(given, self.num_envs)
        beginning, rows, clocks = np.flatnonzero(mask), self._rows, self._rows.clocks
        self._cut_short = False
        seed_rows(self, clocks, seed, mask, self._started, self.setup.drawn_from)
        self.setup.prepare(clocks, beginning, starts.markets[beginning])
        begin_portfolios(mask, rows, self.setup.world, self.setup.episode_rules, *starts)
        if self.staggers and mask.all():
            steps = clocks[:, END] - clocks[:, BAR]
            clocks[:, END] -= steps * np.arange(self.num_envs) // self.num_envs
        self._started = True
        return self._shown()

    def _seen(self) -> PortfolioSeen:
        """Memory for what the rows show; with `copy=False` that of the last call."""
        if self._reused is None or self.copies:
            self._reused = None  # of the last call: nobody else may refer to it now
            self._reused = portfolio_memory(self.num_envs, len(self.setup.names), self._memory)
        return self._reused

    def _shown(self) -> tuple[Observation, dict[str, Any]]:
        seen = self._seen()
        see_portfolios(self._rows, self.setup.world, seen)
        return self._observation(seen, self.copies), told(seen)

    def _observation(self, seen: PortfolioSeen, fresh: bool) -> Observation:
        """Observations of all rows; with `fresh` windows are in memory that nobody else uses."""
        own: Observation = {"assets": seen.assets, "account": seen.account}
        if self.setup.observation == "index":
            return {"index": seen.places, **own}
        windows, clocks, table = self._windows, self._rows.clocks, self.setup.world.table
        if fresh or not windows:
            windows = {}
            for name in self.setup.timeframes:
                shape = (self.num_envs, *self.setup.observation_space[name].shape)  # type: ignore[misc]
                windows[name] = self._memory.array(name, shape, np.float32)
        if not fresh:
            self._windows = windows
        cells = sum(window.size for window in windows.values())
        board = helping(self._threads) if cells >= PARALLEL_CELLS else None
        if board is None:
            for k, window in enumerate(windows.values()):
                copy_portfolio_windows(clocks, table, k, window)
        else:
            outs = np.array([(window.ctypes.data, *window.shape[2:]) for window in windows.values()])
            assets = len(self.setup.names)
            copy_portfolio_windows_shared(clocks, table, assets, outs, board, copying_portfolios())
        return {**windows, **own}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row.

        Args:
            actions: (N, A) weights, or (N, A + 1) with `actions="simplex"`.

        Returns:
            Observations, rewards (N,) float64, terminated (N,) bool, truncated (N,) bool, infos.

        Raises:
            ValueError: an action that is NaN or out of range, with its row. RuntimeError: not reset yet, or, with
                DISABLED, a row that has ended and was not reset.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before step()")
        setup, rows, next_step = self.setup, self._rows, self.autoreset_mode == AutoresetMode.NEXT_STEP
        setup.write_targets(actions, rows.targets, "actions")
        if self._cut_short:  # an exception came between the last step and the new episodes of rows that it ended
            self._begin_next(rows.clocks[:, ENDED] == 1)
        if self.autoreset_mode == AutoresetMode.DISABLED and any_ended(rows.clocks):
            row = int(np.argmax(rows.clocks[:, ENDED] == 1))
            raise RuntimeError(f"row {row} has ended: reset it with options={{'reset_mask': mask}} before stepping")
        if next_step and not setup.settled and any_ended(rows.clocks):
            setup.prepare(rows.clocks, np.flatnonzero(rows.clocks[:, ENDED]), later=1)
        restarted = rows.clocks[:, ENDED] == 1 if next_step and self._custom_reward is not None else None
        self._cut_short = self.autoreset_mode == AutoresetMode.SAME_STEP
        seen = self._seen()
        board = helping(self._threads) if rows.targets.size >= PARALLEL_ROWS else None
        if board is None:
            step_portfolios(rows, setup.world, setup.episode_rules, next_step, seen)
        else:
            step_portfolios_shared(
                rows, setup.world, setup.episode_rules, next_step, seen, board, stepping_portfolios()
            )
        if self._custom_reward is not None:
            self._reward_by_function(seen.rewards, restarted)
        rewards, terminated, truncated = seen.rewards, seen.terminated, seen.truncated
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and (ended := terminated | truncated).any():
            final = self._final(ended, seen)
            self._begin_next(ended)
            observation, info = self._shown()
        else:
            observation, info = self._observation(seen, self.copies), told(seen)
        self._cut_short = False
        return observation, rewards, terminated, truncated, {**info, **final}

    def _reward_by_function(self, rewards: NDArray[np.float64], restarted: NDArray[np.bool_] | None) -> None:
        """Overwrite the rows' rewards with the callable's, 0 where a row has just begun anew."""
        assert self._custom_reward is not None
        self._custom_reward(self._rows.accounts, rewards)
        if restarted is not None:
            rewards[restarted] = 0.0
        if not np.isfinite(rewards).all():
            row = int(np.argmin(np.isfinite(rewards)))
            raise ValueError(f"the reward callable returned {rewards[row]} in row {row}; it must be finite")

    def _begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Begin the next episode of the rows where `ended` (N,) is True."""
        setup, rows = self.setup, self._rows
        setup.prepare(rows.clocks, np.flatnonzero(ended), later=1)
        rows.clocks[ended, EPISODE] += 1
        begin_portfolios(ended, rows, setup.world, setup.episode_rules, *setup.checked_starts({}, self.num_envs))

    def get_state(self) -> PortfolioState:
        """Where all N rows stand; `set_state` goes on from there, bit for bit, in this env or another.

        Raises:
            RuntimeError: no episode was begun.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before get_state()")
        return taken_portfolios(self.setup, self._rows)

    def set_state(self, state: PortfolioState) -> tuple[Observation, dict[str, Any]]:
        """Put all rows where a state was taken; later episodes are those that would have come then.

        Args:
            state: of N rows (`state[[0] * N]` repeats one), from envs on the same markets, single or vector, made with
                the same arguments (other costs or another reward are allowed, and hold from here on).

        Returns:
            Observations and infos of that moment.

        Raises:
            StateError: of another market or version, or of another number of rows; the env is left as it was.
        """
        put_portfolios(state, self.setup, self._rows)
        self._started, self._cut_short = True, self.autoreset_mode == AutoresetMode.SAME_STEP  # of rows that had ended
        return self._shown()

    def branch(self, n: int) -> tuple["CryptoPortfolioVectorEnv", ...]:
        """`n` vector envs that go on from here, each by itself: what one does changes neither the others nor this one.

        Raises:
            RuntimeError: no episode was begun. ValueError: `n` below 1.
        """
        self.get_state()  # refuses what has no state
        return copies(self, n)

    def set_costs(self, costs: Costs) -> None:
        """Charge other costs from the next step on, in episodes that are under way too; a curriculum raises them."""
        self.setup.set_costs(costs)

    def _final(self, ended: NDArray[np.bool_], seen: PortfolioSeen) -> dict[str, Any]:
        """What SAME_STEP adds to the infos."""
        last, observations = self._observation(seen, True), np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            observations[i] = {name: values[i].copy() for name, values in last.items()}
        kept = {name: values.copy() for name, values in told(seen).items()}
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": kept | {f"_{name}": ended.copy() for name in kept},
            "_final_info": ended.copy(),
        }
