"""The answer of a planner: what each position is worth at each bar, and what to hold next.

With costs proportional to turnover the value of a decision splits: `Q(t, p, a) = U(t, a) - cost(p -> a)`, so the table
`U` (T, P) answers every question about every held position. Shape legend: `T` bars, `P` positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Cost: TypeAlias = float | tuple[float, float]
"""Cost per unit of turnover as a log-return: one number, or (buy, sell)."""


@dataclass(frozen=True)
class Oracle:
    """A plan over the bars of one market.

    Attributes:
        positions: (P,) float64 exposures as fractions of equity, strictly increasing.
        values: (T, P) float64, log-return from holding target `a` over bar `t+1` and acting best from then on.
        actions: (T, P) int8, place of the best target at the close of bar `t` for each held position. Ties hold.
    """

    positions: NDArray[np.float64]
    values: NDArray[np.float64]
    actions: NDArray[np.int8]

    def path(self, start: float = 0.0) -> NDArray[np.int8]:
        """(T,) place in `positions` of the target chosen at each bar, starting from exposure `start`.

        Raises:
            ValueError: `start` is not one of the positions.
        """
        return _follow(self.actions, place_of(start, self.positions))


@njit(cache=True)
def _follow(actions: NDArray[np.int8], held: int) -> NDArray[np.int8]:
    path = np.empty(actions.shape[0], np.int8)
    for t in range(actions.shape[0]):
        held = actions[t, held]
        path[t] = held
    return path


@njit(cache=True)
def best_target(values: NDArray[np.float64], held: int, costs: NDArray[np.float64]) -> int:
    """Place of the best target for one held position: values (P,), costs (P, P) from held to target. Ties hold."""
    best = held
    highest = values[held] - costs[held, held]
    for a in range(values.shape[0]):
        worth = values[a] - costs[held, a]
        if worth > highest:
            best, highest = a, worth
    return best


@njit(cache=True)
def best_targets(values: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.int8]:
    """(T, P) place of the best target for every bar and held position."""
    actions = np.empty(values.shape, np.int8)
    for t in range(values.shape[0]):
        for held in range(values.shape[1]):
            actions[t, held] = best_target(values[t], held, costs)
    return actions


def cost_matrix(positions: NDArray[np.float64], cost: Cost) -> NDArray[np.float64]:
    """(P, P) cost of going from the position of the row to that of the column.

    Raises:
        ValueError: a cost is negative or not finite.
    """
    buy, sell = (cost, cost) if isinstance(cost, int | float) else cost
    for name, number in (("buy", buy), ("sell", sell)):
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"cost ({name}) is {number!r}: it must be a finite number >= 0")
    change = positions[None, :] - positions[:, None]
    return buy * np.maximum(change, 0.0) + sell * np.maximum(-change, 0.0)


def check_positions(positions: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The positions as float64 (P,).

    Raises:
        ValueError: they are not 1 to 127 finite numbers in strictly increasing order.
    """
    checked = np.array(positions, dtype=np.float64)
    if checked.ndim != 1 or not 1 <= checked.size <= 127 or not np.isfinite(checked).all():
        raise ValueError(f"positions is {positions!r}: it must hold 1 to 127 finite numbers")
    if (np.diff(checked) <= 0).any():
        raise ValueError(f"positions is {positions!r}: it must be strictly increasing")
    return checked


def place_of(position: float, positions: NDArray[np.float64]) -> int:
    """Where a position stands in `positions` (P,).

    Raises:
        ValueError: it is not among them.
    """
    places = np.flatnonzero(positions == position)
    if not len(places):
        raise ValueError(f"start is {position!r}: it must be one of the positions {positions.tolist()}")
    return int(places[0])
