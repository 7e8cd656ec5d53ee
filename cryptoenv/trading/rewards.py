"""Named reward components, jitted, computed from the marked account.

With `r` the log-return of the step, `d` the drawdown (fraction below the peak) and `eta` the adaptation rate:

| name | formula | unit |
|---|---|---|
| `log_return` | `log(equity / previous)` | log-return |
| `pnl` | `(equity - previous) / start` | fraction of starting equity |
| `differential_sharpe` | `(S_t - S_{t-1}) / eta`, `S = A / sqrt(max(B - A^2, B / 10))` | Sharpe ratio per `eta` |
| `downside` | `(D_t - D_{t-1}) / eta`, `D = A / sqrt(max(C, B / 10))` | Sortino ratio per `eta` |
| `drawdown` | `-max(d - d_previous, 0)` | fraction of the peak |
| `turnover` | `-` notional traded / previous equity | fraction of equity |
| `consistency` | exponential mean of `sign(r)` | [-1, 1] |

`A`, `B` and `C` are exponential means of `r`, `r^2` and `min(r, 0)^2`: `A_t = A_{t-1} + eta (r - A_{t-1})`. An episode
begins as if the market's last 96 returns had been earned at the exposure limit, at no profit: `A = 0`, `B = sigma^2 *
limit^2`, `C = B / 2`. To first order in `eta` the differences are Moody and Saffell's derivatives; taken exactly, they
add up to the ratio's change over the episode and stay bounded: as `A^2 <= B`, no ratio exceeds `sqrt(10)` and no reward
`2 sqrt(10) / eta`, where the derivatives explode as soon as a return follows bars without risk. The floor of `B / 10`
is what bounds them; a series of returns of one size has no deviation, and one without a loss no downside.

A callable `reward(account) -> float` takes the place of names: it is given a copy of the marked account row, (36,)
float64, whose columns are named in `cryptoenv.trading.account` (`EQUITY`, `PREVIOUS_EQUITY`, `TURNOVER`, ...). Plain
Python serves the single env; `numba.njit`-ed it serves the vector env too.

Sources: Moody and Saffell 1998, "Reinforcement learning for trading" (differential Sharpe ratio, eq. 11 its first
order); Moody and Saffell 2001, "Learning to trade via direct reinforcement" (downside deviation ratio, eq. 18).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core import config
from numba.extending import is_jitted
from numpy.typing import NDArray

from cryptoenv.files.typed_values import is_number
from cryptoenv.trading.account import DRAWDOWN as CURRENT_DRAWDOWN
from cryptoenv.trading.account import (
    EQUITY,
    HIT_RATE,
    MEAN_DOWNSIDE,
    MEAN_RETURN,
    MEAN_SQUARE,
    PREVIOUS_DRAWDOWN,
    PREVIOUS_EQUITY,
    START_EQUITY,
    TURNOVER,
)

REWARD_NAMES = ("log_return", "pnl", "differential_sharpe", "downside", "drawdown", "turnover", "consistency")
LOG_RETURN, PNL, DIFFERENTIAL_SHARPE, DOWNSIDE, DRAWDOWN, TURNOVER_COST, CONSISTENCY = range(7)
RewardFunction = Callable[[NDArray[np.float64]], float]
SMALLEST_SQUARE = 1e-18  #: mean squared return below which a ratio of return to risk counts as 0
RISK_FLOOR = 0.1  #: share of the mean squared return that counts as risk at least


@njit(cache=True, error_model="numpy")
def _ratio(mean: float, risk: float, square: float) -> float:
    """Mean return over the root of `risk`, a mean of squares, which is taken to be a tenth of `square` at least."""
    if square < SMALLEST_SQUARE:
        return 0.0
    return mean / math.sqrt(max(risk, RISK_FLOOR * square))


@njit(cache=True, error_model="numpy")
def _differential_ratios(
    account: NDArray[np.float64], weights: NDArray[np.float64], r: float, mean: float, eta: float
) -> float:
    """Weighted changes of the exponential Sharpe and downside deviation ratios per `eta`; updates their means.

    Args:
        account: with the means before the step; `MEAN_RETURN` is left to the caller.
        weights: (7,). r: log-return of the step. mean: `MEAN_RETURN` before it. eta: adaptation rate.
    """
    square, downside, loss = account[MEAN_SQUARE], account[MEAN_DOWNSIDE], min(r, 0.0)
    mean_now = mean + eta * (r - mean)
    square_now = square + eta * (r * r - square)
    downside_now = downside + eta * (loss * loss - downside)
    account[MEAN_SQUARE], account[MEAN_DOWNSIDE] = square_now, downside_now
    sharpe = _ratio(mean_now, square_now - mean_now * mean_now, square_now) - _ratio(mean, square - mean * mean, square)
    sortino = _ratio(mean_now, downside_now, square_now) - _ratio(mean, downside, square)
    return (weights[DIFFERENTIAL_SHARPE] * sharpe + weights[DOWNSIDE] * sortino) / eta


@njit(cache=True, error_model="numpy", forceinline=True)
def weighted_reward(account: NDArray[np.float64], weights: NDArray[np.float64], eta: float) -> float:
    """Sum of `weights` (7,) times the components, for the step just marked in `account`; updates its moving means."""
    r = math.log(account[EQUITY] / account[PREVIOUS_EQUITY])
    total = weights[LOG_RETURN] * r
    if weights[PNL] != 0.0:
        total += weights[PNL] * (account[EQUITY] - account[PREVIOUS_EQUITY]) / account[START_EQUITY]
    mean = account[MEAN_RETURN]
    if weights[DIFFERENTIAL_SHARPE] != 0.0 or weights[DOWNSIDE] != 0.0:
        total += _differential_ratios(account, weights, r, mean, eta)
    if weights[DRAWDOWN] != 0.0:
        total -= weights[DRAWDOWN] * max(account[CURRENT_DRAWDOWN] - account[PREVIOUS_DRAWDOWN], 0.0)
    if weights[TURNOVER_COST] != 0.0:
        total -= weights[TURNOVER_COST] * account[TURNOVER]
    if weights[CONSISTENCY] != 0.0:
        sign = (1.0 if r > 0.0 else 0.0) - (1.0 if r < 0.0 else 0.0)
        account[HIT_RATE] += eta * (sign - account[HIT_RATE])
        total += weights[CONSISTENCY] * account[HIT_RATE]
    account[MEAN_RETURN] += eta * (r - mean)
    return total


@njit(cache=True, error_model="numpy")
def begin_means(account: NDArray[np.float64], sigma: float, limit: float) -> None:
    """Start the moving means of an episode in `account` (ACCOUNT_WIDTH,).

    `sigma` is the market's deviation per bar, `limit` the exposure limit.
    """
    square = sigma * sigma * limit * limit
    account[MEAN_RETURN], account[MEAN_SQUARE], account[MEAN_DOWNSIDE] = 0.0, square, 0.5 * square
    account[HIT_RATE] = 0.0


def reward_weights(reward: str | dict[str, float] | RewardFunction) -> NDArray[np.float64]:
    """The (7,) weights of a reward given by name or as `{name: weight}`; all 0 for a callable.

    Raises:
        TypeError: neither a name, a dict nor a callable.
        ValueError: an unknown name, no name, a weight that is not finite, or only weights of 0.
    """
    if callable(reward):
        return np.zeros(len(REWARD_NAMES), dtype=np.float64)
    if not isinstance(reward, (str, dict)):
        raise TypeError(f"reward={reward!r} must be one of {REWARD_NAMES}, a dict of weights, or a callable")
    chosen = {reward: 1.0} if isinstance(reward, str) else dict(reward)
    weights = np.zeros(len(REWARD_NAMES), dtype=np.float64)
    if not chosen:
        raise ValueError(f"reward is empty; name at least one of {REWARD_NAMES}")
    for name, weight in chosen.items():
        if name not in REWARD_NAMES:
            raise ValueError(f"reward {name!r} is unknown; choose from {REWARD_NAMES}")
        number = is_number(weight)
        if not number or not math.isfinite(weight):
            raise ValueError(f"weight of reward {name!r} must be a finite number, got {weight!r}")
        weights[REWARD_NAMES.index(name)] = float(weight)
    if not weights.any():
        raise ValueError(f"reward={reward!r} is 0 at every step; give at least one weight that is not 0")
    return weights


def finite_reward(function: RewardFunction, account: NDArray[np.float64], bar: int) -> float:
    """A reward callable's value for a copy of `account` (ACCOUNT_WIDTH,).

    Raises:
        ValueError: not a finite number; the bar is named.
    """
    value = function(account.copy())
    if not isinstance(value, (int, float, np.floating, np.integer)) or not math.isfinite(value):
        raise ValueError(f"the reward callable returned {value!r} at bar {bar}; it must return a finite number")
    return float(value)


def batched_reward(function: RewardFunction) -> Callable[[NDArray[np.float64], NDArray[np.float64]], None]:
    """`function` over rows: takes accounts (N, ACCOUNT_WIDTH) and writes rewards (N,).

    Raises:
        TypeError: a plain Python function, which the vector env would have to call N times a step.
    """
    if not (is_jitted(function) or getattr(config, "DISABLE_JIT", False)):
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"the vector env needs a jitted reward: decorate {name} with @numba.njit, or use a single env")
    row_reward: Any = function

    @njit
    def over_rows(accounts: NDArray[np.float64], rewards: NDArray[np.float64]) -> None:
        for i in range(rewards.shape[0]):
            rewards[i] = row_reward(accounts[i].copy())

    return over_rows
