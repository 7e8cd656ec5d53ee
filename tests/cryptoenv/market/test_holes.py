"""What a market joins as of its time is checked inside its range: the last value does not stand for ever."""

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.bars import aggregate
from cryptoenv.features import Exogenous, FeatureSpec, TimeframeFeatures
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
