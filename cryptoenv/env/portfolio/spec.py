"""The keyword arguments of `CryptoPortfolio-v0`, validated once for the single and the vector env alike."""

import copy
import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.env.episode import DRAWN, MARKET_DRAW, EpisodeRules
from cryptoenv.env.market_visits import market_draws
from cryptoenv.env.portfolio.episode import ACCOUNT_FIELDS, ASSET_FIELDS, PortfolioWorld, portfolio_span
from cryptoenv.env.spec import CASH_RANGE, DEFAULT_WINDOW, OBSERVATIONS, checked_integer, numbers_of
from cryptoenv.features import FEATURE_BOUND
from cryptoenv.files.typed_values import Range, number, whole
from cryptoenv.market.pool import DEFAULT_TIMEFRAMES, SPLITS, TASK_DAYS
from cryptoenv.market.portfolio_market import CorrelatedTask, PortfolioMarket
from cryptoenv.trading.config import (
    Costs,
    Instrument,
    PortfolioLimits,
    RiskLimits,
    Sizing,
    TradingConfig,
    VenueRules,
)
from cryptoenv.trading.portfolio_account import limit_weights
from cryptoenv.trading.rewards import RewardFunction, reward_weights

PORTFOLIOS = 8  #: synthetic ones in the pool of a task
ACTIONS = ("weights", "simplex")
PortfolioArgument = (
    CorrelatedTask | PortfolioMarket | Mapping[str, Any] | Sequence[PortfolioMarket | Mapping[str, Any]] | None
)


class PortfolioStarts(NamedTuple):
    """Where N rows are asked to begin.

    Attributes:
        markets: (N,) int64, DRAWN where not given. bars: (N,) int64, DRAWN where not given. weights: (N, A) float64.
    """

    markets: NDArray[np.int64]
    bars: NDArray[np.int64]
    weights: NDArray[np.float64]


