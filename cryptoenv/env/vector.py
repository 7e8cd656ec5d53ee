"""The native vector environment: one jitted call steps N accounts."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from cryptoenv.env.episode import MARKET
from cryptoenv.env.lanes import accounts_of, empty_rows, put_states, states_of
from cryptoenv.env.lockstep import LockstepVectorEnv, Observation
from cryptoenv.env.market_visits import Visits
from cryptoenv.env.row_arguments import RowStarts, checked_starts, write_targets
from cryptoenv.env.saved_state import EnvState, checked_state, taken_state
from cryptoenv.env.shared_rows import copy_windows_shared, copying, step_shared, stepping
from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.env.stepping_threads import helping
from cryptoenv.env.vector_rows import (
    AMOUNTS,
    EnvRows,
    Seen,
    begin_rows,
    copy_windows,
    empty_seen,
    mask_rows,
    see_serial,
    step_serial,
)
from cryptoenv.market.funding_files import FundingArgument
from cryptoenv.market.pool import MarketArgument
from cryptoenv.trading.config import Costs, Instrument, RiskLimits, Sizing, Values, VenueRules
from cryptoenv.trading.rewards import RewardFunction

PARALLEL_ROWS = 512  #: from here on stepping pays for waking a helper
PARALLEL_CELLS = 262_144  #: window cells (N * W * F) from which copying does


class CryptoTradeVectorEnv(LockstepVectorEnv[EnvState]):
    """N independent `CryptoTrade-v0` accounts, stepped together; see `CryptoTradeEnv` for what they do.

    `step` takes (N,) int indices into `actions`, or (N, 1) floats with `actions="continuous"`.

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

    reset_options: ClassVar[tuple[str, ...]] = ("market", "start", "exposure", "reset_mask")
    setup: EnvironmentSpec
    _rows: EnvRows

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
        self._take_arguments(num_envs, autoreset_mode, copy, stagger, render_mode, max_episode_steps)
        setup = EnvironmentSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, rules=rules, sizing=sizing,
            reward_adaptation=reward_adaptation, initial_cash=initial_cash, episode_bars=episode_bars,
            random_start=random_start, markets=markets, days=days, funding=funding,
        )  # fmt: skip
        setup.serve(self.num_envs)
        self.pool = setup.pool
        self._take_setup(setup)
        self._reused: Seen | None = None
        self._rows = empty_rows(self.num_envs)

    @property
    def _visits(self) -> Visits:
        return self.setup.visits

    def _starts(self, options: dict[str, Any]) -> RowStarts:
        return checked_starts(options, self.setup, self.num_envs)

    def _begin(self, mask: NDArray[np.bool_], starts: RowStarts) -> None:
        begin_rows(mask, self._rows, self.setup.world, self.setup.episode_rules, *starts)

    def _take_actions(self, actions: NDArray[Any]) -> None:
        write_targets(actions, self.setup, self._rows.targets)

    def _advance(self, next_step: bool) -> Seen:
        rows, seen = self._rows, self._memory()
        board = helping(self._threads) if self.num_envs >= PARALLEL_ROWS else None
        if board is None:
            step_serial(rows, self.setup.world, self.setup.episode_rules, next_step, seen)
        else:
            step_shared(rows, self.setup.world, self.setup.episode_rules, next_step, seen, board, stepping())
        return seen

    def _accounts(self) -> NDArray[np.float64]:
        return accounts_of(self._rows)

    def _taken(self) -> EnvState:
        return taken_state(self.setup, states_of(self._rows))

    def _put(self, state: EnvState) -> None:
        rows, markets = checked_state(state, self.setup, self.num_envs)
        self.setup.visits.put_back(state.clocks[:, MARKET], markets)
        put_states(self._rows, rows)

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

    def _memory(self) -> Seen:
        """Memory for what the rows show: fresh, or with `copy=False` that of the last call."""
        if self._reused is None or self.copies:
            self._reused = empty_seen(self.num_envs)
        return self._reused

    def _see(self) -> Seen:
        seen = self._memory()
        see_serial(self._rows, seen, self.setup.limit)
        return seen

    def _observation(self, seen: Seen, fresh: bool) -> Observation:
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
