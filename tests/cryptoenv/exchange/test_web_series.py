"""CoinGecko and CryptoCompare against a loopback server: pages, faults, and no bars that nobody saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.command_line import main
from cryptoenv import join_exogenous
from cryptoenv.exchange.client import BadPageError, ExchangeDownError, RefusedError
from cryptoenv.exchange.web_series import asker, coingecko_series, cryptocompare_bars
from tests.loopback.price_sources import LISTED, price, price_sources

SINCE, UNTIL = pd.Timestamp("2024-02-01", tz="UTC"), pd.Timestamp("2024-02-03", tz="UTC")


def quick(base: str) -> object:
    return asker(base, first_wait=0.001, attempts=3)


def test_closes_become_a_series_and_no_bars() -> None:
    with price_sources() as (base, asked):
        table = coingecko_series("bitcoin", SINCE, UNTIL, quick(base))  # type: ignore[arg-type]
    assert list(table.columns) == ["bitcoin_price", "bitcoin_market_cap", "bitcoin_volume_24h"]
    assert len(asked) == 1
    assert "coins/bitcoin/market_chart/range?vs_currency=usd" in asked[0]
    seconds = table.index.astype("datetime64[s, UTC]").astype(np.int64)
    np.testing.assert_allclose(table["bitcoin_price"], [price(int(s)) for s in seconds])
    hours = pd.date_range(SINCE, periods=24, freq="h")
    joined = join_exogenous(pd.DataFrame({"close": 1.0}, hours), table, known_after="0s")
    latest = seconds[seconds <= int(hours[5].timestamp()) + 3600].max()  # at the close of the bar, not after it
    assert joined["bitcoin_price"].iloc[5] == pytest.approx(price(int(latest)))


def test_bars_come_page_by_page_until_trading_began() -> None:
    with price_sources() as (base, asked):
        since = pd.Timestamp(LISTED - 40 * 86_400, unit="s", tz="UTC")
        bars = cryptocompare_bars("BTC/USD", "1h", since, since + pd.Timedelta("160D"), quick(base))  # type: ignore[arg-type]
    assert len(asked) == 2  # 2,001 bars each: 120 days of trading and what zeros there are before
    assert bars.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    assert len(bars) == 120 * 24
    assert (bars["volume"] == 5.0).all()
    assert bars["close"].iloc[7] == pytest.approx(price(LISTED + 7 * 3600) + 1.0)


def test_faults_that_pass_are_waited_for_and_others_are_named() -> None:
    first = {0: (429, {"Retry-After": "0"}, b"{}"), 1: (503, {}, b"")}
    with price_sources(first.get) as (base, asked):
        assert len(coingecko_series("bitcoin", SINCE, UNTIL, quick(base))) > 40  # type: ignore[arg-type]
        assert len(asked) == 3
    for fault, kind in (
        ((404, {}, b"{}"), RefusedError), ((500, {}, b""), ExchangeDownError), ((200, {}, b"<html>"), BadPageError),
        ((200, {}, b'{"prices": [[1, "x"]]}'), BadPageError), ((200, {}, b'{"prices": [[1, -5.0]]}'), BadPageError),
    ):  # fmt: skip
        with price_sources(lambda number, fault=fault: fault) as (base, _), pytest.raises(kind):
            coingecko_series("bitcoin", SINCE, UNTIL, quick(base))  # type: ignore[arg-type]
    with price_sources() as (base, _):
        with pytest.raises(RefusedError, match="no such coin"):
            cryptocompare_bars("NONE/USD", "1h", SINCE, UNTIL, quick(base))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="say BTC/USD"):
            cryptocompare_bars("BTCUSD", "1h", SINCE, UNTIL, quick(base))  # type: ignore[arg-type]


def test_the_command_writes_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with price_sources() as (base, _):
        given = ["data", "series", "cryptocompare", "BTC/USD", "--since", "2024-02-01", "--until", "2024-02-03"]
        assert main([*given, "--url", base, "--out", str(tmp_path / "b.parquet")]) == 0
        assert "48 rows" in capsys.readouterr().out
        assert len(pd.read_parquet(tmp_path / "b.parquet")) == 48
        assert main([*given, "--url", base, "--out", str(tmp_path / "b.parquet")]) == 2
        assert main([*given[:5], "2024-03-01", *given[6:], "--url", base, "--out", str(tmp_path / "c.csv")]) == 2
    assert "is not before" in capsys.readouterr().err
