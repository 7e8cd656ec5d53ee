"""An account that holds several assets: the kernel's events, asset by asset, on one cash balance. Part of the kernel.

The money rules of a portfolio, for weights decided at the close of bar `t` (everything else happens in bar `t + 1`).
Each asset's arithmetic is that of `cryptoenv.trading.kernel`, by the same functions: every asset has a row as an
account has, of which what is held is used, and the account's own row has the purse (cash, costs, realised profit,
turnover). With one asset every number is that of `transition`, to the last bit.

1. **What is asked.** A weight is a target exposure: position value over the account's equity, signed. Where the sum of
   absolute weights exceeds the gross limit, or the absolute sum the net limit, all are scaled down by one factor: what
   is left is cash. Weights of assets that cannot be had are not given to others: they too are cash.
2. **Due first.** Funding and interest of every position, by the quantity held before the fills, then the settlement of
   assets that are gone: what is held of an asset whose bars have ended is sold (bought back) at its last close, with
   the fee and without slippage, as venues settle what they delist.
3. **Orders.** Every order is sized from the equity and the prices at close `t`, before anything of this bar is known,
   so that no asset's order depends on another's fill. Each is rounded, refused, and capped by its own asset's volume
   by itself: a capped asset leaves cash, and the rest of its order stays due; nobody else's order grows. All fill at
   the opens, in the assets' order, which changes nothing but the last bit of a sum. On spot, sales come first, and
   where the cash that then is there does not pay for all purchases, fees included, it is shared among them in
   proportion to what they would cost (no asset is served before another) and each is cut to its share.
4. **Inside the bar** the margin is the account's: cash and the value of all positions against the maintenance margin of
   them all. It is tested at the opens, then where every position is at its adverse extreme at once: nobody knows in
   which order the extremes came, so the worst is taken. If it falls short, prices are taken to have gone there in
   straight lines, together: on that way stops fill when they are reached (a stop wins a tie), and where the margin is
   used up, all positions are liquidated, each at its price of that moment, worsened by the liquidation fee. What the
   opens have passed goes there, take-profits after everything adverse. While one position is open, all of this is
   `exit_inside_bar` itself.
5. **The mark** at the closes: equity is cash and the value of all positions; at the floor of ruin all are written off.
   The drawdown stop is the account's: once tripped, every target counts as 0.

A bar without volume fills no order, as in the kernel. An asset is tradable from its first bar with whole windows to its
last; before, an order for it is NO_VOLUME and stays due.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN, PRICE_COLUMNS, SIGMA, VOLUME
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    CASH,
    CLOSE_PRICE,
    ENTRY_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FILL_PRICE,
    FILL_QUANTITY,
    HALTED,
    ORDER_STATUS,
    PREVIOUS_EQUITY,
    QUANTITY,
    START_EQUITY,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.config import FEE, IS_SPOT, MAINTENANCE, STOP_LOSS, TAKE_PROFIT
from cryptoenv.trading.exits import (
    LIQUIDATED,
    NO_EXIT,
    SAFE_MARGIN,
    STOPPED,
    TOOK_PROFIT,
    close_position,
    exit_inside_bar,
)
from cryptoenv.trading.fills import apply_fill, fill_order, plan_order
from cryptoenv.trading.kernel import (
    RUIN_FRACTION,
    begin_step,
    end_step,
    floored,
    mark_drawdown,
    mark_position,
    open_account,
    pay_holding_costs,
    write_off,
)
from cryptoenv.trading.orders import NO_ORDER, NO_VOLUME, slipped_price, wanted_quantity

SETTLED = 4  #: `ExitKind` of a position in an asset whose bars have ended
# A position's row is an account's, and two columns more.
PLANNED = ACCOUNT_WIDTH  #: signed quantity of the step's order before cash caps it
COST = ACCOUNT_WIDTH + 1  #: what a spot buy of that would cost, fee included, quote
POSITION_WIDTH = ACCOUNT_WIDTH + 4  #: whole cache lines
ABSENT, TRADED, GONE = 0.0, 1.0, 2.0
# A slate holds what a step reads of each asset: the prices of bar t + 1, but with the deviation known at t, and:
COMING = len(PRICE_COLUMNS)  #: `ABSENT`, `TRADED` (it has bars t and t + 1) or `GONE` (its last bar is t, or before)
SLATE_WIDTH = COMING + 1


@njit(cache=True, error_model="numpy")
def limit_weights(weights: NDArray[np.float64], gross: float, net: float) -> None:
    """Scale each row of `weights`, (N, A), down to `gross` (sum of absolute weights) and `net` (absolute sum)."""
    for i in range(weights.shape[0]):
        total, size = 0.0, 0.0
        for j in range(weights.shape[1]):
            total += weights[i, j]
            size += abs(weights[i, j])
        scale = gross / size if size > gross else 1.0
        if abs(total) * scale > net:
            scale = net / abs(total)
        if scale < 1.0:
            for j in range(weights.shape[1]):
                weights[i, j] *= scale


@njit(cache=True, error_model="numpy")
def open_portfolio(
    account: NDArray[np.float64],
    positions: NDArray[np.float64],
    cash: float,
    closes: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> None:
    """Start an episode: `cash` of equity, `weights` of it already held at `closes`, at no cost.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten. positions: (A, POSITION_WIDTH) float64, overwritten.
        cash: quote currency, > 0.
        closes: (A,) prices; 0.0 of an asset that is not there, whose weight must be 0.
        weights: (A,) signed fractions of equity.
    """
    open_account(account, cash, 1.0, 0.0)
    account[CLOSE_PRICE] = 0.0
    total = 0.0
    positions[:] = 0.0
    for j in range(positions.shape[0]):
        if closes[j] > 0.0:
            open_account(positions[j], cash, closes[j], weights[j])
            account[CASH] -= weights[j] * cash
            total += weights[j]
        else:
            positions[j, EQUITY] = cash
            positions[j, FILL_PRICE] = math.nan
            positions[j, EXIT_PRICE] = math.nan
    account[EXPOSURE] = total
    account[TARGET] = total


@njit(cache=True, error_model="numpy")
def _settle(account: NDArray[np.float64], position: NDArray[np.float64], p: NDArray[np.float64]) -> int:
    """Event 2: close what is held of an asset that is gone at its last close, with the fee. Returns the exit kind."""
    quantity, price = -position[QUANTITY], position[CLOSE_PRICE]
    notional = abs(quantity) * price
    apply_fill(account, position, quantity, price, p[FEE] * notional, 0.0)
    position[EXIT_PRICE] = price
    account[TURNOVER] += notional / account[PREVIOUS_EQUITY]
    return SETTLED


@njit(cache=True, error_model="numpy", inline="always")
def _plan(
    account: NDArray[np.float64],
    position: NDArray[np.float64],
    bar: NDArray[np.float64],
    target: float,
    p: NDArray[np.float64],
) -> float:
    """Events 2 and 3 of one asset, until its fill: what is due, and its order. Returns what a spot buy would cost."""
    position[FILL_PRICE] = math.nan
    position[FILL_QUANTITY] = 0.0
    position[EXIT_PRICE] = math.nan
    position[EXIT_KIND] = NO_EXIT
    position[PLANNED] = 0.0
    position[COST] = 0.0
    if bar[COMING] == TRADED:
        wanted = wanted_quantity(position, target, bar[SIGMA], p)
        pay_holding_costs(account, position, bar, p)
        status, quantity = NO_ORDER, 0.0
        if wanted != position[QUANTITY]:
            status, quantity = plan_order(position, wanted, bar, p)
        if p[IS_SPOT] == 1.0 and quantity > 0.0:
            price = slipped_price(bar[OPEN], quantity, bar[VOLUME], bar[SIGMA], p)
            position[COST] = quantity * (price * (1.0 + p[FEE]))
        position[PLANNED] = quantity
        position[ORDER_STATUS] = status
    else:
        if position[QUANTITY] != 0.0:
            position[EXIT_KIND] = _settle(account, position, p)
        position[ORDER_STATUS] = NO_VOLUME if target != 0.0 else NO_ORDER
    position[TARGET] = target
    return float(position[COST])


@njit(cache=True, error_model="numpy", forceinline=True)
def _fill(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], due: float,
    p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Event 3: fill what was planned; on spot sales first, then purchases that share the cash by their cost.

    `due`: cost of all purchases.
    """
    spot = p[IS_SPOT] == 1.0
    for turn in range(2 if spot else 1):
        cash = account[CASH]
        for j in range(positions.shape[0]):
            position = positions[j]
            quantity = position[PLANNED]
            if quantity == 0.0 or (spot and (quantity > 0.0) != (turn == 1)):
                continue
            share = cash * (position[COST] / due) if turn == 1 else cash
            planned = int(position[ORDER_STATUS]), quantity
            bar = slate[j]
            position[ORDER_STATUS] = fill_order(account, position, planned, share, bar, bar[SIGMA], p)


