"""The downloader against a loopback exchange, through the real ccxt client: all that exists, nothing that does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from cryptoenv.exchange import asking
from cryptoenv.exchange.client import BadPageError, ExchangeDownError, RefusedError, UnknownMarketError, new_client
from cryptoenv.exchange.downloader import DownloadRequest, Patience, download, summary
from cryptoenv.exchange.pages import checked_bars, checked_rates
from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.ranges import LATER_MS
from cryptoenv.store.store import BarStore
from tests.loopback.exchange import MINUTE, Loopback, Market, bar, rate

pytest.importorskip("ccxt", reason='ccxt is not installed: pip install "cryptoenv-rl[data]"')
START = int(pd.Timestamp("2024-01-01", tz="UTC").value // 1_000_000)
QUICK = Patience(attempts=6, first=0.01, longest=0.05)


def request(minutes: int = 3000, symbols: tuple[str, ...] = ("BTC/USDT",), **changes: Any) -> DownloadRequest:
    since = pd.Timestamp(START, unit="ms", tz="UTC")
    asked = DownloadRequest("binance", symbols, "1m", since, since + pd.Timedelta(minutes=minutes), QUICK)
    return replace(asked, **changes)


def fetch(folder: Path, exchange: Loopback, asked: DownloadRequest) -> pd.DataFrame:
    return summary(download(folder, asked, client=exchange.client, progress=False))


def stored(folder: Path, symbol: str = "BTC/USDT", timeframe: str = "1m", exchange: str = "binance") -> pd.DataFrame:
    return BarStore(folder).read(SeriesKey(exchange, symbol, timeframe))


def expected(minutes: int, gaps: frozenset[int] = frozenset(), symbol: str = "BTCUSDT") -> pd.DataFrame:
    times = [START + m * MINUTE for m in range(minutes) if START + m * MINUTE not in gaps]
    index = pd.DatetimeIndex(pd.to_datetime(times, unit="ms", utc=True), name="timestamp")
    rows = np.array([bar(symbol, at, MINUTE) for at in times])
    return pd.DataFrame(rows, index=index, columns=["open", "high", "low", "close", "volume"])


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found, wanted, check_freq=False, check_exact=True, check_index_type=False)


def test_two_symbols_are_stored_whole_and_a_rerun_asks_nothing(tmp_path: Path) -> None:
    asked = request(symbols=("BTC/USDT", "ETH/USDT"))
    with Loopback() as exchange:
        assert fetch(tmp_path, exchange, asked)["bars"].tolist() == [3000, 3000]
        same(stored(tmp_path), expected(3000))
        same(stored(tmp_path, "ETH/USDT"), expected(3000, symbol="ETHUSDT"))
        before = len(exchange.requests)
        assert fetch(tmp_path, exchange, asked)["bars"].tolist() == [0, 0]
        assert len(exchange.requests) == before
        assert fetch(tmp_path, exchange, request(3100))["bars"].tolist() == [100]
        same(stored(tmp_path), expected(3100))


def test_gaps_are_asked_for_at_two_times_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gaps = frozenset(START + m * MINUTE for m in (*range(500, 520), 1200, *range(1400, 2900)))
    with Loopback(Market(gaps=gaps)) as exchange:
        table = fetch(tmp_path, exchange, request())
        assert table["missing"].tolist() == [len(gaps)]
        same(stored(tmp_path), expected(3000, gaps))
        manifest = BarStore(tmp_path).manifest(SeriesKey("binance", "BTC/USDT", "1m"))
        assert len(manifest.gaps) == 3
        assert len(manifest.young) == 3
        before = len(exchange.requests)
        fetch(tmp_path, exchange, request())  # at once: once more, and they stay young
        assert before < len(exchange.requests) <= before + 9
        assert BarStore(tmp_path).manifest(SeriesKey("binance", "BTC/USDT", "1m")) == manifest
        later = asking.wall_ms() + LATER_MS
        monkeypatch.setattr(asking, "wall_ms", lambda: later)
        fetch(tmp_path, exchange, request())  # an hour later: settled
        settled = BarStore(tmp_path).manifest(SeriesKey("binance", "BTC/USDT", "1m"))
        assert settled == replace(manifest, young=())
        before = len(exchange.requests)
        fetch(tmp_path, exchange, request())
        assert len(exchange.requests) == before
        exchange.market.gaps = frozenset()
        assert fetch(tmp_path, exchange, request(recheck_gaps=True))["bars"].tolist() == [len(gaps)]
        same(stored(tmp_path), expected(3000))


def test_years_before_the_listing_take_few_requests(tmp_path: Path) -> None:
    listed = START + 400_000 * MINUTE
    with Loopback(Market(listed=listed)) as exchange:
        table = fetch(tmp_path, exchange, request(401_000))
        assert table["bars"].tolist() == [1000]
        assert len(exchange.requests) < 10


BAD_BODIES = {
    "html": (200, {"Content-Type": "text/html"}, b"<html>maintenance</html>"),
    "truncated": (200, {}, b'[[1704067200000,"1","2"'),
    "empty": (200, {}, b""),
    "server error": (502, {}, b"bad gateway"),
    "unknown error": (400, {}, b'{"code": -1001, "msg": "disconnected"}'),
    "cut": "close",
}


@pytest.mark.parametrize("kind", BAD_BODIES)
@pytest.mark.parametrize("when", [0, 1])
def test_an_answer_that_is_none_is_asked_for_again(tmp_path: Path, kind: str, when: int) -> None:
    answer: Any = BAD_BODIES[kind]
    with Loopback(fault=lambda number, *_: answer if number in (when, when + 1) else None) as exchange:
        table = fetch(tmp_path, exchange, request(2000))
        assert table["refused"].tolist() == [1 if kind == "cut" else 2]  # a cut connection is tried again by aiohttp
        same(stored(tmp_path), expected(2000))


def test_a_short_page_in_the_middle_is_completed(tmp_path: Path) -> None:
    def short(number: int, path: str, query: Mapping[str, str]) -> Any:
        rows = exchange.klines(query)
        return (200, {}, json.dumps(rows[:400] + rows[401:700]).encode()) if number == 1 else None

    with Loopback(fault=short) as exchange:
        assert fetch(tmp_path, exchange, request())["missing"].tolist() == [0]
        same(stored(tmp_path), expected(3000))


SPOILT = {
    "null": lambda row: [row[0], None, *row[2:]],
    "nan": lambda row: [row[0], "NaN", *row[2:]],
    "negative": lambda row: [row[0], "-1.0", *row[2:]],
    "high below low": lambda row: [row[0], row[1], row[3], row[2], *row[4:]],
    "negative volume": lambda row: [*row[:5], "-3", *row[6:]],
    "seconds": lambda row: [row[0] // 1000, *row[1:]],
    "future": lambda row: [row[0] + 10**12, *row[1:]],
    "off grid": lambda row: [row[0] + 1, *row[1:]],
    "short row": lambda row: row[:4],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_bad_row_is_never_stored(tmp_path: Path, kind: str) -> None:
    def spoil(number: int, path: str, query: Mapping[str, str]) -> Any:
        if number:
            return None
        rows = exchange.klines(query)
        rows[17] = SPOILT[kind](rows[17])
        return 200, {}, json.dumps(rows).encode()

    with Loopback(fault=spoil) as exchange:
        table = fetch(tmp_path, exchange, request(1000))
        assert table["refused"].tolist() == [0 if kind == "seconds" else 1]
        assert len(exchange.requests) == 2  # ccxt drops a row before the asked range: then a bar is missing
        same(stored(tmp_path), expected(1000))


def test_rows_out_of_order_or_twice_are_refused() -> None:
    rows = [[START + m * MINUTE, *bar("BTCUSDT", START + m * MINUTE, MINUTE)] for m in range(3)]
    assert len(checked_bars(rows, MINUTE)) == 3
    for wrong in ([rows[1], rows[0]], [rows[0], rows[0]]):
        with pytest.raises(BadPageError, match="row 1 opens at"):
            checked_bars(wrong, MINUTE)
    with pytest.raises(BadPageError, match="no list"):
        checked_bars({"code": 1}, MINUTE)
    with pytest.raises(BadPageError, match="row 0"):
        checked_rates([{"timestamp": START, "fundingRate": None}])


@pytest.mark.parametrize("polls", [8, pytest.param(1000, marks=pytest.mark.slow)])
def test_the_open_bar_is_never_stored(tmp_path: Path, polls: int) -> None:
    rng = np.random.default_rng(0)
    clock = [START + 3 * MINUTE]
    with Loopback(Market(now=lambda: clock[0])) as exchange:
        for _ in range(polls):
            clock[0] += int(rng.choice([1, 7, 59_999, 60_000, 60_001, 20_000]))
            fetch(tmp_path, exchange, request(10**7))
            closed = (clock[0] - START) // MINUTE
            found = stored(tmp_path)
            assert len(found) == closed
            assert found["volume"].iloc[-1] != 0.001
    same(found, expected(closed))


@pytest.mark.parametrize("status", [418, 429])
def test_nothing_is_sent_before_retry_after(tmp_path: Path, status: int) -> None:
    busy = (status, {"Retry-After": "1"}, b'{"code": -1003, "msg": "too many requests"}')
    with Loopback(fault=lambda number, *_: busy if number == 1 else None) as exchange:
        fetch(tmp_path, exchange, request(3000, ("BTC/USDT", "ETH/USDT")))
        refused = exchange.requests[1][0]
        after = [at - refused for at, *_ in exchange.requests if at - refused > 0.5]  # till then: on their way already
        assert after and min(after) >= 0.99
        same(stored(tmp_path), expected(3000))


def test_what_no_waiting_mends_is_said_at_once(tmp_path: Path) -> None:
    with Loopback(fault=lambda *_: (451, {}, b'{"msg": "restricted location"}')) as exchange:
        with pytest.raises(RefusedError, match="451"):
            fetch(tmp_path, exchange, request())
        assert len(exchange.requests) == 1
    with Loopback(fault=lambda number, *_: None if number < 1 else (500, {}, b"")) as exchange:
        with pytest.raises(ExchangeDownError, match=r"failed 6 times .* run the same download again"):
            fetch(tmp_path, exchange, request())
        same(stored(tmp_path), expected(1000))
        with pytest.raises(UnknownMarketError, match=r"no market 'BTC/EUR'; near it: \['BTC/USDT'"):
            fetch(tmp_path, exchange, request(symbols=("BTC/EUR",)))
        with pytest.raises(UnknownMarketError, match="no timeframe '2m'"):
            fetch(tmp_path, exchange, request(timeframe="2m"))
    with pytest.raises(UnknownMarketError, match="binanze"):
        new_client("binanze")
    with pytest.raises(ValueError, match="leave out"):
        new_client("binance", urls={"public": "http://127.0.0.1"})
    with pytest.raises(ValueError, match="no time zone"):
        download(tmp_path, request(since=pd.Timestamp("2024-01-01")))


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["data", "download", "--symbol", "BTC/USDT", "--store", str(tmp_path)]
    assert main([*asked, "--exchange", "binanze", "--since", "2024-01-01"]) == 2
    assert "cryptoenv: exchange 'binanze' is unknown" in capsys.readouterr().err
    assert main([*asked, "--exchange", "binance", "--since", "soon"]) == 2
    assert "--since 'soon' is no time" in capsys.readouterr().err


def test_funding_rates_are_stored(tmp_path: Path) -> None:
    since = pd.Timestamp("2020-01-01", tz="UTC")
    asked = request(exchange="binanceusdm", symbols=("BTC/USDT:USDT",), timeframe="funding", since=since)
    with Loopback() as exchange:
        fetch(tmp_path, exchange, asked)
        found = stored(tmp_path, "BTC/USDT:USDT", "funding", "binanceusdm")["rate"]
        assert len(found) == 4 * 365 * 3 + 3 + 6 + 1
        assert (found.index.to_series().diff().dropna() == pd.Timedelta("8h")).all()
        assert found.iloc[7] == rate(int(found.index[7].value // 1_000_000))


@pytest.mark.slow
def test_a_million_bars_with_faults_on_one_request_in_twenty(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    kinds: list[Any] = [*BAD_BODIES.values(), (429, {"Retry-After": "1"}, b"{}")]

    def fault(*_: Any) -> Any:
        return kinds[int(rng.integers(len(kinds)))] if rng.random() < 0.05 else None

    minutes = 1_000_000
    with Loopback(fault=fault) as exchange:
        began = time.monotonic()
        table = fetch(tmp_path, exchange, request(minutes, patience=Patience(20, 0.05, 1.0)))
        took = time.monotonic() - began
        limit = 1000.0 * 1000.0 / exchange.client("binance").rateLimit
    found = stored(tmp_path)
    assert len(found) == minutes
    assert found.index.is_unique
    times = found.index.as_unit("ms").asi8[:: minutes // 500]
    np.testing.assert_array_equal(found.iloc[:: minutes // 500], [bar("BTCUSDT", int(at), MINUTE) for at in times])
    print(f"{minutes / took:,.0f} bars/s of the {limit:,.0f} that the exchange's rate limit allows\n{table}")


def killed(folder: Path, address: str, seconds: float) -> None:
    """Kill -9 a downloading process after a while."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-m", "tests.loopback.download_process", str(folder), address]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20.0
    while process.poll() is None and not (folder / "binance").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_a_killed_download_loses_nothing(tmp_path: Path, kills: int) -> None:
    rng = np.random.default_rng(1)
    minutes = 60_000
    with Loopback() as exchange:
        for _ in range(kills):
            killed(tmp_path, exchange.base, rng.uniform(0.0, 1.5))
            if any(tmp_path.rglob("manifest.json")):  # on a busy machine it is killed before there is a series
                assert BarStore(tmp_path).validate(SeriesKey("binance", "BTC/USDT", "1m")) == ()
        fetch(tmp_path, exchange, request(minutes))
        same(stored(tmp_path), expected(minutes))


@pytest.mark.parametrize(
    ("timeframe", "why"), [("1M", "not known .calendar months are of no fixed length"), ("7m", "does not divide a day")]
)
def test_a_timeframe_that_no_store_keeps_is_not_asked_for(timeframe: str, why: str, tmp_path: Path) -> None:
    def asked(name: str) -> None:
        raise AssertionError("the exchange was asked")

    since = pd.Timestamp("2024-01-01", tz="UTC")
    with pytest.raises(StoreError, match=why):
        download(tmp_path, DownloadRequest("binance", ("BTC/USDT",), timeframe, since), client=asked)
    assert not list(tmp_path.iterdir())
