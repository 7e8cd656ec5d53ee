"""`clean` on real files: against what is known of the dirty ones, and without a false alarm on the clean ones.

Detectors are checked against plain Python beside.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv import validate_bars
from cryptoenv.bar_files.reading import import_bars
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.cleaning.cleaning import clean
from cryptoenv.cleaning.report import CleaningReport
from tests.naive.random_bars import random_bars

BITSTAMP = "RAW_DIRTY_bitstamp_BTCUSD_1h_2018_2022.csv.gz"
POLONIEX = "RAW_DIRTY_poloniex_ETHUSDT_30m_2015_2017.csv.gz"
# Of each clean file: missing bars, gaps, longest gap, zero-volume bars, bars with |return| > 20%.
CLEAN_FILES = {
    "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz": (304, 2, 288, 14, 0),
    "binance_spot_ETHUSDT_5m_20230101_20240906.csv.gz": (304, 2, 288, 14, 0),
    "binance_spot_SOLUSDT_5m_2024.csv.gz": (0, 0, 0, 0, 0),
    "binance_spot_PEPEUSDT_5m_2024.csv.gz": (0, 0, 0, 0, 0),
    "binance_spot_PEOPLEUSDT_5m_2024.csv.gz": (0, 0, 0, 3, 5),
    "binance_spot_AMPUSDT_5m_2024.csv.gz": (0, 0, 0, 121, 3),
    "binance_spot_BTCUSDT_1h_2017_2024.csv.gz": (128, 28, 33, 4, 0),
    "binance_spot_ETHUSDT_1h_2022_2024.csv.gz": (1, 1, 1, 1, 0),
    "binance_spot_BTCUSDT_1d_to_20241229.csv.gz": (0, 0, 0, 0, 2),
    "binance_spot_ETHUSDT_1d_to_20241229.csv.gz": (0, 0, 0, 0, 9),
    "binance_spot_DOGEUSDT_1d_to_20241229.csv.gz": (0, 0, 0, 0, 40),
    "binance_spot_XRPUSDT_1d_to_20241229.csv.gz": (0, 0, 0, 0, 25),
    "binance_perp_ETCUSDT_1m_202505.csv.gz": (0, 0, 0, 0, 0),
}


def rows(report: CleaningReport, kind: str) -> int:
    return int(report.of(kind)["rows"].sum())


def naive_runs(times: list[int], flags: list[bool]) -> list[tuple[int, int, int]]:
    """First time, last time and length of each run of True."""
    runs: list[tuple[int, int, int]] = []
    inside = False
    for time, flag in zip(times, flags, strict=True):
        if flag and inside:
            first, _, count = runs.pop()
            runs.append((first, time, count + 1))
        elif flag:
            runs.append((time, time, 1))
        inside = flag
    return runs


def naive_gaps(times: list[int], step: int) -> list[tuple[int, int, int]]:
    """First and last missing time and number of bars missing."""
    return [
        (before + step, after - step, (after - before) // step - 1)
        for before, after in pairwise(times)
        if after - before > step
    ]


def naive_flash(bars: pd.DataFrame, factor: float) -> list[int]:
    """Positions of bars beyond `factor` times the opens and closes around."""
    found = []
    table = bars[["open", "high", "low", "close"]].to_numpy().tolist()
    for i, (opened, high, low, closed) in enumerate(table):
        around = [opened, closed]
        if i > 0:
            around.append(table[i - 1][3])
        if i + 1 < len(table):
            around.append(table[i + 1][0])
        if high / max(around) > factor or min(around) / low > factor:
            found.append(i)
    return found


def found_runs(report: CleaningReport, kind: str) -> list[tuple[int, int, int]]:
    table = report.of(kind)
    first, last = (pd.DatetimeIndex(table[c]).as_unit("ms").asi8.tolist() for c in ("first", "last"))
    return list(zip(first, last, table["rows"].tolist(), strict=True))


def check_against_naive(bars: pd.DataFrame) -> CleaningReport:
    """Gaps, zero-volume runs and flash bars of sorted bars, by `clean` and by plain Python."""
    _, report = clean(bars)
    times = pd.DatetimeIndex(bars.index).as_unit("ms").asi8.tolist()
    step = timeframe_ms(report.timeframe)
    assert found_runs(report, "gap") == naive_gaps(times, step)
    assert found_runs(report, "zero volume") == naive_runs(times, [v == 0.0 for v in bars["volume"].tolist()])
    factor = 1.3 ** max(1.0, step / 3_600_000) ** 0.5
    flash = pd.DatetimeIndex(report.of("flash bar")["first"])
    assert bars.index.get_indexer(flash).tolist() == naive_flash(bars, factor)
    return report


@pytest.mark.parametrize("seed", range(5))
def test_detectors_equal_plain_python(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = random_bars(20, seed=seed)
    bars.loc[rng.random(len(bars)) < 0.3, "volume"] = 0.0
    bars.loc[rng.random(len(bars)) < 0.02, "low"] *= 0.7
    bars.loc[rng.random(len(bars)) < 0.02, "high"] *= 1.35
    report = check_against_naive(bars[rng.random(len(bars)) > 0.2])
    assert min(len(report.of(kind)) for kind in ("gap", "zero volume", "flash bar")) > 10


@pytest.mark.parametrize("name", CLEAN_FILES)
def test_no_false_alarm(real_data: Path, name: str) -> None:
    bars, _ = import_bars(real_data / name)
    cleaned, report = clean(bars)
    assert report.alarms.empty
    assert set(report.table["action"]) <= {"noted"}
    gaps = report.of("gap")["rows"]
    found = (rows(report, "gap"), len(gaps), int(gaps.max()) if len(gaps) else 0)
    assert (*found, rows(report, "zero volume"), rows(report, "large return")) == CLEAN_FILES[name]
    assert len(report.unusable) == 0
    pd.testing.assert_frame_equal(cleaned, bars, check_exact=True)
    if len(bars) < 60_000:
        check_against_naive(bars)


def test_bitstamp(real_data: Path) -> None:
    bars, imported = import_bars(real_data / BITSTAMP)
    assert imported.columns["quote_volume"] == "Volume USD"
    cleaned, report = clean(bars)
    assert rows(report, "disorder") == 33_258
    swapped = report.of("swapped volumes")
    assert rows(report, "swapped volumes") == 20_143
    assert (str(swapped["first"].min()), str(swapped["last"].max())) == (
        "2018-05-15 06:00:00+00:00", "2020-10-12 08:00:00+00:00",
    )  # fmt: skip
    assert rows(report, "zero volume") == 5
    assert report.alarms.empty
    assert len(validate_bars(cleaned, "1h")) == 33_259
    naive = [
        (quote, volume) if volume > 0.0 and not low * 0.999 <= quote / volume <= high * 1.001 else (volume, quote)
        for volume, quote, low, high in bars[["volume", "quote_volume", "low", "high"]].to_numpy()[::-1].tolist()
    ]
    assert cleaned["volume"].tolist() == [volume for volume, _ in naive]
    medians = cleaned["volume"].resample("YS").median()
    assert 50.0 < medians.min() < medians.max() < 300.0, "coins all along"


def test_bitstamp_without_its_quote_volume(real_data: Path) -> None:
    """Without the witness nothing can be proved, but the unit of the volume is seen to change on the known day."""
    bars = import_bars(real_data / BITSTAMP)[0].drop(columns="quote_volume")
    cleaned, report = clean(bars)
    units = report.of("volume unit")
    assert set(units["action"]) == {"kept"}
    assert (pd.DatetimeIndex(units["first"]) - pd.Timestamp("2020-10-12 09:00", tz="UTC")).to_series().abs().min() <= (
        pd.Timedelta("3h")
    )
    pd.testing.assert_series_equal(cleaned["volume"], bars["volume"][::-1], check_freq=False)


def test_poloniex(real_data: Path) -> None:
    bars, _ = import_bars(real_data / POLONIEX)
    cleaned, report = clean(bars)
    # All of the volume was in USDT: 33,876 bars less 7,463 without a trade. At a price of 1 both volumes are the same.
    assert (bars["volume"] == 0.0).sum() == 7_463
    same = (bars["volume"] == bars["quote_volume"]) & (bars["volume"] > 0.0)
    assert same.sum() == 3
    assert rows(report, "swapped volumes") == 33_876 - 7_463 - 3
    np.testing.assert_array_equal(cleaned["volume"], bars["quote_volume"])
    # In three of them so little was traded that the file rounds the coins to 0.
    assert rows(report, "zero volume") == 7_463 + 3
    # 13 bars with high / low > 1.3, of which five spring back at once.
    assert rows(report, "wide bar") == 13
    flash = pd.DatetimeIndex(report.of("flash bar")["first"])
    assert len(flash) == 5
    assert pd.Timestamp("2015-12-22 09:00", tz="UTC") in flash
    assert rows(report, "large return") == 33
    # Not known before: the money volume is cut off at a million.
    assert rows(report, "capped volume") == 257
    assert len(validate_bars(cleaned, "30m")) == 33_876
