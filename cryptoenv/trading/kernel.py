"""One transition of the account: all the money arithmetic there is, jitted.

The single env, the vector env and the paper broker call `transition` and do no arithmetic of their own. Events of a
step, for a decision at the close of bar `t` (everything else happens in bar `t + 1`):

1. funding or borrow that falls due is paid by the position held before the fill;
2. the order is sized from what is known at close `t`, rounded, capped by participation, perhaps refused; what the
   bar's volume leaves of it (PARTIAL, NO_VOLUME) stays due in the next step, until another target is asked for;
3. it fills at the open, always adversely;
4. exits: what the open has already passed (liquidation, stop or take-profit) goes at the open; then, later in the bar,
   the nearer of stop and liquidation, then take-profit. These are emergency orders: they close everything at once,
   whatever the participation limit says of a bar's volume;
5. the account is marked at the close; at the floor it is ruined.

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
    EXPOSURE_LIMIT,
    FEE,
    FUNDING_RATE,
    HALF_SPREAD,
    IMPACT,
    IS_PERPETUAL,
    IS_SPOT,
    LIQUIDATION_FEE,
    MAINTENANCE,
    MIN_NOTIONAL,
    PARTICIPATION,
    SIZING_FRACTION,
    SIZING_VOLATILITY,
    STEP_SIZE,
    STOP_LOSS,
    TAKE_PROFIT,
    TICK_SIZE,
    TOLERANCE,
)

RUIN_FRACTION = 1e-3  #: equity at or below this share of the start is ruin
SAFE_MARGIN = 1e-6  #: share of the position's value above which no liquidation price needs to be computed
MAX_SLIP = 0.9  #: no fill is worse than this fraction of its price, so that prices stay positive
SLACK = 1e-9  #: share of a step that rounding toward zero forgives
DUST = 1e-6  #: share of a step below which a difference of two multiples of it is floating dust

# `OrderStatus` and `ExitKind` as plain integers for jitted code.
NO_ORDER, FILLED, PARTIAL, CASH_CAPPED, ROUNDED_TO_ZERO, BELOW_MIN_NOTIONAL, NO_VOLUME = range(7)
NO_EXIT, STOPPED, TOOK_PROFIT, LIQUIDATED = range(4)


@njit(cache=True, error_model="numpy")
def round_to_step(quantity: float, step: float, slack: float = SLACK) -> float:
    """`quantity` rounded toward zero to a multiple of `step` (0: unrounded); `slack` of a step is forgiven."""
    if step <= 0.0:
        return quantity
    steps = math.floor(abs(quantity) / step + slack)
    return math.copysign(steps * step, quantity) if steps > 0.0 else 0.0


@njit(cache=True, error_model="numpy")
def order_quantity(held: float, wanted: float, step: float) -> float:
    """Signed quantity that carries `held` toward `wanted`: whole steps, or all that is held where it closes."""
    if step <= 0.0:
        return wanted - held
    goal = round_to_step(wanted, step)
    return round_to_step(goal - held, step, DUST) if goal != 0.0 else -held


@njit(cache=True, error_model="numpy")
def without_dust(quantity: float, step: float) -> float:
    """`quantity` as the exact multiple of `step` that it differs from by floating dust only."""
    if step <= 0.0:
        return quantity
    whole = math.floor(quantity / step + 0.5) * step
    return whole if abs(quantity - whole) <= DUST * step else quantity


@njit(cache=True, error_model="numpy")
def slipped_price(price: float, quantity: float, volume: float, sigma: float, p: NDArray[np.float64]) -> float:
    """Fill price of a market order: `price * (1 +- (half_spread + impact * sigma * sqrt(|quantity| / volume)))`.

    Square-root impact after Almgren et al. 2005 and Toth et al. 2011; adverse always, and rounded to the adverse
    tick. `p`: (PARAMETER_WIDTH,) parameters.
    """
    slip = min(p[HALF_SPREAD] + p[IMPACT] * sigma * math.sqrt(abs(quantity) / volume), MAX_SLIP)
    tick = p[TICK_SIZE]
    if quantity > 0.0:
        fill = price * (1.0 + slip)
        return math.ceil(fill / tick - 1e-9) * tick if tick > 0.0 else fill
    fill = price * (1.0 - slip)
    ticks = math.floor(fill / tick + 1e-9) if tick > 0.0 else 0.0
    return ticks * tick if ticks > 0.0 else fill  # below one tick nothing can be rounded down


@njit(cache=True, error_model="numpy")
def effective_target(target: float, sigma: float, p: NDArray[np.float64]) -> float:
    """Exposure to trade toward: `target` times the sizing rule, within the exposure limit. `p`: (PARAMETER_WIDTH,)."""
    scale = p[SIZING_FRACTION]
    if sigma > p[SIZING_VOLATILITY]:
        scale *= p[SIZING_VOLATILITY] / sigma
    return min(max(target * scale, -p[EXPOSURE_LIMIT]), p[EXPOSURE_LIMIT])


@njit(cache=True, error_model="numpy", inline="always")
def wanted_quantity(account: NDArray[np.float64], target: float, sigma: float, p: NDArray[np.float64]) -> float:
    """Base quantity to hold for `target`, from what is known at the close; the held one where no order is due.

    The order for an unchanged target is due once exposure has drifted beyond the tolerance, and as long as the volume
    of the last bar left it unfinished. `account`: (ACCOUNT_WIDTH,), `p`: (PARAMETER_WIDTH,).
    """
    if account[HALTED] == 1.0:
        target = 0.0
    exposure = effective_target(target, sigma, p)
    if target == account[TARGET] and abs(exposure - account[EXPOSURE]) <= p[TOLERANCE]:
        last = account[ORDER_STATUS]
        if last != PARTIAL and last != NO_VOLUME:
            return account[QUANTITY]
    return exposure * account[EQUITY] / account[CLOSE_PRICE]


@njit(cache=True, error_model="numpy")
def _apply_fill(account: NDArray[np.float64], quantity: float, price: float, fee: float, step: float) -> None:
    """Book a fill of signed `quantity` at `price` with `fee` in quote: cash, average entry, realised profit."""
    held = account[QUANTITY]
    after = without_dust(held + quantity, step)
    if held == 0.0 or held * quantity > 0.0:
        account[ENTRY_PRICE] = (account[ENTRY_PRICE] * abs(held) + price * abs(quantity)) / abs(after)
    else:
        closed = min(abs(held), abs(quantity))
        account[REALISED] += closed * (price - account[ENTRY_PRICE]) * (1.0 if held > 0.0 else -1.0)
        if after == 0.0:
            account[ENTRY_PRICE] = 0.0
        elif after * held < 0.0:
            account[ENTRY_PRICE] = price
    if after == 0.0 or after * held <= 0.0:
        account[BARS_HELD] = 0.0
    account[CASH] -= quantity * price + fee
    account[QUANTITY] = after
    account[FEES] += fee


@njit(cache=True, error_model="numpy", inline="always")
def _pay_holding_costs(account: NDArray[np.float64], bar: NDArray[np.float64], p: NDArray[np.float64]) -> None:
    """Event 1: funding (perpetual) or borrow (margin shorts) on the value at the open, by the position held."""
    held = account[QUANTITY]
    if held == 0.0:
        return
    if p[IS_PERPETUAL] == 1.0:
        rate = bar[FUNDING] + p[FUNDING_RATE] * bar[FUNDING_MARKS]
        if rate != 0.0:
            paid = held * bar[OPEN] * rate
            account[CASH] -= paid
            account[FUNDING_PAID] += paid
    elif held < 0.0 and p[BORROW] > 0.0:
        paid = -held * bar[OPEN] * p[BORROW] * p[BAR_DAYS]
        account[CASH] -= paid
        account[BORROW_PAID] += paid


@njit(cache=True, error_model="numpy", inline="always")
def _fill_order(
    account: NDArray[np.float64], wanted: float, sigma: float, bar: NDArray[np.float64], p: NDArray[np.float64]
) -> int:
    """Events 2 and 3: round, cap, refuse or fill at the open. Returns the order status."""
    quantity = order_quantity(account[QUANTITY], wanted, p[STEP_SIZE])
    if quantity == 0.0:
        return ROUNDED_TO_ZERO
    if bar[VOLUME] <= 0.0:
        return NO_VOLUME
    if abs(quantity) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
        return BELOW_MIN_NOTIONAL
    status = FILLED
    cap = p[PARTICIPATION] * bar[VOLUME]
    if abs(quantity) > cap:
        quantity = round_to_step(math.copysign(cap, quantity), p[STEP_SIZE])
        status = PARTIAL
        if quantity == 0.0 or abs(quantity) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
            return NO_VOLUME
    price = slipped_price(bar[OPEN], quantity, bar[VOLUME], sigma, p)
    if p[IS_SPOT] == 1.0 and quantity > 0.0:
        affordable = round_to_step(account[CASH] / (price * (1.0 + p[FEE])), p[STEP_SIZE])
        if affordable < quantity:
            quantity = affordable
            status = CASH_CAPPED
            if quantity <= 0.0:
                return ROUNDED_TO_ZERO
            if quantity * account[CLOSE_PRICE] < p[MIN_NOTIONAL]:
                return BELOW_MIN_NOTIONAL
            price = slipped_price(bar[OPEN], quantity, bar[VOLUME], sigma, p)
    notional = abs(quantity) * price
    _apply_fill(account, quantity, price, p[FEE] * notional, p[STEP_SIZE])
    if status == CASH_CAPPED and account[CASH] < 0.0:
        account[CASH] = 0.0  # the last bit of cash / (price * (1 + fee)) * price * (1 + fee)
    account[SLIPPAGE] += abs(quantity) * abs(price - bar[OPEN])
    account[FILL_PRICE] = price
    account[FILL_QUANTITY] = quantity
    account[TURNOVER] += notional / account[PREVIOUS_EQUITY]
    return status


@njit(cache=True, error_model="numpy")
def liquidation_price(account: NDArray[np.float64], p: NDArray[np.float64]) -> float:
    """Price at which equity falls to the maintenance margin of the open position; 0 where there is none.

    Solves `cash + quantity * price = maintenance * |quantity| * price`. `account`: (ACCOUNT_WIDTH,), `p`:
    (PARAMETER_WIDTH,).
    """
    held = account[QUANTITY]
    if held == 0.0 or p[IS_SPOT] == 1.0:
        return 0.0
    if held > 0.0:
        return max(-account[CASH] / (held * (1.0 - p[MAINTENANCE])), 0.0)
    return max(account[CASH] / (-held * (1.0 + p[MAINTENANCE])), 0.0)


@njit(cache=True, error_model="numpy")
def _close_position(
    account: NDArray[np.float64],
    level: float,
    sigma: float,
    bar: NDArray[np.float64],
    p: NDArray[np.float64],
    kind: int,
) -> int:
    """Close all at `level`: with slippage and fee, or worsened by the liquidation fee (which replaces both)."""
    quantity = -account[QUANTITY]
    if kind == LIQUIDATED:
        price = level * (1.0 + math.copysign(p[LIQUIDATION_FEE], quantity))
        fee = 0.0
    else:
        price = slipped_price(level, quantity, bar[VOLUME], sigma, p)
        fee = p[FEE] * abs(quantity) * price
    _apply_fill(account, quantity, price, fee, 0.0)
    account[SLIPPAGE] += abs(quantity) * abs(price - level)
    account[EXIT_PRICE] = price
    account[TURNOVER] += abs(quantity) * price / account[PREVIOUS_EQUITY]
    return kind


@njit(cache=True, error_model="numpy", inline="always")
def _exit_inside_bar(
    account: NDArray[np.float64], sigma: float, bar: NDArray[np.float64], p: NDArray[np.float64]
) -> int:
    """Event 4: what is gapped at the open, then adverse before favourable inside the bar. Returns the exit kind.

    A venue liquidates by its mark price whether or not anyone trades; stops and take-profits need volume to fill.
    """
    held = account[QUANTITY]
    if held == 0.0:
        return NO_EXIT
    side = 1.0 if held > 0.0 else -1.0
    open_price = bar[OPEN]
    adverse = bar[LOW] if held > 0.0 else bar[HIGH]
    favourable = bar[HIGH] if held > 0.0 else bar[LOW]
    margin_at_open = account[CASH] + held * open_price - p[MAINTENANCE] * abs(held) * open_price
    if p[IS_SPOT] == 0.0 and margin_at_open <= 0.0:  # beyond the liquidation price, or past any that exists
        return _close_position(account, open_price, sigma, bar, p, LIQUIDATED)
    margin_left = account[CASH] + held * adverse - p[MAINTENANCE] * abs(held) * adverse
    safe = p[IS_SPOT] == 1.0 or margin_left > SAFE_MARGIN * abs(held) * adverse
    if safe and p[STOP_LOSS] == math.inf and p[TAKE_PROFIT] == math.inf:
        return NO_EXIT
    liquidation = liquidation_price(account, p)
    stop = account[ENTRY_PRICE] * (1.0 - side * p[STOP_LOSS])
    traded = bar[VOLUME] > 0.0
    profit = account[ENTRY_PRICE] * (1.0 + side * p[TAKE_PROFIT])
    profit_set = traded and p[TAKE_PROFIT] < math.inf and profit > 0.0
    if profit_set and (open_price - profit) * side >= 0.0:  # a resting order: filled before anything later in the bar
        return _close_position(account, open_price, sigma, bar, p, TOOK_PROFIT)
    stop_set = traded and p[STOP_LOSS] < math.inf
    if stop_set and (stop - liquidation) * side >= 0.0 and (adverse - stop) * side <= 0.0:
        level = stop if (open_price - stop) * side > 0.0 else open_price
        return _close_position(account, level, sigma, bar, p, STOPPED)
    if liquidation > 0.0 and (adverse - liquidation) * side <= 0.0:
        return _close_position(account, liquidation, sigma, bar, p, LIQUIDATED)
    if profit_set and (favourable - profit) * side >= 0.0:
        return _close_position(account, profit, sigma, bar, p, TOOK_PROFIT)
    return NO_EXIT


@njit(cache=True, error_model="numpy", inline="always")
def _mark(account: NDArray[np.float64], close: float, p: NDArray[np.float64]) -> None:
    """Event 5: mark at the close, trip the drawdown stop, floor at ruin."""
    equity = account[CASH] + account[QUANTITY] * close
    floor = RUIN_FRACTION * account[START_EQUITY]
    if equity <= floor:
        account[REALISED] += account[QUANTITY] * (close - account[ENTRY_PRICE])
        account[SHORTFALL] += floor - equity
        account[QUANTITY] = 0.0
        account[ENTRY_PRICE] = 0.0
        account[BARS_HELD] = 0.0
        account[CASH] = floor
        account[RUINED] = 1.0
        equity = floor
    account[EQUITY] = equity
    account[CLOSE_PRICE] = close
    account[EXPOSURE] = account[QUANTITY] * close / equity
    if account[QUANTITY] != 0.0:
        account[BARS_HELD] += 1.0
    if equity > account[PEAK_EQUITY]:
        account[PEAK_EQUITY] = equity
        account[DRAWDOWN] = 0.0
    else:
        account[DRAWDOWN] = 1.0 - equity / account[PEAK_EQUITY]
        if account[DRAWDOWN] >= p[DRAWDOWN_STOP]:
            account[HALTED] = 1.0


@njit(cache=True, error_model="numpy", inline="always")
def _begin_step(account: NDArray[np.float64]) -> None:
    """Remember what was before the step, and that nothing has filled in it yet."""
    account[PREVIOUS_EQUITY] = account[EQUITY]
    account[PREVIOUS_DRAWDOWN] = account[DRAWDOWN]
    account[FILL_PRICE] = math.nan
    account[FILL_QUANTITY] = 0.0
    account[EXIT_PRICE] = math.nan
    account[TURNOVER] = 0.0


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
    bar = prices[row + 1]
    sigma = prices[row, SIGMA]
    _begin_step(account)
    fees, slippage = account[FEES], account[SLIPPAGE]
    funding, borrow = account[FUNDING_PAID], account[BORROW_PAID]
    wanted = wanted_quantity(account, target, sigma, p)
    _pay_holding_costs(account, bar, p)
    status = _fill_order(account, wanted, sigma, bar, p) if wanted != account[QUANTITY] else NO_ORDER
    account[TARGET] = target
    left = _exit_inside_bar(account, sigma, bar, p)
    _mark(account, bar[CLOSE], p)
    account[ORDER_STATUS] = status
    account[EXIT_KIND] = left
    account[STEP_FEES] = account[FEES] - fees
    account[STEP_SLIPPAGE] = account[SLIPPAGE] - slippage
    account[STEP_FUNDING] = account[FUNDING_PAID] - funding
    account[STEP_BORROW] = account[BORROW_PAID] - borrow
    held_for_free = account[FUNDING_PAID] == funding and account[BORROW_PAID] == borrow
    quiet = held_for_free and status == NO_ORDER and left == NO_EXIT and account[RUINED] == 0.0
    account[EVENTFUL] = 0.0 if quiet else 1.0


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
    if p[IS_SPOT] == 1.0 and quantity > 0.0:
        worst = price * (1.0 + p[HALF_SPREAD] + p[IMPACT] * sigma) * (1.0 + p[FEE])  # as if it were the bar's volume
        affordable = round_to_step(account[CASH] / worst, p[STEP_SIZE])
        if affordable < quantity:
            quantity, status = affordable, CASH_CAPPED
            if quantity <= 0.0:
                return 0.0, ROUNDED_TO_ZERO
    if abs(quantity) * price < p[MIN_NOTIONAL]:
        return 0.0, BELOW_MIN_NOTIONAL
    return quantity, status


@njit(cache=True, error_model="numpy")
def settle(
    account: NDArray[np.float64],
    bar: NDArray[np.float64],
    target: float,
    fills: NDArray[np.float64],
    status: int,
    p: NDArray[np.float64],
) -> None:
    """Carry `account` to the close of `bar` by what a venue has filled, in place of what the model would fill.

    Events are those of `transition`: holding costs as the model has them, then the fills in their order, then the mark.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        bar: (8,) float64, a row of `Market.prices`, which has closed.
        target: exposure that stands from now on; NaN keeps the one before.
        fills: (F, 5) float64: signed base quantity, price, fee in quote, fee in base, and 1.0 for what a resting stop
            or take-profit filled, which counts as an exit.
        status: `OrderStatus` of the step.
        p: (PARAMETER_WIDTH,) float64.
    """
    _begin_step(account)
    fees, slippage = account[FEES], account[SLIPPAGE]
    funding, borrow = account[FUNDING_PAID], account[BORROW_PAID]
    _pay_holding_costs(account, bar, p)
    exits, filled, paid = 0, 0.0, 0.0
    for i in range(fills.shape[0]):
        quantity, price, charged, taken = fills[i, 0], fills[i, 1], fills[i, 2], fills[i, 3]
        if quantity == 0.0:
            continue
        _apply_fill(account, quantity, price, charged, p[STEP_SIZE])
        if taken != 0.0:  # a fee in coins: sold at the fill's price, and the proceeds are the fee
            _apply_fill(account, -taken, price, taken * price, 0.0)
        account[SLIPPAGE] += quantity * (price - bar[OPEN])  # signed: a fill may be better than the open
        account[TURNOVER] += abs(quantity) * price / account[PREVIOUS_EQUITY]
        if fills[i, 4] == 1.0:
            exits += 1
            account[EXIT_PRICE] = price
        else:
            filled += quantity
            paid += quantity * price
    if filled != 0.0:
        account[FILL_PRICE] = paid / filled
        account[FILL_QUANTITY] = filled
    if not math.isnan(target):
        account[TARGET] = target
    _mark(account, bar[CLOSE], p)
    account[ORDER_STATUS] = status
    account[EXIT_KIND] = STOPPED if exits > 0 else NO_EXIT
    account[STEP_FEES] = account[FEES] - fees
    account[STEP_SLIPPAGE] = account[SLIPPAGE] - slippage
    account[STEP_FUNDING] = account[FUNDING_PAID] - funding
    account[STEP_BORROW] = account[BORROW_PAID] - borrow
    account[EVENTFUL] = 1.0


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
        exit_kind: 1.0 of a resting stop or take-profit.

    Returns:
        (5,) float64.
    """
    row = np.zeros(5)
    quantity = heard[0] - booked[0]
    if quantity > 0.0:
        row[0] = side * quantity
        row[1] = (heard[0] * heard[1] - booked[1]) / quantity
        row[2], row[3], row[4] = heard[2] - booked[2], heard[3] - booked[3], exit_kind
    return row


