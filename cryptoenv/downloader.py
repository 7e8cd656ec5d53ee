"""Downloads bars and funding rates through ccxt into a store: complete, closed bars only, resumable.

A page is asked for by its first and last millisecond, checked row by row, and asked for once more where bars are
missing; what is missing twice is a gap of the exchange and recorded as one. What is covered is written together with
its bars, so a killed download goes on where it stood.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cryptoenv.exchange_client import (
    BadPageError,
    DownloadError,
    ExchangeDownError,
    RefusedError,
    UnknownMarketError,
    new_client,
)
from cryptoenv.store import BarStore, SeriesWriter
from cryptoenv.store_key import SeriesKey
from cryptoenv.timeframe import timeframe_ms

FUNDING = "funding"
PAGE = 1000  #: rows asked for at once, which the large exchanges serve
BUFFER_PAGES = 16  #: pages that are written to the store together
log = logging.getLogger(__name__)

Rows = dict[int, tuple[float, ...]]


@dataclass(frozen=True)
class Patience:
    """How often a page is asked for, and how long is waited in between: `first * 2^n` seconds, at most `longest`."""

    attempts: int = 8
    first: float = 0.5
    longest: float = 60.0


@dataclass(frozen=True)
class DownloadRequest:
    """What to download.

    Attributes:
        exchange: ccxt's id. symbols: ccxt's names, such as "BTC/USDT". timeframe: "1m", "1h", ..., or "funding".
        since, until: time range, half-open; `until` is cut to the last closed bar.
        patience: with an exchange that fails.
        seed: of the random part of waits.
    """

    exchange: str
    symbols: tuple[str, ...]
    timeframe: str
    since: pd.Timestamp
    until: pd.Timestamp | None = None
    patience: Patience = field(default_factory=Patience)
    seed: int = 0


@dataclass
class SeriesReport:
    """What was done for one symbol: bars stored, gaps of the exchange in them, pages, answers that were refused."""

    symbol: str
    bars: int = 0
    missing: int = 0
    pages: int = 0
    refused: list[str] = field(default_factory=list)


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
        ValueError: a range that is empty or without a time zone.
    """
    held = store if isinstance(store, BarStore) else BarStore(store)
    since = _milliseconds("since", request.since)
    until = None if request.until is None else _milliseconds("until", request.until)
    if until is not None and until <= since:
        raise ValueError(f"until={request.until} is not after since={request.since}")
    return asyncio.run(_download(held, request, (since, until), progress, client))


