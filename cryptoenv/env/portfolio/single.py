"""`CryptoPortfolio-v0`: one account on several assets at a time. Shapes: `A` assets, `W` window, `F` features."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, ENDED, EPISODE, MARKET, SEED, SEED_MASK
from cryptoenv.env.portfolio.episode import ACCOUNT_SHOWN, begin_row
from cryptoenv.env.portfolio.saved_state import PortfolioState, put_portfolios, taken_portfolios
from cryptoenv.env.portfolio.single_step import PortfolioMemory, ask_weights, see_portfolio, step_portfolio
from cryptoenv.env.portfolio.spec import PortfolioArgument, PortfolioSpec
from cryptoenv.env.portfolio.vector import empty_portfolios
from cryptoenv.env.saved_state import copies
from cryptoenv.env.spec import checked_options, numbers_of
from cryptoenv.rendering.pictured_env import PicturedEnv
from cryptoenv.rendering.portfolio_renderer import PortfolioRenderer
from cryptoenv.rendering.renderer import usable_render_modes
from cryptoenv.trading.account import INFO_WIDTH, RUINED
from cryptoenv.trading.config import Costs, Instrument, PortfolioLimits, RiskLimits, Sizing, VenueRules
from cryptoenv.trading.rewards import RewardFunction, finite_reward

RESET_OPTIONS = ("market", "start", "weights")
ONLY_ROW = np.zeros(1, dtype=np.int64)
Observation = dict[str, NDArray[Any]]


class CryptoPortfolioEnv(PicturedEnv):
    """Trade several crypto markets on one account, bar by bar; `cryptoenv.trading.portfolio_account` has its rules.

    `gym.make("CryptoPortfolio-v0")` after `import cryptoenv`. With one asset it is `CryptoTrade-v0` with
    `actions="continuous"`, to the last bit.

    Observation, `observation="window"` (`Dict`, float32, fresh memory every call):

    | key | shape | meaning | range |
    |---|---|---|---|
    | each timeframe, e.g. "15m" | (A, W, F) | each asset's last W closed bars, oldest first; 0 if not there | [-8, 8] |
    | "assets"[:, 0] | | exposure: position value / equity | +- 2 x exposure limit |
    | "assets"[:, 1] | | last target exposure, within the limits | +- exposure limit |
    | "assets"[:, 2] | | unrealised profit / equity | [-1, 1] |
    | "assets"[:, 3] | | log2(1 + bars held) / 16 | [0, 1] |
    | "assets"[:, 4] | | 1 where the asset is there and its last bar had volume | [0, 1] |
    | "account"[0] | | cash / equity | [-2 x gross, 1 + 2 x gross] |
    | "account"[1] | | sum of absolute exposures | [0, 2 x gross] |
    | "account"[2] | | sum of exposures | +- 2 x gross |
    | "account"[3] | | drawdown: fraction below the episode's peak equity | [0, 1] |

    With `observation="index"` the windows are replaced by "index", int64 `(market, t)`.

    Action: "weights", a `Box(-1, 1)` (spot: `Box(0, 1)`) of shape (A,), times the exposure limit: target exposures, the
    rest is cash; or "simplex", a `Box(0, 1)` of shape (A + 1,), the last entry cash, divided by its sum (all 0: cash).
    Weights beyond the gross or net limit are scaled down.

    Episode end: as `CryptoTrade-v0`. Info: `equity`, `cash`, `exposure` (net), `fees`, `slippage`, `funding`, `borrow`
    (cumulative, quote; `step_fees` and so on: of the step), `ruined`, `bar`, `market`; (A,) arrays `exposures`,
    `quantities`, `closes`, `targets`, `fill_price` and `exit_price` (0 where nothing filled), `fill_quantity`,
    `order_status` (`OrderStatus`), `exit_kind` (`ExitKind`) and `tradable`.

    Args:
        market: None (a pool of synthetic portfolios, `CorrelatedTask()`); a `CorrelatedTask`; a dict of bars (also
            files, `Market`s) by the asset's name; a `PortfolioMarket`; or a sequence of the last two.
        split: "train", "validation" or "test": the seed family of synthetic portfolios.
        timeframes, window, instrument, observation, reward, costs, limits, rules, sizing, reward_adaptation,
            initial_cash, episode_bars, random_start: as `CryptoTradeEnv`. `limits.exposure` is of each asset.
        actions: "weights" (default) or "simplex".
        portfolio_limits: `PortfolioLimits`, gross and net. None: gross is `limits.exposure`, net is gross.
        all_listed: True (default): episodes begin once every asset has been listed; False: once one has.
        portfolios: how many synthetic ones there are (8), each made when an episode first begins on it.
        days: tradable days of each of them (60).
        render_mode: None; "rgb_array" ((600, 800, 3) uint8: equity, weights by asset, prices, drawdown); "human" (the
            same in a live window, at most 10 frames per second); "ansi" (text).

    Raises:
        ValueError, TypeError: an argument that is not allowed, with what is. RuntimeError: render_mode "human" where
            there is no display.

    Version history: v0, first version.

    Example:
        >>> from cryptoenv.env.portfolio.single import CryptoPortfolioEnv
        >>> env = CryptoPortfolioEnv(window=(4, 2, 1), portfolios=1, days=5)
        >>> observation, info = env.reset(seed=0)
        >>> {name: array.shape for name, array in observation.items()}
        {'15m': (4, 4, 34), '4h': (4, 2, 18), '1d': (4, 1, 18), 'assets': (4, 5), 'account': (4,)}
        >>> observation, reward, terminated, truncated, info = env.step([0.4, 0.2, -0.2, 0.0])
        >>> info["exposures"].round(1).tolist()
        [0.4, 0.2, -0.2, 0.0]
    """

    _renderer: PortfolioRenderer | None

    def __init__(
        self,
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
        render_mode: str | None = None,
    ) -> None:
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "render_modes": usable_render_modes()}
        self._renderer = None if render_mode is None else PortfolioRenderer(render_mode, self.metadata["render_fps"])
        self.setup = PortfolioSpec(
            market, split=split, timeframes=timeframes, window=window, instrument=instrument, actions=actions,
            observation=observation, reward=reward, costs=costs, limits=limits, portfolio_limits=portfolio_limits,
            rules=rules, sizing=sizing, reward_adaptation=reward_adaptation, initial_cash=initial_cash,
            episode_bars=episode_bars, random_start=random_start, all_listed=all_listed, portfolios=portfolios,
            days=days,
        )  # fmt: skip
        self.observation_space: Any = self.setup.observation_space
        self.action_space: Any = self.setup.action_space
        self._rows = empty_portfolios(1, len(self.setup.names))
        self._begun, self._running = False, False
        self._plain = self.setup.actions == "weights"
        self._asked = (
            float(self.setup.lowest), float(self.setup.trading.limits.exposure), float(self.setup.gross),
            float(self.setup.net), self._rows.targets,
        )  # fmt: skip
        self._point_to_memory()

    def _point_to_memory(self) -> None:
        """Set up what holds addresses of this object's own arrays."""
        self._memory = PortfolioMemory(self.setup, self._rows)
        self._asked = (*self._asked[:4], self._rows.targets)
        self._fresh: Iterator[Any] = iter(())

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle or a deep copy keeps: all but addresses."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_memory", "_fresh")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle or a deep copy."""
        self.__dict__.update(state)
        self._point_to_memory()

    def _row(self) -> Any:
        """The next row of fresh memory, which the next jitted call fills."""
        row = next(self._fresh, None)
        if row is None:
            self._fresh = self._memory.renew()
            row = next(self._fresh)
        return row

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: restarts the sequence of episodes; same seed, same episodes.
            options: any of `market` (number in the pool), `start` (bar t of the first decision), `weights` ((A,), held
                from the start, opened at the close at no cost). What is not given is drawn (weights: 0).

        Raises:
            ValueError, TypeError: an unknown option or one out of range.
        """
        given = checked_options(options, RESET_OPTIONS)
        setup, rows = self.setup, self._rows
        market, start = setup.checked_start(given)
        weights = setup.checked_weights(given.get("weights", np.zeros(len(setup.names))))
        self._running = False
        super().reset(seed=seed)
        clock = rows.clocks[0]
        if seed is not None or not self._begun:
            clock[SEED], clock[EPISODE], self._begun = int(self.np_random_seed or 0) & SEED_MASK, 0, True
        else:
            clock[EPISODE] += 1
        setup.prepare(rows.clocks, ONLY_ROW, np.array([market]))
        begin_row(0, rows, setup.world, setup.episode_rules, market, start, weights)
        return self._shown_from_here()

    def _shown_from_here(self) -> tuple[Observation, dict[str, Any]]:
        """Show what account and clock say: an episode goes on, or begins, at their bar."""
        rows = self._rows
        if self._renderer is not None:
            number, bar = rows.clocks[0, [MARKET, BAR]].tolist()
            self._renderer.begin(self.setup.portfolio(number), f"portfolio {number}", bar, *self._drawn())
        r, seen, account, index, assets = self._row()
        see_portfolio(self._memory.wiring, r)
        self._running = True
        return seen, self._told(account, index, assets, rows.accounts[0, RUINED] == 1.0)

    def _drawn(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a picture shows of a bar: (INFO_WIDTH,) of the account, (A, INFO_WIDTH) of the positions."""
        return self._rows.accounts[0, :INFO_WIDTH], self._rows.positions[0, :, :INFO_WIDTH]

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Ask for target exposures and go on to the close of the next bar.

        Args:
            action: (A,) floats, or (A + 1,) with `actions="simplex"`.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: an action that is NaN or out of range; the bar is named. RuntimeError: no episode is running.
        """
        setup, rows = self.setup, self._rows
        if not self._running or rows.clocks[0, ENDED] == 1:
            raise RuntimeError("the episode is over (or none was begun): call reset() before step()")
        values = numbers_of(action, "action")
        fit = self._plain and values.shape == (len(setup.names),) and values.dtype.kind in "fiu"
        if not (fit and ask_weights(values.astype(np.float64), *self._asked)):
            where = "action at bar " + str(rows.clocks[0, BAR])
            setup.write_targets(values[None], rows.targets, where)
        r, seen, account, index, assets = self._row()
        reward, terminated, truncated = step_portfolio(self._memory.wiring, r)
        if setup.reward_function is not None:
            reward = finite_reward(setup.reward_function, rows.accounts[0], int(rows.clocks[0, BAR]))
        if self._renderer is not None:
            self._renderer.record(*self._drawn())
        return seen, reward, terminated, truncated, self._told(account, index, assets, terminated)

    def get_state(self) -> PortfolioState:
        """Where the env stands; `set_state` goes on from there, bit for bit, in this env or another.

        Raises:
            RuntimeError: no episode was begun, or the last reset was interrupted.
        """
        if not self._running:
            raise RuntimeError("no episode was begun: call reset() before get_state()")
        return taken_portfolios(self.setup, self._rows)

    def set_state(self, state: PortfolioState) -> tuple[Observation, dict[str, Any]]:
        """Put the env where a state was taken; later episodes are those that would have come then.

        Args:
            state: of one row, from an env on the same markets, made with the same arguments (other costs or another
                reward are allowed, and hold from here on).

        Returns:
            Observation, windows (A, W, F) or index (2,), assets (A, 5), account (4,), and info of that moment.

        Raises:
            StateError: of another market or version, or of more rows; the env is left as it was.
        """
        put_portfolios(state, self.setup, self._rows)
        self._begun = True
        return self._shown_from_here()

    def branch(self, n: int) -> tuple["CryptoPortfolioEnv", ...]:
        """`n` envs that go on from here, each by itself: what one does changes neither the others nor this one.

        Raises:
            RuntimeError: no episode was begun. ValueError: `n` below 1.
        """
        self.get_state()  # refuses what has no state
        return copies(self, n)

    def _told(self, account: Any, index: Any, assets: dict[str, Any], ruined: bool) -> dict[str, Any]:
        info: dict[str, Any] = dict(zip(ACCOUNT_SHOWN, account.tolist()))  # noqa: B905 (equal by construction, hot)
        info.update(assets)
        info["market"], info["bar"] = index.tolist()
        info["ruined"] = ruined
        return info
