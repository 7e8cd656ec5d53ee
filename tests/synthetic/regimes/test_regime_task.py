from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthetic.regimes.chain_task import RegimeTask, VarianceRecursion
from synthetic.regimes.tasks import SEED_FAMILIES, TASKS, find_task, task_seeds

EASY = TASKS["easy"]


def test_easy_is_a_chain_that_moves_as_it_says() -> None:
    matrix = EASY.transition_matrix
    assert matrix.shape == (11, 11)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(1 / (1 - np.diag(matrix)), EASY.durations)
    shares = EASY.stationary_distribution
    np.testing.assert_allclose(shares @ matrix, shares, atol=1e-12)
    assert shares.sum() == pytest.approx(1.0) and (shares > 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exits": (*EASY.exits[:-1], (0.5,) * 11)}, "exits of regime 'rebound'"),
        ({"exits": EASY.exits[:-1]}, "exits has 10 rows"),
        ({"exits": ((0.5, 0.5), *EASY.exits[1:])}, r"exits\[bull\] has 2 entries"),
        ({"exits": ((-0.1, 1.1, *EASY.exits[0][2:]), *EASY.exits[1:])}, "exits of regime 'bull'"),
        ({"durations": (0.5, *EASY.durations[1:])}, "duration of regime 'bull' is 0.5"),
        ({"volatility": (0.9, 0.0, *EASY.volatility[2:])}, "volatility of regime 'bear' is 0.0"),
        ({"drift": EASY.drift[:-1]}, "drift has 10 entries"),
        ({"drift": (float("nan"), *EASY.drift[1:])}, "drift is .* finite"),
        ({"log_volume": (float("inf"), *EASY.log_volume[1:])}, "log_volume is .* finite"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"degrees_of_freedom": 2.0}, "degrees_of_freedom is 2.0"),
        ({"volume_noise": -0.5}, "volume_noise is -0.5"),
        ({"signal_to_noise": -1.0}, "signal_to_noise is -1.0"),
        ({"wick": float("nan")}, "wick is nan"),
        ({"regimes": ()}, "regimes has 0 names"),
    ],
)
def test_a_bad_parameter_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(EASY, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"persistence": 1.0}, "persistence is 1.0"),
        ({"constant": -0.1}, "constant is -0.1"),
        ({"floor": 5.0}, "floor is 5.0"),
        ({"floor": 0.0}, "floor is 0.0"),
    ],
)
def test_a_bad_variance_recursion_is_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VarianceRecursion(**change)


def test_lists_become_hashable() -> None:
    task = RegimeTask("one", ("only",), [0.1], [1], [0], [50], [[1.0]])  # type: ignore[arg-type]
    assert hash(task) == hash(replace(task))
    assert task.stationary_distribution.tolist() == [1.0]


def test_tasks_are_found_by_name_only_if_they_exist() -> None:
    assert find_task("easy") is EASY
    assert find_task(EASY) is EASY
    with pytest.raises(ValueError, match=r"'eazy': known tasks are .*'easy'"):
        find_task("eazy")


def test_seed_families_are_disjoint_and_stable() -> None:
    other = replace(EASY, name="other")
    drawn = [task_seeds(task, family, 1000) for task in (EASY, other) for family in SEED_FAMILIES]
    assert len(set().union(*drawn)) == 1000 * len(drawn)
    assert min(map(min, drawn)) >= 10**12 and max(map(max, drawn)) < 2**53
    assert task_seeds("easy", "train", 5) == task_seeds("easy", "train", 1000)[:5]
    with pytest.raises(ValueError, match="family is 'tests'"):
        task_seeds("easy", "tests", 1)
    with pytest.raises(ValueError, match="count is -1"):
        task_seeds("easy", "train", -1)
