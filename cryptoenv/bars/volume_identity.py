"""Which of two volumes is the base one: quote volume / base volume is a mean price, so it lies in [low, high].

Exchanges state a bar's volume in the base currency (coins) and in the quote currency (money). Their ratio is the bar's
volume-weighted price; the ratio of the two the wrong way round is its inverse. Where only one of them fits the bar's
own range, that is a proof.
"""

from typing import NamedTuple

import numpy as np

RELATIVE_TOLERANCE = 1e-3
_MOST_DECIMALS = 8
_SHARE_ROUNDED = 0.95


class VolumeIdentity(NamedTuple):
    """What the identity says of each bar, each (T,) bool.

    Attributes:
        right: proved: `volume` is the base volume, and the other reading is impossible.
        swapped: proved: `volume` is the quote volume, and the other reading is impossible.
        neither: both volumes are positive and neither reading fits the bar's range.
    """

    right: np.ndarray
    swapped: np.ndarray
    neither: np.ndarray


def volume_identity(volume: np.ndarray, quote: np.ndarray, low: np.ndarray, high: np.ndarray) -> VolumeIdentity:
    """Tests both readings of two volume columns, each (T,) float64, against the bars' own range.

    Files round volumes to a number of decimals, which matters where they are tiny: each column's own rounding is
    allowed for, and a thousandth of the price on top.
    """
    if len(volume) == 0:
        return VolumeIdentity(*(np.zeros(0, dtype=bool) for _ in range(3)))
    positive = (volume > 0.0) & (quote > 0.0) & (low > 0.0) & (high >= low)
    fits = _fits(volume, quote, low, high) & positive
    fits_swapped = _fits(quote, volume, low, high) & positive
    return VolumeIdentity(fits & ~fits_swapped, fits_swapped & ~fits, positive & ~fits & ~fits_swapped)


def _fits(base: np.ndarray, quote: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    base_error, quote_error = _rounding(base), _rounding(quote)
    least = (quote - quote_error) <= high * (1.0 + RELATIVE_TOLERANCE) * (base + base_error)
    most = (quote + quote_error) >= low * (1.0 - RELATIVE_TOLERANCE) * (base - base_error)
    return least & most


def _rounding(values: np.ndarray) -> float:
    # Half a unit of the last decimal of nearly all values: a source may have become more precise on the way.
    finite = values[np.isfinite(values)]
    for decimals in range(_MOST_DECIMALS):
        if (np.round(finite, decimals) == finite).mean() >= _SHARE_ROUNDED:
            return 0.5 * 10.0**-decimals
    return 0.5 * 10.0**-_MOST_DECIMALS
