"""Markets together with what a teacher knows of them: labels, and on synthetic markets the truth and the optimum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.settings import TradingSettings
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain import LabelledMarket
from pretrain.data.teachers import bar_labels, labelled_sample
from synthetic import TASKS, regime_market, task_seeds

LEAST_DAYS, LEAST_BARS = 30, 30  #: that a history needs after its warm-up to be split in three
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Truth:
    """What the generator knows of every bar.

    Attributes:
        drift: (T,) float64, the mean of the bar's log-return given the regime and the past.
        second_moment: (T,) float64, the mean of its square, given the same.
        oracle_actions: (T, P) int8, the causal optimum: index of the best target given the held position.
    """

    drift: NDArray[np.float64]
    second_moment: NDArray[np.float64]
    oracle_actions: NDArray[np.int8]


@dataclass(frozen=True)
class ExpertMarket:
    """A market and its labels.

    Attributes:
        market: what the agent may see.
        labels: (T, P) int8, index of the position to take given the held one; -1 where there is none.
        first: first bar at which a decision counts (at or after the market's first decidable bar).
        beliefs: (T, K) float16, the teacher's probabilities of regimes, or None where it has none.
        truth: None on real bars.
        label_kind: the teacher's name.
    """

    market: Market
    labels: NDArray[np.int8]
    first: int
    beliefs: NDArray[np.float16] | None = None
    truth: Truth | None = None
    label_kind: str = "unnamed"

    @property
    def steps(self) -> int:
        """Decisions from `first` to the last bar but one."""
        return len(self.market) - 1 - self.first

    @property
    def labelled(self) -> LabelledMarket:
        """The form in which the extractor is trained."""
        return LabelledMarket(self.market, self.labels, self.beliefs, start=self.first, label_kind=self.label_kind)


def synthetic_market(task: str, seed: int, days: int, settings: TradingSettings) -> ExpertMarket:
    """One synthetic market of `days` tradable days, labelled with the actions of the filter oracle.

    Raises:
        ValueError: an unknown task.
    """
    sample = regime_market(task, days=days, seed=seed)
    labelled = labelled_sample(
        sample, settings.timeframes, settings.window, cost=settings.turnover_cost, positions=settings.positions
    )
    truth = Truth(
        drift=sample.truth["drift"].to_numpy(np.float64),
        second_moment=sample.truth["second_moment"].to_numpy(np.float64),
        oracle_actions=labelled.labels,
    )
    return ExpertMarket(labelled.market, labelled.labels, labelled.start, labelled.beliefs, truth, labelled.label_kind)


def require_task(market: str) -> None:
    """Check that a name that is no file of bars is one of the benchmark tasks.

    Raises:
        ValueError: it is not; those that are are named.
    """
    if market in TASKS:
        return
    what = "is a directory" if Path(market).is_dir() else "is no file of bars and no task"
    raise ValueError(f"market {market!r} {what}: name a file of bars or one of the tasks {', '.join(TASKS)}")


def synthetic_markets(
    task: str, family: str, count: int, days: int, settings: TradingSettings, *, progress: bool = True
) -> tuple[ExpertMarket, ...]:
    """`count` synthetic markets of a seed family, in the family's order."""
    require_task(task)
    seeds: Iterable[int] = task_seeds(task, family, count)
    bar = tqdm(seeds, desc=f"markets ({family})", total=count, unit="market", disable=not progress)
    return tuple(synthetic_market(task, seed, days, settings) for seed in bar)


@dataclass(frozen=True)
class TimeSplit:
    """One history in three parts, in time order: what is learned from, tuned on, and looked at once."""

    train: ExpertMarket
    validation: ExpertMarket
    test: ExpertMarket


def split_bars(
    bars: pd.DataFrame, settings: TradingSettings, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> TimeSplit:
    """Split bars into train, validation and test, in time order.

    Validation and test each begin with as many earlier bars as their windows need, so that their first decision falls
    on the boundary; labels are made from each part alone and never see past its end.

    Args:
        bars: validated bars, at the base timeframe or finer.
        settings: timeframes, windows and costs.
        fractions: shares of the decidable bars, adding up to 1.

    Raises:
        ValueError: too few bars for the windows, or for three parts.
    """
    whole = Market.from_bars(bars, timeframes=settings.timeframes)
    first = whole.first_decision(settings.window)
    decidable = len(whole) - first
    needed = max(-(-LEAST_DAYS * DAY_MS // timeframe_ms(settings.timeframes[0])), LEAST_BARS)
    if decidable < needed:
        raise ValueError(
            f"{len(whole)} bars of {settings.timeframes[0]} leave {decidable} decidable ones after {first} bars of "
            f"warm-up; the three parts of a time-ordered split need at least {needed} ({LEAST_DAYS} days, and no fewer "
            f"than {LEAST_BARS} bars)"
        )
    edges = first + np.cumsum([0.0, *fractions]) * decidable
    starts = [int(e) for e in edges[:-1]]
    ends = [*starts[1:], len(whole)]
    parts = [_part(whole.bars, first, start, end, settings) for start, end in zip(starts, ends, strict=True)]
    return TimeSplit(*parts)


def _part(bars: pd.DataFrame, warm_up: int, start: int, end: int, settings: TradingSettings) -> ExpertMarket:
    """The market whose decisions run from bar `start` to bar `end` of `bars`, with `warm_up` bars before them."""
    begin = bars.index[max(start - warm_up, 0)].floor("1D")
    piece = bars.iloc[bars.index.searchsorted(begin) : end]
    market = Market.from_bars(piece, timeframes=settings.timeframes)
    first = max(market.first_decision(settings.window), int(piece.index.searchsorted(bars.index[start])))
    labels, kind = bar_labels("horizon", piece, settings.turnover_cost, settings.positions)
    return ExpertMarket(market=market, labels=labels, first=first, label_kind=kind)


def markets_of(labelled: Sequence[ExpertMarket]) -> list[Market]:
    """The markets alone, in order."""
    return [t.market for t in labelled]


def require_market(market: str, settings: TradingSettings) -> None:
    """Check that `expert_markets_for` will find its market, without making one: a task that exists, enough bars.

    Raises:
        ValueError: neither a task nor bars that will do.
    """
    if Path(market).is_file():
        split_bars(read_bars(Path(market)), settings)
    elif market not in TASKS:
        raise ValueError(f"market={market!r} is neither a task ({', '.join(TASKS)}) nor a file of bars")
