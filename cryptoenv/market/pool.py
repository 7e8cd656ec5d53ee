"""A pool of markets, and every way to name one: arrays are never copied, so that processes share what is mapped."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bar_files.reading import file_stem, read_bars
from cryptoenv.files.typed_values import is_whole
from cryptoenv.market.funding_files import FundingArgument, rates_by_market
from cryptoenv.market.market import Market
from cryptoenv.market.table import MarketArrays, market_row, without_addresses
from cryptoenv.market.task_markets import LazyMarkets, MarketStream, Task, TaskMarket
from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.sample import RegimeSample
from synthetic.regimes.tasks import TASKS, task_seeds

DEFAULT_TIMEFRAMES = ("15m", "4h", "1d")
DEFAULT_TASK = "easy"
SPLITS = ("train", "validation", "test")
TASK_MARKETS = 64  #: markets in the pool of a task
TASK_DAYS = 60  #: tradable days in each of them
STREAM = "stream"
MOST_MARKETS = 100_000  #: of a pool
MOST_DAYS = 10_000  #: of a market

MarketSource = Market | pd.DataFrame | str | os.PathLike[str] | Task | RegimeSample


@dataclass(frozen=True, eq=False)
class MarketPool:
    """Markets of the same timeframes and features.

    Attributes:
        markets: the markets, in order; `market` indices in observations and options refer to it. Those of tasks are
            made when they are first asked for, and kept.
    """

    markets: Sequence[Market]

    def __post_init__(self) -> None:
        if not self.markets:
            raise ValueError("the market pool is empty; pass at least one market")
        if not isinstance(self.markets, LazyMarkets):
            object.__setattr__(self, "markets", LazyMarkets(self.markets))
        first = self.markets[0]
        for i in self.representatives[1:]:
            for name in ("timeframes", "feature_names"):
                if getattr(self.markets[i], name) != getattr(first, name):
                    raise ValueError(
                        f"market {i} has {name} {getattr(self.markets[i], name)}, market 0 has {getattr(first, name)}; "
                        "all markets of a pool must agree"
                    )

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Timeframes of every market, base first."""
        return self.markets[0].timeframes

    @property
    def representatives(self) -> tuple[int, ...]:
        """Numbers of one market of each kind; what is asked of these need not be asked of the others."""
        assert isinstance(self.markets, LazyMarkets)
        return self.markets.representatives

    def source(self, number: int) -> Market | TaskMarket:
        """What market `number` is drawn from; the market itself where it is one's own."""
        assert isinstance(self.markets, LazyMarkets)
        return self.markets.entries[number]

    def row(self, number: int, window: tuple[int, ...]) -> NDArray[np.int64]:
        """Market `number` as a row of the pool's table: (5 + 3K,) int64.

        Raises:
            ValueError: a market too short for the windows, or with no bar to trade after the first decidable one.
        """
        market = self.markets[number]
        try:
            first = market.first_decision(window)
        except ValueError as error:
            raise ValueError(f"market {number}: {error}") from error
        if first >= len(market) - 1:
            raise ValueError(
                f"market {number} has {len(market)} bars and its first decidable bar is {first}: no bar is left to "
                f"trade; bring at least {first + 2 - len(market)} more bars or smaller windows"
            )
        return market_row(number, MarketArrays(market.prices, market.align, market.features), (first, len(market) - 1))

    def table(self, window: tuple[int, ...]) -> NDArray[np.int64]:
        """The jitted code's view of the pool, `market_table`: (M, 5 + 3K) int64, first decidable bars for `window`.

        Markets that were not made yet have the first and last bars of their kind, and no addresses.

        Raises:
            ValueError: a market too short for the windows, or with no bar to trade after the first decidable one.
        """
        assert isinstance(self.markets, LazyMarkets)
        rows = {i: self.row(i, window) for i in self.representatives}
        unmade = {i: without_addresses(row) for i, row in rows.items()}
        like = [self.markets.like(i) for i in range(len(self.markets))]
        return np.array([rows[i] if kind == i else unmade[kind] for i, kind in enumerate(like)])


#: What an environment takes as its `market`.
MarketArgument = MarketSource | MarketPool | Sequence[MarketSource] | None


@lru_cache(maxsize=4)
def task_pool(task: Task, split: str, timeframes: tuple[str, ...], markets: int, days: int) -> MarketPool:
    """The pool of a task: `markets` of `days` tradable days, of the first seeds of the family `split`."""
    seeds = task_seeds(task, split, markets)
    return MarketPool(LazyMarkets([TaskMarket(task, seed, days, timeframes) for seed in seeds]))


def one_market(source: Any, timeframes: tuple[str, ...] | None, funding: pd.Series | None = None) -> Market:
    """A Market from a Market, a sample, bars, a saved market's folder or a file of bars; of bars with funding rates.

    Raises:
        ValueError: a Market with other timeframes, or that rates are given for. TypeError: none of these.
        FileNotFoundError: no such path.
    """
    if isinstance(source, pd.DataFrame):
        return Market.from_bars(source, timeframes or DEFAULT_TIMEFRAMES, funding=funding)
    if isinstance(source, RegimeSample):
        return Market.from_bars(source.bars, timeframes or DEFAULT_TIMEFRAMES, name=source.name, funding=funding)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_file():
            bars, name = read_bars(path), file_stem(path)
            return Market.from_bars(bars, timeframes or DEFAULT_TIMEFRAMES, name=name, funding=funding)
        if not path.is_dir():
            raise FileNotFoundError(f"market path {str(path)!r} does not exist")
        source = Market.load(path)
    if not isinstance(source, Market):
        raise TypeError(
            "market must be a Market, a DataFrame of bars, a path, a task or its name, a sample of "
            f"synthetic.regime_market or a sequence of them, got {type(source).__name__}"
        )
    if funding is not None:
        raise ValueError(
            "funding= is charged on bars, and the market is made already: build it with Market.from_bars(funding=...)"
        )
    if timeframes is not None and source.timeframes != timeframes:
        raise ValueError(
            f"timeframes={timeframes} was asked for, but the market was built with {source.timeframes}; "
            "rebuild it with Market.from_bars or leave timeframes out"
        )
    return source