class PortfolioSpec:
    """Validated arguments of `CryptoPortfolio-v0` and what follows from them; `CryptoPortfolioEnv` says what each is.

    Attributes:
        names: A names of the first portfolio's assets. window: bars per timeframe. trading: the configuration.
        gross, net: what absolute weights, and the absolute sum of weights, may add up to. world, episode_rules: the
        jitted code's view. observation_space, action_space: of one environment.
    """

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
    ) -> None:
        self.trading = TradingConfig(
            instrument, costs or Costs(), limits or RiskLimits(), rules or VenueRules(), sizing or Sizing(),
            reward_adaptation,
        )  # fmt: skip
        self._limit_portfolio(portfolio_limits if portfolio_limits is not None else PortfolioLimits())
        for name, value, allowed in (
            ("observation", observation, OBSERVATIONS), ("actions", actions, ACTIONS), ("split", split, SPLITS)
        ):  # fmt: skip
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is unknown; choose one of {allowed}")
        for name, flag in (("random_start", random_start), ("all_listed", all_listed)):
            if not isinstance(flag, (bool, np.bool_)):
                raise TypeError(f"{name}={flag!r} must be True or False")
        self.observation, self.actions, self._split = observation, actions, split
        cash = number("initial_cash", initial_cash, Range(*CASH_RANGE), "amounts of quote currency")
        bars = whole("episode_bars", episode_bars, Range(1), "whole numbers of bars")
        self.episode_rules = EpisodeRules(bars, bool(random_start), cash)
        weights = reward_weights(reward)
        self.reward_function: RewardFunction | None = reward if callable(reward) else None
        self._wanted = None if timeframes is None else tuple(timeframes)
        self._gather(market, portfolios, days)
        first = self.portfolio(0)
        self.names, self.timeframes = first.names, first.timeframes
        self.window = self._validated_window(window)
        self._check_funding()
        assets, width = first.rows(self.window).shape
        self._table = np.zeros((len(self._sources), assets, width), dtype=np.int64)
        self._made = np.zeros(len(self._sources), dtype=np.bool_)
        self._parts = self._parameters(), weights, np.array([self.gross, self.net]), bool(all_listed)
        self._point_to_memory()
        for m in range(len(self._sources) if self._task is None else 1):
            self.make(m)
        self.settled = bool(self._made.all())  #: whether every portfolio is there, so that none has to be prepared
        self.observation_space, self.action_space = self._observation_space(), self._action_space()

    def _point_to_memory(self) -> None:
        self.world = PortfolioWorld(self._table.reshape(-1, self._table.shape[2]), *self._parts)

    def __deepcopy__(self, memo: dict[int, Any]) -> "PortfolioSpec":
        """A copy whose costs can change by themselves; markets are shared."""
        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(self.__dict__)
        copied._table, copied._made, copied._sources = self._table.copy(), self._made.copy(), list(self._sources)
        parameters, weights, limits, listed = self._parts
        copied._parts = parameters.copy(), weights.copy(), limits.copy(), listed
        for name in ("observation_space", "action_space"):  # each draws samples of its own
            setattr(copied, name, copy.deepcopy(getattr(self, name), memo))
        copied._point_to_memory()
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle keeps: all but addresses, and of a task's portfolios none."""
        state = {name: value for name, value in self.__dict__.items() if name != "world"}
        if self._task is not None:
            state["_sources"] = [None] * len(self._sources)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle: addresses of another process mean nothing here, so the table is made anew."""
        self.__dict__.update(state)
        made = np.flatnonzero(self._made)
        self._table, self._made = np.zeros_like(self._table), np.zeros_like(self._made)
        self._point_to_memory()
        for m in made.tolist():
            self.make(m)

    def _limit_portfolio(self, given: PortfolioLimits) -> None:
        self.gross = float(self.trading.limits.exposure if given.gross is None else given.gross)
        self.net = float(self.gross if given.net is None else given.net)
        if self.trading.instrument != "perpetual" and self.gross > 1.0:
            raise ValueError(
                f"PortfolioLimits.gross={self.gross} needs leverage, which {self.trading.instrument!r} does not give; "
                "use instrument='perpetual' or gross <= 1"
            )
        if self.trading.instrument == "perpetual" and self.trading.rules.maintenance_margin * self.gross >= 1.0:
            raise ValueError(
                f"VenueRules.maintenance_margin={self.trading.rules.maintenance_margin} liquidates a gross exposure of "
                f"{self.gross} at once; their product must stay below 1"
            )

    def _gather(self, market: PortfolioArgument, portfolios: int | None, days: int | None) -> None:
        """Portfolios by number, and the task that makes those that are None."""
        self._task = market if isinstance(market, CorrelatedTask) else (CorrelatedTask() if market is None else None)
        if self._task is not None:
            count = PORTFOLIOS if portfolios is None else whole("portfolios", portfolios)
            self._days = TASK_DAYS if days is None else whole("days", days)
            self._sources: list[PortfolioMarket | None] = [None] * count
            return
        for name, value in (("portfolios", portfolios), ("days", days)):
            if value is not None:
                raise ValueError(f"{name}={value!r} is of synthetic tasks only, and market is your own: leave it out")
        if self._split != "train":
            raise ValueError(f"split={self._split!r} is of synthetic tasks only: cut your own bars in time order")
        given = list(market) if isinstance(market, (list, tuple)) else [market]
        if not given:
            raise ValueError("market is an empty sequence; pass at least one portfolio")
        self._sources = [self._own(one) for one in given]
        for m, one in enumerate(self._sources[1:], start=1):
            assert one is not None and self._sources[0] is not None
            same = one.markets[0].feature_names == self._sources[0].markets[0].feature_names
            if len(one.names) != len(self._sources[0].names) or not same:
                raise ValueError(f"portfolio {m} has other features, or another number of assets, than portfolio 0")

    def _own(self, one: Any) -> PortfolioMarket:
        if isinstance(one, PortfolioMarket):
            if self._wanted is not None and one.timeframes != self._wanted:
                raise ValueError(f"timeframes={self._wanted} was asked for, but the portfolio has {one.timeframes}")
            return one
        if isinstance(one, Mapping):
            return PortfolioMarket.from_bars(one, self._wanted)
        raise TypeError(
            "market must be a dict of bars by the asset's name, a PortfolioMarket, a CorrelatedTask or a sequence of "
            f"the first two, got {type(one).__name__}"
        )

    def portfolio(self, m: int) -> PortfolioMarket:
        """Portfolio `m` of the pool; a task's is made when it is first asked for, and kept."""
        found = self._sources[m]
        if found is None:
            assert self._task is not None
            found = self._task.draw(self._split, m, self._days, self._wanted or DEFAULT_TIMEFRAMES)
            self._sources[m] = found
        return found

    @property
    def count(self) -> int:
        """M, portfolios of the pool."""
        return len(self._sources)

    def market_names(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """What tells the portfolios of these numbers from all others, 16 hex digits each."""
        asked = list(numbers)
        named = {m: self._named(m) for m in set(asked)}
        return tuple(named[m] for m in asked)

    def _named(self, m: int) -> str:
        if self._task is not None:
            said = repr((self._task, self._split, m, self._days, self.timeframes))
        else:
            one = self.portfolio(m)
            said = repr([(name, market.hash, offset) for name, market, offset
                         in zip(one.names, one.markets, one.offsets, strict=True)])  # fmt: skip
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def set_costs(self, costs: Costs) -> None:
        """Trade at other costs from now on."""
        self.trading = replace(self.trading, costs=costs)
        self._check_funding()
        self.world.parameters[:] = self._parameters()

    def _parameters(self) -> NDArray[np.float64]:
        return self.trading.parameters(timeframe_ms(self.timeframes[0]) / 1000.0)

    def make(self, m: int) -> None:
        """Have portfolio `m` ready, and its rows in the table."""
        if not self._made[m]:
            self._table[m] = self.portfolio(m).rows(self.window)
            self._made[m] = True

    def prepare(
        self, clocks: NDArray[np.int64], rows: NDArray[np.int64], asked: NDArray[np.int64] | None = None, later: int = 0
    ) -> NDArray[np.int64]:
        """Make the portfolios that episodes are about to begin on; their numbers, (R,) int64, or DRAWN where they are
        drawn again.

        Args:
            clocks: (N, CLOCK_WIDTH). rows: (R,) of them. asked: (R,) portfolios asked for, or DRAWN; None: all drawn.
            later: 1 where the clocks still show the episode before.
        """
        chosen = np.full(len(rows), DRAWN) if asked is None else asked
        if not self.settled:
            drawn = market_draws(clocks, rows, later, MARKET_DRAW, self.count)
            for m in np.unique(np.where(chosen == DRAWN, drawn, chosen)).tolist():
                self.make(m)
            self.settled = bool(self._made.all())
        return chosen

    def _validated_window(self, window: Sequence[int] | None) -> tuple[int, ...]:
        count = len(self.timeframes)
        if window is None and count <= len(DEFAULT_WINDOW):
            return DEFAULT_WINDOW[:count]
        sizes = tuple(window) if isinstance(window, (list, tuple, np.ndarray)) else (window,)
        if len(sizes) != count:
            raise ValueError(f"window={window!r} must hold one number of bars for each of {self.timeframes}")
        return tuple(whole(f"window[{k}]", size, of="whole numbers of bars") for k, size in enumerate(sizes))

    def _check_funding(self) -> None:
        """Funding series of the bars and a constant rate exclude each other; synthetic portfolios bring none."""
        if self.trading.costs.funding == 0.0:
            return
        for m, one in enumerate(self._sources if self._task is None else ()):
            assert one is not None
            for name, market in zip(one.names, one.markets, strict=True):
                if market.funding_series:
                    raise ValueError(
                        f"asset {name!r} of portfolio {m} brings a funding series; Costs.funding="
                        f"{self.trading.costs.funding} would charge twice"
                    )

    @property
    def drawn_from(self) -> Hashable:
        """What tells the portfolios that episodes are drawn from from others, as far as a few numbers can."""
        if self._task is not None:
            return "portfolios", self._task, self._split, self._days, self.count
        prices = self.portfolio(0).markets[0].prices
        return "portfolios", self.names, len(prices), prices[0, CLOSE], prices[-1, CLOSE], self.count

    @property
    def lowest(self) -> float:
        """Lower end of an asset's action: 0 where shorts are not allowed."""
        return -1.0 if self.trading.shorts_allowed and self.actions == "weights" else 0.0

    def _action_space(self) -> spaces.Box:
        return spaces.Box(self.lowest, 1.0, shape=(len(self.names) + (self.actions == "simplex"),), dtype=np.float32)

    def _observation_space(self) -> spaces.Dict:
        assets, limit, most = len(self.names), self.trading.limits.exposure, 2.0 * self.gross
        low = np.tile(np.array([-2.0 * limit, -limit, -1.0, 0.0, 0.0], dtype=np.float32), (assets, 1))
        high = np.tile(np.array([2.0 * limit, limit, 1.0, 1.0, 1.0], dtype=np.float32), (assets, 1))
        account = spaces.Box(
            np.array([-most, 0.0, -most, 0.0], dtype=np.float32),
            np.array([1.0 + most, most, most, 1.0], dtype=np.float32),
            dtype=np.float32,
        )
        assert low.shape[1] == len(ASSET_FIELDS) and account.shape == (len(ACCOUNT_FIELDS),)
        own: dict[str, spaces.Space[Any]] = {"assets": spaces.Box(low, high, dtype=np.float32), "account": account}
        if self.observation == "index":
            most_bars = max(len(self.portfolio(m)) for m in np.flatnonzero(self._made).tolist())
            top = np.array([max(self.count - 1, 1), most_bars], dtype=np.int64)
            return spaces.Dict({"index": spaces.Box(np.zeros(2, dtype=np.int64), top, dtype=np.int64), **own})
        widths = [matrix.shape[1] for matrix in self.portfolio(0).markets[0].features]
        windows: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(-FEATURE_BOUND, FEATURE_BOUND, shape=(assets, size, width), dtype=np.float32)
            for name, size, width in zip(self.timeframes, self.window, widths, strict=True)
        }
        return spaces.Dict({**windows, **own})

    def write_targets(self, actions: Any, targets: NDArray[np.float64], where: str) -> None:
        """Write the weights that (N, A) actions ("simplex": (N, A + 1)) ask for, within the limits.

        Args:
            actions: of N rows. targets: (N, A) float64, overwritten; left alone where an action is refused.
            where: what an error calls the place.

        Raises:
            ValueError: another shape, or a number out of range or NaN; the row is named.
        """
        values, width = numbers_of(actions, where), targets.shape[1] + (self.actions == "simplex")
        if values.shape != (len(targets), width) or values.dtype.kind not in "fiu":
            raise ValueError(
                f"{where}: pass numbers of shape {(len(targets), width)}, got {values.dtype} {values.shape}"
            )
        values = values.astype(np.float64)
        allowed = (values >= self.lowest) & (values <= 1.0)
        if not allowed.all():
            row, column = np.argwhere(~allowed)[0].tolist()
            raise ValueError(
                f"{where}: weight {values[row, column]} of asset {column} in row {row} is not allowed: pass finite "
                f"numbers in [{self.lowest}, 1.0]"
            )
        if self.actions == "simplex":
            total = values.sum(axis=1, keepdims=True)
            values = np.divide(values, total, out=np.zeros_like(values), where=total > 0.0)[:, :-1]
            np.multiply(values, min(self.gross, 1.0), out=targets)
        else:
            np.multiply(values, self.trading.limits.exposure, out=targets)
        limit_weights(targets, self.gross, self.net)

    def checked_start(self, options: dict[str, Any]) -> tuple[int, int]:
        """Portfolio and start bar asked for in reset options, DRAWN where they are not.

        Raises:
            TypeError: not a whole number. ValueError: out of range, or a start without a portfolio of several.
        """
        if "market" not in options and "start" not in options:
            return DRAWN, DRAWN
        if "market" not in options and self.count > 1:
            raise ValueError(f"options['start'] needs options['market'] too: the pool has {self.count}")
        market = checked_integer("market", options.get("market", 0))
        if not 0 <= market < self.count:
            raise ValueError(f"options['market']={market} is outside [0, {self.count - 1}]")
        if "start" not in options:
            return market, DRAWN
        start = checked_integer("start", options["start"])
        self.make(market)
        first, last = portfolio_span(self.world.table, market, len(self.names), self.world.all_listed)
        if not first <= start < last:
            raise ValueError(f"options['start']={start} is outside [{first}, {last - 1}]")
        return market, start

    def checked_weights(self, weights: Any) -> NDArray[np.float64]:
        """(A,) weights of a reset.

        Raises:
            ValueError: another shape, NaN, or outside what instrument and limits allow.
        """
        held = np.asarray(weights, dtype=np.float64)
        low = -self.trading.limits.exposure if self.trading.shorts_allowed else 0.0
        if held.shape != (len(self.names),) or not ((held >= low) & (held <= self.trading.limits.exposure)).all():
            raise ValueError(
                f"options['weights']={weights!r} must be {len(self.names)} numbers in "
                f"[{low}, {self.trading.limits.exposure}]"
            )
        if np.abs(held).sum() > self.gross * (1 + 1e-12) or abs(held.sum()) > self.net * (1 + 1e-12):
            raise ValueError(f"options['weights']={weights!r} exceed the limits: gross {self.gross}, net {self.net}")
        return held

    def checked_starts(self, given: dict[str, Any], rows: int) -> PortfolioStarts:
        """Where the options ask N = `rows` rows to begin: `market`, `start` one or (N,), `weights` (A,) or (N, A).

        Raises:
            ValueError, TypeError: another shape, or what the env does not allow; the row is named.
        """
        assets = len(self.names)
        starts = PortfolioStarts(np.full(rows, DRAWN), np.full(rows, DRAWN), np.zeros((rows, assets)))
        for key, value in given.items():
            one = 1 if key == "weights" else 0  # axes of what is for all rows
            if np.ndim(value) not in (one, one + 1) or (np.ndim(value) == one + 1 and len(value) != rows):
                raise ValueError(f"options[{key!r}] must be of one row, or of {rows}, got shape {np.shape(value)}")
        for i in range(rows if given else 0):
            row = {key: value[i] if np.ndim(value) == 1 + (key == "weights") else value for key, value in given.items()}
            try:
                starts.markets[i], starts.bars[i] = self.checked_start(row)
                starts.weights[i] = self.checked_weights(row.get("weights", np.zeros(assets)))
            except (ValueError, TypeError) as error:
                raise type(error)(f"row {i}: {error}") from error
        return starts
