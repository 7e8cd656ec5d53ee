"""One transition of the account, jitted. All money arithmetic is here and in the five files beside it.

The single env, the vector env and the paper broker call `transition` and do no arithmetic of their own. What is due,
rounded and payable is in `cryptoenv.trading.orders`; what a real venue's fills do to the account, by the pieces of this
file, in `cryptoenv.trading.venue_account`; what several assets on one account are, by the same pieces, in
`cryptoenv.trading.portfolio_account`; what several accounts do to each other on one market, in
`cryptoenv.trading.shared_market`; what is usual, of many accounts side by side, in `cryptoenv.trading.plain_steps`.
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

from cryptoenv.bars.price_columns import CLOSE, FUNDING, FUNDING_MARKS, HIGH, LOW, OPEN, SIGMA, VOLUME
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
from cryptoenv.trading.config import (
    BAR_DAYS,
    BORROW,
    DRAWDOWN_STOP,
    FEE,
    FUNDING_RATE,
    IS_PERPETUAL,
    IS_SPOT,
    LIQUIDATION_FEE,
    MAINTENANCE,
    MIN_NOTIONAL,
    PARTICIPATION,
    STEP_SIZE,
    STOP_LOSS,
    TAKE_PROFIT,
)
from cryptoenv.trading.orders import (
    BELOW_MIN_NOTIONAL,
    CASH_CAPPED,
    FILLED,
    NO_ORDER,
    NO_VOLUME,
    PARTIAL,
    ROUNDED_TO_ZERO,
    affordable,
    order_quantity,
    round_to_step,
    slipped_price,
    wanted_quantity,
    without_dust,
)

RUIN_FRACTION = 1e-3  #: equity at or below this share of the start is ruin
SAFE_MARGIN = 1e-6  #: share of the position's value above which no liquidation price needs to be computed
NO_EXIT, STOPPED, TOOK_PROFIT, LIQUIDATED = range(4)  #: `ExitKind` for jitted code


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
