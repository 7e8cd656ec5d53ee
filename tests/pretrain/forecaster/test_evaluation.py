"""Judging: every row counts, the optimum wins, baselines are what they are called."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bar_files.reading import read_bars
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.data.scaler import RobustScaler
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.evaluation import (
    COLUMNS,
    FORECASTER,
    HISTORICAL,
    TRACKED,
    Forecasts,
    evaluate_forecaster,
    historical_forecasts,
    judge,
    persistence_forecasts,
    truth_of,
)
from pretrain.forecaster.model import normal_quantiles
from pretrain.forecaster.peers import LEVELS, Drift, Har, Linear, NoDrift, SeasonalNaive, last_returns, peers
from pretrain.forecaster.pictures import draw_run
from tests.pretrain.conftest import TIMEFRAMES, random_bars

WINDOW = (12, 3, 2)


def dataset_of(close: np.ndarray, start: int, stop: int | None, horizons: tuple[int, ...]) -> ForecastDataset:
    bars = random_bars(1, len(close))
    bars["open"], bars["close"] = np.concatenate(([close[0]], close[:-1])), close
    bars["high"], bars["low"] = bars[["open", "close"]].max(axis=1), bars[["open", "close"]].min(axis=1)
    return ForecastDataset([Part(Market.from_bars(bars, TIMEFRAMES), start, stop)], WINDOW, horizons)


def test_the_law_itself_beats_persistence_and_covers(markets: tuple[Market, ...]) -> None:
    """Returns N(0, 0.01^2): who says so covers 80%, and has the lower CRPS; who says a tenth of it covers 10%."""
    dataset = ForecastDataset([Part(m, 1200) for m in markets], WINDOW, (1, 4))
    truth = truth_of(dataset, np.arange(len(dataset)))
    units = 0.01 * np.sqrt(np.array([1.0, 4.0]))
    law = np.tile(units[:, None] * normal_quantiles(tuple(LEVELS)), (len(truth.close), 1, 1))
    zeros = np.zeros_like(truth.returns)
    said = {"law": Forecasts(LEVELS, zeros, law), "narrow": Forecasts(LEVELS, zeros, 0.1 * law)}
    said |= {HISTORICAL: historical_forecasts(truth, LEVELS), "persistence": persistence_forecasts(truth, LEVELS)}
    table = judge(truth, said)
    assert list(table.columns) == list(COLUMNS)
    assert table.loc[("law", 1), "rows"] == sum(len(m) - 1 - 1200 for m in markets)
    for h in (1, 4):
        assert table.loc[("law", h), "cover_80"] == pytest.approx(0.8, abs=0.03)
        assert table.loc[("narrow", h), "cover_80"] < 0.15
        assert table.loc[("law", h), "crps_of_historical"] < 1.0 < table.loc[("narrow", h), "crps_of_historical"]
        assert table.loc[("law", h), "crps_low"] <= table.loc[("law", h), "crps_of_historical"]
    assert table.loc[("law", 1), "dm"] < -3.0
    assert math.isnan(table.loc[("persistence", 1), "cover_80"])
    assert table.loc[("persistence", 1), "crps"] == pytest.approx(table.loc[("persistence", 1), "mae"])


def test_direction_and_skill_of_who_knows_the_sign(markets: tuple[Market, ...]) -> None:
    dataset = ForecastDataset([Part(markets[0], 1200)], WINDOW, (1,))
    truth = truth_of(dataset, np.arange(len(dataset)))
    mean = 0.005 * np.sign(np.nan_to_num(truth.returns))
    quantiles = mean[..., None] + 0.01 * normal_quantiles(tuple(LEVELS))
    row = judge(truth, {"seer": Forecasts(LEVELS, mean, quantiles)}).loc[("seer", 1)]
    assert row["direction"] == 1.0
    assert row["direction_p"] < 1e-6
    assert 0.4 < row["skill"] < 0.8


def test_peers_find_what_they_are_made_for() -> None:
    rng = np.random.default_rng(0)
    steps = np.zeros(24 * 90)
    for i in range(1, len(steps)):
        steps[i] = -0.4 * steps[i - 1] + rng.normal(0.0, 0.01)
    close = 100.0 * np.exp(np.cumsum(steps + 0.002))
    train, test = (dataset_of(close, *part, (1, 4)) for part in ((0, 1600), (1600, None)))
    truth = truth_of(test, np.arange(len(test)))
    skills = {
        name: judge(truth, {name: peer.fit(train)(test, np.arange(len(test)))}).loc[(name, 1), "skill"]
        for name, peer in {"ar": Linear(last_returns, 1e-4), "drift": Drift(), "none": NoDrift()}.items()
    }
    assert skills["ar"] > 0.12 > skills["drift"] > 0.0 == skills["none"]  # the law's own: 0.16 and the drift's


def test_the_season_before_is_what_the_seasonal_naive_says() -> None:
    hours = np.arange(24 * 80)
    close = 100.0 * np.exp(0.05 * np.sin(2.0 * np.pi * hours / 24.0) + 1e-5 * hours % 0.001)
    dataset = dataset_of(close, 1300, None, (1, 6))
    said = SeasonalNaive().fit(dataset)(dataset, np.arange(len(dataset)))
    truth = truth_of(dataset, np.arange(len(dataset)))
    known = np.isfinite(truth.returns[:, 1])
    np.testing.assert_allclose(said.mean[known, 1], truth.returns[known, 1], atol=2e-3)


def test_har_follows_volatility_that_lasts() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat(rng.choice([0.002, 0.02], 24 * 90 // 40), 40)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, len(level)) * level))
    train, test = (dataset_of(close, *part, (1, 4)) for part in ((0, 1600), (1600, None)))
    rows = np.arange(len(test))
    truth = truth_of(test, rows)
    said = {"har": Har().fit(train)(test, rows), "flat": NoDrift().fit(train)(test, rows)}
    table = judge(truth, said)
    assert table.loc[("har", 1), "crps"] < 0.97 * table.loc[("flat", 1), "crps"]


def test_a_forecaster_is_judged_and_drawn(forecaster: Forecaster, markets: tuple[Market, ...], tmp_path: Path) -> None:
    part = Part(markets[2], 1200)
    further = {"drift": Drift().fit(ForecastDataset([Part(markets[0])], WINDOW, forecaster.config.horizons))}
    table = evaluate_forecaster(forecaster, [part], further)
    contenders = {FORECASTER, TRACKED, "persistence", HISTORICAL, "drift"}
    assert set(table.index.get_level_values("contender")) == contenders
    assert (table["rows"] == [len(markets[2]) - 1200 - h for h in (1, 4, 8) for _ in contenders]).all()
    pictures = draw_run(forecaster, [part], tmp_path)
    assert {p.name for p in pictures} == {
        "predicted_vs_actual.png", "fan.png", "error_by_horizon.png", "calibration.png"
    }  # fmt: skip
    assert all(p.stat().st_size > 5_000 for p in pictures)


def test_all_peers_speak_of_any_rows(forecaster: Forecaster, markets: tuple[Market, ...]) -> None:
    train, test = (ForecastDataset([Part(m, 1200, 1500)], forecaster.config.layout_window, (1, 4)) for m in markets[:2])
    scaler = RobustScaler.fit(TIMEFRAMES, markets[0].feature_names, train.feature_rows())
    for name, peer in peers(scaler).items():
        if hasattr(peer, "_trees"):
            peer._trees = 3
        said = peer.fit(train)(test, np.array([0, 17]))
        assert said.quantiles.shape == (2, 2, len(said.levels)), name
        assert np.isfinite(said.quantiles).all(), name
        assert (np.diff(said.quantiles, axis=2) >= 0.0).all(), name


def test_historical_volatility_covers_real_bars_as_published(real_data: Path) -> None:
    """On hours of bitcoin, normal bands of 20 bars cover less than they say, and not much less."""
    bars = read_bars(real_data / "binance_spot_BTCUSDT_1h_2017_2024.csv.gz").iloc[-4000:]
    dataset = ForecastDataset([Part(Market.from_bars(pd.DataFrame(bars), TIMEFRAMES), 1500)], WINDOW, (1,))
    truth = truth_of(dataset, np.arange(len(dataset)))
    table = judge(truth, {HISTORICAL: historical_forecasts(truth, LEVELS)})
    assert 0.7 < table.loc[(HISTORICAL, 1), "cover_80"] < 0.85
