"""Which of two prices is the open: a bar opens near where the one before it closed."""

import numpy as np

_LEAST_PAIRS = 20
_NEARER = 5.0


def closes_precede(open_: np.ndarray, close: np.ndarray) -> bool:
    """Whether what is called close is the open and the other way round.

    A bar's open is near the close before it, and both are a bar's move away from its close and the open before. Read
    the wrong way round it is the other way round: each close is near the open before it.

    Args:
        open_: (T,) float64, in the order of time.
        close: (T,) float64.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        as_named = np.abs(np.log(open_[1:] / close[:-1]))
        swapped = np.abs(np.log(close[1:] / open_[:-1]))
    known = np.isfinite(as_named) & np.isfinite(swapped) & ((as_named > 0.0) | (swapped > 0.0))
    if int(known.sum()) < _LEAST_PAIRS:
        return False
    return bool(np.median(as_named[known]) > _NEARER * np.median(swapped[known]))
