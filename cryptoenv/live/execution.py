"""What a signal is executed on, and what became of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import OPEN, SIGMA, VOLUME
from cryptoenv.trading.account import OrderStatus
from cryptoenv.trading.orders import slipped_price


class Seen(NamedTuple):
    """What a decision is executed on.

    Attributes:
        account: (36,) float64, marked at the close of the newest bar.
        sigma: known at that close.
        parameters: (22,) float64, the kernel's.
        open_ms, close_ms: of the newest bar.
        now_ms: what time it is where the bars come from.
    """

    account: NDArray[np.float64]
    sigma: float
    parameters: NDArray[np.float64]
    open_ms: int
    close_ms: int
    now_ms: int


@dataclass(frozen=True)
class Execution:
    """What became of a signal.

    Attributes:
        target: that stands for the step.
        parameters: (22,) float64, the kernel's with the share of capital in them.
        quantity: signed, of the order; 0.0 where none went out.
        client_id: of the order, "" where none went out.
        status: `OrderStatus` it was sized with.
        objection: why no order could go out, "" where none stood in the way.
        rests: the order was sent at an earlier bar and is left at the venue; `quantity` is what is left of it.
        limited: orders go out at a limit: what is due and not at the venue now is not traded by the model either.
    """

    target: float
    parameters: NDArray[np.float64]
    quantity: float = 0.0
    client_id: str = ""
    status: int = 0
    objection: str = ""
    rests: bool = False
    limited: bool = False

    @property
    def holds(self) -> bool:
        """Whether no order may fill in this step."""
        return bool(self.objection) and not self.client_id

    def status_after(self, fills: NDArray[np.float64], *, late: bool) -> int:
        """`OrderStatus` once a venue has filled `fills`, (F, 5) as for `venue_account.settle`: what it has not filled
        stays due, as in the kernel. `late`: of a bar at which nobody could decide."""
        if not self.client_id or late:
            return int(OrderStatus.NONE if self.holds or late else self.status)
        done = abs(float(fills[fills[:, 4] == 0.0, 0].sum())) / abs(self.quantity)
        if done >= 1.0 - 1e-9:
            return self.status
        return int(OrderStatus.PARTIAL if done > 0.0 else OrderStatus.NO_VOLUME)


def modelled_slippage(prices: NDArray[np.float64], quantity: float, parameters: NDArray[np.float64]) -> float:
    """By how much worse than the newer bar's open the simulator would have filled a signed base quantity: a fraction.

    Args:
        prices: (2, 8) float64, the bar of the decision and the one after it, as of `Market.prices`.
        quantity: 0.0 or a bar without volume gives NaN.
        parameters: (22,) float64, the kernel's.
    """
    opened, volume = float(prices[1, OPEN]), float(prices[1, VOLUME])
    if not (quantity and volume > 0.0 and opened > 0.0):
        return math.nan
    modelled = slipped_price(opened, quantity, volume, float(prices[0, SIGMA]), parameters)
    return float((modelled / opened - 1.0) * math.copysign(1.0, quantity))
