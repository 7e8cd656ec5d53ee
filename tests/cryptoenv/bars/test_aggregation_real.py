"""5m bars aggregated to 1h against 1h bars of the same market from another source: every common hour, exactly.

Prices are copies and compare as they are. A sum of twelve volumes in floating point is not exactly the decimal sum, so
volumes are proved twice: the decimals in the files, as whole numbers, add up exactly; and `aggregate`'s float, rounded
to the decimals of the files, is the float of that very decimal.
"""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.bars import aggregate

HOUR_MS, FIVE_MS = 3_600_000, 300_000
DECIMALS = 6
FILES = {
    "BTC": ("binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz", "binance_spot_BTCUSDT_1h_2017_2024.csv.gz"),
    "ETH": ("binance_spot_ETHUSDT_5m_20230101_20240906.csv.gz", "binance_spot_ETHUSDT_1h_2022_2024.csv.gz"),
}
# Hours that both files hold: 2023-12-31 and the outage of 2023-03-24 (13:00) are in one of them only.
COMMON_HOURS = {"BTC": 11_414, "ETH": 14_715}


def volumes(path: Path) -> dict[int, int]:
    """Volume by open (ms), in units of 1e-6 coin, from the text of the file: no float in between."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        names = next(file).strip().split(",")
        rows = [line.strip().split(",") for line in file]
    opens = pd.to_datetime([row[0] for row in rows], utc=True).as_unit("ms").asi8
    parts = [row[names.index("volume")].partition(".") for row in rows]
    assert all(len(decimals) <= DECIMALS for _, _, decimals in parts)
    millionths = [int(whole + decimals.ljust(DECIMALS, "0")) for whole, _, decimals in parts]
    return dict(zip(opens.tolist(), millionths, strict=True))


@pytest.mark.parametrize("coin", ["BTC", "ETH"])
def test_five_minutes_make_the_hours_of_another_source(real_data: Path, coin: str) -> None:
    fine_file, hourly_file = (real_data / name for name in FILES[coin])
    fine, hourly = read_bars(fine_file), read_bars(hourly_file)
    made = aggregate(fine, "1h")
    # Hours of which the fine file holds at least one bar: the day that it lacks was filled, not aggregated.
    covered = fine.index.floor("h").unique()
    common = made.index.intersection(hourly.index).intersection(covered)
    assert len(common) == COMMON_HOURS[coin]
    ours, theirs = made.loc[common], hourly.loc[common]
    prices = ["open", "high", "low", "close"]
    pd.testing.assert_frame_equal(ours[prices], theirs[prices], check_exact=True, check_freq=False)
    np.testing.assert_array_equal(ours["volume"].round(DECIMALS), theirs["volume"])
    exact_fine, exact_hourly = volumes(fine_file), volumes(hourly_file)
    for hour in common.as_unit("ms").asi8.tolist():
        total = sum(exact_fine.get(hour + k * FIVE_MS, 0) for k in range(12))
        assert total == exact_hourly[hour], pd.Timestamp(hour, unit="ms")


def test_one_wrong_bar_would_be_found(real_data: Path) -> None:
    fine = read_bars(real_data / FILES["BTC"][0]).iloc[:288].copy()
    hourly = aggregate(fine, "1h")
    for column in ("high", "low", "close", "volume"):
        wrong = fine.copy()
        wrong.loc[fine.index[143], column] *= {"high": 1.5, "low": 0.5}.get(column, 1.0 + 1e-9)
        if column == "close":
            wrong.loc[fine.index[143], "high"] *= 2.0
        assert not aggregate(wrong, "1h").equals(hourly)
