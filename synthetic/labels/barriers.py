"""The triple barrier (Lopez de Prado, Advances in Financial Machine Learning, 2018, ch. 3): the one met first counts.

Bars alone, so it works on real data. Shape legend: `T` bars, `P` positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.labels.targets import NO_SIGN, price_column, targets_of_signs
from synthetic.price_columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME


@dataclass(frozen=True)
class Barriers:
    """Where the barriers stand around the close of a bar.

    Attributes:
        timeout: bars until the vertical barrier, at least 1.
        upper: distance of the upper barrier, in standard deviations of the log-return over `timeout` bars; above 0.
        lower: the same, of the lower one.
        memory: span (bars, at least 2) of the exponentially weighted volatility (AFML snippet 3.1), which sees only the
            past: weight `2 / (memory + 1)` on the newest squared log-return. The first `memory` bars have no label.

    Raises:
        ValueError: a field is out of range.
    """

    timeout: int = 96
    upper: float = 1.0
    lower: float = 1.0
    memory: int = 100

    def __post_init__(self) -> None:
        if self.timeout < 1:
            raise ValueError(f"timeout is {self.timeout}: it must be at least 1 bar")
        if self.memory < 2:
            raise ValueError(f"memory is {self.memory}: it must be at least 2 bars")
        for name in ("upper", "lower"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}: a barrier's distance must be finite and above 0")


@dataclass(frozen=True)
class BarrierTouches:
    """What was met first, from each bar.

    Attributes:
        signs: (T,) int8: 1 upper, -1 lower, 0 timeout or both within one bar (their order is not known), `NO_SIGN`
            (-2) where the data does not say.
        touched: (T,) int64, the bar of that; -1 where the data does not say.
        width: (T,) float64, log distance of a barrier of 1 deviation; NaN in the warm-up.
    """

    signs: NDArray[np.int8]
    touched: NDArray[np.int64]
    width: NDArray[np.float64]


@njit(cache=True)
def _past_volatility(closes: NDArray[np.float64], memory: int) -> NDArray[np.float64]:
    """(T,) deviation of a bar's log-return as known at its close; NaN for the first `memory` bars."""
    deviation = np.full(closes.shape[0], np.nan)
    weight = 2.0 / (memory + 1.0)
    variance = 0.0
    seen = 0.0  # sum of the weights so far: without it the start at 0 would bias the mean
    for t in range(1, closes.shape[0]):
        growth = math.log(closes[t] / closes[t - 1])
        variance += weight * (growth * growth - variance)
        seen += weight * (1.0 - seen)
        if t >= memory:
            deviation[t] = math.sqrt(variance / seen)
    return deviation


@njit(cache=True)
def _touches(
    prices: NDArray[np.float64], width: NDArray[np.float64], timeout: int, upper: float, lower: float
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Signs and bars of the first touch from `prices` (T, 4) of open, high, low, close."""
    length = prices.shape[0]
    signs = np.full(length, NO_SIGN, np.int8)
    touched = np.full(length, -1, np.int64)
    for t in range(length):
        if math.isnan(width[t]):
            continue
        above = prices[t, CLOSE] * math.exp(upper * width[t])
        below = prices[t, CLOSE] * math.exp(-lower * width[t])
        for s in range(t + 1, min(t + timeout, length - 1) + 1):
            up = prices[s, HIGH] >= above
            down = prices[s, LOW] <= below
            if not (up or down):
                continue
            if up and down:  # the open, if it is beyond one of them, says which came first
                signs[t] = 1 if prices[s, OPEN] >= above else (-1 if prices[s, OPEN] <= below else 0)
            else:
                signs[t] = 1 if up else -1
            touched[t] = s
            break
        if touched[t] < 0 and t + timeout < length:
            signs[t] = 0
            touched[t] = t + timeout
    return signs, touched


def triple_barrier(bars: pd.DataFrame, barriers: Barriers | None = None) -> BarrierTouches:
    """Which barrier around `close[t]` is met first by the highs and lows of the bars after `t`. Needs bars alone.

    Looks ahead: at most `timeout` bars, and never beyond the touch. A bar that meets both is settled by its open, if
    that lies beyond one; else it is a 0.

    Args:
        bars: `open`, `high`, `low`, `close`, synthetic or real.
        barriers: where they stand; `Barriers()` where None.

    Raises:
        ValueError: a column is absent, or a price is not finite and positive.
    """
    chosen = barriers or Barriers()
    prices = np.column_stack([price_column(bars, name) for name in BAR_COLUMNS[:VOLUME]])
    width = _past_volatility(prices[:, CLOSE], chosen.memory) * math.sqrt(chosen.timeout)
    signs, touched = _touches(prices, width, chosen.timeout, chosen.upper, chosen.lower)
    return BarrierTouches(signs, touched, width)


def triple_barrier_labels(
    bars: pd.DataFrame, barriers: Barriers | None = None, positions: Sequence[float] = (-1.0, 0.0, 1.0)
) -> NDArray[np.int8]:
    """Long where the upper barrier is met first, short where the lower one is, else flat. Needs bars alone.

    Looks ahead: at most `timeout` bars. Rows of the volatility's warm-up, and rows at the end from which the bars reach
    neither a barrier nor the timeout, are -1.

    Returns:
        (T, P) int8, all columns equal.

    Raises:
        ValueError: see `triple_barrier` and `check_positions`.
    """
    return targets_of_signs(triple_barrier(bars, barriers).signs, positions)
