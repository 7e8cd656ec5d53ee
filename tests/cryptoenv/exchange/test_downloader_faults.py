"""Venues that serve less than was asked, for a while nothing, late or too much: no bar lost, no gap that is none."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cryptoenv.exchange import asking
from cryptoenv.exchange.client import DownloadError, ExchangeDownError, new_client
from cryptoenv.exchange.client import _seconds as seconds_asked
from cryptoenv.exchange.contract_volume import in_coins
from cryptoenv.exchange.downloader import DownloadRequest, download
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from tests.cryptoenv.exchange.test_downloader import START, expected, fetch, request, same, stored
from tests.loopback.exchange import MINUTE, Answer, Loopback, Market, bar
from tests.loopback.venues import client_of, market

pytest.importorskip("ccxt", reason='ccxt is not installed: pip install "cryptoenv-rl[data]"')
KEY = SeriesKey("binance", "BTC/USDT", "1m")
Rows = list[list[Any]]
Serve = Callable[[Loopback, int, Mapping[str, str]], Rows | None]


def reply(rows: Any) -> Answer:
    return 200, {}, json.dumps(rows).encode()


def first_rows(cap: int) -> Serve:
    return lambda exchange, number, query: exchange.klines(query)[:cap]


def newest_first(cap: int) -> Serve:
    return lambda exchange, number, query: exchange.klines(query)[-cap:]


def beyond_the_end(exchange: Loopback, number: int, query: Mapping[str, str]) -> Rows:
    return exchange.klines({name: value for name, value in query.items() if name != "endTime"})


def empty_for_a_while(count: int) -> Serve:
    return lambda exchange, number, query: [] if 1 <= number <= count else None


def late_bars(every: int) -> Serve:
    """A bar in `every` is left out by the first answer that it belongs to."""
    met: set[int] = set()

    def serve(exchange: Loopback, number: int, query: Mapping[str, str]) -> Rows:
        rows = exchange.klines(query)
        kept = [row for row in rows if row[0] // MINUTE % every or row[0] in met]
        met.update(row[0] for row in rows if row[0] // MINUTE % every == 0)
        return kept

    return serve


FAULTS: dict[str, Callable[[], Serve]] = {
    "first 100": lambda: first_rows(100),
    "first 999": lambda: first_rows(999),
    "newest 100": lambda: newest_first(100),
    "newest 300": lambda: newest_first(300),
    "rows beyond the end": lambda: beyond_the_end,
    "two empty answers": lambda: empty_for_a_while(2),
    "five empty answers": lambda: empty_for_a_while(5),
    "late bars": lambda: late_bars(501),
}


@pytest.mark.parametrize("minutes", [4_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FAULTS)
def test_no_bar_is_lost_and_no_gap_is_false(tmp_path: Path, kind: str, minutes: int) -> None:
    def fault(number: int, path: str, query: Mapping[str, str]) -> Answer | None:
        rows = serve(exchange, number, query)
        return None if rows is None else reply(rows)

    serve = FAULTS[kind]()
    with Loopback(fault=fault, limits_rate=False) as exchange:
        fetch(tmp_path, exchange, request(minutes))
        assert BarStore(tmp_path).manifest(KEY).gaps == ()
        fetch(tmp_path, exchange, request(minutes))
    same(stored(tmp_path), expected(minutes))
    manifest = BarStore(tmp_path).manifest(KEY)
    assert (manifest.gaps, manifest.young) == ((), ())
    print(f"{kind}: {minutes - manifest.rows} bars lost, {manifest.missing_bars} false gaps, of {minutes:,}")


def test_a_venue_that_ignores_the_start_leaves_the_rest_uncovered(tmp_path: Path) -> None:
    def newest(number: int, path: str, query: Mapping[str, str]) -> Answer:
        return reply(exchange.klines({**query, "startTime": str(START + 2500 * MINUTE), "endTime": str(2**60)})[:500])

    with Loopback(Market(now=lambda: START + 3000 * MINUTE), fault=newest) as exchange:
        fetch(tmp_path, exchange, request(3000))
        assert BarStore(tmp_path).manifest(KEY).gaps == ()
        exchange.fault = lambda *_: None
        fetch(tmp_path, exchange, request(3000))
    same(stored(tmp_path), expected(3000))


def test_a_bar_that_is_published_late_is_no_gap(tmp_path: Path) -> None:
    late = START + 99 * MINUTE
    clock = [START + 100 * MINUTE + 1]
    with Loopback(Market(gaps=frozenset({late}), now=lambda: clock[0])) as exchange:
        fetch(tmp_path, exchange, request(10**6))
        assert BarStore(tmp_path).manifest(KEY).covered == ((START, late),)
        clock[0] += 2 * MINUTE  # the next bars are there, and it is not
        fetch(tmp_path, exchange, request(10**6))
        assert BarStore(tmp_path).manifest(KEY).gaps == ()
        exchange.market.gaps = frozenset()
        fetch(tmp_path, exchange, request(10**6))
    same(stored(tmp_path), expected(102))


@pytest.mark.parametrize("skew", [-3_600_000, -45_000, 45_000, 3_600_000, 86_400_000])
def test_a_skewed_clock_covers_no_future_and_makes_no_gap(
    skew: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = START + 1000 * MINUTE + 30_000
    monkeypatch.setattr(asking, "wall_ms", lambda: real)
    with Loopback(Market(now=lambda: real)) as exchange:
        ahead = exchange.answer
        clock = {"serverTime": real + skew}
        told = lambda path, query: clock if path.endswith("time") else ahead(path, query)  # noqa: E731
        monkeypatch.setattr(exchange, "answer", told)
        fetch(tmp_path, exchange, request(10**6))
        closed = (min(real, real + skew) - START) // MINUTE  # by the earlier clock
        assert BarStore(tmp_path).manifest(KEY).covered == ((START, START + closed * MINUTE),)
        same(stored(tmp_path), expected(closed))
        clock["serverTime"] = real
        fetch(tmp_path, exchange, request(10**6))
    assert BarStore(tmp_path).manifest(KEY).covered == ((START, START + 1000 * MINUTE),)
    assert BarStore(tmp_path).manifest(KEY).gaps == ()
    same(stored(tmp_path), expected(1000))


def test_weeks_come_on_the_grid_of_the_venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    week = 10_080 * MINUTE
    first = START - START % week  # a Thursday
    wanted = pd.to_datetime([first + n * week for n in range(1, 121)], unit="ms", utc=True)
    key = SeriesKey("binance", "BTC/USDT", "1w")
    now = first + 121 * week + 1000
    monkeypatch.setattr(asking, "wall_ms", lambda: now)
    with Loopback(Market(now=lambda: now)) as exchange:
        asked = request(100 * 10_080, timeframe="1w")
        assert fetch(tmp_path, exchange, asked)["missing"].tolist() == [0]
        assert BarStore(tmp_path).read(key).index.tolist() == wanted[:99].tolist()
        now += week
        assert fetch(tmp_path, exchange, request(10**7, timeframe="1w"))["bars"].tolist() == [22]
        before = len(exchange.requests)
        fetch(tmp_path, exchange, request(10**7, timeframe="1w"))
        assert len(exchange.requests) == before
    held = BarStore(tmp_path).manifest(key)
    assert (held.key.offset_ms, held.gaps, len(held.covered)) == (0, (), 1)


def gate(path: str, query: Mapping[str, str]) -> Any:
    first, last = int(query["from"]) * 1000, int(query.get("to", 2**50)) * 1000
    times = range(-(-first // MINUTE) * MINUTE, min(last, START + 5000 * MINUTE) + 1, MINUTE)
    bars = [(at, bar("BTCUSDT", at, MINUTE)) for at in list(times)[: int(query.get("limit", 100))]]
    names = ("o", "h", "l", "c")
    return [{"t": at // 1000, "v": round(1e4 * row[4]), "sum": "0", **dict(zip(names, map(str, row), strict=False))}
            for at, row in bars]  # fmt: skip


def okx(path: str, query: Mapping[str, str]) -> Any:
    first, last = int(query.get("before", 0)) + 1, int(query.get("after", 2**50)) - 1
    times = range(-(-first // MINUTE) * MINUTE, min(last, START + 5000 * MINUTE) + 1, MINUTE)
    newest = [(at, bar("BTCUSDT", at, MINUTE)) for at in list(times)[: -int(query.get("limit", 100)) - 1 : -1]]
    return {"code": "0", "data": [
        [str(at), *map(str, row[:4]), str(round(100 * row[4], 3)), str(row[4]), "0", "1"] for at, row in newest
    ]}  # fmt: skip


@pytest.mark.parametrize(
    ("exchange", "answer", "size"), [("gate", gate, 1e-4), ("okx", okx, 0.01)], ids=["gate", "okx"]
)
def test_bars_of_contracts_come_whole_and_in_coins(
    exchange: str, answer: Callable[..., Any], size: float, tmp_path: Path
) -> None:
    symbol = "BTC/USDT:USDT"
    ident = {"gate": "BTC_USDT", "okx": "BTC-USDT-SWAP"}[exchange]
    client = client_of(exchange, market(ident, symbol, contractSize=size), answer)
    (report,) = download(tmp_path, request(2500, symbols=(symbol,), exchange=exchange), client=client, progress=False)
    found = stored(tmp_path, symbol, exchange=exchange)
    pd.testing.assert_frame_equal(
        found, expected(2500), check_freq=False, check_index_type=False, check_exact=False, rtol=1e-12
    )
    assert (report.bars, report.missing) == (2500, 0)
    assert BarStore(tmp_path).manifest(SeriesKey(exchange, symbol, "1m")).gaps == ()


def test_rows_of_another_symbol_are_an_alarm(tmp_path: Path) -> None:
    def foreign(number: int, path: str, query: Mapping[str, str]) -> Answer | None:
        rows = exchange.klines(query)
        rows[-3:] = [[row[0], *(f"{float(value) * 30:.3f}" for value in row[1:5]), *row[5:]] for row in rows[-3:]]
        return reply(rows) if always or number == 0 else None

    always: list[bool] = []

    with Loopback(fault=foreign) as exchange:
        assert fetch(tmp_path, exchange, request(2000))["refused"].tolist() == [1]
        same(stored(tmp_path), expected(2000))
        always.append(True)
        with pytest.raises(ExchangeDownError, match=r"answers to .* could not be used.*price jumps .* another symbol"):
            fetch(tmp_path / "second", exchange, request(2000))


def test_funding_is_continued_where_pages_are_cut(tmp_path: Path) -> None:
    asked = request(1440 * 180, exchange="binanceusdm", symbols=("BTC/USDT:USDT",), timeframe="funding")
    for name, cut in (("first", slice(0, 37)), ("newest", slice(-37, None))):
        with Loopback(fault=lambda n, path, query, cut=cut: reply(exchange.funding(query)[cut])) as exchange:
            fetch(tmp_path / name, exchange, asked)
        assert len(stored(tmp_path / name, "BTC/USDT:USDT", "funding", "binanceusdm")) == 540


BAR = (100.0, 110.0, 90.0, 100.0, 500.0)


@pytest.mark.parametrize(
    ("exchange", "size", "inverse", "coins"),
    [("gate", 0.0001, False, 0.05), ("kucoin", 0.001, False, 0.5), ("mexc", 0.0001, False, 0.05),
     ("okx", 0.01, False, 500.0), ("okx", 100.0, True, 500.0), ("binancecoinm", 100.0, True, 500.0),
     ("krakenfutures", 1.0, True, 5.0), ("kucoinfutures", 1.0, True, 5.0), ("unheard", 1.0, False, 500.0)],
)  # fmt: skip
def test_volume_is_told_in_coins(exchange: str, size: float, inverse: bool, coins: float) -> None:
    market = {"symbol": "X", "contract": True, "contractSize": size, "inverse": inverse, "base": "B", "quote": "Q"}
    assert in_coins(exchange, market)[0](BAR) == pytest.approx(coins)


@pytest.mark.parametrize(("exchange", "size"), [("gate", None), ("unheard", 0.001)])
def test_a_volume_of_unknown_unit_is_refused(exchange: str, size: float | None) -> None:
    with pytest.raises(DownloadError, match="contracts or in coins is not known"):
        in_coins(exchange, {"symbol": "X", "swap": True, "contractSize": size})


def test_an_absurd_wait_is_capped_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert seconds_asked({"Retry-After": "7"}) == 7.0
    for absurd in ("1e12", "inf", "99999999", "Fri, 31 Dec 2999 23:59:59 GMT"):
        caplog.clear()
        assert seconds_asked({"retry-after": absurd}) == 120.0
        assert absurd in caplog.text
    assert seconds_asked({"Retry-After": "nan"}) == seconds_asked({}) == 60.0
    assert seconds_asked({"Retry-After": "-5"}) == 0.0


def test_without_a_network_it_gives_up_soon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def offline(exchange: str) -> Any:
        client = new_client(exchange)

        async def load_markets() -> None:
            await asyncio.sleep(0)
            raise OSError("connection failed") from socket.gaierror(-2, "Name or service not known")

        client.load_markets = load_markets
        return client

    asked: DownloadRequest = request()
    with pytest.raises(ExchangeDownError, match="no host of binance resolves"):
        download(tmp_path, asked, client=offline, progress=False)
    assert "retry 2 of 2" in caplog.text
    assert "retry 3" not in caplog.text
