"""Scores of forecasts against figures made by hand and against other ways to reckon them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryptoenv.analysis.forecast_scores import (
    block_bootstrap,
    coverage,
    crps,
    crps_of_normal,
    diebold_mariano,
    log_density,
    long_run_variance,
    mase,
    pesaran_timmermann,
    pinball,
    point_errors,
    quantile_function,
    skill,
)

LEVELS = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])


def normal(levels: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return np.asarray(norm.ppf(levels))


def test_pinball_by_hand() -> None:
    found = pinball(np.array([0.1, 0.5, 0.9]), np.array([[-1.0, 0.0, 2.0]]), np.array([1.0]))
    np.testing.assert_allclose(found, [[0.2, 0.5, 0.1]])  # 0.1 x 2, 0.5 x 1, (0.9 - 1) x (1 - 2)


def test_quantiles_between_and_beyond_what_is_known() -> None:
    levels, values = np.array([0.1, 0.5, 0.9]), np.array([0.0, 1.0, 3.0])
    found = quantile_function(levels, values, np.array([0.1, 0.3, 0.5, 0.7, 0.9]))
    np.testing.assert_allclose(found, [0.0, 0.5, 1.0, 2.0, 3.0])
    below, above = quantile_function(levels, values, np.array([0.02, 0.98]))
    assert below == pytest.approx(math.log(0.02 / 0.1) / math.log(0.5 / 0.1))  # falls by 1 per factor 5
    assert above == pytest.approx(3.0 + 2.0 * math.log(0.1 / 0.02) / math.log(0.5 / 0.1))


def test_crps_of_normal_quantiles_is_the_normal_one() -> None:
    rng = np.random.default_rng(0)
    truth, sigma = rng.normal(size=2000), 1.3
    exact = crps_of_normal(np.zeros(2000), np.full(2000, sigma), truth)
    by_quantiles = crps(LEVELS, np.tile(sigma * normal(LEVELS), (2000, 1)), truth)
    assert by_quantiles.mean() == pytest.approx(exact.mean(), rel=0.01)
    assert crps_of_normal(np.zeros(1), np.ones(1), np.zeros(1))[0] == pytest.approx(0.23369498)  # (sqrt 2 - 1)/sqrt pi
    assert crps(LEVELS, np.full((1, 13), 2.0), np.array([5.0]))[0] == pytest.approx(3.0)  # of a point: the distance


def test_density_is_that_of_the_quantiles_and_sums_to_one() -> None:
    values = normal(LEVELS)
    grid = np.linspace(-30.0, 30.0, 400_001)
    density = np.exp(log_density(LEVELS, np.tile(values, (len(grid), 1)), grid))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-3)
    inside = np.exp(log_density(LEVELS, values[None], np.array([0.1])))[0]
    assert inside == pytest.approx(np.exp(-0.005) / math.sqrt(2.0 * math.pi), rel=1e-6)  # a normal law is met exactly


def test_density_of_heavy_tails_loses_little_to_the_law_itself() -> None:
    from scipy.stats import t as student

    drawn = student.rvs(5, size=20_000, random_state=0)
    found = log_density(LEVELS, np.tile(student.ppf(LEVELS, 5), (len(drawn), 1)), drawn)
    lost = (student.logpdf(drawn, 5) - found).mean()
    assert -0.001 < lost < 0.004


def test_point_errors_mase_and_skill_by_hand() -> None:
    forecast, truth = np.array([1.0, 2.0, 2.0]), np.array([2.0, 4.0, 1.0])
    found = point_errors(forecast, truth)
    assert (found["mae"], found["mse"]) == pytest.approx((4.0 / 3.0, 2.0))
    assert (found["rmse"], found["mape"]) == pytest.approx((math.sqrt(2.0), (0.5 + 0.5 + 1.0) / 3.0))
    assert mase(forecast, truth, np.array([0.0, 1.0, 3.0, 2.0])) == pytest.approx(1.0)  # naive: (1 + 2 + 1) / 3
    assert mase(forecast, truth, np.array([0.0, 1.0, 3.0, 2.0]), 2) == pytest.approx(4.0 / 3.0 / 2.0)
    assert skill(np.array([1.0, 1.0]), np.array([4.0, 4.0])) == 0.75
    assert coverage(np.zeros(4), np.ones(4), np.array([-1.0, 0.0, 0.5, 2.0])) == 0.5


def test_long_run_variance_by_hand() -> None:
    values = np.array([1.0, -1.0, 2.0, -2.0])  # mean 0; g0 = 10/4, g1 = (-1 -2 -4)/4
    assert long_run_variance(values, 0) == pytest.approx(2.5)
    assert long_run_variance(values, 1) == pytest.approx(2.5 + 2.0 * 0.5 * (-7.0 / 4.0))


def test_diebold_mariano_by_hand_and_by_its_size() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(8), rng.random(8)
    difference = a - b
    centred = difference - difference.mean()
    variance = centred @ centred / 8
    for lag, weight in ((1, 2 / 3), (2, 1 / 3)):
        variance += 2 * weight * (centred[lag:] @ centred[:-lag]) / 8
    wanted = math.sqrt(7 / 8) * difference.mean() / math.sqrt(variance / 8)  # horizon 1: (n - 1) / n; 8^(1/3) = 2 lags
    assert diebold_mariano(a, b, 1).statistic == pytest.approx(wanted)
    assert diebold_mariano(a, a, 1) == (0.0, 1.0)
    rejected = sum(diebold_mariano(*rng.normal(size=(2, 400)), 1).p_value < 0.05 for _ in range(400))
    assert 6 <= rejected <= 40  # 20 expected of equal forecasts
    assert diebold_mariano(rng.normal(size=400) - 0.5, rng.normal(size=400), 1).statistic < -4.0


def test_pesaran_timmermann_by_hand_and_by_its_size() -> None:
    truth = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0])
    said = np.array([1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 1.0])  # 8 of 10 right, all margins one half
    of_hit, of_chance = 0.25 / 10, 4 * 0.5**4 / 100
    assert pesaran_timmermann(said, truth).statistic == pytest.approx(0.3 / math.sqrt(of_hit - of_chance))
    rng = np.random.default_rng(1)
    pairs = [(1.0 + rng.normal(size=200), rng.normal(0.3, 1.0, 200)) for _ in range(400)]
    up = [pesaran_timmermann(said, truth).p_value for said, truth in pairs]
    assert 6 <= sum(p < 0.05 for p in up) <= 40  # a forecaster who mostly says "up" in a rising market knows nothing
    assert math.isnan(pesaran_timmermann(np.ones(10), np.ones(10)).statistic)


def test_block_bootstrap_keeps_what_blocks_hold() -> None:
    values = np.repeat([0.0, 1.0], 50)[:, None]
    whole = block_bootstrap(values, 100, 50, np.random.default_rng(0))
    np.testing.assert_allclose(whole, 0.5)  # a circle, all of it
    noise = np.random.default_rng(1).normal(size=(400, 1))
    drawn = block_bootstrap(noise, 1, 2000, np.random.default_rng(2))
    assert drawn.std() == pytest.approx(noise.std() / 20.0, rel=0.1)
    assert np.array_equal(drawn, block_bootstrap(noise, 1, 2000, np.random.default_rng(2)))
