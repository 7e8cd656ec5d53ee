"""Choosing the thresholds of a state machine on validation markets: the best states that do not change too often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from pretrain.segmenter.config import MachineChoice
from pretrain.segmenter.scores import change_scores, changes_of, confusion_counts, summary_scores
from pretrain.segmenter.state_machine import StateMachine

ENTER = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
GAPS = (0.02, 0.1, 0.2, 0.3)  #: by which a state is left below what it is entered at
DWELLS = (1, 2, 4, 8, 16, 32)
Held = tuple[NDArray[np.floating], NDArray[np.integer]]  #: of a market: (n, C) probabilities, (n,) labels, -1 unknown


def machine_of(classes: tuple[str, ...], choice: MachineChoice) -> StateMachine:
    """The machine of one timescale that a choice describes, before it is tuned."""
    return StateMachine(classes, choice.enter, choice.leave, choice.minimum_dwell, 1, choice.allowed)


def overall_machine(classes: tuple[str, ...], timescales: int, choice: MachineChoice) -> StateMachine:
    """The machine over the states of the timescales: it goes where enough of them are.

    Its probabilities are shares of the timescales, so that more than half of them move it at once, and none but those
    transitions that the others have are allowed.
    """
    agreement = timescales // 2 + 1 if choice.agreement is None else choice.agreement
    share = agreement / timescales
    return StateMachine(classes, share - 0.5 / timescales, share - 0.75 / timescales, 1, agreement, choice.allowed)


def candidates(machine: StateMachine) -> Iterator[StateMachine]:
    """Machines with other thresholds and dwells."""
    for enter, gap, dwell in product(ENTER, GAPS, DWELLS):
        if enter - gap > 0.0:
            yield replace(machine, enter=enter, leave=round(enter - gap, 6), minimum_dwell=dwell)


def tuned_machine(machine: StateMachine, held: Sequence[Held], most_changes: float) -> StateMachine:
    """The candidate with the best macro-F1 among those that change at most `most_changes` times as often as the labels;
    where none is so calm, the calmest.

    Args:
        machine: brings classes and allowed transitions.
        held: validation markets, never the ones that results are reported on.
        most_changes: in units of the labels' own changes.
    """
    best, key = machine, (-np.inf, -np.inf)
    for candidate in candidates(machine):
        states = [candidate.states_of(probabilities) for probabilities, _ in held]
        changes = [changes_of(labels, own) for (_, labels), own in zip(held, states, strict=True)]
        true, said = sum(one.true for one in changes), sum(one.said for one in changes)
        beyond = max(said / max(true, 1) - most_changes, 0.0)
        found = (-beyond, macro_f1(held, states, len(machine.states)))
        if found > key:
            best, key = candidate, found
    return best


def quickest_machine(machine: StateMachine, held: Sequence[Held], most_false: float) -> StateMachine:
    """The candidate that detects changes with the least mean delay at no more than `most_false` false changes per 1,000
    bars; the one with the fewest where none has so few."""
    best, key = machine, (np.inf, np.inf)
    for candidate in candidates(machine):
        changes = [changes_of(labels, candidate.states_of(probabilities)) for probabilities, labels in held]
        scores = change_scores(changes)
        found = (max(scores["false_changes_per_1000"] - most_false, 0.0), scores["delay"])
        if found < key:
            best, key = candidate, found
    return best


def macro_f1(held: Sequence[Held], states: Sequence[NDArray[np.integer]], classes: int) -> float:
    """Of all markets together; `states`: (n,) of each."""
    counts = sum(
        (confusion_counts(labels, own, classes) for (_, labels), own in zip(held, states, strict=True)),
        start=np.zeros((classes, classes), np.int64),
    )
    return summary_scores(counts)["macro_f1"]
