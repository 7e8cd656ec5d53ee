"""Teachers for imitation. Each says what it must know and how far it looks ahead; none may reach features or an env.

A label is the place of a target in `positions`, for every bar `t` and every position held at its close; -1 where there
is nothing to teach. Shape legend: `T` bars, `P` positions.

| labels | module | needs | looks ahead |
|---|---|---|---|
| `oracle_labels` | here | the latent model (`RegimeSample`) | 0 bars |
| `path_labels` | here | bars | to the end of the bars |
| `horizon_labels` | `label_horizon` | bars | `horizon` bars |
| `triple_barrier_labels` | `label_barriers` | bars | at most `timeout` bars |
| `regime_labels` (regimes, not targets) | `label_regimes` | bars | to the end of the bars |
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthetic.labels.targets import NO_LABEL
from synthetic.oracles.hindsight_oracle import hindsight_oracle
from synthetic.oracles.plan import check_positions


def path_labels(
    bars: pd.DataFrame,
    cost: float = 0.0011,
    inflation: float = 25.0,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
) -> NDArray[np.int8]:
    """The path that hindsight would take, from flat, if trading cost `inflation` times as much. Needs bars alone.

    Looks ahead: to the end of the bars, so cut them at the end of the training span first. At the true cost, hindsight
    chases noise that no one can foresee and the clone learns to hold; a high cost leaves only moves that are large
    enough to have signs. The label does not depend on the held position: pair the clone with a cost-aware hysteresis,
    tuned on validation markets.

    Args:
        bars: `open` and `close`, synthetic or real.
        cost: log-return lost per unit of turnover.
        inflation: factor on the cost, above 0.
        positions: exposures to choose from, strictly increasing.

    Returns:
        (T, P) int8, all columns equal; the last row, which has no future, is -1.

    Raises:
        ValueError: `inflation` is not above 0; else see `hindsight_oracle`.
    """
    if not inflation > 0:
        raise ValueError(f"inflation is {inflation!r}: it must be above 0")
    grid = check_positions(positions)
    oracle = hindsight_oracle(bars, cost * inflation, positions)
    nearest_to_flat = float(grid[np.abs(grid).argmin()])
    path = oracle.path(nearest_to_flat)
    path[-1:] = NO_LABEL
    return np.repeat(path[:, None], len(grid), axis=1)
