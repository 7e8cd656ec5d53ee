"""Events 2 and 3 of a step: an order is planned, and what fills is booked. Part of the kernel, with its rules."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import OPEN, VOLUME
from cryptoenv.trading.account import (
    BARS_HELD,
    CASH,
    CLOSE_PRICE,
    ENTRY_PRICE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    PREVIOUS_EQUITY,
    QUANTITY,
    REALISED,
    SLIPPAGE,
    TURNOVER,
)
from cryptoenv.trading.config import FEE, MIN_NOTIONAL, PARTICIPATION, STEP_SIZE
from cryptoenv.trading.orders import (
    BELOW_MIN_NOTIONAL,
    CASH_CAPPED,
    FILLED,
    NO_VOLUME,
    PARTIAL,
    ROUNDED_TO_ZERO,
    affordable,
    order_quantity,
    round_to_step,
    slipped_price,
    without_dust,
)


@njit(cache=True, error_model="numpy", forceinline=True)
def position_after(
    held: float, entry: float, realised: float, bars: float, quantity: float, price: float, step: float
) -> tuple[float, float, float, float]:
    """What a fill of signed `quantity` at `price` makes of a position that was `held` for `bars`, of average `entry`.

    Returns:
        Quantity (freed of dust of `step`), average entry, realised profit and bars held.
    """
    after = without_dust(held + quantity, step)
    if held == 0.0 or held * quantity > 0.0:
        entry = (entry * abs(held) + price * abs(quantity)) / abs(after)
    else:
        closed = min(abs(held), abs(quantity))
        realised += closed * (price - entry) * (1.0 if held > 0.0 else -1.0)
        if after == 0.0:
            entry = 0.0
        elif after * held < 0.0:
            entry = price
    if after == 0.0 or after * held <= 0.0:
        bars = 0.0
    return after, entry, realised, bars


@njit(cache=True, error_model="numpy")
def apply_fill(
    account: NDArray[np.float64], position: NDArray[np.float64], quantity: float, price: float, fee: float, step: float
) -> None:
    """Book a fill of signed `quantity` at `price` with `fee` in quote: cash, average entry, realised profit.

    `account`, `position`: (ACCOUNT_WIDTH,) float64, changed in place; what is then held is freed of dust of `step`.
    """
    after, entry, realised, bars = position_after(
        position[QUANTITY], position[ENTRY_PRICE], account[REALISED], position[BARS_HELD], quantity, price, step
    )
    position[ENTRY_PRICE], account[REALISED], position[BARS_HELD] = entry, realised, bars
    account[CASH] -= quantity * price + fee
    position[QUANTITY] = after
    account[FEES] += fee


@njit(cache=True, error_model="numpy", forceinline=True)
def plan_order(
    account: NDArray[np.float64], wanted: float, bar: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[int, float]:
    """Event 2: round, cap by participation or refuse what carries the position toward `wanted`.

    `account`: (ACCOUNT_WIDTH,); `bar`: (8,); `p`: (PARAMETER_WIDTH,).

    Returns:
        The order's status so far, and its signed quantity: 0.0 where it is refused.
    """
    quantity = order_quantity(account[QUANTITY], wanted, p[STEP_SIZE])
    if quantity == 0.0:
        return ROUNDED_TO_ZERO, 0.0
    if bar[VOLUME] <= 0.0:
        return NO_VOLUME, 0.0
    if abs(quantity) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
        return BELOW_MIN_NOTIONAL, 0.0
    status = FILLED
    cap = p[PARTICIPATION] * bar[VOLUME]
    if abs(quantity) > cap:
        quantity = round_to_step(math.copysign(cap, quantity), p[STEP_SIZE])
        status = PARTIAL
        if quantity == 0.0 or abs(quantity) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
            return NO_VOLUME, 0.0
    return status, quantity


@njit(cache=True, error_model="numpy", forceinline=True)
def book_order(
    account: NDArray[np.float64], position: NDArray[np.float64], status: int, quantity: float, price: float,
    open_price: float, p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Of event 3: book the fill of an order of `status` and signed `quantity` at `price`, with its fee and slippage.

    `account`, `position`: (ACCOUNT_WIDTH,), changed in place; `open_price`: what slippage is reckoned from; `p`:
    (PARAMETER_WIDTH,).
    """
    notional = abs(quantity) * price
    apply_fill(account, position, quantity, price, p[FEE] * notional, p[STEP_SIZE])
    if status == CASH_CAPPED and account[CASH] < 0.0:
        account[CASH] = 0.0  # the last bit of cash / (price * (1 + fee)) * price * (1 + fee)
    account[SLIPPAGE] += abs(quantity) * abs(price - open_price)
    position[FILL_PRICE] = price
    position[FILL_QUANTITY] = quantity
    account[TURNOVER] += notional / account[PREVIOUS_EQUITY]


@njit(cache=True, error_model="numpy", forceinline=True)
def fill_order(
    account: NDArray[np.float64],
    position: NDArray[np.float64],
    planned: tuple[int, float],
    cash: float,
    bar: NDArray[np.float64],
    sigma: float,
    p: NDArray[np.float64],
) -> int:
    """Event 3: fill at the open what `plan_order` left, a spot buy within `cash`. Returns the order status.

    `account`, `position`: (ACCOUNT_WIDTH,), changed in place; `bar`: (8,); `p`: (PARAMETER_WIDTH,).
    """
    status, quantity = planned
    if quantity == 0.0:
        return status
    price = slipped_price(bar[OPEN], quantity, bar[VOLUME], sigma, p)
    payable = affordable(cash, quantity, price, p)
    if payable < quantity:
        quantity = payable
        status = CASH_CAPPED
        if quantity <= 0.0:
            return ROUNDED_TO_ZERO
        if quantity * position[CLOSE_PRICE] < p[MIN_NOTIONAL]:
            return BELOW_MIN_NOTIONAL
        price = slipped_price(bar[OPEN], quantity, bar[VOLUME], sigma, p)
    book_order(account, position, status, quantity, price, bar[OPEN], p)
    return status
