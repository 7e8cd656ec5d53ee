import math
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.exogenous import duration_us, join_exogenous
from tests.naive.random_bars import random_bars

BARS = random_bars(4, seed=3)
STEP = pd.Timedelta("15min")


def figures(seed: int, count: int = 60) -> pd.DataFrame:
    """Values at irregular times around the bars', some missing."""
    rng = np.random.default_rng(seed)
    start = BARS.index[0] - pd.Timedelta(days=1)
    offsets = np.sort(rng.choice(6 * 24 * 60, count, replace=False))
    # Half of the times fall exactly on closes: the boundary matters.
    offsets = np.unique(np.where(rng.random(count) < 0.5, offsets // 15 * 15, offsets))
    table = pd.DataFrame(
        {"mood": rng.normal(size=len(offsets)), "flow": rng.normal(size=len(offsets))},
        index=start + pd.to_timedelta(offsets, unit="min"),
    )
    return table.mask(rng.random(table.shape) < 0.2)


def naive(column: pd.Series, close: pd.Timestamp, delay: pd.Timedelta, limit: pd.Timedelta | None) -> float:
    found = math.nan
    for time, value in column.items():
        known = time + delay
        if not math.isnan(value) and known <= close:
            found = value if limit is None or close - known <= limit else math.nan
    return found


@pytest.mark.parametrize("delay", ["0s", "15min", "7h", "1d"])
@pytest.mark.parametrize("limit", [None, "0s", "3h"])
def test_equals_a_search_through_all_values(delay: str, limit: str | None) -> None:
    values = figures(len(delay))
    joined = join_exogenous(BARS, values, known_after=delay, stale_after=limit)  # None: for ever
    pd.testing.assert_frame_equal(joined[list(BARS)], BARS)
    bound = None if limit is None else pd.Timedelta(limit)
    wait = pd.Timedelta(days=1) if delay == "1d" else pd.Timedelta(delay)
    for name in ("mood", "flow"):
        expected = [naive(values[name], time + STEP, wait, bound) for time in BARS.index]
        np.testing.assert_array_equal(joined[name], expected)


@pytest.mark.parametrize("delay", ["0s", "1h"])
def test_values_not_yet_known_change_nothing(delay: str) -> None:
    values = figures(1)
    joined = join_exogenous(BARS, values, known_after=delay)
    for t in range(0, len(BARS), 29):
        close = BARS.index[t] + STEP
        poisoned = values.copy()
        poisoned[values.index + pd.Timedelta(delay) > close] = 1e9
        again = join_exogenous(BARS, poisoned, known_after=delay)
        pd.testing.assert_frame_equal(again.iloc[: t + 1], joined.iloc[: t + 1])
    planted = join_exogenous(BARS, values.set_axis(values.index - pd.Timedelta("1min")), known_after=delay)
    assert not planted.equals(joined), "a value known a minute too early is seen"


def test_known_at_the_close_is_in_time_and_a_nanosecond_later_is_not() -> None:
    close = BARS.index[10] + STEP
    for time, first in ((close, 10), (close + pd.Timedelta("1ns"), 11), (close - STEP, 9)):
        joined = join_exogenous(BARS, pd.Series([1.0], index=pd.DatetimeIndex([time]).as_unit("ns"), name="x"))
        assert int(joined["x"].notna().to_numpy().argmax()) == first
    later = join_exogenous(BARS, pd.Series([1.0], index=pd.DatetimeIndex([close]), name="x"), known_after="1ns")
    assert int(later["x"].notna().to_numpy().argmax()) == 11


def test_the_bar_s_own_length_counts() -> None:
    value = pd.Series([1.0], index=BARS.index[[40]], name="x")
    hourly = join_exogenous(BARS.resample("h").first(), value)
    assert hourly["x"].notna().to_numpy().argmax() == 9, "40 bars of 15m: known at 10:00, the close of the 09:00 bar"


def test_gaps_in_bars_and_chained_joins() -> None:
    values = figures(2)
    holes = BARS.drop(BARS.index[20:90])
    once = join_exogenous(holes, values[["mood"]])
    both = join_exogenous(once, values[["flow"]])
    pd.testing.assert_frame_equal(both, join_exogenous(BARS, values).loc[holes.index])


def test_what_cannot_be_joined_is_refused() -> None:
    values = figures(5)
    for bars, wrong, options, message in (
        (BARS, values.tz_localize(None), {}, "no time zone"),
        (BARS, values[::-1], {}, r"values, row 1 .* is earlier than"),
        (BARS, values.iloc[[0, 0, 1]], {}, r"values, row 1 .* repeats"),
        (BARS, values.rename(columns={"mood": "close"}), {}, "column 'close' of values is there already"),
        (join_exogenous(BARS, values), values, {}, "column 'mood' of values is there already"),
        (BARS, values.assign(mood="good"), {}, "column 'mood' of values holds"),
        (BARS, values.assign(mood=np.inf), {}, "column 'mood' is infinite"),
        (BARS, values["mood"].rename(None), {}, "a Series needs one too"),
        (BARS, 3.0, {}, "values are float"),
        (BARS, values, {"known_after": "-1s"}, "known_after='-1s' is negative"),
        (BARS, values, {"known_after": "soon"}, "known_after='soon' is no duration"),
        (BARS, values, {"stale_after": "-1s"}, "stale_after='-1s' is negative"),
    ):
        with pytest.raises(BarsError, match=message):
            join_exogenous(bars, wrong, **options)


@pytest.mark.parametrize(
    ("said", "hours"),
    [("1d", 24), ("1 d", 24), ("1d12h", 36), ("2w", 336), ("1w 1d", 192), ("1 day", 24), ("90min", 1.5)],
)
def test_durations_as_timeframes_spell_them_warn_of_nothing(said: str, hours: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert duration_us("known_after", said) == hours * 3_600_000_000


def test_real_funding_rates(real_data: Path) -> None:
    bars = read_bars(real_data / "binance_spot_BTCUSDT_1h_2017_2024.csv.gz")["2021-01":"2021-03"]
    funding = pd.read_csv(real_data / "binance_perp_BTCUSDT_funding_8h_2020_2023.csv.gz", index_col=0, parse_dates=True)
    joined = join_exogenous(bars, funding["funding_rate"], known_after="0s", stale_after="8h")
    assert joined["funding_rate"].notna().all()
    due = joined.index.hour % 8 == 7
    expected = funding["funding_rate"].reindex(joined.index[due] + pd.Timedelta("1h")).to_numpy()
    np.testing.assert_array_equal(joined["funding_rate"][due], expected)


def regular(every: str, days: int = 12) -> pd.Series:
    count = int(pd.Timedelta(days=days) / pd.Timedelta(every))
    times = pd.date_range("2020-12-31", periods=count, freq=every, tz="UTC")
    return pd.Series(np.arange(len(times)) + 1.0, index=times, name="x")


@pytest.mark.parametrize("every", ["15min", "1h", "8h", "1D", "7D"])
def test_figures_at_regular_times_say_when_they_were_public(every: str) -> None:
    values = regular(every, 60)
    months = pd.Series(1.0, index=pd.date_range("2020-01-01", periods=20, freq="MS", tz="UTC"), name="x")
    weekdays = values[values.index.day_of_week < 5]
    for given in (values, values.to_frame(), values.shift(1, freq="8h30min"), weekdays, months, values.iloc[[0, 1]]):
        if len(given) > 1:
            with pytest.raises(BarsError, match=r"regular times .*say with known_after"):
                join_exogenous(BARS, given)
            join_exogenous(BARS, given, known_after="0s")


@pytest.mark.parametrize("every", ["1h", "8h", "1D"])
def test_a_hole_becomes_unknown(every: str) -> None:
    values = regular(every)
    bars = random_bars(10, seed=3)
    step = pd.Timedelta(every)
    whole = join_exogenous(bars, values, known_after=every)["x"]
    assert whole.notna().all()
    hole = values.drop(values.index[(values.index >= "2021-01-03") & (values.index < "2021-01-07")])
    joined = join_exogenous(bars, hole, known_after=every)["x"]
    last = hole.index[hole.index < "2021-01-03"][-1] + step
    closes = bars.index + STEP
    unknown = (closes > last + 2 * step) & (closes < pd.Timestamp("2021-01-07", tz="UTC") + step)
    np.testing.assert_array_equal(joined.isna(), unknown)
    assert joined[~unknown].isin(whole).all()
    for_ever = join_exogenous(bars, hole, known_after=every, stale_after=None)["x"]
    assert for_ever.notna().all()
    ended = join_exogenous(bars, values[values.index < "2021-01-05"], known_after=every)["x"]
    assert ended.iloc[-1:].isna().all()
