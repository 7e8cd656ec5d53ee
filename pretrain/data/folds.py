"""Folds in time: walk-forward, anchored or rolling, by bars or by the calendar, and combinatorial purged ones.

A row is decided at a moment, its label is known at a later one, and its features look back some time before it. Where a
training row's label or features meet what is judged, the judged part has been seen: such rows are purged, by those
spans and not by a number of rows, between every pair of adjacent blocks, and after a judged block an embargo may leave
out more (Lopez de Prado 2018, "Advances in Financial Machine Learning", ch. 7 and 12).

Moments are int64 in any one unit (milliseconds, or numbers of bars); rows of several markets may share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class LabelSpans:
    """What rows know of time.

    Attributes:
        moment: (n,) int64, when each row is decided, in order (rows of several markets may share a moment).
        label_end: (n,) int64, the last moment that its label looks at; at or after `moment`.
        memory: how long before its moment a row's features look back.

    Raises:
        ValueError: other shapes or order, a label that ends before its row, a negative memory.
    """

    moment: Rows
    label_end: Rows
    memory: int = 0

    def __post_init__(self) -> None:
        moment, end = np.asarray(self.moment, np.int64), np.asarray(self.label_end, np.int64)
        if moment.ndim != 1 or moment.shape != end.shape or len(moment) == 0:
            raise ValueError(f"moment {moment.shape} and label_end {end.shape} are not allowed: (n,) both, n >= 1")
        if (np.diff(moment) < 0).any():
            raise ValueError(f"moment falls at row {int((np.diff(moment) < 0).argmax()) + 1}; allowed: rows in order")
        if (end < moment).any():
            raise ValueError(f"label_end of row {int((end < moment).argmax())} lies before its moment")
        if self.memory < 0:
            raise ValueError(f"memory={self.memory} is not allowed: >= 0")
        object.__setattr__(self, "moment", moment)
        object.__setattr__(self, "label_end", end)

    @classmethod
    def fixed(cls, count: int, look_ahead: int, memory: int = 0) -> LabelSpans:
        """`count` rows numbered by their bars, whose labels all look `look_ahead` bars ahead."""
        moment = np.arange(count, dtype=np.int64)
        return cls(moment, moment + look_ahead, memory)

    def purged(self, train: Rows, judged: Rows, embargo: int = 0) -> Rows:
        """The rows of `train` that nothing of `judged` reaches.

        Judged rows without a training row between them are one block; each block purges its own neighbours alone. A
        training row goes where the span from the first bar that its features read to the end of its label meets the
        span from the block's first decision to the end of its last label, `embargo` added to it.

        Args:
            train: numbers of rows, in order.
            judged: numbers of rows, in order.
            embargo: how long after the end of a judged block nothing is learned from.
        """
        if embargo < 0:
            raise ValueError(f"embargo={embargo} is not allowed: >= 0")
        train, judged = np.asarray(train, np.int64), np.asarray(judged, np.int64)
        if len(train) == 0 or len(judged) == 0:
            return train
        first, last = self.moment[train] - self.memory, self.label_end[train]
        clean = np.ones(len(train), dtype=np.bool_)
        for block in _blocks(judged, train):
            begin, end = self.moment[block].min(), self.label_end[block].max()
            clean &= (last < begin) | (first > end)
            moment = self.moment[train]
            clean &= (moment <= end) | (moment > end + embargo)
        return train[clean]


def _blocks(judged: Rows, train: Rows) -> list[Rows]:
    """Judged rows, cut wherever a training row stands between two of them."""
    between = np.searchsorted(train, judged)
    return np.split(judged, np.flatnonzero(np.diff(between)) + 1)


@dataclass(frozen=True)
class Border:
    """A fold in moments: learned from in [train_start, test_start), judged in [test_start, test_stop)."""

    train_start: int
    test_start: int
    test_stop: int


@dataclass(frozen=True)
class Fold:
    """Numbers of rows of a fold: to learn from, to choose by, and to judge on once."""

    number: int
    border: Border
    train: Rows
    validation: Rows
    test: Rows


def bar_borders(
    first: int, last: int, folds: int, *, train: float = 0.5, anchored: bool = True, step: int = 1
) -> list[Border]:
    """Borders of `folds` judged parts of equal length, one after the other, until the end.

    Args:
        first: first moment. last: the moment after the last.
        folds: how many parts are judged.
        train: share of the time before the first judged part; rolling ones always learn from as much.
        anchored: learn from all that came before; else from the last part of it.
        step: of moments: borders fall on `first` plus whole steps.

    Raises:
        ValueError: no fold, a share outside (0, 1), or parts of less than a step.
    """
    if folds < 1 or not 0.0 < train < 1.0 or step < 1:
        raise ValueError(f"folds={folds}, train={train}, step={step} are not allowed: folds, step >= 1, 0 < train < 1")
    steps = (last - first) // step
    before = round(steps * train)
    edges = before + np.linspace(0, steps - before, folds + 1).round().astype(np.int64)
    if before < 1 or (np.diff(edges) < 1).any():
        raise ValueError(f"{steps} steps are too few for {folds} folds after a share of {train:g} to learn from")
    return [
        Border(first if anchored else first + int(start - before) * step, first + int(start) * step,
               min(first + int(stop) * step, last))
        for start, stop in pairwise(edges)
    ]  # fmt: skip


def calendar_borders(
    first: pd.Timestamp, last: pd.Timestamp, *, train: str = "12M", test: str = "3M", anchored: bool = False
) -> list[Border]:
    """Borders on the calendar (UTC): judged parts of whole days, weeks, months or years.

    Args:
        first: first moment. last: the moment after the last; a judged part that is not whole by then is left out.
        train: how long is learned from before the first judged part, such as "12M", "1Y", "26W" or "90D".
        test: length of a judged part.
        anchored: learn from `first` on; else from `train` before each judged part.

    Returns:
        Borders in milliseconds since 1970. The first judged part begins with a unit of `test` (a month, a Monday).

    Raises:
        ValueError: no such length, or not one whole judged part.
    """
    ahead, back = _offset("test", test), _offset("train", train)
    start = _begin_of(first + back, test[-1])
    found = []
    while start + ahead <= last:
        learned = first if anchored else max(start - back, first)
        found.append(Border(*(int(at.value // 1_000_000) for at in (learned, start, start + ahead))))
        start = start + ahead
    if not found:
        raise ValueError(f"{first} to {last} holds no {test} to judge on after {train} to learn from")
    return found


def _offset(name: str, text: str) -> pd.DateOffset:
    if len(text) < 2 or text[-1] not in "DWMY" or not text[:-1].isdigit() or int(text[:-1]) < 1:
        raise ValueError(f"{name}={text!r} is no length: a number of D(ays), W(eeks), M(onths) or Y(ears), as 3M")
    count = int(text[:-1])
    whole = {
        "D": pd.DateOffset(days=count), "W": pd.DateOffset(weeks=count), "M": pd.DateOffset(months=count),
        "Y": pd.DateOffset(years=count),
    }  # fmt: skip
    return whole[text[-1]]


def _begin_of(moment: pd.Timestamp, unit: str) -> pd.Timestamp:
    """The first begin of a day, week (Monday), month or year at or after a moment."""
    day = moment.normalize()
    day = day if day == moment else day + pd.DateOffset(days=1)
    if unit == "W":
        return day + pd.DateOffset(days=-day.weekday() % 7)
    if unit == "M" and day.day != 1:
        return day.replace(day=1) + pd.DateOffset(months=1)
    if unit == "Y" and (day.month, day.day) != (1, 1):
        return day.replace(month=1, day=1) + pd.DateOffset(years=1)
    return day


def walk_forward(
    spans: LabelSpans, borders: Sequence[Border], *, validation: float = 0.25, embargo: int = 0
) -> list[Fold]:
    """Rows of each fold; what weights, scalers and hysteresis are chosen by is the end of the fold's own past.

    Args:
        spans: of the rows.
        borders: of `bar_borders` or `calendar_borders`, in the unit of the moments.
        validation: share of the training time, at its end, that is chosen by; 0 for none.
        embargo: how long after each border nothing is learned from or chosen by.

    Raises:
        ValueError: a fold of which a part has no rows.
    """
    if not 0.0 <= validation < 1.0:
        raise ValueError(f"validation={validation} is not allowed: a share, 0 <= validation < 1")
    found = []
    for number, border in enumerate(borders):
        chosen_from = border.test_start - round((border.test_start - border.train_start) * validation)
        edges = np.searchsorted(spans.moment, [border.train_start, chosen_from, border.test_start, border.test_stop])
        train, chosen, test = (np.arange(a, b, dtype=np.int64) for a, b in pairwise(edges))
        chosen = spans.purged(chosen, test, embargo)
        train = spans.purged(train, np.concatenate((chosen, test)), embargo)
        for name, part in (("train", train), ("validation", chosen), ("test", test)):
            if len(part) == 0 and (name != "validation" or validation > 0.0):
                raise ValueError(f"the {name} part of fold {number} has no rows: {border}")
        found.append(Fold(number, border, train, chosen, test))
    return found


@dataclass(frozen=True)
class CombinatorialSplit:
    """One of the C(groups, judged) splits: which groups are judged, and the numbers of its rows."""

    judged: tuple[int, ...]
    train: Rows
    test: Rows


def combinatorial_splits(
    spans: LabelSpans, groups: int = 6, judged: int = 2, *, embargo: int = 0
) -> Iterator[CombinatorialSplit]:
    """Combinatorial purged cross-validation: every choice of `judged` of the `groups` of neighbouring rows.

    Args:
        spans: of the rows; groups hold equal numbers of moments, so rows that share one stay together.
        groups: N, 2 at least. judged: k, fewer.
        embargo: as for `LabelSpans.purged`.

    Raises:
        ValueError: other numbers, or more groups than moments.
    """
    parts = _groups(spans, groups, judged)
    for chosen in combinations(range(groups), judged):
        test = np.concatenate([parts[g] for g in chosen])
        train = np.concatenate([parts[g] for g in range(groups) if g not in chosen])
        yield CombinatorialSplit(chosen, spans.purged(train, test, embargo), test)


def _groups(spans: LabelSpans, groups: int, judged: int) -> list[Rows]:
    moments = np.unique(spans.moment)
    if not 1 <= judged < groups or groups > len(moments):
        raise ValueError(f"groups={groups}, judged={judged} are not allowed: 1 <= judged < groups <= {len(moments)}")
    firsts = [part[0] for part in np.array_split(moments, groups)]
    edges = np.append(np.searchsorted(spans.moment, firsts), len(spans.moment))
    return [np.arange(a, b, dtype=np.int64) for a, b in pairwise(edges)]


def combinatorial_paths(groups: int, judged: int) -> Rows:
    """(paths, groups) int64: which split of `combinatorial_splits` tells each group in each path.

    There are `C(groups, judged) judged / groups` of them; each is a backtest of all of the time, in which every group
    is judged by a model that did not learn from it.
    """
    splits = list(combinations(range(groups), judged))
    count = comb(groups, judged) * judged // groups
    out = np.empty((count, groups), dtype=np.int64)
    for group in range(groups):
        out[:, group] = [number for number, chosen in enumerate(splits) if group in chosen]
    return out
