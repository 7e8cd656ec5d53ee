"""Answers of venues about funding rates, which are asked for by time, or page by page where a venue numbers them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from cryptoenv.bars.rate_times import LONGEST_INTERVAL_MS
from cryptoenv.exchange.client import DownloadError
from cryptoenv.exchange.pages import Piece, Rows, checked_rates
from cryptoenv.store.ranges import Ranges, merged, not_covered

_NUMBERED = {"bitget": "pageNo", "mexc": "page_num"}  # the newest rates are on page 1; times are not looked at
_NUMBERED_INVERSE = {"htx": "page_index", "huobi": "page_index"}
_BEFORE = {"okx": "after", "myokx": "after", "okxus": "after"}  # what makes an answer end before a time
_MOST_PAGES = 10_000
Ask = Callable[[Callable[[], Awaitable[Rows]]], Awaitable[Rows]]


class FundingPages:
    """Rates of one perpetual.

    Args:
        client: of ccxt, its markets loaded.
        symbol: ccxt's name.
        ask: makes a request, again where it fails.
    """

    def __init__(
        self, client: Any, symbol: str, ask: Callable[[Callable[[], Awaitable[Rows]]], Awaitable[Rows]]
    ) -> None:
        self._client, self._symbol, self._ask = client, symbol, ask
        numbered = _NUMBERED | (_NUMBERED_INVERSE if client.markets[symbol].get("inverse") else {})
        self._number: str | None = numbered.get(client.id)
        self._before: str | None = _BEFORE.get(client.id)
        self._read: Rows = {}  # of a venue that numbers its pages
        self._first = math.inf  # how far back they were read

    async def fetch(self, span: tuple[int, int | None], page: int, latest: float) -> Rows:
        """The checked rates of the answers to one question, those beside `span` included.

        Args:
            span: start and end, ms; None for an open end.
            page: rates of an answer.
            latest: later ones are nonsense.
        """
        start, stop = span
        if self._number is not None:
            return await self._numbered(start, page, latest)
        ends = {} if stop is None else {"until": stop - 1}
        if stop is not None and self._before is not None:
            ends[self._before] = stop
        return await self._ask(lambda: self._answer(start, page, ends, latest))

    async def _answer(self, start: int | None, page: int, further: dict[str, int], latest: float) -> Rows:
        found = await self._client.fetch_funding_rate_history(self._symbol, start, page, further)
        return checked_rates(found, latest)

    async def _numbered(self, start: int, page: int, latest: float) -> Rows:
        # A rate that falls due meanwhile moves the others on: what was on a page's end is on the next one's beginning.
        assert self._number is not None
        met: Rows = {}
        for number in itertools.count(1):
            if number > _MOST_PAGES:
                raise DownloadError(f"{self._client.id} serves over {_MOST_PAGES} pages of rates of {self._symbol}")
            further = {self._number: number}
            found = await self._ask(lambda further=further: self._answer(None, page, further, latest))  # type: ignore[misc]
            known = self._read.keys() & found.keys()
            new = found.keys() - met.keys()
            met |= found
            if not new:
                self._first = -math.inf  # the last page was the end
                break
            if min(met) <= start or (known and self._first <= start):
                break
        self._first = min(self._first, min(met, default=math.inf))
        self._read |= met
        return dict(self._read)


def rates_covered(piece: Piece, start: int) -> Ranges:
    """What funding rates cover: from the first row to the last, and back to `start` where no rate fits in between."""
    if not piece.rows:
        return ()
    times = sorted(piece.rows)
    between = not_covered(piece.unseen, times[0], times[-1] + 1)
    usual = int(np.median(np.diff(times))) if len(times) > 1 else 0
    return merged((*between, (start if times[0] - start < usual else times[0], times[0] + 1)))


def long_absent(rows: Rows, span: tuple[int, int]) -> Ranges:
    """Where at the ends of `span` no rate came for longer than any venue's interval."""
    times = sorted(rows)
    ends = ((span[0], times[0]), (times[-1], span[1])) if times else (span,)
    return merged((a, b) for a, b in ends if b - a > LONGEST_INTERVAL_MS)
