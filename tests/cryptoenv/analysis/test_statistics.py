"""Published figures, closed forms, second implementations, and simulations of the statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cryptoenv.analysis.overfitting import backtest_overfitting, data_snooping
from cryptoenv.analysis.statistics import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    reverse_odds,
)

DAYS = 250


def test_the_published_example_of_the_deflated_sharpe_ratio() -> None:
    """Bailey and Lopez de Prado 2014: 100 trials, variance 1/2 a year, SR 2.5 a year over 1,250 days."""
    variance = 0.5 / 250.0
    best = expected_best_sharpe(100, variance)
    assert best == pytest.approx(0.1132, abs=5e-5)
    moments = Moments(1250, 2.5 / math.sqrt(250.0), -3.0, 10.0)
    assert deflated_sharpe(moments, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    # Fewer trials would have passed; and the break-even of the paper lies at 46 trials.
    assert deflated_sharpe(moments, 46, variance) == pytest.approx(0.95, abs=2e-3)


def test_moments_are_scipys() -> None:
    values = np.random.default_rng(0).standard_t(5, 400)
    moments = Moments.of(values)
    assert moments.skewness == pytest.approx(stats.skew(values), abs=1e-12)
    assert moments.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False), abs=1e-12)
    assert moments.sharpe == pytest.approx(values.mean() / values.std(ddof=1))
    assert Moments.of(np.full(30, 0.01)).sharpe == 0.0


def test_the_expected_best_of_normals() -> None:
    """Against quadrature of the exact expectation, within what the published approximation is good for."""
    for count in (5, 10, 100, 10_000):
        z = np.linspace(-12.0, 12.0, 200_001)
        density = count * stats.norm.pdf(z) * stats.norm.cdf(z) ** (count - 1)
        exact = float(np.trapezoid(z * density, z))
        assert expected_best_sharpe(count, 1.0) == pytest.approx(exact, rel=0.03)
    assert expected_best_sharpe(1, 1.0) == 0.0


def test_probabilities_by_hand() -> None:
    moments = Moments(101, 0.1)
    assert probabilistic_sharpe(moments) == pytest.approx(stats.norm.cdf(0.1 * 10.0 / math.sqrt(1.0 + 0.5 * 0.01)))
    assert probabilistic_sharpe(moments, 0.1) == 0.5
    needed = minimum_track_record(moments)
    assert needed == pytest.approx(1.0 + 1.005 * (stats.norm.ppf(0.95) / 0.1) ** 2)
    assert probabilistic_sharpe(Moments(round(needed), 0.1)) == pytest.approx(0.95, abs=1e-3)
    assert minimum_track_record(Moments(100, -0.1)) == math.inf


def test_what_one_must_have_believed() -> None:
    alone = reverse_odds(0.05, 1, power=0.8, belief=0.95)
    assert alone.false_positive == pytest.approx(0.05)
    assert alone.needed == pytest.approx(19.0 * 0.05 / 0.8)
    assert alone.believed(alone.needed) == pytest.approx(0.95)
    many = reverse_odds(0.05, 100, power=0.8)
    assert many.false_positive == pytest.approx(1.0 - 0.95**100)
    assert many.needed > 20.0 * alone.needed / 1.1
    with pytest.raises(ValueError, match="probabilities"):
        reverse_odds(1.5, 1)


@pytest.mark.parametrize("count", [0, -1])
def test_no_trial_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="trials >= 1"):
        expected_best_sharpe(count, 1.0)


def _best_of_noise(runs: int, trials: int = 100) -> tuple[int, int]:
    """In how many runs the best of `trials` without skill passes: by the single test, and deflated."""
    single = deflated = 0
    for seed in range(runs):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (DAYS, trials))
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        moments = Moments.of(returns[:, int(ratios.argmax())])
        single += probabilistic_sharpe(moments) > 0.95
        deflated += deflated_sharpe(moments, trials, float(ratios.var(ddof=1))) > 0.95
    return single, deflated


def test_the_best_of_noise_is_no_finding_once_deflated() -> None:
    single, deflated = _best_of_noise(100)
    assert single > 90 and deflated <= 5


def _overfitting(edge: float, runs: int) -> float:
    found = []
    for seed in range(runs):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (480, 20))
        returns[:, 7] += edge
        found.append(backtest_overfitting(returns, blocks=10).probability)
    return float(np.mean(found))


def test_overfitting_of_noise_and_of_an_edge() -> None:
    assert 0.42 < _overfitting(0.0, 30) < 0.58
    assert _overfitting(0.004, 10) < 0.05


def test_overfitting_by_hand() -> None:
    """Two trials in two blocks: the better in one half is the worse in the other, in both partitions."""
    one, other = np.tile([0.02, 0.01], 4), np.tile([0.01, -0.01], 4)
    swapped = np.column_stack((np.concatenate((one, other)), np.concatenate((other, one))))
    assert backtest_overfitting(swapped, blocks=2).probability == 1.0
    steady = np.column_stack((np.concatenate((one, one)), np.concatenate((other, other))))
    assert backtest_overfitting(steady, blocks=2).probability == 0.0
    with pytest.raises(ValueError, match="an even number"):
        backtest_overfitting(steady, blocks=3)


def test_snooping_at_its_level_and_with_an_edge() -> None:
    """White's test is conservative where trials are hopeless, Hansen's is not; both keep their level on noise."""
    hits = np.zeros(2)
    for seed in range(120):
        gains = np.random.default_rng(seed).normal(0.0, 0.01, (200, 12))
        told = data_snooping(gains, resamples=300, seed=seed)
        assert told.spa_low <= told.spa <= told.spa_high
        hits += [told.reality_check < 0.1, told.spa < 0.1]
    assert (hits / 120 < 0.19).all() and (hits / 120 > 0.02).all()
    rng = np.random.default_rng(1)
    gains = rng.normal(0.0, 0.01, (300, 40))
    gains[:, 5] += 0.004
    hopeless = gains.copy()
    hopeless[:, 20:] = rng.normal(-0.02, 0.2, (300, 20))
    assert data_snooping(gains).spa < 0.05 and data_snooping(gains).best == 5
    told = data_snooping(hopeless)
    assert told.spa < 0.05 < told.reality_check


def test_holdout_says_the_same() -> None:
    holdout = pytest.importorskip("holdout")
    rng = np.random.default_rng(4)
    returns = rng.standard_t(5, (640, 12)) * 0.01 + 0.0003 * np.arange(12)
    moments = Moments.of(returns[:, 3])
    shape = {"skewness": moments.skewness, "kurtosis": moments.kurtosis}
    assert probabilistic_sharpe(moments, 0.02) == pytest.approx(
        holdout.probabilistic_sharpe_ratio(moments.sharpe, moments.count, benchmark=0.02, **shape)
    )
    assert minimum_track_record(moments) == pytest.approx(
        holdout.minimum_track_record_length(moments.sharpe, **shape)
    )
    assert expected_best_sharpe(100, 0.5 / 250) == pytest.approx(holdout.expected_maximum_sharpe(100, 0.5 / 250))
    ours, theirs = backtest_overfitting(returns, 8), holdout.probability_of_backtest_overfitting(returns, n_blocks=8)
    assert ours.probability == pytest.approx(theirs.pbo) and ours.loss == pytest.approx(theirs.probability_of_loss)
    noise = rng.normal(0.0, 0.01, (400, 10))
    noise[:, 2] += 0.0008
    told = holdout.superior_predictive_ability(noise, seed=0)
    assert data_snooping(noise, resamples=4000).spa == pytest.approx(told.consistent, abs=0.05)


@pytest.mark.slow
def test_the_best_of_noise_in_five_hundred_runs() -> None:
    single, deflated = _best_of_noise(500)
    assert single > 450 and deflated <= 25


@pytest.mark.slow
def test_overfitting_of_noise_in_full() -> None:
    found = [
        backtest_overfitting(np.random.default_rng(seed).normal(0.0, 0.01, (800, 30))).probability for seed in range(40)
    ]
    assert 0.45 < float(np.mean(found)) < 0.55
