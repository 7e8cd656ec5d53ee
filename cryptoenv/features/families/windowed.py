"""Features with a finite memory: each row is computed afresh from the last n rows, so nothing older can reach it.

Shapes: `T` rows; `ohlcv` (T, 5) float64. Below, v is the volatility: the root mean square of the last `volatility_bars`
log-returns.

| feature | value |
|---|---|
| return_n, return_long | log-return over that many bars / (v sqrt(bars)) |
| return_1_lag_n | log-return of the bar n bars ago / v |
| range | log(high / low) / v - 1.5 |
| wick | log(open close / (high low)) / v: positive where the lower wick is the longer |
| volume_surprise | log volume - mean log volume of the last `long` bars |
| volume_short | log volume - mean log volume of the `short` bars before |
| volume_level | mean log volume of the last `medium` bars - the same of the last `long` |
| obv | on-balance volume gained over the last `medium` bars / their volume (Granville 1963, made rolling) |

Bars without volume are left out of the means; a row whose own volume is zero reads -4; without any volume all are 0.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import require_counts

_NO_VOLUME: Final = -4.0


@dataclass(frozen=True)
class Returns:
    """Log-returns over `horizons` bars, over `long` bars ("return_long"), and of single bars `lags` bars ago."""

    horizons: tuple[int, ...] = (1, 4, 16)
    long: int | None = 96
    lags: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_counts(self, horizons=self.horizons, long=self.long, lags=self.lags)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        long = () if self.long is None else ("return_long",)
        return (*(f"return_{n}" for n in self.horizons), *long, *(f"return_1_lag_{n}" for n in self.lags))

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return max(setting.volatility_bars, *self.horizons, self.long or 0, *(n + 1 for n in self.lags))

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        bars = (*self.horizons, *(() if self.long is None else (self.long,)), *(1 for _ in self.lags))
        lags = (*(0 for _ in range(len(bars) - len(self.lags))), *self.lags)
        spans = np.array([bars, lags], dtype=np.int64)
        return _returns(view.bars.ohlcv, view.volatility, view.first, spans)


@dataclass(frozen=True)
class Candles:
    """The bar's own shape: range and wicks."""

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return ("range", "wick")

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return setting.volatility_bars

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        return _candles(view.bars.ohlcv, view.volatility, view.first)


@dataclass(frozen=True)
class Volume:
    """Volume against its averages over `short`, `medium` and `long` bars, and on-balance volume over `medium` bars."""

    short: int = 8
    medium: int = 16
    long: int = 192

    def __post_init__(self) -> None:
        require_counts(self, short=self.short, medium=self.medium, long=self.long)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return ("volume_surprise", "volume_short", "volume_level", "obv")

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return max(self.short, self.medium, self.long)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        return _volumes(view.bars.ohlcv, view.first, (self.short, self.medium, self.long))


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
            squares += (returns[i] - mean) * (returns[i] - mean)
        out[t] = math.sqrt(squares / count)
    return out


@njit(cache=True)
def range_sum(values: np.ndarray, first: int, last: int) -> float:
    """Sum of rows `first` to `last` of `values` (T,).

    In four chains, which a processor adds side by side; the order is fixed.
    """
    a, b, c, d = 0.0, 0.0, 0.0, 0.0
    i = first
    while i + 3 <= last:
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        i += 4
    while i <= last:
        a += values[i]
        i += 1
    return (a + b) + (c + d)


@njit(cache=True)
def rolling_volatility(ohlcv: np.ndarray, bars: int) -> np.ndarray:
    """(T,) float64: root mean square of the last `bars` log-returns, 0 in rows that have fewer before them."""
    squares = log_returns(ohlcv[:, CLOSE].copy())
    for t in range(ohlcv.shape[0]):
        squares[t] *= squares[t]
    out = np.zeros(ohlcv.shape[0])
    for t in range(bars, ohlcv.shape[0]):
        out[t] = math.sqrt(range_sum(squares, t - bars + 1, t) / bars)
    return out


