"""One transition of the account, jitted. All money arithmetic is here and in the files beside it.

The single env, the vector env and the paper broker call `transition` and do no arithmetic of their own. In files of
`cryptoenv.trading` beside this one: what is due, rounded and payable is in `orders`, how it fills in `fills`, how a bar
closes a position in `exits`; by the same pieces, what a real venue's fills do to the account in `venue_account`, what
several assets on one account are in `portfolio_account`, what several accounts do to each other on one market in
`shared_market`; what is usual, of many accounts side by side, in `plain_steps`.
Events of a step, for a decision at the close of bar `t` (everything else happens in bar `t + 1`):

1. funding or borrow that falls due is paid by the position held before the fill;
2. the order is sized from what is known at close `t`, rounded, capped by participation, perhaps refused; what the
   bar's volume leaves of it (PARTIAL, NO_VOLUME) stays due in the next step, until another target is asked for;
3. it fills at the open, always adversely;
4. exits: what the open has already passed (liquidation, stop or take-profit) goes at the open; then, later in the bar,
   the nearer of stop and liquidation, then take-profit. These are emergency orders: they close everything at once,
   whatever the participation limit says of a bar's volume;
5. the account is marked at the close; at the floor it is ruined.

Where a function takes an account and a position, the account's row has the purse (cash, costs, realised profit) and the
position's what is held; with one asset both are one row.

`equity = start + realised + unrealised - fees - funding - borrow + shortfall` holds at every step. Only `math`
functions are used, so that jitted and un-jitted results are bit-identical; `error_model="numpy"` spares a test for
zero before every division, none of which can be by zero. What every step runs is inlined: an array argument of a call
that is not costs seven words on the stack, and a third of the step's time went there.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, OPEN, SIGMA
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
    RUINED,
    SHORTFALL,
    SLIPPAGE,
    START_EQUITY,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.config import BAR_DAYS, BORROW, DRAWDOWN_STOP, FUNDING_RATE, IS_PERPETUAL
from cryptoenv.trading.exits import NO_EXIT, exit_inside_bar
from cryptoenv.trading.fills import fill_order, plan_order
from cryptoenv.trading.orders import NO_ORDER, wanted_quantity

RUIN_FRACTION = 1e-3  #: equity at or below this share of the start is ruin


@njit(cache=True, error_model="numpy", forceinline=True)
def holding_costs(
    held: float, opened: float, funding: float, marks: float, p: NDArray[np.float64]
) -> tuple[float, float]:
    """What falls due on `held` at the open: funding (perpetual) and borrow (margin shorts), quote.

    `funding`, `marks`: of the bar, the market's own rate and how many times the constant one falls due; `p`:
    (PARAMETER_WIDTH,).
    """
    value = held * opened
    perpetual, borrows = p[IS_PERPETUAL] == 1.0, held < 0.0
    borrow = -value * p[BORROW] * p[BAR_DAYS] if borrows else 0.0
    return value * (funding + p[FUNDING_RATE] * marks) if perpetual else 0.0, 0.0 if perpetual else borrow


@njit(cache=True, error_model="numpy", forceinline=True)
def pay_holding_costs(
    account: NDArray[np.float64], position: NDArray[np.float64], bar: NDArray[np.float64], p: NDArray[np.float64]
) -> None:
    """Event 1: funding or borrow on the value at the open, by the position held.

    `account`, `position`: (ACCOUNT_WIDTH,); the former is changed in place. `bar`: (8,) row of `Market.prices`; `p`:
    (PARAMETER_WIDTH,).
    """
    funding, borrow = holding_costs(position[QUANTITY], bar[OPEN], bar[FUNDING], bar[FUNDING_MARKS], p)
    account[CASH] = account[CASH] - funding - borrow
    account[FUNDING_PAID] += funding
    account[BORROW_PAID] += borrow


@njit(cache=True, error_model="numpy", inline="always")
def write_off(account: NDArray[np.float64], position: NDArray[np.float64], close: float) -> None:
    """What ruin leaves of a position: nothing, its loss at `close` realised. Both rows: (ACCOUNT_WIDTH,)."""
    account[REALISED] += position[QUANTITY] * (close - position[ENTRY_PRICE])
    position[QUANTITY] = 0.0
    position[ENTRY_PRICE] = 0.0
    position[BARS_HELD] = 0.0


@njit(cache=True, error_model="numpy", inline="always")
def floored(account: NDArray[np.float64], equity: float, floor: float) -> float:
    """What ruin leaves of an account, (ACCOUNT_WIDTH,), that was worth `equity`: cash of `floor`, nothing else."""
    account[SHORTFALL] += floor - equity
    account[CASH] = floor
    account[RUINED] = 1.0
    return floor


@njit(cache=True, error_model="numpy", inline="always")
def mark_position(account: NDArray[np.float64], close: float, equity: float) -> None:
    """Write down in `account`, (ACCOUNT_WIDTH,), the close, the position's share of `equity` and its age."""
    account[EQUITY] = equity
    account[CLOSE_PRICE] = close
    account[EXPOSURE] = account[QUANTITY] * close / equity
    if account[QUANTITY] != 0.0:
        account[BARS_HELD] += 1.0


