"""Signs become labels: the place of a target in `positions`, whatever is held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthetic.oracles.plan import check_positions

NO_LABEL: Final = -1

NO_SIGN: Final = -2
"""Where a sign (-1 down, 0 neither, 1 up) is not known."""


def targets_of_signs(signs: NDArray[np.int8], positions: Sequence[float]) -> NDArray[np.int8]:
    """(T, P) int8 places in `positions`: the lowest for sign -1, the highest for 1, the one nearest to flat for 0.

    A sign that no exposure follows (-1 where the lowest is 0, say) becomes the one nearest to flat; `NO_SIGN` becomes
    `NO_LABEL`.

    Args:
        signs: (T,) of -1, 0, 1 or `NO_SIGN`.
        positions: exposures to choose from, strictly increasing.

    Raises:
        ValueError: see `check_positions`.
    """
    grid = check_positions(positions)
    flat = int(np.abs(grid).argmin())
    place = {-1: 0 if grid[0] < 0 else flat, 0: flat, 1: len(grid) - 1 if grid[-1] > 0 else flat, NO_SIGN: NO_LABEL}
    labels = np.array([place[sign] for sign in (NO_SIGN, -1, 0, 1)], dtype=np.int8)[signs - NO_SIGN]
    return np.repeat(labels[:, None], len(grid), axis=1)


def price_column(bars: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column of prices, (T,).

    Raises:
        ValueError: it is absent, or a price is not finite and positive; the message names the row.
    """
    if name not in bars:
        raise ValueError(f"bars lack the column {name!r}: they have {list(bars.columns)}")
    prices = bars[name].to_numpy(np.float64)
    bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
    if len(bad):
        raise ValueError(f"bars have {name} {prices[bad[0]]} at {bars.index[bad[0]]}: prices must be finite and > 0")
    return prices
