from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv import Market
from cryptoenv.analysis.features import (
    feature_drift,
    feature_frame,
    forward_returns,
    inspect_features,
    lag_table,
    mutual_information,
    plot_correlations,
    plot_lags,
    summary,
)
from cryptoenv.features import FeatureSpec
from tests.naive.random_bars import random_bars

BARS = random_bars(85, seed=1)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.from_bars(BARS)


def test_frames_are_indexed_by_opens_and_hold_whole_rows(market: Market) -> None:
    for k, timeframe in enumerate(market.timeframes):
        frame = feature_frame(market, timeframe)
        assert len(frame) == len(market.features[k]) - market.valid_from[k]
        assert (frame.to_numpy() == market.features[k][market.valid_from[k] :]).all()
        assert frame.index[-1] == BARS.index.floor({"15m": "15min", "4h": "4h", "1d": "1D"}[timeframe])[-1]
    with pytest.raises(ValueError, match="'1w' is not in the market; allowed: 15m, 4h, 1d"):
        feature_frame(market, "1w")
    with pytest.raises(ValueError, match="4h has 510 bars, 0 features"):
        feature_frame(Market.from_bars(BARS, features=FeatureSpec.none()), "4h")


def test_forward_returns_are_those_after_the_close(market: Market) -> None:
    returns = forward_returns(market, "4h", (1, 3))
    close = BARS["close"].iloc[15::16].to_numpy()
    row = 250 - market.valid_from[1]
    assert returns[1].iloc[row] == pytest.approx(np.log(close[251] / close[250]))
    assert returns[3].iloc[row] == pytest.approx(np.log(close[253] / close[250]))
    assert returns[3].iloc[-3:].isna().all()
    assert returns.index.equals(feature_frame(market, "4h").index)


def test_a_feature_that_knows_the_next_return_stands_out(market: Market) -> None:
    frame, returns = feature_frame(market, "15m").iloc[:, :4].copy(), forward_returns(market, "15m")
    rng = np.random.default_rng(0)
    frame["linear"] = returns[1].fillna(0.0) * 100 + 0.1 * rng.standard_normal(len(frame))
    frame["square"] = returns[4].fillna(0.0) ** 2
    frame["late"] = frame["linear"].shift(-4).fillna(0.0)
    lags = lag_table(frame, returns)
    assert lags.loc["linear", (1, 0)] > 0.9
    assert lags.loc["late", (1, 4)] > 0.9
    assert abs(lags.loc["return_1", (1, 0)]) < 0.1
    assert abs(lags.loc["square", (4, 0)]) < 0.2
    information = mutual_information(frame, returns, rows=2000)
    assert information.loc["linear", 1] > 0.5
    assert information.loc["square", 4] > 1.0
    assert information.loc["return_4", 1] < 0.1
    pd.testing.assert_frame_equal(information, mutual_information(frame, returns, rows=2000))


def test_drift_is_seen_where_it_is() -> None:
    rng = np.random.default_rng(0)
    before = pd.DataFrame({"same": rng.normal(size=5000), "moved": rng.normal(size=5000), "constant": 0.0})
    after = pd.DataFrame({"same": rng.normal(size=5000), "moved": rng.normal(0.7, 1, 5000), "constant": 0.0})
    drift = feature_drift(before, after)
    assert drift.loc["same", "psi"] < 0.02
    assert drift.loc["moved", "psi"] > 0.25
    assert drift.loc["moved", "ks"] == pytest.approx(0.27, abs=0.04)  # 2 Phi(0.35) - 1
    assert drift.loc["constant"].to_list() == [0.0, 0.0]


def test_summary_and_pictures(market: Market) -> None:
    frame = feature_frame(market, "1d")
    table = summary(frame)
    assert table.loc["rsi", "mean"] == pytest.approx(frame["rsi"].mean(), abs=1e-6)
    assert (table["at_bound"] < 0.05).all()
    figure = plot_correlations(frame)
    assert len(figure.axes[0].get_yticks()) == frame.shape[1]
    assert plot_lags(lag_table(frame, forward_returns(market, "1d"))).axes


def test_inspection_writes_tables_and_pictures(market: Market, tmp_path: Path) -> None:
    table = inspect_features(market, tmp_path)
    assert list(table.index.levels[0]) == ["15m", "4h", "1d"]
    assert {"mean", "at_bound", "rank_correlation", "information", "psi", "ks"} <= set(table.columns)
    assert table.notna().all(axis=None)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"features.csv", "correlation_15m.png", "lags_4h.png", "mutual_information_1d.csv"} <= written
    with pytest.raises(ValueError, match="bring more bars"):
        inspect_features(Market.from_bars(BARS.iloc[:960]), tmp_path)
