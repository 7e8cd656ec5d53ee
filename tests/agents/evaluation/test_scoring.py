from __future__ import annotations

import numpy as np
import pytest

from agents.evaluation.scoring import mean, score


def test_the_optimum_scores_one_and_flat_zero() -> None:
    optimum = np.array([0.3, 0.1, -0.05, 0.4])
    assert score(optimum, optimum).value == 1.0
    assert score(np.zeros(4), optimum).value == 0.0
    ones = score(optimum, optimum)
    assert (ones.low, ones.high) == (1.0, 1.0)


def test_a_score_is_a_ratio_of_sums() -> None:
    assert score(np.array([0.1, 0.3]), np.array([0.2, 0.6])).value == pytest.approx(0.5)
    assert score(np.array([0.4, 0.0]), np.array([0.2, 0.6])).value == pytest.approx(0.5)


def test_a_planted_difference_moves_the_score() -> None:
    optimum = np.full(8, 0.25)
    method = optimum.copy()
    method[3] -= 0.02
    assert score(method, optimum).value == pytest.approx(1.0 - 0.02 / 2.0)


def test_the_interval_covers_at_its_rate() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        optimum = rng.normal(0.4, 0.1, 40)
        method = 0.6 * optimum + rng.normal(0.0, 0.1, 40)
        found = score(method, optimum, seed=trial, resamples=400)
        hits += found.low <= 0.6 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_seeds_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    optimum = rng.normal(0.4, 0.02, 60)
    one = score(0.6 * optimum, optimum)
    several = score(np.stack([0.4 * optimum, 0.6 * optimum, 0.8 * optimum]), optimum)
    assert several.value == pytest.approx(0.6)
    assert several.high - several.low > 5 * (one.high - one.low)


@pytest.mark.parametrize(("method", "optimum"), [(np.zeros(3), np.ones(4)), (np.ones(3), np.zeros(3))])
def test_what_cannot_be_scored_is_refused(method: np.ndarray, optimum: np.ndarray) -> None:
    with pytest.raises(ValueError, match="markets"):
        score(method, optimum)


def test_mean_interval_holds_the_mean() -> None:
    found = mean(np.random.default_rng(0).normal(0.1, 1.0, 500))
    assert found.low < 0.1 < found.high