@njit(cache=True, error_model="numpy", forceinline=True)
def _margin(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], adverse: bool,
    p: NDArray[np.float64],
) -> tuple[float, float, int, int]:  # fmt: skip
    """Equity beyond the maintenance margin at the opens, or with every position at its adverse extreme.

    Returns:
        That margin, the value of all positions there, how many are open, and the last of them.
    """
    margin, value, count, last = account[CASH], 0.0, 0, -1
    for j in range(positions.shape[0]):
        held = positions[j, QUANTITY]
        if held != 0.0:
            price = slate[j, OPEN]
            if adverse:
                price = slate[j, LOW] if held > 0.0 else slate[j, HIGH]
            margin = margin + held * price - p[MAINTENANCE] * abs(held) * price
            value += abs(held) * price
            count += 1
            last = j
    return margin, value, count, last


@njit(cache=True, error_model="numpy")
def _liquidate(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], way: float,
    p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Liquidate all positions where prices have gone `way` (0 to 1) from the opens to the adverse extremes."""
    for j in range(positions.shape[0]):
        position, bar = positions[j], slate[j]
        held = position[QUANTITY]
        if held != 0.0:
            level = bar[OPEN] + way * ((bar[LOW] if held > 0.0 else bar[HIGH]) - bar[OPEN])
            position[EXIT_KIND] = close_position(account, position, level, bar[SIGMA], bar, p, LIQUIDATED)


@njit(cache=True, error_model="numpy")
def _exits_at_open(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], p: NDArray[np.float64]
) -> None:
    """Take-profits and stops that the opens have already passed go at the opens."""
    for j in range(positions.shape[0]):
        position, bar = positions[j], slate[j]
        held = position[QUANTITY]
        if held == 0.0 or bar[VOLUME] <= 0.0:
            continue
        side = 1.0 if held > 0.0 else -1.0
        profit = position[ENTRY_PRICE] * (1.0 + side * p[TAKE_PROFIT])
        stop = position[ENTRY_PRICE] * (1.0 - side * p[STOP_LOSS])
        if p[TAKE_PROFIT] < math.inf and profit > 0.0 and (bar[OPEN] - profit) * side >= 0.0:
            position[EXIT_KIND] = close_position(account, position, bar[OPEN], bar[SIGMA], bar, p, TOOK_PROFIT)
        elif p[STOP_LOSS] < math.inf and (bar[OPEN] - stop) * side <= 0.0:
            position[EXIT_KIND] = close_position(account, position, bar[OPEN], bar[SIGMA], bar, p, STOPPED)


@njit(cache=True, error_model="numpy")
def _next_stop(
    positions: NDArray[np.float64], slate: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[float, int]:
    """How far on the way to the adverse extremes the next stop is reached, and whose; infinity and -1 if none is."""
    nearest, whose = math.inf, -1
    if p[STOP_LOSS] == math.inf:
        return nearest, whose
    for j in range(positions.shape[0]):
        held, bar = positions[j, QUANTITY], slate[j]
        if held == 0.0 or bar[VOLUME] <= 0.0:
            continue
        side = 1.0 if held > 0.0 else -1.0
        adverse = bar[LOW] if held > 0.0 else bar[HIGH]
        stop = positions[j, ENTRY_PRICE] * (1.0 - side * p[STOP_LOSS])
        if (adverse - stop) * side <= 0.0:
            way = (bar[OPEN] - stop) / (bar[OPEN] - adverse)
            if way < nearest:
                nearest, whose = way, j
    return nearest, whose


@njit(cache=True, error_model="numpy", forceinline=True)
def _outlive(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], at_open: float,
    p: NDArray[np.float64],
) -> bool:  # fmt: skip
    """Whether nothing of event 4 can happen to several positions: no stop is set, and their margin is always safe."""
    if p[STOP_LOSS] != math.inf or p[TAKE_PROFIT] != math.inf:
        return False
    if p[IS_SPOT] == 1.0:
        return True
    at_worst, value, _, _ = _margin(account, positions, slate, True, p)
    return at_open > 0.0 and at_worst > SAFE_MARGIN * value


@njit(cache=True, error_model="numpy")
def _exits_of_several(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], at_open: float,
    p: NDArray[np.float64],
) -> None:  # fmt: skip
    """Event 4 where several positions are open and not `_outlive` the bar. `at_open`: the margin at the opens."""
    spot = p[IS_SPOT] == 1.0
    if not spot and at_open <= 0.0:
        _liquidate(account, positions, slate, 0.0, p)
        return
    _exits_at_open(account, positions, slate, p)
    reached = 0.0
    while True:
        begin, _, left, _ = _margin(account, positions, slate, False, p)
        end, _, _, _ = _margin(account, positions, slate, True, p)
        short = math.inf
        if not spot and left > 0 and end <= 0.0:
            short = min(max(begin / (begin - end), reached), 1.0) if begin > 0.0 else reached
        way, whose = _next_stop(positions, slate, p)
        if whose >= 0 and way <= short:
            position, bar = positions[whose], slate[whose]
            stop = position[ENTRY_PRICE] * (1.0 - math.copysign(p[STOP_LOSS], position[QUANTITY]))
            position[EXIT_KIND] = close_position(account, position, stop, bar[SIGMA], bar, p, STOPPED)
            reached = max(reached, way)
            continue
        if short < math.inf:
            _liquidate(account, positions, slate, short, p)
            return
        break
    if p[TAKE_PROFIT] == math.inf:
        return
    for j in range(positions.shape[0]):
        position, bar = positions[j], slate[j]
        held = position[QUANTITY]
        if held == 0.0 or bar[VOLUME] <= 0.0:
            continue
        side = 1.0 if held > 0.0 else -1.0
        profit = position[ENTRY_PRICE] * (1.0 + side * p[TAKE_PROFIT])
        if profit > 0.0 and ((bar[HIGH] if held > 0.0 else bar[LOW]) - profit) * side >= 0.0:
            position[EXIT_KIND] = close_position(account, position, profit, bar[SIGMA], bar, p, TOOK_PROFIT)


@njit(cache=True, error_model="numpy", inline="always")
def _mark(
    account: NDArray[np.float64], positions: NDArray[np.float64], slate: NDArray[np.float64], p: NDArray[np.float64]
) -> None:
    """Event 5: mark all positions at the closes, and the account by what they and its cash are worth."""
    equity = account[CASH]
    for j in range(positions.shape[0]):
        equity += positions[j, QUANTITY] * slate[j, CLOSE]
    floor = RUIN_FRACTION * account[START_EQUITY]
    if equity <= floor:
        for j in range(positions.shape[0]):
            write_off(account, positions[j], slate[j, CLOSE])
        equity = floored(account, equity, floor)
    mark_drawdown(account, equity, p)
    exposure = 0.0
    for j in range(positions.shape[0]):
        position = positions[j]
        mark_position(position, slate[j, CLOSE], equity)
        position[HALTED] = account[HALTED]
        exposure += position[EXPOSURE]
    account[EQUITY] = equity
    account[EXPOSURE] = exposure


@njit(cache=True, error_model="numpy", forceinline=True)
def portfolio_transition(
    account: NDArray[np.float64],
    positions: NDArray[np.float64],
    slate: NDArray[np.float64],
    targets: NDArray[np.float64],
    p: NDArray[np.float64],
) -> None:
    """Carry an account and its positions from the close of bar t to the close of bar t + 1 under target weights.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place. Its status and exit kind are the highest of its assets'.
        positions: (A, POSITION_WIDTH) float64, changed in place.
        slate: (A, SLATE_WIDTH) float64: prices of bar t + 1, the deviation known at t, whether the asset is there. Of
            an asset that is not, CLOSE is its last close (0.0 if it never had one).
        targets: (A,) signed exposures asked for, within the limits (`limit_weights`).
        p: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
    """
    paid = begin_step(account)
    due = 0.0
    for j in range(positions.shape[0]):
        due += _plan(account, positions[j], slate[j], targets[j], p)
    _fill(account, positions, slate, due, p)
    margin, _, count, last = _margin(account, positions, slate, False, p)
    if count == 1:
        position, bar = positions[last], slate[last]
        position[EXIT_KIND] = exit_inside_bar(account, position, bar[SIGMA], bar, p)
    elif count > 1 and not _outlive(account, positions, slate, margin, p):
        _exits_of_several(account, positions, slate, margin, p)
    _mark(account, positions, slate, p)
    status, left, total = NO_ORDER, NO_EXIT, 0.0
    for j in range(positions.shape[0]):
        status = max(status, int(positions[j, ORDER_STATUS]))
        left = max(left, int(positions[j, EXIT_KIND]))
        total += targets[j]
    account[TARGET] = total
    end_step(account, paid, status, left)
