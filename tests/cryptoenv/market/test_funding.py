"""Funding of every interval is charged whole or refused: a hole would count as free."""

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.price_columns import FUNDING
from cryptoenv.features import FeatureSpec
from tests.naive.random_bars import random_bars

BARS = random_bars(62.5, seed=0)
HOUR = pd.Timedelta("1h")


def regular(hours: int, first: str | None = None, late: str = "0s") -> pd.Series:
    start = BARS.index[0] if first is None else pd.Timestamp(first, tz="UTC")
    times = pd.date_range(start, BARS.index[-1], freq=f"{hours}h")
    return pd.Series(1e-4, index=times + pd.Timedelta(late))


def spells(*parts: tuple[int, float]) -> pd.Series:
    """Rates at intervals that change: (hours, days each holds), repeated to the end of the bars."""
    times, moment = [BARS.index[0]], BARS.index[0]
    while moment <= BARS.index[-1]:
        for hours, days in parts:
            end = moment + pd.Timedelta(days=days)
            while moment < end:
                moment += hours * HOUR
                times.append(moment)
    return pd.Series(1e-4, index=pd.DatetimeIndex(times))


def charged(funding: pd.Series) -> float:
    market = Market.from_bars(BARS, ("15m",), features=FeatureSpec.none(), funding=funding)
    return float(market.prices[:, FUNDING].sum())