async def _download(
    store: BarStore, request: DownloadRequest, span: tuple[int, int | None], progress: bool,
    make_client: Callable[[str], Any],
) -> tuple[SeriesReport, ...]:  # fmt: skip
    client = make_client(request.exchange)
    try:
        asker = _Asker(client, request)
        await asker.ask("load_markets", client.load_markets)
        for symbol in request.symbols:
            _require_market(client, symbol, request.timeframe)
        now = int(await asker.ask("fetch_time", client.fetch_time))
        end = now if span[1] is None else min(span[1], now)
        if request.timeframe != FUNDING:
            step = timeframe_ms(request.timeframe)
            span, end = (-(-span[0] // step) * step, None), end // step * step
        tasks = [_Series(asker, store, symbol, progress).run(span[0], end) for symbol in request.symbols]
        return tuple(await asyncio.gather(*tasks))
    finally:
        await client.close()


class _Asker:
    """Asks, and asks again where that may help."""

    def __init__(self, client: Any, request: DownloadRequest) -> None:
        self.client, self.request = client, request
        self._rng = np.random.default_rng(request.seed)

    async def ask(self, what: str, call: Callable[..., Any], *arguments: Any, refused: list[str] | None = None) -> Any:
        """The answer of `call`, after as many attempts as patience allows.

        Raises:
            RefusedError, ExchangeDownError.
        """
        from ccxt.base import errors

        patience, last = self.request.patience, ""
        for attempt in range(patience.attempts):
            try:
                return await call(*arguments)
            except (errors.AuthenticationError, errors.BadRequest, errors.NotSupported) as error:
                raise RefusedError(f"{self.request.exchange} refuses {what}: {error}") from error
            except (errors.BaseError, BadPageError, OSError) as error:
                last = f"{type(error).__name__}: {error}"
                log.warning("%s %s: %s", self.request.exchange, what, last)
                if refused is not None:
                    refused.append(last)
            wait = min(patience.first * 2.0**attempt, patience.longest)
            await asyncio.sleep(wait * self._rng.uniform(0.5, 1.0))
        raise ExchangeDownError(
            f"{self.request.exchange} failed {patience.attempts} times at {what}, last with {last}; what was stored "
            "stays: run the same download again later"
        )


class _Series:
    """The download of one symbol."""

    def __init__(self, asker: _Asker, store: BarStore, symbol: str, progress: bool) -> None:
        self._asker, self._store, self._progress = asker, store, progress
        self._symbol, self._timeframe = symbol, asker.request.timeframe
        self._funding = self._timeframe == FUNDING
        self._step = 1 if self._funding else timeframe_ms(self._timeframe)
        self._report = SeriesReport(symbol)

    async def run(self, since: int, until: int) -> SeriesReport:
        """Fetch what the store lacks of [since, until)."""
        from cryptoenv.progress import tqdm

        key = SeriesKey(self._asker.request.exchange, self._symbol, self._timeframe)
        with self._store.writer(key) as writer:
            ranges = writer.missing(since, until) if until > since else []
            total = sum(end - start for start, end in ranges) // self._step
            name = f"{self._symbol} {self._timeframe}"
            with tqdm(total=total, desc=name, unit="bar", unit_scale=True, disable=not self._progress) as bar:
                for start, end in ranges:
                    await self._fill(writer, start, end, lambda done: bar.update(done // self._step))
        return self._report

    async def _fill(self, writer: SeriesWriter, start: int, end: int, tell: Callable[[int], Any]) -> None:
        """Fetch [start, end) page by page; a few pages are written together."""
        rows: Rows = {}
        begin, at, pages = start, start, 0
        try:
            while at < end:
                page, covered = await self._page(at, end)
                rows |= page
                tell(covered - at)
                at, pages = covered, pages + 1
                if pages % BUFFER_PAGES == 0:
                    self._write(writer, rows, begin, at)
                    rows, begin = {}, at
        finally:  # what was fetched before an error or an interrupt is kept
            if at > begin:
                self._write(writer, rows, begin, at)

    def _write(self, writer: SeriesWriter, rows: Rows, start: int, end: int) -> None:
        writer.append(self._frame(rows), (start, end))
        self._report.bars += len(rows)
        if not self._funding:
            self._report.missing += (end - start) // self._step - len(rows)

    def _frame(self, rows: Rows) -> pd.DataFrame:
        times = sorted(rows)
        index = pd.DatetimeIndex(pd.to_datetime(times, unit="ms", utc=True), name="timestamp")
        columns = ["rate"] if self._funding else ["open", "high", "low", "close", "volume"]
        values = np.array([rows[time] for time in times], dtype=np.float64).reshape(len(times), len(columns))
        return pd.DataFrame(values, index=index, columns=columns)

    async def _page(self, start: int, end: int) -> tuple[Rows, int]:
        """Rows from `start` on, and up to where they are all there are."""
        stop = end if self._funding else min(start + PAGE * self._step, end)
        rows = await self._fetch(start, stop)
        if self._funding:
            if len(rows) >= PAGE:  # there may be more behind a full page
                return rows, max(rows) + 1
            return rows | await self._fetch(start, stop), stop
        if len(rows) < (stop - start) // self._step:
            rows = _joined(rows, await self._fetch(start, stop), self._symbol)
        if not rows:  # nothing twice: where does the exchange's history go on?
            later = await self._fetch(stop, None)
            stop = min(min(later, default=end), end)
        return rows, stop

    async def _fetch(self, start: int, stop: int | None) -> Rows:
        """The checked rows of one request; without `stop`, the first ones at or after `start`."""
        client, until = self._asker.client, {} if stop is None else {"until": stop - 1}
        what = f"{self._symbol} {self._timeframe} from {pd.Timestamp(start, unit='ms', tz='UTC')}"

        async def once() -> Rows:
            if self._funding:
                found = await client.fetch_funding_rate_history(self._symbol, start, PAGE, until)
                return checked_rates(found, start, stop)
            found = await client.fetch_ohlcv(self._symbol, self._timeframe, start, PAGE if stop else 1, until)
            return checked_bars(found, start, stop, self._step)

        self._report.pages += 1
        return await self._asker.ask(what, once, refused=self._report.refused)


def checked_bars(found: Any, start: int, stop: int | None, step: int) -> Rows:
    """Rows of ccxt's `fetch_ohlcv` by opening time, each of them possible and asked for.

    Raises:
        BadPageError: names the row and what is wrong with it.
    """
    if not isinstance(found, list):
        raise BadPageError(f"an answer that is no list: {found!r:.60}")
    rows: Rows = {}
    last = -math.inf
    for number, row in enumerate(found):
        time, values = _numbers(row, number, 6)
        if time % step or time <= last or time < start or (stop is not None and time >= stop):
            raise BadPageError(f"row {number} opens at {time}: out of order, off the {step} ms grid or not asked for")
        open_, high, low, close, volume = values[:5]
        if not (0.0 < low <= min(open_, close) and max(open_, close) <= high and volume >= 0.0):
            raise BadPageError(f"row {number} is no bar: {row!r:.120}")
        rows[time], last = tuple(values[:5]), time
    return rows


def checked_rates(found: Any, start: int, stop: int | None) -> Rows:
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
        if time in rows or time < start or (stop is not None and time >= stop) or abs(values[0]) > 1.0:
            raise BadPageError(f"row {number} is no funding rate of the asked range: {item!r:.120}")
        rows[time] = (values[0],)
    return rows


def _numbers(row: Any, number: int, width: int) -> tuple[int, list[float]]:
    """Time in ms and values of a row, all finite numbers."""
    if not isinstance(row, list) or len(row) < width:
        raise BadPageError(f"row {number} is too short: {row!r:.120}")
    for value in row[:width]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise BadPageError(f"row {number} holds {value!r}: {row!r:.120}")
    return int(row[0]), [float(value) for value in row[1:width]]


def _joined(first: Rows, second: Rows, symbol: str) -> Rows:
    """Both answers to one question.

    Raises:
        DownloadError: they contradict each other about a closed bar.
    """
    for time in first.keys() & second.keys():
        if first[time] != second[time]:
            raise DownloadError(f"{symbol}: two answers for the bar at {time} differ: {first[time]}, {second[time]}")
    return first | second


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
