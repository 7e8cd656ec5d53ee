"""Steps in which nothing out of the ordinary happens, of many accounts side by side. Part of the kernel.

Accounts lie column by column here, `LANES` of them. What nearly all do in nearly all steps (pay what holding costs,
keep or fill an order in full, be marked) is computed for all at once and without a branch, so that the processor takes
several in one instruction: by the kernel's formulas in the kernel's order, and so to the same bits. An account to
which anything else would happen (an exit, a partial or refused order, the drawdown stop, ruin) is left as it was:
`transition` carries it.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import (
    CLOSE,
    FUNDING,
    FUNDING_MARKS,
    HIGH,
    LOW,
    OPEN,
    PRICE_COLUMNS,
    VOLUME,
)
from cryptoenv.trading.account import (
    BARS_HELD,
    BORROW_PAID,
    CASH,
    CLOSE_PRICE,
    DRAWDOWN,
    ENTRY_PRICE,
    EQUITY,
    EVENTFUL,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    HALTED,
    ORDER_STATUS,
    PEAK_EQUITY,
    PREVIOUS_DRAWDOWN,
    PREVIOUS_EQUITY,
    QUANTITY,
    REALISED,
    SLIPPAGE,
    START_EQUITY,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.config import (
    DRAWDOWN_STOP,
    FEE,
    IS_SPOT,
    MAINTENANCE,
    MIN_NOTIONAL,
    PARTICIPATION,
    STOP_LOSS,
    TAKE_PROFIT,
    TOLERANCE,
)
from cryptoenv.trading.exits import NO_EXIT, SAFE_MARGIN
from cryptoenv.trading.fills import position_after
from cryptoenv.trading.kernel import RUIN_FRACTION, holding_costs
from cryptoenv.trading.orders import (
    FILLED,
    NO_ORDER,
    NO_VOLUME,
    PARTIAL,
    effective_target,
    slipped,
)

LANES = 64  #: accounts side by side: 18 kB of them, which stay in the first cache
# What is known of each account's step, (STEP_WIDTH, LANES): the prices of its next bar come first, by their columns.
ASKED = len(PRICE_COLUMNS)  #: the target exposure
KNOWN_SIGMA = ASKED + 1  #: sigma at the close before
STEPS = ASKED + 2  #: 1 where the account is to be stepped
# Each function below writes rows behind all that it reads: what cannot overlap is computed several at a time.
_HELD_FUNDING, _HELD_BORROW, _ORDERED, _PRICE, _FITS = range(ASKED + 3, ASKED + 8)
PLAIN = ASKED + 8  #: afterwards: 1 where the account was stepped
STEP_WIDTH = ASKED + 9

Columns = NDArray[np.float64]


@njit(cache=True, error_model="numpy", forceinline=True)
def _due(columns: Columns, step: Columns, p: NDArray[np.float64]) -> None:
    """Event 1 and the order of event 2: what holding costs, and what is ordered."""
    for i in range(LANES):
        held = columns[QUANTITY, i]
        funding, borrow = holding_costs(held, step[OPEN, i], step[FUNDING, i], step[FUNDING_MARKS, i], p)
        step[_HELD_FUNDING, i], step[_HELD_BORROW, i] = funding, borrow
        target, sigma, last = step[ASKED, i], step[KNOWN_SIGMA, i], columns[ORDER_STATUS, i]
        exposure = effective_target(target, sigma, p)
        wanted = exposure * columns[EQUITY, i] / columns[CLOSE_PRICE, i]
        near = abs(exposure - columns[EXPOSURE, i]) <= p[TOLERANCE]
        rests = (target == columns[TARGET, i]) & near & (last != PARTIAL) & (last != NO_VOLUME)
        step[_ORDERED, i] = 0.0 if rests else wanted - held


@njit(cache=True, error_model="numpy", forceinline=True)
def _fill(columns: Columns, step: Columns, p: NDArray[np.float64]) -> None:
    """Events 2 and 3: at which price the order fills, and whether it does so in full."""
    for i in range(LANES):
        quantity, volume = step[_ORDERED, i], step[VOLUME, i]
        slip = slipped(quantity, volume, step[KNOWN_SIGMA, i], p)
        price = step[OPEN, i] * (1.0 + slip) if quantity > 0.0 else step[OPEN, i] * (1.0 - slip)
        enough = abs(quantity) * columns[CLOSE_PRICE, i] >= p[MIN_NOTIONAL]
        fits = (volume > 0.0) & enough & (abs(quantity) <= p[PARTICIPATION] * volume)
        cash = columns[CASH, i] - step[_HELD_FUNDING, i] - step[_HELD_BORROW, i]
        paid = (p[IS_SPOT] == 0.0) | (quantity <= 0.0) | (cash / (price * (1.0 + p[FEE])) >= quantity)
        step[_PRICE, i] = price
        step[_FITS, i] = 1.0 if (quantity == 0.0) | (fits & paid) else 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _holds(cash: float, held: float, opened: float, low: float, high: float, p: NDArray[np.float64]) -> bool:
    """Event 4: whether a position of `held` outlives the bar: no stop is set, and its margin is safe throughout."""
    adverse = low if held > 0.0 else high
    at_open = cash + held * opened - p[MAINTENANCE] * abs(held) * opened
    left = cash + held * adverse - p[MAINTENANCE] * abs(held) * adverse
    safe = (p[IS_SPOT] == 1.0) | ((at_open > 0.0) & (left > SAFE_MARGIN * abs(held) * adverse))
    return (held == 0.0) | (safe & (p[STOP_LOSS] == math.inf) & (p[TAKE_PROFIT] == math.inf))


@njit(cache=True, error_model="numpy", forceinline=True)
def _keep(columns: Columns, step: Columns, p: NDArray[np.float64]) -> None:
    """Events 2 to 5 of the plain accounts: booked, marked and written down; which they are is known afterwards."""
    for i in range(LANES):
        quantity, price, close = step[_ORDERED, i], step[_PRICE, i], step[CLOSE, i]
        moved, opened, low, high = quantity != 0.0, step[OPEN, i], step[LOW, i], step[HIGH, i]
        funding, borrow, before = step[_HELD_FUNDING, i], step[_HELD_BORROW, i], columns[EQUITY, i]
        notional = abs(quantity) * price
        fee = p[FEE] * notional
        cash = columns[CASH, i] - funding - borrow
        held_was, entry_was, bars_was = columns[QUANTITY, i], columns[ENTRY_PRICE, i], columns[BARS_HELD, i]
        held, entry, realised, bars = position_after(
            held_was, entry_was, columns[REALISED, i], bars_was, quantity, price, 0.0
        )
        held, bars = (held, bars) if moved else (held_was, bars_was)
        cash = cash - (quantity * price + fee) if moved else cash
        equity = cash + held * close
        peak = max(columns[PEAK_EQUITY, i], equity)
        drawdown = 0.0 if equity > columns[PEAK_EQUITY, i] else 1.0 - equity / columns[PEAK_EQUITY, i]
        sound = (equity > RUIN_FRACTION * columns[START_EQUITY, i]) & (drawdown < p[DRAWDOWN_STOP])
        begun = (step[STEPS, i] == 1.0) & (step[_FITS, i] == 1.0) & (columns[HALTED, i] == 0.0)
        plain = begun & sound & _holds(cash, held, opened, low, high, p)
        step[PLAIN, i] = 1.0 if plain else 0.0
        fees, slippage = columns[FEES, i], columns[SLIPPAGE, i]
        fees_now = fees + fee if moved else fees
        slippage_now = slippage + abs(quantity) * abs(price - opened) if moved else slippage
        funding_was, borrow_was = columns[FUNDING_PAID, i], columns[BORROW_PAID, i]
        funding_now, borrow_now = funding_was + funding, borrow_was + borrow
        free = (funding_now == funding_was) & (borrow_now == borrow_was)
        columns[EVENTFUL, i] = _chosen(plain, 1.0 if moved | (not free) else 0.0, columns[EVENTFUL, i])
        columns[PREVIOUS_EQUITY, i] = _chosen(plain, before, columns[PREVIOUS_EQUITY, i])
        columns[PREVIOUS_DRAWDOWN, i] = _chosen(plain, columns[DRAWDOWN, i], columns[PREVIOUS_DRAWDOWN, i])
        columns[FILL_PRICE, i] = _chosen(plain, price if moved else math.nan, columns[FILL_PRICE, i])
        columns[FILL_QUANTITY, i] = _chosen(plain, quantity, columns[FILL_QUANTITY, i])
        columns[EXIT_PRICE, i] = _chosen(plain, math.nan, columns[EXIT_PRICE, i])
        columns[TURNOVER, i] = _chosen(plain, notional / before if moved else 0.0, columns[TURNOVER, i])
        columns[STEP_FEES, i] = _chosen(plain, fees_now - fees, columns[STEP_FEES, i])
        columns[STEP_SLIPPAGE, i] = _chosen(plain, slippage_now - slippage, columns[STEP_SLIPPAGE, i])
        columns[STEP_FUNDING, i] = _chosen(plain, funding_now - funding_was, columns[STEP_FUNDING, i])
        columns[STEP_BORROW, i] = _chosen(plain, borrow_now - borrow_was, columns[STEP_BORROW, i])
        columns[FEES, i] = _chosen(plain, fees_now, fees)
        columns[SLIPPAGE, i] = _chosen(plain, slippage_now, slippage)
        columns[FUNDING_PAID, i] = _chosen(plain, funding_now, funding_was)
        columns[BORROW_PAID, i] = _chosen(plain, borrow_now, borrow_was)
        columns[ORDER_STATUS, i] = _chosen(plain, FILLED if moved else NO_ORDER, columns[ORDER_STATUS, i])
        columns[EXIT_KIND, i] = _chosen(plain, NO_EXIT, columns[EXIT_KIND, i])
        columns[CASH, i] = _chosen(plain, cash, columns[CASH, i])
        columns[QUANTITY, i] = _chosen(plain, held, columns[QUANTITY, i])
        columns[ENTRY_PRICE, i] = _chosen(plain & moved, entry, columns[ENTRY_PRICE, i])
        columns[REALISED, i] = _chosen(plain & moved, realised, columns[REALISED, i])
        columns[BARS_HELD, i] = _chosen(plain, bars + 1.0 if held != 0.0 else bars, columns[BARS_HELD, i])
        columns[EQUITY, i] = _chosen(plain, equity, before)
        columns[CLOSE_PRICE, i] = _chosen(plain, close, columns[CLOSE_PRICE, i])
        columns[EXPOSURE, i] = _chosen(plain, held * close / equity, columns[EXPOSURE, i])
        columns[DRAWDOWN, i] = _chosen(plain, drawdown, columns[DRAWDOWN, i])
        columns[PEAK_EQUITY, i] = _chosen(plain, peak, columns[PEAK_EQUITY, i])
        columns[TARGET, i] = _chosen(plain, step[ASKED, i], columns[TARGET, i])


@njit(cache=True, error_model="numpy", forceinline=True)
def _chosen(condition: bool, value: float, other: float) -> float:
    return value if condition else other


@njit(cache=True, error_model="numpy", forceinline=True)
def step_plain(columns: Columns, step: Columns, p: NDArray[np.float64]) -> None:
    """One step of the accounts in `columns` to which nothing out of the ordinary happens.

    Args:
        columns: (ACCOUNT_WIDTH, LANES) float64, changed where the step is plain.
        step: (STEP_WIDTH, LANES) float64: the next bar's prices, `ASKED`, `KNOWN_SIGMA` and `STEPS`; `PLAIN` is
            written.
        p: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`, with no step and no tick to round to.
    """
    _due(columns, step, p)
    _fill(columns, step, p)
    _keep(columns, step, p)
