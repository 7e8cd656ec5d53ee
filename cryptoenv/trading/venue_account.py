"""The account as a venue has it: the order that is due, what has filled, what is held already. Jitted.

Part of the kernel, for brokers of real venues: `cryptoenv.trading.kernel` fills by its model, here the fills are the
venue's, and everything else is done by the same pieces. No broker does arithmetic of its own.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, OPEN
from cryptoenv.trading.account import (
    CASH,
    CLOSE_PRICE,
    ENTRY_PRICE,
    EQUITY,
    EVENTFUL,
    EXIT_PRICE,
    EXPOSURE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    ORDER_STATUS,
    PREVIOUS_EQUITY,
    QUANTITY,
    REALISED,
    SLIPPAGE,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.config import MIN_NOTIONAL, STEP_SIZE, STOP_LOSS, TAKE_PROFIT
from cryptoenv.trading.exits import NO_EXIT
from cryptoenv.trading.fills import apply_fill
from cryptoenv.trading.kernel import begin_step, end_step, mark, open_account, pay_holding_costs
from cryptoenv.trading.orders import (
    BELOW_MIN_NOTIONAL,
    CASH_CAPPED,
    FILLED,
    NO_ORDER,
    ROUNDED_TO_ZERO,
    affordable,
    order_quantity,
    slipped_price,
    wanted_quantity,
)


@njit(cache=True, error_model="numpy")
def live_order(account: NDArray[np.float64], target: float, sigma: float, p: NDArray[np.float64]) -> tuple[float, int]:
    """The order that a target asks for now, from what is known at the close: what a live trader can send.

    Args:
        account: (ACCOUNT_WIDTH,) float64, marked at the close.
        target: signed exposure asked for.
        sigma: deviation of the last 96 log-returns, known at the close.
        p: (PARAMETER_WIDTH,) float64.

    Returns:
        Signed base quantity, 0.0 where none is due or none would be accepted; and the `OrderStatus` that says why:
        NONE, FILLED (as asked), CASH_CAPPED, ROUNDED_TO_ZERO or BELOW_MIN_NOTIONAL.
    """
    held, price = account[QUANTITY], account[CLOSE_PRICE]
    wanted = wanted_quantity(account, target, sigma, p)
    if wanted == held:
        return 0.0, NO_ORDER
    quantity, status = order_quantity(held, wanted, p[STEP_SIZE]), FILLED
    if quantity == 0.0:
        return 0.0, ROUNDED_TO_ZERO
    worst = slipped_price(price, quantity, abs(quantity), sigma, p)  # as if it were the bar's whole volume
    payable = affordable(account[CASH], quantity, worst, p)
    if payable < quantity:
        quantity, status = payable, CASH_CAPPED
        if quantity <= 0.0:
            return 0.0, ROUNDED_TO_ZERO
    if abs(quantity) * price < p[MIN_NOTIONAL]:
        return 0.0, BELOW_MIN_NOTIONAL
    return quantity, status


@njit(cache=True, error_model="numpy")
def book_fill(account: NDArray[np.float64], fill: NDArray[np.float64], p: NDArray[np.float64]) -> None:
    """Book what a venue has filled and charged; fees of an earlier fill alone where the quantity is 0.0.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        fill: (5,) float64, a row as for `settle`.
        p: (PARAMETER_WIDTH,) float64.
    """
    quantity, price, charged, taken = fill[0], fill[1], fill[2], fill[3]
    if quantity != 0.0:
        apply_fill(account, account, quantity, price, charged, p[STEP_SIZE])
    else:
        account[CASH] -= charged
        account[FEES] += charged
    if taken != 0.0:  # a fee in coins: sold at the fill's price, and the proceeds are the fee
        apply_fill(account, account, -taken, price, taken * price, 0.0)


@njit(cache=True, error_model="numpy")
def settle(
    account: NDArray[np.float64],
    bar: NDArray[np.float64],
    target: float,
    fills: NDArray[np.float64],
    status: int,
    p: NDArray[np.float64],
    funding: float = math.nan,
) -> None:
    """Carry `account` to the close of `bar` by what a venue has filled, in place of what the model would fill.

    Events are those of `transition`: holding costs, then the fills in their order, then the mark.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        bar: (8,) float64, a row of `Market.prices`, which has closed.
        target: exposure that stands from now on; NaN keeps the one before.
        fills: (F, 5) float64: signed base quantity, price, fee in quote, fee in base, and what a resting order filled
            as an exit: 1.0 a stop, 2.0 a take-profit (`ExitKind`), 0.0 no exit. Quantity 0.0: fees alone, that were
            not known before.
        status: `OrderStatus` of the step.
        p: (PARAMETER_WIDTH,) float64.
        funding: that the venue says was paid (negative: received), quote; NaN: holding costs as the model has them.
    """
    before = begin_step(account)
    if math.isnan(funding):
        pay_holding_costs(account, account, bar, p)
    else:
        account[CASH] -= funding
        account[FUNDING_PAID] += funding
    left, filled, paid = NO_EXIT, 0.0, 0.0
    for i in range(fills.shape[0]):
        quantity, price = fills[i, 0], fills[i, 1]
        book_fill(account, fills[i], p)
        if quantity == 0.0:
            continue
        account[SLIPPAGE] += quantity * (price - bar[OPEN])  # signed: a fill may be better than the open
        account[TURNOVER] += abs(quantity) * price / account[PREVIOUS_EQUITY]
        if fills[i, 4] != 0.0:
            left = int(fills[i, 4])
            account[EXIT_PRICE] = price
        else:
            filled += quantity
            paid += quantity * price
    if filled != 0.0:
        account[FILL_PRICE] = paid / filled
        account[FILL_QUANTITY] = filled
    if not math.isnan(target):
        account[TARGET] = target
    mark(account, bar[CLOSE], p)
    end_step(account, before, status, left)
    account[EVENTFUL] = 1.0  # what an earlier step's order has filled has no status in this one


@njit(cache=True, error_model="numpy")
def perpetual_cash(equity: float, unrealised: float, quantity: float, entry: float) -> float:
    """The `CASH` of a perpetual's account: `CASH + quantity * price` is its equity at any price.

    `equity` holds `unrealised`, the open profit at the venue's mark price; both and `entry` are in quote currency.
    """
    return equity - unrealised - quantity * entry


@njit(cache=True, error_model="numpy")
def fill_since(
    side: float, heard: NDArray[np.float64], booked: NDArray[np.float64], exit_kind: float
) -> NDArray[np.float64]:
    """What an order has filled beyond what is in the account already: a row for `settle`.

    Args:
        side: 1.0 of a purchase, -1.0 of a sale.
        heard: (4,) float64: unsigned quantity filled in all, its average price, fees in quote and in base.
        booked: (4,) float64: of it in the account: unsigned quantity, its cost in quote, fees in quote and in base.
        exit_kind: `ExitKind` of a resting stop or take-profit, 0.0 of other orders.

    Returns:
        (5,) float64; of fees that were heard later than their fill the quantity is 0.0.
    """
    row = np.zeros(5)
    quantity = heard[0] - booked[0]
    if quantity > 0.0:
        row[0] = side * quantity
        row[1] = (heard[0] * heard[1] - booked[1]) / quantity
        row[4] = exit_kind
    elif heard[0] > 0.0:
        row[1] = heard[1]
    row[2], row[3] = heard[2] - booked[2], heard[3] - booked[3]
    return row


@njit(cache=True, error_model="numpy")
def account_with(
    account: NDArray[np.float64], fills: NDArray[np.float64], whole: bool, p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A copy of `account`, (ACCOUNT_WIDTH,), with fills that are not in it yet: what the next order is sized from.

    `fills`: (F, 5) float64 as for `settle`; `whole`: the last order has filled in full, so that nothing of it is due;
    `p`: (PARAMETER_WIDTH,) float64. It is marked at the close as before.
    """
    copied = account.copy()
    if whole:
        copied[ORDER_STATUS] = FILLED
    for i in range(fills.shape[0]):
        book_fill(copied, fills[i], p)
    copied[EQUITY] = copied[CASH] + copied[QUANTITY] * copied[CLOSE_PRICE]
    copied[EXPOSURE] = copied[QUANTITY] * copied[CLOSE_PRICE] / copied[EQUITY]
    return copied


