"""What is kept of the features that a model learned from, so that live ones can be compared: small, JSON, no rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoenv.analysis.drift.dependence import LEAST_BATCHES, batch_length, long_run_covariance, safety
from cryptoenv.files.typed_values import ConfigError

CELLS = 20  #: cells by quantiles that rows are counted in; PSI takes them together by twos, fours or tens
BINS = CELLS // 2  #: of which the dependence is kept
MOST_ROWS = 200_000  #: that a reference is reckoned from; of longer ones the newest
DIGITS = 6  #: of numbers in JSON


@dataclass(frozen=True)
class ColumnReference:
    """One feature.

    Attributes:
        name: of the feature.
        rows: finite ones that it is reckoned from.
        edges: (K - 1,) float64, ascending inner borders of K <= 20 cells `edges[k-1] < x <= edges[k]`.
        shares: (K,) of the rows in each cell.
        times: (K - 1,) how much more the share below each border scatters than of independent rows, >= 1.
        covariance: (J, J) long-run covariance of being in each bin, per row; bins are pairs of cells, J = ceil(K / 2).
        batches: how many stretches without overlap the two rest on; below 8 the column is not judged.
    """

    name: str
    rows: int
    edges: NDArray[np.float64]
    shares: NDArray[np.float64]
    times: NDArray[np.float64]
    covariance: NDArray[np.float64]
    batches: float

    @property
    def judged(self) -> bool:
        """Whether enough is known of it to compare anything with it."""
        return len(self.shares) > 1 and self.batches >= LEAST_BATCHES

    @classmethod
    def of(cls, name: str, parts: Sequence[NDArray[Any]]) -> Self:
        """From stretches of rows in time, each (n,); what is not finite is left out."""
        finite = [part[np.isfinite(part)].astype(np.float64) for part in parts]
        finite = [part for part in finite if len(part)]
        rows = np.concatenate(finite) if finite else np.zeros(0)
        if not len(rows) or rows.min() == rows.max():
            none = np.zeros(0)
            return cls(name, len(rows), none, np.ones(1), none, np.zeros((1, 1)), 0.0)
        edges = np.unique(np.quantile(rows, np.arange(1, CELLS) / CELLS, method="inverted_cdf"))
        edges = edges[edges < rows.max()]
        if not len(edges):  # nearly all at the largest value
            edges = np.array([np.unique(rows)[-2]])
        cells = [np.searchsorted(edges, part, side="left") for part in finite]
        shares = np.bincount(np.concatenate(cells), minlength=len(edges) + 1) / len(rows)
        below = np.cumsum(shares)[:-1]
        middles = np.cumsum(shares) - shares / 2.0
        length = batch_length([middles[cell] for cell in cells])
        borders, bins = np.arange(len(edges)), np.arange(math.ceil(len(shares) / 2))
        under, batches = long_run_covariance([(cell[:, None] <= borders).astype(float) for cell in cells], length)
        inside, _ = long_run_covariance([(cell[:, None] // 2 == bins).astype(float) for cell in cells], length)
        safe = safety(length, batches)
        times = np.maximum(np.diag(under) * safe / (below * (1.0 - below)), 1.0)
        return cls(name, len(rows), edges, shares, times, inside * safe, batches)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        lower = self.covariance[np.tril_indices(len(self.covariance))]
        return {
            "name": self.name, "rows": self.rows, "batches": _short(self.batches),
            **{key: [_short(x) for x in values] for key, values in
               (("edges", self.edges), ("shares", self.shares), ("times", self.times), ("covariance", lower))},
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See `to_json`.

        Raises:
            ConfigError: it says something else.
        """
        keys = {"name", "rows", "batches", "edges", "shares", "times", "covariance"}
        if not isinstance(values, dict) or set(values) != keys or not isinstance(values["name"], str):
            raise ConfigError(f"{where}: a column must have exactly the keys {sorted(keys)}")
        where = f"{where}: column {values['name']!r}"
        edges, shares, times, lower = (
            numbers(values[key], f"{where}: {key}") for key in ("edges", "shares", "times", "covariance")
        )
        rows, batches = numbers([values["rows"], values["batches"]], f"{where}: rows and batches")
        bins = math.ceil(len(shares) / 2)
        whole = len(shares) == len(edges) + 1 == len(times) + 1 and len(lower) == bins * (bins + 1) // 2
        sound = whole and len(shares) <= CELLS and (np.diff(edges) > 0.0).all() and (shares >= 0.0).all()
        if not (sound and abs(shares.sum() - 1.0) < 1e-3 and (times >= 1.0).all() and rows >= 0.0 <= batches):
            raise ConfigError(f"{where}: edges, shares, times and covariance do not fit each other")
        covariance = np.zeros((bins, bins))
        covariance[np.tril_indices(bins)] = lower
        covariance += np.tril(covariance, -1).T
        return cls(values["name"], int(rows), edges, shares, times, covariance, float(batches))


@dataclass(frozen=True)
class TableReference:
    """The features of one timeframe.

    Attributes:
        timeframe: of the rows.
        columns: in the order of the features.
    """

    timeframe: str
    columns: tuple[ColumnReference, ...]

    @classmethod
    def of(cls, timeframe: str, names: Sequence[str], parts: Sequence[NDArray[Any]]) -> Self:
        """From stretches of rows in time, each (n, F): markets, or parts of one.

        Raises:
            ValueError: other columns than names.
        """
        if any(part.ndim != 2 or part.shape[1] != len(names) for part in parts):
            raise ValueError(f"rows have shapes {[part.shape for part in parts]}; allowed: (n, {len(names)})")
        most = max(MOST_ROWS // max(len(parts), 1), 1)
        columns = [ColumnReference.of(name, [part[-most:, k] for part in parts]) for k, name in enumerate(names)]
        return cls(timeframe, tuple(columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.name for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"timeframe": self.timeframe, "columns": [column.to_json() for column in self.columns]}

    @classmethod
    def from_json(cls, values: Any, where: str) -> Self:
        """See `to_json`.

        Raises:
            ConfigError: it says something else.
        """
        named = isinstance(values, dict) and set(values) == {"timeframe", "columns"}
        if not named or not isinstance(values["timeframe"], str) or not isinstance(values["columns"], list):
            raise ConfigError(f"{where}: a table must have exactly the keys 'timeframe' and 'columns'")
        return cls(values["timeframe"], tuple(ColumnReference.from_json(one, where) for one in values["columns"]))


def numbers(values: Any, where: str) -> NDArray[np.float64]:
    """(n,) float64 of a list of finite numbers.

    Raises:
        ConfigError: something else.
    """
    if not isinstance(values, list) or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in values):
        raise ConfigError(f"{where}: must be a list of numbers")
    found = np.array(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ConfigError(f"{where}: must be finite numbers")
    return found


def _short(value: Any) -> float:
    return float(f"{float(value):.{DIGITS}g}")
