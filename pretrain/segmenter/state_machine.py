"""State machines over class probabilities: hysteresis, minimum dwell, allowed transitions, agreement; causal.

A machine is a pure function: what it knows of the past is a `Memory`, and `step` makes the next one of a memory and a
row of probabilities. `states` runs the same compiled transition over all rows, so that the two give the same bits.
Shape legend: `T` rows (base bars), `S` sources, `C` states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from cryptoenv.files.typed_values import Range, require, require_ranges, require_types

MOST_STATES: Final = 64
START, CROSSED, DWELL, AGREEMENT = range(4)
TRIGGERS: Final = ("start", "thresholds crossed", "minimum dwell over", "agreement reached")
"""What began a segment: the first row; a row at which the thresholds were crossed; or, where they were crossed before,
a row at which what held the machine back ended."""
SEGMENT_COLUMNS: Final = ("start", "end", "state", "timescale", "bars", "mean_probability", "trigger")


class Memory(NamedTuple):
    """What a machine knows of the rows so far.

    `state` and `trigger` are places in the machine's states and in TRIGGERS (of the row at which the state began);
    `bars` rows in the state, this one included; `held` what held a change back at this row: CROSSED (nothing), DWELL or
    AGREEMENT.
    """

    state: int
    bars: int
    trigger: int
    held: int


@dataclass(frozen=True)
class StateMachine:
    """A causal machine over class probabilities of one source (a timescale), or of several that vote.

    With p the mean probability over the sources at a row, the machine leaves state s for state c where

    - the transition is allowed,
    - p[c] >= enter[c] and p[s] < leave[s]: two thresholds, so that noise around one of them changes nothing;
    - it has been in s for at least `minimum_dwell[s]` rows; and
    - c is the likeliest state of at least `agreement` sources.

    Of several such states it takes the likeliest, of equally likely ones the first. It begins in the likeliest state of
    the first row.

    Attributes:
        states: C names.
        enter: (C,) probability from which a state is entered; one number for all.
        leave: (C,) probability of the present state below which it is left; each below its `enter`.
        minimum_dwell: (C,) rows that a state lasts at least; one number for all.
        agreement: sources that must call a state the likeliest.
        allowed: per state, the names of those that may follow it; () for any.

    Raises:
        ConfigError: thresholds that cross, a transition table that traps, or a value out of range.

    Example:
        >>> from pretrain.segmenter.state_machine import StateMachine
        >>> machine = StateMachine(("bear", "bull"), enter=0.6, leave=0.5, minimum_dwell=2)
        >>> machine.states_of([[0.2, 0.8], [0.7, 0.3], [0.7, 0.3], [0.45, 0.55]]).tolist()
        [1, 1, 0, 0]
    """

    states: tuple[str, ...]
    enter: float | tuple[float, ...] = 0.5
    leave: float | tuple[float, ...] = 0.4
    minimum_dwell: int | tuple[int, ...] = 1
    agreement: int = 1
    allowed: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        names, count = self.states, len(self.states)
        require(2 <= count <= MOST_STATES and len(set(names)) == count, "states", names, f"2 to {MOST_STATES} names")
        for name in ("enter", "leave", "minimum_dwell"):
            value = getattr(self, name)
            row = value if isinstance(value, tuple) else (value,) * count
            require(len(row) == count, name, value, f"one number, or one for each of {names}")
            object.__setattr__(self, name, row)
        require_ranges(
            self, {"enter": Range(0.0, 1.0, above=True), "leave": Range(0.0, 1.0), "minimum_dwell": Range(1, 10**6)}
        )
        for state, enter, leave in zip(names, self._row("enter"), self._row("leave"), strict=True):
            crossing = f"below enter={enter:g} of {state!r}: thresholds that cross would enter what they leave at once"
            require(leave < enter, "leave", leave, crossing)
        require(1 <= self.agreement <= MOST_STATES, "agreement", self.agreement, "a number of sources >= 1")
        self._require_exits()

    def _row(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        return value if isinstance(value, tuple) else (value,) * len(self.states)

    def _require_exits(self) -> None:
        names, rows = self.states, self.allowed
        if not rows:
            return
        require(len(rows) == len(names), "allowed", rows, f"a row of names for each of {names}, or none at all")
        for state, row in zip(names, rows, strict=True):
            unknown = [name for name in row if name not in names or name == state]
            require(not unknown, "allowed", row, f"other states of {names}, what may follow {state!r}")
        reach = self.table
        for _ in names:
            reach = reach | (reach.astype(np.int64) @ reach.astype(np.int64) > 0)
        shut = {
            state: [other for j, other in enumerate(names) if j != i and not reach[i, j]]
            for i, state in enumerate(names)
        }
        worst = max(shut, key=lambda state: len(shut[state]))
        trap = f"a table in which every state is reached from every other; from {worst!r} none leads to {shut[worst]}"
        require(not shut[worst], "allowed", rows, trap)

    @cached_property
    def table(self) -> NDArray[np.bool_]:
        """(C, C) bool: whether state j may follow state i; never itself."""
        names = self.states
        rows = self.allowed or tuple(names for _ in names)
        return np.array([[to in row and to != name for to in names] for name, row in zip(names, rows, strict=True)])

    @cached_property
    def _numbers(self) -> _Numbers:
        return _Numbers(
            np.array(self.enter, np.float64), np.array(self.leave, np.float64), np.array(self.minimum_dwell, np.int64),
            self.agreement, self.table,
        )  # fmt: skip

    def begin(self, row: NDArray[np.floating] | list[float]) -> Memory:
        """The memory after a first row, (C,) or (S, C); arguments and errors as `step`."""
        return Memory(*_begin(self._checked(np.asarray(row, np.float64)[None])[0]))

    def step(self, row: NDArray[np.floating] | list[float], before: Memory | None = None) -> Memory:
        """The memory after one more row, by the bits that `states_of` gives.

        Args:
            row: (C,) or (S, C) probabilities, each in [0, 1].
            before: the memory so far; None begins.

        Raises:
            ValueError: probabilities of another shape, outside [0, 1], or not finite.
        """
        if before is None:
            return self.begin(row)
        one = self._checked(np.asarray(row, np.float64)[None])[0]
        return Memory(*_step(one, before.state, before.bars, before.trigger, before.held, self._numbers))

    def states_of(self, probabilities: NDArray[np.floating] | list[list[float]]) -> NDArray[np.int8]:
        """(T,) int8 places of the states at every row.

        Args:
            probabilities: (T, C), or (T, S, C) of several sources, each in [0, 1].

        Raises:
            ValueError: as `step`; the row is named.
        """
        return _run(self._checked(np.asarray(probabilities, np.float64)), self._numbers)[0]

    def run(
        self, probabilities: NDArray[np.floating], index: pd.Index | None = None, timescale: str = ""
    ) -> pd.DataFrame:
        """The segments: one row per stretch in one state.

        Args:
            probabilities: as for `states_of`.
            index: (T,) opens of the rows; their numbers where None.
            timescale: what the machine is of.

        Returns:
            Columns of SEGMENT_COLUMNS: `start` and `end` are the first and the last row, `mean_probability` that of
            the state within, `trigger` one of TRIGGERS. The last one goes on: its end is the last row known.

        Raises:
            ValueError: as `states_of`.
        """
        values = self._checked(np.asarray(probabilities, np.float64))
        states, triggers = _run(values, self._numbers)
        begins = np.flatnonzero(np.diff(states.astype(np.int64), prepend=-1))
        ends = np.append(begins[1:], len(states)) - 1
        labels = pd.RangeIndex(len(states)) if index is None else index
        means = values.mean(axis=1)
        table = {
            "start": labels[begins],
            "end": labels[ends],
            "state": [self.states[k] for k in states[begins]],
            "timescale": timescale,
            "bars": ends - begins + 1,
            "mean_probability": [means[a : b + 1, states[a]].mean() for a, b in zip(begins, ends, strict=True)],
            "trigger": [TRIGGERS[k] for k in triggers[begins]],
        }
        return pd.DataFrame(table, columns=list(SEGMENT_COLUMNS))

    def _checked(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, S, C) float64."""
        found = values[:, None] if values.ndim == 2 else values
        if found.ndim != 3 or found.shape[2] != len(self.states) or found.shape[1] < self.agreement:
            wanted = f"(T, {len(self.states)}), or (T, S, {len(self.states)}) with S >= agreement={self.agreement}"
            raise ValueError(f"probabilities have shape {values.shape}; allowed: {wanted}")
        bad = ~((found >= 0.0) & (found <= 1.0)).all(axis=(1, 2))
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(f"probabilities[{row}] are {found[row].tolist()}; allowed: numbers from 0 to 1")
        return np.ascontiguousarray(found)


