"""The keyword arguments of the environment, validated once for the single and the vector env alike."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.env.episode import ACCOUNT_OBSERVATION, DRAWN, EpisodeRules, World
from cryptoenv.env.market_visits import PoolVisits, StreamVisits, Visits
from cryptoenv.features import FEATURE_BOUND
from cryptoenv.files.typed_values import Range, is_number, is_whole, number, whole
from cryptoenv.market.funding_files import FundingArgument
from cryptoenv.market.market import Market
from cryptoenv.market.pool import DEFAULT_TIMEFRAMES, MarketArgument, MarketPool, make_pool
from cryptoenv.market.table import FIRST, LAST
from cryptoenv.market.task_markets import MarketStream
from cryptoenv.trading.config import (
    Costs,
    Instrument,
    RiskLimits,
    Sizing,
    TradingConfig,
    Values,
    VenueRules,
    config_part,
)
from cryptoenv.trading.rewards import RewardFunction, reward_weights

DEFAULT_WINDOW = (32, 16, 8)
OBSERVATIONS = ("window", "index")
CASH_RANGE = (1e-6, 1e15)  #: beyond it cents, or the floor of ruin, are lost to rounding
FLOAT32_EXACT = 16_777_216  #: largest integer up to which float32 is exact; SB3 casts index observations to it


class EnvironmentSpec:
    """Validated arguments of `CryptoTrade-v0`, and what follows from them: pool, spaces, kernel parameters.

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

    Attributes:
        pool: the markets (of a stream, one that stands for all). stream: what they are drawn from, or None.
        visits: which of them episodes begin on. world: the kernel's view of them. episode_rules: its view of episodes.
        window: bars per timeframe. targets: (A,) float64 target exposures, or None for continuous actions.
        trading: the validated trading configuration. observation: "window" or "index".
        reward_function: the reward callable, or None where named components are weighted.
        observation_space, action_space: of one environment.
    """

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
    ) -> None:
        self.trading = TradingConfig(
            instrument=instrument,
            costs=config_part(Costs, costs, "costs"),
            limits=config_part(RiskLimits, limits, "limits"),
            rules=config_part(VenueRules, rules, "rules"),
            sizing=config_part(Sizing, sizing, "sizing"),
            reward_adaptation=reward_adaptation,
        )
        if observation not in OBSERVATIONS:
            raise ValueError(f"observation={observation!r} is unknown; choose one of {OBSERVATIONS}")
        self.observation = observation
        self.targets = self._validated_actions(actions)
        self.episode_rules = self._validated_episode(initial_cash, episode_bars, random_start)
        if timeframes is not None and (not isinstance(timeframes, Sequence) or len(timeframes) == 0):
            raise TypeError(f"timeframes={timeframes!r} must be a sequence such as {DEFAULT_TIMEFRAMES}, base first")
        weights = reward_weights(reward)
        self.reward_function: RewardFunction | None = reward if callable(reward) else None
        if funding is not None and instrument != "perpetual":
            raise ValueError(f"funding= is paid on 'perpetual' only; instrument is {instrument!r}")
        found = make_pool(market, timeframes, split, markets, days, funding)
        self.stream = found if isinstance(found, MarketStream) else None
        self.pool = found if isinstance(found, MarketPool) else MarketPool((found.draw(0),))
        if self.stream is not None:
            self.episode_rules = self.episode_rules._replace(keeps_place=True)
            if observation == "index":
                raise ValueError(
                    "observation='index' names a market by its place in a fixed pool, and markets='stream' has none: "
                    "pass markets= a number, or observation='window'"
                )
        self.window = self._validated_window(window)
        self._check_funding()
        self.visits = self._visits(1)
        self.world = World(self.visits.table, self._parameters(), weights)
        self.observation_space = self._observation_space()
        self.action_space = self._action_space()
        self.masks_actions = (
            self.trading.rules.step_size > 0.0
            or self.trading.rules.min_notional > 0.0
            or self.trading.limits.drawdown_stop is not None
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle: addresses of another process mean nothing here, so the table is made anew."""
        self.__dict__.update(state)
        self.world = self.world._replace(table=self.visits.table)

    def _visits(self, rows: int) -> Visits:
        if self.stream is None:
            return PoolVisits(self.pool, self.window)
        return StreamVisits(self.stream, self.pool, self.window, rows)

    def serve(self, rows: int) -> None:
        """Give each of N = `rows` environments a place of its own in the table, if their markets are a stream's."""
        if self.stream is not None:
            self.visits = self._visits(rows)
            self.world = self.world._replace(table=self.visits.table)

    def _parameters(self) -> NDArray[np.float64]:
        return self.trading.parameters(timeframe_ms(self.pool.timeframes[0]) / 1000.0)

    def set_costs(self, costs: Costs) -> None:
        """Trade at other costs from now on."""
        self.trading = replace(self.trading, costs=costs)
        self._check_funding()
        self.world.parameters[:] = self._parameters()

    @property
    def drawn_from(self) -> Hashable:
        """What tells the markets that episodes are drawn from from others, as far as two numbers can."""
        source = self.visits.source(0)
        own = (len(source), source.prices[0, CLOSE], source.prices[-1, CLOSE]) if isinstance(source, Market) else source
        return own, self.visits.count

    @property
    def lowest_action(self) -> float:
        """Lower end of continuous actions: 0 where shorts are not allowed."""
        return -1.0 if self.trading.shorts_allowed else 0.0

    @property
    def limit(self) -> float:
        """The exposure limit."""
        return float(self.trading.limits.exposure)

    def _validated_actions(self, actions: Sequence[float] | str | None) -> NDArray[np.float64] | None:
        """(A,) float64 targets of discrete actions, None for "continuous".

        Where none are given: flat and long, and short where the instrument allows it, each within the exposure limit.
        """
        if actions is None:
            full = min(1.0, self.limit)
            return np.array([-full, 0.0, full] if self.trading.shorts_allowed else [0.0, full])
        if isinstance(actions, str):
            if actions != "continuous":
                raise ValueError(f"actions={actions!r} is unknown; pass 'continuous' or a tuple of target exposures")
            return None
        try:
            targets = np.asarray(actions, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"actions={actions!r} must be target exposures, numbers, or 'continuous'") from error
        if targets.ndim != 1 or targets.size < 2 or len(np.unique(targets)) != targets.size:
            raise ValueError(f"actions={actions!r} must be at least two different target exposures")
        low = self.lowest_action * self.limit
        for i, target in enumerate(targets):
            if not low <= target <= self.limit:
                raise ValueError(
                    f"actions[{i}]={target} is outside [{low}, {self.limit}], what instrument="
                    f"{self.trading.instrument!r} with RiskLimits.exposure={self.limit} allows"
                )
        return targets

    @staticmethod
    def _validated_episode(initial_cash: float, episode_bars: int, random_start: bool) -> EpisodeRules:
        cash = number("initial_cash", initial_cash, Range(*CASH_RANGE), "amounts of quote currency")
        bars = whole("episode_bars", episode_bars, Range(1), "whole numbers of bars")
        if not isinstance(random_start, (bool, np.bool_)):
            raise TypeError(f"random_start={random_start!r} must be True or False")
        return EpisodeRules(bars, bool(random_start), cash)

    def _validated_window(self, window: Sequence[int] | None) -> tuple[int, ...]:
        count = len(self.pool.timeframes)
        if window is None:
            if count > len(DEFAULT_WINDOW):
                raise ValueError(f"pass window=: {count} timeframes have no default (one number of bars for each)")
            return DEFAULT_WINDOW[:count]
        sizes = tuple(window) if isinstance(window, (list, tuple, np.ndarray)) else (window,)
        if len(sizes) != count:
            raise ValueError(f"window={window!r} must hold one number of bars for each of {self.pool.timeframes}")
        return tuple(whole(f"window[{k}]", size, of="whole numbers of bars") for k, size in enumerate(sizes))

    def _check_funding(self) -> None:
        """A market's own funding series and a constant rate exclude each other.

        Only perpetuals pay funding: "spot" and "margin" leave a market's series alone, so that a market serves all.
        """
        if self.trading.costs.funding == 0.0:
            return
        for i in self.pool.representatives:
            if self.pool.markets[i].funding_series:
                raise ValueError(
                    f"market {i} brings a funding series; Costs.funding={self.trading.costs.funding} would charge twice"
                )

    def _observation_space(self) -> spaces.Dict:
        account = spaces.Box(
            np.array([-2.0 * self.limit, -self.limit, -1.0, 0.0, 0.0], dtype=np.float32),
            np.array([2.0 * self.limit, self.limit, 1.0, 1.0, 1.0], dtype=np.float32),
            shape=(ACCOUNT_OBSERVATION,),
            dtype=np.float32,
        )
        if self.observation == "index":
            high = np.array([len(self.pool.markets) - 1, int(self.world.table[:, LAST].max())], dtype=np.int64)
            if high.max() > FLOAT32_EXACT:
                raise ValueError(
                    f"observation='index' holds bar numbers up to {FLOAT32_EXACT:,}, exact as float32; "
                    f"a market of the pool has {high[1] + 1:,} bars: split it"
                )
            index = spaces.Box(np.zeros(2, dtype=np.int64), np.maximum(high, 1), dtype=np.int64)
            return spaces.Dict({"index": index, "account": account})
        windows = {
            timeframe: spaces.Box(-FEATURE_BOUND, FEATURE_BOUND, shape=(size, features.shape[1]), dtype=np.float32)
            for timeframe, size, features in zip(
                self.pool.timeframes, self.window, self.pool.markets[0].features, strict=True
            )
        }
        return spaces.Dict({**windows, "account": account})

    def _action_space(self) -> spaces.Discrete | spaces.Box:
        if self.targets is not None:
            return spaces.Discrete(len(self.targets))
        return spaces.Box(self.lowest_action, 1.0, shape=(1,), dtype=np.float32)

    def checked_start(self, options: dict[str, Any]) -> tuple[int, int]:
        """Market and start bar asked for in reset options, DRAWN where they are not.

        Raises:
            TypeError: not a whole number. ValueError: out of range (the first decidable bar is named), or a start
                without a market in a pool of several.
        """
        if "market" not in options and "start" not in options:
            return DRAWN, DRAWN
        if "market" not in options and self.stream is None and self.visits.count > 1:
            raise ValueError(f"options['start'] needs options['market'] too: the pool has {self.visits.count}")
        market = checked_integer("market", options.get("market", 0))
        if not 0 <= market < self.visits.count:
            raise ValueError(f"options['market']={market} is outside [0, {self.visits.count - 1}]")
        if "start" not in options:
            return market, DRAWN
        start = checked_integer("start", options["start"])
        place = self.visits.place(market)
        first, last = int(self.world.table[place, FIRST]), int(self.world.table[place, LAST])
        if not first <= start < last:
            index = self.pool.markets[place].bars.index
            raise ValueError(
                f"options['start']={start} is outside [{first}, {last - 1}]: the first decidable bar of market "
                f"{market} is {first} ({index[first]}), the last bar with one to trade after it {last - 1}"
            )
        return (market if "market" in options or self.stream is None else DRAWN), start

    def checked_exposure(self, exposure: float) -> float:
        """Starting exposure of a reset.

        Raises:
            ValueError: NaN, or outside what instrument and exposure limit allow.
        """
        low = self.lowest_action * self.limit
        if not is_number(exposure):
            raise TypeError(f"options['exposure']={exposure!r} must be a number")
        if not low <= exposure <= self.limit:
            raise ValueError(f"options['exposure']={exposure} is outside [{low}, {self.limit}]")
        return float(exposure)


def numbers_of(actions: Any, name: str) -> NDArray[Any]:
    """`actions` as an array of any shape; what is none (a tensor with a gradient, or on a GPU) is refused by name.

    Raises:
        ValueError: not an array of numbers.
    """
    try:
        return np.asarray(actions)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = f"{type(actions).__module__}.{type(actions).__name__}"
        raise ValueError(
            f"{name}: a {kind} is no array of numbers ({error}); pass numpy numbers (a tensor: .detach().cpu().numpy())"
        ) from error


def checked_integer(name: str, value: Any) -> int:
    """`value` as an int.

    Raises:
        TypeError: not a whole number.
    """
    if not is_whole(value):
        raise TypeError(f"options[{name!r}]={value!r} must be a whole number")
    return int(value)


def checked_options(options: dict[str, Any] | None, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Reset options as a dict.

    Raises:
        TypeError: not a dict. ValueError: a key that is not allowed.
    """
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"reset options must be a dict of {allowed}, got {options!r}")
    given = dict(options or {})
    for key in given:
        if key not in allowed:
            raise ValueError(f"reset option {key!r} is unknown; allowed are {allowed}")
    return given
