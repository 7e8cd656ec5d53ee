"""Labels from the return over a long horizon: bars alone, so also on real data. Shapes: `T` bars, `P` positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthetic.labels.targets import NO_SIGN, price_column, targets_of_signs


def horizon_labels(
    bars: pd.DataFrame,
    horizon: int = 96,
    deadband: float = 0.0022,
    positions: Sequence[float] = (-1.0, 0.0, 1.0),
) -> NDArray[np.int8]:
    """Long, short or flat by the log-return of the next `horizon` bars. Needs bars alone, no latent truth.

    Looks ahead: exactly `horizon` bars; the last `horizon` rows, whose future is not all there, are -1. The position is
    filled at the next open: the return is `log(close[t + horizon] / open[t + 1])`, and one within `deadband` on either
    side of 0 asks for flat. A deadband of a round trip's cost leaves out what cannot pay. The label does not depend on
    the held position: pair the clone with a cost-aware hysteresis.

    Args:
        bars: `open` and `close`, synthetic or real.
        horizon: bars, at least 1.
        deadband: log-return, at least 0.
        positions: exposures to choose from, strictly increasing.

    Returns:
        (T, P) int8, all columns equal.

    Raises:
        ValueError: an argument is out of range, or a price is not finite and positive.
    """
    if horizon < 1:
        raise ValueError(f"horizon is {horizon}: it must be at least 1 bar")
    if not (math.isfinite(deadband) and deadband >= 0):
        raise ValueError(f"deadband is {deadband!r}: it must be a finite log-return >= 0")
    opens, closes = price_column(bars, "open"), price_column(bars, "close")
    signs = np.full(len(bars), NO_SIGN, dtype=np.int8)
    if len(bars) > horizon:
        growth = np.log(closes[horizon:] / opens[1 : len(bars) - horizon + 1])
        signs[: len(growth)] = np.where(growth > deadband, 1, np.where(growth < -deadband, -1, 0))
    return targets_of_signs(signs, positions)
