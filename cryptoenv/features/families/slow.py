"""Slow levels: volume, range and drift against the last `days` whole UTC days and the day so far.

What normalisers of a few days erase. Sums are kept per UTC day (from one day on, per bar), so that a row costs the same
however long the memory is, and its bits depend on the clock alone. Below, "slow" means over the `days` days before the
row's own and that day so far: n bars, of which the log-returns have the root mean square w.

| feature | value |
|---|---|
| volume_slow | mean log volume of the last `volatility_bars` bars - the slow one |
| range_slow | log(v / w + 0.01): the volatility regime |
| drift_d | log-return over the last d whole days and the day so far, m bars / (w sqrt(m)) |
| range_position | place of the close between the slow low (-1) and the slow high (1) |
| variance_ratio | log(mean squared 16-bar log-return / (16 w^2) + 0.01) (Lo and MacKinlay 1988): above 0 it trends |

Without movement, or without volume, they are 0.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, VOLUME
from cryptoenv.features.families.windowed import log_volumes, mean_log
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import require_counts

_STEP: Final = 16  #: bars of the variance ratio's longer return
_LEVELS: Final = ("volume_slow", "range_slow", "range_position", "variance_ratio")
_VOLUMES, _COUNT, _SQUARES, _STEP_SQUARES = range(4)


@dataclass(frozen=True)
class SlowLevels:
    """Levels against `days` UTC days, and the drift over each of `drifts` days (from one day on: bars)."""

    days: int = 20
    drifts: tuple[int, ...] = (3, 7, 20)

    def __post_init__(self) -> None:
        require_counts(self, days=self.days, drifts=self.drifts)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return (*_LEVELS, *(f"drift_{days}" for days in self.drifts))

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        drifts = (days * setting.block + 1 for days in self.drifts)
        return max(setting.volatility_bars, self.days * setting.block + _STEP, *drifts)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        where = (view.first, view.offset, view.setting.block)
        drifts = np.array(self.drifts, dtype=np.int64)
        return _slow(view.bars.ohlcv, view.volatility, where, (self.days, view.setting.volatility_bars), drifts)


@njit(cache=True)
def _squared_returns(ohlcv: np.ndarray, bars: int) -> np.ndarray:
    out = np.zeros(ohlcv.shape[0])
    for i in range(bars, ohlcv.shape[0]):
        change = math.log(ohlcv[i, CLOSE] / ohlcv[i - bars, CLOSE])
        out[i] = change * change
    return out


@njit(cache=True)
def _add_row(sums: np.ndarray, i: int, rows: tuple[np.ndarray, np.ndarray, np.ndarray], volume: float) -> None:
    if volume > 0.0:
        sums[_VOLUMES] += rows[0][i]
        sums[_COUNT] += 1.0
    sums[_SQUARES] += rows[1][i]
    sums[_STEP_SQUARES] += rows[2][i]


@njit(cache=True)
def _slow(
    ohlcv: np.ndarray, volatility: np.ndarray, where: tuple[int, int, int], spans: tuple[int, int], drifts: np.ndarray
) -> np.ndarray:
    first, offset, block = where
    days, recent = spans
    out = np.zeros((ohlcv.shape[0] - first, 4 + drifts.shape[0]))
    logs, counts = log_volumes(ohlcv)
    volume = ohlcv[:, VOLUME]
    rows = (logs, _squared_returns(ohlcv, 1), _squared_returns(ohlcv, _STEP))
    by_day, extremes = _day_sums(ohlcv, rows, offset, block)
    total, sums = np.zeros(4), np.zeros(4)
    high, low = 0.0, 0.0
    for t in range(first, ohlcv.shape[0]):
        into = (t + offset) % block
        if t == first or into == 0:
            total[:], sums[:] = 0.0, 0.0
            day = (t + offset) // block
            high, low = extremes[day - 1]
            for before in range(day - days, day):
                total += by_day[before]
                high, low = max(high, extremes[before, 0]), min(low, extremes[before, 1])
            for i in range(t - into, t):
                _add_row(sums, i, rows, volume[i])
                high, low = max(high, ohlcv[i, HIGH]), min(low, ohlcv[i, LOW])
        _add_row(sums, t, rows, volume[t])
        high, low = max(high, ohlcv[t, HIGH]), min(low, ohlcv[t, LOW])
        if total[_COUNT] + sums[_COUNT] > 0.0:
            slow = (total[_VOLUMES] + sums[_VOLUMES]) / (total[_COUNT] + sums[_COUNT])
            fast, found = mean_log(logs, counts, t - recent + 1, t)
            out[t - first, 0] = fast - slow if found else -4.0
        squares = total[_SQUARES] + sums[_SQUARES]
        if squares > 0.0 and high > low:
            w, close = math.sqrt(squares / (days * block + into + 1)), ohlcv[t, CLOSE]
            out[t - first, 1] = math.log(volatility[t] / w + 0.01)
            out[t - first, 2] = 2.0 * (close - low) / (high - low) - 1.0
            out[t - first, 3] = math.log((total[_STEP_SQUARES] + sums[_STEP_SQUARES]) / (_STEP * squares) + 0.01)
            for k in range(drifts.shape[0]):
                bars = drifts[k] * block + into + 1
                out[t - first, 4 + k] = math.log(close / ohlcv[t - bars, CLOSE]) / (w * math.sqrt(bars))
    return out


@njit(cache=True)
def _day_sums(
    ohlcv: np.ndarray, rows: tuple[np.ndarray, np.ndarray, np.ndarray], offset: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    # Sums (days, 4), and highest and lowest price (days, 2), of each day; days that are not whole are not read.
    days = (ohlcv.shape[0] + offset) // block + 1
    sums, extremes = np.zeros((days, 4)), np.zeros((days, 2))
    for i in range(ohlcv.shape[0]):
        day = (i + offset) // block
        if i == 0 or (i + offset) % block == 0:
            extremes[day, 0], extremes[day, 1] = ohlcv[i, HIGH], ohlcv[i, LOW]
        _add_row(sums[day], i, rows, ohlcv[i, VOLUME])
        extremes[day, 0] = max(extremes[day, 0], ohlcv[i, HIGH])
        extremes[day, 1] = min(extremes[day, 1], ohlcv[i, LOW])
    return sums, extremes
