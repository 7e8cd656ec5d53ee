"""`CryptoTrade-v0`: one account on one market at a time."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, CLOCK_WIDTH, END, EPISODE, MARKET, SEED, SEED_MASK, begin_episode, mask_row
from cryptoenv.env.lanes import RowStates
from cryptoenv.env.saved_state import EnvState, checked_state, copies, taken_state
from cryptoenv.env.single_step import FreshMemory, Observation, observe_single, step_single
from cryptoenv.env.spec import EnvironmentSpec, checked_options, numbers_of
from cryptoenv.market.funding_files import FundingArgument
from cryptoenv.market.pool import MarketArgument
from cryptoenv.rendering.pictured_env import PicturedEnv
from cryptoenv.rendering.renderer import Renderer, usable_render_modes
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    BORROW_PAID,
    EVENTFUL,
    EXIT_KIND,
    EXIT_PRICE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    INFO_WIDTH,
    ORDER_STATUS,
    RUINED,
    SLIPPAGE,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
    TARGET,
    ExitKind,
    OrderStatus,
)
from cryptoenv.trading.config import Costs, Instrument, RiskLimits, Sizing, Values, VenueRules
from cryptoenv.trading.rewards import RewardFunction, finite_reward

RESET_OPTIONS = ("market", "start", "exposure")
ORDER_STATUSES = tuple(OrderStatus)
EXIT_KINDS = tuple(ExitKind)
ONLY_ROW = np.zeros(1, dtype=np.int64)


class NotFilled(float):
    """The NaN that `info` shows where no price exists; it equals itself, so that infos can be compared."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotFilled)

    def __ne__(self, other: object) -> bool:
        return not isinstance(other, NotFilled)

    __hash__ = float.__hash__


NOT_FILLED = NotFilled("nan")
#: What `info` says of a step in which nothing happened.
QUIET = {
    "fill_price": NOT_FILLED,
    "fill_quantity": 0.0,
    "fees": 0.0,
    "slippage": 0.0,
    "funding": 0.0,
    "borrow": 0.0,
    "step_fees": 0.0,
    "step_slippage": 0.0,
    "step_funding": 0.0,
    "step_borrow": 0.0,
    "order_status": OrderStatus.NONE,
    "exit_kind": ExitKind.NONE,
    "exit_price": NOT_FILLED,
    "ruined": False,
}
#: In place of the bar while a call is under way: what an exception (Ctrl-C, a timer) has cut short if it stays there.
IN_STEP, IN_RESET = 2**62, 2**62 + 1
CUMULATIVE = {"fees": FEES, "slippage": SLIPPAGE, "funding": FUNDING_PAID, "borrow": BORROW_PAID}


