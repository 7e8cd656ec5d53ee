"""Scores against scikit-learn, plain Python, and sequences whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from pretrain.segmenter.config import MachineChoice
from pretrain.segmenter.machine_tuning import candidates, machine_of, overall_machine, quickest_machine, tuned_machine
from pretrain.segmenter.scores import (
    change_scores,
    changes_of,
    class_scores,
    confusion_counts,
    probability_scores,
    summary_scores,
)


def drawn(seed: int, rows: int = 600) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels in stretches of about 30 rows, and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, rows), rng.integers(5, 60, rows))[:rows]
    logits = 1.2 * np.eye(3)[labels] + rng.normal(0.0, 1.0, (rows, 3))
    return labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_scores_of_classes_are_scikit_learns() -> None:
    labels, chances = drawn(0)
    said = chances.argmax(axis=1)
    labels[::17] = -1
    known = labels >= 0
    a, b = labels[known], said[known]
    counts = confusion_counts(labels, said, 3)
    assert (counts == metrics.confusion_matrix(a, b)).all()
    each = class_scores(counts)
    expected = metrics.precision_recall_fscore_support(a, b)
    for name, wanted in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        assert each[name] == pytest.approx(wanted)
    found = summary_scores(counts)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(a, b))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(a, b, average="macro"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(a, b))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(a, b))
    assert probability_scores(labels, chances)["log_loss"] == pytest.approx(metrics.log_loss(a, chances[known]))


def test_calibration_error_of_probabilities_that_are_true_is_small_and_of_false_ones_is_their_gap() -> None:
    rng = np.random.default_rng(1)
    chances = rng.dirichlet([2.0, 2.0, 2.0], 60_000)
    labels = (rng.random((60_000, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    assert probability_scores(labels, chances)["calibration_error"] < 0.01
    sure = np.tile([0.98, 0.01, 0.01], (1_000, 1))
    wrong = np.where(np.arange(1_000) < 500, 0, 1)
    assert probability_scores(wrong, sure)["calibration_error"] == pytest.approx(0.48)


def naive_covering(labels: list[int], said: list[int]) -> float:
    def segments(values: list[int]) -> list[set[int]]:
        out: list[set[int]] = []
        for t, value in enumerate(values):
            if t and values[t - 1] == value:
                out[-1].add(t)
            else:
                out.append({t})
        return out

    true, other = segments(labels), segments(said)
    return sum(len(one) * max(len(one & two) / len(one | two) for two in other) for one in true) / len(labels)


def test_changes_against_plain_python() -> None:
    for seed in range(5):
        labels, chances = drawn(seed)
        said = machine_of(("a", "b", "c"), MachineChoice()).states_of(chances).astype(np.int64)
        found = changes_of(labels, said)
        scores = change_scores([found])
        assert scores["covering"] == pytest.approx(naive_covering(labels.tolist(), said.tolist()))
        begins = [t for t in range(1, len(labels)) if labels[t] != labels[t - 1]]
        assert found.true == len(begins)
        ends = [*begins[1:], len(labels)]
        delays = []
        for begin, end in zip(begins, ends, strict=True):
            hits = [t for t in range(begin, end) if said[t] == labels[begin]]
            delays.append((hits[0] if hits else end) - begin)
        assert found.delays.tolist() == delays
        moves = [t for t in range(1, len(said)) if said[t] != said[t - 1]]
        assert found.said == len(moves) and found.false == sum(said[t] != labels[t] for t in moves)


def test_known_sequences() -> None:
    labels = np.repeat([0, 1, 0, 2], 50)
    perfect = change_scores([changes_of(labels, labels)])
    assert perfect["boundary_f1"] == perfect["covering"] == 1.0 and perfect["delay"] == perfect["missed"] == 0.0
    late = np.concatenate([labels[:10] * 0, labels[:-10]])
    found = change_scores([changes_of(labels, late)])
    assert found["delay"] == 10.0 and found["boundary_f1"] == 0.0 and found["missed"] == 0.0
    assert change_scores([changes_of(labels, late, margin=10)])["boundary_f1"] == 1.0
    never = change_scores([changes_of(labels, np.zeros_like(labels))])
    assert never["missed"] == pytest.approx(2 / 3) and never["changes_per_1000"] == 0.0
    nervous = np.arange(200) % 3
    alarms = change_scores([changes_of(labels, nervous)])
    assert alarms["boundary_f1"] < 0.05 and alarms["false_changes_per_1000"] > 500.0
    partly = labels.copy()
    partly[45:55] = -1
    assert changes_of(partly, labels).true == 2 and changes_of(partly, labels).bars == 190


def test_a_tuned_machine_is_calmer_and_better_than_the_likeliest_class_on_other_rows() -> None:
    held, other = [drawn(seed, 2_000) for seed in range(3)], [drawn(seed, 2_000) for seed in range(10, 13)]
    held, other = ([(p, own) for own, p in part] for part in (held, other))  # type: ignore[assignment]
    start = machine_of(("a", "b", "c"), MachineChoice())
    tuned = tuned_machine(start, held, 1.5)  # type: ignore[arg-type]
    assert tuned in list(candidates(start))

    def judged(states: list[NDArray[np.integer]]) -> tuple[float, float]:
        counts = sum(confusion_counts(own, s, 3) for (_, own), s in zip(other, states, strict=True))
        moves = change_scores([changes_of(own, s) for (_, own), s in zip(other, states, strict=True)])  # type: ignore[arg-type]
        return summary_scores(counts)["macro_f1"], moves["changes_per_1000"]  # type: ignore[arg-type]

    f1, moves = judged([tuned.states_of(p) for p, _ in other])  # type: ignore[misc]
    raw_f1, raw_moves = judged([p.argmax(axis=1) for p, _ in other])
    assert f1 > raw_f1 and moves < 0.3 * raw_moves
    quick = quickest_machine(start, held, 5.0)  # type: ignore[arg-type]
    changes = [changes_of(own, quick.states_of(p)) for p, own in held]  # type: ignore[arg-type,misc]
    assert change_scores(changes)["false_changes_per_1000"] <= 5.0


def test_the_overall_machine_goes_where_the_majority_is() -> None:
    machine = overall_machine(("bear", "range", "bull"), 3, MachineChoice())
    bear, calm, bull = np.eye(3)
    rows = np.array([[bear, bear, calm], [bear, calm, bull], [bull, bear, bull], [bull, calm, bear]])
    assert machine.states_of(rows).tolist() == [0, 0, 2, 2]
    assert overall_machine(("a", "b"), 3, MachineChoice(agreement=3)).agreement == 3
