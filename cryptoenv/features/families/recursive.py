"""Recursive indicators from fixed anchors, jitted: ADX, RSI, ATR and MACD as TA-Lib computes them on each slice.

TA-Lib itself is called slice by slice, thousands of times for a market, and the calls cost four times the arithmetic.

Shapes: `ohlcv` (T, 5) float64. Each returns (T - first,) float64.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW


class Slices(NamedTuple):
    """Which rows are wanted, and the slices of bars that they are functions of.

    Attributes:
        first: first row wanted. offset: rows of its UTC day before row 0. block: rows of a day.
        memory: rows of a slice before the day.
    """

    first: int
    offset: int
    block: int
    memory: int


@njit(cache=True)
def _slice_rows(row: int, rows: int, where: Slices) -> tuple[int, int]:
    # First row of the slice that row `row` belongs to, and the one after its last.
    into = (row + where.offset) % where.block
    return row - into - where.memory, min(row - into + where.block, rows)


@njit(cache=True)
def relative_strength(ohlcv: np.ndarray, where: Slices, bars: int) -> np.ndarray:
    """(T - first,) RSI in [0, 100] (Wilder 1978), 0 where nothing moved; `ohlcv` is (T, 5)."""
    first, rows = where.first, ohlcv.shape[0]
    out = np.zeros(rows - first)
    row = first
    while row < rows:
        anchor, end = _slice_rows(row, rows, where)
        gain, loss = 0.0, 0.0
        for i in range(anchor + 1, end):
            change = ohlcv[i, CLOSE] - ohlcv[i - 1, CLOSE]
            up, down = max(change, 0.0), max(-change, 0.0)
            if i - anchor <= bars:
                gain, loss = gain + up / bars, loss + down / bars
            else:
                gain, loss = (gain * (bars - 1) + up) / bars, (loss * (bars - 1) + down) / bars
            if i >= row and gain + loss > 0.0:
                out[i - first] = 100.0 * gain / (gain + loss)
        row = end
    return out


@njit(cache=True)
def average_true_range(ohlcv: np.ndarray, where: Slices, bars: int) -> np.ndarray:
    """(T - first,) ATR in units of price (Wilder 1978); `ohlcv` is (T, 5)."""
    first, rows = where.first, ohlcv.shape[0]
    out = np.zeros(rows - first)
    row = first
    while row < rows:
        anchor, end = _slice_rows(row, rows, where)
        average = 0.0
        for i in range(anchor + 1, end):
            before = ohlcv[i - 1, CLOSE]
            true_range = max(ohlcv[i, HIGH], before) - min(ohlcv[i, LOW], before)
            if i - anchor <= bars:
                average += true_range / bars
            else:
                average = (average * (bars - 1) + true_range) / bars
            if i >= row:
                out[i - first] = average
        row = end
    return out


@njit(cache=True)
def directional_index(ohlcv: np.ndarray, where: Slices, bars: int) -> np.ndarray:
    """(T - first,) ADX in [0, 100] (Wilder 1978); `ohlcv` is (T, 5)."""
    first, rows = where.first, ohlcv.shape[0]
    out = np.zeros(rows - first)
    row = first
    while row < rows:
        anchor, end = _slice_rows(row, rows, where)
        plus, minus, index, count = 0.0, 0.0, 0.0, 0
        for i in range(anchor + 1, end):
            up, down = ohlcv[i, HIGH] - ohlcv[i - 1, HIGH], ohlcv[i - 1, LOW] - ohlcv[i, LOW]
            if i - anchor >= bars:
                plus, minus = plus * (bars - 1) / bars, minus * (bars - 1) / bars
            if up > 0.0 and up > down:
                plus += up
            elif down > 0.0 and down > up:
                minus += down
            if i - anchor >= bars:
                strength = 100.0 * abs(plus - minus) / (plus + minus) if plus + minus > 0.0 else -1.0
                count += 1
                if count <= bars:
                    index += max(strength, 0.0) / bars
                elif strength >= 0.0:
                    index = (index * (bars - 1) + strength) / bars
            if i >= row:
                out[i - first] = index
        row = end
    return out


@njit(cache=True)
def average_difference(
    ohlcv: np.ndarray, where: Slices, spans: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(T - first,) MACD in units of price, and (T - first,) its signal line.

    A fast less a slow exponential average, both begun as the mean up to the slow one's; the signal line is an
    exponential average of that, begun as the mean of the first ones.

    Args:
        ohlcv: (T, 5).
        where: as above.
        spans: bars of the fast and of the slow average, and of the signal line.
    """
    first, rows = where.first, ohlcv.shape[0]
    fast_bars, slow_bars, signal_bars = spans
    out, line = np.zeros(rows - first), np.zeros(rows - first)
    row = first
    while row < rows:
        anchor, end = _slice_rows(row, rows, where)
        fast, slow, signal = 0.0, 0.0, 0.0
        for i in range(anchor, end):
            close, age = ohlcv[i, CLOSE], i - anchor
            if age < slow_bars:
                slow += close / slow_bars
                if age >= slow_bars - fast_bars:
                    fast += close / fast_bars
            else:
                fast += 2.0 / (fast_bars + 1) * (close - fast)
                slow += 2.0 / (slow_bars + 1) * (close - slow)
            if age >= slow_bars - 1 + signal_bars:
                signal += 2.0 / (signal_bars + 1) * (fast - slow - signal)
            elif age >= slow_bars - 1:
                signal += (fast - slow) / signal_bars
            if i >= row:
                out[i - first], line[i - first] = fast - slow, signal
        row = end
    return out, line