@njit(cache=True)
def _returns(ohlcv: np.ndarray, volatility: np.ndarray, first: int, spans: np.ndarray) -> np.ndarray:
    out = np.zeros((ohlcv.shape[0] - first, spans.shape[1]))
    for t in range(first, ohlcv.shape[0]):
        if volatility[t] > 0.0:
            for k in range(spans.shape[1]):
                last = t - spans[1, k]
                change = math.log(ohlcv[last, CLOSE] / ohlcv[last - spans[0, k], CLOSE])
                out[t - first, k] = change / (volatility[t] * math.sqrt(spans[0, k]))
    return out


@njit(cache=True)
def _candles(ohlcv: np.ndarray, volatility: np.ndarray, first: int) -> np.ndarray:
    out = np.zeros((ohlcv.shape[0] - first, 2))
    for t in range(first, ohlcv.shape[0]):
        v = volatility[t]
        if v > 0.0:
            opened, high, low, close = ohlcv[t, OPEN], ohlcv[t, HIGH], ohlcv[t, LOW], ohlcv[t, CLOSE]
            out[t - first, 0] = math.log(high / low) / v - 1.5
            out[t - first, 1] = math.log((opened / high) * (close / low)) / v
    return out


@njit(cache=True)
def log_volumes(ohlcv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) float64 log volume, 0 where there is none, and (T + 1,) int64: how many rows before each had volume."""
    out = np.zeros(ohlcv.shape[0])
    counts = np.zeros(ohlcv.shape[0] + 1, dtype=np.int64)
    for i in range(ohlcv.shape[0]):
        counts[i + 1] = counts[i]
        if ohlcv[i, VOLUME] > 0.0:
            out[i] = math.log(ohlcv[i, VOLUME])
            counts[i + 1] += 1
    return out, counts


@njit(cache=True)
def mean_log(logs: np.ndarray, counts: np.ndarray, first: int, last: int) -> tuple[float, int]:
    """Mean log volume of rows `first` to `last` that have volume (0 if none has), and their number.

    `logs` (T,) and `counts` (T + 1,) are those of `log_volumes`.
    """
    count = counts[last + 1] - counts[first]
    return (range_sum(logs, first, last) / count if count else 0.0), count


@njit(cache=True)
def _volume_row(t: int, logs: np.ndarray, counts: np.ndarray, bars: tuple[int, int, int]) -> tuple[float, float, float]:
    slow, slow_count = mean_log(logs, counts, t - bars[2] + 1, t)
    if slow_count == 0:
        return 0.0, 0.0, 0.0
    medium, medium_count = mean_log(logs, counts, t - bars[1] + 1, t)
    level = medium - slow if medium_count else _NO_VOLUME
    if counts[t + 1] == counts[t]:
        return _NO_VOLUME, _NO_VOLUME, level
    short, short_count = mean_log(logs, counts, t - bars[0], t - 1)
    return logs[t] - slow, logs[t] - (short if short_count else slow), level


@njit(cache=True)
def _balance_row(t: int, ohlcv: np.ndarray, bars: int) -> float:
    signed, total = 0.0, 0.0
    for i in range(t - bars + 1, t + 1):
        total += ohlcv[i, VOLUME]
        if ohlcv[i, CLOSE] > ohlcv[i - 1, CLOSE]:
            signed += ohlcv[i, VOLUME]
        elif ohlcv[i, CLOSE] < ohlcv[i - 1, CLOSE]:
            signed -= ohlcv[i, VOLUME]
    return signed / total if total > 0.0 else 0.0


@njit(cache=True)
def _volumes(ohlcv: np.ndarray, first: int, bars: tuple[int, int, int]) -> np.ndarray:
    out = np.zeros((ohlcv.shape[0] - first, 4))
    logs, counts = log_volumes(ohlcv)
    for t in range(first, ohlcv.shape[0]):
        row = t - first
        out[row, 0], out[row, 1], out[row, 2] = _volume_row(t, logs, counts, bars)
        out[row, 3] = _balance_row(t, ohlcv, bars[1])
    return out
