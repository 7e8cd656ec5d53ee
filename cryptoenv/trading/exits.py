"""Event 4 of a step: liquidation, stop and take-profit inside a bar. Part of the kernel, with its rules."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import HIGH, LOW, OPEN, VOLUME
from cryptoenv.trading.account import CASH, ENTRY_PRICE, EXIT_PRICE, PREVIOUS_EQUITY, QUANTITY, SLIPPAGE, TURNOVER
from cryptoenv.trading.config import FEE, IS_SPOT, LIQUIDATION_FEE, MAINTENANCE, STOP_LOSS, TAKE_PROFIT
from cryptoenv.trading.fills import apply_fill
from cryptoenv.trading.orders import slipped_price

SAFE_MARGIN = 1e-6  #: share of the position's value above which no liquidation price needs to be computed
NO_EXIT, STOPPED, TOOK_PROFIT, LIQUIDATED = range(4)  #: `ExitKind` for jitted code


@njit(cache=True, error_model="numpy")
def liquidation_price(
    account: NDArray[np.float64], position: NDArray[np.float64], p: NDArray[np.float64]
) -> float:
    """Price at which equity falls to the maintenance margin of the open position; 0 where there is none.

    Solves `cash + quantity * price = maintenance * |quantity| * price`. `account`, `position`:
    (ACCOUNT_WIDTH,), `p`: (PARAMETER_WIDTH,).
    """
    held = position[QUANTITY]
    if held == 0.0 or p[IS_SPOT] == 1.0:
        return 0.0
    if held > 0.0:
        return max(-account[CASH] / (held * (1.0 - p[MAINTENANCE])), 0.0)
    return max(account[CASH] / (-held * (1.0 + p[MAINTENANCE])), 0.0)


@njit(cache=True, error_model="numpy", forceinline=True)
def book_exit(
    account: NDArray[np.float64], position: NDArray[np.float64], level: float, price: float, fee: float
) -> None:
    """Of event 4: book that all is closed at `price` instead of `level`; both rows: (ACCOUNT_WIDTH,), in place."""
    quantity = -position[QUANTITY]
    apply_fill(account, position, quantity, price, fee, 0.0)
    account[SLIPPAGE] += abs(quantity) * abs(price - level)
    position[EXIT_PRICE] = price
    account[TURNOVER] += abs(quantity) * price / account[PREVIOUS_EQUITY]


@njit(cache=True, error_model="numpy")
def close_position(
    account: NDArray[np.float64],
    position: NDArray[np.float64],
    level: float,
    sigma: float,
    bar: NDArray[np.float64],
    p: NDArray[np.float64],
    kind: int,
) -> int:
    """Close all at `level`: with slippage and fee, or worsened by the liquidation fee (which replaces both).

    `account`, `position`: (ACCOUNT_WIDTH,), changed in place; `bar`: (8,); `p`: (PARAMETER_WIDTH,). Returns `kind`, an
    `ExitKind`.
    """
    quantity = -position[QUANTITY]
    if kind == LIQUIDATED:
        price = level * (1.0 + math.copysign(p[LIQUIDATION_FEE], quantity))
        fee = 0.0
    else:
        price = slipped_price(level, quantity, bar[VOLUME], sigma, p)
        fee = p[FEE] * abs(quantity) * price
    book_exit(account, position, level, price, fee)
    return kind


@njit(cache=True, error_model="numpy", forceinline=True)
def exit_due(
    account: NDArray[np.float64], position: NDArray[np.float64], bar: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[int, float]:
    """Of event 4: which exit the bar brings, and its price: gapped at the open, then adverse before favourable.

    A venue liquidates by its mark price whether or not anyone trades; stops and take-profits need volume to fill.
    `account`, `position`: (ACCOUNT_WIDTH,); `bar`: (8,); `p`: (PARAMETER_WIDTH,).
    """
    held = position[QUANTITY]
    if held == 0.0:
        return NO_EXIT, 0.0
    side = 1.0 if held > 0.0 else -1.0
    open_price = bar[OPEN]
    adverse = bar[LOW] if held > 0.0 else bar[HIGH]
    favourable = bar[HIGH] if held > 0.0 else bar[LOW]
    margin_at_open = account[CASH] + held * open_price - p[MAINTENANCE] * abs(held) * open_price
    if p[IS_SPOT] == 0.0 and margin_at_open <= 0.0:  # beyond the liquidation price, or past any that exists
        return LIQUIDATED, open_price
    margin_left = account[CASH] + held * adverse - p[MAINTENANCE] * abs(held) * adverse
    safe = p[IS_SPOT] == 1.0 or margin_left > SAFE_MARGIN * abs(held) * adverse
    if safe and p[STOP_LOSS] == math.inf and p[TAKE_PROFIT] == math.inf:
        return NO_EXIT, 0.0
    liquidation = liquidation_price(account, position, p)
    stop = position[ENTRY_PRICE] * (1.0 - side * p[STOP_LOSS])
    traded = bar[VOLUME] > 0.0
    profit = position[ENTRY_PRICE] * (1.0 + side * p[TAKE_PROFIT])
    profit_set = traded and p[TAKE_PROFIT] < math.inf and profit > 0.0
    if profit_set and (open_price - profit) * side >= 0.0:  # a resting order: filled before anything later in the bar
        return TOOK_PROFIT, open_price
    stop_set = traded and p[STOP_LOSS] < math.inf
    if stop_set and (stop - liquidation) * side >= 0.0 and (adverse - stop) * side <= 0.0:
        return STOPPED, stop if (open_price - stop) * side > 0.0 else open_price
    if liquidation > 0.0 and (adverse - liquidation) * side <= 0.0:
        return LIQUIDATED, liquidation
    if profit_set and (favourable - profit) * side >= 0.0:
        return TOOK_PROFIT, profit
    return NO_EXIT, 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def exit_inside_bar(
    account: NDArray[np.float64], position: NDArray[np.float64], sigma: float, bar: NDArray[np.float64],
    p: NDArray[np.float64],
) -> int:  # fmt: skip
    """Event 4: close the position where the bar brings an exit. Returns the exit kind.

    `account`, `position`: (ACCOUNT_WIDTH,), changed in place; `bar`: (8,); `p`: (PARAMETER_WIDTH,).
    """
    kind, level = exit_due(account, position, bar, p)
    if kind != NO_EXIT:
        close_position(account, position, level, sigma, bar, p, kind)
    return kind
