"""Bear, consolidation, bull: the best division of bars into stretches, found in hindsight. Shape legend: `T` bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.labels.targets import price_column

BEAR: Final = 0
CONSOLIDATION: Final = 1
BULL: Final = 2
REGIME_NAMES: Final = ("bear", "consolidation", "bull")


@dataclass(frozen=True)
class Segmentation:
    """What counts as a regime.

    Attributes:
        minimum: bars that every stretch lasts at least; at least 1.
        drift: log-return per bar beyond which a stretch is a trend; at least 0. 0.0002 is 2% a day on bars of 15m.
        penalty: log-return that a trend must earn, beyond `drift`, for each change of regime; at least 0.

    Raises:
        ValueError: a field is out of range.
    """

    minimum: int = 96
    drift: float = 0.0002
    penalty: float = 0.02

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ValueError(f"minimum is {self.minimum}: a stretch lasts at least 1 bar")
        for name in ("drift", "penalty"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}: it must be a finite log-return >= 0")


@njit(cache=True)
def _segment(log_returns: NDArray[np.float64], minimum: int, drift: float, penalty: float) -> NDArray[np.int8]:
    """The regime of each bar, (T,), of the division with the largest sum of gains less penalties.

    Exact: `best[t, k]` is the most that bars before `t` can earn if their last stretch is of regime `k` and ends there;
    a stretch from `s` to `t` earns `gain[t, k] - gain[s, k]`, so the best start is a running maximum over `s`.
    """
    length = log_returns.shape[0]
    gain = np.zeros((length + 1, 3))
    best = np.full((length + 1, 3), -math.inf)
    start = np.zeros((length + 1, 3), np.int64)
    before = np.full((length + 1, 3), -1, np.int8)
    for t in range(length):
        gain[t + 1, 0] = gain[t, 0] - log_returns[t] - drift
        gain[t + 1, 2] = gain[t, 2] + log_returns[t] - drift
    running = np.full(3, -math.inf)
    running_start = np.zeros(3, np.int64)
    running_before = np.full(3, -1, np.int8)
    for t in range(minimum, length + 1):
        s = t - minimum
        for k in range(3):
            for other in range(3):
                entry = best[s, other] - penalty - gain[s, k]
                if s > 0 and other != k and entry > running[k]:
                    running[k], running_start[k], running_before[k] = entry, s, other
            if s == 0:
                running[k] = 0.0
            best[t, k] = running[k] + gain[t, k]
            start[t, k] = running_start[k]
            before[t, k] = running_before[k]
    regimes = np.empty(length, np.int8)
    t = length
    k = 0
    for other in range(3):
        if best[length, other] > best[length, k]:
            k = other
    while t > 0:
        s = start[t, k]
        regimes[s:t] = k
        k = before[t, k]
        t = s
    return regimes


def regime_labels(bars: pd.DataFrame, segmentation: Segmentation | None = None) -> NDArray[np.int8]:
    """Bear (0), consolidation (1) or bull (2) for each bar: the best division by hindsight. Needs bars alone.

    Looks ahead: to the end of the bars, so cut them at the end of the training span first. Over all divisions into
    stretches of at least `minimum` bars it maximises the sum of `R - drift n` over bull stretches of `n` bars and
    log-return `R`, and of `-R - drift n` over bear ones, less `penalty` for each change; a consolidation earns 0. Exact
    dynamic programming (as Jackson et al. 2005, "An algorithm for optimal partitioning of data on an interval", with
    gains that add up over bars: O(T)). The log-return of a bar is from the close before to its own; the first bar's is
    from its open.

    Args:
        bars: `open` and `close`, synthetic or real; at least `minimum` of them.
        segmentation: what counts as a regime; `Segmentation()` where None.

    Returns:
        (T,) int8, places in `REGIME_NAMES`.

    Raises:
        ValueError: fewer bars than `minimum`, a column is absent, or a price is not finite and positive.
    """
    chosen = segmentation or Segmentation()
    opens, closes = price_column(bars, "open"), price_column(bars, "close")
    if len(bars) < chosen.minimum:
        raise ValueError(f"{len(bars)} bars are fewer than minimum {chosen.minimum}: not one stretch fits into them")
    log_returns = np.diff(np.log(closes), prepend=np.log(opens[0]))
    return _segment(log_returns, chosen.minimum, chosen.drift, chosen.penalty)
