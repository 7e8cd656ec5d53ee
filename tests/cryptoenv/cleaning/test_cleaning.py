"""`clean`: planted faults are found, what is certain is repaired to the very bars as they were, nothing else."""

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market, validate_bars
from cryptoenv.cleaning.cleaning import clean
from tests.naive.random_bars import random_bars

BARS = random_bars(8, seed=11)
# A volume-weighted price within each bar's range, as exchanges have it.
QUOTED = BARS.assign(quote_volume=BARS["volume"] * (0.3 * BARS["low"] + 0.7 * BARS["high"]))


def kinds(report: object) -> dict[str, int]:
    return report.table.groupby("kind")["rows"].sum().to_dict()  # type: ignore[attr-defined]


def equal(bars: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(bars, expected, check_freq=False, check_index_type=False, check_exact=True)


@pytest.mark.parametrize("bars", [BARS, QUOTED], ids=["plain", "with quote volume"])
def test_clean_bars_are_left_alone(bars: pd.DataFrame) -> None:
    before = bars.copy()
    cleaned, report = clean(bars)
    equal(cleaned, BARS)
    assert report.table.empty
    assert "nothing to report" in str(report)
    pd.testing.assert_frame_equal(bars, before)


def test_order_and_repetitions() -> None:
    rng = np.random.default_rng(5)
    rows = np.concatenate([rng.permutation(len(BARS)), rng.integers(0, len(BARS), 40)])
    cleaned, report = clean(BARS.iloc[rows])
    equal(cleaned, BARS)
    assert kinds(report)["duplicate"] == 40
    assert kinds(report)["disorder"] == int((np.diff(rows) < 0).sum())
    assert (report.rows_in, report.rows_out) == (len(BARS) + 40, len(BARS))
    equal(clean(BARS[::-1])[0], BARS)
    assert clean(BARS[::-1])[1].table["detail"].tolist() == ["newest first"]


def test_rows_of_one_time_that_differ_are_both_kept() -> None:
    other = BARS.iloc[[100]] * 1.001
    cleaned, report = clean(pd.concat([BARS, other]))
    assert len(cleaned) == len(BARS) + 1
    assert report.alarms["kind"].tolist() == ["conflicting duplicate"]
    assert list(report.unusable) == [BARS.index[100]] * 2
    equal(cleaned.drop(report.unusable), BARS.drop(BARS.index[100]))
    assert "2 row(s) cannot be used" in str(report)


def test_gaps_and_bars_without_trades() -> None:
    holes = BARS.drop(BARS.index[[5, 6, 7, 300]])
    holes.loc[BARS.index[400:403], "volume"] = 0.0
    cleaned, report = clean(holes)
    equal(cleaned, holes)
    assert report.of("gap")[["first", "last", "rows"]].to_numpy().tolist() == [
        [BARS.index[5], BARS.index[7], 3], [BARS.index[300], BARS.index[300], 1],
    ]  # fmt: skip
    assert report.of("zero volume")[["first", "last", "rows"]].to_numpy().tolist() == [
        [BARS.index[400], BARS.index[402], 3]
    ]
    assert report.alarms.empty


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_times_read_in_the_wrong_unit(unit: str) -> None:
    numbers = BARS.index.as_unit(unit).asi8
    wrong = BARS.set_axis(pd.to_datetime(numbers, utc=True), axis=0)  # as pandas does without unit=
    assert wrong.index[0].year == 1970
    cleaned, report = clean(wrong)
    equal(cleaned, BARS)
    assert kinds(report) == {"time unit": len(BARS)}
    mixed = pd.concat([wrong.iloc[:50], BARS.iloc[50:]])
    equal(clean(mixed)[0], BARS)


def test_swapped_stretches_are_put_right() -> None:
    swapped = QUOTED.copy()
    rows = np.r_[40:90, 200:201, 500:640]
    swapped.iloc[rows, 4:6] = QUOTED.iloc[rows, [5, 4]].to_numpy()
    swapped.iloc[60, 4:6] = 0.0
    cleaned, report = clean(swapped)
    expected = BARS.copy()
    expected.iloc[60, 4] = 0.0
    equal(cleaned, expected)
    found = report.of("swapped volumes")
    assert found["rows"].tolist() == [49, 1, 140]
    assert found["action"].unique().tolist() == ["swapped back"]
    assert report.alarms.empty


def test_nothing_is_swapped_where_the_price_proves_nothing() -> None:
    near_one = BARS.copy()
    near_one[["open", "high", "low", "close"]] /= BARS["close"].mean()
    near_one["low"], near_one["high"] = 0.5, 2.0
    near_one["quote_volume"] = near_one["volume"] * 1.1
    given = near_one.rename(columns={"volume": "quote_volume", "quote_volume": "volume"})[list(near_one)]
    cleaned, report = clean(given)
    equal(cleaned, given.drop(columns="quote_volume"))
    assert "swapped volumes" not in kinds(report)


def test_volumes_that_fit_in_no_way_are_kept_and_named() -> None:
    wrong = QUOTED.copy()
    wrong.iloc[[10, 11, 50], 4] *= 3.0
    wrong.iloc[300:320, 5] = 123.456
    cleaned, report = clean(wrong)
    equal(cleaned, wrong.drop(columns="quote_volume"))
    assert report.of("volume mismatch")["rows"].tolist() == [2, 1]
    assert report.of("capped volume")["rows"].tolist() == [20]
    assert report.of("capped volume")["detail"].item() == "quote_volume is 123.456 in each: cut off there"


def test_a_volume_that_changes_its_unit_without_a_witness() -> None:
    bars = random_bars(40, seed=2)
    changed = bars.copy()
    changed.iloc[2000:, 4] *= bars["close"].iloc[2000:]
    cleaned, report = clean(changed)
    equal(cleaned, changed)
    assert report.alarms["kind"].tolist() == ["volume unit"]
    assert abs(report.alarms["first"].item() - bars.index[2000]) <= pd.Timedelta("3h")
    assert clean(bars)[1].alarms.empty


@pytest.mark.parametrize("power", [3, -2])
def test_prices_in_another_unit(power: int) -> None:
    bars = QUOTED.round(2)
    bars["quote_volume"] = bars["volume"] * (bars["low"] + bars["high"]) / 2
    wrong = bars.copy()
    wrong.iloc[100:160, :4] = (bars.iloc[100:160, :4] * 10.0**power).round(6)
    cleaned, report = clean(wrong)
    pd.testing.assert_frame_equal(
        cleaned, bars.drop(columns="quote_volume"), check_freq=False, check_index_type=False, check_exact=power > 0
    )
    assert report.of("price unit")[["rows", "action"]].to_numpy().tolist() == [[60, "rescaled"]]
    without = wrong.drop(columns="quote_volume")
    cleaned, report = clean(without)
    equal(cleaned, without)
    assert report.of("price unit")[["rows", "action"]].to_numpy().tolist() == [[60, "kept"]]


def test_flash_bars_are_kept() -> None:
    wrong = BARS.copy()
    wrong.iloc[77, 2] *= 0.01
    wrong.iloc[99, 1] *= 1.5
    cleaned, report = clean(wrong)
    equal(cleaned, wrong)
    assert report.of("flash bar")["first"].tolist() == [BARS.index[77], BARS.index[99]]
    crash = BARS.copy()
    crash.iloc[50, 2:4] *= 0.6
    crash.iloc[51:, :4] *= 0.6
    crash = crash.assign(low=crash.min(axis=1).clip(upper=crash["low"]))
    kinds_found = kinds(clean(crash)[1])
    assert "flash bar" not in kinds_found, "a price that stays there is no flash"
    assert kinds_found["large return"] == 1


def test_rows_that_are_no_bars() -> None:
    wrong = BARS.copy()
    wrong.iloc[3, :4] = np.nan
    wrong.iloc[10, 1] = np.nan
    wrong.iloc[20, 3] = -1.0
    wrong.iloc[30, 4] = -1.0
    wrong.iloc[40, [1, 2]] = wrong.iloc[40, [2, 1]].to_numpy()
    off = BARS.iloc[[50]].set_axis(BARS.index[[50]] + pd.Timedelta("1min"), axis=0)
    cleaned, report = clean(pd.concat([wrong, off]))
    found = kinds(report)
    assert found == dict.fromkeys(
        ("disorder", "empty row", "not a number", "price not positive", "negative volume", "high or low inconsistent",
         "off grid", "gap"), 1,
    )  # fmt: skip
    assert len(report.unusable) == 5
    usable = cleaned.drop(report.unusable)
    equal(validate_bars(usable, "15m"), usable)
    assert len(usable) == len(BARS) - 5
    assert len(Market.from_bars(usable)) == len(BARS)


def test_further_columns_are_carried_along() -> None:
    more = QUOTED.assign(mood=np.arange(len(BARS), dtype=float), note="x")
    cleaned, report = clean(more[::-1])
    assert cleaned.columns.tolist() == [*BARS.columns, "mood", "note"]
    assert cleaned["mood"].tolist() == list(range(len(BARS)))
    assert report.table["kind"].tolist() == ["disorder"]


def test_what_is_no_bars_at_all() -> None:
    for bars, message in (
        ([1, 2], "bars are list"),
        (BARS.iloc[:0], "no rows"),
        (BARS.iloc[:1], "at least 2 are needed.*timeframe="),
        (BARS.drop(columns="low"), "column 'low' is not there once"),
        (BARS.tz_localize(None), "no time zone"),
        (
            BARS.astype({"high": object}).replace({"high": {BARS["high"].iloc[7]: "dear"}}),
            "row 7, column 'high': 'dear'",
        ),
    ):
        with pytest.raises(BarsError, match=message):
            clean(bars)
    assert len(clean(BARS.iloc[:1], "15m")[0]) == 1
