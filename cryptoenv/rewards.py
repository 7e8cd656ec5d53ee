"""Named reward components, jitted, computed from the marked account.

With `r` the log-return of the step, `d` the drawdown (fraction below the peak) and `eta` the adaptation rate:

| name | formula | unit |
|---|---|---|
| `log_return` | `log(equity / previous)` | log-return |
| `pnl` | `(equity - previous) / start` | fraction of starting equity |
| `differential_sharpe` | `(B dA - A dB / 2) / (B - A^2)^(3/2)`, `dA = r - A`, `dB = r^2 - B` | Sharpe per `eta` |
| `downside` | differential downside deviation ratio of `r`, the Sortino analogue | Sortino per `eta` |
| `drawdown` | `-max(d - d_previous, 0)` | fraction of the peak |
| `turnover` | `-` notional traded / previous equity | fraction of equity |
| `consistency` | exponential mean of `sign(r)` | [-1, 1] |

A callable `reward(account) -> float` takes the place of names: it is given a copy of the marked account row, (34,)
float64, whose columns are named in `cryptoenv.account` (`EQUITY`, `PREVIOUS_EQUITY`, `TURNOVER`, ...). Plain Python
serves the single env; `numba.njit`-ed it serves the vector env too.

Sources: Moody and Saffell 1998, "Reinforcement learning for trading" (differential Sharpe ratio); Moody and Saffell
2001, "Learning to trade via direct reinforcement" (downside deviation ratio).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numba.core import config
from numba.extending import is_jitted
from numpy.typing import NDArray

from cryptoenv.account import DRAWDOWN as CURRENT_DRAWDOWN
from cryptoenv.account import (
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
SMALLEST_VARIANCE = 1e-12  #: below it a ratio of return to risk is undefined and its reward is 0


@njit(cache=True, error_model="numpy")
def _differential_sharpe(r: float, mean: float, square: float) -> float:
    """Derivative of the exponential Sharpe ratio by `eta` (Moody and Saffell 1998, eq. 11)."""
    variance = square - mean * mean
    if variance < SMALLEST_VARIANCE:
        return 0.0
    return (square * (r - mean) - 0.5 * mean * (r * r - square)) / (variance * math.sqrt(variance))


@njit(cache=True, error_model="numpy")
def _differential_downside(r: float, mean: float, downside: float) -> float:
    """Derivative of the exponential downside deviation ratio by `eta` (Moody and Saffell 2001, eq. 18)."""
    if downside < SMALLEST_VARIANCE:
        return 0.0
    deviation = math.sqrt(downside)
    if r > 0.0:
        return (r - 0.5 * mean) / deviation
    return (downside * (r - 0.5 * mean) - 0.5 * mean * r * r) / (downside * deviation)


@njit(cache=True, error_model="numpy", inline="always")
def weighted_reward(account: NDArray[np.float64], weights: NDArray[np.float64], eta: float) -> float:
    """Sum of `weights` (7,) times the components, for the step just marked in `account`; updates its moving means."""
    r = math.log(account[EQUITY] / account[PREVIOUS_EQUITY])
    total = weights[LOG_RETURN] * r
    if weights[PNL] != 0.0:
        total += weights[PNL] * (account[EQUITY] - account[PREVIOUS_EQUITY]) / account[START_EQUITY]
    mean = account[MEAN_RETURN]
    if weights[DIFFERENTIAL_SHARPE] != 0.0:
        total += weights[DIFFERENTIAL_SHARPE] * _differential_sharpe(r, mean, account[MEAN_SQUARE])
        account[MEAN_SQUARE] += eta * (r * r - account[MEAN_SQUARE])
    if weights[DOWNSIDE] != 0.0:
        total += weights[DOWNSIDE] * _differential_downside(r, mean, account[MEAN_DOWNSIDE])
        loss = min(r, 0.0)
        account[MEAN_DOWNSIDE] += eta * (loss * loss - account[MEAN_DOWNSIDE])
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


def reward_weights(reward: str | dict[str, float] | RewardFunction) -> NDArray[np.float64]:
    """The (7,) weights of a reward given by name or as `{name: weight}`; all 0 for a callable.

    Raises:
        TypeError: neither a name, a dict nor a callable.
        ValueError: an unknown name, no name, or a weight that is not finite.
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
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ValueError(f"weight of reward {name!r} must be a finite number, got {weight!r}")
        weights[REWARD_NAMES.index(name)] = float(weight)
    return weights


def finite_reward(function: RewardFunction, account: NDArray[np.float64], bar: int) -> float:
    """A reward callable's value for a copy of `account`.

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