def make_pool(
    market: MarketArgument,
    timeframes: Sequence[str] | None = None,
    split: str = "train",
    markets: int | str | None = None,
    days: int | None = None,
    funding: FundingArgument = None,
) -> MarketPool | MarketStream:
    """The pool for an environment's `market` argument, or the stream of tasks.

    Args:
        market: None (the default task), a task or its name, a sample, a Market, bars, a path, a MarketPool, or a
            sequence of them. A task's name is the task, whatever files there are; `Path(name)` is a path.
        timeframes: base first, or None for the market's own (the default ones for bars and tasks).
        split: "train", "validation" or "test"; tasks only.
        markets: of each task: how many (None: `TASK_MARKETS`), or "stream".
        days: tradable ones of each market of a task; None: `TASK_DAYS`.
        funding: rates of a perpetual's bars, as `rates_by_market` takes them.

    Raises:
        TypeError, ValueError, FileNotFoundError: what was wrong and what is allowed.
    """
    if isinstance(timeframes, str):
        raise TypeError(f"timeframes must be a sequence such as {DEFAULT_TIMEFRAMES}, got the string {timeframes!r}")
    wanted = None if timeframes is None else tuple(timeframes)
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {SPLITS}")
    count, length = _checked_markets(markets), _checked_days(days)
    several = isinstance(market, (list, tuple))
    sources: list[Any] = [DEFAULT_TASK if market is None else market]
    if isinstance(market, (list, tuple)):
        sources = list(market)
    tasks = [_task_of(source) for source in sources]
    given = {"markets": markets, "days": days}
    _require_tasks(tasks, sources if several else [market], split, given)
    if funding is not None and (isinstance(market, MarketPool) or any(task is not None for task in tasks)):
        raise ValueError("funding= is of bars of your own: a task has none, and a pool's markets brought theirs")
    drawn_from = wanted or DEFAULT_TIMEFRAMES
    if count == STREAM:
        return MarketStream(tuple(task for task in tasks if task is not None), split, length, drawn_from)
    assert isinstance(count, int)
    if isinstance(market, MarketPool):
        for i in market.representatives:
            one_market(market.markets[i], wanted)
        return market
    if len(tasks) == 1 and tasks[0] is not None:
        return task_pool(tasks[0], split, drawn_from, count, length)
    entries: list[Market | TaskMarket] = []
    for source, task, rates in zip(sources, tasks, rates_by_market(funding, len(sources)), strict=True):
        if task is None:
            entries.append(one_market(source, wanted, rates))
        else:
            entries += [TaskMarket(task, seed, length, drawn_from) for seed in task_seeds(task, split, count)]
    return MarketPool(LazyMarkets(entries))


def _task_of(source: Any) -> Task | None:
    """The task that a source names or is; None for a market of one's own.

    Raises:
        ValueError: a name that is neither a task's nor an existing path.
    """
    if isinstance(source, (RegimeTask, MacroTask)):
        return source
    if not isinstance(source, str):
        return None
    if source not in TASKS and not Path(source).exists():
        raise ValueError(f"market={source!r} is neither a named task {tuple(TASKS)} nor an existing path")
    return TASKS.get(source)


def _require_tasks(
    tasks: Sequence[Task | None], sources: Sequence[Any], split: str, given: dict[str, int | str | None]
) -> None:
    """Refuse what is of tasks only where `market` has markets of one's own, as whose parts none were drawn."""
    own = [source for source, task in zip(sources, tasks, strict=True) if task is None]
    if not own:
        return
    what = repr(own[0]) if isinstance(own[0], (str, os.PathLike)) else f"a {type(own[0]).__name__}"
    if split != "train":
        raise ValueError(
            f"split={split!r} is of named tasks only, and market has {what}: cut your own bars in time order instead"
        )
    if given["markets"] == STREAM:
        raise ValueError(f"markets='stream' draws new markets of tasks, and market has {what}: leave one of them out")
    for name, value in given.items():
        if value is not None and len(own) == len(tasks):
            raise ValueError(f"{name}={value!r} is of tasks only, and market is {what}: leave {name} out")


def _checked_markets(markets: Any) -> int | str:
    if markets is None:
        return TASK_MARKETS
    if isinstance(markets, str) and markets == STREAM:
        return STREAM
    if not is_whole(markets):
        raise TypeError(f"markets={markets!r} must be a whole number, how many markets, or 'stream'")
    if not 1 <= markets <= MOST_MARKETS:
        raise ValueError(f"markets={markets} must be from 1 to {MOST_MARKETS:,}, or 'stream' for a new one per episode")
    return int(markets)


def _checked_days(days: Any) -> int:
    if days is None:
        return TASK_DAYS
    if not is_whole(days):
        raise TypeError(f"days={days!r} must be a whole number of tradable days")
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"days={days} must be from 1 to {MOST_DAYS:,}")
    return int(days)
