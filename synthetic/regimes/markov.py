"""Markov chains of regimes: what is stayed in for how long, and what comes next.

Shape legend: `K` states.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

ROW_SUM_TOLERANCE: Final = 1e-9


def transition_matrix(durations: Sequence[float], exits: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """(K, K) probability of state j in the next bar given state i in this one.

    Args:
        durations: (K,) mean bars for which each state lasts, at least 1.
        exits: (K, K) probability of state j once state i ends; rows sum to 1.
    """
    leave = 1.0 / np.array(durations)
    return np.diag(1.0 - leave) + np.array(exits) * leave[:, None]


def stationary_distribution(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) share of bars that each state takes in the long run, from (K, K) transitions.

    The least-squares solution of `pi P = pi, sum(pi) = 1`, which is unique for a chain with one recurrent class.
    """
    count = len(transitions)
    system = np.vstack([transitions.T - np.eye(count), np.ones(count)])
    shares = np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0]
    shares = np.maximum(shares, 0.0)
    return shares / shares.sum()


def check_duration(state: str, duration: float) -> None:
    """Raise ValueError unless a state lasts at least one bar."""
    if duration < 1:
        raise ValueError(f"duration of {state} is {duration} bars: it must be at least 1")


def check_exits(state: str, row: Sequence[float]) -> None:
    """Raise ValueError unless the (K,) probabilities of what follows a state are such."""
    if min(row) < 0 or abs(math.fsum(row) - 1) > ROW_SUM_TOLERANCE:
        raise ValueError(f"exits of {state} are {row}: they must be >= 0 and sum to 1")


def finite_row(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    """`count` finite numbers as floats.

    Raises:
        ValueError: more or fewer, or one that is not finite.
    """
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} entries: there must be {count}")
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} is {numbers}: every entry must be finite")
    return numbers


def at_least(name: str, value: float, lowest: float) -> None:
    """Raise ValueError unless the value is finite and at least `lowest`."""
    if not (math.isfinite(value) and value >= lowest):
        raise ValueError(f"{name} is {value!r}: it must be a finite number >= {lowest:g}")


def above(name: str, value: float, lowest: float) -> None:
    """Raise ValueError unless the value is finite and above `lowest`."""
    if not (math.isfinite(value) and value > lowest):
        raise ValueError(f"{name} is {value!r}: it must be a finite number above {lowest:g}")
