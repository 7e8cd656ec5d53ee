"""A pool of markets, and every way to name one: arrays are never copied, so that processes share what is mapped."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bar_files import read_bars
from cryptoenv.market import Market
from cryptoenv.market_table import market_table

DEFAULT_TIMEFRAMES = ("15m", "4h", "1d")
DEFAULT_TASK = "easy"
SPLITS = ("train", "validation", "test")
TASK_MARKETS = 8  #: markets in the pool of a named task
TASK_DAYS = 60  #: tradable days in each of them

MarketSource = Market | pd.DataFrame | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class MarketPool:
    """Markets of the same timeframes and features.

    Attributes:
        markets: the markets, in order; `market` indices in observations and options refer to it.
    """

    markets: tuple[Market, ...]

    def __post_init__(self) -> None:
        if not self.markets:
            raise ValueError("the market pool is empty; pass at least one market")
        first = self.markets[0]
        for i, market in enumerate(self.markets[1:], start=1):
            for name in ("timeframes", "feature_names"):
                if getattr(market, name) != getattr(first, name):
                    raise ValueError(
                        f"market {i} has {name} {getattr(market, name)}, market 0 has {getattr(first, name)}; "
                        "all markets of a pool must agree"
                    )

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Timeframes of every market, base first."""
        return self.markets[0].timeframes

    def table(self, window: tuple[int, ...]) -> NDArray[np.int64]:
        """The jitted code's view of the pool, `market_table`, with the first decidable bars for `window`.

        Raises:
            ValueError: a market too short for the windows, or with no bar to trade after the first decidable one.
        """
        decidable = []
        for i, market in enumerate(self.markets):
            try:
                first = market.first_decision(window)
            except ValueError as error:
                raise ValueError(f"market {i}: {error}") from error
            if first >= len(market) - 1:
                raise ValueError(
                    f"market {i} has {len(market)} bars and its first decidable bar is {first}: no bar is left to "
                    f"trade; bring at least {first + 2 - len(market)} more bars or smaller windows"
                )
            decidable.append((first, len(market) - 1))
        return market_table([(m.prices, m.align, m.features) for m in self.markets], decidable)


@lru_cache(maxsize=8)
def task_pool(task: str, split: str, timeframes: tuple[str, ...]) -> MarketPool:
    """The pool of a named synthetic task: `TASK_MARKETS` markets of `TASK_DAYS` tradable days, seeded per split.

    Raises:
        ValueError: an unknown task or split.
    """
    import synthetic

    if task not in synthetic.TASKS:
        raise ValueError(f"market={task!r} is neither a named task {tuple(synthetic.TASKS)} nor an existing path")
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {SPLITS}")
    seeds = synthetic.task_seeds(task, split, TASK_MARKETS)
    samples = (synthetic.regime_market(task, days=TASK_DAYS, seed=seed) for seed in seeds)
    return MarketPool(tuple(Market.from_bars(s.bars, timeframes, name=f"{task}-{s.seed}") for s in samples))


def _one_market(source: MarketSource, timeframes: tuple[str, ...] | None) -> Market:
    """A Market from a Market, bars, a saved market's folder or a file of bars."""
    if isinstance(source, pd.DataFrame):
        return Market.from_bars(source, timeframes or DEFAULT_TIMEFRAMES)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_file():
            return Market.from_bars(read_bars(path), timeframes or DEFAULT_TIMEFRAMES, name=path.name)
        if not path.is_dir():
            raise FileNotFoundError(f"market path {str(path)!r} does not exist")
        source = Market.load(path)
    if not isinstance(source, Market):
        raise TypeError(
            "market must be a Market, a DataFrame of bars, a path, a task name or a sequence of them, got "
            f"{type(source).__name__}"
        )
    if timeframes is not None and source.timeframes != timeframes:
        raise ValueError(
            f"timeframes={timeframes} was asked for, but the market was built with {source.timeframes}; "
            "rebuild it with Market.from_bars or leave timeframes out"
        )
    return source


def make_pool(
    market: MarketSource | MarketPool | Sequence[MarketSource] | None, timeframes: Sequence[str] | None, split: str
) -> MarketPool:
    """The pool for an environment's `market` argument.

    Args:
        market: None (the default task), a task name, a Market, bars, a path, a MarketPool, or a sequence of them.
        timeframes: base first, or None for the market's own (the default ones for bars and tasks).
        split: "train", "validation" or "test"; named tasks only.

    Raises:
        TypeError, ValueError, FileNotFoundError: what was wrong and what is allowed.
    """
    if isinstance(timeframes, str):
        raise TypeError(f"timeframes must be a sequence such as {DEFAULT_TIMEFRAMES}, got the string {timeframes!r}")
    wanted = None if timeframes is None else tuple(timeframes)
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {SPLITS}")
    if isinstance(market, MarketPool):
        return market if wanted is None else MarketPool(tuple(_one_market(m, wanted) for m in market.markets))
    if market is None:
        return task_pool(DEFAULT_TASK, split, wanted or DEFAULT_TIMEFRAMES)
    if isinstance(market, str) and (_is_task(market) or not Path(market).exists()):
        return task_pool(market, split, wanted or DEFAULT_TIMEFRAMES)
    if isinstance(market, (list, tuple)):
        return MarketPool(tuple(found for m in market for found in _markets_of(m, wanted, split)))
    return MarketPool((_one_market(market, wanted),))  # type: ignore[arg-type]


def _markets_of(source: MarketSource, timeframes: tuple[str, ...] | None, split: str) -> tuple[Market, ...]:
    """The markets of one entry of a sequence: all of a named task's, or the one."""
    if isinstance(source, str) and _is_task(source):
        return task_pool(source, split, timeframes or DEFAULT_TIMEFRAMES).markets
    return (_one_market(source, timeframes),)


def _is_task(name: str) -> bool:
    import synthetic

    return name in synthetic.TASKS
