"""Bars whose times or prices are in another unit are refused at once, before memory or time is spent on them."""

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.bars.bars import aggregate, fill_gaps
from cryptoenv.features import FeatureSpec, FeatureStream
from tests.naive.random_bars import random_bars

BARS = random_bars(4, seed=0)
MINUTES = random_bars(1, seed=0, timeframe="1min")


def fed() -> FeatureStream:
    stream = FeatureStream(("15m", "1h"), FeatureSpec.none())
    stream.extend(BARS)
    return stream


@pytest.mark.parametrize("after", ["31D", "3650D", "80000D"])
def test_a_stream_refuses_a_bar_far_ahead_and_goes_on(after: str) -> None:
    stream, bar = fed(), [100.0, 101.0, 99.0, 100.0, 1.0]
    begin = time.perf_counter()
    with pytest.raises(BarsError, match=r"bars of 15m after the next one, 2021-01-05T00:00:00.* at most 2880 bars"):
        stream.append(BARS.index[-1] + pd.Timedelta(after), bar)
    assert time.perf_counter() - begin < 1.0
    rows = stream.append(BARS.index[-1] + pd.Timedelta("15min"), bar)
    assert len(rows["15m"]) == 1
    assert len(stream.append(BARS.index[-1] + pd.Timedelta("29D"), bar)["15m"]) == 29 * 96 - 1
    with pytest.raises(BarsError, match="nearly all of them gaps"):
        stream.extend(BARS.set_axis(BARS.index + pd.Timedelta("40000D")))


@pytest.mark.parametrize(
    "filled", [fill_gaps, lambda bars: aggregate(bars, "1h"), lambda bars: Market.from_bars(bars, ("15m",))]
)
def test_gaps_are_counted_before_they_are_allocated(filled: Callable[[pd.DataFrame], object]) -> None:
    later = MINUTES.set_axis(MINUTES.index + pd.Timedelta(days=60_000))
    far = pd.concat([MINUTES, later])
    tracemalloc.start()
    try:
        with pytest.raises(BarsError, match=r"2880 bars from 2021-01-01.* nearly all of them gaps: check the times"):
            filled(far)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("factor", [1e-300, 1e-25, 1e25, 1e300])
def test_prices_beyond_what_doubles_reckon_with_are_refused(factor: float) -> None:
    small = BARS.assign(**{name: BARS[name] * factor for name in ("open", "high", "low", "close")})
    for made in (
        lambda: Market.from_bars(small, ("15m", "1h")),
        lambda: FeatureStream(("15m",)).extend(small),
        lambda: FeatureStream(("15m",)).append(small.index[0], small.iloc[0].to_list()),
    ):
        with pytest.raises(BarsError, match=r"row 0 .*column 'open' is .*; allowed: prices from 1e-18 to 1e.18"):
            made()


def test_volumes_beyond_what_doubles_reckon_with_are_refused() -> None:
    with pytest.raises(BarsError, match=r"column 'volume' is .*volumes to 1e.30: change the unit"):
        Market.from_bars(BARS.assign(volume=1e300), ("15m",))


@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_small_and_large_prices_within_reason_are_used(factor: float) -> None:
    scaled = BARS.assign(**{name: BARS[name] * factor for name in ("open", "high", "low", "close")})
    market = Market.from_bars(scaled, ("15m", "1h"))
    assert all(np.isfinite(array).all() for array in (market.prices, *market.features))
