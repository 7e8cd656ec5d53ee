import gzip
from pathlib import Path

import pandas as pd
import pytest

from cryptoenv import BarsError, read_bars
from tests.naive.random_bars import random_bars

BARS = random_bars(2)


def written(folder: Path, text: str, name: str = "bars.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def with_times(times: pd.Index | list[object], name: str = "timestamp") -> str:
    return BARS.set_index(pd.Index(times, name=name)).to_csv()


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "parquet column", "parquet.gz", "misnamed"])
def test_formats_are_told_by_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("bars.parquet" if kind == "misnamed" else f"bars.{kind.split()[0]}")
    if kind == "misnamed":
        BARS.to_csv(path)
    elif kind == "parquet column":
        BARS.reset_index().to_parquet(path)
    elif kind.startswith("parquet"):
        BARS.to_parquet(path, index=True) if kind == "parquet" else path.write_bytes(gzip.compress(BARS.to_parquet()))
    else:
        BARS.to_csv(path)
    pd.testing.assert_frame_equal(read_bars(path), BARS, check_freq=False, check_index_type=False)


@pytest.mark.parametrize("name", ["timestamp", "Date", "open_time"])
@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_whole_numbers_since_1970(tmp_path: Path, unit: str, name: str) -> None:
    path = written(tmp_path, with_times(BARS.index.as_unit(unit).asi8, name))
    assert (read_bars(path).index == BARS.index).all()


@pytest.mark.parametrize("ending", ["Z", "+00:00", "+0000", " UTC"])
def test_text_that_says_utc(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, with_times([f"{time:%Y-%m-%dT%H:%M:%S}{ending}" for time in BARS.index]))
    assert (read_bars(path).index == BARS.index).all()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            [f"{time:%Y-%m-%d %H:%M:%S}" for time in BARS.index],
            "row 0, column 'timestamp'.*does not say that it is UTC; if it is, say so with time_zone=\"UTC\"",
        ),
        (
            [*[f"{time:%Y-%m-%dT%H:%M:%S}Z" for time in BARS.index[:-1]], "soonZ"],
            "row 191, column 'timestamp'.*is no time",
        ),
        (
            [*[f"{time:%Y-%m-%dT%H:%M:%S}Z" for time in BARS.index[:-1]], None],
            "row 191, column 'timestamp'.*is no time",
        ),
        ([*BARS.index.as_unit("s").asi8[:-1], 1.7e9 + 0.5], "row 191, column 'timestamp'.*no whole number of seconds"),
        (list(range(len(BARS))), "row 0, column 'timestamp'.*no time between 2009 and 2100 in any unit"),
        ([*BARS.index.as_unit("s").asi8[:-1], 1.0], "row 191, column 'timestamp': 1.0 is no time between"),
    ],
)
def test_times_that_are_not_clear_are_refused(tmp_path: Path, times: list[object], message: str) -> None:
    with pytest.raises(BarsError, match=message):
        read_bars(written(tmp_path, with_times(times)))


def test_naive_parquet_is_refused(tmp_path: Path) -> None:
    BARS.tz_localize(None).to_parquet(tmp_path / "a.parquet")
    BARS.tz_localize(None).reset_index().to_parquet(tmp_path / "b.parquet", index=False)
    for name in ("a.parquet", "b.parquet"):
        with pytest.raises(BarsError, match=r"parquet: row 0, .*say so with time_zone=\"UTC\""):
            read_bars(tmp_path / name)


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(bytes(range(256)) * 20)
    half = tmp_path / "half.csv.gz"
    half.write_bytes(gzip.compress(BARS.to_csv().encode())[:500])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1" + b"x" * 100)
    for path in (picture, half, broken, written(tmp_path, "", "empty.csv")):
        with pytest.raises(BarsError, match=rf"{path.name}: not a table .*allowed: CSV, JSON, Parquet"):
            read_bars(path)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing\.csv"):
        read_bars(tmp_path / "missing.csv")


def test_missing_and_wrong_columns(tmp_path: Path) -> None:
    text = BARS.to_csv()
    for old, new, message in (
        (
            "close",
            "closing",
            r"bars\.csv: column 'close' is missing; columns are .*needed: open, high, low, close, volume",
        ),
        ("timestamp", "when", "the time column is missing"),
        (text, "one line of prose", "column 'open' is missing"),
        (text[text.index("\n") :], "\n", "no rows"),
    ):
        with pytest.raises(BarsError, match=message):
            read_bars(written(tmp_path, text.replace(old, new)))
    words = BARS.astype({"low": object})
    words.iloc[7, 2] = "cheap"
    with pytest.raises(BarsError, match=r"row 7 \(2021-01-01T01:45:00\+00:00\), column 'low': 'cheap' is not a number"):
        read_bars(written(tmp_path, words.to_csv()))


def test_real_files(real_data: Path) -> None:
    bars = read_bars(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz")
    assert len(bars) == 176_585
    assert str(bars.index[0]) == "2023-01-01 00:00:00+00:00"
    for name in ("RAW_DIRTY_bitstamp_BTCUSD_1h_2018_2022.csv.gz", "RAW_DIRTY_poloniex_ETHUSDT_30m_2015_2017.csv.gz"):
        with pytest.raises(BarsError, match=rf"{name}: .* volume is in the quote currency .*cryptoenv\.clean"):
            read_bars(real_data / name)
