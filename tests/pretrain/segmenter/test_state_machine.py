"""The state machine against a naive one, its rules one by one, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptoenv.files.typed_values import ConfigError
from pretrain.segmenter.state_machine import SEGMENT_COLUMNS, TRIGGERS, Memory, StateMachine
from tests.naive.state_machine import naive_states

CLASSES = ("bear", "consolidation", "bull")
NEIGHBOURS = (("consolidation",), ("bear", "bull"), ("consolidation",))


def walk(seed: int, rows: int, sources: int = 1, states: int = 3) -> NDArray[np.float64]:
    """(T, S, C) probabilities that wander, with some ties."""
    rng = np.random.default_rng(seed)
    logits = np.cumsum(rng.normal(0.0, 0.5, (rows, sources, states)), axis=0) * 0.4
    found = np.exp(logits)
    return np.round(found / found.sum(axis=2, keepdims=True), 2).clip(0.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sources=st.integers(1, 4),
    enter=st.tuples(*[st.sampled_from([0.34, 0.45, 0.5, 0.7])] * 3),
    below=st.tuples(*[st.sampled_from([0.01, 0.1, 0.3])] * 3),
    dwell=st.tuples(*[st.integers(1, 12)] * 3),
    allowed=st.sampled_from([(), NEIGHBOURS, (("bull",), ("bear",), ("consolidation", "bear"))]),
    data=st.data(),
)
def test_states_steps_and_the_naive_machine_agree(seed, sources, enter, below, dwell, allowed, data) -> None:  # type: ignore[no-untyped-def]
    agreement = data.draw(st.integers(1, sources))
    leave = tuple(a - b for a, b in zip(enter, below, strict=True))
    machine = StateMachine(CLASSES, enter, leave, dwell, agreement, allowed)
    rows = walk(seed, 200, sources)
    expected = naive_states(rows.tolist(), enter, leave, dwell, agreement, machine.table.tolist())
    assert machine.states_of(rows).tolist() == [state for state, _ in expected]
    memory: Memory | None = None
    for row, (state, why) in zip(rows, expected, strict=True):
        memory = machine.step(row, memory)
        assert (memory.state, TRIGGERS[memory.trigger]) == (state, why)


def test_a_planted_difference_is_found() -> None:
    """The comparison above would see a threshold that is off by one hundredth."""
    rows = walk(3, 2_000)
    machine = StateMachine(CLASSES, 0.5, 0.4, 4)
    expected = naive_states(rows.tolist(), [0.5] * 3, [0.4] * 3, [4] * 3, 1, machine.table.tolist())
    assert machine.states_of(rows).tolist() == [state for state, _ in expected]
    other = replace(machine, enter=0.51)
    assert other.states_of(rows).tolist() != [state for state, _ in expected]


def test_what_comes_later_changes_nothing() -> None:
    rows = walk(5, 600, sources=3)
    machine = StateMachine(CLASSES, 0.5, 0.4, (3, 9, 3), 2, NEIGHBOURS)
    whole = machine.states_of(rows)
    for cut in range(1, 600, 37):
        poisoned = rows.copy()
        poisoned[cut:] = walk(cut, 600 - cut, sources=3)
        assert (machine.states_of(poisoned)[:cut] == whole[:cut]).all()


def test_hysteresis_dwell_agreement_and_table_each_hold_a_change_back() -> None:
    def told(machine: StateMachine, rows: list[list[float]]) -> list[int]:
        return machine.states_of(rows).tolist()

    plain = StateMachine(("bear", "bull"), enter=0.6, leave=0.5)
    assert told(plain, [[0.8, 0.2], [0.45, 0.55], [0.38, 0.62], [0.5, 0.5]]) == [0, 0, 1, 1]
    patient = replace(plain, minimum_dwell=3)
    assert told(patient, [[0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8], [0.9, 0.1]]) == [0, 0, 0, 1, 1]
    ordered = StateMachine(CLASSES, enter=0.4, leave=0.3, allowed=NEIGHBOURS)
    assert told(ordered, [[0.8, 0.1, 0.1], [0.0, 0.1, 0.9], [0.0, 0.5, 0.5], [0.0, 0.1, 0.9]]) == [0, 0, 1, 2]
    voting = StateMachine(("bear", "bull"), enter=0.5, leave=0.45, agreement=2)
    one, two = [[0.9, 0.1], [0.6, 0.4]], [[0.0, 1.0], [0.55, 0.45]]
    assert voting.states_of(np.array([one, two])).tolist() == [0, 0]
    assert replace(voting, agreement=1).states_of(np.array([one, two])).tolist() == [0, 1]


def test_segments_say_from_when_to_when_and_why() -> None:
    index = pd.date_range("2024-01-01", periods=6, freq="h", tz="UTC")
    machine = StateMachine(("bear", "bull"), enter=0.6, leave=0.5, minimum_dwell=3)
    rows = np.array([[0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7], [0.1, 0.9]])
    table = machine.run(rows, index, "1h")
    assert tuple(table.columns) == SEGMENT_COLUMNS
    assert table["state"].tolist() == ["bear", "bull"] and table["bars"].tolist() == [3, 3]
    assert table["start"].tolist() == [index[0], index[3]] and table["end"].tolist() == [index[2], index[5]]
    assert table["trigger"].tolist() == ["start", "minimum dwell over"] and set(table["timescale"]) == {"1h"}
    assert table["mean_probability"].tolist() == pytest.approx([(0.8 + 0.2 + 0.2) / 3, (0.6 + 0.7 + 0.9) / 3])


def test_segments_of_any_run_cover_it_once() -> None:
    rows = walk(9, 5_000)
    machine = StateMachine(CLASSES, 0.5, 0.35, (2, 5, 2), allowed=NEIGHBOURS)
    table, states = machine.run(rows), machine.states_of(rows)
    assert table["bars"].sum() == 5_000 and (table["start"].to_numpy()[1:] == table["end"].to_numpy()[:-1] + 1).all()
    names = np.array(CLASSES)[states]
    for begin, end, state in zip(table["start"], table["end"], table["state"], strict=True):
        assert (names[begin : end + 1] == state).all()
    assert (table["bars"].to_numpy()[:-1] >= 2).all() and len(table) >= 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leave": 0.5, "enter": 0.5}, "thresholds that cross"),
        ({"leave": (0.4, 0.6, 0.4), "enter": 0.5}, "of 'consolidation'"),
        ({"allowed": (("bull",), ("bear",), ())}, "from 'bull' none leads to"),
        ({"allowed": (("consolidation",), ("bear",), ("bear",))}, r"from 'bear' none leads to \['bull'\]"),
        ({"allowed": (("bear",), ("bear",), ("bear",))}, "what may follow 'bear'"),
        ({"allowed": (("crash",), ("bear",), ("bear",))}, "crash"),
        ({"minimum_dwell": 0}, "minimum_dwell"),
        ({"minimum_dwell": (1, 2)}, "one for each of"),
        ({"enter": 1.5}, "enter"),
        ({"enter": "much"}, "enter"),
        ({"states": ("bear",)}, "states"),
        ({"states": ("bear", "bear", "bull")}, "states"),
        ({"agreement": 0}, "agreement"),
    ],
)
def test_a_machine_that_cannot_be_meant_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        StateMachine(**({"states": CLASSES} | changes))  # type: ignore[arg-type]


def test_probabilities_that_are_none_are_refused_with_their_row() -> None:
    machine = StateMachine(CLASSES)
    with pytest.raises(ValueError, match=r"probabilities\[1\]"):
        machine.states_of([[0.2, 0.3, 0.5], [0.2, np.nan, 0.5]])
    with pytest.raises(ValueError, match="shape"):
        machine.states_of([[0.5, 0.5]])
    with pytest.raises(ValueError, match="S >= agreement=2"):
        StateMachine(CLASSES, agreement=2).step([0.2, 0.3, 0.5])
