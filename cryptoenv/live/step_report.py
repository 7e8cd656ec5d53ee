"""What a step did, in the words of `info`: over all bars that it carried the account over, each fill by its own bar."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import OPEN, SIGMA, VOLUME
from cryptoenv.env.single import EXIT_KINDS, ORDER_STATUSES
from cryptoenv.live.execution import modelled_slippage
from cryptoenv.trading.account import (
    EXIT_KIND,
    EXIT_PRICE,
    FILL_PRICE,
    FILL_QUANTITY,
    ORDER_STATUS,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
)
from cryptoenv.trading.orders import slipped_price

SUMS = {"step_fees": STEP_FEES, "step_slippage": STEP_SLIPPAGE, "step_funding": STEP_FUNDING,
        "step_borrow": STEP_BORROW}  # fmt: skip


class BarFill(NamedTuple):
    """What a bar's order has filled.

    Attributes:
        price, quantity: average, signed. opened: the bar's open.
        against_open: how much worse than that it was. modelled: how much worse the simulator would have had it, NaN in
            a bar without volume; both fractions.
    """

    price: float
    quantity: float
    opened: float
    against_open: float
    modelled: float


class StepReport:
    """Gathers what a step's bars did. One bar is the rule; after an outage there are more, and only in the first of
    them did an order of the step go out."""

    def __init__(self) -> None:
        self._fills: list[BarFill] = []
        self._sums = dict.fromkeys(SUMS, 0.0)
        self._exit: tuple[int, float] | None = None
        self._status: int | None = None
        self._opened = math.nan

    def add(self, account: NDArray[np.float64], prices: NDArray[np.float64], parameters: NDArray[np.float64]) -> None:
        """Take in a bar that the account was carried over.

        Args:
            account: (36,) float64, at its close. prices: (2, 8) float64, the bar before and the bar.
            parameters: (22,) float64, the kernel's.
        """
        for name, column in SUMS.items():
            self._sums[name] += float(account[column])
        if self._status is None:
            self._status = int(account[ORDER_STATUS])
        if account[EXIT_KIND]:
            self._exit = int(account[EXIT_KIND]), float(account[EXIT_PRICE])
        self._opened = float(prices[1, OPEN])
        quantity, price = float(account[FILL_QUANTITY]), float(account[FILL_PRICE])
        if quantity:
            against = (price / self._opened - 1.0) * math.copysign(1, quantity)
            modelled = modelled_slippage(prices, quantity, parameters)
            self._fills.append(BarFill(price, quantity, self._opened, against, modelled))

    def told(self) -> dict[str, Any]:
        """Entries of `info`: sums of the step, its order's status, its fill and its exit."""
        out: dict[str, Any] = {**self._sums, "order_status": ORDER_STATUSES[self._status or 0]}
        if self._fills:
            out["fill_price"] = self._mean("price")
            out["fill_quantity"] = math.fsum(one.quantity for one in self._fills)
        if self._exit is not None:
            out["exit_kind"], out["exit_price"] = EXIT_KINDS[self._exit[0]], self._exit[1]
        return out

    def slippage(self) -> dict[str, float]:
        """Entries of `info["live"]`: what the fills cost against the opens of their own bars, and by the model."""
        if not self._fills:
            nothing = {"slippage_against_open": math.nan, "slippage_modelled": math.nan}
            return {"model_price": self._opened, **nothing}
        return {"model_price": self._mean("opened"), "slippage_against_open": self._mean("against_open"),
                "slippage_modelled": self._mean("modelled")}  # fmt: skip

    def _mean(self, name: str) -> float:
        """Of the fills, by their quantities; the one where there is one."""
        if len(self._fills) == 1:
            return float(getattr(self._fills[0], name))
        weights = [abs(one.quantity) for one in self._fills]
        parts = [weight * float(getattr(one, name)) for weight, one in zip(weights, self._fills, strict=True)]
        return math.fsum(parts) / math.fsum(weights)


def journal_fill(
    account: NDArray[np.float64], prices: NDArray[np.float64], parameters: NDArray[np.float64]
) -> dict[str, Any] | None:
    """What a bar's order has filled, and the price that the model would have filled it at by a market order, for the
    journal; None without a fill.

    Args:
        account: (36,) float64, at the bar's close. prices: (2, 8) float64, the bar before and the bar.
        parameters: (22,) float64, the kernel's.
    """
    quantity, price = float(account[FILL_QUANTITY]), float(account[FILL_PRICE])
    if quantity == 0.0:
        return None
    traded = float(prices[1, VOLUME])
    volume = traded if traded > 0.0 else abs(quantity)
    model = slipped_price(float(prices[1, OPEN]), quantity, volume, float(prices[0, SIGMA]), parameters)
    return {"price": price, "quantity": quantity, "open": float(prices[1, OPEN]), "model": float(model),
            "fees": float(account[STEP_FEES])}  # fmt: skip
