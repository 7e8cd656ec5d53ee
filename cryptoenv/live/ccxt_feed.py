"""Closed bars of an exchange: by websocket where it has one, by polling else; gaps are filled by REST, or known gaps.

A bar is never made up while the exchange is silent: then `next_bars` raises, and says since when.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import bars_frame
from cryptoenv.bars.rate_times import due_times
from cryptoenv.bars.timeframe import bar_open_ms, timeframe_ms
from cryptoenv.exchange.asking import wall_ms
from cryptoenv.exchange.client import page_rows
from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.exchange.pages import Pages, Rows, checked_bars, checked_rates
from cryptoenv.live.feed import FeedBar, FeedError

log = logging.getLogger(__name__)
PAGE = 1_000  #: bars asked for at once, at most
FIRST_POLL, LONGEST_POLL = 0.05, 2.0  #: seconds between two looks for a bar that is due
STREAM_GRACE = 1.0  #: seconds after a close in which the stream may bring the bar, before it is asked for
LEAST_DEAD = 30.0  #: seconds of silence after which a feed counts as dead, at least; else two bars
CLOCK_MS = 300_000  #: between two looks at the exchange's clock


class CcxtFeed:
    """Bars of one market as they close.

    Args:
        thread: with a client of the exchange.
        symbol: ccxt's name.
        timeframe: of the bars.
        bars: how many of them are history at the start, and kept.
        streams: hear the exchange's websocket, where it has one.
        dead_after: seconds without a bar that is due until `next_bars` raises; two bars, 30 at least, where None.
        clock, sleep: of this machine, ms and seconds; tests have their own.

    Raises:
        FeedError: the exchange has no such market, or does not answer.
    """

    def __init__(
        self,
        thread: ClientThread,
        symbol: str,
        timeframe: str,
        bars: int,
        *,
        streams: bool = True,
        dead_after: float | None = None,
        clock: Callable[[], int] = wall_ms,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.timeframe, self._symbol, self._thread = timeframe, symbol, thread
        self._step, self._keep = timeframe_ms(timeframe), bars
        self._dead = max(2.0 * self._step / 1000.0, LEAST_DEAD) if dead_after is None else dead_after
        self._clock, self._sleep = clock, sleep
        self._offset, self._asked_clock = 0, -(2**62)
        self._rows: Rows = {}
        self._stream: _Stream | None = None
        try:
            markets = thread.call("load_markets")
        except Exception as error:
            raise FeedError(f"the exchange cannot be reached: {_words(error)}") from None
        if not isinstance(markets, dict) or symbol not in markets:
            raise FeedError(f"the exchange has no market {symbol!r}")
        self.has_funding = bool(markets[symbol].get("swap")) and bool(thread.client.has.get("fetchFundingRateHistory"))
        self._page = page_rows(thread.client, symbol, "fetchOHLCV", PAGE, PAGE)
        if streams and thread.client.has.get("watchOHLCV"):
            self._stream = _Stream(thread, symbol, timeframe, self._step)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    def history(self) -> pd.DataFrame:
        """See `Feed`; asked for the first time, it is fetched."""
        if not self._rows:
            self._begin()
        opens = sorted(self._rows)
        values = np.array([self._rows[at] for at in opens], dtype=np.float64)
        return bars_frame(opens[0], self._step, values)

    def _begin(self) -> None:
        end = bar_open_ms(self.now_ms(), self._step)  # of the bar that is open now
        start = end - self._keep * self._step
        try:
            found = self._complete(start, end, timeout=600.0)
        except Exception as error:
            raise FeedError(f"no history of {self._symbol}: {_words(error)}") from None
        if not found:
            raise FeedError(f"no bar of {self._symbol} {self.timeframe} from {_utc(start)} to {_utc(end)}")
        if max(found) != end - self._step:
            raise FeedError(
                f"the newest bar of {self._symbol} is of {_utc(max(found))}, {_utc(end - self._step)} is due: a "
                "dead market, or a late exchange"
            )
        self._rows = {**_filled(found, min(found), end, self._step)}

    def _complete(self, start: int, stop: int, timeout: float) -> Rows:
        """All bars of [start, stop) that the exchange has, page by page.

        The pages are made anew each time: kept, they and the feed would hold each other after its end.
        """
        pages = Pages(self._fetch, self._step, self._page, 0.2)
        try:
            return self._thread.run(pages.complete(start, stop, {}), timeout=timeout).rows  # type: ignore[no-any-return]
        finally:
            self._page = pages.page  # an exchange that serves less than it says is known

    def now_ms(self) -> int:
        """See `Feed`: the exchange's clock, by this machine's and their difference."""
        here = self._clock()
        if here - self._asked_clock > CLOCK_MS:
            try:
                self._offset = int(self._thread.call("fetch_time")) - here
                self._asked_clock = here
            except Exception as error:  # the difference that was known goes on
                log.warning("the exchange's clock is not known: %s", _words(error))
        return here + self._offset

    def next_bars(self, after_ms: int) -> list[FeedBar]:
        """See `Feed`.

        Raises:
            FeedError: as there; what came meanwhile is given out by the next call.
        """
        due = after_ms + 2 * self._step
        pause, silent, empty = FIRST_POLL, "no answer was tried", 0
        while True:
            left = (due - self.now_ms()) / 1000.0
            if left > 0.0:
                self._rest(left, after_ms)
                continue
            streamed = self._streamed(after_ms)
            if streamed:
                return self._taken(streamed, "stream")
            if self._stream is not None and self._stream.alive and -left < STREAM_GRACE:
                self._rest(FIRST_POLL, after_ms)
                continue
            try:
                found = self._asked_for(after_ms)
            except Exception as error:
                found, silent = {}, _words(error)
            else:
                silent = "it answers without the bar"
            if after_ms + self._step in found:
                return self._taken(_row_after(found, after_ms, self._step), "poll")
            empty = empty + 1 if found else 0
            if found and empty >= 2:  # later bars are there, and twice not this one: the exchange has none
                return self._taken(found, "poll", first=after_ms + self._step)
            if not found and -left > self._dead:
                raise FeedError(f"no bar of {self._symbol} {self.timeframe} since {_utc(after_ms)}: {silent}")
            self._sleep(pause)
            pause = min(2.0 * pause, LONGEST_POLL)

    def _rest(self, seconds: float, after_ms: int) -> None:
        """Wait, at most until the stream has brought the bar."""
        if self._stream is None:
            self._sleep(min(seconds, 1.0))
        elif not self._streamed(after_ms):
            self._stream.news.wait(min(seconds, 1.0))
            self._stream.news.clear()

    def _streamed(self, after_ms: int) -> Rows:
        """Bars from the stream that follow without a gap, all closed."""
        if self._stream is None:
            return {}
        now = self.now_ms()
        rows = {at: row for at, row in self._stream.closed().items() if at + self._step <= now}
        return _row_after(rows, after_ms, self._step)

    def _asked_for(self, after_ms: int) -> Rows:
        """Closed bars after one, by REST."""
        now = self.now_ms()
        first, stop = after_ms + self._step, bar_open_ms(now, self._step)
        if stop - first > 2 * self._step:
            rows = self._complete(first, stop, timeout=60.0)
            return {at: row for at, row in rows.items() if at + self._step <= now}
        rows = self._thread.run(self._fetch(first, stop, {}))
        return {at: row for at, row in rows.items() if first <= at < stop}

    async def _fetch(self, start: int, stop: int | None, known: Rows) -> Rows:
        """One request; bars that were known must come again as they were."""
        limit = PAGE if stop is None else min(max((stop - start) // self._step, 1) + 1, PAGE)
        found = await self._thread.client.fetch_ohlcv(self._symbol, self.timeframe, start, int(limit))
        return checked_bars(found, self._step, latest=self.now_quietly() + self._step)

    def now_quietly(self) -> int:
        """`now_ms` without asking the exchange."""
        return self._clock() + self._offset

    def _taken(self, rows: Rows, source: str, first: int | None = None) -> list[FeedBar]:
        """Bars to give out, gaps between them as flat ones; the oldest are forgotten."""
        start = min(rows) if first is None else first
        before = self._rows[start - self._step][3] if start - self._step in self._rows else None
        whole = _filled(rows, start, max(rows) + self._step, self._step, before)
        heard = self.now_quietly()
        bars = []
        for at in sorted(whole):
            known = source if at in rows else "gap"
            bars.append(FeedBar(at, whole[at], {}, self._funding_due(at), heard, known))
        self._rows |= whole
        while len(self._rows) > self._keep:
            del self._rows[min(self._rows)]
        return bars

    def _funding_due(self, open_ms: int) -> float:
        """Funding rates that fell due in (previous open, open]; asked for where some may have."""
        hour = 3_600_000
        if not self.has_funding or open_ms // hour == (open_ms - self._step) // hour:
            return 0.0
        try:
            found = self._thread.call("fetch_funding_rate_history", self._symbol, open_ms - self._step, 10)
            rates = checked_rates(found)
        except Exception as error:
            log.error("funding at %s is not known and counts as none in the book: %s", _utc(open_ms), _words(error))
            return 0.0
        times = np.array(sorted(rates), dtype=np.int64)
        due = due_times(times) if len(times) else times
        return float(sum(rates[int(at)][0] for at, on in zip(times, due, strict=True)
                         if open_ms - self._step < on <= open_ms))  # fmt: skip

    def close(self) -> None:
        """See `Feed`."""
        if self._stream is not None:
            self._stream.close()


class _Stream:
    """Bars of a websocket: a bar counts as closed once the next has begun on the same unbroken connection."""

    def __init__(self, thread: ClientThread, symbol: str, timeframe: str, step: int) -> None:
        self._client, self._symbol, self._timeframe, self._step = thread.client, symbol, timeframe, step
        self._lock = threading.Lock()
        self._current: tuple[int, tuple[float, ...]] | None = None
        self._closed: Rows = {}
        self.alive = False
        self.news = threading.Event()
        self._task = thread.start(self._watch())

    async def _watch(self) -> None:
        pause = 0.25
        while True:
            try:
                rows = await self._client.watch_ohlcv(self._symbol, self._timeframe)
                self._take(rows)
                self.alive, pause = True, 0.25
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._broken()
                log.warning("the stream of %s broke: %s", self._symbol, _words(error))
                await asyncio.sleep(pause)
                pause = min(2.0 * pause, 30.0)

    def _broken(self) -> None:
        with self._lock:
            self.alive, self._current = False, None
        self.news.set()

    def _take(self, rows: Any) -> None:
        checked = checked_bars([list(row) for row in rows][-2:], self._step)
        with self._lock:
            for at in sorted(checked):
                if self._current is not None and at == self._current[0] + self._step:
                    self._closed[self._current[0]] = self._current[1]
                    self._closed = dict(sorted(self._closed.items())[-100:])
                if self._current is None or at >= self._current[0]:
                    self._current = at, checked[at]
        self.news.set()

    def closed(self) -> Rows:
        """Bars that have closed, the last hundred."""
        with self._lock:
            return dict(self._closed)

    def close(self) -> None:
        self._task.cancel()
        with suppress(BaseException):
            self._task.result(timeout=2.0)


def _row_after(rows: Rows, after_ms: int, step: int) -> Rows:
    """Those that follow `after_ms` without a gap."""
    out, at = {}, after_ms + step
    while at in rows:
        out[at] = rows[at]
        at += step
    return out


def _filled(
    rows: Rows, start: int, stop: int, step: int, before: float | None = None
) -> dict[int, tuple[float, float, float, float, float]]:
    """Bars from `start` to `stop`, those that are missing flat at the last close, without volume.

    Raises:
        FeedError: the first is missing, and no close before it is known.
    """
    out: dict[int, tuple[float, float, float, float, float]] = {}
    close = before
    for at in range(start, stop, step):
        if at in rows:
            opened, high, low, close, volume = rows[at]
            out[at] = (opened, high, low, close, volume)
        elif close is None:
            raise FeedError(f"no bar at {_utc(at)}, and no close before it")
        else:
            out[at] = (close, close, close, close, 0.0)
    return out


def _words(error: BaseException) -> str:
    # Public requests carry no signature; an account's client is redacted by its broker.
    return f"{type(error).__name__}: {error}"[:300]


def _utc(ms: int) -> str:
    return pd.Timestamp(int(ms), unit="ms", tz="UTC").isoformat()