class _Numbers(NamedTuple):
    """A machine as compiled code takes it."""

    enter: NDArray[np.float64]
    leave: NDArray[np.float64]
    dwell: NDArray[np.int64]
    agreement: int
    allowed: NDArray[np.bool_]


@njit(cache=True)
def _mean(row: NDArray[np.float64], state: int) -> float:
    """Mean probability of a state over the sources (S, C)."""
    total = 0.0
    for source in range(row.shape[0]):
        total += row[source, state]
    return total / row.shape[0]


@njit(cache=True)
def _votes(row: NDArray[np.float64], state: int) -> int:
    """How many sources call a state the likeliest; of equally likely ones the first counts."""
    votes = 0
    for source in range(row.shape[0]):
        best = 0
        for k in range(1, row.shape[1]):
            if row[source, k] > row[source, best]:
                best = k
        votes += best == state
    return votes


@njit(cache=True)
def _begin(row: NDArray[np.float64]) -> tuple[int, int, int, int]:
    best, largest = 0, -math.inf
    for k in range(row.shape[1]):
        p = _mean(row, k)
        if p > largest:
            best, largest = k, p
    return best, 1, START, CROSSED


@njit(cache=True)
def _step(
    row: NDArray[np.float64], state: int, bars: int, trigger: int, held: int, numbers: _Numbers
) -> tuple[int, int, int, int]:
    best, largest = -1, -math.inf
    if _mean(row, state) < numbers.leave[state]:
        for k in range(row.shape[1]):
            p = _mean(row, k)
            if numbers.allowed[state, k] and p >= numbers.enter[k] and p > largest:
                best, largest = k, p
    if best < 0:
        return state, bars + 1, trigger, CROSSED
    if bars < numbers.dwell[state]:
        return state, bars + 1, trigger, DWELL
    if _votes(row, best) < numbers.agreement:
        return state, bars + 1, trigger, AGREEMENT
    return best, 1, held, CROSSED


@njit(cache=True)
def _run(rows: NDArray[np.float64], numbers: _Numbers) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """(T,) states, and what began the present one."""
    states, triggers = np.empty(rows.shape[0], np.int8), np.empty(rows.shape[0], np.int8)
    if rows.shape[0] == 0:
        return states, triggers
    state, bars, trigger, held = _begin(rows[0])
    states[0], triggers[0] = state, trigger
    for t in range(1, rows.shape[0]):
        state, bars, trigger, held = _step(rows[t], state, bars, trigger, held, numbers)
        states[t], triggers[t] = state, trigger
    return states, triggers
