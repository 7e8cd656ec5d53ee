"""Classes of every timescale: from a generator's regimes, from bars by hindsight, or from the user's own labels.

Whatever they come from, a `LabelledMarket` of a segmenter has a column of labels per timescale (`columns`) and what is
learned from (`beliefs`, (T, S * C)): the label itself as probability 1, or what the exact filter believed at that bar.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.typed_values import ConfigError, known_values, require, require_types, section
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain.data.label_column import LabelColumn
from pretrain.data.labelled_market import NO_LABEL, LabelledMarket
from pretrain.data.splits import Span
from pretrain.fitting.market_layout import MarketLayout
from synthetic import RegimeSample, filter_beliefs, regime_market, task_seeds
from synthetic.labels.regimes import REGIME_NAMES, Segmentation, regime_labels

BELIEFS, REGIMES, BARS = "beliefs", "regimes", "bars"
TEACHERS = (BELIEFS, REGIMES, BARS)
_KINDS = {
    BELIEFS: "classes that the exact filter believes in",
    REGIMES: "classes of the generator's regimes",
    BARS: "bear, consolidation, bull by hindsight",
}


@dataclass(frozen=True)
class Timescale:
    """One timescale and its classes.

    Attributes:
        name: of the timescale.
        regimes: per class, its name and patterns of the generator's regimes that belong to it ("*" stands for any
            text); the first class that matches a regime has it.
        minimum, drift, penalty: as of `synthetic.Segmentation`, where classes are made of bars.

    Raises:
        ConfigError: a value of another type. ValueError: one out of range.
    """

    name: str
    regimes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    minimum: int = 96
    drift: float = 0.0002
    penalty: float = 0.02

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require(bool(self.name), "name", self.name, "the name of a timescale")
        _ = self.segmentation

    @property
    def segmentation(self) -> Segmentation:
        """What counts as a stretch of bars, where classes are made of them."""
        return Segmentation(self.minimum, self.drift, self.penalty)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that regimes are mapped to."""
        return tuple(name for name, _ in self.regimes)

    @classmethod
    def read(cls, values: Any, where: str) -> Timescale:
        """A timescale from a recipe, where `regimes` is {class: [patterns]}.

        Raises:
            ConfigError: an unknown key, or a value that is not allowed.
        """
        names = ("name", "regimes", "minimum", "drift", "penalty")
        given = known_values(values, names, where)
        regimes = given.get("regimes", {})
        if isinstance(regimes, Mapping):
            given["regimes"] = [[str(name), patterns] for name, patterns in regimes.items()]
        return section(given, cls, where)

    def of_regimes(self, regimes: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
        """(K,) places in `classes` of a generator's K regimes.

        Raises:
            ConfigError: a regime that no pattern matches, or a class without one.
        """
        found = []
        for regime in regimes:
            own = [name for name, patterns in self.regimes if any(fnmatchcase(regime, p) for p in patterns)]
            if not own:
                raise ConfigError(
                    f"timescale {self.name!r}: regime {regime!r} belongs to none of {self.classes}: add a pattern for "
                    'it, or "*" to the class that takes all others'
                )
            found.append(own[0])
        for name in classes:
            if name not in found:
                raise ConfigError(f"timescale {self.name!r}: class {name!r} has no regime of {tuple(regimes)[:40]}")
        return np.array([list(classes).index(name) for name in found], np.int64)


def classes_of(timescales: Sequence[Timescale], teacher: str) -> tuple[str, ...]:
    """Names of the classes that a teacher gives, the same for all timescales; bear, consolidation, bull in this order.

    Raises:
        ConfigError: timescales whose classes differ.
    """
    if teacher == BARS:
        return REGIME_NAMES
    first = timescales[0]
    for scale in timescales:
        if set(scale.classes) != set(first.classes) or not scale.classes:
            raise ConfigError(
                f"timescale {scale.name!r} has the classes {scale.classes}, {first.name!r} has {first.classes}: "
                "regimes must be mapped to the same classes on each"
            )
    return REGIME_NAMES if set(first.classes) == set(REGIME_NAMES) else first.classes


def labels_of_bars(market: Market, span: Span, timescales: Sequence[Timescale]) -> tuple[NDArray[np.int8], ...]:
    """(T,) int8 per timescale: bear, consolidation, bull of the bars of a span by hindsight within it, -1 elsewhere.

    Raises:
        ValueError: fewer bars than a stretch lasts at least.
    """
    found = []
    for scale in timescales:
        labels = np.full(len(market), NO_LABEL, np.int8)
        labels[span.start : span.stop] = regime_labels(market.bars.iloc[span.start : span.stop], scale.segmentation)
        found.append(labels)
    return tuple(found)


def labelled(
    market: Market,
    labels: Sequence[NDArray[np.int8]],
    timescales: Sequence[str],
    classes: tuple[str, ...],
    *,
    kind: str,
    rows: tuple[int, int | None] = (0, None),
    beliefs: NDArray[np.float64] | None = None,
) -> LabelledMarket:
    """A market with (T,) int8 labels per timescale, -1 unknown; `beliefs` (T, S, C) in their place as what is learned.

    Args:
        market: what they are of.
        labels: places in `classes`.
        timescales: S names.
        classes: C names.
        kind: the teacher's name.
        rows: first row that counts, and the one after the last; None: to the end.
        beliefs: probabilities; None: the labels are certain.
    """
    columns = tuple(
        LabelColumn(name, classes, np.where(own == NO_LABEL, np.nan, own).astype(np.float32))
        for name, own in zip(timescales, labels, strict=True)
    )
    told = certain(columns) if beliefs is None else beliefs.reshape(len(market), -1).astype(np.float16)
    nothing = np.full((len(market), 1), NO_LABEL, np.int8)
    return LabelledMarket(market, nothing, told, rows[0], rows[1], kind, columns)


def certain(columns: Sequence[LabelColumn]) -> NDArray[np.float16]:
    """(T, S * C) float16: probability 1 of each known label, zeros where there is none."""
    parts = []
    for column in columns:
        rows = np.eye(len(column.classes) + 1, len(column.classes), dtype=np.float16)
        parts.append(rows[np.where(column.known, np.nan_to_num(column.values), len(column.classes)).astype(np.int64)])
    return np.concatenate(parts, axis=1)


def with_certain_labels(item: LabelledMarket) -> LabelledMarket:
    """A user's labelled market (`pretrain.data.own_labels`) as a segmenter learns from it.

    Raises:
        ConfigError: a column of numbers.
    """
    for column in item.columns:
        if not column.classes:
            raise ConfigError(f"labels: column {column.name!r} holds numbers; a segmenter learns classes: name them")
    nothing = np.full((len(item.market), 1), NO_LABEL, np.int8)
    told = certain(item.columns)
    return LabelledMarket(item.market, nothing, told, item.start, item.stop, item.label_kind, item.columns)


def labelled_regimes(
    sample: RegimeSample,
    market: Market,
    timescales: Sequence[Timescale],
    window: tuple[int, ...],
    teacher: str = BELIEFS,
) -> LabelledMarket:
    """A synthetic market with the classes of its regimes, from its first decidable bar on.

    Args:
        sample: whose truth is mapped.
        market: made of its bars.
        timescales: with their mapping.
        window: bars per timeframe that a decision needs.
        teacher: "beliefs": learned is what the exact filter believes, which says more than the regime that happened to
            be (distillation, Hinton et al. 2015); "regimes": the regime itself; "bars": neither, hindsight of the bars.

    Raises:
        ConfigError: an unknown teacher, or regimes that the mapping leaves out.
    """
    if teacher not in TEACHERS:
        raise ConfigError(f"teacher={teacher!r} is unknown for a segmenter; choose one of {TEACHERS}")
    names, classes = [scale.name for scale in timescales], classes_of(timescales, teacher)
    first = market.first_decision(window)
    if teacher == BARS:
        own = labels_of_bars(market, Span(0, first, len(market)), timescales)
        return labelled(market, own, names, classes, kind=_KINDS[teacher], rows=(first, None))
    truth = class_truth(sample, timescales)
    beliefs = class_beliefs(sample, timescales) if teacher == BELIEFS else None
    return labelled(market, truth, names, classes, kind=_KINDS[teacher], rows=(first, None), beliefs=beliefs)


def class_truth(sample: RegimeSample, timescales: Sequence[Timescale]) -> tuple[NDArray[np.int8], ...]:
    """(T,) int8 per timescale: the class of the regime that each bar was drawn from."""
    classes = classes_of(timescales, REGIMES)
    regime = sample.truth["regime"].to_numpy(np.int64)
    return tuple(scale.of_regimes(sample.task.regimes, classes)[regime].astype(np.int8) for scale in timescales)


def class_beliefs(
    sample: RegimeSample,
    timescales: Sequence[Timescale],
    believe: Callable[[RegimeSample], NDArray[np.float64]] = filter_beliefs,
) -> NDArray[np.float64]:
    """(T, S, C) what a filter believes of each class, given the bars up to its own: nobody can know more.

    Args:
        sample: the market.
        timescales: with their mapping.
        believe: (T, K) probabilities of the regimes; the exact filter.
    """
    classes = classes_of(timescales, REGIMES)
    regimes = believe(sample)
    out = np.empty((len(regimes), len(timescales), len(classes)))
    for s, scale in enumerate(timescales):
        out[:, s] = regimes @ np.eye(len(classes))[scale.of_regimes(sample.task.regimes, classes)]
    return np.clip(out, 0.0, 1.0)


def labelled_task(
    task: str,
    family: str,
    count: int,
    days: int,
    *,
    timescales: Sequence[Timescale],
    layout: MarketLayout,
    teacher: str,
    progress: bool = True,
) -> tuple[LabelledMarket, ...]:
    """`count` labelled markets of `days` tradable days on a task's seeds of a family, in the family's order; `layout`
    says their timeframes, windows and features."""
    found = []
    for seed in tqdm(task_seeds(task, family, count), desc=f"markets ({family})", unit="market", disable=not progress):
        sample = regime_market(task, days, seed)
        market = layout.market(sample.bars, name=sample.name)
        if len(market) != len(sample.bars):
            raise ConfigError(f"timeframes={layout.timeframes}: the base must be that of the generator's bars, 15m")
        found.append(labelled_regimes(sample, market, timescales, layout.window, teacher))
    return tuple(found)


def labelled_parts(
    markets: Sequence[Market], spans: Sequence[Span], timescales: Sequence[Timescale]
) -> tuple[LabelledMarket, ...]:
    """Bars without a known truth, one labelled market per span; hindsight sees the span's own bars alone."""
    names = [scale.name for scale in timescales]
    found = []
    for span in spans:
        own = labels_of_bars(markets[span.market], span, timescales)
        rows = (span.start, span.stop)
        found.append(labelled(markets[span.market], own, names, REGIME_NAMES, kind=_KINDS[BARS], rows=rows))
    return tuple(found)
