"""One bar at a time, a shorter history, a longer one: the same bits."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import BarsError, Market
from cryptoenv.features import (
    Exogenous,
    FeatureBars,
    FeatureSpec,
    FeatureStream,
    Pursuit,
    TimeframeFeatures,
    Trend,
    Volatility,
    check_causal,
    feature,
)
from tests.naive.random_bars import random_bars

TIMEFRAMES = ("15m", "4h", "1d")
OHLCV = ["open", "high", "low", "close", "volume"]


@feature("gap", bound=4.0, memory=30)
def gap(bars: FeatureBars) -> np.ndarray:
    """A user's feature; np.log and np.cumsum depend on where in the slice a bar stands."""
    out = np.zeros(len(bars.close))
    out[1:] = 100.0 * np.log(bars.open[1:] / bars.close[:-1]) + 0.01 * np.cumsum(bars.columns["trades"])[1:]
    return out


def every_family() -> FeatureSpec:
    """The default set, with all that can be added to it in every role, a further column and a user's feature."""
    spec = FeatureSpec().with_functions(gap)
    more: dict[str, Any] = {
        "exogenous": Exogenous(("trades",), 30),
        "trend": Trend(macd_signal=9, averages=(5, 20)),
        "volatility": Volatility(bands=True),
    }
    columns = ("close", "volume", "trades", "rsi", "macd_signal")
    pursuit = Pursuit(window=16, sparsity=5, cycles=(0.5, 1.0, 2.0), scales=(4.0,), columns=columns, coefficients=3)
    intraday = {role: replace(getattr(spec, role), **more, pursuit=pursuit) for role in ("base", "higher")}
    return replace(spec, **intraday, daily=replace(spec.daily, **more))


def bars_and_reference(days: float, start: str = "2021-01-01 03:30") -> tuple[pd.DataFrame, pd.DataFrame]:
    bars = random_bars(days, seed=1, start=start)
    trades = np.random.default_rng(0).normal(size=len(bars))
    trades[5::7] = np.nan  # nothing new there
    return bars.assign(trades=trades), random_bars(days, seed=5, start=start)


def fed(stream: FeatureStream, bars: pd.DataFrame) -> Iterator[dict[str, np.ndarray]]:
    further = [name for name in bars.columns if name not in OHLCV]
    for moment, ohlcv, columns in zip(bars.index, bars[OHLCV].to_numpy(), bars[further].to_numpy(), strict=True):
        yield stream.append(moment, ohlcv, dict(zip(further, columns, strict=True)))


def assert_parity(days: float, live: int, gap_at: int | None) -> None:
    bars, reference = bars_and_reference(days)
    if gap_at is not None:
        for first in (len(bars) - live + gap_at, 900):
            bars, reference = (frame.drop(frame.index[first : first + 70]) for frame in (bars, reference))
    market = Market.from_bars(bars, TIMEFRAMES, features=every_family(), reference=reference)
    stream = FeatureStream(TIMEFRAMES, every_family(), reference=True)
    assert stream.feature_names == market.feature_names
    bars = bars.assign(reference=reference["close"])
    stream.extend(bars.iloc[:-live])
    rows = list(fed(stream, bars.iloc[-live:]))
    for k, timeframe in enumerate(TIMEFRAMES):
        found = np.concatenate([row[timeframe] for row in rows])
        wanted = market.features[k][len(market.features[k]) - len(found) :]
        assert len(found) >= live * [1, 1 / 16, 1 / 96][k] - 1
        differ = (found.view(np.uint32) != wanted.view(np.uint32)).any(axis=0)
        assert not differ.any(), [name for name, wrong in zip(market.feature_names[k], differ, strict=True) if wrong]


@pytest.mark.parametrize("gap_at", [None, 100])
def test_live_rows_are_those_of_the_market(gap_at: int | None) -> None:
    assert_parity(50, 600, gap_at)


