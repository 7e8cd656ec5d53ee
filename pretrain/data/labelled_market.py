"""A market with what a teacher says of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoenv.market.market import Market
from pretrain.data.label_column import LabelColumn
from synthetic.labels.path import NO_LABEL


@dataclass(frozen=True)
class LabelledMarket:
    """A market, what to learn from it, and the rows to learn from.

    `labels` (T, P) int8: index of the best target given each held position, -1 where unknown. `beliefs` (T, K) float16:
    the teacher's probability of each of K regimes, zeros where it has none; or None. Rows `start <= t < stop` count
    (all rows by default); returns that end at or after `stop` are never a target, so that nothing crosses the border of
    a split. `label_kind` names the teacher. `columns` are the user's own labels, a head of the extractor each.

    Raises:
        ValueError: a shape or dtype differs, a label lies outside [-1, P), or the range of rows is empty.
    """

    market: Market
    labels: NDArray[np.int8]
    beliefs: NDArray[np.float16] | None = None
    start: int = 0
    stop: int | None = None
    label_kind: str = "unnamed"
    columns: tuple[LabelColumn, ...] = ()

    def __post_init__(self) -> None:
        length = len(self.market)
        if self.labels.ndim != 2 or len(self.labels) != length or self.labels.dtype != np.int8:
            raise ValueError(f"labels must be int8 of shape ({length}, P), got {self.labels.dtype} {self.labels.shape}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < NO_LABEL or high >= self.labels.shape[1]:
            raise ValueError(
                f"labels must lie in [-1, {self.labels.shape[1]}), found {low if low < NO_LABEL else high}"
            )
        found = self.beliefs
        if found is not None and (found.ndim != 2 or len(found) != length or found.dtype != np.float16):
            raise ValueError(f"beliefs must be float16 of shape ({length}, K), got {found.dtype} {found.shape}")
        for column in self.columns:
            if len(column.values) != length:
                raise ValueError(f"labels {column.name!r} are of {len(column.values)} bars; the market has {length}")
        if not 0 <= self.start < self.end <= length:
            raise ValueError(f"rows [{self.start}, {self.end}) are not a range within the market's [0, {length})")

    @property
    def regimes(self) -> int:
        """Regimes that the teacher has beliefs of."""
        return 0 if self.beliefs is None else self.beliefs.shape[1]

    @property
    def end(self) -> int:
        """First row after the range: `stop`, or the length of the market."""
        return len(self.market) if self.stop is None else self.stop

    def decisions(self, window: tuple[int, ...], *, whole: bool = False) -> NDArray[np.int64]:
        """(R,) int64 rows of the range with full windows and at least one label.

        Args:
            window: bars per timeframe that a decision needs.
            whole: also the rows without a label that lie between labelled ones.

        Raises:
            ValueError: there are none.
        """
        start = max(self.start, self.market.first_decision(window))
        rows = np.arange(start, max(self.end, start))
        known = (self.labels[rows] != NO_LABEL).any(axis=1)
        for column in self.columns:
            known |= column.known[rows]
        if whole and known.any():
            first, last = np.flatnonzero(known)[[0, -1]]
            known[first : last + 1] = True
        rows = rows[known]
        if len(rows) == 0:
            found = f"rows [{self.start}, {self.end}) hold no labelled decision"
            raise ValueError(f"{found}: with window={window} the first decision could be row {start}")
        return rows
