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
    rates = pd.concat([pd.Series(1e-4, index=early), regular(8), pd.Series([1e-4], index=[BARS.index[-1] + 99 * HOUR])])
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
