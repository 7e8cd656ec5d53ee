"""Funding rates of venues that page by time, by number or not at all: complete, or said to be incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bars.rate_times import rate_holes
from cryptoenv.exchange import asking
from cryptoenv.exchange.downloader import DownloadRequest, SeriesReport, download
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.ranges import LATER_MS
from cryptoenv.store.store import BarStore
from tests.cryptoenv.exchange.test_downloader import QUICK
from tests.loopback.exchange import rate
from tests.loopback.venues import client_of, market

pytest.importorskip("ccxt", reason='ccxt is not installed: pip install "cryptoenv-rl[data]"')
HOUR = 3_600_000
NOW = int(pd.Timestamp.now("UTC").floor("8h").value // 1_000_000)
SYMBOL = "BTC/USDT:USDT"
ALL = np.arange(NOW - 700 * 8 * HOUR, NOW + 1, 8 * HOUR)


class Venue:
    """Serves `times` as its venue does, at most `cap` at once."""

    def __init__(self, exchange: str, times: np.ndarray = ALL, cap: int = 100) -> None:
        self.exchange, self.times, self.cap, self.pages = exchange, times, cap, 0

    def answer(self, path: str, query: Mapping[str, str]) -> Any:
        self.pages += 1
        newest = self.times[::-1].tolist()
        if self.exchange == "okx":
            after, before = (int(query.get(name, last)) for name, last in (("after", 2**62), ("before", 0)))
            return {"code": "0", "data": [
                {"instId": "BTC-USDT-SWAP", "fundingRate": "9", "realizedRate": str(rate(at)), "fundingTime": str(at)}
                for at in [at for at in newest if before < at < after][: min(int(query["limit"]), self.cap)]
            ]}  # fmt: skip
        number, size = {"bitget": ("pageNo", "pageSize"), "mexc": ("page_num", "page_size"), "hashkey": ("", "limit")}[
            self.exchange
        ]
        size_asked = min(int(query.get(size, 20)), self.cap)
        first = (int(query.get(number, 1)) - 1) * size_asked
        found = newest[first : first + size_asked]
        if self.exchange == "bitget":
            rows = [{"symbol": "BTCUSDT", "fundingRate": str(rate(at)), "fundingTime": str(at)} for at in found]
            return {"code": "00000", "data": rows}
        if self.exchange == "mexc":
            rows = [{"symbol": "BTC_USDT", "fundingRate": float(rate(at)), "settleTime": at} for at in found]
            return {"success": True, "code": 0, "data": {"resultList": rows}}
        return [{"symbol": "BTCUSDT-PERPETUAL", "settleRate": str(rate(at)), "settleTime": str(at)} for at in found]

    def fetch(self, folder: Path, since: int, until: int | None = None) -> SeriesReport:
        ident = {"okx": "BTC-USDT-SWAP", "bitget": "BTCUSDT", "mexc": "BTC_USDT", "hashkey": "BTCUSDT-PERPETUAL"}
        start, end = (None if at is None else pd.Timestamp(int(at), unit="ms", tz="UTC") for at in (since, until))
        assert start is not None
        client = client_of(self.exchange, market(ident[self.exchange], SYMBOL, contractSize=1.0), self.answer)
        asked = DownloadRequest(self.exchange, (SYMBOL,), "funding", start, end, QUICK)
        (report,) = download(folder, asked, client=client, progress=False)
        return report

    def stored(self, folder: Path) -> pd.DataFrame:
        return BarStore(folder).read(SeriesKey(self.exchange, SYMBOL, "funding"))

    def assert_holds(self, folder: Path, times: np.ndarray) -> None:
        found = self.stored(folder)
        assert pd.DatetimeIndex(found.index).as_unit("ms").asi8.tolist() == times.tolist()
        assert found["rate"].tolist() == [rate(int(at)) for at in times]


@pytest.mark.parametrize("cap", [100, 37])
@pytest.mark.parametrize("exchange", ["okx", "bitget", "mexc"])
def test_all_rates_come_however_the_venue_numbers_its_pages(exchange: str, cap: int, tmp_path: Path) -> None:
    venue = Venue(exchange, cap=cap)
    first = venue.fetch(tmp_path, ALL[100], ALL[400] + 1)
    venue.assert_holds(tmp_path, ALL[100:401])
    assert (first.bars, first.missing, first.notes) == (301, 0, [])
    before = venue.pages
    assert venue.fetch(tmp_path, ALL[100], ALL[400] + 1).bars == 0
    assert venue.pages == before
    venue.fetch(tmp_path, ALL[0])  # what lies before it, and after it
    venue.assert_holds(tmp_path, ALL)


def test_pages_that_move_on_while_they_are_read_lose_nothing(tmp_path: Path) -> None:
    venue = Venue("bitget", ALL[:-5])
    whole = venue.answer

    def answer(path: str, query: Mapping[str, str]) -> Any:
        venue.times = ALL[: min(len(ALL) - 5 + venue.pages, len(ALL))]
        return whole(path, query)

    venue.answer = answer  # type: ignore[method-assign]
    venue.fetch(tmp_path, ALL[0], ALL[-5])
    venue.assert_holds(tmp_path, ALL[:-5])


def test_a_venue_without_a_way_back_is_said_to_be_incomplete(tmp_path: Path) -> None:
    venue = Venue("hashkey")
    report = venue.fetch(tmp_path, ALL[0])
    venue.assert_holds(tmp_path, ALL[-100:])
    assert len(report.notes) == 1
    assert "no funding rate came between" in report.notes[0]
    covered = BarStore(tmp_path).manifest(SeriesKey("hashkey", SYMBOL, "funding")).covered
    assert covered[0][0] == ALL[-100]


@pytest.mark.parametrize("exchange", ["okx", "bitget"])
def test_a_rate_that_is_missing_between_two_is_asked_for_and_not_covered(
    exchange: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, left_out = SeriesKey(exchange, SYMBOL, "funding"), ALL[[300, 511, 512]]
    venue = Venue(exchange, ALL[~np.isin(ALL, left_out)])
    report = venue.fetch(tmp_path, ALL[0])
    assert report.missing == 2
    assert len(report.notes) == 2
    holes = ((ALL[299] + 1, ALL[301]), (ALL[510] + 1, ALL[513]))
    covered = BarStore(tmp_path).manifest(key).covered
    assert all(not (a < hole[1] and b > hole[0]) for a, b in covered for hole in holes)
    venue.times = ALL[ALL[300] != ALL]
    venue.fetch(tmp_path, ALL[0])
    venue.assert_holds(tmp_path, venue.times)
    later = asking.wall_ms() + 2 * LATER_MS
    monkeypatch.setattr(asking, "wall_ms", lambda: later)
    venue.fetch(tmp_path, ALL[0])  # asked for at two times: the venue has none
    manifest = BarStore(tmp_path).manifest(key)
    assert (manifest.covered[0][0], len(manifest.covered), manifest.young) == (ALL[0], 1, ())
    before = venue.pages
    venue.fetch(tmp_path, ALL[0], ALL[600])
    assert venue.pages == before


def test_a_rate_that_one_answer_leaves_out_comes_with_the_next(tmp_path: Path) -> None:
    venue = Venue("okx")
    whole = venue.answer

    def answer(path: str, query: Mapping[str, str]) -> Any:
        found = whole(path, query)
        if venue.pages == 1:
            del found["data"][40]
        return found

    venue.answer = answer  # type: ignore[method-assign]
    assert venue.fetch(tmp_path, ALL[0]).missing == 0
    venue.assert_holds(tmp_path, ALL)


def test_a_change_of_interval_is_no_hole() -> None:
    times = np.concatenate([ALL[:100], np.arange(ALL[100], ALL[120], 4 * HOUR), ALL[120:200]])
    assert rate_holes(times) == ()
    assert rate_holes(np.delete(times, [50, 110])) == ((times[49], times[51]), (times[109], times[111]))
