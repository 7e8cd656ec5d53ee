"""Markets with a teacher's labels: what an extractor is pretrained on, and fine-tuned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.features.spec import FeatureSpec
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain.data.labelled_market import NO_LABEL, LabelledMarket
from pretrain.data.splits import Span
from synthetic import (
    PATTERN_KINDS,
    PatternSample,
    RegimeSample,
    filter_beliefs,
    horizon_labels,
    oracle_labels,
    path_labels,
    pattern_market,
    pattern_seeds,
    regime_market,
    task_seeds,
)

Teacher = Literal["oracle", "path", "horizon", "patterns"]

ORACLE_LABELS = "filter oracle"  #: the teacher's name in an artifact
#: Bars ahead that the teacher "horizon" looks: of 8, 16, 32, 64 and 96 the best on validation markets of "standard".
HORIZON = 16
#: Teachers that need no latent truth: what they are called in an artifact, and their labels of bars at a cost.
_OF_BARS: dict[str, tuple[str, Callable[[pd.DataFrame, float, tuple[float, ...]], NDArray[np.int8]]]] = {
    "path": (
        "hindsight path at inflated cost",
        lambda bars, cost, positions: path_labels(bars, cost=cost, positions=positions),
    ),
    "horizon": (
        f"return over {HORIZON} bars",
        lambda bars, cost, positions: horizon_labels(bars, HORIZON, deadband=2.0 * cost, positions=positions),
    ),
}
BAR_TEACHERS = tuple(_OF_BARS)
PATTERNS = "patterns"  #: the teacher that knows what a pattern market's patterns are, whatever the task
PATTERN_LABELS = "confirmed chart patterns"  #: its name in an artifact
RECOGNISED = ("none", *PATTERN_KINDS)  #: its regimes: no pattern is confirmed, or which one is under way
TEACHERS = ("oracle", *BAR_TEACHERS, PATTERNS)
OWN_LABELS = "labels"  #: in a recipe: what is learned stands in files of the user's


def bar_labels(
    teacher: Teacher, bars: pd.DataFrame, cost: float, positions: tuple[float, ...]
) -> tuple[NDArray[np.int8], str]:
    """(T, P) int8 labels of bars alone, and the teacher's name in an artifact.

    Raises:
        ValueError: a teacher that needs the truth.
    """
    if teacher not in _OF_BARS:
        raise ValueError(f"teacher={teacher!r} needs a synthetic market's truth; for bars choose one of {BAR_TEACHERS}")
    kind, label = _OF_BARS[teacher]
    return label(bars, cost, positions), kind


def labelled_sample(
    sample: RegimeSample,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    *,
    teacher: Teacher = "oracle",
    cost: float = 0.0011,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
    features: FeatureSpec | None = None,
) -> LabelledMarket:
    """The market of a synthetic sample, labelled from its first decidable bar on.

    Args:
        sample: `synthetic.regime_market`.
        timeframes: of the market, the base first.
        window: bars per timeframe that a decision needs.
        teacher: "oracle" needs the latent model and also says what it believes of the regimes; "path" and "horizon"
            need bars alone (`synthetic.labels` says more).
        cost: log-return lost per unit of turnover.
        positions: exposures to choose from.
        features: of the market; the default ones where None.

    Raises:
        ValueError: an unknown teacher, or too few bars for the windows.
    """
    if teacher not in TEACHERS or teacher == PATTERNS:
        allowed = tuple(name for name in TEACHERS if name != PATTERNS)
        raise ValueError(f"teacher={teacher!r} is unknown for a regime market; choose one of {allowed}")
    market = Market.from_bars(sample.bars, timeframes=timeframes, features=features, name=sample.name)
    start = market.first_decision(window)
    if teacher == "oracle":
        beliefs = filter_beliefs(sample).astype(np.float16)
        return LabelledMarket(market, oracle_labels(sample, cost, positions), beliefs, start, label_kind=ORACLE_LABELS)
    labels, kind = bar_labels(teacher, sample.bars, cost, positions)
    return LabelledMarket(market, labels, start=start, label_kind=kind)


def labelled_patterns(
    sample: PatternSample,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    *,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
    features: FeatureSpec | None = None,
) -> LabelledMarket:
    """A pattern market with what one says of it who waits for confirmations, from its first decidable bar on.

    The labels are the position nearest to the truth's action, whatever is held; the beliefs are certain, of
    `RECOGNISED`: a kind from its confirmation to its end, else none.

    Args:
        sample: `synthetic.pattern_market`.
        timeframes: of the market, the base first.
        window: bars per timeframe that a decision needs.
        positions: exposures to choose from.
        features: of the market; the default ones where None.

    Raises:
        ValueError: too few bars for the windows.
    """
    market = Market.from_bars(sample.bars, timeframes=timeframes, features=features, name=sample.name)
    if len(market) != len(sample.bars):
        raise ValueError(f"timeframes={timeframes}: the first must be that of the {len(sample.bars)} bars")
    nearest = np.abs(sample.actions[:, None] - np.array(positions)).argmin(axis=1).astype(np.int8)
    labels = np.repeat(nearest[:, None], len(positions), axis=1)
    kinds = sample.truth["recognised"].to_numpy(np.int64) + 1
    beliefs = np.eye(len(RECOGNISED), dtype=np.float16)[kinds]
    return LabelledMarket(market, labels, beliefs, market.first_decision(window), label_kind=PATTERN_LABELS)


def labelled_bars(
    markets: Sequence[Market],
    spans: Sequence[Span],
    *,
    teacher: Teacher = "horizon",
    cost: float = 0.0011,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
) -> tuple[LabelledMarket, ...]:
    """Labelled markets from bars without a known truth, one per span of `pretrain.data.splits`.

    The labels of a span are made from its own bars alone, so that none looks past its end.

    Args:
        markets: real ones, as the spans number them.
        spans: of one part of a split.
        teacher: "path" or "horizon".
        cost: log-return lost per unit of turnover.
        positions: exposures to choose from.

    Raises:
        ValueError: a teacher that needs the truth.
    """
    found = []
    for span in spans:
        market = markets[span.market]
        labels = np.full((len(market), len(positions)), NO_LABEL, np.int8)
        own, kind = bar_labels(teacher, market.bars.iloc[span.start : span.stop], cost, positions)
        labels[span.start : span.stop] = own
        found.append(LabelledMarket(market, labels, start=span.start, stop=span.stop, label_kind=kind))
    return tuple(found)


def labelled_samples(
    task: str,
    family: str,
    count: int,
    days: int,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    *,
    teacher: Teacher = "oracle",
    features: FeatureSpec | None = None,
    progress: bool = True,
) -> tuple[LabelledMarket, ...]:
    """`count` labelled markets of `days` tradable days on a task's seeds of a family, in the family's order.

    The teacher "patterns" has markets of its own, whatever the task: `synthetic.pattern_market`.

    Raises:
        ValueError: an unknown task, family or teacher.
    """
    seeds = pattern_seeds(family, count) if teacher == PATTERNS else task_seeds(task, family, count)
    bar = tqdm(seeds, desc=f"markets ({family})", unit="market", disable=not progress)
    if teacher == PATTERNS:
        samples = (pattern_market(days, seed) for seed in bar)
        return tuple(labelled_patterns(sample, timeframes, window, features=features) for sample in samples)
    drawn = (regime_market(task, days, seed) for seed in bar)
    return tuple(labelled_sample(one, timeframes, window, teacher=teacher, features=features) for one in drawn)
