"""Files as exchanges and data sites give them: each holds the same bars, and each must read as them."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, read_bars
from cryptoenv.bar_files.reading import file_stem, import_bars
from cryptoenv.bar_files.values import read_values
from tests.naive.random_bars import random_bars

BARS = random_bars(3, seed=4).round(2)
QUOTE = (BARS["volume"] * (BARS["low"] + BARS["high"]) / 2).round(4)
SECONDS = BARS.index.as_unit("s").asi8
ROWS = BARS.to_numpy().tolist()


def assert_same(bars: pd.DataFrame, expected: pd.DataFrame = BARS) -> None:
    pd.testing.assert_frame_equal(
        bars[list(expected)], expected, check_freq=False, check_index_type=False, check_exact=True
    )


def csv(folder: Path, columns: dict[str, object], head: str = "", **options: object) -> Path:
    path = folder / "bars.csv"
    path.write_text(head + pd.DataFrame(columns).to_csv(index=False, **options), encoding="utf-8")
    return path


def prices(*names: str) -> dict[str, object]:
    return dict(zip(names, (BARS[c].to_numpy() for c in ("open", "high", "low", "close")), strict=True))


def test_cryptodatadownload(tmp_path: Path) -> None:
    columns = {"unix": SECONDS, "date": BARS.index.strftime("%Y-%m-%d %H:%M:%S"), "symbol": "BTC/USD"}
    columns |= prices("open", "high", "low", "close")
    columns |= {"Volume BTC": BARS["volume"].to_numpy(), "Volume USD": QUOTE.to_numpy()}
    newest_first = {name: np.asarray(values)[::-1] for name, values in columns.items() if name != "symbol"}
    path = csv(tmp_path, newest_first | {"symbol": "BTC/USD"}, "https://www.CryptoDataDownload.com\n")
    assert_same(read_bars(path))
    table, report = import_bars(path)
    assert_same(table[::-1])
    np.testing.assert_array_equal(table["quote_volume"][::-1], QUOTE)
    assert report.columns["volume"] == "Volume BTC"
    assert report.columns["quote_volume"] == "Volume USD"
    assert "seconds since 1970" in str(report)
    assert "1 line(s) above the table" in str(report)
    assert "left aside: date, symbol" in str(report)


def test_cryptodatadownload_of_old(tmp_path: Path) -> None:
    hourly = random_bars(5).asfreq("h").dropna().round(2)
    columns = {"Date": hourly.index.strftime("%Y-%m-%d %I-%p"), "Symbol": "BTCUSD"}
    columns |= {name.capitalize(): hourly[name].to_numpy() for name in ("open", "high", "low", "close")}
    path = csv(tmp_path, columns | {"Volume BTC": hourly["volume"].to_numpy()}, "https://www.cryptodatadownload.com\n")
    with pytest.raises(BarsError, match=r"time_zone=\"UTC\""):
        read_bars(path)
    for column in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(read_bars_wide(path)[column], hourly[column])
    assert (read_bars_wide(path).index == hourly.index).all()


def read_bars_wide(path: Path) -> pd.DataFrame:
    return import_bars(path, time_zone="UTC")[0]


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_binance_dump_without_names(tmp_path: Path, unit: str) -> None:
    opens = BARS.index.as_unit(unit).asi8
    first = np.column_stack([opens, opens + 1])
    table = pd.DataFrame({0: first[:, 0]} | {i + 1: BARS.iloc[:, i].to_numpy() for i in range(5)})
    table[6], table[7], table[8], table[9], table[10], table[11] = first[:, 1], QUOTE.to_numpy(), 7, 1.0, 2.0, 0
    path = tmp_path / "BTCUSDT-15m-2025-01.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-15m-2025-01.csv", table.to_csv(index=False, header=False))
    assert_same(read_bars(path))
    bars, report = import_bars(path, keep=("trades",))
    assert list(bars) == ["open", "high", "low", "close", "volume", "quote_volume", "trades"]
    assert "columns have no names" in str(report)
    assert report.times == ("milliseconds since 1970" if unit == "ms" else "microseconds since 1970")


def test_binance_names(tmp_path: Path) -> None:
    columns = {"Open time": BARS.index.as_unit("ms").asi8} | prices("Open", "High", "Low", "Close")
    columns |= {"Volume": BARS["volume"].to_numpy(), "Close time": BARS.index.as_unit("ms").asi8 + 899_999}
    columns |= {"Quote asset volume": QUOTE.to_numpy(), "Number of trades": 3}
    assert import_bars(csv(tmp_path, columns))[1].columns["quote_volume"] == "Quote asset volume"
    assert_same(read_bars(csv(tmp_path, columns, sep=";")))


@pytest.mark.parametrize("kind", ["arrays", "text", "wrapped", "records", "lines", "columns", "gzip", "short names"])
def test_json(tmp_path: Path, kind: str) -> None:
    arrays = [[int(s) * 1000, *row] for s, row in zip(SECONDS, ROWS, strict=True)]
    names = ("t", "o", "h", "l", "c", "v") if kind == "short names" else ("time", *BARS)
    records = [dict(zip(names, row, strict=True)) for row in arrays]
    text = {
        "arrays": json.dumps(arrays),
        "text": json.dumps([[row[0], *map(str, row[1:])] for row in arrays]),
        "wrapped": json.dumps({"retCode": 0, "result": {"symbol": "BTCUSDT", "list": arrays}, "retExtInfo": {}}),
        "lines": "\n".join(map(json.dumps, records)),
        "columns": json.dumps({name: [record[name] for record in records] for name in names}),
        "gzip": json.dumps(arrays),
    }.get(kind, json.dumps(records))
    path = tmp_path / "bars.json"
    path.write_bytes(gzip.compress(text.encode()) if kind == "gzip" else text.encode())
    assert_same(read_bars(path))


def test_feather(tmp_path: Path) -> None:
    BARS.reset_index().rename(columns={"timestamp": "date"}).to_feather(tmp_path / "BTC_USDT-15m.feather")
    assert_same(read_bars(tmp_path / "BTC_USDT-15m.feather"))


def test_an_index_without_a_name(tmp_path: Path) -> None:
    BARS.rename_axis(None).to_csv(tmp_path / "bars.csv")
    assert_same(read_bars(tmp_path / "bars.csv"))


def test_units_may_change_within_a_file(tmp_path: Path) -> None:
    times = np.where(np.arange(len(BARS)) < 100, SECONDS, SECONDS * 1000)
    path = csv(tmp_path, {"unix": times} | {c: BARS[c].to_numpy() for c in BARS})
    assert_same(read_bars(path))
    assert "100 rows in seconds, 188 rows in milliseconds" in import_bars(path)[1].times


def test_offsets_and_zones(tmp_path: Path) -> None:
    plain = {c: BARS[c].to_numpy() for c in BARS}
    there = BARS.index.tz_convert("Asia/Tokyo")
    assert_same(read_bars(csv(tmp_path, {"time": [t.isoformat() for t in there]} | plain)))
    local = csv(tmp_path, {"time": there.strftime("%Y-%m-%d %H:%M:%S")} | plain)
    assert_same(read_bars(local, time_zone="Asia/Tokyo"))
    with pytest.raises(BarsError, match=r"column 'time'.*does not say that it is UTC.*time_zone="):
        read_bars(local)
    with pytest.raises(BarsError, match=r"time_zone='Mars'"):
        read_bars(local, time_zone="Mars")


def test_days_and_months(tmp_path: Path) -> None:
    daily = random_bars(30).resample("D").first()
    plain = {c: daily[c].to_numpy() for c in daily}
    for form, day_first in (("%d/%m/%Y", True), ("%m/%d/%Y", False)):
        path = csv(tmp_path, {"Date": daily.index.strftime(form)} | plain)
        assert (import_bars(path, time_zone="UTC")[0].index == daily.index).all(), "a 13th settles it"
        short = csv(tmp_path, {"Date": daily.index[:9].strftime(form)} | {c: v[:9] for c, v in plain.items()})
        with pytest.raises(BarsError, match=r"row 0, column 'Date'.*day_first=True or day_first=False"):
            import_bars(short, time_zone="UTC")
        assert (import_bars(short, time_zone="UTC", day_first=day_first)[0].index == daily.index[:9]).all()


@pytest.mark.parametrize("names", [("Volume ETH", "Volume BTC"), ("vol", "amount"), ("volume", "vol")])
def test_two_volumes_are_told_apart_by_the_price_or_not_at_all(tmp_path: Path, names: tuple[str, str]) -> None:
    plain = {"time": SECONDS} | prices("open", "high", "low", "close")
    for base, quote in (names, names[::-1]):
        path = csv(tmp_path, plain | {base: BARS["volume"].to_numpy(), quote: QUOTE.to_numpy()})
        table, report = import_bars(path)
        assert (report.columns["volume"], report.columns["quote_volume"]) == (base, quote)
        assert_same(table)
        assert "is the base volume" in str(report)
    unclear = csv(tmp_path, plain | {names[0]: BARS["volume"].to_numpy(), names[1]: BARS["volume"].to_numpy()[::-1]})
    with pytest.raises(BarsError, match=r"may each be the base volume.*volume="):
        import_bars(unclear)
    assert_same(import_bars(unclear, volume=names[0])[0])


def test_the_symbol_tells_the_volumes(tmp_path: Path) -> None:
    columns = {"time": SECONDS, "symbol": "ETH/BTC"} | prices("open", "high", "low", "close")
    columns |= {"Volume BTC": QUOTE.to_numpy(), "Volume ETH": BARS["volume"].to_numpy()}
    assert_same(read_bars(csv(tmp_path, columns)))


def test_spreadsheets(tmp_path: Path) -> None:
    path, table = tmp_path / "bars.csv", BARS.set_axis(BARS.index.strftime("%m/%d/%Y %I:%M %p"), axis=0)
    for options in ({"sep": ";", "decimal": ","}, {"sep": "\t"}, {"lineterminator": "\r\n"}):
        table.rename_axis("Date").to_csv(path, **options)
        assert_same(read_bars(path, time_zone="UTC", day_first=False))
    table.assign(close=[f"{close:,.2f}" for close in BARS["close"] * 100]).rename_axis("Date").to_csv(path)
    assert import_bars(path, time_zone="UTC", day_first=False)[0]["close"].tolist() == [
        round(close * 100, 2) for close in BARS["close"]
    ]


def test_what_is_not_clear_asks(tmp_path: Path) -> None:
    plain = {c: BARS[c].to_numpy() for c in BARS}
    money = {"time": SECONDS} | prices("open", "high", "low", "close") | {"Volume USDT": QUOTE.to_numpy()}
    numbers = pd.DataFrame({0: SECONDS} | {i: BARS[c].to_numpy() for i, c in enumerate(BARS, 1)})
    for case, message, settled in (
        (money, r"only volume and seems to be in the quote currency.*volume='Volume USDT'", None),
        ({"unix": SECONDS, "date": BARS.index + pd.Timedelta("3h")} | plain, "different times", {"time": "unix"}),
        ({"time": SECONDS, "symbol": ["A", "B"] * 144} | plain, "2 markets", None),
        (numbers[[0, 3, 2, 1, 4, 5]], r"not in the order open, high, low, close.*columns=",
         {"columns": ("time", "low", "high", "open", "close", "volume")}),
        (numbers.assign(x=1), "7 columns without names.*columns=", {"columns": ("time", *BARS, "-")}),
    ):  # fmt: skip
        file = tmp_path / "case.csv"
        pd.DataFrame(case).to_csv(file, index=False, header=isinstance(case, dict))
        with pytest.raises(BarsError, match=message):
            read_bars(file)
        if settled:
            assert_same(read_bars(file, **settled))


def test_columns_may_be_renamed(tmp_path: Path) -> None:
    path = csv(tmp_path, {"wann": SECONDS} | {f"x{i}": BARS[c].to_numpy() for i, c in enumerate(BARS)})
    with pytest.raises(BarsError, match="column 'open' is missing"):
        read_bars(path)
    assert_same(read_bars(path, columns=("time", *BARS)))
    with pytest.raises(BarsError, match="names 5 columns; the file has 6"):
        read_bars(path, columns=tuple(BARS))


def test_swapped_volumes_are_refused(tmp_path: Path) -> None:
    volume, quote = BARS["volume"].to_numpy(copy=True), QUOTE.to_numpy(copy=True)
    volume[50:60], quote[50:60] = quote[50:60].copy(), volume[50:60].copy()
    columns = {"time": SECONDS} | prices("open", "high", "low", "close") | {"volume": volume, "quote_volume": quote}
    with pytest.raises(BarsError, match=r"row 50 \(2021-01-01T12:30:00\+00:00\) and 9 more: volume is in the quote"):
        read_bars(csv(tmp_path, columns))


def test_guesses_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = csv(tmp_path, {"unix": SECONDS} | {c: BARS[c].to_numpy() for c in BARS})
    with caplog.at_level("INFO", logger="cryptoenv.bar_files"):
        read_bars(path)
    assert "timestamp = 'unix'" in caplog.text


@pytest.mark.parametrize(
    ("name", "called"),
    [("BTCUSDT.csv", "BTCUSDT"), ("BTC.USDT-1h.csv.gz", "BTC.USDT-1h"), ("eth.parquet", "eth"), (".csv", ".csv"),
     ("sol", "sol"), ("v1.5 btc.JSON", "v1.5 btc")],
)  # fmt: skip
def test_a_market_made_from_a_file_is_called_by_its_stem(name: str, called: str, tmp_path: Path) -> None:
    assert file_stem(tmp_path / name) == called


def test_a_gzip_of_several_members_and_padding_is_one_file(tmp_path: Path) -> None:
    text = BARS.to_csv().encode()
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(gzip.compress(text[:777]) + bytes(100) + gzip.compress(text[777:]) + bytes(512))
    assert_same(read_bars(path))
    for damaged in (path.read_bytes()[:-600], gzip.compress(text) + b"more", gzip.compress(text)[:-8] + bytes(8)):
        path.write_bytes(damaged)
        with pytest.raises(BarsError, match="damaged"):
            read_bars(path)


def test_cryptocompares_answer(tmp_path: Path) -> None:
    columns = {"time": SECONDS} | {c: BARS[c].to_numpy() for c in ("high", "low", "open")}
    columns |= {"volumefrom": BARS["volume"].to_numpy(), "volumeto": QUOTE.to_numpy()}
    columns["close"] = BARS["close"].to_numpy()
    rows = pd.DataFrame(columns).assign(conversionType="direct", conversionSymbol="").to_dict("records")
    told = {"Response": "Success", "HasWarning": False, "RateLimit": {}, "Data": {"Aggregated": False, "Data": rows}}
    (tmp_path / "bars.json").write_text(json.dumps(told))
    assert_same(read_bars(tmp_path / "bars.json"))


def test_coingeckos_files_are_values_and_no_bars(tmp_path: Path) -> None:
    close = BARS["close"].to_numpy()
    stamps = BARS.index.strftime("%Y-%m-%d %H:%M:%S UTC")
    table = pd.DataFrame({"snapped_at": stamps, "price": close, "market_cap": 2e7 * close, "total_volume": 1e9})
    table.to_csv(tmp_path / "coin.csv", index=False)
    pairs = np.column_stack((1000.0 * SECONDS, close)).tolist()
    answer = {"prices": [*pairs, [pairs[-1][0], 7.0]], "market_caps": pairs[1:], "total_volumes": pairs}
    (tmp_path / "coin.json").write_text(json.dumps(answer))
    from_csv, from_json = (read_values(tmp_path / f"coin.{form}") for form in ("csv", "json"))
    assert list(from_csv["price"]) == list(close)
    assert (from_csv.index == BARS.index).all() and (from_json.index == BARS.index).all()
    assert list(from_json["prices"]) == [*close[:-1], 7.0]  # a moment given twice counts once, as said last
    assert np.isnan(from_json["market_caps"].iloc[0]) and list(from_json["total_volumes"]) == list(close)
    for form in ("csv", "json"):
        with pytest.raises(BarsError, match="a close alone is no bar: it stands beside bars"):
            read_bars(tmp_path / f"coin.{form}")
