"""The nine checks that holdout-backtest (MIT) publishes, made on ours; its package is asked where it is installed."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from cryptoenv.analysis.resampling import LEVEL
from cryptoenv.analysis.returns import sharpe_ratio
from cryptoenv.analysis.statistics import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    log_upper_tail,
    probabilistic_sharpe,
    scale_to_periods,
    sharpe_p_value,
)
from pretrain.data.folds import combinatorial_paths


def test_1_the_worked_example_of_the_deflated_sharpe_ratio() -> None:
    variance = 0.5 / 250.0
    moments = Moments(1250, 2.5 / math.sqrt(250.0), -3.0, 10.0)
    assert round(expected_best_sharpe(100, variance), 4) == 0.1132
    assert round(deflated_sharpe(moments, 100, variance), 4) == 0.9004


def test_2_the_expected_best_against_quadrature() -> None:
    """The published approximation is never below the exact value, and less above it the more trials there are."""
    z = np.linspace(-12.0, 12.0, 100_001)
    before = 0.03
    for count in (2, 3, 5, 10, 100, 10_000, 1_000_000):
        logs = math.log(count) + stats.norm.logpdf(z) + (count - 1) * stats.norm.logcdf(z)
        exact = float(np.trapezoid(z * np.exp(logs), z))
        beyond = expected_best_sharpe(count, 1.0) / exact - 1.0
        assert -1e-10 <= beyond < before
        before = before if count < 10 else beyond
    assert before < 0.0015
    holdout = pytest.importorskip("holdout")
    assert expected_best_sharpe(2, 1.0) == pytest.approx(holdout.expected_maximum_sharpe(2, 1.0, method="exact"))


def test_3_moments_against_scipy() -> None:
    values = np.random.default_rng(0).standard_t(5, 400)
    moments = Moments.of(values)
    assert moments.skewness == pytest.approx(stats.skew(values), abs=1e-12)
    assert moments.kurtosis == pytest.approx(stats.kurtosis(values, fisher=False), abs=1e-12)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.1, 0.5])
@pytest.mark.parametrize("periods", [12, 365])
def test_4_lo_against_the_closed_form_of_a_first_order_chain(rho: float, periods: int) -> None:
    """sum (q - k) rho^k = rho (q - (1 - rho^q) / (1 - rho)) / (1 - rho)."""
    closed = periods + 2.0 * rho / (1.0 - rho) * (periods - (1.0 - rho**periods) / (1.0 - rho))
    given = rho ** np.arange(1, periods)
    assert scale_to_periods(given, periods) == pytest.approx(periods / math.sqrt(closed), rel=1e-12)
    with pytest.raises(ValueError, match="not allowed"):
        scale_to_periods([-1.0, -1.0], 5)


def test_5_paths_of_combinatorial_splits() -> None:
    for groups in range(2, 13):
        for judged in range(1, groups):
            paths = combinatorial_paths(groups, judged)
            assert paths.shape == (math.comb(groups, judged) * judged // groups, groups)


def test_6_the_logarithm_of_the_upper_tail_against_scipy() -> None:
    for z in np.concatenate((np.linspace(-8.0, 40.0, 200), [100.0, 400.0])):
        assert log_upper_tail(float(z)) == pytest.approx(float(stats.norm.logsf(z)), rel=1e-14, abs=1e-16)
    sure = Moments(10_000, 0.3)
    assert probabilistic_sharpe(sure) == 1.0 and sharpe_p_value(sure) == pytest.approx(stats.norm.sf(
        0.3 * math.sqrt(9_999 / sure.variance)), rel=1e-10, abs=0.0)  # fmt: skip


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.2, 0.4])
def test_7_two_ways_to_take_a_rate_off(rate: float) -> None:
    values, each = np.random.default_rng(1).normal(5e-4, 0.01, 1000), rate / 365.0
    less, over = values - each, (1.0 + values) / (1.0 + each) - 1.0
    assert sharpe_ratio(less) == pytest.approx(sharpe_ratio(over), rel=1e-12)


def test_8_the_best_of_fifty_without_skill() -> None:
    single = deflated = 0
    for seed in range(200):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (500, 50))
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        moments = Moments.of(returns[:, int(ratios.argmax())])
        single += probabilistic_sharpe(moments) > LEVEL
        deflated += deflated_sharpe(moments, 50, float(ratios.var(ddof=1))) > LEVEL
    assert single >= 170 and deflated <= 2


def test_9_an_edge_before_and_after_what_it_costs_to_finance() -> None:
    holdout = pytest.importorskip("holdout")
    sweep = pytest.importorskip("holdout.synthetic").crossover_sweep(trend=0.0006)
    gross = sweep.table.values
    trials = round(holdout.effective_number_of_trials(holdout.trial_correlation(gross), method="eigenvalue"))
    found = []
    for returns in (gross, gross - 0.05 / 252.0):
        ratios = np.array([sharpe_ratio(column) for column in returns.T])
        best = returns[:, int(ratios.argmax())]
        variance = float(ratios.var(ddof=1))
        found.append(deflated_sharpe(Moments.of(best), trials, variance))
        theirs = holdout.deflated_sharpe_ratio(
            float(ratios.max()), len(best), n_trials=trials, trials_variance=variance,
            skewness=holdout.skewness(best), kurtosis=holdout.kurtosis(best),
        )  # fmt: skip
        assert found[-1] == pytest.approx(theirs, abs=1e-9)
    assert found[0] > 0.95 and found[1] < 0.70
    searched = probabilistic_sharpe(Moments.of(gross[:, int(gross.mean(axis=0).argmax())]))
    alone, before, after = (NormalDist().inv_cdf(one) for one in (searched, *found))
    assert before - after > alone - before > 0.0  # financing takes more than the search does
