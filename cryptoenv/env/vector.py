"""The native vector environment: one jitted call steps N accounts."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, DRAWN, END, ENDED, EPISODE, MARKET
from cryptoenv.env.lanes import accounts_of, empty_rows, put_states, states_of
from cryptoenv.env.market_visits import any_ended
from cryptoenv.env.row_arguments import checked_mask, checked_starts, write_targets
from cryptoenv.env.saved_state import EnvState, checked_state, copies, taken_state
from cryptoenv.env.seeds import seed_rows
from cryptoenv.env.shared_rows import copy_windows_shared, copying, step_shared, stepping
from cryptoenv.env.spec import EnvironmentSpec, checked_options
from cryptoenv.env.stepping_threads import granted_threads, helping
from cryptoenv.env.vector_rows import (
    AMOUNTS,
    Seen,
    begin_rows,
    copy_windows,
    empty_seen,
    mask_rows,
    see_serial,
    step_serial,
)
from cryptoenv.files.typed_values import whole
from cryptoenv.market.funding_files import FundingArgument
from cryptoenv.market.pool import MarketArgument
from cryptoenv.trading.config import Costs, Instrument, RiskLimits, Sizing, Values, VenueRules
from cryptoenv.trading.rewards import RewardFunction, batched_reward

RESET_OPTIONS = ("market", "start", "exposure", "reset_mask")
PARALLEL_ROWS = 512  #: from here on stepping pays for waking a helper
PARALLEL_CELLS = 262_144  #: window cells (N * W * F) from which copying does
Observation = dict[str, NDArray[Any]]
Seeds = int | list[int | None] | np.random.SeedSequence | None


class CryptoTradeVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """N independent `CryptoTrade-v0` accounts, stepped together; see `CryptoTradeEnv` for what they do.

    Row `i` reset with `seed` equals a single env reset with `seed + i` (or `seed[i]`), later episodes included. Infos
    are dicts of (N,) arrays; `order_status` and `exit_kind` are int8. Gymnasium's masks `_key` are left out, which its
    wrappers take to mean that every row has every key; only final infos, which not all rows have, bring them.

    Args:
        num_envs: N, 1 or more; with `markets="stream"` every row has a market of its own (about 2.5 MB). Through
            Gymnasium, these arguments stand beside the env's own, not in `vector_kwargs`:
            `gym.make_vec("CryptoTrade-v0", num_envs=1024, autoreset_mode="SameStep")`.
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
        autoreset_mode: NEXT_STEP (default), SAME_STEP or DISABLED, as Gymnasium defines them. With SAME_STEP the last
            observation and info of ended rows are in `info["final_obs"]` ((N,) object array of dicts) and
            `info["final_info"]` (dict of (N,) arrays), valid where the bool arrays `info["_final_obs"]` are True.
        copy: False reuses the arrays of the last call's results (faster; keep none of them).
        stagger: True spreads the ends of episodes: where a reset begins all rows, row `i` has the first `1 - i / N` of
            the steps of its episode and is truncated then. The episode is the one that a single env reset with
            `seed + i` begins, cut short; all later ones are that env's, whole, and rows go on ending at different
            times. A reset of some rows (`reset_mask`) cuts nothing.
        render_mode: None; use a single env to render.
        max_episode_steps: None; Gymnasium's name for `episode_bars`, which is to be given instead.

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is.

    Example:
        >>> import gymnasium as gym
        >>> import numpy as np
        >>> import cryptoenv
        >>> envs = gym.make_vec("CryptoTrade-v0", num_envs=8, market="easy", observation="index")
        >>> observations, infos = envs.reset(seed=0)
        >>> observations["index"].shape, observations["account"].shape
        ((8, 2), (8, 5))
        >>> observations, rewards, terminated, truncated, infos = envs.step(np.full(8, 2))
        >>> rewards.shape, infos["equity"].shape
        ((8,), (8,))
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # type: ignore[misc]

    def __init__(
        self,
        num_envs: int = 1,
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
        self.setup = EnvironmentSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, rules=rules, sizing=sizing,
            reward_adaptation=reward_adaptation, initial_cash=initial_cash, episode_bars=episode_bars,
            random_start=random_start, markets=markets, days=days, funding=funding,
        )  # fmt: skip
        self.setup.serve(self.num_envs)
        self.pool = self.setup.pool
        self.single_observation_space = self.setup.observation_space
        self.single_action_space = self.setup.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        for name, value in (("copy", copy), ("stagger", stagger)):
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{name}={value!r} must be True or False")
        self.staggers = bool(stagger)  #: whether a reset of all rows cuts their first episodes to different lengths
        self.copies = bool(copy)  #: whether results are in fresh memory
        self._reused: Seen | None = None
        self._windows: Observation = {}  # of the last call, with copy=False
        self._rows = empty_rows(self.num_envs)
        function = self.setup.reward_function
        self._custom_reward = None if function is None else batched_reward(function)
        self._started, self._cut_short = False, False
        self._threads = granted_threads()

    def reset(  # type: ignore[override]
        self, *, seed: Seeds = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode in every row (or where `options["reset_mask"]` is True).

        Args:
            seed: row `i` gets `seed + i`, or `seed[i]` of a list. Seeds 0 and 1 of 1,024 rows so share 1,023 of their
                episodes: for runs that are to be independent pass `cryptoenv.spread_seeds(seed, N)`, or a
                `numpy.random.SeedSequence`, which is spread so.
            options: `market`, `start`, `exposure` (a number for all rows or (N,)), `reset_mask` ((N,) bool).

        Returns:
            Observations and infos of all rows.

        Raises:
            ValueError, TypeError: an unknown option, or one out of range, with the row.
        """
        given = checked_options(options, RESET_OPTIONS)
        mask = checked_mask(given.pop("reset_mask", None), self.num_envs)
        if not self._started and not mask.all():
            raise ValueError("the first reset must be of all rows: leave options['reset_mask'] out")
        markets, starts, exposures = checked_starts(given, self.setup, self.num_envs)
        self._cut_short = False
        beginning, clocks = np.flatnonzero(mask), self._rows.clocks
        seed_rows(self, clocks, seed, mask, self._started, self.setup.drawn_from)
        markets[beginning] = self.setup.visits.prepare(clocks, beginning, markets[beginning])
        begin_rows(mask, self._rows, self.setup.world, self.setup.episode_rules, markets, starts, exposures)
        if self.staggers and mask.all():
            steps = clocks[:, END] - clocks[:, BAR]
            clocks[:, END] -= steps * np.arange(self.num_envs) // self.num_envs
        self._started = True
        seen = self._seen()
        return self._observation(seen, self.copies), self._info(seen)

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Step every row; see the class for what happens to rows that have ended.

        Args:
            actions: (N,) int indices into `actions`, or (N, 1) floats with `actions="continuous"`.

        Returns:
            Observations, rewards (N,) float64, terminated (N,) bool, truncated (N,) bool, infos.

        Raises:
            ValueError: an action that is NaN or out of range, with its row. RuntimeError: not reset yet, or, with
                DISABLED, a row that has ended and was not reset.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before step()")
        rows, next_step = self._rows, self.autoreset_mode == AutoresetMode.NEXT_STEP
        write_targets(actions, self.setup, rows.targets)
        if self._cut_short:  # an exception came between the last step and the new episodes of rows that it ended
            self._begin_next(rows.clocks[:, ENDED] == 1)
        if self.autoreset_mode == AutoresetMode.DISABLED and (rows.clocks[:, ENDED] == 1).any():
            row = int(np.argmax(rows.clocks[:, ENDED] == 1))
            raise RuntimeError(f"row {row} has ended: reset it with options={{'reset_mask': mask}} before stepping")
        if next_step and not self.setup.visits.settled and any_ended(rows.clocks):
            self.setup.visits.prepare(rows.clocks, np.flatnonzero(rows.clocks[:, ENDED]), later=1)
        restarted = rows.clocks[:, ENDED] == 1 if next_step and self._custom_reward is not None else None
        self._cut_short = self.autoreset_mode == AutoresetMode.SAME_STEP
        seen = self._memory()
        board = helping(self._threads) if self.num_envs >= PARALLEL_ROWS else None
        if board is None:
            step_serial(rows, self.setup.world, self.setup.episode_rules, next_step, seen)
        else:
            step_shared(rows, self.setup.world, self.setup.episode_rules, next_step, seen, board, stepping())
        if self._custom_reward is not None:
            self._reward_by_function(seen.rewards, restarted)
        rewards, terminated, truncated = seen.rewards, seen.terminated, seen.truncated
        final: dict[str, Any] = {}
        if self.autoreset_mode == AutoresetMode.SAME_STEP and (ended := terminated | truncated).any():
            final = self._final(ended, seen)
            self._begin_next(ended)
            seen = self._seen()
        self._cut_short = False
        return self._observation(seen, self.copies), rewards, terminated, truncated, {**self._info(seen), **final}

    def _begin_next(self, ended: NDArray[np.bool_]) -> None:
        """Begin the next episode of the rows where `ended` (N,) is True."""
        rows, beginning = self._rows, np.flatnonzero(ended)
        drawn, flat = np.full(self.num_envs, DRAWN), np.zeros(self.num_envs)
        markets = drawn.copy()
        markets[beginning] = self.setup.visits.prepare(rows.clocks, beginning, later=1)
        rows.clocks[ended, EPISODE] += 1
        begin_rows(ended, rows, self.setup.world, self.setup.episode_rules, markets, drawn, flat)

    def _reward_by_function(self, rewards: NDArray[np.float64], restarted: NDArray[np.bool_] | None) -> None:
        """Overwrite the rows' rewards with the callable's, 0 where a row has just begun anew."""
        assert self._custom_reward is not None
        rows = self._rows
        self._custom_reward(accounts_of(rows), rewards)
        if restarted is not None:
            rewards[restarted] = 0.0
        finite = np.isfinite(rewards)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"the reward callable returned {rewards[row]} in row {row} at bar {int(rows.clocks[row, BAR])}; "
                "it must return a finite number"
            )

    def _final(self, ended: NDArray[np.bool_], seen: Seen) -> dict[str, Any]:
        """What SAME_STEP adds to the infos: last observation (one dict per ended row) and last info of ended rows."""
        last, observations = self._observation(seen, True), np.full(self.num_envs, None, dtype=object)
        info = {name: values.copy() for name, values in self._info(seen).items()}
        for i in np.flatnonzero(ended):
            observations[i] = {name: values[i].copy() for name, values in last.items()}
        return {
            "final_obs": observations,
            "_final_obs": ended,
            "final_info": info | {f"_{name}": ended.copy() for name in info},
            "_final_info": ended.copy(),
        }

    def action_masks(self) -> NDArray[np.bool_]:
        """(N, A) bool: which actions would be accepted now.

        Raises:
            AttributeError: continuous actions have no mask.
        """
        if self.setup.targets is None:
            raise AttributeError("continuous actions have no mask; pass a tuple of actions")
        mask = np.ones((self.num_envs, len(self.setup.targets)), dtype=np.bool_)
        if self.setup.masks_actions:
            mask_rows(self._rows, self.setup.world, self.setup.targets, mask)
        return mask

    def get_state(self) -> EnvState:
        """Where all N rows stand; `set_state` goes on from there, bit for bit, in this env or another.

        Raises:
            RuntimeError: no episode was begun.
        """
        if not self._started:
            raise RuntimeError("no episode was begun: call reset() before get_state()")
        return taken_state(self.setup, states_of(self._rows))

    def set_state(self, state: EnvState) -> tuple[Observation, dict[str, Any]]:
        """Put all rows where a state was taken; later episodes are those that would have come then.

        Args:
            state: of N rows (`state[[0] * N]` repeats one), from envs on the same markets, single or vector, made with
                the same arguments (other costs or another reward are allowed, and hold from here on).

        Returns:
            Observations and infos of that moment.

        Raises:
            StateError: of another market or version, or of another number of rows; the env is left as it was.
        """
        rows, markets = checked_state(state, self.setup, self.num_envs)
        self.setup.visits.put_back(state.clocks[:, MARKET], markets)
        put_states(self._rows, rows)
        self._started, self._cut_short = True, self.autoreset_mode == AutoresetMode.SAME_STEP  # of rows that had ended
        seen = self._seen()
        return self._observation(seen, self.copies), self._info(seen)

    def branch(self, n: int) -> tuple["CryptoTradeVectorEnv", ...]:
        """`n` vector envs that go on from here, each by itself: what one does changes neither the others nor this one.

        Raises:
            RuntimeError: no episode was begun. ValueError: `n` below 1.
        """
        self.get_state()  # refuses what has no state
        return copies(self, n)

    def set_costs(self, costs: Costs) -> None:
        """Charge other costs from the next step on, in episodes that are under way too; a curriculum raises them."""
        self.setup.set_costs(costs)

    def _memory(self) -> Seen:
        """Memory for what the rows show: fresh, or with `copy=False` that of the last call."""
        if self._reused is None or self.copies:
            self._reused = empty_seen(self.num_envs)
        return self._reused

    def _seen(self) -> Seen:
        """What the rows show now."""
        seen = self._memory()
        see_serial(self._rows, seen, self.setup.limit)
        return seen

    def _observation(self, seen: Seen, fresh: bool) -> Observation:
        """Observations of all rows; with `fresh` windows are in new memory."""
        if self.setup.observation == "index":
            return {"index": seen.where, "account": seen.account}
        windows = self._windows
        if fresh or not windows:
            spaces = self.single_observation_space.spaces  # type: ignore[attr-defined]
            windows = {
                name: np.empty((self.num_envs, *spaces[name].shape), dtype=np.float32) for name in self.pool.timeframes
            }
        if not fresh:
            self._windows = windows
        table, clocks = self.setup.world.table, self._rows.clocks
        for k, window in enumerate(windows.values()):
            board = helping(self._threads) if window.size >= PARALLEL_CELLS else None
            if board is None:
                copy_windows(table, clocks, k, window)
            else:
                copy_windows_shared(table, clocks, k, window, board, copying())
        return {**windows, "account": seen.account}

    def _info(self, seen: Seen) -> dict[str, Any]:
        info: dict[str, Any] = dict(zip(AMOUNTS, seen.amounts, strict=True))
        markets, info["bar"] = seen.clock
        info["market"] = self.setup.visits.numbers(markets)
        info["order_status"], info["exit_kind"] = seen.kinds
        info["ruined"] = seen.ruined
        if self.setup.targets is not None:
            info["action_mask"] = self.action_masks()
        return info
