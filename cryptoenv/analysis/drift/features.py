"""Live features against those of training, bar by bar: windows of several lengths, looked at every so many rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.drift.reference import ColumnReference, TableReference
from cryptoenv.analysis.drift.samples import Distance, kolmogorov_smirnov, population_stability
from cryptoenv.analysis.drift.status import Status
from cryptoenv.analysis.returns import bars_per_year
from cryptoenv.files.typed_values import Range, require, require_ranges, require_types

MOST_MISSING = 0.1  #: share of a window's rows that a column may lack
STATISTICS = {"PSI": population_stability, "KS": kolmogorov_smirnov}


@dataclass(frozen=True)
class FeaturePlan:
    """How features are watched.

    Attributes:
        windows: rows of each window; short ones see large shifts soon, long ones see small ones.
        every: rows from one look to the next.
        false_alarms: looks with a false alarm that are to be expected in a year, over all columns together, at most.

    Raises:
        ConfigError: a number outside its range.
    """

    windows: tuple[int, ...] = (200, 1000)
    every: int = 25
    false_alarms: float = 0.5

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require(len(self.windows) > 0, "windows", self.windows, "at least one number of rows")
        require_ranges(self, {
            "windows": Range(16, 100_000), "every": Range(1, 100_000), "false_alarms": Range(0.0, 1e6, above=True),
        })  # fmt: skip

    def level(self, timeframe: str, share: float = 1.0) -> float:
        """Chance of a false alarm that one look may have, so that a year of looks expects `share` of `false_alarms`."""
        return min(share * self.false_alarms * self.every / bars_per_year(timeframe), 0.2)


class FeatureWatch:
    """Compares the last rows of one timeframe with its reference.

    The level of a look is shared evenly (Bonferroni) among columns that can be judged, windows and the two statistics,
    so that many features do not make many alarms.

    Args:
        reference: of the features that were learned from.
        level: chance of any false alarm at one look.
        windows: rows of each window, ascending or not.
        every: rows from one look to the next.
    """

    def __init__(
        self, reference: TableReference, level: float, windows: Sequence[int] = (200, 1000), every: int = 25
    ) -> None:
        self.reference, self.windows, self.every = reference, tuple(sorted(windows)), every
        judged = sum(column.judged for column in reference.columns)
        self.level = level / max(judged, 1) / len(self.windows) / len(STATISTICS)
        self._rows = np.full((self.windows[-1], len(reference.columns)), np.nan, dtype=np.float64)
        self._seen = 0
        self._statuses = {name: Status() for name in reference.names}

    @property
    def statuses(self) -> Mapping[str, Status]:
        """By column."""
        return self._statuses

    def add(self, row: ArrayLike, at_ms: int) -> list[str]:
        """Take in a row (F,); the columns whose state is another one now.

        Raises:
            ValueError: another number of columns.
        """
        values = np.asarray(row, dtype=np.float64)
        if values.shape != self._rows.shape[1:]:
            raise ValueError(f"a row has shape {values.shape}; allowed: {self._rows.shape[1:]}")
        self._rows[self._seen % len(self._rows)] = values
        self._seen += 1
        return self.look(at_ms) if self._seen % self.every == 0 else []

    def look(self, at_ms: int) -> list[str]:
        """Compare now; the columns whose state is another one now."""
        changed = []
        for number, column in enumerate(self.reference.columns):
            before = self._statuses[column.name]
            now = self._look_at(number, column, before, at_ms)
            self._statuses[column.name] = now
            if now.became(before):
                changed.append(column.name)
        return changed

    def _look_at(self, number: int, column: ColumnReference, before: Status, at_ms: int) -> Status:
        if not column.judged:
            return before.then("unknown", at_ms, "too few independent rows, or a constant, in training")
        found: list[tuple[float, Distance, str]] = []
        why = f"{self._seen:,} rows so far"
        for window in self.windows:
            if window > self._seen:
                break
            rows = self._last(number, window)
            finite = rows[np.isfinite(rows)]
            if len(finite) < (1.0 - MOST_MISSING) * window:
                return before.then("unknown", at_ms, f"{window - len(finite):,} of {window:,} rows are no numbers")
            if finite.min() == finite.max():
                return before.then("unknown", at_ms, f"constant over {window:,} rows")
            cells = np.searchsorted(column.edges, finite, side="left")
            counts = np.bincount(cells, minlength=len(column.shares))
            why = f"{window:,} rows are worth too few independent ones"
            for name, of in STATISTICS.items():
                if (distance := of(column, counts, self.level)) is not None:
                    ratio = distance.statistic / distance.threshold
                    found.append((ratio, distance, f"{name} over {window:,} rows"))
        if not found:
            return before.then("unknown", at_ms, why)
        _, worst, words = max(found, key=lambda one: one[0])
        return before.then("alarm" if worst.alarms else "ok", at_ms, words, worst.statistic, worst.threshold)

    def _last(self, number: int, window: int) -> NDArray[np.float64]:
        at = self._seen % len(self._rows)
        column = self._rows[:, number]
        return column[at - window : at] if at >= window else np.concatenate([column[at - window :], column[:at]])


def table_distances(
    reference: TableReference, rows: ArrayLike, level: float = 0.05
) -> dict[str, dict[str, Distance | None]]:
    """One look at rows (n, F): per column and statistic its distance, None where nothing can be said.

    `level`: chance of any false alarm over all of them.
    """
    values = np.asarray(rows, dtype=np.float64)
    each = level / max(sum(column.judged for column in reference.columns), 1) / len(STATISTICS)
    found: dict[str, dict[str, Distance | None]] = {}
    for number, column in enumerate(reference.columns):
        finite = values[np.isfinite(values[:, number]), number]
        empty = len(finite) < max((1.0 - MOST_MISSING) * len(values), 1) or finite.min() == finite.max()
        cells = np.bincount(np.searchsorted(column.edges, finite, side="left"), minlength=len(column.shares))
        found[column.name] = {
            name: None if empty or math.isclose(level, 0.0) else of(column, cells, each)
            for name, of in STATISTICS.items()
        }
    return found
