"""Indicators of TA-Lib, scaled to order one: trend, momentum, volatility.

They are recursive (Wilder and exponential averages): their value depends on where they start. Each UTC day's rows are
computed from a slice that starts `warm_up_bars` before the day's open (see `view`). v is the volatility of `windowed`.

| feature | value | source |
|---|---|---|
| adx | ADX(14) / 25 - 1 | Wilder 1978 |
| macd | (EMA(12) - EMA(26)) / (2 close v) | Appel |
| average_n | log(close / SMA(n)) / (v sqrt(n)) | |
| rsi | (RSI(14) - 50) / 25 | Wilder 1978 |
| stochastic | (slow %K(14, 3) - 50) / 30 | Lane |
| cci | CCI(14) / 100 | Lambert 1980 |
| volatility | log(v per day / 3 % + 0.001) | |
| bollinger | (close - SMA(20)) / (2 standard deviations over 20 bars) | Bollinger |
| atr | log(ATR(14) / (close v) + 0.01) | Wilder 1978 |

Neutral (0) where prices did not move, so that nothing is divided by zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import talib
from numba import njit

from cryptoenv.features.view import Setting, View, require_counts, require_pair
from cryptoenv.price_columns import CLOSE, HIGH, LOW
from cryptoenv.timeframe import DAY_MS

_TYPICAL_DAILY_VOLATILITY: Final = 0.03
_MACD_SIGNAL: Final = 9  #: TA-Lib computes the signal line too; no feature reads it


class _Slice(NamedTuple):
    """Prices of a slice as fractions of its first close: TA-Lib takes variances below 1e-14 for zero, and a coin at
    1e-6 would have none. `last` are the slice's wanted rows, `out` the same rows among all wanted ones."""

    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    last: slice
    out: slice


def _slices(view: View, memory: int) -> Iterator[_Slice]:
    for row, end in view.blocks():
        anchor = view.anchor(row, memory)
        prices = view.bars.ohlcv[anchor:end]
        high, low, close = (np.divide(prices[:, column], prices[0, CLOSE]) for column in (HIGH, LOW, CLOSE))
        yield _Slice(high, low, close, slice(row - anchor, None), slice(row - view.first, end - view.first))


@dataclass(frozen=True)
class Trend:
    """ADX over `adx` bars, MACD of two averages, distance to simple moving averages; None or () leaves one out."""

    adx: int | None = 14
    macd: tuple[int, int] | None = (12, 26)
    averages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_counts(self, adx=self.adx, macd=self.macd, averages=self.averages)
        require_pair(self, "macd")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        fixed = (("adx",) if self.adx else ()) + (("macd",) if self.macd else ())
        return fixed + tuple(f"average_{n}" for n in self.averages)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        longest = max(2 * (self.adx or 0), max(self.macd or (0,)) + _MACD_SIGNAL, *self.averages)
        return max(setting.warm_up_bars, setting.volatility_bars, longest)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`."""
        out = np.zeros((view.wanted, len(self.names(view.setting))))
        v = view.volatility[view.first :]
        for s in _slices(view, self.memory(view.setting)):
            moving, scale, column = v[s.out] > 0.0, s.close[s.last] * v[s.out], 0
            if self.adx:
                out[s.out, column] = talib.ADX(s.high, s.low, s.close, self.adx)[s.last] / 25.0 - 1.0
                column += 1
            if self.macd:
                difference = talib.MACD(s.close, *self.macd, _MACD_SIGNAL)[0][s.last]
                np.divide(difference, 2.0 * scale, out=out[s.out, column], where=moving)
                column += 1
            for n in self.averages:
                out[s.out, column] = _log_distance(s.close[s.last], talib.SMA(s.close, n)[s.last], v[s.out], n)
                column += 1
        return out


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
        """As `Family.values`."""
        out = np.zeros((view.wanted, len(self.names(view.setting))))
        moving = view.volatility[view.first :] > 0.0
        for s in _slices(view, self.memory(view.setting)):
            column = 0
            if self.rsi:
                rows = moving[s.out]
                out[s.out, column][rows] = (talib.RSI(s.close, self.rsi)[s.last][rows] - 50.0) / 25.0
                column += 1
            if self.stochastic:
                bars, smoothing = self.stochastic
                rows = moving[s.out] & _ranging(s, bars)
                found = talib.STOCH(s.high, s.low, s.close, bars, smoothing, slowd_period=1)[0][s.last]
                out[s.out, column][rows] = (found[rows] - 50.0) / 30.0
                column += 1
            if self.cci:
                rows = moving[s.out] & _ranging(s, self.cci)
                out[s.out, column][rows] = talib.CCI(s.high, s.low, s.close, self.cci)[s.last][rows] / 100.0
        return out


@dataclass(frozen=True)
class Volatility:
    """Realised volatility ("volatility"), place in the Bollinger bands, ATR, in bars; None leaves one out."""

    bollinger: int | None = 20
    atr: int | None = 14

    def __post_init__(self) -> None:
        require_counts(self, bollinger=self.bollinger, atr=self.atr)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return ("volatility", *(name for name in ("bollinger", "atr") if getattr(self, name)))

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return max(setting.warm_up_bars, setting.volatility_bars, self.bollinger or 0, (self.atr or 0) + 1)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`."""
        out = np.zeros((view.wanted, len(self.names(view.setting))))
        v = view.volatility[view.first :]
        out[:, 0] = _volatility_level(v, DAY_MS / view.setting.duration_ms)
        for s in _slices(view, self.memory(view.setting)) if self.bollinger or self.atr else ():
            column = 1
            if self.bollinger:
                upper, middle, _ = talib.BBANDS(s.close, self.bollinger)
                width = upper[s.last] - middle[s.last]
                rows = (v[s.out] > 0.0) & (width > 0.0)
                np.divide(s.close[s.last] - middle[s.last], width, out=out[s.out, column], where=rows)
                column += 1
            if self.atr:
                found = talib.ATR(s.high, s.low, s.close, self.atr)[s.last]
                out[s.out, column] = _log_ratio(found, s.close[s.last] * v[s.out])
        return out


def _ranging(s: _Slice, bars: int) -> np.ndarray:
    return (talib.MAX(s.high, bars)[s.last] - talib.MIN(s.low, bars)[s.last]) > 0.0


# Jitted for math.log: the bits of np.log may depend on where in the array a value stands.


@njit(cache=True)
def _log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.zeros(numerator.shape[0])
    for i in range(numerator.shape[0]):
        if denominator[i] > 0.0:
            out[i] = math.log(numerator[i] / denominator[i] + 0.01)
    return out


@njit(cache=True)
def _log_distance(close: np.ndarray, average: np.ndarray, v: np.ndarray, bars: int) -> np.ndarray:
    out = np.zeros(close.shape[0])
    for i in range(close.shape[0]):
        if v[i] > 0.0:
            out[i] = math.log(close[i] / average[i]) / (v[i] * math.sqrt(bars))
    return out


@njit(cache=True)
def _volatility_level(v: np.ndarray, bars_per_day: float) -> np.ndarray:
    out = np.empty(v.shape[0])
    for i in range(v.shape[0]):
        out[i] = math.log(v[i] * math.sqrt(bars_per_day) / _TYPICAL_DAILY_VOLATILITY + 0.001)
    return out
