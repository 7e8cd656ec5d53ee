"""Policies that decide for many rows at once from (market, bar) and the account; tables of precomputed decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

TARGET_COLUMN = 1  #: column of the account observation that holds the last target exposure


class TradingPolicy(Protocol):
    """Decides for N rows at once."""

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[Any]:
        """Actions (N,) for rows `index` (N, 2) = (market, bar) with account observations `account` (N, 5); of a policy
        that is `continuous`, shares (N, 1) of the exposure limit.
        """
        ...


def held_position(account: NDArray[np.float32], positions: Sequence[float]) -> NDArray[np.int64]:
    """Index (N,) of the position held: the one nearest to the last target, which does not drift with the price."""
    targets = np.asarray(positions, dtype=np.float64)
    return np.abs(account[:, TARGET_COLUMN, None] - targets[None, :]).argmin(axis=1)


class TablePolicy:
    """Looks decisions up: one (T, P) table per market, `table[t, held position]`; with `by_row`, one per row."""

    def __init__(
        self, tables: Sequence[NDArray[np.integer]], positions: Sequence[float], *, by_row: bool = False
    ) -> None:
        self._table = np.concatenate([np.asarray(t, dtype=np.int8) for t in tables])
        self._offsets = np.concatenate([[0], np.cumsum([len(t) for t in tables])])[:-1]
        self._positions = tuple(positions)
        self._by_row = by_row

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,) from the tables; a missing label (-1) holds."""
        held = held_position(account, self._positions)
        offsets = self._offsets if self._by_row else self._offsets[index[:, 0]]
        action = self._table[offsets + index[:, 1], held].astype(np.int64)
        return np.where(action < 0, held, action)


class RandomPolicy:
    """Draws every action uniformly."""

    def __init__(self, actions: int, seed: int) -> None:
        self._actions = actions
        self._rng = np.random.default_rng(seed)

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,), independent of what is seen."""
        return self._rng.integers(self._actions, size=len(index))
