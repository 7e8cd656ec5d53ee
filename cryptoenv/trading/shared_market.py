"""Several accounts whose orders meet in the same bars of one market. Part of the kernel.

Each account is that of `cryptoenv.trading.kernel`, by the same pieces; with one account every number is that of
`transition`, to the last bit. What accounts do to each other is said by two rules, both of the orders that go out in
one bar on one side of it (all that buy, or all that sell):

- **Impact.** The square-root law is of the whole flow, not of one's own part of it: a buyer of quantity `q` fills at
  `open * (1 + half_spread + impact * sigma_t * sqrt(Q / volume))`, `Q` the sum of what is bought at that open, and
  sellers likewise with the sum of what is sold. So an order that is split among several accounts costs what it costs
  undivided, and everybody pays for the crowd that he trades with. Buyers and sellers take from different sides of the
  book: they neither help nor hurt each other, and no fill is better than the kernel's alone would be.
- **Volume.** `participation * volume` is what all orders of a side get together. Where they ask for more, each is cut
  in proportion to what it asks for; the rest of it stays due (`PARTIAL`), as in the kernel.

Stops and take-profits of one side in one bar are a flow of their own, of which the impact is that of all; they are not
held back by the volume, as in the kernel. Liquidations pay their fee and have no impact. The bars themselves stay what
they are: the impact is a cost of the moment that is gone by the next bar.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, OPEN, SIGMA, VOLUME
from cryptoenv.trading.account import CASH, CLOSE_PRICE, QUANTITY, TARGET
from cryptoenv.trading.config import FEE, MIN_NOTIONAL, PARTICIPATION, STEP_SIZE
from cryptoenv.trading.exits import LIQUIDATED, NO_EXIT, book_exit, close_position, exit_due
from cryptoenv.trading.fills import book_order, plan_order
from cryptoenv.trading.kernel import begin_step, end_step, mark, pay_holding_costs
from cryptoenv.trading.orders import (
    BELOW_MIN_NOTIONAL,
    CASH_CAPPED,
    NO_ORDER,
    NO_VOLUME,
    PARTIAL,
    ROUNDED_TO_ZERO,
    affordable,
    round_to_step,
    slipped_price,
    wanted_quantity,
)

# Columns of a step's notes, one row per account.
PAID = 0  #: then three more: what `begin_step` returns
STATUS = 4  #: `OrderStatus` of the order
ORDERED = 5  #: its signed quantity, 0.0 where none goes out
EXIT = 6  #: `ExitKind` of what the bar brings
LEVEL = 7  #: its price
LEAVES = 8  #: signed quantity that a stop or take-profit trades
NOTES_WIDTH = 9


@njit(cache=True, error_model="numpy")
def flow_of(notes: NDArray[np.float64], column: int, side: float) -> tuple[float, int]:
    """Sum of the absolute quantities of one side in a column of (N, NOTES_WIDTH) notes, and how many they are."""
    total, count = 0.0, 0
    for i in range(notes.shape[0]):
        if notes[i, column] * side > 0.0:
            total += abs(notes[i, column])
            count += 1
    return total, count


@njit(cache=True, error_model="numpy")
def _share_volume(
    accounts: NDArray[np.float64], notes: NDArray[np.float64], side: float, volume: float, p: NDArray[np.float64]
) -> None:
    """Cut the orders of a side, where several ask for more than the bar's volume leaves them, in proportion."""
    cap = p[PARTICIPATION] * volume
    total, count = flow_of(notes, ORDERED, side)
    if count < 2 or total <= cap:
        return
    for i in range(notes.shape[0]):
        quantity = notes[i, ORDERED]
        if quantity * side > 0.0:
            quantity = round_to_step(quantity * (cap / total), p[STEP_SIZE])
            notes[i, STATUS] = PARTIAL
            if quantity == 0.0 or abs(quantity) * accounts[i, CLOSE_PRICE] < p[MIN_NOTIONAL]:
                quantity = 0.0
                notes[i, STATUS] = NO_VOLUME
            notes[i, ORDERED] = quantity


