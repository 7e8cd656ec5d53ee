"""How long the last value of a column or a reference may stand: the same limit in a market and in a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import RECENT, USUAL, duration_us, usual_ages
from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS

REFERENCE = "reference"
REFERENCE_STALE_MS = 4 * HOUR_MS  #: that bars of the reference may be missing while there are bars
Limit = str | pd.Timedelta | None
StaleAfter = Limit | Mapping[str, Limit]


@dataclass(frozen=True)
class StaleLimits:
    """How long values may stand, by column.

    Attributes:
        names: of the columns; "reference" is the reference's close.
        limits: (C,) ms each; None where it is the usual one, infinite where there is none.
    """

    names: tuple[str, ...]
    limits: tuple[float | None, ...]

    @classmethod
    def of(cls, stale_after: StaleAfter, names: Sequence[str]) -> StaleLimits:
        """From what a user says: one duration for all, or by column; "usual", or None for no limit.

        Raises:
            BarsError: a column that there is not, or no duration.
        """
        given = dict(stale_after) if isinstance(stale_after, Mapping) else dict.fromkeys(names, stale_after)
        if unknown := sorted(set(given) - set(names)):
            raise BarsError(f"stale_after names {unknown[0]!r}; allowed: {', '.join(names) or 'nothing here'}")
        return cls(tuple(names), tuple(_limit_ms(name, given.get(name, USUAL)) for name in names))

    def ages(self, column: int, known_ms: np.ndarray, step_ms: int) -> np.ndarray:
        """How long each value may stand.

        The usual limit is twice the distance that the values keep (`usual_ages`), a day at least; bars of a reference
        may be missing for `REFERENCE_STALE_MS`.

        Args:
            column: its number.
            known_ms: (V,) int64, increasing: when values became known.
            step_ms: duration of a bar of the reference.

        Returns:
            (V,) float64, ms.
        """
        limit = self.limits[column]
        if limit is not None:
            return np.full(len(known_ms), limit)
        if self.names[column] == REFERENCE:
            return np.full(len(known_ms), float(step_ms + REFERENCE_STALE_MS))
        return np.maximum(usual_ages(known_ms), DAY_MS)

    def least(self, column: int) -> float:
        """No value is stale before it is this old, ms."""
        limit = self.limits[column]
        return limit if limit is not None else float(min(DAY_MS, REFERENCE_STALE_MS))


class LastValues:
    """The last values of a stream's columns, and how many bars they have stood for."""

    def __init__(self, limits: StaleLimits, step_ms: int) -> None:
        self._limits, self._step = limits, step_ms
        self._known: tuple[deque[int], ...] = tuple(deque(maxlen=RECENT + 1) for _ in limits.names)
        self._unseen = [0] * len(limits.names)

    def copy(self) -> LastValues:
        """The same, to be gone on with apart."""
        other = LastValues(self._limits, self._step)
        other._known = tuple(known.copy() for known in self._known)
        other._unseen = self._unseen.copy()
        return other

    def take(self, end_ms: int, columns: Sequence[float]) -> None:
        """The values that a bar brings, NaN where nothing is new.

        Raises:
            BarsError: the last value of a column is too old.
        """
        for k, value in enumerate(columns):
            if value == value:
                self._known[k].append(end_ms)
                self._unseen[k] = 0
                continue
            self._unseen[k] += 1
            old = self._unseen[k] * self._step
            if old < self._limits.least(k) or not self._known[k]:
                continue
            if old >= self._limits.ages(k, np.array(self._known[k], dtype=np.int64), self._step)[-1]:
                name, last = self._limits.names[k], self._known[k][-1]
                raise BarsError(
                    f"{'' if name == REFERENCE else 'column '}{name!r} has a hole: at {_moment(end_ms)} its last value "
                    f"is of {_moment(last)}; bring what is missing, or say with stale_after= how long it may stand"
                )


def _limit_ms(name: str, limit: Limit) -> float | None:
    if limit is None:
        return float("inf")
    return None if isinstance(limit, str) and limit == USUAL else duration_us(f"stale_after of {name}", limit) / 1000.0


def _moment(time_ms: int) -> str:
    return pd.Timestamp(int(time_ms), unit="ms", tz="UTC").isoformat()
