"""Features of a timeframe from fixed anchors.

Below one day a bar's features are computed from the slice that starts `WARM_UP_BARS` bars before the open of the UTC
day in which it opens; from one day on, `WARM_UP_DAILY_BARS` bars before the bar itself. The slice depends on the clock
only, so the same call gives the same bits for all of history, for a shorter one, and live.
"""

import math
from typing import Final

import numpy as np

from cryptoenv.features.indicators import INDICATOR_NAMES, indicator_features
from cryptoenv.features.windowed import WINDOWED_NAMES, Windows, windowed_features
from cryptoenv.timeframe import DAY_MS, bar_open_ms, timeframe_ms

FEATURE_BOUND: Final = 8.0
FEATURE_NAMES: Final[tuple[str, ...]] = WINDOWED_NAMES + INDICATOR_NAMES
WARM_UP_BARS: Final = 192
WARM_UP_DAILY_BARS: Final = 40


def _windows(duration_ms: int) -> Windows:
    per_day = DAY_MS / duration_ms
    if duration_ms < DAY_MS:
        return Windows(volatility_bars=96, return_bars=96, long_bars=WARM_UP_BARS, bars_per_day=per_day)
    return Windows(volatility_bars=30, return_bars=30, long_bars=WARM_UP_DAILY_BARS, bars_per_day=per_day)


def first_valid_row(start_ms: int, timeframe: str) -> int:
    """First row whose features are whole, for gapless bars of which the first opens at `start_ms` (since the epoch)."""
    duration = timeframe_ms(timeframe)
    if duration >= DAY_MS:
        return WARM_UP_DAILY_BARS
    into_day = (start_ms - bar_open_ms(start_ms, DAY_MS)) // duration
    days = math.ceil((WARM_UP_BARS + into_day) * duration / DAY_MS)
    return days * (DAY_MS // duration) - into_day


def compute_features(start_ms: int, ohlcv: np.ndarray, timeframe: str) -> np.ndarray:
    """Features of gapless bars; history, a shorter history and live bars all come through here.

    Args:
        start_ms: open of the first bar, in milliseconds since the epoch.
        ohlcv: (T, 5) float64, open high low close volume.
        timeframe: the bars' timeframe.

    Returns:
        (T, F) float32 in [-FEATURE_BOUND, FEATURE_BOUND], columns FEATURE_NAMES; rows before `first_valid_row` are 0.
    """
    duration = timeframe_ms(timeframe)
    rows, first = len(ohlcv), first_valid_row(start_ms, timeframe)
    out = np.zeros((rows, len(FEATURE_NAMES)), dtype=np.float32)
    if first >= rows:
        return out
    warm_up, block = (WARM_UP_BARS, DAY_MS // duration) if duration < DAY_MS else (WARM_UP_DAILY_BARS, 1)
    ohlcv = np.require(ohlcv, np.float64, ("C", "W"))  # one compiled version, for read-only rows too
    windowed, volatility = windowed_features(ohlcv, first, _windows(duration))
    values = np.empty((rows, len(FEATURE_NAMES)))
    values[:, : len(WINDOWED_NAMES)] = windowed
    for row in range(first, rows, block):
        last = min(row + block, rows)
        values[row:last, len(WINDOWED_NAMES) :] = indicator_features(ohlcv[row - warm_up : last], volatility[row:last])
    np.clip(values[first:], -FEATURE_BOUND, FEATURE_BOUND, out=values[first:])
    out[first:] = values[first:]
    return out