@njit(cache=True, error_model="numpy")
def hold(account: NDArray[np.float64], prices: NDArray[np.float64], row: int, p: NDArray[np.float64]) -> None:
    """As `transition`, but no order goes out whatever is due; holding costs, exits inside the bar and the mark happen.

    Args:
        account: (ACCOUNT_WIDTH,) float64, changed in place.
        prices: (T, 8) float64. row: as for `transition`. p: (PARAMETER_WIDTH,) float64.
    """
    bar = prices[row + 1]
    sigma = prices[row, SIGMA]
    _begin_step(account)
    fees, slippage = account[FEES], account[SLIPPAGE]
    funding, borrow = account[FUNDING_PAID], account[BORROW_PAID]
    _pay_holding_costs(account, bar, p)
    left = _exit_inside_bar(account, sigma, bar, p)
    _mark(account, bar[CLOSE], p)
    account[ORDER_STATUS] = NO_ORDER
    account[EXIT_KIND] = left
    account[STEP_FEES] = account[FEES] - fees
    account[STEP_SLIPPAGE] = account[SLIPPAGE] - slippage
    account[STEP_FUNDING] = account[FUNDING_PAID] - funding
    account[STEP_BORROW] = account[BORROW_PAID] - borrow
    account[EVENTFUL] = 1.0


@njit(cache=True, error_model="numpy")
def adopt_account(account: NDArray[np.float64], cash: float, quantity: float, entry: float, close: float) -> None:
    """Begin an episode from what is held already: `open_account` in quantities instead of exposure.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten.
        cash: quote currency (short sales add to it). quantity: signed base quantity. entry: its average price.
        close: price that marks the account.
    """
    equity = cash + quantity * close
    account[:] = 0.0
    account[QUANTITY] = quantity
    account[CASH] = cash
    account[ENTRY_PRICE] = entry if quantity != 0.0 else 0.0
    account[EQUITY] = equity
    account[EXPOSURE] = quantity * close / equity
    account[TARGET] = account[EXPOSURE]
    account[CLOSE_PRICE] = close
    account[PEAK_EQUITY] = equity
    account[START_EQUITY] = equity
    account[PREVIOUS_EQUITY] = equity
    account[FILL_PRICE] = math.nan
    account[EXIT_PRICE] = math.nan
    account[REALISED] = -quantity * (close - account[ENTRY_PRICE])  # earned before: the identity begins at `equity`


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
