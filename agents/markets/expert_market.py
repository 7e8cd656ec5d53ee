"""Markets together with what a teacher knows of them: labels, and on synthetic markets the truth and the optimum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.settings import TradingSettings
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain import LabelledMarket, MarketLayout
from pretrain.data.teachers import bar_labels, labelled_sample
from pretrain.fitting.market_inputs import FRACTIONS, require_fractions, require_synthetic
from synthetic import TASKS, regime_market, task_seeds

#: That a history needs after its warm-up to be split in three: days, or bars where those are fewer; and never fewer.
LEAST_DAYS, ENOUGH_BARS, LEAST_BARS = 30, 2_880, 30
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


def synthetic_market(
    task: str, seed: int, days: int, settings: TradingSettings, *, layout: MarketLayout | None = None
) -> ExpertMarket:
    """One synthetic market of `days` tradable days, labelled with the actions of the filter oracle.

    `layout`: of the model that reads it; its features are the default ones where None.

    Raises:
        ValueError: an unknown task; features that read what synthetic markets do not have.
    """
    if layout is not None:
        require_synthetic(layout)
    sample = regime_market(task, days=days, seed=seed)
    labelled = labelled_sample(
        sample, settings.timeframes, settings.window, cost=settings.turnover_cost, positions=settings.positions,
        features=None if layout is None else layout.features,
    )  # fmt: skip
    truth = Truth(
        drift=sample.truth["drift"].to_numpy(np.float64),
        second_moment=sample.truth["second_moment"].to_numpy(np.float64),
        oracle_actions=labelled.labels,
    )
    return ExpertMarket(labelled.market, labelled.labels, labelled.start, labelled.beliefs, truth, labelled.label_kind)


def require_task(market: str) -> None:
    """Check that a name is one of the benchmark tasks.

    Raises:
        ValueError: it is not; those that are are named.
    """
    if market not in TASKS:
        raise ValueError(f"task {market!r} is unknown: choose one of {', '.join(TASKS)}")


def synthetic_markets(
    task: str,
    family: str,
    count: int,
    days: int,
    settings: TradingSettings,
    *,
    layout: MarketLayout | None = None,
    progress: bool = True,
) -> tuple[ExpertMarket, ...]:
    """`count` synthetic markets of a seed family, in the family's order; arguments as of `synthetic_market`."""
    require_task(task)
    seeds: Iterable[int] = task_seeds(task, family, count)
    bar = tqdm(seeds, desc=f"markets ({family})", total=count, unit="market", disable=not progress)
    return tuple(synthetic_market(task, seed, days, settings, layout=layout) for seed in bar)


@dataclass(frozen=True)
class TimeSplit:
    """One history in three parts, in time order: what is learned from, tuned on, and looked at once."""

    train: ExpertMarket
    validation: ExpertMarket
    test: ExpertMarket


def split_bars(
    bars: pd.DataFrame, settings: TradingSettings, fractions: tuple[float, float, float] = FRACTIONS
) -> TimeSplit:
    """`split_market` of bars, at the base timeframe or finer."""
    return split_market(settings.market(bars), settings, fractions)


def split_market(
    whole: Market, settings: TradingSettings, fractions: tuple[float, float, float] = FRACTIONS
) -> TimeSplit:
    """Split a market into train, validation and test, in time order.

    Validation and test each begin with as many earlier bars as their windows need, so that their first decision falls
    on the boundary; labels are made from each part alone and never see past its end.

    Args:
        whole: the history; its parts keep its features, funding and further columns.
        settings: timeframes, windows and costs.
        fractions: shares of the decidable bars, adding up to 1.

    Raises:
        ValueError: too few bars for the windows, or for three parts; fractions that are no shares.
    """
    require_fractions(fractions)
    first = whole.first_decision(settings.window)
    decidable = len(whole) - first
    needed = max(min(-(-LEAST_DAYS * DAY_MS // timeframe_ms(settings.timeframes[0])), ENOUGH_BARS), LEAST_BARS)
    if decidable < needed:
        raise ValueError(
            f"{len(whole)} bars of {settings.timeframes[0]} leave {decidable} decidable ones after {first} bars of "
            f"warm-up; the three parts of a time-ordered split need at least {needed} ({LEAST_DAYS} days or "
            f"{ENOUGH_BARS:,} bars, what is less, and no fewer than {LEAST_BARS} bars)"
        )
    edges = first + np.cumsum([0.0, *fractions]) * decidable
    starts = [int(e) for e in edges[:-1]]
    ends = [*starts[1:], len(whole)]
    return TimeSplit(*(market_part(whole, first, *span, settings) for span in zip(starts, ends, strict=True)))


def market_part(whole: Market, warm_up: int, start: int, end: int, settings: TradingSettings) -> ExpertMarket:
    """The market whose decisions run from bar `start` to bar `end` of `whole`, with `warm_up` bars before them.

    Labels are made from it alone: none looks at bar `end` or later.
    """
    index = whole.bars.index
    begin = int(index.searchsorted(index[max(start - warm_up, 0)].floor("1D")))
    market = whole.part(begin, end)
    first = max(market.first_decision(settings.window), start - begin)
    labels, kind = bar_labels("horizon", market.bars, settings.turnover_cost, settings.positions)
    return ExpertMarket(market=market, labels=labels, first=first, label_kind=kind)


def markets_of(labelled: Sequence[ExpertMarket]) -> list[Market]:
    """The markets alone, in order."""
    return [t.market for t in labelled]


def last_bar(labelled: Sequence[ExpertMarket]) -> str:
    """Open time of the last bar of all these markets, as ISO text."""
    return str(max(t.market.bars.index[-1] for t in labelled).isoformat())
