"""Indicators, scaled to order one: trend, momentum, volatility.

ADX, MACD, RSI and ATR are recursive: their value depends on where they start. Each UTC day's rows are computed from a
slice that starts a fixed number of bars before the day's open (see `view`). The others are computed from their last n
bars. All equal TA-Lib's on the same slice. v is the volatility of `windowed`.

| feature | value | source |
|---|---|---|
| adx | ADX(14) / 25 - 1 | Wilder 1978 |
| macd | (EMA(12) - EMA(26)) / (2 close v) | Appel |
| macd_signal | EMA of the MACD over `macd_signal` bars / (2 close v) | Appel |
| macd_histogram | (MACD - signal line) / (close v) | Aspray 1986 |
| average_n | log(close / SMA(n)) / (v sqrt(n)) | |
| rsi | (RSI(14) - 50) / 25 | Wilder 1978 |
| stochastic | (slow %K(14, 3) - 50) / 30 | Lane |
| cci | CCI(14) / 100 | Lambert 1980 |
| volatility | log(v per day / 3 % + 0.001) | |
| bollinger | (close - SMA(20)) / (2 standard deviations over 20 bars): the place in the bands | Bollinger |
| bollinger_middle | log(close / SMA(20)) / (v sqrt(20)): the distance to the middle band | Bollinger |
| bollinger_width | log(4 standard deviations / (SMA(20) v sqrt(20)) + 0.01): upper less lower band | Bollinger |
| atr | log(ATR(14) / (close v) + 0.01) | Wilder 1978 |

Neutral (0) where prices did not move, so that nothing is divided by zero.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW
from cryptoenv.bars.timeframe import DAY_MS
from cryptoenv.features.families.recursive import (
    Slices,
    average_difference,
    average_true_range,
    directional_index,
    relative_strength,
)
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import later_field, require_counts, require_pair

_TYPICAL_DAILY_VOLATILITY: Final = 0.03


def _where(view: View, memory: int) -> Slices:
    return Slices(view.first, view.offset, view.setting.block, memory)


@dataclass(frozen=True)
class Trend:
    """ADX over `adx` bars, MACD of two averages, distance to simple moving averages; None or () leaves one out.

    Attributes:
        adx: bars of the average directional index.
        macd: bars of the fast and the slow average.
        averages: bars of the simple averages, such as (5, 10, 20, 50, 100, 200).
        macd_signal: bars of the MACD's signal line, usually 9; the histogram comes with it.
    """

    adx: int | None = 14
    macd: tuple[int, int] | None = (12, 26)
    averages: tuple[int, ...] = ()
    macd_signal: int | None = later_field(None)

    def __post_init__(self) -> None:
        require_counts(
            self, adx=self.adx, macd=self.macd, averages=self.averages, macd_signal=self.macd_signal
        )
        require_pair(self, "macd")
        if self.macd_signal and not self.macd:
            raise ValueError(f"Trend.macd_signal is {self.macd_signal}, but macd is None; allowed: with a MACD only")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        fixed = (("adx",) if self.adx else ()) + (("macd",) if self.macd else ())
        fixed += ("macd_signal", "macd_histogram") if self.macd_signal else ()
        return fixed + tuple(f"average_{n}" for n in self.averages)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        longest = max(2 * (self.adx or 0), max(self.macd or (0,)) + (self.macd_signal or 0), *self.averages)
        return max(setting.warm_up_bars, setting.volatility_bars, longest)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        ohlcv, v = view.bars.ohlcv, view.volatility[view.first :]
        where, columns = _where(view, self.memory(view.setting)), []
        if self.adx:
            columns.append(directional_index(ohlcv, where, self.adx) / 25.0 - 1.0)
        if self.macd:
            difference, signal = average_difference(ohlcv, where, (*self.macd, self.macd_signal or 1))
            scale = 2.0 * ohlcv[view.first :, CLOSE] * v
            found = [difference, signal, 2.0 * (difference - signal)] if self.macd_signal else [difference]
            columns += [np.divide(values, scale, out=np.zeros(len(v)), where=v > 0.0) for values in found]
        columns += [_distances(ohlcv, view.volatility, view.first, bars) for bars in self.averages]
        return np.stack(columns, axis=1) if columns else np.empty((len(v), 0))


@dataclass(frozen=True)
class Momentum:
    """RSI, Stochastic (range and smoothing) and CCI, in bars; None leaves one out."""

    rsi: int | None = 14
    stochastic: tuple[int, int] | None = (14, 3)
    cci: int | None = 14

    def __post_init__(self) -> None:
        require_counts(self, rsi=self.rsi, stochastic=self.stochastic, cci=self.cci)
        require_pair(self, "stochastic")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return tuple(name for name in ("rsi", "stochastic", "cci") if getattr(self, name))

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        longest = max((self.rsi or 0) + 1, sum(self.stochastic or (0,)), self.cci or 0)
        return max(setting.warm_up_bars, setting.volatility_bars, longest)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        ohlcv, columns = view.bars.ohlcv, []
        moving = view.volatility[view.first :] > 0.0
        if self.rsi:
            found = relative_strength(ohlcv, _where(view, self.memory(view.setting)), self.rsi)
            columns.append(np.where(moving, (found - 50.0) / 25.0, 0.0))
        if self.stochastic:
            columns.append(np.where(moving, _stochastic(ohlcv, view.first, self.stochastic), 0.0))
        if self.cci:
            columns.append(np.where(moving, _channel_index(ohlcv, view.first, self.cci), 0.0))
        return np.stack(columns, axis=1) if columns else np.empty((len(moving), 0))


@dataclass(frozen=True)
class Volatility:
    """Realised volatility ("volatility"), place in the Bollinger bands, ATR, in bars; None leaves one out.

    Attributes:
        bollinger: bars of the bands.
        atr: bars of the average true range.
        bands: whether the bands' middle and width are features too, beside the place in them.
    """

    bollinger: int | None = 20
    atr: int | None = 14
    bands: bool = later_field(False)

    def __post_init__(self) -> None:
        require_counts(self, bollinger=self.bollinger, atr=self.atr)
        if self.bands and not self.bollinger:
            raise ValueError("Volatility.bands is set, but bollinger is None; allowed: with the bars of the bands only")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        bands = ("bollinger_middle", "bollinger_width") if self.bands else ()
        return ("volatility", *(name for name in ("bollinger", "atr") if getattr(self, name)), *bands)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return max(setting.warm_up_bars, setting.volatility_bars, self.bollinger or 0, (self.atr or 0) + 1)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        ohlcv, v = view.bars.ohlcv, view.volatility[view.first :]
        columns = [_volatility_level(v, DAY_MS / view.setting.duration_ms)]
        if self.bollinger:
            columns.append(np.where(v > 0.0, _band_place(ohlcv, view.first, self.bollinger), 0.0))
        if self.atr:
            found = average_true_range(ohlcv, _where(view, self.memory(view.setting)), self.atr)
            columns.append(_log_ratio(found, ohlcv[view.first :, CLOSE] * v))
        if self.bands and self.bollinger:
            columns.append(_distances(ohlcv, view.volatility, view.first, self.bollinger))
            widths, middles = _bands(ohlcv, view.first, self.bollinger)
            columns.append(_log_ratio(widths, middles * v * math.sqrt(self.bollinger)))
        return np.stack(columns, axis=1)


# Jitted for math.log too: the bits of np.log may depend on where in the array a value stands.


@njit(cache=True)
def _log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.zeros(numerator.shape[0])
    for i in range(numerator.shape[0]):
        if denominator[i] > 0.0:
            out[i] = math.log(numerator[i] / denominator[i] + 0.01)
    return out


@njit(cache=True)
def _distances(ohlcv: np.ndarray, volatility: np.ndarray, first: int, bars: int) -> np.ndarray:
    out = np.zeros(ohlcv.shape[0] - first)
    for t in range(first, ohlcv.shape[0]):
        if volatility[t] > 0.0:
            total = 0.0
            for i in range(t - bars + 1, t + 1):
                total += ohlcv[i, CLOSE]
            out[t - first] = math.log(ohlcv[t, CLOSE] * bars / total) / (volatility[t] * math.sqrt(bars))
    return out


@njit(cache=True)
def _stochastic(ohlcv: np.ndarray, first: int, spans: tuple[int, int]) -> np.ndarray:
    bars, smoothing = spans
    out = np.zeros(ohlcv.shape[0] - first)
    fast = np.zeros(ohlcv.shape[0])
    for t in range(first - smoothing + 1, ohlcv.shape[0]):
        high, low = ohlcv[t, HIGH], ohlcv[t, LOW]
        for i in range(t - bars + 1, t):
            high, low = max(high, ohlcv[i, HIGH]), min(low, ohlcv[i, LOW])
        if high > low:
            fast[t] = 100.0 * (ohlcv[t, CLOSE] - low) / (high - low)
        if t >= first and high > low:
            total = 0.0
            for i in range(t - smoothing + 1, t + 1):
                total += fast[i]
            out[t - first] = (total / smoothing - 50.0) / 30.0
    return out


@njit(cache=True)
def _channel_index(ohlcv: np.ndarray, first: int, bars: int) -> np.ndarray:
    out = np.zeros(ohlcv.shape[0] - first)
    typical = np.empty(ohlcv.shape[0])
    for t in range(ohlcv.shape[0]):
        typical[t] = (ohlcv[t, HIGH] + ohlcv[t, LOW] + ohlcv[t, CLOSE]) / 3.0
    for t in range(first, ohlcv.shape[0]):
        mean, deviation, high, low = 0.0, 0.0, ohlcv[t, HIGH], ohlcv[t, LOW]
        for i in range(t - bars + 1, t + 1):
            mean += typical[i] / bars
            high, low = max(high, ohlcv[i, HIGH]), min(low, ohlcv[i, LOW])
        for i in range(t - bars + 1, t + 1):
            deviation += abs(typical[i] - mean) / bars
        if high > low and deviation > 0.0:
            out[t - first] = (typical[t] - mean) / (0.015 * deviation) / 100.0
    return out


@njit(cache=True)
def _band_row(ohlcv: np.ndarray, t: int, bars: int) -> tuple[float, float]:
    # Mean and standard deviation of the last closes; exactly no deviation where all are equal.
    mean, squares, moved = 0.0, 0.0, False
    for i in range(t - bars + 1, t + 1):
        mean += ohlcv[i, CLOSE] / bars
        moved = moved or ohlcv[i, CLOSE] != ohlcv[t, CLOSE]
    for i in range(t - bars + 1, t + 1):
        squares += (ohlcv[i, CLOSE] - mean) * (ohlcv[i, CLOSE] - mean) / bars
    return mean, math.sqrt(squares) if moved else 0.0  # the mean of equal closes may differ from them in the last bit


@njit(cache=True)
def _band_place(ohlcv: np.ndarray, first: int, bars: int) -> np.ndarray:
    out = np.zeros(ohlcv.shape[0] - first)
    for t in range(first, ohlcv.shape[0]):
        mean, deviation = _band_row(ohlcv, t, bars)
        if deviation > 0.0:
            out[t - first] = (ohlcv[t, CLOSE] - mean) / (2.0 * deviation)
    return out


@njit(cache=True)
def _bands(ohlcv: np.ndarray, first: int, bars: int) -> tuple[np.ndarray, np.ndarray]:
    widths, middles = np.zeros(ohlcv.shape[0] - first), np.zeros(ohlcv.shape[0] - first)
    for t in range(first, ohlcv.shape[0]):
        mean, deviation = _band_row(ohlcv, t, bars)
        widths[t - first], middles[t - first] = 4.0 * deviation, mean
    return widths, middles


@njit(cache=True)
def _volatility_level(v: np.ndarray, bars_per_day: float) -> np.ndarray:
    out = np.empty(v.shape[0])
    for i in range(v.shape[0]):
        out[i] = math.log(v[i] * math.sqrt(bars_per_day) / _TYPICAL_DAILY_VOLATILITY + 0.001)
    return out
