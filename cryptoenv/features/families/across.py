"""Features across timeframes: what the longer timeframes' ended bars say about a bar of a shorter one.

| feature | value |
|---|---|
| alignment | mean over the bar's own and all longer timeframes of the trend, cut to [-2, 2] |
| resistance | log(highest high of the next timeframe's last `level_bars` ended bars / close) / (w sqrt(level_bars)) |
| support | log(close / their lowest low) / (w sqrt(level_bars)) |

The trend of a bar is the log-return over `trend_bars` bars / (root mean square of their log-returns x
sqrt(trend_bars)); w is the root mean square of the log-returns of the level's bars. The longest timeframe has none of
these.
"""

import math
from dataclasses import dataclass

import numpy as np
import talib
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW
from cryptoenv.features.families.windowed import log_returns, rolling_volatility
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import require_counts


@dataclass(frozen=True)
class AcrossTimeframes:
    """Alignment of trends over `trend_bars`; distance to the extremes of `level_bars` bars of the next timeframe."""

    trend_bars: int = 16
    level_bars: int = 18

    def __post_init__(self) -> None:
        require_counts(self, trend_bars=self.trend_bars, level_bars=self.level_bars)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return ("alignment", "resistance", "support") if setting.higher_ms else ()

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        if not setting.higher_ms:
            return 0
        # One bar more: the last one that has ended began up to two of its durations ago.
        trend = (self.trend_bars + 2) * setting.higher_ms[-1]
        level = (self.level_bars + 2) * setting.higher_ms[0]
        return max(max(trend, level) // setting.duration_ms, self.trend_bars + 1, setting.volatility_bars)

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        out = np.zeros((view.wanted, 3 if view.higher else 0))
        if not view.higher:
            return out
        out[:, 0] = _trend(view.bars.ohlcv, self.trend_bars)[view.first :]
        for k, series in enumerate(view.higher):
            out[:, 0] += _trend(series.ohlcv, self.trend_bars)[view.ended(k)]
        out[:, 0] /= 1 + len(view.higher)
        ended, next_bars = view.ended(0), view.higher[0].ohlcv
        high, low = (np.ascontiguousarray(next_bars[:, column]) for column in (HIGH, LOW))
        if self.level_bars > 1:
            high, low = talib.MAX(high, self.level_bars), talib.MIN(low, self.level_bars)
        scale = rolling_volatility(next_bars, self.level_bars) * math.sqrt(self.level_bars)
        _distances(view.bars.ohlcv[view.first :, CLOSE], scale[ended], high[ended], low[ended], out)
        return out


@njit(cache=True)
def _trend(ohlcv: np.ndarray, bars: int) -> np.ndarray:
    out = np.zeros(ohlcv.shape[0])
    returns = log_returns(ohlcv[:, CLOSE].copy())
    for t in range(bars, ohlcv.shape[0]):
        total, squares = 0.0, 0.0
        for i in range(t - bars + 1, t + 1):
            total += returns[i]
            squares += returns[i] * returns[i]
        if squares > 0.0:
            out[t] = min(max(total / math.sqrt(squares), -2.0), 2.0)
    return out


@njit(cache=True)
def _distances(close: np.ndarray, scale: np.ndarray, high: np.ndarray, low: np.ndarray, out: np.ndarray) -> None:
    for i in range(close.shape[0]):
        if scale[i] > 0.0:
            out[i, 1] = math.log(high[i] / close[i]) / scale[i]
            out[i, 2] = math.log(close[i] / low[i]) / scale[i]