class CryptoTradeEnv(PicturedEnv):
    """Trade one crypto market bar by bar, seeing several timeframes, paying for everything.

    `gym.make("CryptoTrade-v0")` after `import cryptoenv`; `gym.make("cryptoenv:CryptoTrade-v0")` without it.

    A decision at index `t` is made when base bar `t` closes; it sees base bars up to `t` and only those
    higher-timeframe bars that have ended by then. The order fills at the open of bar `t + 1`, adversely, and the
    account is marked at its close. See `cryptoenv.trading.kernel` for the order of events, `Costs` for what is paid.

    Observation, `observation="window"` (`Dict`, float32, fresh memory every call):

    | key | shape | meaning | range |
    |---|---|---|---|
    | each timeframe, e.g. "15m" | (W, F) | last W closed bars' features, oldest first | [-8, 8] |
    | "account"[0] | | exposure: position value / equity | +- 2 x exposure limit |
    | "account"[1] | | last target exposure asked for | +- exposure limit |
    | "account"[2] | | unrealised profit / equity | [-1, 1] |
    | "account"[3] | | drawdown: fraction below the episode's peak equity | [0, 1] |
    | "account"[4] | | log2(1 + bars held) / 16 | [0, 1] |

    With `observation="index"` the windows are replaced by "index", int64 `(market, t)`: a policy that owns the market
    tensors gathers windows or embeddings itself.

    Action: `Discrete(len(actions))`, action `i` being the target exposure `actions[i]` as a signed fraction of equity;
    or with `actions="continuous"` a `Box(-1, 1)` (spot: `Box(0, 1)`) of shape (1,), times the exposure limit.

    Reward: by name, a `{name: weight}` sum of named components, or a callable (`cryptoenv.trading.rewards` has formulas
    and signature); default `log_return`, `log(equity_{t+1} / equity_t)`.

    Episode end: `terminated` at ruin (equity at or below 1e-3 of the start; it is floored there), `truncated` after
    `episode_bars` steps or at the end of the data.

    Info: `equity`, `exposure`, `close`, `fill_price` and `exit_price` (NaN where nothing filled), `fill_quantity`,
    `fees`, `slippage`, `funding`, `borrow` (cumulative, quote; `step_fees` and so on: of the step), `order_status`
    (`OrderStatus`), `exit_kind` (`ExitKind`), `ruined`, `bar` (t), `market`, `action_mask` (discrete actions).

    Args:
        market: None (the task "easy"); a task's name or parameters (`synthetic.RegimeTask`, `synthetic.MacroTask`);
            bars (a DataFrame), a file of them, a `Market`, its folder, a sample of `synthetic.regime_market`, a
            `MarketPool`, or a sequence of these. A task's name is the task, though a file or folder be called so:
            `Path("easy")` is the folder.
        split: "train" (default), "validation" or "test": the seed family of a task's markets; own bars have none.
        timeframes: names such as "15m", the base first, each made of whole bars of the base. None: what a `Market` was
            made with, ("15m", "4h", "1d") for bars and tasks.
        window: bars seen of each timeframe, whole numbers >= 1. None: the first of (32, 16, 8).
        instrument: "spot" (no shorts), "margin" (shorts pay interest) or "perpetual" (default; funding, and leverage
            where `limits` allow it).
        actions: target exposures, signed fractions of equity within the exposure limit, two or more; or "continuous".
            None: flat and long, and short where the instrument allows it: (-1, 0, 1).
        observation: "window" (default) or "index".
        reward: a component's name, a `{name: weight}` sum of them, or a callable; "log_return" by default.
        costs: `Costs`, fractions, or some of its values by name, as a file has them: {"fee": 0.0005}; so of the next
            three. None: fee 0.001, half-spread 0.0001, impact 0.1, no interest and no funding but the market's own.
        limits: `RiskLimits`. None: exposure within +-1, a tenth of a bar's volume per order, no stops.
        rules: `VenueRules`, what the venue accepts. None: any size and price, a maintenance margin of 0.005.
        sizing: `Sizing`, how a target becomes an exposure. None: as it is.
        reward_adaptation: rate in (0, 1] of the exponential means behind the rewards "differential_sharpe", "downside"
            and "consistency" (0.01).
        initial_cash: quote currency at the start of an episode, from 1e-6 to 1e15 (10,000).
        episode_bars: steps until an episode is truncated, 1 or more (2880: 30 days of 15m bars).
        random_start: True (default) draws the bar that an episode begins at; False takes the first decidable one.
        markets: how many markets each task has, 1 to 100,000, 64 by default (a policy learns the noise of a few by
            heart: docs/pools.md), the first seeds of the family. Each is made (about 20 ms, 2.5 MB at 60 days) when an
            episode first begins on it, and kept. "stream": every episode has a market of its own, one of the 10**9 of
            the family, which seed and episode number choose; it is made ahead in a thread and goes with its episode,
            so that memory stays flat (one market per env, and up to 64 ahead). `info["market"]` and
            `options["market"]` are its number. Index observations name markets by their place in a fixed pool: with a
            stream they are refused.
        days: tradable days in each market of a task, 1 to 10,000, 60 by default, after 56 days of warm-up.
        funding: rates of a perpetual's bars (a Series, or a file as `cryptoenv.read_funding` takes it); one for each of
            several markets. None: none but what a `Market` brings.
        render_mode: None; "rgb_array" ((600, 800, 3) uint8: candles, position, fills, equity, drawdown); "human" (the
            same in a live window, at most 10 frames per second); "ansi" (a text panel).

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is. RuntimeError: render_mode "human" where
            there is no display.

    Version history: v0, first version.

    Example:
        >>> from cryptoenv import Costs, CryptoTradeEnv
        >>> env = CryptoTradeEnv("easy", instrument="spot", window=(4, 2, 1), costs=Costs(fee=0.0005), episode_bars=96)
        >>> env.action_space, env.setup.targets.tolist()
        (Discrete(2), [0.0, 1.0])
        >>> observation, info = env.reset(seed=0)
        >>> steps = 0
        >>> while True:
        ...     observation, reward, terminated, truncated, info = env.step(1)
        ...     steps += 1
        ...     if terminated or truncated:
        ...         break
        >>> steps, info["step_fees"]
        (96, 0.0)
    """

    _renderer: Renderer | None

    def __init__(
        self,
        market: MarketArgument = None,
        *,
        split: str = "train",
        timeframes: Sequence[str] | None = None,
        window: Sequence[int] | None = None,
        instrument: Instrument = "perpetual",
        actions: Sequence[float] | str | None = None,
        observation: str = "window",
        reward: str | dict[str, float] | RewardFunction = "log_return",
        costs: Costs | Values | None = None,
        limits: RiskLimits | Values | None = None,
        rules: VenueRules | Values | None = None,
        sizing: Sizing | Values | None = None,
        reward_adaptation: float = 0.01,
        initial_cash: float = 10_000.0,
        episode_bars: int = 2880,
        random_start: bool = True,
        markets: int | str | None = None,
        days: int | None = None,
        funding: FundingArgument = None,
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_modes": usable_render_modes()}
        self._renderer = None if render_mode is None else Renderer(render_mode, self.metadata["render_fps"])
        self.setup = EnvironmentSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, rules=rules, sizing=sizing,
            reward_adaptation=reward_adaptation, initial_cash=initial_cash, episode_bars=episode_bars,
            random_start=random_start, markets=markets, days=days, funding=funding,
        )  # fmt: skip
        self.pool = self.setup.pool
        self.observation_space: Any = self.setup.observation_space  # Gymnasium's type is narrower than spaces.Dict
        self.action_space: spaces.Discrete | spaces.Box = self.setup.action_space
        self._targets = None if self.setup.targets is None else self.setup.targets.tolist()
        self._levels: list[float] = self._targets or []
        self._account = np.zeros(ACCOUNT_WIDTH, dtype=np.float64)
        self._clock = np.zeros(CLOCK_WIDTH, dtype=np.int64)
        self._market, self._bar, self._end = 0, 0, -1
        self._begun = False
        self._quiet: dict[str, Any] = {}
        self._watched = self._renderer is not None or self.setup.reward_function is not None
        self._point_to_memory()

    def _point_to_memory(self) -> None:
        """Set up everything that holds addresses or views of this object's own arrays."""
        self._shown, self._brief = self._account[:INFO_WIDTH], self._account[: EVENTFUL + 1]
        names = (*self.pool.timeframes, "account") if self.setup.observation == "window" else ("index", "account")
        shapes = {name: tuple(self.observation_space[name].shape or ()) for name in names}
        self._memory = FreshMemory(shapes, len(self._targets or ()), self._account, self._clock, self.setup.world)
        self._wiring = self._memory.wiring
        self._fresh: Iterator[tuple[Observation, NDArray[np.bool_], int]] = iter(())

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: all but addresses and views."""
        views = ("_shown", "_brief", "_memory", "_wiring", "_fresh")
        return {name: value for name, value in self.__dict__.items() if name not in views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy."""
        self.__dict__.update(state)
        self._point_to_memory()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: restarts the sequence of episodes; same seed, same episodes.
            options: any of `market` (index in the pool, or number in the stream), `start` (bar t of the first
                decision), `exposure` (held from the start, opened at the close at no cost). What is not given is drawn
                (exposure: 0).

        Returns:
            First observation and info.

        Raises:
            ValueError, TypeError: an unknown option or one out of range.
        """
        given = checked_options(options, RESET_OPTIONS)
        market, start = self.setup.checked_start(given)
        exposure = self.setup.checked_exposure(given.get("exposure", 0.0))
        self._bar = IN_RESET
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self._clock[SEED] = int(self.np_random_seed or 0) & SEED_MASK
            self._clock[EPISODE] = 0
            self._begun = True
        else:
            self._clock[EPISODE] += 1
        world, visits = self.setup.world, self.setup.visits
        place = int(visits.prepare(self._clock[None], ONLY_ROW, np.array([market]))[0])
        begin_episode(self._account, self._clock, world, self.setup.episode_rules, place, start, exposure)
        return self._shown_from_here()

    def _shown_from_here(self) -> tuple[Observation, dict[str, Any]]:
        """Take up what account and clock say, and show it: an episode goes on, or begins, at their bar."""
        place, bar, self._end = self._clock[[MARKET, BAR, END]].tolist()
        visits = self.setup.visits
        self._market = int(visits.numbers(self._clock[MARKET : MARKET + 1])[0])
        if self._renderer is not None:
            traded = visits.market(place)
            self._renderer.begin(traded, traded.name or f"market {self._market}", bar, self._shown)
        row = self._shown.tolist()
        self._quiet = {**QUIET, "market": self._market, **{name: row[column] for name, column in CUMULATIVE.items()}}
        if row[RUINED] == 1.0:
            self._end = bar
        observation, mask, row = next(self._fresh, None) or self._first_of_block()
        observe_single(self._wiring, row)
        info = self._info(mask, bar)
        self._bar = bar
        return observation, info

    def _first_of_block(self) -> tuple[Observation, NDArray[np.bool_], int]:
        """The first row of fresh memory, whose observation the next jitted call fills."""
        fresh = self._memory.renew()
        first = next(fresh)
        self._fresh = fresh
        return first

    def get_state(self) -> EnvState:
        """Where the env stands; `set_state` goes on from there, bit for bit, in this env or another.

        Raises:
            RuntimeError: no episode was begun, or the last reset was interrupted.
        """
        if not self._begun or self._bar == IN_RESET:
            raise RuntimeError("no episode was begun: call reset() before get_state()")
        rows = RowStates(self._account[None], self._clock[None], self._account[TARGET : TARGET + 1])
        return taken_state(self.setup, rows)

    def set_state(self, state: EnvState) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Put the env where a state was taken; later episodes are those that would have come then.

        Args:
            state: of one row, from an env on the same markets, made with the same arguments (other costs or another
                reward are allowed, and hold from here on).

        Returns:
            Observation, windows (W, F) or index (2,) and account (5,), and info of that moment.

        Raises:
            StateError: of another market or version, or of more rows; the env is left as it was.
        """
        rows, markets = checked_state(state, self.setup, 1)
        self._bar = IN_RESET
        self.setup.visits.put_back(state.clocks[:, MARKET], markets)
        self._account[:], self._clock[:] = rows.accounts[0], rows.clocks[0]
        self._begun = True
        return self._shown_from_here()

    def branch(self, n: int) -> tuple["CryptoTradeEnv", ...]:
        """`n` envs that go on from here, each by itself: what one does changes neither the others nor this one.

        Raises:
            RuntimeError: no episode was begun. ValueError: `n` below 1.
        """
        self.get_state()  # refuses what has no state
        return copies(self, n)

    def _settle(self) -> int:
        """The bar to step from, the last call having been cut short or the episode being over.

        After an interrupted step the account stands before its bar or after it, and is taken up as it is.
        """
        if self._bar == IN_RESET:
            raise RuntimeError("the last reset() was interrupted: call it again")
        if self._bar != IN_STEP:
            raise RuntimeError("the episode is over (or none was begun): call reset() before step()")
        bar, end = self._clock[[BAR, END]].tolist()
        if self._account[RUINED] == 1.0:
            end = bar
        row = self._shown.tolist()
        for name, column in CUMULATIVE.items():
            self._quiet[name] = row[column]
        self._end, self._bar = end, bar  # the bar last: an interrupt before it leaves all of this to be done again
        return self._bar if self._bar < self._end else self._settle()

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Ask for a target exposure and go on to the close of the next bar.

        Args:
            action: index into `actions`, or a float array of shape (1,) with `actions="continuous"`.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: an action that is NaN or out of range; the bar is named. RuntimeError: no episode is running.
        """
        if type(action) is int and 0 <= action < len(self._levels):
            target = self._levels[action]
        else:
            target = self._target(action)
        bar = self._bar
        if bar >= self._end:
            bar = self._settle()
        self._bar = IN_STEP
        observation, mask, row = next(self._fresh, None) or self._first_of_block()
        reward = step_single(self._wiring, target, row)
        bar += 1
        if self._watched:
            reward = self._watch(reward, bar)
        info = self._info(mask, bar)
        self._bar = bar
        if info["ruined"]:
            self._end = bar
            return observation, reward, True, False, info
        return observation, reward, False, bar >= self._end, info

    def _watch(self, reward: float, bar: int) -> float:
        """Show the step to the renderer and to a reward callable; returns the reward."""
        if self.setup.reward_function is not None:
            reward = finite_reward(self.setup.reward_function, self._account, bar)
        if self._renderer is not None:
            self._renderer.record(self._shown)
        return reward

    def action_masks(self) -> NDArray[np.bool_]:
        """(A,) bool: which actions would be accepted now (the method sb3-contrib's MaskablePPO calls).

        Raises:
            AttributeError: continuous actions have no mask.
        """
        if self.setup.targets is None:
            raise AttributeError("continuous actions have no mask; pass a tuple of actions")
        mask = np.ones(len(self.setup.targets), dtype=np.bool_)
        if self.setup.masks_actions:
            mask_row(self._account, self._clock, self.setup.world, self.setup.targets, mask)
        return mask

    def _target(self, action: Any) -> float:
        """Target exposure of an action."""
        if self._targets is not None:
            try:
                index = -1 if isinstance(action, bool) else operator.index(action)
            except TypeError:
                index = -1
            if 0 <= index < len(self._targets):
                return float(self._targets[index])
            raise ValueError(
                f"action {action!r} at bar {self._bar} is not allowed: pass a whole number from 0 to "
                f"{len(self._targets) - 1}, an index into actions={tuple(self._targets)}"
            )
        value, low = numbers_of(action, f"action at bar {self._bar}"), self.setup.lowest_action
        if value.size != 1 or value.dtype.kind not in "fiu" or not low <= value.item() <= 1.0:
            raise ValueError(
                f"action {action!r} at bar {self._bar} is not allowed: pass one finite number in [{low}, 1.0]"
            )
        return float(value.item()) * self.setup.limit

    def _info(self, mask: NDArray[np.bool_], bar: int) -> dict[str, Any]:
        info = self._quiet.copy()
        info["equity"], info["exposure"], info["close"], eventful = self._brief.tolist()
        info["bar"] = bar
        if eventful:
            self._tell(info)
        if self._targets is not None:
            info["action_mask"] = self.action_masks() if self.setup.masks_actions else mask
        return info

    def _tell(self, info: dict[str, Any]) -> None:
        """Write into `info` what happened in the step, and keep the cumulative costs for the steps to come."""
        row = self._shown.tolist()
        for name, column in CUMULATIVE.items():
            self._quiet[name] = info[name] = row[column]
        info["step_fees"], info["step_slippage"] = row[STEP_FEES], row[STEP_SLIPPAGE]
        info["step_funding"], info["step_borrow"] = row[STEP_FUNDING], row[STEP_BORROW]
        info["order_status"] = ORDER_STATUSES[int(row[ORDER_STATUS])]
        if row[FILL_QUANTITY]:
            info["fill_price"], info["fill_quantity"] = row[FILL_PRICE], row[FILL_QUANTITY]
        if row[EXIT_KIND]:
            info["exit_kind"], info["exit_price"] = EXIT_KINDS[int(row[EXIT_KIND])], row[EXIT_PRICE]
        info["ruined"] = row[RUINED] == 1.0
