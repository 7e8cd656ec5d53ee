"""What a market joins as of its time is checked inside its range: the last value does not stand for ever."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.bars import aggregate
from cryptoenv.features import Exogenous, FeatureSpec, FeatureStream, TimeframeFeatures
from tests.naive.random_bars import random_bars

BARS = random_bars(30, seed=1)
WIDE = random_bars(33, seed=2, start="2020-12-30")


def without(frame: pd.DataFrame, first: str, last: str) -> pd.DataFrame:
    return frame[(frame.index < first) | (frame.index >= last)]


@pytest.mark.parametrize("timeframe", ["15m", "1h", "1d"])
@pytest.mark.parametrize("days", [1, 3, 20])
def test_a_reference_with_days_missing_is_refused(timeframe: str, days: int) -> None:
    reference = aggregate(WIDE, timeframe)
    Market.from_bars(BARS, ("15m", "1h"), reference=reference)
    hole = without(reference, "2021-01-05", f"2021-01-{5 + days:02d}")
    with pytest.raises(BarsError, match=r"reference has a hole from 2021-01-05T00:00:00.* cut the bars"):
        Market.from_bars(BARS, ("15m", "1h"), reference=hole)
    both = without(BARS, "2021-01-05", f"2021-01-{5 + days:02d}")
    Market.from_bars(both, ("15m", "1h"), reference=hole)  # no bar, no decision


def test_a_reference_may_be_missing_for_hours() -> None:
    Market.from_bars(BARS, ("15m", "1h"), reference=without(WIDE, "2021-01-05 06:00", "2021-01-05 10:00"))
    with pytest.raises(BarsError, match="reference has a hole"):
        Market.from_bars(BARS, ("15m", "1h"), reference=without(WIDE, "2021-01-05 06:00", "2021-01-05 10:30"))


@pytest.mark.parametrize("every", [1, 4, 96])
def test_a_column_with_a_hole_is_refused(every: int) -> None:
    values = np.full(len(BARS), np.nan)
    values[::every] = np.random.default_rng(0).normal(size=len(values[::every]))
    role = TimeframeFeatures(exogenous=Exogenous(("mood",), bars=20))
    spec = FeatureSpec(role, role, role, role)
    Market.from_bars(BARS.assign(mood=values), ("15m", "1h"), features=spec)
    for rows in (slice(1000, 1400), slice(len(BARS) - 400, None)):
        holed = values.copy()
        holed[rows] = np.nan
        with pytest.raises(BarsError, match="column 'mood' has a hole from 2021-01-"):
            Market.from_bars(BARS.assign(mood=holed), ("15m", "1h"), features=spec)


def with_mood(every: int, hole: slice, reference_hole: slice) -> pd.DataFrame:
    rng = np.random.default_rng(every)
    frame = BARS.assign(mood=np.nan, reference=WIDE["close"].reindex(BARS.index))
    frame.iloc[::every, frame.columns.get_loc("mood")] = rng.normal(size=len(frame.iloc[::every]))
    frame.iloc[hole, frame.columns.get_loc("mood")] = np.nan
    frame.iloc[reference_hole, frame.columns.get_loc("reference")] = np.nan
    frame = frame.iloc[600:1500].copy()
    frame.iloc[0, frame.columns.get_loc("mood")] = 0.0
    return frame.drop(frame.index[300:380])  # no bars, no decisions: their time does not count


def mood_spec() -> FeatureSpec:
    role = TimeframeFeatures(exogenous=Exogenous(("mood",), bars=20))
    return FeatureSpec(role, role, role, role)


NO_HOLE = slice(0, 0)
HOLES = [
    (1, slice(700, 795), NO_HOLE), (1, slice(700, 796), NO_HOLE), (1, slice(700, 1100), NO_HOLE),
    (4, slice(850, 1100), NO_HOLE),
    (96, slice(700, 900), NO_HOLE), (1, NO_HOLE, slice(700, 716)), (1, NO_HOLE, slice(700, 717)),
    (7, NO_HOLE, slice(890, 997)),
    (1, NO_HOLE, slice(890, 996)), (30, slice(1000, 1200), slice(1300, 1400)),
]  # fmt: skip


@pytest.mark.parametrize(("every", "hole", "reference_hole"), HOLES)
@pytest.mark.parametrize("stale_after", ["usual", None, "18h", {"mood": "2d", "reference": None}])
def test_a_stream_refuses_a_hole_at_the_bar_at_which_a_market_does(
    every: int, hole: slice, reference_hole: slice, stale_after: Any
) -> None:
    frame = with_mood(every, hole, reference_hole)
    other = frame[["reference"]].dropna().rename(columns={"reference": "close"})
    for column in ("open", "high", "low"):
        other[column] = other["close"]
    other["volume"] = 1.0

    def refused(rows: int) -> bool:
        cut = frame.iloc[:rows]
        try:
            Market.from_bars(
                cut, ("15m", "1h"), features=mood_spec(), reference=other, timeframe="15m", stale_after=stale_after
            )
        except BarsError as error:
            assert "hole" in str(error)
            return True
        return False

    stream = FeatureStream(("15m", "1h"), mood_spec(), reference=True, stale_after=stale_after)
    first = next((row for row in range(len(frame)) if not taken(stream, frame.iloc[row])), None)
    whole = FeatureStream(("15m", "1h"), mood_spec(), reference=True, stale_after=stale_after)
    if first is None:
        assert not refused(len(frame))
        whole.extend(frame)
        return
    assert refused(first + 1)
    assert not refused(first)
    with pytest.raises(BarsError, match="has a hole"):
        whole.extend(frame)
    whole.extend(frame.iloc[:first])  # nothing had been taken in
    again = frame.iloc[first].fillna(1.0)
    assert taken(stream, again)  # nor of the bar that was refused


def taken(stream: FeatureStream, row: pd.Series) -> bool:
    try:
        stream.append(row.name, row.iloc[:5].tolist(), row.iloc[5:].to_dict())
    except BarsError:
        return False
    return True


@pytest.mark.parametrize(
    ("stale_after", "message"),
    [("soon", "stale_after of mood='soon' is no duration"), ({"mod": "1d"}, "stale_after names 'mod'; allowed: mood"),
     ({"mood": "-1d"}, "is negative")],
)  # fmt: skip
def test_a_limit_that_is_none_is_refused(stale_after: Any, message: str) -> None:
    with pytest.raises(BarsError, match=message):
        Market.from_bars(BARS.assign(mood=1.0), ("15m",), features=mood_spec(), stale_after=stale_after)
    with pytest.raises(BarsError, match=message):
        FeatureStream(("15m", "1h"), mood_spec(), stale_after=stale_after)


def test_slower_columns_are_taken_with_a_limit_of_ones_own() -> None:
    values = np.full(len(BARS), np.nan)
    values[0] = 1.0
    values[96:192:4] = 2.0  # hourly for a day, then once a week
    values[96 * 9 :: 96 * 7] = 3.0
    bars = BARS.assign(mood=values)
    with pytest.raises(BarsError, match=r"hole from .* say with stale_after="):
        Market.from_bars(bars, ("15m",), features=mood_spec())
    Market.from_bars(bars, ("15m",), features=mood_spec(), stale_after={"mood": "8d"})
