"""What an agent does that knows what positions are worth: a table of decisions, and the path that it leads to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

VALUE_DECISIONS = "decisions by values of positions"  #: what labels are called that an extractor's values gave


def value_decisions(
    values: NDArray[np.floating], positions: Sequence[float], cost: float, margin: float = 1.0
) -> NDArray[np.int8]:
    """(T, P) int8: the position to take given each held one, `argmax_b values[t, b] - margin * cost * |b - a|`.

    Args:
        values: (T, P) percent of equity, what each position is worth more than none.
        positions: P exposures.
        cost: log-return lost per unit of turnover.
        margin: hysteresis, how many times its cost a change must be worth; a tie stays.

    Example:
        >>> import numpy as np
        >>> from pretrain.extractor.value_decisions import value_decisions
        >>> value_decisions(np.array([[-0.3, 0.0, 0.3]]), (-1.0, 0.0, 1.0), cost=0.001, margin=2.0).tolist()
        [[2, 2, 2]]
    """
    at = np.array(positions, dtype=np.float64)
    charge = 100.0 * margin * cost * np.abs(at[:, None] - at[None, :])
    worth = values[:, None, :].astype(np.float64) - charge
    held = np.arange(len(at))
    best = worth.argmax(axis=2)
    gains = np.take_along_axis(worth, best[:, :, None], axis=2)[:, :, 0] > worth[:, held, held]
    return np.where(gains, best, held).astype(np.int8)


@njit(cache=True)
def _followed(table: NDArray[np.int8], held: int, out: NDArray[np.int64]) -> None:
    for t in range(len(table)):
        held = table[t, held]
        out[t] = held


def followed(table: NDArray[np.int8], held: int) -> NDArray[np.int64]:
    """(T,) int64: the positions that a table of decisions (T, P) leads through, from the one that is held first."""
    out = np.empty(len(table), np.int64)
    _followed(np.ascontiguousarray(table), held, out)
    return out
