from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, validate_bars
from cryptoenv.bars.bars import aggregate, bar_opens_ms, bars_timeframe, fill_gaps
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from tests.naive import aggregation
from tests.naive.random_bars import random_bars


def as_dict(bars: pd.DataFrame) -> dict[int, aggregation.Bar]:
    return dict(zip(bar_opens_ms(bars).tolist(), bars.itertuples(index=False, name=None), strict=True))


def with_gaps(bars: pd.DataFrame, seed: int) -> pd.DataFrame:
    keep = np.random.default_rng(seed).random(len(bars)) > 0.2
    keep[[0, -1]] = True
    return bars[keep]


def test_valid_bars_come_back_in_plain_form() -> None:
    bars = random_bars(2)
    odd = bars.assign(trades=1, volume=bars["volume"].astype("int64"))[["trades", *bars.columns[::-1]]]
    odd.index = odd.index.as_unit("ns").rename("date")
    valid = validate_bars(odd, "15m")
    assert list(valid.columns) == ["open", "high", "low", "close", "volume"]
    assert valid.index.name == "timestamp"
    assert str(valid.index.dtype) == "datetime64[us, UTC]"
    assert (valid.dtypes == np.float64).all()
    valid.iloc[0, 0] = -1.0
    assert bars.iloc[0, 0] > 0.0


def spoil(position: int, **values: float) -> Any:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        for column, value in values.items():
            bars.iloc[position, bars.columns.get_loc(column)] = value
        return bars

    return change


def moved(position: int, minutes: int) -> Any:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        times = bars.index.to_list()
        times[position] += pd.Timedelta(minutes=minutes)
        return bars.set_index(pd.DatetimeIndex(times))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bars: bars.drop(columns="close"), "column 'close' is missing"),
        (lambda bars: pd.concat([bars, bars[["low"]]], axis=1), "column 'low' is there more than once"),
        (lambda bars: bars.astype({"open": str}), "column 'open' holds str"),
        (lambda bars: bars.iloc[:0], "no rows"),
        (lambda bars: bars.to_numpy(), "bars are ndarray"),
        (lambda bars: bars.reset_index(drop=True), "RangeIndex; allowed: a DatetimeIndex in UTC"),
        (lambda bars: bars.tz_localize(None), "no time zone; allowed: UTC"),
        (lambda bars: bars.tz_convert("Europe/Paris"), "is in Europe/Paris; allowed: UTC"),
        (lambda bars: bars.iloc[::-1], "row 1 .* is earlier than the row before"),
        (moved(5, -15), r"row 5 \(2021-01-01T01:00:00\+00:00\) repeats the time of the row before"),
        (moved(5, 2), r"row 5 \(2021-01-01T01:17:00\+00:00\) is off the 15m grid; allowed: opens at whole multiples"),
        (spoil(4, close=np.nan), r"row 4 \(2021-01-01T01:00:00\+00:00\), column 'close' .*nan.*; allowed: finite"),
        (spoil(4, volume=np.inf), "row 4 .*column 'volume' .*allowed: finite"),
        (spoil(3, low=-1.0), "row 3 .*column 'low' .*-1.0.*allowed: prices > 0"),
        (spoil(3, open=0.0), "row 3 .*column 'open' .*allowed: prices > 0"),
        (spoil(3, volume=-1.0), "row 3 .*column 'volume' .*allowed: volume >= 0"),
        (spoil(3, high=1.0), "row 3 .*column 'high' .*allowed: high >= low"),
        (spoil(3, open=1e9), r"row 3 .*column 'open' .*allowed: open within \[low, high\]"),
        (spoil(3, close=1e-9), r"row 3 .*column 'close' .*allowed: close within \[low, high\]"),
    ],
)
def test_bad_bars_are_named(change: Any, message: str) -> None:
    bars = change(random_bars(1))
    with pytest.raises(BarsError, match=message):
        validate_bars(bars, "15m")


def test_missing_time_is_named() -> None:
    bars = random_bars(1)
    times = bars.index.to_list()
    times[3] = pd.NaT
    with pytest.raises(BarsError, match="no time at position 3"):
        validate_bars(bars.set_index(pd.DatetimeIndex(times)), "15m")


def test_weekly_bars_keep_their_venues_day_but_no_bar_opens_on_another() -> None:
    days = random_bars(60, timeframe="1D", start="2024-01-04")
    weeks = days.iloc[::7]  # Thursdays
    assert validate_bars(weeks, bars_timeframe(weeks)).equals(validate_bars(weeks, "1w", 0))
    with pytest.raises(BarsError, match="off the 1w grid; allowed: opens at whole multiples of 1w in UTC, on Mondays"):
        validate_bars(weeks, "1w", 4 * DAY_MS)
    for index in (0, 3):
        times = weeks.index.to_list()
        times[index] += pd.Timedelta("1D")
        with pytest.raises(BarsError, match=rf"row {index} .* is off the 1w grid"):
            validate_bars(weeks.set_axis(pd.DatetimeIndex(times, name="timestamp")), "1w")
    with pytest.raises(BarsError, match="off the 1w grid"):
        validate_bars(weeks.set_axis(weeks.index + pd.Timedelta("5min")), "1w")
    with pytest.raises(BarsError, match="open on a grid of their venue's, the first on Thursday, 2024-01-04"):
        aggregate(weeks, "2w")


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_filled_as_the_naive_oracle_does(seed: int) -> None:
    bars = with_gaps(random_bars(3, seed), seed)
    assert as_dict(fill_gaps(bars)) == aggregation.filled(as_dict(bars), timeframe_ms("15m"))


@pytest.mark.parametrize("timeframe", ["15m", "30m", "1h", "4h", "12h", "1d", "3d", "1w"])
@pytest.mark.parametrize("seed", range(3))
def test_aggregation_equals_the_naive_oracle(timeframe: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bars = with_gaps(random_bars(25, seed, start="2021-01-01 05:45").iloc[: -int(rng.integers(1, 90))], seed)
    step, duration = timeframe_ms("15m"), timeframe_ms(timeframe)
    expected = aggregation.higher(aggregation.filled(as_dict(bars), step), step, duration)
    assert len(expected) >= 2
    assert as_dict(aggregate(bars, timeframe)) == expected


def test_finer_bars_cannot_be_made() -> None:
    with pytest.raises(BarsError, match="5m bars cannot be made of 15m bars; allowed: 15m and whole multiples"):
        aggregate(random_bars(1), "5m")
