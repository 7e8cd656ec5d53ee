"""When funding rates fall due, told from the times of those that are there: a hole among them is no longer interval."""

from __future__ import annotations

import numpy as np

from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS, MINUTE_MS

LONGEST_INTERVAL_MS = 8 * HOUR_MS  #: no venue pays less often
LATE_MS = 5 * MINUTE_MS  #: stamps are that late, or early, at most
_LONGER = 1.25  # intervals are 1, 2, 4, 6 and 8 hours: the next one is longer by a third at least
_SHORTEST_SPELL_MS = DAY_MS  # an interval that holds for less, between shorter ones, is none: rates are missing


def due_times(stamps: np.ndarray) -> np.ndarray:
    """(R,) int64 ms: the whole hours at which rates fell due, by their stamps (R,), or -1 where one is not near any.

    Venues pay at whole hours and stamp what was paid milliseconds to minutes later (or earlier). Left as it is, such a
    stamp would be charged to the position of the bar after.
    """
    hours = (stamps + HOUR_MS // 2) // HOUR_MS * HOUR_MS
    return np.where(np.abs(stamps - hours) <= LATE_MS, hours, -1)


def rate_intervals(times: np.ndarray) -> np.ndarray:
    """(R - 1,) int64: how long after a rate the next falls due, where the distance itself may be a hole.

    A distance is the venue's interval if it is no longer than the one before or the one after it, or holds for a day:
    venues change their intervals, and between two of them a shorter distance may lie. A longer one that stands for
    less is a hole; so is one at either end of the series, where nothing beyond confirms it.
    """
    distances = np.diff(times)
    out = np.minimum(distances, LONGEST_INTERVAL_MS)
    rounded = np.round(distances / MINUTE_MS)
    starts = np.flatnonzero(np.diff(rounded, prepend=-1.0) != 0.0) if len(rounded) else np.empty(0, dtype=np.int64)
    starts = _spells(rounded, starts)
    values = rounded[starts]
    lengths = np.add.reduceat(distances, starts) if len(starts) else distances
    for i, (begin, value) in enumerate(zip(starts, values, strict=True)):
        around = [values[j] for j in (i - 1, i + 1) if 0 <= j < len(values)]
        if around and value > _LONGER * max(around) and lengths[i] < _SHORTEST_SPELL_MS:
            end = starts[i + 1] if i + 1 < len(starts) else len(out)
            out[begin:end] = int(max(around)) * MINUTE_MS
    return out


def _spells(rounded: np.ndarray, starts: np.ndarray) -> np.ndarray:
    # Where a new interval begins: stamps that come minutes late do not begin one.
    kept: list[int] = []
    for start in starts.tolist():
        if not kept or max(rounded[start], rounded[kept[-1]]) > _LONGER * min(rounded[start], rounded[kept[-1]]):
            kept.append(start)
    return np.array(kept, dtype=np.int64)


def rate_holes(times: np.ndarray) -> tuple[tuple[int, int], ...]:
    """The rates, (R,) int64 ms, between which others fell due: pairs of neighbouring times."""
    if len(times) < 2:
        return ()
    late = np.flatnonzero(np.diff(times) > rate_intervals(times) + LATE_MS)
    return tuple((int(times[row]), int(times[row + 1])) for row in late)
