"""Planted leaks of every family are found and named with their reach; clean makings pass every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from cryptoenv.analysis.leakage import check_fit, future_reads, leading_columns, poisoned, summary_of
from cryptoenv.features import FeatureSpec
from synthetic import horizon_labels
from tests.naive.random_bars import random_bars


def _indicators(bars: pd.DataFrame) -> pd.DataFrame:
    close = np.log(bars["close"])
    return pd.DataFrame({"mean": close.rolling(10).mean(), "change": close.diff(), "volume": bars["volume"]})


@pytest.mark.parametrize("seed", range(20))
def test_clean_makings_pass_every_time(seed: int) -> None:
    bars = random_bars(8, seed)
    assert future_reads(_indicators, bars, looks=5, seed=seed) == []
    assert leading_columns(_indicators(bars), bars) == []
    assert check_fit(lambda b: {"scale": b["close"].iloc[:300].std()}, bars, 300, seed=seed) == []


@pytest.mark.parametrize("lag", [1, 3, 17])
def test_a_shifted_column_is_named_with_its_lag(lag: int) -> None:
    bars = random_bars(8)
    leaks = future_reads(lambda b: _indicators(b).assign(mean=_indicators(b)["mean"].shift(-lag)), bars)
    assert [(leak.column, leak.lag) for leak in leaks] == [("mean", lag)]
    assert f"column 'mean' reads {lag} bar" in leaks[0].words


def test_a_scaler_over_all_bars_reads_to_the_end() -> None:
    bars = random_bars(8)

    def scaled(given: pd.DataFrame) -> pd.DataFrame:
        table = _indicators(given)
        return table.assign(change=(table["change"] - table["change"].mean()) / table["change"].std())

    (leak,) = future_reads(scaled, bars)
    assert (leak.column, leak.lag) == ("change", None) and "to the end of the data" in leak.words
    fitted = check_fit(lambda b: {"median": b["close"].median(), "ours": b["close"].iloc[:200].median()}, bars, 200)
    assert [leak.column for leak in fitted] == ["median"]


def test_labels_may_look_as_far_as_they_say_and_no_farther() -> None:
    bars = random_bars(12)

    def labels(given: pd.DataFrame, smooth: int = 1) -> pd.DataFrame:
        ahead = np.log(given["close"]).shift(-8) - np.log(given["close"])
        return pd.DataFrame({"label": np.sign(ahead).rolling(smooth, center=True, min_periods=1).mean()})

    assert future_reads(labels, bars, allowed=8) == []
    (leak,) = future_reads(lambda b: labels(b, 9), bars, allowed=8)
    assert (leak.column, leak.lag) == ("label", 12)  # four bars of smoothing more than it says
    (short,) = future_reads(labels, bars, allowed=4)
    assert short.lag == 8


def test_shipped_labels_keep_to_their_horizon() -> None:
    bars = random_bars(6)

    def labels(given: pd.DataFrame) -> pd.DataFrame:
        found: Any = horizon_labels(given, horizon=16)
        return pd.DataFrame(np.asarray(found, dtype=np.float64).reshape(len(given), -1), index=given.index)

    assert future_reads(labels, bars, allowed=16, looks=8) == []


def test_features_of_a_market_are_clean_and_a_planted_one_is_not() -> None:
    bars = random_bars(70, 2)

    def features(given: pd.DataFrame) -> pd.DataFrame:
        market = Market.from_bars(given, ("15m",))
        return pd.DataFrame(market.features[0], index=market.bars.index, columns=list(market.feature_names[0]))

    assert future_reads(features, bars, looks=3) == []
    name = Market.from_bars(bars, ("15m",), features=FeatureSpec()).feature_names[0][3]
    (leak,) = future_reads(lambda b: features(b).assign(**{name: features(b)[name].shift(-1)}), bars, looks=3)
    assert (leak.column, leak.lag) == (name, 1)


def test_values_alone_give_a_leak_away() -> None:
    """A vendor's column that is a bar early, in four forms; the same columns a bar later are honest."""
    bars = random_bars(30, 7)
    close = np.log(bars["close"])
    honest = pd.DataFrame({
        "return": close.diff(), "level": close, "mean": close.rolling(4).mean(),
        "side": np.where(close.diff() > 0, "up", "down"),
    })  # fmt: skip
    assert leading_columns(honest, bars) == []
    early = leading_columns(honest.shift(-1), bars)
    assert {leak.column for leak in early} == {"return", "level", "mean", "side"}
    assert {leak.lag for leak in early} == {1}
    assert {leak.lag for leak in leading_columns(honest[["return"]].shift(-3), bars)} == {3}


def test_a_file_of_smoothed_labels_gives_itself_away() -> None:
    bars = random_bars(150, 9)
    ahead = np.log(bars["close"]).shift(-8) - np.log(bars["close"])
    label = np.sign(ahead)
    assert leading_columns(label.to_frame("label"), bars, allowed=8) == []
    smooth = label.rolling(17, center=True, min_periods=1).mean().to_frame("label")
    (leak,) = leading_columns(smooth, bars, allowed=8)
    assert leak.column == "label" and leak.lag is not None and leak.lag > 8


def test_poison_leaves_the_past_alone_and_is_bars() -> None:
    bars = random_bars(3).assign(extra=1.0)
    rng = np.random.default_rng(0)
    other = poisoned(bars, 100, rng)
    pd.testing.assert_frame_equal(other.iloc[:100], bars.iloc[:100])
    assert (other["close"].iloc[100:] != bars["close"].iloc[100:]).all()
    Market.from_bars(other, ("15m",), features=FeatureSpec.none())


def test_what_cannot_be_checked_is_refused() -> None:
    bars = random_bars(1)
    with pytest.raises(ValueError, match="no rows"):
        future_reads(lambda b: pd.DataFrame({"x": []}), bars)
    with pytest.raises(ValueError, match="too few"):
        future_reads(_indicators, bars, allowed=96)


def test_a_summary_names_what_is_clean_too() -> None:
    leaks = future_reads(lambda b: _indicators(b).shift(-1), random_bars(3), part="mine", looks=2)
    told = summary_of(leaks, ["features", "mine"])
    assert told.splitlines()[0] == "features: clean" and told.count("LEAK mine") == 3
