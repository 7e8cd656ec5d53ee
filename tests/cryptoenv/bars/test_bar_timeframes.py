"""Which timeframe bars are of: sparse ones, two in one table, times of the close; frames as people have."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market, clean, read_bars
from cryptoenv.bars.bars import aggregate, bars_timeframe, validate_bars
from tests.naive.random_bars import random_bars

MINUTES = random_bars(4, timeframe="1min")
QUARTERS = random_bars(40)


def sparse(share: float, seed: int, step: str = "1min") -> pd.DataFrame:
    bars = random_bars(6000 * pd.Timedelta(step) / pd.Timedelta("1D"), timeframe=step)
    kept = np.random.default_rng(seed).random(len(bars)) < share
    kept[0] = True
    return bars[kept]


@pytest.mark.parametrize("share", [0.06, 0.1, 0.3, 0.6])
@pytest.mark.parametrize(("step", "name"), [("1min", "1m"), ("5min", "5m"), ("1h", "1h")])
def test_bars_without_trades_may_be_left_out(share: float, step: str, name: str) -> None:
    for seed in range(4):
        bars = sparse(share, seed, step)
        assert bars_timeframe(bars) == name
        report = clean(bars)[1]
        assert report.unusable.empty
        assert report.alarms.empty
    assert Market.from_bars(bars, (name,)).timeframes == (name,)


def test_sparse_bars_are_the_dense_ones_with_flat_bars_between() -> None:
    bars = sparse(0.1, 0)
    market = Market.from_bars(bars, ("1m", "15m"))
    np.testing.assert_array_equal(market.bars.loc[bars.index].to_numpy(), bars.to_numpy())
    assert (market.bars["volume"] > 0.0).sum() == len(bars)


@pytest.mark.parametrize("row", [0, 1, 57, 200])
def test_one_wrong_time_among_sparse_bars_is_named(row: int) -> None:
    bars = sparse(0.1, 3)
    times = bars.index.to_list()
    times[row] += pd.Timedelta("17s")
    wrong = bars.set_axis(pd.DatetimeIndex(times), axis=0)
    with pytest.raises(BarsError, match=rf"row {row} \(.*:17\+00:00\) is off the 1m grid"):
        Market.from_bars(wrong, ("1m",))
    assert clean(wrong)[1].unusable.tolist() == [times[row]]


def test_the_timeframe_may_be_said() -> None:
    few = MINUTES.iloc[::20]
    assert bars_timeframe(few, "1m") == "1m"
    market = Market.from_bars(few, ("1m",), timeframe="1m")
    assert len(market) == 20 * (len(few) - 1) + 1


PAIRS = [("15min", "1h"), ("15min", "30min"), ("1min", "5min"), ("1h", "1D"), ("1h", "4h"), ("5min", "15min")]


@pytest.mark.parametrize(("fine", "coarse"), PAIRS)
@pytest.mark.parametrize(
    ("order", "rows"), list(itertools.product(["coarse first", "fine first", "between"], [24, 200]))
)
def test_two_timeframes_in_one_table_are_refused(fine: str, coarse: str, order: str, rows: int) -> None:
    ratio = pd.Timedelta(coarse) // pd.Timedelta(fine)
    all_fine = random_bars((rows * ratio + 1200) * pd.Timedelta(fine) / pd.Timedelta("1D"), timeframe=fine)
    name = coarse.replace("min", "m").replace("D", "d")
    long = aggregate(all_fine, name)
    start = {"coarse first": 0, "fine first": len(long) - rows, "between": (len(long) - rows) // 2}[order]
    part = long.iloc[start : start + rows]
    inside = (all_fine.index >= part.index[0]) & (all_fine.index < part.index[-1] + pd.Timedelta(coarse))
    mixed = pd.concat([part, all_fine[~inside]]).sort_index()
    with pytest.raises(BarsError, match=f"two timeframes, .* they are {name} apart, elsewhere"):
        Market.from_bars(mixed, ("1d",))
    report = clean(mixed)[1]
    assert report.of("two timeframes")["action"].tolist() == ["kept"]


def test_some_daily_rows_among_hourly_ones_are_refused() -> None:
    hourly = random_bars(60, timeframe="1h")
    mixed = pd.concat([aggregate(hourly.iloc[: 24 * 6], "1d"), hourly.iloc[24 * 6 :]])
    with pytest.raises(BarsError, match="1d apart, elsewhere 1h"):
        bars_timeframe(mixed)
    with pytest.raises(BarsError, match="repeats the time"):
        bars_timeframe(pd.concat([aggregate(hourly, "1d"), hourly]).sort_index())


def test_bars_of_a_clock_with_summer_time_are_refused() -> None:
    local = pd.date_range("2021-01-01", "2021-12-31", freq="4h").tz_localize("Europe/Berlin", nonexistent="NaT")
    index = local[local.notna()].tz_convert("UTC")
    bars = random_bars(len(index) / 6, timeframe="4h").iloc[: len(index)].set_axis(index, axis=0)
    with pytest.raises(BarsError, match="4h apart"):
        bars_timeframe(bars)


@pytest.mark.parametrize("early", ["1ms", "1s", "1us"])
@pytest.mark.parametrize("timeframe", ["15m", "1h", "1d"])
def test_times_of_the_close_are_called_that(early: str, timeframe: str) -> None:
    bars = aggregate(QUARTERS, timeframe)
    closes = bars.set_axis(bars.index + pd.Timedelta(timeframe.replace("d", "D")) - pd.Timedelta(early), axis=0)
    with pytest.raises(BarsError, match="times of the bars' CLOSE") as refused:
        validate_bars(closes, bars_timeframe(closes))
    how = str(refused.value).split("needed: ")[1].split(", or")[0]
    index = eval(how, {"index": closes.index, "pd": pd})
    assert (index == bars.index).all()


def test_bars_beside_the_grid_keep_their_distance() -> None:
    with pytest.raises(BarsError, match="off the 1h grid"):
        Market.from_bars(random_bars(9, timeframe="1h", start="2021-01-01 00:30"), ("1h",))
    weeks = random_bars(300, timeframe="7D", start="2021-01-07")
    with pytest.raises(BarsError, match="a grid of their venue's, the first on Thursday, 2021-01-07 00:00"):
        Market.from_bars(weeks, ("1w",))


@pytest.mark.parametrize("form", ["ms", "s", "UTC", "text"])
def test_a_column_of_times_serves_as_the_index(form: str) -> None:
    times = {
        "UTC": QUARTERS.index,
        "text": QUARTERS.index.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }.get(form, QUARTERS.index.as_unit(form).asi8 if form in ("ms", "s") else None)
    raw = QUARTERS.reset_index(drop=True)
    raw.insert(0, "timestamp", times)
    assert Market.from_bars(raw, ("15m",)).hash == Market.from_bars(QUARTERS, ("15m",)).hash
    pd.testing.assert_frame_equal(validate_bars(raw, "15m"), validate_bars(QUARTERS, "15m"), check_freq=False)
    pd.testing.assert_frame_equal(clean(raw)[0], clean(QUARTERS)[0], check_freq=False)
    pd.testing.assert_frame_equal(aggregate(raw, "1h"), aggregate(QUARTERS, "1h"), check_freq=False)


def test_a_column_of_times_without_a_zone_is_refused() -> None:
    raw = QUARTERS.tz_localize(None).reset_index()
    with pytest.raises(BarsError, match="does not say that it is UTC"):
        Market.from_bars(raw, ("15m",))


@pytest.mark.parametrize("order", [("Price", "Ticker"), ("Ticker", "Price"), (None, None)])
def test_columns_of_two_levels(order: tuple[str | None, str | None]) -> None:
    names = QUARTERS.columns.str.capitalize()
    one = pd.MultiIndex.from_product([names, ["BTC-USD"]], names=("Price", "Ticker"))
    two = pd.MultiIndex.from_product([names, ["BTC-USD", "ETH-USD"]], names=("Price", "Ticker"))
    single, several = QUARTERS.set_axis(one, axis=1), pd.concat([QUARTERS, QUARTERS], axis=1).set_axis(two, axis=1)
    if order[0] == "Ticker":
        single, several = single.swaplevel(axis=1), several.swaplevel(axis=1)
    if order[0] is None:
        single.columns.names = several.columns.names = order
    for bars, call in ((single, "droplevel"), (several, "xs")):
        for use in (clean, bars_timeframe, lambda given: Market.from_bars(given, ("15m",))):
            with pytest.raises(BarsError, match="two levels") as refused:
                use(bars)
        how = str(refused.value)[str(refused.value).index("bars." + call) :]
        assert sorted(eval(how, {"bars": bars}).columns) == sorted(names)
    with pytest.raises(BarsError, match=r"rename\(columns=str.lower\)"):
        Market.from_bars(QUARTERS.set_axis(names, axis=1), ("15m",))


def test_bars_without_any_volume_warn_and_alarm() -> None:
    silent = QUARTERS.assign(volume=0.0)
    with pytest.warns(UserWarning, match="none of 3840 bars has any volume: no order will ever fill"):
        Market.from_bars(silent, ("15m",))
    assert clean(silent)[1].of("zero volume")["action"].tolist() == ["kept"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Market.from_bars(QUARTERS.assign(volume=[1.0] + [0.0] * 3839), ("15m",))


def test_a_file_may_say_its_timeframe(tmp_path: object) -> None:
    path = f"{tmp_path}/bars.csv"
    MINUTES.iloc[::20].to_csv(path)
    assert len(read_bars(path, timeframe="1m")) == len(MINUTES) // 20
    with pytest.raises(BarsError, match="off the 1h grid"):
        read_bars(path, timeframe="1h")
