from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthetic import TASKS, MacroTask, VarianceAverages, VolumeLaw, task_seeds

STANDARD = TASKS["standard"]
assert isinstance(STANDARD, MacroTask)


def place(macro: str, event: str) -> int:
    return STANDARD.regimes.index(f"{macro}/{event}")


@pytest.mark.parametrize("name", ["standard", "hard"])
def test_frozen_tasks_are_chains(name: str) -> None:
    task = TASKS[name]
    assert isinstance(task, MacroTask) and len(task.regimes) == 64
    matrix = task.transition_matrix
    assert matrix.shape == (64, 64) and (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    shares = task.stationary_distribution
    np.testing.assert_allclose(shares @ matrix, shares, atol=1e-12)
    assert shares.sum() == pytest.approx(1.0) and (shares > 0).all()
    np.testing.assert_allclose(1 / (1 - np.diag(task.macro_matrix)), task.macro_durations)
    assert hash(task) == hash(replace(task))


def test_the_macro_state_decides_what_a_breakout_leads_to() -> None:
    matrices = dict(zip(STANDARD.macros, STANDARD.event_matrices, strict=True))
    events = STANDARD.events
    up, down = events.index("trend+"), events.index("trend-")
    breakout = events.index("breakout+")
    leave = {macro: matrix[breakout] / (1 - matrix[breakout, breakout]) for macro, matrix in matrices.items()}
    assert leave["up"][up] == pytest.approx(1.0) and leave["down"][down] == pytest.approx(0.95)
    assert leave["range"][down] == pytest.approx(0.95) and leave["stress"][down] == pytest.approx(0.55)


def test_sides_are_mirrored() -> None:
    """Swapping up with down and + with - changes nothing but the signs of drift, signed volume and tilt."""
    macros = [STANDARD.macros.index(name) for name in ("down", "up", "range", "stress")]
    flip = {"+": "-", "-": "+"}
    events = [STANDARD.events.index(name[:-1] + flip.get(name[-1], name[-1])) for name in STANDARD.events]
    for name, sign in (("drift", -1), ("signed_volume", -1), ("wick_tilt", -1), ("log_volume", 1), ("volatility", 1)):
        table = np.array(getattr(STANDARD, name))
        np.testing.assert_allclose(table[macros][:, events], sign * table, atol=1e-12)
    matrices = STANDARD.event_matrices
    np.testing.assert_allclose(matrices[macros][:, events][:, :, events], matrices, atol=1e-12)


def test_unconfirmed_breakouts_differ_by_volume_alone() -> None:
    confirmed, other = place("range", "breakout+"), place("range", "unconfirmed+")
    for name in ("drift", "volatility", "signed_volume", "wick_tilt", "anchor_pull", "durations"):
        table = np.array(getattr(STANDARD, name)).ravel()
        assert table[confirmed] == table[other]
    volume = np.array(STANDARD.log_volume).ravel()
    assert volume[confirmed] - volume[other] == pytest.approx(1.0)


def test_seed_families_differ_between_tasks() -> None:
    drawn = [task_seeds(task, family, 100) for task in ("easy", "standard", "hard") for family in ("train", "test")]
    assert len(set().union(*drawn)) == 600


def changed(table: tuple[tuple[float, ...], ...], value: float) -> tuple[tuple[float, ...], ...]:
    return ((value, *table[0][1:]), *table[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volatility": changed(STANDARD.volatility, -1.0)}, "volatility of regime 'up/quiet' is -1.0"),
        ({"durations": changed(STANDARD.durations, 0.5)}, "duration of regime 'up/quiet' is 0.5"),
        ({"wick_tilt": changed(STANDARD.wick_tilt, 1.0)}, "wick_tilt of regime 'up/quiet' is 1.0"),
        ({"anchor_pull": changed(STANDARD.anchor_pull, -0.1)}, "anchor_pull of regime 'up/quiet' is -0.1"),
        ({"drift": changed(STANDARD.drift, float("nan"))}, r"drift\[up\] is .* finite"),
        ({"drift": STANDARD.drift[:3]}, "drift has 3 rows"),
        ({"macro_exits": changed(STANDARD.macro_exits, 0.5)}, "exits of macro state 'up'"),
        ({"exits": (changed(STANDARD.exits[0], 0.5), *STANDARD.exits[1:])}, "exits of regime 'up/quiet'"),
        ({"exits": STANDARD.exits[:2]}, "exits has 2 tables"),
        ({"macro_durations": (0.0, 1.0, 1.0, 1.0)}, "duration of macro state 'up' is 0.0"),
        ({"macro_durations": (10.0, 1.0)}, "macro_durations has 2 entries"),
        ({"macros": ()}, "there are 0 macros"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"wick": -1.0}, "wick is -1.0"),
        ({"signal_to_noise": -1.0}, "signal_to_noise is -1.0"),
        ({"degrees_of_freedom": 4}, "degrees_of_freedom is 4: .* odd"),
        ({"bounce": 1.0}, "bounce is 1.0"),
        ({"anchor_rate": 0.0}, "anchor_rate is 0.0"),
        ({"level_memory": 1.0}, "level_memory is 1.0"),
        ({"level_spread": float("inf")}, "level_spread is inf"),
    ],
)
def test_a_bad_parameter_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(STANDARD, **change)


def test_bad_recursions_are_named() -> None:
    with pytest.raises(ValueError, match=r"VarianceAverages.weights is .* below 1"):
        VarianceAverages(weights=(0.5, 0.3, 0.3))
    with pytest.raises(ValueError, match="VarianceAverages has 2 rates"):
        VarianceAverages(rates=(0.5, 0.1))
    with pytest.raises(ValueError, match=r"VarianceAverages.rates is .* every rate"):
        VarianceAverages(rates=(0.0, 0.1, 0.1))
    with pytest.raises(ValueError, match="0 < floor < ceiling"):
        VarianceAverages(floor=20.0)
    with pytest.raises(ValueError, match=r"VolumeLaw\.noise is 0"):
        VolumeLaw(noise=0.0)