WHOLE = {
    **{f"{hours}h": regular(hours) for hours in (1, 2, 4, 8)},
    "at 4, 12, 20": regular(8, "2020-12-31 20:00"),
    "late by minutes": regular(1, late="2min"),
    "late at random": regular(1).set_axis(
        regular(1).index + pd.to_timedelta(np.random.default_rng(0).integers(0, 90, len(regular(1))), unit="s")
    ),
    "8h, 4h, 1h": spells((8, 20), (4, 10), (1, 5)),
    "1h for hours": spells((8, 9), (1, 1 / 3), (4, 3)),
    "1h, then 8h": spells((1, 20), (8, 60)),
    "8h, once after 3h": spells((1, 20 + 5 / 24), (3, 1 / 24), (8, 50)),
    "2h, 4h by turns of two days": spells((2, 2), (4, 2)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_rates_are_charged(name: str) -> None:
    rates = WHOLE[name]
    inside = (rates.index > BARS.index[0] - pd.Timedelta("15min")) & (rates.index <= BARS.index[-1])
    assert charged(rates) == pytest.approx(rates[inside].sum())


@pytest.mark.parametrize("hours", [1, 2, 4, 8])
@pytest.mark.parametrize("place", ["first", "second", "middle", "last but one", "last"])
@pytest.mark.parametrize("missing", [1, 3])
def test_a_hole_anywhere_is_refused(hours: int, place: str, missing: int) -> None:
    rates = regular(hours, "2020-12-31 16:00")
    inside = np.flatnonzero(rates.index > BARS.index[0])
    at = {
        "first": int(inside[0]) - 1, "second": int(inside[0]), "middle": len(rates) // 2,
        "last but one": len(rates) - 1 - missing, "last": len(rates) - missing,
    }[place]  # fmt: skip
    hole = rates.drop(rates.index[at : at + missing])
    if place == "first" and missing == 1:
        assert charged(hole) == pytest.approx(charged(rates) - 1e-4)  # none is held at the first open
        hole = hole.drop(hole.index[at])
    with pytest.raises(BarsError, match=r"no rate between|rates for all of the bars"):
        charged(hole)


@pytest.mark.parametrize(
    ("name", "at", "count"),
    [("8h, 4h, 1h", 100, 1), ("8h, 4h, 1h", 30, 1), ("8h, 4h, 1h", 200, 10), ("1h, then 8h", 100, 5), ("1h", 700, 23)],
)
def test_a_hole_among_intervals_that_change_is_named(name: str, at: int, count: int) -> None:
    rates = WHOLE[name]
    hole = rates.drop(rates.index[at : at + count])
    before, after = rates.index[at - 1].isoformat(), rates.index[at + count].isoformat()
    with pytest.raises(BarsError, match=f"no rate between {before} and {after}".replace("+", r"\+")):
        charged(hole)
    said = pd.concat([hole, rates.iloc[at : at + count] * 0.0]).sort_index()
    assert charged(said) < charged(rates)  # that none was paid is to be said


def test_a_month_of_no_rates_is_refused() -> None:
    rates = regular(8)
    with pytest.raises(BarsError, match=r"between 2021-01-14T00:00:00.* and 2021-02-13T08:00:00.* every 8 hours"):
        charged(rates.drop(rates.index[40:130]))


def test_holes_beyond_the_bars_do_not_matter() -> None:
    early = pd.date_range("2020-01-01", periods=9, freq="8h", tz="UTC")
    late = [BARS.index[-1].floor("1h") + 99 * HOUR]
    rates = pd.concat([pd.Series(1e-4, index=early), regular(8), pd.Series([1e-4], index=late)])
    assert charged(rates) == pytest.approx(charged(regular(8)))


def test_a_payment_that_is_there_twice_is_refused() -> None:
    rates = regular(8)
    doubled = pd.concat([rates, pd.Series([1e-4], index=[rates.index[5] + pd.Timedelta("2s")])]).sort_index()
    with pytest.raises(BarsError, match=r"funding row 6 .*one payment is there twice"):
        charged(doubled)


def test_missing_rates_are_not_free() -> None:
    rates = regular(8)
    rates.iloc[7] = np.nan
    with pytest.raises(BarsError, match=r"funding row 7 .*nan.*finite rates"):
        charged(rates)


@pytest.mark.parametrize("hours", [1, 4, 8])
@pytest.mark.parametrize("kept", [0.1, 0.4, 0.8])
def test_rates_most_or_some_of_which_are_missing_are_refused(hours: int, kept: float) -> None:
    rates = regular(hours)
    for seed in range(5):
        left = rates[np.random.default_rng(seed).random(len(rates)) < kept]
        with pytest.raises(BarsError, match=r"rates missing beside|rates for all of the bars"):
            charged(left)


@pytest.mark.parametrize("missing", [1, 150])
def test_cells_without_a_rate_are_counted(missing: int) -> None:
    rates = regular(8)
    rates.iloc[7 : 7 + missing] = np.nan
    counted = rf" \(and {missing - 1} more of" if missing > 1 else ""
    with pytest.raises(BarsError, match=f"funding row 7 .*nan{counted}"):
        charged(rates)


@pytest.mark.parametrize("base", ["1m", "15m"])
def test_jittered_stamps_are_charged_as_the_hours_they_belong_to(base: str) -> None:
    bars = random_bars(3, seed=1) if base == "15m" else random_bars(1, seed=1, timeframe="1min")
    due = pd.date_range(bars.index[0].ceil("1h"), bars.index[-1], freq="1h")
    on_time = pd.Series(np.linspace(-1e-4, 1e-4, len(due)), due)
    for largest in (20, 3_000, 290_000):  # ms
        off = np.random.default_rng(largest).integers(-largest, largest, len(due))
        jittered = on_time.set_axis(due + pd.to_timedelta(off, unit="ms"))
        one, other = (
            Market.from_bars(bars, (base,), features=FeatureSpec.none(), funding=rates) for rates in (on_time, jittered)
        )
        np.testing.assert_array_equal(one.prices, other.prices)


def test_a_stamp_far_from_the_hour_is_refused_by_name() -> None:
    rates = regular(8)
    astray = rates.set_axis([*rates.index[:5], rates.index[5] + pd.Timedelta("12min"), *rates.index[6:]])
    with pytest.raises(BarsError, match=r"funding row 5 \(.*16:12:00.*within 5 minutes of the whole hour"):
        charged(astray)


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_rates_in_percent_are_refused(hours: int) -> None:
    due = regular(hours).index
    fractions = pd.Series(np.random.default_rng(0).normal(1e-4, 1e-4, len(due)) * hours / 8, due)
    assert charged(fractions) != 0.0
    with pytest.raises(BarsError, match="look like percent"):
        charged(fractions * 100)
    meant = fractions * 100
    meant.attrs["unit"] = "fraction"
    assert charged(meant) == pytest.approx(100 * charged(fractions))


def test_rates_that_were_filled_forward_are_refused() -> None:
    due = pd.date_range("2021-01-01", periods=200, freq="8h", tz="UTC")
    every_8h = pd.Series(np.random.default_rng(0).normal(0, 1e-4, 200), due)
    with pytest.raises(BarsError, match="each would be charged 8 times"):
        charged(every_8h.resample("1h").ffill())
    hourly = pd.Series(np.random.default_rng(0).normal(0, 1e-4, len(regular(1))), regular(1).index)
    assert charged(hourly) == pytest.approx(hourly[hourly.index <= BARS.index[-1]].sum())
