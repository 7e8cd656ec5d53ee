"""The causal optimum's actions as labels: they need the generator's latent truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthetic.oracles.filter_oracle import filter_oracle
from synthetic.regimes.sample import RegimeSample


def oracle_labels(
    sample: RegimeSample, cost: float = 0.0011, positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
) -> NDArray[np.int8]:
    """What the causal optimum would do. Needs the latent model (the task's parameters), so only synthetic markets.

    Looks ahead: not at all, so every row has a label. The best teacher there is: it never asks for what cannot be
    known.

    Returns:
        (T, P) int8, depending on the held position.

    Raises:
        ValueError: see `filter_oracle`.
    """
    return filter_oracle(sample, cost, positions).actions
