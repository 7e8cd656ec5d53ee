"""One recorded episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.env.offline.layout import Observations


@dataclass(frozen=True, eq=False)
class Episode:
    """L steps of one policy on one market, from flat.

    Attributes:
        observations: arrays (L + 1, ...) by name; the last is what was seen after the last step.
        actions: (L,) int64, or (L, 1) float32 exposures.
        rewards: (L,) float64.
        terminated, truncated: (L,) bool, as the environment said.
        policy: what decided. market: its number in the pool. start: bar of the first decision.
    """

    observations: Observations
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    policy: str
    market: int
    start: int

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def reset_options(self) -> dict[str, Any]:
        """Options with which `env.reset` begins the same episode."""
        return {"market": self.market, "start": self.start, "exposure": 0.0}
