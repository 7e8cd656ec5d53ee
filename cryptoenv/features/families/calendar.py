"""The calendar: where in the UTC day and in the week a bar closes, as sine and cosine.

hour_sin, hour_cos: of 2 pi (time of day) / (24 h); weekday_sin, weekday_cos: of 2 pi (time since Monday) / (7 d).
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from cryptoenv.bars.timeframe import DAY_MS, MONDAY_MS, WEEK_MS
from cryptoenv.features.view import Setting, View


@dataclass(frozen=True)
class Calendar:
    """Hour and weekday of the bar's close; `hour` or `weekday` False leaves one out, as do bars of a day or a week."""

    hour: bool = True
    weekday: bool = True

    def __post_init__(self) -> None:
        for name in ("hour", "weekday"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"Calendar.{name} is {getattr(self, name)!r}; allowed: true or false")

    def _periods(self, setting: Setting) -> list[tuple[str, int]]:
        given = (("hour", DAY_MS, self.hour), ("weekday", WEEK_MS, self.weekday))
        return [(name, period) for name, period, wanted in given if wanted and setting.duration_ms < period]

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return tuple(f"{name}_{part}" for name, _ in self._periods(setting) for part in ("sin", "cos"))

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return 0

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        duration = view.setting.duration_ms
        close = view.bars.start_ms + (view.first + 1) * duration - MONDAY_MS
        turns = [_circle(close, duration, period, view.wanted) for _, period in self._periods(view.setting)]
        return np.concatenate(turns, axis=1) if turns else np.empty((view.wanted, 0))


@njit(cache=True)
def _circle(start: int, step: int, period: int, rows: int) -> np.ndarray:
    out = np.empty((rows, 2))
    for i in range(rows):
        angle = 2.0 * math.pi * (((start + i * step) % period) / period)
        out[i, 0], out[i, 1] = math.sin(angle), math.cos(angle)
    return out