@njit(cache=True, error_model="numpy", inline="always")
def mark_drawdown(account: NDArray[np.float64], equity: float, p: NDArray[np.float64]) -> None:
    """Write down in `account`, (ACCOUNT_WIDTH,), peak and drawdown, and trip the drawdown stop."""
    if equity > account[PEAK_EQUITY]:
        account[PEAK_EQUITY] = equity
        account[DRAWDOWN] = 0.0
    else:
        account[DRAWDOWN] = 1.0 - equity / account[PEAK_EQUITY]
        if account[DRAWDOWN] >= p[DRAWDOWN_STOP]:
            account[HALTED] = 1.0


@njit(cache=True, error_model="numpy", forceinline=True)
def mark(account: NDArray[np.float64], close: float, p: NDArray[np.float64]) -> None:
    """Event 5: mark at the close, trip the drawdown stop, floor at ruin.

    `account`: (ACCOUNT_WIDTH,), changed in place; `p`: (PARAMETER_WIDTH,).
    """
    equity = account[CASH] + account[QUANTITY] * close
    floor = RUIN_FRACTION * account[START_EQUITY]
    if equity <= floor:
        write_off(account, account, close)
        equity = floored(account, equity, floor)
    mark_position(account, close, equity)
    mark_drawdown(account, equity, p)


