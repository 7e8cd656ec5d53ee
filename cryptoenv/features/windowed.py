"""Features with a finite memory: each row is computed afresh from the last n rows, so nothing older can reach it.

Shapes: `T` rows; `ohlcv` (T, 5) float64. Below, v is the volatility: the root mean square of the last `volatility_bars`
log-returns.

| feature | value |
|---|---|
| return_1, return_4, return_16, return_long | log-return over that many bars / (v sqrt(bars)) |
| range | log(high / low) / v - 1.5 |
| wick | log(open close / (high low)) / v: positive where the lower wick is the longer |
| volume_surprise | log volume - mean log volume of the last `long_bars` bars |
| volume_short | log volume - mean log volume of the 8 bars before |
| volume_level | mean log volume of the last 16 bars - the same of the last `long_bars` |
| obv | on-balance volume gained over the last 16 bars / their volume (Granville 1963, made rolling) |
| volatility | log(v per day / 3 % + 0.001) |

Bars without volume are left out of the means; a row whose own volume is zero reads -4; without any volume all are 0.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from cryptoenv.price_columns import CLOSE, HIGH, LOW, OPEN, VOLUME

WINDOWED_NAMES: Final = (
    "return_1", "return_4", "return_16", "return_long", "range", "wick",
    "volume_surprise", "volume_short", "volume_level", "obv", "volatility",
)  # fmt: skip

_SHORT: Final = 8
_MEDIUM: Final = 16
_NO_VOLUME: Final = -4.0
_TYPICAL_DAILY_VOLATILITY: Final = 0.03


class Windows(NamedTuple):
    """Memory of the features of one timeframe, in bars; a row needs `long_bars`, the longest, before it."""

    volatility_bars: int
    return_bars: int
    long_bars: int
    bars_per_day: float


@njit(cache=True)
def log_returns(close: np.ndarray) -> np.ndarray:
    """(T,) float64: log(close / previous close), 0 in the first row."""
    out = np.zeros(close.shape[0])
    for i in range(1, close.shape[0]):
        out[i] = math.log(close[i] / close[i - 1])
    return out


@njit(cache=True)
def rolling_sigma(close: np.ndarray, bars: int) -> np.ndarray:
    """(T,) float64: standard deviation (ddof 0) of the last `bars` log-returns; of fewer at the start, 0 below 2."""
    returns = log_returns(close)
    out = np.zeros(close.shape[0])
    for t in range(2, close.shape[0]):
        first = max(t - bars + 1, 1)
        count = t - first + 1
        mean = 0.0
        for i in range(first, t + 1):
            mean += returns[i]
        mean /= count
        squares = 0.0
        for i in range(first, t + 1):
            squares += (returns[i] - mean) ** 2
        out[t] = math.sqrt(squares / count)
    return out


@njit(cache=True)
def _mean_log(logs: np.ndarray, volume: np.ndarray, first: int, last: int) -> tuple[float, int]:
    total, count = 0.0, 0
    for i in range(first, last + 1):
        if volume[i] > 0.0:
            total += logs[i]
            count += 1
    return (total / count if count else 0.0), count


@njit(cache=True)
def _volume_row(t: int, logs: np.ndarray, volume: np.ndarray, long_bars: int) -> tuple[float, float, float]:
    slow, slow_count = _mean_log(logs, volume, t - long_bars + 1, t)
    if slow_count == 0:
        return 0.0, 0.0, 0.0
    medium, medium_count = _mean_log(logs, volume, t - _MEDIUM + 1, t)
    level = medium - slow if medium_count else _NO_VOLUME
    if volume[t] == 0.0:
        return _NO_VOLUME, _NO_VOLUME, level
    short, short_count = _mean_log(logs, volume, t - _SHORT, t - 1)
    return logs[t] - slow, logs[t] - (short if short_count else slow), level


@njit(cache=True)
def _balance_row(t: int, returns: np.ndarray, volume: np.ndarray) -> float:
    signed, total = 0.0, 0.0
    for i in range(t - _MEDIUM + 1, t + 1):
        total += volume[i]
        if returns[i] > 0.0:
            signed += volume[i]
        elif returns[i] < 0.0:
            signed -= volume[i]
    return signed / total if total > 0.0 else 0.0


@njit(cache=True)
def windowed_features(ohlcv: np.ndarray, first: int, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The windowed features of rows `first` and later.

    Args:
        ohlcv: (T, 5) float64.
        first: first row to compute, at least `windows.long_bars`.
        windows: memory in bars.

    Returns:
        (T, len(WINDOWED_NAMES)) float64 and v (T,) float64; rows before `first` are 0.
    """
    rows = ohlcv.shape[0]
    out = np.zeros((rows, 11))
    volatility = np.zeros(rows)
    close = ohlcv[:, CLOSE].copy()
    volume = ohlcv[:, VOLUME].copy()
    returns = log_returns(close)
    logs = np.zeros(rows)
    for i in range(rows):
        logs[i] = math.log(volume[i]) if volume[i] > 0.0 else 0.0
    for t in range(first, rows):
        squares = 0.0
        for i in range(t - windows.volatility_bars + 1, t + 1):
            squares += returns[i] * returns[i]
        v = math.sqrt(squares / windows.volatility_bars)
        volatility[t] = v
        if v > 0.0:
            out[t, 0] = returns[t] / v
            out[t, 1] = math.log(close[t] / close[t - 4]) / (v * 2.0)
            out[t, 2] = math.log(close[t] / close[t - 16]) / (v * 4.0)
            out[t, 3] = math.log(close[t] / close[t - windows.return_bars]) / (v * math.sqrt(windows.return_bars))
            out[t, 4] = math.log(ohlcv[t, HIGH] / ohlcv[t, LOW]) / v - 1.5
            out[t, 5] = math.log((ohlcv[t, OPEN] / ohlcv[t, HIGH]) * (close[t] / ohlcv[t, LOW])) / v
        out[t, 6], out[t, 7], out[t, 8] = _volume_row(t, logs, volume, windows.long_bars)
        out[t, 9] = _balance_row(t, returns, volume)
        out[t, 10] = math.log(v * math.sqrt(windows.bars_per_day) / _TYPICAL_DAILY_VOLATILITY + 0.001)
    return out, volatility
