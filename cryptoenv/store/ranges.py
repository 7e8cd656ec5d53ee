"""Half-open ranges of time, (start_ms, end_ms) in milliseconds since the epoch: union, difference, gaps.

A tuple of ranges is in plain form when it is sorted and its ranges neither overlap nor touch.
"""

from collections.abc import Iterable

import numpy as np

Ranges = tuple[tuple[int, int], ...]
Seen = tuple[tuple[int, int, int], ...]  #: ranges with the time (ms) at which they were first found empty
LATER_MS = 3_600_000  #: what is asked for again this much later, and is absent still, does not exist


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The same times in plain form; empty ranges are dropped."""
    plain: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if plain and start <= plain[-1][1]:
            plain[-1] = (plain[-1][0], max(plain[-1][1], end))
        else:
            plain.append((start, end))
    return tuple(plain)


def subtracted(ranges: Iterable[tuple[int, int]], hole: tuple[int, int]) -> Ranges:
    """The times of `ranges` (plain form) that are not in `hole`."""
    start, end = hole
    if start >= end:
        return tuple(ranges)
    pieces = [piece for a, b in ranges for piece in ((a, min(b, start)), (max(a, end), b))]
    return tuple((a, b) for a, b in pieces if a < b)


def without(ranges: Ranges, holes: Ranges) -> Ranges:
    """The times of `ranges` that are in none of `holes` (both plain form)."""
    pieces, first = [], 0
    for start, end in ranges:
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        hole = first
        while hole < len(holes) and holes[hole][0] < end:
            if holes[hole][0] > start:
                pieces.append((start, holes[hole][0]))
            start = max(start, holes[hole][1])
            hole += 1
        if start < end:
            pieces.append((start, end))
    return tuple(pieces)


def not_covered(ranges: Iterable[tuple[int, int]], start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """The times of [start_ms, end_ms) that are in none of `ranges` (plain form)."""
    absent, reached = [], start_ms
    for start, end in ranges:
        if end <= reached:
            continue
        if start >= end_ms:
            break
        if start > reached:
            absent.append((reached, start))
        reached = end
    if reached < end_ms:
        absent.append((reached, end_ms))
    return absent


def gaps_between(opens_ms: np.ndarray, step_ms: int, span: tuple[int, int]) -> Ranges:
    """The times of `span` at which no bar is: opens (T,) int64, increasing and on the grid, all in `span`."""
    ends = np.concatenate(([span[0]], opens_ms + step_ms))
    starts = np.concatenate((opens_ms, [span[1]]))
    wide = np.flatnonzero(starts > ends)
    return tuple(zip(ends[wide].tolist(), starts[wide].tolist(), strict=True))


def runs_of(opens_ms: np.ndarray, step_ms: int) -> Ranges:
    """The times at which bars are: opens (T,) int64, increasing and on the grid."""
    if opens_ms.size == 0:
        return ()
    breaks = np.flatnonzero(np.diff(opens_ms) != step_ms)
    starts = opens_ms[np.concatenate(([0], breaks + 1))]
    ends = opens_ms[np.concatenate((breaks, [opens_ms.size - 1]))] + step_ms
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))


def seen_empty(seen: Seen, span: tuple[int, int], absent: Ranges, known: Ranges, now_ms: int) -> Seen:
    """`seen` after `span` was asked for at `now_ms` and `absent` (plain form) did not come.

    What was first found empty `LATER_MS` ago is dropped: it was asked for twice, at two times. What is in `known`
    (plain form; settled before) stays settled.
    """
    kept: list[tuple[int, int, int]] = []
    for start, end, time in seen:
        kept += [(a, b, time) for a, b in subtracted(((start, end),), span)]
        if now_ms - time < LATER_MS:
            inside = ((max(start, span[0]), min(end, span[1])),)
            kept += [(a, b, time) for a, b in without(inside, without(inside, absent)) if a < b]
    before = merged((*((a, b) for a, b, _ in seen), *known))
    kept += [(a, b, now_ms) for a, b in without(absent, before)]
    return tuple(sorted(kept))


def settled(seen: Seen, span: tuple[int, int], now_ms: int) -> Ranges:
    """The times of `span` that were first found empty at least `LATER_MS` ago."""
    old = ((max(a, span[0]), min(b, span[1])) for a, b, time in seen if now_ms - time >= LATER_MS)
    return merged(old)