@njit(cache=True, error_model="numpy", forceinline=True)
def begin_step(account: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Remember in `account`, (ACCOUNT_WIDTH,), what was before the step, and that nothing has filled in it yet.

    Returns:
        Fees, slippage, funding and borrow paid until now, for `end_step`.
    """
    account[PREVIOUS_EQUITY] = account[EQUITY]
    account[PREVIOUS_DRAWDOWN] = account[DRAWDOWN]
    account[FILL_PRICE] = math.nan
    account[FILL_QUANTITY] = 0.0
    account[EXIT_PRICE] = math.nan
    account[TURNOVER] = 0.0
    return account[FEES], account[SLIPPAGE], account[FUNDING_PAID], account[BORROW_PAID]


@njit(cache=True, error_model="numpy", forceinline=True)
def end_step(account: NDArray[np.float64], paid: tuple[float, float, float, float], status: int, left: int) -> None:
    """Write down in `account`, (ACCOUNT_WIDTH,), what a step has seen and cost.

    `paid`: of `begin_step`; `status`: `OrderStatus`; `left`: `ExitKind`.
    """
    fees, slippage, funding, borrow = paid
    account[ORDER_STATUS] = status
    account[EXIT_KIND] = left
    account[STEP_FEES] = account[FEES] - fees
    account[STEP_SLIPPAGE] = account[SLIPPAGE] - slippage
    account[STEP_FUNDING] = account[FUNDING_PAID] - funding
    account[STEP_BORROW] = account[BORROW_PAID] - borrow
    held_for_free = account[FUNDING_PAID] == funding and account[BORROW_PAID] == borrow
    quiet = held_for_free and status == NO_ORDER and left == NO_EXIT and account[RUINED] == 0.0
    account[EVENTFUL] = 0.0 if quiet else 1.0


@njit(cache=True, error_model="numpy", inline="always")
def _carry(
    account: NDArray[np.float64], prices: NDArray[np.float64], row: int, wanted: float, p: NDArray[np.float64]
) -> None:
    """The events of a step toward a quantity that is `wanted`; arguments as of `transition`."""
    bar = prices[row + 1]
    sigma = prices[row, SIGMA]
    paid = begin_step(account)
    pay_holding_costs(account, account, bar, p)
    status = NO_ORDER
    if wanted != account[QUANTITY]:
        planned = plan_order(account, wanted, bar, p)
        status = fill_order(account, account, planned, account[CASH], bar, sigma, p)
    left = exit_inside_bar(account, account, sigma, bar, p)
    mark(account, bar[CLOSE], p)
    end_step(account, paid, status, left)


@njit(cache=True, error_model="numpy", inline="always")
def transition(
    account: NDArray[np.float64], prices: NDArray[np.float64], row: int, target: float, p: NDArray[np.float64]
) -> None:
    """Carry `account` from the close of bar `row` to the close of bar `row + 1` under a target exposure.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        prices: (T, 8) float64, `Market.prices`.
        row: index of the bar at whose close the decision is made; `row + 1` must exist.
        target: signed exposure asked for, a fraction of equity.
        p: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
    """
    _carry(account, prices, row, wanted_quantity(account, target, prices[row, SIGMA], p), p)
    account[TARGET] = target


@njit(cache=True, error_model="numpy")
def hold(account: NDArray[np.float64], prices: NDArray[np.float64], row: int, p: NDArray[np.float64]) -> None:
    """As `transition`, but no order goes out whatever is due; holding costs, exits inside the bar and the mark happen.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        prices: (T, 8) float64. row: as for `transition`. p: (PARAMETER_WIDTH,) float64.
    """
    _carry(account, prices, row, account[QUANTITY], p)


@njit(cache=True, error_model="numpy")
def open_account(account: NDArray[np.float64], cash: float, close: float, exposure: float) -> None:
    """Start an episode: `cash` of equity, `exposure` of it already held at `close`, at no cost.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten.
        cash: quote currency, > 0.
        close: price that marks the account.
        exposure: signed fraction of equity held at the start.
    """
    account[:] = 0.0
    account[QUANTITY] = exposure * cash / close
    account[CASH] = cash - exposure * cash
    account[ENTRY_PRICE] = close if exposure != 0.0 else 0.0
    account[EQUITY] = cash
    account[EXPOSURE] = exposure
    account[TARGET] = exposure
    account[CLOSE_PRICE] = close
    account[PEAK_EQUITY] = cash
    account[START_EQUITY] = cash
    account[PREVIOUS_EQUITY] = cash
    account[FILL_PRICE] = math.nan
    account[EXIT_PRICE] = math.nan


@njit(cache=True, error_model="numpy")
def between_opens(
    account: NDArray[np.float64], prices: NDArray[np.float64], row: int, exposure: float, p: NDArray[np.float64]
) -> float:
    """Log-return of an exposure that is taken at the open of bar `row + 1`, at no cost, until the open after it.

    It is what a decision at the close of `row` brings about: exits inside the bar, what falls due at the next open, and
    the gap to it. Where no bar follows, the close is the end.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten.
        prices: (T, 8) float64, `Market.prices`; `row + 1` must exist.
        row: index of the bar at whose close the decision is made.
        exposure: signed, a fraction of equity.
        p: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
    """
    bar = prices[row + 1]
    open_account(account, 1.0, bar[OPEN], exposure)
    exit_inside_bar(account, account, prices[row, SIGMA], bar, p)
    mark(account, bar[CLOSE], p)
    if account[RUINED] == 0.0 and row + 2 < len(prices):
        following = prices[row + 2]
        pay_holding_costs(account, account, following, p)
        mark(account, following[OPEN], p)
    return math.log(account[EQUITY])
