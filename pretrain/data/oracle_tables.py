"""What the causal optimum says of every bar of a synthetic market, in stretches: values, actions and beliefs.

Values are dense: where an action says which position is best, they say by how much, at every bar.
Shape legend: `T` bars, `N` lanes, `L` bars of a stretch, `P` positions, `K` regimes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthetic import RegimeSample, filter_beliefs, filter_oracle

PERCENT = 100.0


class OracleTable(NamedTuple):
    """One market's.

    `values` (T, P) float32: percent of equity that a position is worth more than none, before the cost of going there;
    `actions` (T, P) int8: best target given the held position; `beliefs` (T, K) float32: probabilities of regimes.
    """

    values: NDArray[np.float32]
    actions: NDArray[np.int8]
    beliefs: NDArray[np.float32]

    @classmethod
    def of(cls, sample: RegimeSample, cost: float, positions: tuple[float, ...]) -> Self:
        """The table of a synthetic market.

        Args:
            sample: the market with its latent model.
            cost: log-return lost per unit of turnover.
            positions: P exposures with 0 among them.
        """
        oracle = filter_oracle(sample, cost, positions)
        flat = positions.index(0.0)
        values = (PERCENT * (oracle.values - oracle.values[:, flat, None])).astype(np.float32)
        return cls(values, oracle.actions, filter_beliefs(sample).astype(np.float32))


class OracleStretch(NamedTuple):
    """Of N lanes: `values` (N, L, P) float32, `actions` (N, L, P) int64, `beliefs` (N, L, K) float32."""

    values: Tensor
    actions: Tensor
    beliefs: Tensor

    @classmethod
    def at(cls, tables: Sequence[OracleTable], rows: Sequence[NDArray[np.int64]]) -> Self:
        """Rows (L,) of each of N tables."""

        def cut(field: int) -> NDArray[np.generic]:
            return np.stack([table[field][at] for table, at in zip(tables, rows, strict=True)])

        values, actions, beliefs = (torch.from_numpy(cut(field)) for field in range(3))
        return cls(values, actions.long(), beliefs)
