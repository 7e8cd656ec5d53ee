"""What every position would have earned over every bar: orders of a price-taker move nothing, so all are known.

Learning from counterfactual transitions reads it (fitted Q, pretraining by rewards). Shape legend: `T` bars, `P`
positions.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.kernel import between_opens


@njit(cache=True, error_model="numpy")
def _fill(
    prices: NDArray[np.float64], exposures: NDArray[np.float64], p: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    account = np.zeros(ACCOUNT_WIDTH)
    for row in range(len(prices) - 1):
        for k in range(len(exposures)):
            out[row, k] = between_opens(account, prices, row, exposures[k], p)


def position_returns(
    prices: NDArray[np.float64], positions: Sequence[float], parameters: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log-returns of holding each position from the open after a decision to the next open, before the cost of orders.

    The kernel's own: exits inside the bar, funding and borrow, the floor of ruin. What it leaves out is what depends on
    how the position was come by: fees, slippage, the drift of an exposure since its order.

    Args:
        prices: (T, 8) float64, `Market.prices`.
        positions: P exposures, signed fractions of equity.
        parameters: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.

    Returns:
        (T, P) float64; row `t` is of the position chosen at the close of bar `t`. The last row, which no bar follows,
        is 0; the one before it ends at a close.

    Example:
        >>> import numpy as np
        >>> from cryptoenv.trading.config import TradingConfig
        >>> from cryptoenv.trading.position_returns import position_returns
        >>> bar = [0.0, 0.01, 0.0, 0.0]  # volume, sigma, funding, funding marks
        >>> rows = [[100, 100, 100, 100, *bar], [100, 110, 100, 110, *bar], [110, 110, 110, 110, *bar]]
        >>> prices = np.array(rows, np.float64)
        >>> position_returns(prices, (-1.0, 0.0, 1.0), TradingConfig().parameters(900.0)).round(4).tolist()
        [[-0.1054, 0.0, 0.0953], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    out = np.zeros((len(prices), len(positions)))
    exposures = np.array(positions, dtype=np.float64)
    given = np.ascontiguousarray(prices, dtype=np.float64)
    _fill(given, exposures, np.ascontiguousarray(parameters, dtype=np.float64), out)
    return out
