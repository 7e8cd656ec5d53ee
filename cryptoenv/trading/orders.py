"""What an order is: how much is due, rounded and payable, and at what price the model fills it. Part of the kernel."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.trading.account import CLOSE_PRICE, EQUITY, EXPOSURE, HALTED, ORDER_STATUS, QUANTITY, TARGET
from cryptoenv.trading.config import (
    EXPOSURE_LIMIT,
    FEE,
    HALF_SPREAD,
    IMPACT,
    IS_SPOT,
    SIZING_FRACTION,
    SIZING_VOLATILITY,
    STEP_SIZE,
    TICK_SIZE,
    TOLERANCE,
)

MAX_SLIP = 0.9  #: no fill is worse than this fraction of its price, so that prices stay positive
SLACK = 1e-9  #: share of a step that rounding toward zero forgives
DUST = 1e-6  #: share of a step below which a difference of two multiples of it is floating dust
NO_ORDER, FILLED, PARTIAL, CASH_CAPPED, ROUNDED_TO_ZERO, BELOW_MIN_NOTIONAL, NO_VOLUME = range(7)  #: `OrderStatus`


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


@njit(cache=True, error_model="numpy", forceinline=True)
def slipped(quantity: float, volume: float, sigma: float, p: NDArray[np.float64]) -> float:
    """By which fraction of its price a market order of signed `quantity` fills worse; `p`: (PARAMETER_WIDTH,)."""
    return min(p[HALF_SPREAD] + p[IMPACT] * sigma * math.sqrt(abs(quantity) / volume), MAX_SLIP)


@njit(cache=True, error_model="numpy")
def slipped_price(price: float, quantity: float, volume: float, sigma: float, p: NDArray[np.float64]) -> float:
    """Fill price of a market order: `price * (1 +- (half_spread + impact * sigma * sqrt(|quantity| / volume)))`.

    Square-root impact after Almgren et al. 2005 and Toth et al. 2011; adverse always, and rounded to the adverse
    tick. `p`: (PARAMETER_WIDTH,) parameters.
    """
    slip = slipped(quantity, volume, sigma, p)
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


@njit(cache=True, error_model="numpy", forceinline=True)
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


@njit(cache=True, error_model="numpy", forceinline=True)
def affordable(cash: float, quantity: float, price: float, p: NDArray[np.float64]) -> float:
    """Of an order of signed `quantity` what `cash` pays at `price`, fee included, on spot; other accounts borrow.

    `p`: (PARAMETER_WIDTH,).
    """
    if p[IS_SPOT] == 1.0 and quantity > 0.0:
        return min(quantity, round_to_step(cash / (price * (1.0 + p[FEE])), p[STEP_SIZE]))
    return quantity