@njit(cache=True, error_model="numpy")
def _within_cash(
    accounts: NDArray[np.float64], notes: NDArray[np.float64], bar: NDArray[np.float64], sigma: float,
    p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Cut purchases on spot to what each account can pay at the price that all planned purchases together make."""
    total, _ = flow_of(notes, ORDERED, 1.0)
    if total == 0.0:
        return
    price = slipped_price(bar[OPEN], total, bar[VOLUME], sigma, p)
    for i in range(notes.shape[0]):
        quantity = notes[i, ORDERED]
        if quantity > 0.0:
            payable = affordable(accounts[i, CASH], quantity, price, p)
            if payable < quantity:
                quantity = payable
                notes[i, STATUS] = CASH_CAPPED
                if quantity <= 0.0:
                    quantity = 0.0
                    notes[i, STATUS] = ROUNDED_TO_ZERO
                elif quantity * accounts[i, CLOSE_PRICE] < p[MIN_NOTIONAL]:
                    quantity = 0.0
                    notes[i, STATUS] = BELOW_MIN_NOTIONAL
                notes[i, ORDERED] = quantity


@njit(cache=True, error_model="numpy")
def _fill_all(
    accounts: NDArray[np.float64], notes: NDArray[np.float64], bar: NDArray[np.float64], sigma: float,
    p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Event 3 of all accounts: each order at the price of its side's flow."""
    bought, _ = flow_of(notes, ORDERED, 1.0)
    sold, _ = flow_of(notes, ORDERED, -1.0)
    for i in range(notes.shape[0]):
        quantity = notes[i, ORDERED]
        if quantity != 0.0:
            price = slipped_price(bar[OPEN], bought if quantity > 0.0 else -sold, bar[VOLUME], sigma, p)
            book_order(accounts[i], accounts[i], int(notes[i, STATUS]), quantity, price, bar[OPEN], p)


@njit(cache=True, error_model="numpy")
def _exit_all(
    accounts: NDArray[np.float64], notes: NDArray[np.float64], trades: NDArray[np.bool_], bar: NDArray[np.float64],
    sigma: float, p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Event 4 of all accounts: what the bar brings each, then the closings, stops and take-profits by their flow."""
    for i in range(notes.shape[0]):
        notes[i, EXIT], notes[i, LEAVES] = NO_EXIT, 0.0
        if trades[i]:
            kind, level = exit_due(accounts[i], accounts[i], bar, p)
            notes[i, EXIT], notes[i, LEVEL] = kind, level
            if kind not in (NO_EXIT, LIQUIDATED):
                notes[i, LEAVES] = -accounts[i, QUANTITY]
    bought, _ = flow_of(notes, LEAVES, 1.0)
    sold, _ = flow_of(notes, LEAVES, -1.0)
    for i in range(notes.shape[0]):
        quantity, level = notes[i, LEAVES], notes[i, LEVEL]
        if notes[i, EXIT] == LIQUIDATED:
            close_position(accounts[i], accounts[i], level, sigma, bar, p, LIQUIDATED)
        elif quantity != 0.0:
            price = slipped_price(level, bought if quantity > 0.0 else -sold, bar[VOLUME], sigma, p)
            book_exit(accounts[i], accounts[i], level, price, p[FEE] * abs(quantity) * price)


@njit(cache=True, error_model="numpy")
def transition_together(
    accounts: NDArray[np.float64],
    prices: NDArray[np.float64],
    row: int,
    targets: NDArray[np.float64],
    trades: NDArray[np.bool_],
    notes: NDArray[np.float64],
    p: NDArray[np.float64],
) -> None:
    """Carry N accounts on one market from the close of bar `row` to the close of bar `row + 1`.

    Args:
        accounts: (N, ACCOUNT_WIDTH) float64, changed in place.
        prices: (T, 8) float64, `Market.prices`.
        row: index of the bar at whose close the decisions are made; `row + 1` must exist.
        targets: (N,) float64, signed exposures asked for.
        trades: (N,) bool: the others are left alone, and in nobody's way.
        notes: (N, NOTES_WIDTH) float64, overwritten.
        p: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
    """
    bar, sigma = prices[row + 1], prices[row, SIGMA]
    notes[:] = 0.0
    for i in range(accounts.shape[0]):
        if trades[i]:
            account = accounts[i]
            wanted = wanted_quantity(account, targets[i], sigma, p)
            notes[i, PAID], notes[i, PAID + 1], notes[i, PAID + 2], notes[i, PAID + 3] = begin_step(account)
            pay_holding_costs(account, account, bar, p)
            status, quantity = NO_ORDER, 0.0
            if wanted != account[QUANTITY]:
                status, quantity = plan_order(account, wanted, bar, p)
            notes[i, STATUS], notes[i, ORDERED] = status, quantity
    for side in (1.0, -1.0):
        _share_volume(accounts, notes, side, bar[VOLUME], p)
    _within_cash(accounts, notes, bar, sigma, p)
    _fill_all(accounts, notes, bar, sigma, p)
    _exit_all(accounts, notes, trades, bar, sigma, p)
    for i in range(accounts.shape[0]):
        if trades[i]:
            account = accounts[i]
            mark(account, bar[CLOSE], p)
            paid = notes[i, PAID], notes[i, PAID + 1], notes[i, PAID + 2], notes[i, PAID + 3]
            end_step(account, paid, int(notes[i, STATUS]), int(notes[i, EXIT]))
            account[TARGET] = targets[i]
