"""A limit order on the model's bars: filled only where the bar trades through its price. Jitted, part of the kernel.

`cryptoenv.trading.kernel` fills market orders at the open. Here an order rests at its price over a bar:

- it fills where the bar's low is below the price of a purchase (the high above that of a sale): a bar that only touches
  the price fills nothing, since the queue before the order is not known;
- it fills at its price, without slippage; where the open has passed the price already it fills at the open with the
  slippage of a market order, as a take-profit does in the kernel, and never worse than its price;
- a bar gives it at most `max_participation` of its volume; what is left goes on resting;
- within the bar the unfavourable comes first: an order that makes a position smaller fills only if neither stop nor
  liquidation has closed it, one that opens a position is filled before its stop is looked at, and a position that was
  opened in a bar takes no profit in it.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN, SIGMA, VOLUME
from cryptoenv.trading.account import (
    CASH,
    CLOSE_PRICE,
    FILL_PRICE,
    FILL_QUANTITY,
    PREVIOUS_EQUITY,
    QUANTITY,
    SLIPPAGE,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.config import HALF_SPREAD, MIN_NOTIONAL, PARTICIPATION, STEP_SIZE, TAKE_PROFIT
from cryptoenv.trading.exits import NO_EXIT, exit_inside_bar
from cryptoenv.trading.fills import apply_fill
from cryptoenv.trading.kernel import begin_step, end_step, mark, pay_holding_costs
from cryptoenv.trading.orders import (
    CASH_CAPPED,
    FILLED,
    NO_VOLUME,
    PARTIAL,
    SLACK,
    affordable,
    round_to_step,
    slipped_price,
)


@njit(cache=True, error_model="numpy")
def touch_of(close: float, p: NDArray[np.float64]) -> tuple[float, float]:
    """Best bid and ask around a close, as the model has them. `p`: (PARAMETER_WIDTH,) float64."""
    return close * (1.0 - p[HALF_SPREAD]), close * (1.0 + p[HALF_SPREAD])


@njit(cache=True, error_model="numpy")
def limit_price(side: float, bid: float, ask: float, offset: float, tick: float) -> float:
    """Price of a limit order: its own side's touch, better by the fraction `offset` (negative: worse, to fill sooner).

    Args:
        side: 1.0 of a purchase, -1.0 of a sale.
        bid, ask: best prices.
        offset: fraction of the touch.
        tick: price increment, 0.0 for none; the price is rounded to the favourable one.
    """
    price = bid * (1.0 - offset) if side > 0.0 else ask * (1.0 + offset)
    if tick <= 0.0:
        return price
    if side > 0.0:
        ticks = math.floor(price / tick + SLACK)
        return ticks * tick if ticks > 0.0 else price
    return math.ceil(price / tick - SLACK) * tick


@njit(cache=True, error_model="numpy")
def _fill_limit(
    account: NDArray[np.float64],
    order: NDArray[np.float64],
    sigma: float,
    bar: NDArray[np.float64],
    p: NDArray[np.float64],
) -> int:
    """Fill what the bar gives of a limit order. Returns the order status."""
    quantity, limit, fee = order[0], order[1], order[2]
    side = 1.0 if quantity > 0.0 else -1.0
    through = bar[LOW] < limit if quantity > 0.0 else bar[HIGH] > limit
    if bar[VOLUME] <= 0.0 or not through:
        return NO_VOLUME
    status = FILLED
    cap = p[PARTICIPATION] * bar[VOLUME]
    if abs(quantity) > cap:
        quantity = round_to_step(math.copysign(cap, quantity), p[STEP_SIZE])
        status = PARTIAL
        if quantity == 0.0 or abs(quantity) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
            return NO_VOLUME
    price = limit
    if (limit - bar[OPEN]) * side > 0.0:
        slipped = slipped_price(bar[OPEN], quantity, bar[VOLUME], sigma, p)
        price = slipped if (limit - slipped) * side > 0.0 else limit
    payable = affordable(account[CASH], quantity, price, p)
    if payable < quantity:
        quantity, status = payable, CASH_CAPPED
        if quantity <= 0.0:
            return NO_VOLUME
    notional = abs(quantity) * price
    apply_fill(account, account, quantity, price, fee * notional, p[STEP_SIZE])
    if status == CASH_CAPPED and account[CASH] < 0.0:
        account[CASH] = 0.0  # as in the kernel
    account[SLIPPAGE] += quantity * (price - bar[OPEN])  # signed: a limit may be better than the open
    account[FILL_PRICE] = price
    account[FILL_QUANTITY] = quantity
    account[TURNOVER] += notional / account[PREVIOUS_EQUITY]
    return status


@njit(cache=True, error_model="numpy")
def _exits(account: NDArray[np.float64], sigma: float, bar: NDArray[np.float64], p: NDArray[np.float64]) -> int:
    """`exit_inside_bar`, compiled once for its several callers."""
    return exit_inside_bar(account, account, sigma, bar, p)


@njit(cache=True, error_model="numpy")
def limit_transition(
    account: NDArray[np.float64],
    prices: NDArray[np.float64],
    row: int,
    order: NDArray[np.float64],
    target: float,
    status: int,
    p: NDArray[np.float64],
) -> None:
    """Carry `account` from the close of bar `row` to the close of bar `row + 1` while a limit order rests.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        prices: (T, 8) float64, `Market.prices`.
        row: index of the bar at whose close the decision was made.
        order: (3,) float64: signed base quantity that is left of it, 0.0 for no order; its price; fee per notional.
        target: exposure that stands from now on; NaN keeps the one before.
        status: `OrderStatus` of a step without an order.
        p: (PARAMETER_WIDTH,) float64.
    """
    bar, sigma = prices[row + 1], prices[row, SIGMA]
    adverse = p.copy()
    adverse[TAKE_PROFIT] = math.inf
    paid = begin_step(account)
    pay_holding_costs(account, account, bar, p)
    held, quantity, left = account[QUANTITY], order[0], NO_EXIT
    if quantity == 0.0:
        left = _exits(account, sigma, bar, p)
    elif held * quantity < 0.0:
        left = _exits(account, sigma, bar, adverse)
        status = NO_VOLUME if left != NO_EXIT else _fill_limit(account, order, sigma, bar, p)
        if left == NO_EXIT:
            same = account[QUANTITY] * held > 0.0
            left = _exits(account, sigma, bar, p) if same else _exits(account, sigma, bar, adverse)
    else:
        status = _fill_limit(account, order, sigma, bar, p)
        if account[FILL_QUANTITY] != 0.0:
            left = _exits(account, sigma, bar, adverse)
        else:
            left = _exits(account, sigma, bar, p)
    if not math.isnan(target):
        account[TARGET] = target
    mark(account, bar[CLOSE], p)
    end_step(account, paid, status, left)


@njit(cache=True, error_model="numpy")
def filled_in_all(heard: NDArray[np.float64], quantity: float, price: float, fee: float) -> None:
    """Add a fill of the model to what an order has filled until now.

    Args:
        heard: (4,) float64, changed in place: unsigned quantity, average price, fees in quote and in base.
        quantity: of the fill, either sign; 0.0 adds nothing. price: of it. fee: per notional.
    """
    if quantity == 0.0:
        return
    whole = heard[0] + abs(quantity)
    before = heard[0] * heard[1] if heard[0] > 0.0 else 0.0
    heard[1] = (before + abs(quantity) * price) / whole
    heard[0] = whole
    heard[2] += fee * abs(quantity) * price


@njit(cache=True, error_model="numpy")
def left_of(quantity: float, filled: float, step: float) -> float:
    """What is left of an order of signed `quantity` of which `filled`, unsigned, has filled; 0.0 where only dust is."""
    rest = abs(quantity) - filled
    if rest <= max(1e-12 * abs(quantity), 1e-6 * step):
        return 0.0
    return math.copysign(rest, quantity)
