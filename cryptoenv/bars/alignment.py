"""Which bar of a longer timeframe has ended at the close of a base bar, and the reverse: the one place that says so.

A bar of a longer timeframe is known from the close of the last base bar within it on, not before.
"""

from typing import TypeVar

import numpy as np
from numba import njit

Rows = TypeVar("Rows", int, np.ndarray)


@njit(cache=True)
def ended_row(close_ms: int, first_ms: int, duration_ms: int) -> int:
    """Row of the last longer bar that has ended by `close_ms`; -1 where none has.

    Args:
        close_ms: when the base bar closes.
        first_ms: when the first longer bar opens.
        duration_ms: of a longer bar.
    """
    return max((close_ms - first_ms) // duration_ms - 1, -1)


@njit(cache=True)
def ended_rows(start_ms: int, step_ms: int, count: int, first_ms: int, duration_ms: int) -> np.ndarray:
    """(T,) int64 `ended_row` at the close of each of T = `count` base bars of `step_ms`, the first opening at
    `start_ms`."""
    rows = np.empty(count, dtype=np.int64)
    for t in range(count):
        rows[t] = ended_row(start_ms + (t + 1) * step_ms, first_ms, duration_ms)
    return rows


def ending_rows(rows: Rows, first_ms: int, duration_ms: int, start_ms: int, step_ms: int) -> Rows:
    """Base row at whose close each of these longer bars has ended: the reverse of `ended_rows`.

    Args:
        rows: of longer bars, one or (N,) int64.
        first_ms, duration_ms: as for `ended_row`.
        start_ms, step_ms: as for `ended_rows`.
    """
    return (first_ms + (rows + 1) * duration_ms - start_ms) // step_ms - 1
