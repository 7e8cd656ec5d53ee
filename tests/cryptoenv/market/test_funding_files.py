"""Funding rates from files: what exchanges and ccxt give is read, what is doubtful is refused by name."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

import cryptoenv
from cryptoenv import BarsError, Market, read_funding
from cryptoenv.bars.price_columns import FUNDING
from cryptoenv.features import FeatureSpec
from cryptoenv.store import BarStore, SeriesKey
from cryptoenv.store.export import export_rows
from cryptoenv.store.key import StoreError
from tests.naive.random_bars import random_bars

DAY = "%Y-%m-%d"
DUE = pd.date_range("2021-01-01", periods=200, freq="8h", tz="UTC")
RATES = pd.Series(np.random.default_rng(3).normal(1e-4, 1e-4, len(DUE)).round(8), DUE)
STAMPS = DUE.as_unit("ms").asi8 + np.random.default_rng(4).integers(0, 40, len(DUE))


def ccxt_rows() -> list[dict[str, object]]:
    return [
        {
            "info": {"symbol": "BTCUSDT", "fundingRate": f"{rate:.8f}"}, "symbol": "BTC/USDT:USDT", "fundingRate": rate,
            "timestamp": int(stamp), "datetime": pd.Timestamp(stamp, unit="ms").isoformat() + "Z",
        }
        for stamp, rate in zip(STAMPS, RATES, strict=True)
    ]  # fmt: skip


def table(**columns: object) -> bytes:
    return pd.DataFrame(columns).to_csv(index=False).encode()


def swapped(rows: bytes) -> bytes:
    head, *rest = rows.decode().splitlines()
    return "\n".join([head, *reversed(rest)]).encode()


TEXT = [f"{rate:.8f}" for rate in RATES]
PERCENT = [f"{100 * rate:.6f}" for rate in RATES]
FILES: dict[str, Callable[[], bytes]] = {
    "binance api": lambda: table(symbol="BTCUSDT", fundingTime=STAMPS, fundingRate=TEXT, markPrice=30_000.0),
    "binance vision": lambda: table(calc_time=STAMPS, funding_interval_hours=8, last_funding_rate=TEXT),
    "bybit": lambda: json.dumps({"result": {"list": [
        {"symbol": "BTCUSDT", "fundingRate": rate, "fundingRateTimestamp": str(stamp)}
        for stamp, rate in zip(STAMPS[::-1], TEXT[::-1], strict=True)
    ]}}).encode(),
    "ccxt": lambda: json.dumps(ccxt_rows()).encode(),
    "ccxt table": lambda: table(
        **{key: [row[key] for row in ccxt_rows()] for key in ("fundingRate", "timestamp", "datetime")}
    ),
    "iso, gzipped": lambda: gzip.compress(table(timestamp=DUE.strftime(f"{DAY}T%H:%M:%SZ"), funding_rate=RATES.values)),
    "newest first": lambda: swapped(table(timestamp=STAMPS, rate=TEXT)),
    "a row twice": lambda: table(timestamp=[*STAMPS[:5], *STAMPS[4:]], rate=[*TEXT[:5], *TEXT[4:]]),
    "percent signs": lambda: table(time=STAMPS, funding=[f"{one}%" for one in PERCENT]),
    "percent by its name": lambda: table(**{"Time": STAMPS, "Funding Rate (%)": PERCENT}),
    "parquet": lambda: pd.DataFrame({"timestamp": DUE, "rate": RATES.to_numpy()}).to_parquet(),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_exchanges_give_is_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rates"
    file.write_bytes(FILES[name]())
    found = read_funding(file)
    pd.testing.assert_series_equal(found, RATES, check_names=False, check_freq=False, check_index_type=False, rtol=1e-9)
    assert found.name == "rate" and found.index.name == "timestamp"


def test_a_series_of_the_store_and_its_export_are_read(tmp_path: Path) -> None:
    key = SeriesKey("binance", "BTC/USDT:USDT", "funding")
    stored = pd.DataFrame({"rate": RATES.to_numpy()}, pd.to_datetime(STAMPS, unit="ms", utc=True))
    store = BarStore(tmp_path / "data")
    with store.writer(key) as writer:
        writer.append(stored, (int(STAMPS[0]), int(STAMPS[-1]) + 1))
    found = read_funding(key.folder(tmp_path / "data"))
    pd.testing.assert_series_equal(found, RATES, check_names=False, check_freq=False, check_index_type=False)
    export_rows(store.read(key), tmp_path / "out.csv.gz")
    pd.testing.assert_series_equal(read_funding(tmp_path / "out.csv.gz"), found)
    with pytest.raises(StoreError, match="name STORE/EXCHANGE/SYMBOL/funding"):
        read_funding(tmp_path)


REFUSED = {
    "percent": (lambda: table(timestamp=STAMPS, rate=PERCENT), r"look like percent.*unit=\"percent\""),
    "beyond": (lambda: table(timestamp=STAMPS, rate=[0.2, *TEXT[1:]]), r"funding row 0 .*0\.2.*within \+-0\.1"),
    "most missing": (
        lambda: table(timestamp=STAMPS, rate=["" if n % 4 else rate for n, rate in enumerate(TEXT)]),
        r"funding row 1 .*\(and 149 more of 200 rows\).*finite rates",
    ),
    "astray": (lambda: table(timestamp=STAMPS + 17 * 60_000, rate=TEXT), "within 5 minutes of the whole hour"),
    "twice": (
        lambda: table(timestamp=[*STAMPS[:5], STAMPS[4] + 9, *STAMPS[5:]], rate=[*TEXT[:5], *TEXT[4:]]), "there twice",
    ),
    "two perpetuals": (
        lambda: table(symbol=["BTC", *["ETH"] * 199], timestamp=STAMPS, rate=TEXT), r"names 2 perpetuals, BTC, ETH",
    ),
    "two rates": (
        lambda: table(timestamp=STAMPS, fundingRate=TEXT, realizedRate=RATES.to_numpy() / 2),
        r"may each hold the rates that were paid; say which with rate='fundingRate'",
    ),
    "no rates": (lambda: table(timestamp=STAMPS, price=1.0), r"no column of funding rates in .*rate="),
    "no times": (lambda: table(when=STAMPS, rate=TEXT), r"no column of times in .*time="),
    "no zone": (lambda: table(timestamp=DUE.strftime(f"{DAY} %H:%M"), rate=TEXT), "time_zone"),
    "words": (lambda: table(timestamp=STAMPS, rate=[*TEXT[:3], "none paid", *TEXT[4:]]), "row 3.*'none paid'"),
    "nothing": (lambda: b"timestamp,rate\n", "no rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_doubtful_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    file = tmp_path / "rates.csv"
    file.write_bytes(make())
    with pytest.raises(BarsError, match=message) as caught:
        read_funding(file)
    assert str(caught.value).startswith(str(file))


def test_the_users_word_settles_the_unit_and_the_columns(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_bytes(table(at=DUE.strftime(f"{DAY} %H:%M"), paid=PERCENT))
    found = read_funding(file, time="at", rate="paid", time_zone="UTC", unit="percent")
    np.testing.assert_allclose(found, RATES, rtol=1e-9)
    as_they_are = read_funding(file, time="at", rate="paid", time_zone="UTC", unit="fraction")
    np.testing.assert_allclose(as_they_are, 100 * RATES, rtol=1e-9)
    bars = random_bars(20, seed=1)
    one, other = (
        Market.from_bars(bars, ("1h",), features=FeatureSpec.none(), funding=rates) for rates in (found, as_they_are)
    )
    np.testing.assert_allclose(other.prices[:, FUNDING], 100 * one.prices[:, FUNDING])
    for unit, message in (("bps", 'allowed: "fraction"'), (None, "no such file")):
        with pytest.raises((BarsError, FileNotFoundError), match=message):
            read_funding(file if unit else tmp_path / "none.csv", unit=unit)  # type: ignore[arg-type]


def test_real_rates_are_read_and_doubted_in_percent(real_data: Path, tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        file = real_data / f"binance_perp_{symbol}_funding_8h_2020_2023.csv.gz"
        found = read_funding(file)
        raw = pd.read_csv(file)
        assert len(found) == 4383 and (found.to_numpy() == raw["funding_rate"].to_numpy()).all()
        percent = raw.assign(funding_rate=100 * raw["funding_rate"]).query("abs(funding_rate) <= 0.1")
        percent.to_csv(tmp_path / "percent.csv", index=False)
        with pytest.raises(BarsError, match="look like percent"):
            read_funding(tmp_path / "percent.csv")


def test_real_bars_are_charged_their_real_rates(real_data: Path) -> None:
    bars = cryptoenv.read_bars(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz").loc[:"2023-12-30"]
    file = real_data / "binance_perp_BTCUSDT_funding_8h_2020_2023.csv.gz"
    rates = read_funding(file)
    arguments = {"timeframes": ("5m",), "window": (1,), "funding": file}
    env = gym.make("CryptoTrade-v0", market=bars, episode_bars=10**6, random_start=False, **arguments)
    prices = env.unwrapped.pool.markets[0].prices  # type: ignore[attr-defined]
    charged = pd.Series(prices[:, FUNDING], pd.date_range(bars.index[0], bars.index[-1], freq="5min"))
    due = rates.loc["2023-01-01":"2023-12-30"]
    np.testing.assert_array_equal(charged.loc[due.index], due)
    assert np.count_nonzero(charged) == np.count_nonzero(due)


def test_an_environment_takes_bars_and_a_file_of_rates(tmp_path: Path) -> None:
    bars = random_bars(64, seed=2)
    bars.reset_index().to_csv(tmp_path / "bars.csv", index=False)
    (tmp_path / "rates.csv").write_bytes(table(timestamp=STAMPS, rate=TEXT))
    rates = read_funding(tmp_path / "rates.csv")
    given = {"timeframes": ("15m", "4h"), "window": (4, 2)}
    wanted = Market.from_bars(bars, ("15m", "4h"), funding=rates)
    for market, funding in ((bars, rates), (tmp_path / "bars.csv", tmp_path / "rates.csv")):
        env = gym.make("CryptoTrade-v0", market=market, funding=funding, **given)
        np.testing.assert_array_equal(env.unwrapped.pool.markets[0].prices, wanted.prices)  # type: ignore[attr-defined]
    env.reset(seed=0, options={"start": 5000, "exposure": 1.0})
    paid = [env.step(2)[4]["step_funding"] for _ in range(64)]
    assert np.count_nonzero(paid) == 2  # a row of 16 hours
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=[bars, bars], funding=[rates, None], **given)
    pool = envs.pool.markets  # type: ignore[attr-defined]
    assert pool[0].funding_series and not pool[1].funding_series


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"market": "easy"}, "of bars of your own"),
        ({"market": [random_bars(64, 2)] * 2}, r"given 1 times for 2 market\(s\)"),
        ({"instrument": "spot"}, "'perpetual' only"),
        ({"costs": cryptoenv.Costs(funding=1e-4)}, "would charge twice"),
        ({"market": Market.from_bars(random_bars(64, 2), ("15m",))}, "the market is made already"),
    ],
)
def test_funding_that_nobody_would_pay_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make("CryptoTrade-v0", **{"market": random_bars(64, 2), "funding": RATES, **arguments})
