"""`cryptoenv data`, as a user calls it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.store.key import SeriesKey
from cryptoenv.store.store import BarStore
from tests.cryptoenv.store.test_store import FUNDING, KEY, START, rates_at, row_of_bars, stored

MINUTE = 60_000
HOURLY = SeriesKey("kraken", "ETH/EUR", "1h")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    bars = row_of_bars(2_000)
    stored(folder, KEY, (bars.drop(bars.index[50:60]), (START, START + 2_000 * MINUTE)))
    stored(folder, HOURLY, (row_of_bars(30, START, 60 * MINUTE), (START, START + 1_800 * MINUTE)))
    stored(folder, FUNDING, (rates_at([START, START + 480 * MINUTE]), (START, START + 500 * MINUTE)))
    return folder


def test_list_shows_every_series(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--store", str(store)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    assert lines[1] == ["exchange", "symbol", "timeframe", "rows", "first", "last", "gaps", "size"]
    bars, funding, hourly = lines[3:]
    assert bars[:3] == ["binance", "BTC/USDT", "1m"]
    assert bars[3:8] == ["1,990", "2024-01-31", "00:00", "2024-02-01", "09:19"]
    assert bars[8:11] == ["1", "(10", "bars)"] and bars[12] == "kB"
    assert funding[:4] == ["binance", "BTC/USDT:USDT", "funding", "2"]
    assert hourly[:4] == ["kraken", "ETH/EUR", "1h", "30"] and hourly[8] == "0"


def test_damage_from_validate_to_repair(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--store", str(store)]
    assert main(["data", "validate", *where]) == 0
    assert "3 series checked, 0 problem(s)" in capsys.readouterr().out
    part = next(KEY.folder(store).glob("2024-02-*"))
    part.write_bytes(part.read_bytes()[:-1])
    (HOURLY.folder(store) / "manifest.json").write_text("{", "utf-8")
    assert main(["data", "list", *where]) == 0
    assert "1 series damaged: run `cryptoenv data validate`" in capsys.readouterr().out
    assert main(["data", "validate", *where]) == 1
    printed = capsys.readouterr().out
    assert str(part) in printed and "3 series checked, 2 problem(s)" in printed
    assert main(["data", "validate", *where, "--exchange", "binance", "--timeframe", "funding"]) == 0
    assert main(["data", "export", *where, *_named(KEY), "--out", str(store / "x.csv")]) == 2
    assert "SHA-256" in capsys.readouterr().err and not (store / "x.csv").exists()
    assert main(["data", "repair", *where, "--symbol", "BTC/USDT"]) == 0
    printed = capsys.readouterr().out
    assert "quarantine" in printed and "[2024-02-01T00:00:00+00:00, 2024-03-01T00:00:00+00:00)" in printed
    assert main(["data", "repair", *where]) == 0
    assert main(["data", "validate", *where]) == 0
    assert len(BarStore(store).read(KEY)) == 1_430 and len(BarStore(store).read(HOURLY)) == 30


def _named(key: SeriesKey) -> list[str]:
    return ["--exchange", key.exchange, "--symbol", key.symbol, "--timeframe", key.timeframe]


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet", "x.feather"])
def test_export_gives_the_same_bars(store: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    arguments = ["data", "export", "--store", str(store), *_named(KEY), "--out", str(out)]
    assert main([*arguments, "--since", "2024-01-31T00:30", "--until", "2024-02-01T01:00Z"]) == 0
    expected = BarStore(store).read(KEY)["2024-01-31 00:30":"2024-02-01 00:59"]
    found = pd.read_feather(out).set_index("timestamp") if name.endswith("feather") else read_bars(out)
    pd.testing.assert_frame_equal(found, expected, check_exact=True, check_freq=False, check_index_type=False)
    assert len(found) == 1_460


def test_export_of_funding(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "funding.csv.gz"
    assert main(["data", "export", "--store", str(store), *_named(FUNDING), "--out", str(out)]) == 0
    assert gzip.decompress(out.read_bytes()).splitlines()[0] == b"timestamp,rate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--store", "nowhere"], "no such series in nowhere; there are: none"),
        (["validate", "--symbol", "XRP/USDT"], "no such series in .*binance BTC/USDT 1m"),
        (["export", *_named(KEY), "--out", "bars.xlsx"], r"bars.xlsx; allowed: a name that ends in .csv, .csv.gz"),
        (["export", *_named(KEY), "--out", "/dev/null/bars.csv"], "/dev/null is no folder"),
        (["export", *_named(KEY), "--out", "x.csv", "--since", "soon"], "since is 'soon'"),
        (["export", "--exchange", "binance", "--symbol", "A/B", "--timeframe", "7m", "--out", "x.csv"], "'7m'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(store.parent)
    assert main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and pd.Series([error]).str.contains(message).all()
