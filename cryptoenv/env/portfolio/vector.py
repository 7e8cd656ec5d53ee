"""The native vector environment of portfolios: one jitted call steps N accounts. Shapes: `N` envs, `A` assets."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH
from cryptoenv.env.lockstep import LockstepVectorEnv, Observation
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
from cryptoenv.env.portfolio.spec import PortfolioArgument, PortfolioSpec, PortfolioStarts
from cryptoenv.env.recycled_memory import RecycledMemory
from cryptoenv.env.stepping_threads import helping
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.config import Costs, Instrument, PortfolioLimits, RiskLimits, Sizing, VenueRules
from cryptoenv.trading.portfolio_account import POSITION_WIDTH
from cryptoenv.trading.rewards import RewardFunction

PARALLEL_ROWS = 512  #: assets of all rows from which stepping pays for waking a helper
PARALLEL_CELLS = 262_144  #: window cells (N * A * W * F) from which copying does


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


class CryptoPortfolioVectorEnv(LockstepVectorEnv[PortfolioState]):
    """N independent `CryptoPortfolio-v0` accounts, stepped together; see `CryptoPortfolioEnv` for what they do.

    `step` takes weights (N, A), or (N, A + 1) with `actions="simplex"`.

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

    reset_options: ClassVar[tuple[str, ...]] = ("market", "start", "weights", "reset_mask")
    setup: PortfolioSpec
    _rows: PortfolioRows

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
        self._take_arguments(num_envs, autoreset_mode, copy, stagger, render_mode, max_episode_steps)
        setup = PortfolioSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, portfolio_limits=portfolio_limits,
            rules=rules, sizing=sizing, reward_adaptation=reward_adaptation, initial_cash=initial_cash,
            episode_bars=episode_bars, random_start=random_start, all_listed=all_listed, portfolios=portfolios,
            days=days,
        )  # fmt: skip
        self._take_setup(setup)
        self._rows = empty_portfolios(self.num_envs, len(setup.names))
        self._memory = RecycledMemory()
        self._reused: PortfolioSeen | None = None

    @property
    def _visits(self) -> PortfolioSpec:
        return self.setup

    def _starts(self, options: dict[str, Any]) -> PortfolioStarts:
        return self.setup.checked_starts(options, self.num_envs)

    def _begin(self, mask: NDArray[np.bool_], starts: PortfolioStarts) -> None:
        begin_portfolios(mask, self._rows, self.setup.world, self.setup.episode_rules, *starts)

    def _take_actions(self, actions: NDArray[Any]) -> None:
        self.setup.write_targets(actions, self._rows.targets, "actions")

    def _advance(self, next_step: bool) -> PortfolioSeen:
        rows, seen, setup = self._rows, self._shows(), self.setup
        board = helping(self._threads) if rows.targets.size >= PARALLEL_ROWS else None
        if board is None:
            step_portfolios(rows, setup.world, setup.episode_rules, next_step, seen)
        else:
            step_portfolios_shared(
                rows, setup.world, setup.episode_rules, next_step, seen, board, stepping_portfolios()
            )
        return seen

    def _accounts(self) -> NDArray[np.float64]:
        return self._rows.accounts

    def _taken(self) -> PortfolioState:
        return taken_portfolios(self.setup, self._rows)

    def _put(self, state: PortfolioState) -> None:
        put_portfolios(state, self.setup, self._rows)

    def _shows(self) -> PortfolioSeen:
        """Memory for what the rows show; with `copy=False` that of the last call."""
        if self._reused is None or self.copies:
            self._reused = None  # of the last call: nobody else may refer to it now
            self._reused = portfolio_memory(self.num_envs, len(self.setup.names), self._memory)
        return self._reused

    def _see(self) -> PortfolioSeen:
        seen = self._shows()
        see_portfolios(self._rows, self.setup.world, seen)
        return seen

    def _info(self, seen: PortfolioSeen) -> dict[str, Any]:
        return told(seen)

    def _observation(self, seen: PortfolioSeen, fresh: bool) -> Observation:
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
