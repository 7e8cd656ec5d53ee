"""Figures over a window that moves through returns."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.returns import rounding


def rolling_sharpe(returns: ArrayLike, window: int, per_year: float = 1.0) -> NDArray[np.float64]:
    """(T - window + 1,) Sharpe ratio of each window of returns (T,), as `returns.sharpe_ratio` has it.

    `mean(r) / std(r, ddof 1) sqrt(per_year)`; 0 where nothing varies; empty where there are fewer returns.

    Raises:
        ValueError: a window of fewer than 2 returns.

    Example:
        >>> from cryptoenv.analysis.rolling import rolling_sharpe
        >>> rolling_sharpe([0.1, 0.3, 0.1], 2).round(6).tolist()
        [1.414214, 1.414214]
    """
    if window < 2:
        raise ValueError(f"window={window} is not allowed: 2 returns or more")
    values = np.asarray(returns, dtype=np.float64)
    if len(values) < window:
        return np.empty(0)
    windows = sliding_window_view(values, window)
    scatter = windows.std(axis=1, ddof=1)
    varies = scatter > rounding(values)
    ratios = np.divide(windows.mean(axis=1), scatter, out=np.zeros(len(scatter)), where=varies)
    found: NDArray[np.float64] = ratios * np.sqrt(per_year)
    return found
