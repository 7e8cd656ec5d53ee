"""Intervals cover as often as they say, for independent and for dependent returns; aggregates by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from cryptoenv.analysis.resampling import (
    block_interval,
    block_length,
    interquartile_mean,
    probability_of_improvement,
    stratified_interval,
)

MEAN = 0.1  #: of returns whose deviation is 1: their Sharpe ratio too


def _returns(seed: int, count: int, dependence: float, tails: float | None = None) -> NDArray[np.float64]:
    """(count,) returns with autocorrelation `dependence`^lag, deviation 1 and mean `MEAN`."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(count + 200)
    if tails is not None:
        noise = rng.standard_t(tails, count + 200) / np.sqrt(tails / (tails - 2.0))
    values = np.empty(count + 200)
    values[0] = noise[0]
    for i in range(1, len(values)):
        values[i] = dependence * values[i - 1] + noise[i]
    return values[200:] * np.sqrt(1.0 - dependence**2) + MEAN


def _coverage(case: tuple[str, float, float | None], repetitions: int, count: int, resamples: int) -> float:
    statistic, dependence, tails = case
    hits = 0
    for seed in range(repetitions):
        found = block_interval(_returns(seed, count, dependence, tails), statistic, resamples=resamples, seed=seed)
        hits += found.low <= MEAN <= found.high
    return hits / repetitions


CASES = [("mean", 0.0, None), ("mean", 0.3, None), ("sharpe", 0.0, 5.0), ("sharpe", 0.3, None)]


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_at_their_level(case: tuple[str, float, float | None]) -> None:
    assert 0.90 <= _coverage(case, 200, 300, 299) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES, ("mean", -0.2, None), ("sharpe", 0.0, None)])
def test_intervals_cover_at_their_level_in_full(case: tuple[str, float, float | None]) -> None:
    assert abs(_coverage(case, 2000, 1000, 499) - 0.95) <= 0.02


def test_an_interval_for_independent_returns_only_is_found_out() -> None:
    """Blocks of one bar do not cover dependent returns: the simulation would notice."""
    hits = 0
    for seed in range(200):
        found = block_interval(_returns(seed, 500, 0.5), "mean", resamples=99, seed=seed, block=1)
        hits += found.low <= MEAN <= found.high
    assert hits / 200 < 0.87


def test_blocks_are_as_long_as_the_dependence_asks() -> None:
    lengths = [np.mean([block_length(_returns(s, 1000, rho)) for s in range(20)]) for rho in (0.0, 0.3, 0.7)]
    assert lengths[0] < 4.0 < lengths[1] < lengths[2]
    assert block_length(np.full(100, 0.1)) == 1.0


def test_the_same_seed_gives_the_same_interval() -> None:
    values = _returns(0, 300, 0.2)
    first, again, other = (block_interval(values, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first.value == pytest.approx(values.mean())
    assert block_interval(np.full(50, 0.25)).low == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((np.zeros(19),), "n >= 20"), ((np.full(30, np.nan),), "finite"), ((np.arange(30.0), "median"), "is unknown")],
)
def test_what_has_no_interval_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block_interval(*arguments)


def test_aggregates_by_hand() -> None:
    scores = np.random.default_rng(0).normal(size=(7, 5))
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert interquartile_mean([0.0, 1.0, 2.0, 100.0]) == 1.5
    assert probability_of_improvement([[1.0, 5.0], [3.0, 5.0]], [[2.0, 5.0], [0.0, 6.0]]) == pytest.approx(
        (3 / 4 + (0.5 + 0.0 + 0.5 + 0.0) / 4) / 2
    )
    tie = probability_of_improvement(scores, scores)
    assert tie == pytest.approx(0.5)
    with pytest.raises(ValueError, match="of the same markets"):
        probability_of_improvement(np.zeros((2, 3)), np.zeros((2, 4)))


def test_runs_are_drawn_within_their_market() -> None:
    """Markets that differ widely, runs that do not: whatever is drawn, every market keeps its weight."""
    scores = np.array([[0.0, 10.0, 100.0]] * 4)
    for aggregate in ("mean", "median", "iqm"):
        found = stratified_interval(scores, aggregate, resamples=50)
        assert found.low == found.value == found.high
    assert stratified_interval(scores, "mean", resamples=5).value == pytest.approx(110.0 / 3.0)


def test_stratified_intervals_cover() -> None:
    hits = 0
    levels = np.linspace(0.0, 3.0, 6)
    for seed in range(150):
        scores = np.random.default_rng(seed).normal(levels, 0.5, (10, 6))
        found = stratified_interval(scores, "mean", resamples=300, seed=seed)
        hits += found.low <= levels.mean() <= found.high
    assert 0.88 <= hits / 150 <= 0.99


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_of_few_runs_percentiles_reach_as_far_as_the_mean_scatters(runs: int) -> None:
    """Of many markets the mean is nearly normal: half the interval is 1.96 standard errors, those of n - 1."""
    scores = np.random.default_rng(runs).normal(0.0, 1.0, (runs, 400))
    found = stratified_interval(scores, "mean", resamples=4_000)
    error = np.sqrt((scores.var(axis=0, ddof=1) / runs).mean() / 400)
    assert (found.high - found.low) / 2.0 == pytest.approx(1.96 * error, rel=0.08)
    alone = stratified_interval(scores[:1], "mean", resamples=50)
    assert alone.low == alone.value == alone.high


def test_an_improvement_has_an_interval() -> None:
    rng = np.random.default_rng(2)
    better = stratified_interval(rng.normal(1.0, 0.3, (8, 4)), against=rng.normal(0.0, 0.3, (8, 4)), resamples=200)
    assert better.low > 0.9
    same = stratified_interval(rng.normal(0.0, 0.3, (8, 4)), against=rng.normal(0.0, 0.3, (8, 4)), resamples=200)
    assert same.low < 0.5 < same.high
