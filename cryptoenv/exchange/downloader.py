"""Downloads bars and funding rates through ccxt into a store: complete, closed bars only, resumable.

A gap is what lies between two rows of one answer, or what requests of its own at two times, an hour or more apart, did
not yield; the edge of what is covered is the last row received. A rerun asks again for what was found empty once. What
is covered is written together with its bars, so a killed download goes on where it stood.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryptoenv.bars.timeframe import DAY_MS, bar_open_ms, grid_offset_ms, own_offset_ms, timeframe_ms
from cryptoenv.exchange import asking
from cryptoenv.exchange.asking import Asker, Patience
from cryptoenv.exchange.client import (
    BadPageError,
    UnknownMarketError,
    new_client,
    page_rows,
)
from cryptoenv.exchange.contract_volume import in_coins
from cryptoenv.exchange.funding_pages import FundingPages, long_absent, rates_covered
from cryptoenv.exchange.pages import Pages, Piece, Rows, agreed, checked_bars, refuse_jumps
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.ranges import Ranges, gaps_between, merged, without
from cryptoenv.store.rows import iso
from cryptoenv.store.store import BarStore, SeriesWriter

FUNDING = "funding"
PAGE = 1000  #: rows asked for at once, at most
FUNDING_PAGE = 100  #: rates asked for at once where the client states no number
SETTLING_MS = 900_000  #: what is missing is covered once it is this old: bars are published late
FUTURE_MS = 7 * 86_400_000  #: rows later than this are nonsense, not a clock that is ahead
BUFFER_PAGES = 16  #: pages that are written to the store together
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DownloadRequest:
    """What to download.

    Attributes:
        exchange: ccxt's id. symbols: ccxt's names, such as "BTC/USDT". timeframe: "1m", "1h", ..., or "funding".
        since, until: time range, half-open; `until` is cut to the last closed bar.
        patience: with an exchange that fails.
        seed: of the random part of waits.
        recheck_gaps: ask for all gaps again; without it, for those that were found at one time only.
        allow_jumps: take prices that jump more than tenfold between bars; without it they are an alarm.
    """

    exchange: str
    symbols: tuple[str, ...]
    timeframe: str
    since: pd.Timestamp
    until: pd.Timestamp | None = None
    patience: Patience = field(default_factory=Patience)
    seed: int = 0
    recheck_gaps: bool = False
    allow_jumps: bool = False


@dataclass
class SeriesReport:
    """What was done for one symbol: bars stored, bars that did not come, pages, answers that were refused, notes."""

    symbol: str
    bars: int = 0
    missing: int = 0
    pages: int = 0
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def download(
    store: BarStore | Path | str,
    request: DownloadRequest,
    *,
    progress: bool = True,
    client: Callable[[str], Any] = new_client,
) -> tuple[SeriesReport, ...]:
    """Download what the store does not cover yet; all symbols at once, within the exchange's rate limit.

    Args:
        store: or its folder.
        request: what to download.
        progress: show a bar per symbol, with the time left.
        client: makes the ccxt client of an exchange.

    Raises:
        UnknownMarketError: no such exchange, symbol or timeframe. RefusedError, ExchangeDownError: the exchange does
            not answer; what was stored stays, and the same call goes on. StoreLockedError: another process writes.
        ValueError: a range that is empty or without a time zone. StoreError: a timeframe that no store keeps ("1M").
    """
    held = store if isinstance(store, BarStore) else BarStore(store)
    since = _milliseconds("since", request.since)
    until = None if request.until is None else _milliseconds("until", request.until)
    if until is not None and until <= since:
        raise ValueError(f"until={request.until} is not after since={request.since}")
    for symbol in request.symbols:
        SeriesKey(request.exchange, symbol, request.timeframe)  # what cannot be stored is not asked for
    return asyncio.run(_download(held, request, (since, until), progress, client))


async def _download(
    store: BarStore, request: DownloadRequest, span: tuple[int, int | None], progress: bool,
    make_client: Callable[[str], Any],
) -> tuple[SeriesReport, ...]:  # fmt: skip
    client = make_client(request.exchange)
    try:
        asker = Asker(client, request.exchange, request.patience, request.seed)
        await asker.ask("load_markets", client.load_markets)
        for symbol in request.symbols:
            _require_market(client, symbol, request.timeframe)
        now = asker.now = await asker.clock()
        end = now if span[1] is None else min(span[1], now)
        tasks = [_Series(asker, request, store, symbol, progress).run(span[0], end) for symbol in request.symbols]
        return tuple(await asyncio.gather(*tasks))
    finally:
        await client.close()


class _Series:
    """The download of one symbol."""

    def __init__(
        self, asker: Asker, request: DownloadRequest, store: BarStore, symbol: str, progress: bool
    ) -> None:
        self._asker, self._asked, self._store, self._progress = asker, request, store, progress
        self._symbol, self._timeframe = symbol, request.timeframe
        self._funding = self._timeframe == FUNDING
        self._step = 1 if self._funding else timeframe_ms(self._timeframe)
        self._offset: int | None = None
        self._report = SeriesReport(symbol)
        self._rates: FundingPages | None = None
        if self._funding:
            page = page_rows(asker.client, symbol, "fetchFundingRateHistory", FUNDING_PAGE, PAGE)
            asked = f"funding rates of {symbol}"
            self._rates = FundingPages(asker.client, symbol, lambda once: self._request(asked, once))
        else:
            page = page_rows(asker.client, symbol, "fetchOHLCV", PAGE, PAGE)
            self._coins, note = in_coins(request.exchange, asker.client.markets[symbol])
            self._note(note)
        self._pages = Pages(self._fetch, self._step, page, request.patience.first)
        self._known: Rows = {}  # the last row before what is asked for
        self._pending: Rows = {}
        self._covered: list[tuple[int, int]] = []

    def _note(self, note: str) -> None:
        if note:
            self._report.notes.append(note)
            log.warning("%s %s: %s", self._asked.exchange, self._symbol, note)

    async def run(self, since: int, until: int) -> SeriesReport:
        """Fetch what the store lacks of [since, until)."""
        from cryptoenv.progress import tqdm

        request = self._asked
        key = SeriesKey(request.exchange, self._symbol, self._timeframe)
        if self._step > DAY_MS and key not in self._store.series():
            key = replace(key, offset_ms=await self._own_offset(since))
        with self._store.writer(key) as writer:
            if not self._funding:
                self._offset = writer.manifest.key.grid_ms
                since, until = (bar_open_ms(at, self._step, self._offset) for at in (since + self._step - 1, until))
            which = "all" if request.recheck_gaps else "young"
            ranges = writer.missing(since, until, gaps=which) if until > since else []
            total = sum(end - start for start, end in ranges) // self._step
            name = f"{self._symbol} {self._timeframe}"
            with tqdm(total=total, desc=name, unit="bar", unit_scale=True, disable=not self._progress) as bar:
                for block in _blocks(ranges, self._pages.width):
                    await self._fill(writer, block, lambda done: bar.update(done // self._step))
            await self._ask_doubts_again(writer, ranges)
            self._count_missing(writer, ranges)
        return self._report

    async def _own_offset(self, since: int) -> int | None:
        """Where the venue's grid of bars longer than a day starts, as its bars tell; None for the usual one.

        The bars from `since` on tell, or, where the market is younger, the newest.
        """
        client = self._asker.client

        async def once(start: int | None) -> Rows:
            found = await client.fetch_ohlcv(self._symbol, self._timeframe, start, self._pages.page)
            if not isinstance(found, list):
                raise BadPageError(f"an answer that is no list: {found!r:.60}")
            return {int(row[0]): () for row in found}

        what = f"the first {self._timeframe} bars"
        rows = await self._request(what, partial(once, since)) or await self._request(what, partial(once, None))
        offset = own_offset_ms(np.array(sorted(rows), dtype=np.int64), self._step)
        return None if offset == grid_offset_ms(self._step) else offset

    async def _fill(self, writer: SeriesWriter, block: Ranges, tell: Callable[[int], Any]) -> None:
        """Fetch the ranges of a block page by page; a few pages are written together."""
        at, end, pages = block[0][0], block[-1][1], 0
        self._known = {}
        # From the row before to the row after, where they are stored: one answer shows the gap.
        at -= 0 if writer.missing(at - self._step, at) else self._step
        end += 0 if writer.missing(end, end + self._step) else self._step
        try:
            while at < end:
                stop = end if self._funding else min(at + self._pages.width, end)
                piece = await self._pages.complete(at, stop, self._known, holes=not self._funding)
                covered = await self._keep(writer, piece, (at, stop, end), block)
                tell(covered - at)
                at, pages = covered, pages + 1
                if pages % BUFFER_PAGES == 0:
                    self._write(writer)
        finally:  # what was fetched before an error or an interrupt is kept
            self._write(writer)

    async def _keep(self, writer: SeriesWriter, piece: Piece, span: tuple[int, int, int], block: Ranges) -> int:
        """Take a piece in; where its end came empty, find where rows go on. Returns up to where all was asked."""
        at, stop, end = span
        if self._funding:
            await self._keep_rates(writer, piece, (at, stop), block)
            return stop
        doubts = list(piece.unseen)
        reached = stop
        if doubts and doubts[-1][1] == stop and stop < self._asker.now - SETTLING_MS:
            known = self._known | piece.rows
            reached, proven = await self._pages.goes_on(doubts[-1][0], stop, end, known)
            if proven:
                doubts[-1] = (reached, reached)
            elif reached > stop and stop < end:
                self._note(f"nothing came of {iso(doubts[-1][0])} to {iso(reached)}: not covered, asked for again")
        fresh = [hole for hole in self._absent(piece.rows, (at, reached)) if hole[1] > self._asker.now - SETTLING_MS]
        doubtful = [(max(a, b0), min(b, b1)) for a, b in doubts for b0, b1 in block]
        certain = [(a, b) for a, b in merged(doubtful) if writer.found_empty((a, b), asking.wall_ms()) and b <= stop
                   and b <= self._asker.now - SETTLING_MS]  # fmt: skip
        left_out = merged((*doubts, (stop, max(reached, stop)), *fresh))
        if len(doubts) and doubts[-1][0] == doubts[-1][1]:  # proven up to where rows go on
            left_out = merged((*doubts, *fresh))
        self._take(piece.rows, merged((*without(((at, max(reached, at + 1)),), left_out), *certain)), block)
        return reached

    async def _keep_rates(self, writer: SeriesWriter, piece: Piece, span: tuple[int, int], block: Ranges) -> None:
        """Take rates in: where one fell due between two that came, it is asked for by itself, and else not covered."""
        rows, holes = await self._pages.whole_rates(piece.rows, self._known)
        asked = [(a, b) for a, b, _ in writer.manifest.young if span[0] <= a and b <= span[1]]
        holes = merged((*holes, *((a, b) for a, b in asked if not any(a <= time < b for time in rows))))
        certain = [hole for hole in holes if writer.found_empty(hole, asking.wall_ms())]
        left_out = without(merged((*piece.unseen, *holes)), merged(certain))
        holes = without(holes, merged(certain))
        self._take(rows, merged((*rates_covered(Piece(rows, left_out), span[0]), *certain)), block)
        self._report.missing += len(holes)
        for start, end in merged((*holes, *long_absent(rows, span))):
            self._note(f"no funding rate came between {iso(start)} and {iso(end)}; a next download asks for it again")

    def _absent(self, rows: Rows, span: tuple[int, int]) -> Ranges:
        times = np.array(sorted(time for time in rows if span[0] <= time < span[1]), dtype=np.int64)
        return gaps_between(times, self._step, span)

    def _take(self, rows: Rows, covered: Ranges, block: Ranges) -> None:
        """Keep the rows that were asked for, and what is covered with them, until they are written."""
        if rows:
            last = max(rows)
            self._known = {last: rows[last]}
        for start, end in covered:
            wanted = [(a, b) for a, b in block if a < end and b > start]
            if wanted:
                self._covered.append((max(start, wanted[0][0]), min(end, wanted[-1][1])))
        self._pending |= {time: row for time, row in rows.items() if any(a <= time < b for a, b in block)}

    def _write(self, writer: SeriesWriter) -> None:
        rows, covered = self._pending, merged(self._covered)
        self._pending, self._covered = {}, []
        for start, end in covered:
            inside = {time: row for time, row in rows.items() if start <= time < end}
            writer.append(self._frame(inside), (start, end), now_ms=asking.wall_ms())
            self._report.bars += len(inside)

    async def _ask_doubts_again(self, writer: SeriesWriter, ranges: Sequence[tuple[int, int]]) -> None:
        """Once more at the end of a run, what came empty in it: an exchange under load has it then, often."""
        doubts = _doubts(writer, ranges)
        for start, end in doubts:
            if end - start <= self._pages.width:
                piece = await self._pages.complete(start, end, {})
                if piece.rows:
                    await self._fill(writer, ((start, end),), lambda _: None)

    def _count_missing(self, writer: SeriesWriter, ranges: Sequence[tuple[int, int]]) -> None:
        if not self._funding:
            absent = merged((*writer.manifest.gaps, *_doubts(writer, ranges)))
            asked = merged(ranges)
            self._report.missing = sum(b - a for a, b in without(asked, without(asked, absent))) // self._step

    def _frame(self, rows: Rows) -> pd.DataFrame:
        times = sorted(rows)
        index = pd.DatetimeIndex(pd.to_datetime(times, unit="ms", utc=True), name="timestamp")
        columns = ["rate"] if self._funding else ["open", "high", "low", "close", "volume"]
        values = np.array([rows[time] for time in times], dtype=np.float64).reshape(len(times), len(columns))
        return pd.DataFrame(values, index=index, columns=columns)

    async def _fetch(self, start: int, stop: int | None, known: Rows) -> Rows:
        """The checked, closed rows of one request, those beside the asked range included."""
        client, until = self._asker.client, {} if stop is None else {"until": stop - 1}
        what = f"{self._symbol} {self._timeframe} from {iso(start)}"
        latest = self._asker.now + FUTURE_MS

        async def once() -> Rows:
            found = await client.fetch_ohlcv(self._symbol, self._timeframe, start, self._pages.page, until)
            bars = {time: row for time, row in checked_bars(found, self._step, latest, self._offset).items()
                    if time + self._step <= self._asker.now}  # fmt: skip
            rows = {time: (*row[:4], self._coins(row)) for time, row in bars.items()}
            if not self._asked.allow_jumps:
                refuse_jumps(rows, known)
            return rows

        if self._rates is not None:
            found = await self._rates.fetch((start, stop), self._pages.page, latest)
            rows = {time: row for time, row in found.items() if time <= self._asker.now}
        else:
            rows = await self._request(what, once)
        agreed(known, rows, self._symbol)
        return rows

    async def _request(self, what: str, once: Callable[[], Any]) -> Rows:
        self._report.pages += 1
        rows: Rows = await self._asker.ask(what, once, refused=self._report.refused)
        return rows


def _blocks(ranges: Sequence[tuple[int, int]], width: int) -> list[Ranges]:
    """The ranges; those that lie within a page of each other together, to be asked for at once."""
    blocks: list[list[tuple[int, int]]] = []
    for start, end in ranges:
        if blocks and end - blocks[-1][0][0] <= width:
            blocks[-1].append((start, end))
        else:
            blocks.append([(start, end)])
    return [tuple(block) for block in blocks]


def _doubts(writer: SeriesWriter, ranges: Sequence[tuple[int, int]]) -> Ranges:
    """What of `ranges` came empty and is not covered."""
    young = merged((a, b) for a, b, _ in writer.manifest.young)
    asked = merged(ranges)
    return without(without(asked, without(asked, young)), writer.manifest.covered)


def _require_market(client: Any, symbol: str, timeframe: str) -> None:
    if symbol not in client.markets:
        stem = symbol.partition("/")[0]
        near = [name for name in client.markets if name.startswith(stem)][:8]
        raise UnknownMarketError(f"{client.id} has no market {symbol!r}; near it: {near or 'none'}")
    if timeframe == FUNDING:
        if not client.has.get("fetchFundingRateHistory"):
            raise UnknownMarketError(f"{client.id} tells no history of funding rates")
    elif timeframe not in (client.timeframes or {}):
        raise UnknownMarketError(f"{client.id} has no timeframe {timeframe!r}; it has {list(client.timeframes or {})}")


def _milliseconds(name: str, time: pd.Timestamp) -> int:
    if time.tzinfo is None:
        raise ValueError(f"{name}={time} has no time zone; pass UTC")
    return int(time.value // 1_000_000)


def summary(reports: Sequence[SeriesReport]) -> pd.DataFrame:
    """One line per symbol: bars stored, bars the exchange does not have, pages asked for, answers refused."""
    lines = [(r.symbol, r.bars, r.missing, r.pages, len(r.refused)) for r in reports]
    return pd.DataFrame(lines, columns=["symbol", "bars", "missing", "pages", "refused"]).set_index("symbol")