def test_features_by_name_of_timeframes_in_seconds_are_live_what_they_are_in_a_market() -> None:
    bars = random_bars(2.2, seed=6, timeframe="30s", start="2021-01-02 05:00")
    own = TimeframeFeatures(trend=Trend(adx=None, averages=(5, 50)), pursuit=Pursuit(columns=("average_50", "high")))
    spec = replace(FeatureSpec.none(), base=TimeframeFeatures(momentum=FeatureSpec().base.momentum))
    spec = spec.with_timeframe("90s", own).with_timeframe("1h", TimeframeFeatures(candles=spec.daily.candles))
    timeframes = ("30s", "90s", "1h")
    market = Market.from_bars(bars, timeframes, features=spec)
    assert [names[:2] for names in market.feature_names] == [("rsi", "stochastic"), ("macd", "average_5"), ()]
    stream = FeatureStream(timeframes, spec)
    stream.extend(bars.iloc[:-400])
    rows = list(fed(stream, bars.iloc[-400:]))
    for k, timeframe in enumerate(timeframes):
        found = np.concatenate([row[timeframe] for row in rows])
        assert len(found) >= 400 // (1, 3, 120)[k] - 1
        assert found.tobytes() == market.features[k][-len(found) :].tobytes()
        assert not market.feature_names[k] or found.any()
    assert check_causal(spec, bars, timeframes, decisions=100, seed=3) >= 100


@pytest.mark.slow
def test_ten_thousand_live_rows_are_those_of_the_market() -> None:
    assert_parity(160, 10_000, 3000)


def test_a_stream_from_its_first_bar_on_has_the_warm_up_of_a_market() -> None:
    bars = random_bars(26, seed=3, timeframe="1h", start="2021-01-02 05:00")
    market = Market.from_bars(bars, ("1h", "4h"))
    rows = list(fed(FeatureStream(("1h", "4h")), bars))
    for k, timeframe in enumerate(("1h", "4h")):
        found = np.concatenate([row[timeframe] for row in rows])
        assert found.tobytes() == market.features[k].tobytes()
    assert market.features[0][-1].any()


@pytest.mark.parametrize("start", ["2021-01-01 03:30", "2021-01-04"])
def test_one_and_three_times_the_history_give_the_same_bits(start: str) -> None:
    bars, reference = bars_and_reference(135, start)
    whole = Market.from_bars(bars, TIMEFRAMES, features=every_family(), reference=reference)
    for drop in (90 * 96, 90 * 96 + 37):
        part = Market.from_bars(bars.iloc[drop:], TIMEFRAMES, features=every_family(), reference=reference)
        for k, first in enumerate(part.valid_from):
            shift = len(whole.features[k]) - len(part.features[k])
            assert len(part.features[k]) > first
            assert whole.features[k][shift + first :].tobytes() == part.features[k][first:].tobytes()


def append_seconds(stream: FeatureStream, bars: pd.DataFrame) -> float:
    times = []
    for moment, ohlcv in zip(bars.index, bars[OHLCV].to_numpy(), strict=True):
        begin = time.perf_counter()
        stream.append(moment, ohlcv)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


@pytest.mark.slow
def test_a_bar_costs_the_same_after_a_million_as_after_ten_thousand() -> None:
    bars = random_bars(1_000_400 / 96, seed=2, start="1990-01-01")
    streams = []
    for history in (10_000, 1_000_000):
        stream = FeatureStream(TIMEFRAMES)
        stream.extend(bars.iloc[:history])
        streams.append((stream, bars.iloc[history : history + 400]))
    short, long = (statistics.median(times) for times in zip(*(
        [append_seconds(stream, part.iloc[i : i + 40]) for stream, part in streams] for i in range(0, 400, 40)
    ), strict=True))  # fmt: skip
    assert long / short <= 1.2


def test_what_a_stream_refuses() -> None:
    bars = random_bars(2, seed=0)
    stream = FeatureStream(TIMEFRAMES, every_family(), reference=True)
    with pytest.raises(BarsError, match="column 'trades', which the stream needs, is missing"):
        stream.extend(bars)
    with pytest.raises(ValueError, match="column 'trades' is not known yet"):
        stream.append(bars.index[0], bars.iloc[0].to_list(), {"reference": 1.0})
    with pytest.raises(ValueError, match="column 'other' is not in the spec"):
        stream.append(bars.index[0], bars.iloc[0].to_list(), {"other": 1.0})
    plain = FeatureStream(TIMEFRAMES)
    plain.append(bars.index[5], bars.iloc[5].to_list())
    with pytest.raises(BarsError, match="not later than the one before"):
        plain.append(bars.index[5], bars.iloc[5].to_list())
    with pytest.raises(BarsError, match="off the 15m grid"):
        plain.append(bars.index[6] + pd.Timedelta("1min"), bars.iloc[6].to_list())
    with pytest.raises(BarsError, match=r"column 'open' .* allowed: open within"):
        plain.append(bars.index[6], [1.0, 0.5, 0.4, 1.0, 1.0])
    assert set(plain.append(bars.index[6], bars.iloc[6].to_list())) == set(TIMEFRAMES)
