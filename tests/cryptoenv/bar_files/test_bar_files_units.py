"""What a file states is used or refused, never guessed over: units of volumes, names of columns, marks, times."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from cryptoenv import BarsError, import_bars, read_bars
from tests.naive.random_bars import random_bars

BARS = random_bars(1).round(2)
COINS = BARS["volume"]
MONEY = (COINS * (BARS["high"] + BARS["low"]) / 2).round(2)
ROWS = BARS.to_csv(header=False)


def read(folder: Path, text: str, **options: object) -> pd.DataFrame:
    path = folder / "bars.csv"
    path.write_text(text, encoding="utf-8")
    return read_bars(path, **options)


def with_volumes(**volumes: pd.Series) -> str:
    return BARS.drop(columns="volume").assign(**volumes).to_csv()


CONTRACTS = (COINS * 100).round(1)


@pytest.mark.parametrize(
    "volumes",
    [
        {"vol": CONTRACTS, "vol_ccy": COINS, "vol_quote": MONEY},  # OKX, a swap
        {"vol": COINS, "vol_ccy": MONEY, "vol_quote": MONEY},  # OKX, spot
        {"vol": CONTRACTS, "volCcy": COINS, "volCcyQuote": MONEY},
        {"volume": CONTRACTS, "homeNotional": COINS, "foreignNotional": MONEY},  # BitMEX
        {"vol": CONTRACTS, "amount": COINS, "trade_turnover": MONEY},  # HTX
        {"baseVol": COINS, "usdtVol": MONEY},  # Bitget
        {"baseVolume": COINS, "quoteVolume": MONEY, "usdtVolume": MONEY},
        {"volume": COINS, "turnover": MONEY},  # Bybit, KuCoin
        {"baseTokenVolume": COINS, "usdVolume": MONEY},  # dYdX
    ],
)  # fmt: skip
def test_coins_are_found_by_name_or_by_the_price(tmp_path: Path, volumes: dict[str, pd.Series]) -> None:
    assert read(tmp_path, with_volumes(**volumes))["volume"].tolist() == COINS.tolist()


@pytest.mark.parametrize(
    "volumes",
    [
        {"volume": CONTRACTS, "turnover": MONEY},  # KuCoin futures
        {"volume": CONTRACTS, "sum": MONEY},  # Gate futures
        {"volume": (MONEY / 100).round(), "quote_volume": COINS},  # Binance COIN-M: contracts of 100 USD, and coins
        {"vol": COINS * 1000, "vol_ccy": COINS},
    ],
)
def test_contracts_are_refused_until_the_coins_are_named(tmp_path: Path, volumes: dict[str, pd.Series]) -> None:
    text = with_volumes(**volumes)
    with pytest.raises(BarsError, match=r"fit the price in no row.* such as contracts; .*volume="):
        read(tmp_path, text)
    coins = next((name for name, values in volumes.items() if values is COINS), None)
    if coins:
        assert read(tmp_path, text, volume=coins)["volume"].tolist() == COINS.tolist()


YAHOO = BARS[["close", "high", "low", "open", "volume"]].rename(columns=str.capitalize)
NAMES = "timestamp,Close,High,Low,Open,Volume"


@pytest.mark.parametrize(
    "text",
    [
        YAHOO.to_csv(index_label=False),
        NAMES + "\n" + YAHOO.to_csv(header=False).replace("\n", ",\n"),
        NAMES + ",\n" + YAHOO.to_csv(header=False),
        NAMES + ",\n" + YAHOO.to_csv(header=False).replace("\n", ",\n"),
        YAHOO.reset_index().set_axis(range(1, len(YAHOO) + 1)).to_csv(index_label=False),  # R's row.names
        YAHOO.to_csv(index_label=False, sep=";"),
        YAHOO.to_csv(index_label=False, sep="\t").replace("\n", "\r\n"),
        "# from a site\n" + YAHOO.to_csv(index_label=False),
    ],
)
def test_names_of_another_width_are_used(tmp_path: Path, text: str) -> None:
    pd.testing.assert_frame_equal(read(tmp_path, text), BARS, check_freq=False, check_index_type=False)


@pytest.mark.parametrize(
    "names", [NAMES + ",Trades", NAMES + ",Trades,Taker", "Close,High,Low,Open", "timestamp,High,Close,Open,Low"]
)
def test_names_that_do_not_fit_are_refused(tmp_path: Path, names: str) -> None:
    with pytest.raises(BarsError, match=r"line 1 names \d columns, the rows below it have 6 fields.*columns="):
        read(tmp_path, names + "\n" + YAHOO.to_csv(header=False))
    named = read(tmp_path, names + "\n" + YAHOO.to_csv(header=False), columns=NAMES.lower().split(","))
    assert named["open"].tolist() == BARS["open"].tolist()


def test_open_against_the_close_before_tells_them_apart(tmp_path: Path) -> None:
    swapped = BARS[["close", "high", "low", "open", "volume"]].to_csv(header=False)
    for text in (swapped, "\n".join(swapped.splitlines()[::-1]), "timestamp,open,high,low,close,volume\n" + swapped):
        with pytest.raises(BarsError, match="in each other's place"):
            read(tmp_path, text)


def spelled(value: float, decimal: str, thousands: str) -> str:
    return f"{value:,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)


@pytest.mark.parametrize(
    ("decimal", "thousands"), [(",", "."), (",", " "), (",", "\u00a0"), (",", "\u202f"), (".", "'"), (".", "’"),
                               (".", ","), (",", "'"), (",", "")],
)  # fmt: skip
def test_marks_of_numbers(tmp_path: Path, decimal: str, thousands: str) -> None:
    dear = BARS.assign(**{c: BARS[c] * 1000 for c in BARS if c != "volume"}).round(2)
    text = dear.map(lambda value: spelled(value, decimal, thousands)).to_csv(sep=";")
    pd.testing.assert_frame_equal(read(tmp_path, text), dear, check_freq=False, check_index_type=False)
    whole = (
        dear.round()
        .astype("int64")
        .assign(open=dear["open"], close=dear["close"], volume=[1000 + i for i in range(96)])
    )
    whole["high"], whole["low"] = dear["high"] + 1, dear["low"] - 1
    mixed = whole.drop(columns="volume").map(lambda value: spelled(value, decimal, ""))
    mixed["volume"] = [f"{v:,}".replace(",", thousands) for v in whole["volume"]]
    assert read(tmp_path, mixed.to_csv(sep=";"))["volume"].tolist() == whole["volume"].tolist()


def test_marks_that_may_be_two_things_ask(tmp_path: Path) -> None:
    small = BARS.assign(volume=1.25)
    text = small.map(lambda value: f"{value:.3f}".replace(".", ",")).to_csv(sep=";")
    with pytest.raises(BarsError, match=r"may be read in two ways; .*decimal=.*thousands="):
        read(tmp_path, text)
    assert read(tmp_path, text, decimal=",")["volume"].tolist() == [1.25] * 96
    assert read(tmp_path, text, thousands=",")["volume"].tolist() == [1250.0] * 96
    with pytest.raises(BarsError, match=r'decimal is ";"|allowed: "."'):
        read(tmp_path, text, decimal=";")


@pytest.mark.parametrize("date", ["%Y-%m-%d", "%Y.%m.%d", "%Y%m%d", "%d/%m/%Y", "%d.%m.%Y"])
@pytest.mark.parametrize("clock", ["%H:%M:%S", "%H:%M", "%H%M%S", "%H%M"])
def test_date_and_time_in_two_columns(tmp_path: Path, date: str, clock: str) -> None:
    bars = random_bars(20)
    table = bars.assign(**{"<DATE>": bars.index.strftime(date), "<TIME>": bars.index.strftime(clock)})
    text = table.reset_index(drop=True).to_csv(index=False)
    got = read(tmp_path, text, time=("<DATE>", "<TIME>"), time_zone="UTC")
    pd.testing.assert_frame_equal(got, bars, check_freq=False, check_index_type=False)
    with pytest.raises(BarsError, match=r"time=\('<DATE>', '<TIME>'\)"):
        read(tmp_path, text, time_zone="UTC")


def test_close_stamped_files_are_called_that(tmp_path: Path) -> None:
    closes = BARS.set_axis((BARS.index + pd.Timedelta("15min") - pd.Timedelta("1ms")).as_unit("ms").asi8, axis=0)
    with pytest.raises(BarsError, match="times of the bars' CLOSE"):
        read(tmp_path, closes.rename_axis("time").to_csv())


def packed(kind: str, folder: Path, size: int) -> Path:
    path, zeros = folder / kind, pa.table({"timestamp": pa.array(np.zeros(size // 8))})
    text = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array(np.zeros(size // 10**6, np.int32)), ["x" * 10**6])})
    if kind == "gz":
        path.write_bytes(gzip.compress(b"0" * size))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bars.csv", b"0" * size)
    elif kind.startswith("parquet"):
        parquet.write_table(zeros if kind == "parquet" else text, path, compression="zstd")
    else:
        feather.write_feather(zeros if kind == "feather" else text, path, compression="zstd")
    return path


@pytest.mark.parametrize("kind", ["gz", "zip", "parquet", "parquet text", "feather", "feather text"])
def test_what_a_file_unpacks_to_is_bounded(tmp_path: Path, kind: str) -> None:
    path = packed(kind, tmp_path, 40_000_000)
    assert path.stat().st_size < 2_000_000
    with pytest.raises(BarsError, match="unpacks to more than 20,000,000 bytes; allow more with max_unpacked="):
        import_bars(path, max_unpacked=20_000_000)
    with pytest.raises(BarsError, match=r"missing|not a table"):
        import_bars(path, max_unpacked=60_000_000)


def test_encrypted_and_damaged_archives(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bars.csv", BARS.to_csv())
    content = bytearray(buffer.getvalue())
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BarsError, match="the zip is encrypted"):
        read_bars(tmp_path / "a.zip")


@pytest.mark.parametrize("kind", ["gz", "zip", "parquet", "feather", "json"])
def test_damaged_files_are_one_clear_error(tmp_path: Path, kind: str) -> None:
    buffer, path, few = io.BytesIO(), tmp_path / "bars", BARS.iloc[:20].reset_index()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bars.csv", few.to_csv(index=False))
    elif kind == "feather":
        few.to_feather(buffer)
    whole = {
        "gz": lambda: gzip.compress(few.to_csv(index=False).encode()), "zip": buffer.getvalue,
        "parquet": few.to_parquet, "feather": buffer.getvalue,
        "json": lambda: few.to_json(orient="records", date_format="iso").encode(),
    }[kind]()  # fmt: skip
    damaged = [whole[:size] for size in range(1, len(whole), len(whole) // 40)]
    for position in range(0, len(whole), len(whole) // 120):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x5A]) + whole[position + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            import_bars(path)
        except BarsError as error:
            refused += 1
            assert str(error).startswith(str(path))
            assert "\n" not in str(error)
    assert refused > 40
