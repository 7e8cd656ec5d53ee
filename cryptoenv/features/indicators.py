"""Indicators of TA-Lib over one slice of bars, scaled to order one.

They are recursive (Wilder and exponential averages): their value depends on where the slice starts, which `anchored`
fixes.

| feature | value | source |
|---|---|---|
| adx | ADX(14) / 25 - 1 | Wilder 1978 |
| rsi | (RSI(14) - 50) / 25 | Wilder 1978 |
| stochastic | (slow %K(14, 3) - 50) / 30 | Lane |
| cci | CCI(14) / 100 | Lambert 1980 |
| macd | (EMA(12) - EMA(26)) / (2 close v) | Appel |
| bollinger | (close - SMA(20)) / (2 standard deviations over 20 bars) | Bollinger |
| atr | log(ATR(14) / (close v) + 0.01) | Wilder 1978 |
"""

import math
from typing import Final

import numpy as np
import talib
from numba import njit

from cryptoenv.price_columns import CLOSE, HIGH, LOW

INDICATOR_NAMES: Final = ("adx", "rsi", "stochastic", "cci", "macd", "bollinger", "atr")


@njit(cache=True)
def _log_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    # Not np.log: its bits may depend on where in the array a value stands.
    out = np.zeros(numerator.shape[0])
    for i in range(numerator.shape[0]):
        if denominator[i] > 0.0:
            out[i] = math.log(numerator[i] / denominator[i] + 0.01)
    return out


def indicator_features(ohlcv: np.ndarray, volatility: np.ndarray) -> np.ndarray:
    """The indicators in the last rows of a slice.

    Args:
        ohlcv: (S, 5) float64, the slice from its anchor on.
        volatility: (N,) float64, v of the last N rows (see `windowed`), N < S.

    Returns:
        (N, len(INDICATOR_NAMES)) float64. Neutral (0) where prices did not move, so that nothing is divided by zero.
    """
    # TA-Lib takes variances below 1e-14 for zero: prices are made relative, or a coin at 1e-6 would have none.
    high, low, close = (np.divide(ohlcv[:, column], ohlcv[0, CLOSE]) for column in (HIGH, LOW, CLOSE))
    rows = slice(len(close) - len(volatility), None)
    upper, middle, _ = talib.BBANDS(close, 20)
    width = upper[rows] - middle[rows]
    scale = close[rows] * volatility
    range_14 = talib.MAX(high, 14)[rows] - talib.MIN(low, 14)[rows]
    out = np.zeros((len(volatility), len(INDICATOR_NAMES)))
    moving, ranging = volatility > 0.0, (volatility > 0.0) & (range_14 > 0.0)
    out[:, 0] = talib.ADX(high, low, close, 14)[rows] / 25.0 - 1.0
    out[moving, 1] = (talib.RSI(close, 14)[rows][moving] - 50.0) / 25.0
    out[ranging, 2] = (talib.STOCH(high, low, close, 14, 3, slowd_period=3)[0][rows][ranging] - 50.0) / 30.0
    out[ranging, 3] = talib.CCI(high, low, close, 14)[rows][ranging] / 100.0
    np.divide(talib.MACD(close, 12, 26, 9)[0][rows], 2.0 * scale, out=out[:, 4], where=moving)
    np.divide(close[rows] - middle[rows], width, out=out[:, 5], where=moving & (width > 0.0))
    out[:, 6] = _log_ratio(talib.ATR(high, low, close, 14)[rows], scale)
    return out
