"""Pages of bars or funding rates: asked for, checked row by row, and completed until nothing new comes.

What lies between two rows of one answer is known; what no answer reached is asked for by a request of its own. Venues
cap their pages, answer from the first row on or from the last one back, and answer with nothing for a while: none of
that is taken for a gap.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cryptoenv.bars.rate_times import rate_holes
from cryptoenv.bars.timeframe import DAY_MS, grid_offset_ms
from cryptoenv.exchange.client import BadPageError, DownloadError
from cryptoenv.store.ranges import Ranges, gaps_between, merged, not_covered

JUMP = 10.0  #: factor between neighbouring prices at which rows are taken for another symbol's

Rows = dict[int, tuple[float, ...]]
Fetch = Callable[[int, int | None, Rows], Awaitable[Rows]]  # start, stop (None: open), rows that are known already


@dataclass(frozen=True)
class Piece:
    """What is known of a range: its rows, and the ranges that no answer reached, asked for twice each."""

    rows: Rows
    unseen: Ranges


class Pages:
    """Completes ranges of one series.

    Args:
        fetch: one request: all checked rows of the answer, those outside the asked range included.
        step: of the grid, ms; 1 for funding rates.
        page: rows the venue serves at once, as its client states.
        pause: seconds before a request is repeated that brought nothing.
    """

    def __init__(self, fetch: Fetch, step: int, page: int, pause: float) -> None:
        self._fetch, self._step, self.page, self._pause = fetch, step, page, pause

    @property
    def width(self) -> int:
        """Time that a page of bars spans, ms."""
        return self.page * self._step

    async def complete(self, start: int, stop: int, known: Rows, holes: bool = True) -> Piece:
        """All that comes of [start, stop), however the venue cuts its answers.

        Args:
            start: of the range, ms.
            stop: its end.
            known: rows before it, which answers must agree with.
            holes: whether what is missing between rows is asked for once more (bars; funding rates have no grid).
        """
        rows: Rows = {}
        seen: list[tuple[int, int]] = []
        tries: dict[tuple[int, int], int] = {}
        length = 0
        while left := [hole for hole in not_covered(merged(seen), start, stop) if tries.get(hole, 0) < 2]:
            hole = left[0]
            if tries.get(hole):
                await asyncio.sleep(self._pause)
            first = hole[0] - self._step if hole[0] > start or hole[0] - self._step in known else hole[0]
            last = hole[1] + self._step if hole[1] < stop else hole[1]
            if holes and last > first + self.width:
                last = first + self.width
            found = await self._fetch(first, last, known | rows)
            rows |= {time: row for time, row in found.items() if start <= time < stop}
            before = not_covered(merged(seen), start, stop)
            if found:
                seen.append((max(min(found), start), min(max(found) + self._step, stop)))
            after = not_covered(merged(seen), start, stop)
            if after == before:
                tries[hole] = tries.get(hole, 0) + 1
            elif holes and 1 < len(found) == length < self.page:
                self.page = length  # it serves less than it says: two answers cut alike, the second with new rows
            length = len(found)
        if holes:
            await self._ask_inside(rows, merged(seen), known)
        return Piece(rows, tuple(not_covered(merged(seen), start, stop)))

    async def _ask_inside(self, rows: Rows, seen: Ranges, known: Rows) -> None:
        """Ask once more for bars that are missing between rows of an answer, page by page, while it helps."""
        for start, stop in seen:
            while gaps := self._gaps(rows, start, stop):
                first, last = gaps[0][0] - self._step, min(gaps[-1][1], gaps[0][0] + self.width)
                found = await self._fetch(first, last + self._step, known | rows)
                new = {time: row for time, row in found.items() if start <= time < stop and time not in rows}
                rows |= new
                if not new:
                    break

    async def whole_rates(self, rows: Rows, known: Rows) -> tuple[Rows, Ranges]:
        """Ask twice for funding rates that fell due between two of `rows`.

        Returns:
            The rates, and where some are missing still, (after one, up to the next).
        """
        rows = dict(rows)
        for attempt in range(2):
            for first, last in rate_holes(np.array(sorted(rows), dtype=np.int64)):
                if attempt:
                    await asyncio.sleep(self._pause)
                found = await self._fetch(first, last + 1, known | rows)
                rows |= {time: row for time, row in found.items() if first < time < last}
        return rows, merged((a + 1, b) for a, b in rate_holes(np.array(sorted(rows), dtype=np.int64)))

    def _gaps(self, rows: Rows, start: int, stop: int) -> Ranges:
        times = np.array(sorted(time for time in rows if start <= time < stop), dtype=np.int64)
        return gaps_between(times, self._step, (start, stop))

    async def goes_on(self, start: int, empty_to: int, end: int, known: Rows) -> tuple[int, bool]:
        """Where rows go on after [start, empty_to), which came empty; `end` where none come before it.

        Returns:
            The time, and whether one answer holds the row before `start` and the next one, with nothing between.
        """
        anchor = start - self._step
        found = await self._fetch(anchor if anchor in known else start, None, known)
        later = sorted(time for time in found if time >= start)
        if later and later[0] < empty_to:  # it came after all
            return later[0], anchor in found
        if later and (anchor in found or not await self._rows_in(later[0] - self.width, later[0], start)):
            return min(later[0], end), anchor in found
        return await self._gallop(empty_to, end), False

    async def _gallop(self, start: int, end: int) -> int:
        """The first page with rows from `start` on: found in strides that double, then by halves."""
        low, at, stride = start, start, self.width
        while at < end and not await self._rows_in(at, min(at + self.width, end), at):
            low, at, stride = at + self.width, at + stride, 2 * stride
        high = min(at, end)
        while high - low > self.width:
            middle = low + (high - low) // (2 * self.width) * self.width
            if await self._rows_in(middle, min(middle + self.width, high), middle):
                high = middle
            else:
                low = middle + self.width
        return min(low, high)

    async def _rows_in(self, start: int, stop: int, least: int) -> bool:
        found = await self._fetch(max(start, least), stop, {}) if stop > max(start, least) else {}
        return any(max(start, least) <= time < stop for time in found)


def checked_bars(found: Any, step: int, latest: float = math.inf, offset: int | None = None) -> Rows:
    """Rows of ccxt's `fetch_ohlcv` by opening time: each possible, in order and on the grid from `offset` on.

    Raises:
        BadPageError: names the row and what is wrong with it. DownloadError: the venue's long bars open elsewhere.
    """
    if not isinstance(found, list):
        raise BadPageError(f"an answer that is no list: {found!r:.60}")
    rows: Rows = {}
    last = -math.inf
    offset = grid_offset_ms(step) if offset is None else offset
    for number, row in enumerate(found):
        time, values = _numbers(row, number, 6)
        off = (time - offset) % step
        if off and off % DAY_MS == 0 and len({(int(r[0]) - offset) % step for r in found if isinstance(r, list)}) == 1:
            here, kept = (f"{pd.Timestamp(at, unit='ms'):%A, %Y-%m-%d}" for at in (time, time - off))
            raise DownloadError(
                f"bars of {step // DAY_MS} days open on {here} at this exchange; this series has bars that open on "
                f"{kept}: download 1d bars and aggregate them, or begin a new store"
            )
        if off or time <= last or time > latest:
            raise BadPageError(f"row {number} opens at {time}: out of order, off the {step} ms grid or in the future")
        open_, high, low, close, volume = values[:5]
        if not (0.0 < low <= min(open_, close) and max(open_, close) <= high and volume >= 0.0):
            raise BadPageError(f"row {number} is no bar: {row!r:.120}")
        rows[time], last = tuple(values[:5]), time
    return rows


def checked_rates(found: Any, latest: float = math.inf) -> Rows:
    """Rows of ccxt's `fetch_funding_rate_history` by time.

    Raises:
        BadPageError: names the row and what is wrong with it.
    """
    if not isinstance(found, list):
        raise BadPageError(f"an answer that is no list: {found!r:.60}")
    rows: Rows = {}
    for number, item in enumerate(found):
        known = item if isinstance(item, dict) else {}
        time, values = _numbers([known.get("timestamp"), known.get("fundingRate")], number, 2)
        if time in rows or time > latest or abs(values[0]) > 1.0:
            raise BadPageError(f"row {number} is no funding rate, or twice, or in the future: {item!r:.120}")
        rows[time] = (values[0],)
    return rows


def refuse_jumps(rows: Rows, known: Rows) -> None:
    """An alarm where a bar opens more than `JUMP` times above or below the close before it.

    Raises:
        BadPageError: rows of another symbol, most likely.
    """
    if not rows:
        return
    first = min(rows)
    before = [time for time in known if time < first]
    both = {time: known[time] for time in before[-1:]} | rows
    times = sorted(both)
    close, open_ = np.array([both[t][3] for t in times[:-1]]), np.array([both[t][0] for t in times[1:]])
    ratio = np.maximum(open_ / close, close / open_)
    if len(ratio) and ratio.max() > JUMP:
        place = int(ratio.argmax())
        raise BadPageError(
            f"the price jumps from {close[place]:g} to {open_[place]:g} at "
            f"{pd.Timestamp(times[place + 1], unit='ms', tz='UTC')}: rows of another symbol, or of one used again? "
            "If the market did that, allow jumps (--allow-jumps)"
        )


def agreed(first: Rows, second: Rows, symbol: str) -> Rows:
    """The rows of both.

    Raises:
        DownloadError: they contradict each other about a closed bar.
    """
    for time in first.keys() & second.keys():
        if first[time] != second[time]:
            raise DownloadError(f"{symbol}: two answers for the bar at {time} differ: {first[time]}, {second[time]}")
    return first | second


def _numbers(row: Any, number: int, width: int) -> tuple[int, list[float]]:
    """Time in ms and values of a row, all finite numbers."""
    if not isinstance(row, list) or len(row) < width:
        raise BadPageError(f"row {number} is too short: {row!r:.120}")
    for value in row[:width]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise BadPageError(f"row {number} holds {value!r}: {row!r:.120}")
    return int(row[0]), [float(value) for value in row[1:width]]