@njit(cache=True, error_model="numpy")
def exit_levels(quantity: float, entry: float, p: NDArray[np.float64]) -> tuple[float, float]:
    """Prices at which a position's stop and take-profit stand, as in the kernel; NaN for one that is not set.

    Args:
        quantity: signed, held. entry: its average price.
        p: (PARAMETER_WIDTH,) float64.
    """
    side = 1.0 if quantity > 0.0 else -1.0
    stop = entry * (1.0 - side * p[STOP_LOSS])
    profit = entry * (1.0 + side * p[TAKE_PROFIT])
    stop_set = p[STOP_LOSS] < math.inf and stop > 0.0
    profit_set = p[TAKE_PROFIT] < math.inf and profit > 0.0
    return (stop if stop_set else math.nan), (profit if profit_set else math.nan)


def quantity_after(account: NDArray[np.float64], fills: NDArray[np.float64]) -> float:
    """Base quantity that `account`, (ACCOUNT_WIDTH,), holds once `fills`, (F, 5) as for `settle`, are booked."""
    return float(account[QUANTITY] + fills[:, 0].sum() - fills[:, 3].sum())


@njit(cache=True, error_model="numpy")
def adopt_account(account: NDArray[np.float64], cash: float, quantity: float, entry: float, close: float) -> None:
    """Begin an episode from what is held already: `open_account` in quantities instead of exposure.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten.
        cash: quote currency (short sales add to it). quantity: signed base quantity. entry: its average price.
        close: price that marks the account.
    """
    open_account(account, cash + quantity * close, close, 0.0)
    account[QUANTITY] = quantity
    account[CASH] = cash
    account[ENTRY_PRICE] = entry if quantity != 0.0 else 0.0
    account[EXPOSURE] = quantity * close / account[EQUITY]
    account[TARGET] = account[EXPOSURE]
    account[REALISED] = -quantity * (close - account[ENTRY_PRICE])  # earned before: the identity begins at `equity`
