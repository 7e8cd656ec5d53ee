"""What `clean` calls likely wrong though nothing proves it: used symbols, bars not ended, open and close swapped."""

import numpy as np
import pandas as pd
import pytest

from cryptoenv import clean
from tests.naive.random_bars import random_bars

BARS = random_bars(20)
PRICES = ["open", "high", "low", "close"]
NOW = BARS.index[-1] + pd.Timedelta("15min")


@pytest.mark.parametrize("times", [2.3e5, 37.0, 6.0, 1 / 6.0, 1 / 4e4])
@pytest.mark.parametrize("days", [0.5, 18.0])
def test_a_symbol_used_again(times: float, days: float) -> None:
    later = BARS.iloc[900:].copy()
    later[PRICES] *= times
    later.index += pd.Timedelta(days=days)
    report = clean(pd.concat([BARS.iloc[:900], later]))[1]
    jump = report.of("price jump").iloc[0]
    assert (jump["action"], jump["first"]) == ("kept", later.index[0])
    assert f"{int(days * 96)} bars missing" in jump["detail"]


@pytest.mark.parametrize("times", [30.0, 1 / 30.0])
def test_foreign_rows_among_the_bars(times: float) -> None:
    bars = BARS.copy()
    bars.iloc[700:710, :4] *= times
    assert clean(bars)[1].of("price jump")["first"].tolist() == [bars.index[700], bars.index[710]]


def test_a_gap_alone_is_no_alarm() -> None:
    later = BARS.iloc[900:].copy()
    later[PRICES] *= 3.0
    later.index += pd.Timedelta(days=5)
    assert clean(pd.concat([BARS.iloc[:900], later]))[1].alarms.empty


@pytest.mark.parametrize(("ago", "kind"), [(1, "bar still open"), (14, "bar still open"), (15, None)])
def test_a_bar_that_has_not_ended(ago: int, kind: str | None) -> None:
    alarms = clean(BARS, now=BARS.index[-1] + pd.Timedelta(ago, "min"))[1].alarms
    assert alarms["kind"].tolist() == ([kind] if kind else [])
    assert (alarms["first"] == BARS.index[-1]).all()


def test_bars_of_the_future() -> None:
    alarms = clean(BARS, now=BARS.index[-10] + pd.Timedelta("1s"))[1].alarms
    assert alarms[["kind", "rows"]].to_numpy().tolist() == [["bar still open", 1], ["bar of the future", 9]]
    ahead = BARS.set_axis(BARS.index + (pd.Timestamp.now("UTC").floor("1D") - BARS.index[0]), axis=0)
    assert set(clean(ahead)[1].alarms["kind"]) >= {"bar of the future"}


@pytest.mark.parametrize("order", [1, -1])
def test_open_and_close_in_each_others_place(order: int) -> None:
    swapped = BARS.rename(columns={"open": "close", "close": "open"})[::order]
    cleaned, report = clean(swapped, now=NOW)
    assert report.alarms["kind"].tolist() == ["open and close swapped"]
    np.testing.assert_array_equal(cleaned["open"], BARS["close"])
    assert clean(BARS[::order], now=NOW)[1].alarms.empty
