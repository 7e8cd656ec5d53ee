"""What moves a two-level market from bar to bar without being hidden: variances, volume averages, anchor, last shock.

The generator drives it with the bars it draws, the filter with the bars it reads. For bar `t`, with `L` the volatility
level and `se` the daily season:

    unit     = sigma * exp(L) * se                            scale = unit * sqrt(h)
    distance = clip((log price - anchor) / (7 sigma exp(L) sqrt(H[1])), -2.5, 2.5)
    r[t]     = u[t] - bounce * u[t-1]                         x = u / scale
    volume   = on_variance (ln h + 2 L) + on_season ln se + on_move (min(|x|, 4) - 0.75) + weights . Y + event's own
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from synthetic.regimes.chain_task import BARS_PER_DAY
from synthetic.regimes.macro_task import Floats, MacroTask

_DISTANCE_UNITS: Final = 7.0
_FARTHEST: Final = 2.5
_LARGEST_MOVE: Final = 4.0
_TYPICAL_MOVE: Final = 0.75

# Places in the state: three squared-shock averages, the variance, two volume averages, anchor, log price, last shock.
SHOCKS: Final = 0
VARIANCE: Final = 3
VOLUMES: Final = 4
ANCHOR: Final = 6
LOG_PRICE: Final = 7
LAST_SHOCK: Final = 8


class RecursionNumbers(NamedTuple):
    """What the recursion reads of a task."""

    sigma: float
    bounce: float
    anchor_rate: float
    rates: Floats
    weights: Floats
    bounds: tuple[float, float, float, float]
    volume_on: tuple[float, float, float]
    volume_rates: Floats
    volume_weights: Floats
    season: Floats


def recursion_numbers(task: MacroTask) -> RecursionNumbers:
    """The task as jitted code takes it; `bounds` are the variance's constant, shock bound, floor and ceiling."""
    variance, volume = task.variance, task.volume
    hours = [2.0 * math.pi * t / BARS_PER_DAY for t in range(BARS_PER_DAY)]
    return RecursionNumbers(
        task.sigma,
        task.bounce,
        task.anchor_rate,
        np.array(variance.rates),
        np.array(variance.weights),
        (variance.constant, variance.shock_bound, variance.floor, variance.ceiling),
        (volume.on_variance, volume.on_season, volume.on_move),
        np.array(volume.rates),
        np.array(volume.weights),
        np.array([task.season * (math.cos(hour) + 0.4 * math.cos(2.0 * hour + 1.0)) for hour in hours]),
    )


@njit(cache=True)
def first_state() -> Floats:
    """(9,) state of a market without a past: variances of one, price at its anchor."""
    state = np.zeros(9)
    state[SHOCKS : VARIANCE + 1] = 1.0
    return state


@njit(cache=True)
def scale_of(state: Floats, level: float, log_season: float, numbers: RecursionNumbers) -> float:
    """Scale of the bar to come."""
    return numbers.sigma * math.exp(level + log_season) * math.sqrt(state[VARIANCE])


@njit(cache=True)
def distance_of(state: Floats, level: float, numbers: RecursionNumbers) -> float:
    """Distance of the price from its anchor at the open of the bar to come, bounded."""
    unit = _DISTANCE_UNITS * numbers.sigma * math.exp(level) * math.sqrt(state[SHOCKS + 1])
    return min(max((state[LOG_PRICE] - state[ANCHOR]) / unit, -_FARTHEST), _FARTHEST)


@njit(cache=True)
def volume_known(state: Floats, move: float, level: float, log_season: float, numbers: RecursionNumbers) -> float:
    """Log volume of a bar that the averages do not carry: from variance, season and the size of the move."""
    on_variance, on_season, on_move = numbers.volume_on
    known = on_variance * (math.log(state[VARIANCE]) + 2.0 * level) + on_season * log_season
    return known + on_move * (min(abs(move), _LARGEST_MOVE) - _TYPICAL_MOVE)


@njit(cache=True)
def volume_carried(state: Floats, numbers: RecursionNumbers) -> float:
    """Log volume that the averages of earlier volume carry over."""
    return numbers.volume_weights[0] * state[VOLUMES] + numbers.volume_weights[1] * state[VOLUMES + 1]


@njit(cache=True)
def advance(
    state: Floats, log_return: float, shock: float, move: float, excess: float, numbers: RecursionNumbers
) -> None:
    """Move the state past a bar.

    `shock` is `u`, `move` is `u / scale`, and `excess` the log volume above `volume_known`.
    """
    constant, bound, floor, ceiling = numbers.bounds
    squared = min(move * move * state[VARIANCE], bound)
    h = constant
    for i in range(3):
        state[SHOCKS + i] += numbers.rates[i] * (squared - state[SHOCKS + i])
        h += numbers.weights[i] * state[SHOCKS + i]
    state[VARIANCE] = min(max(h, floor), ceiling)
    for i in range(2):
        state[VOLUMES + i] += numbers.volume_rates[i] * (excess - state[VOLUMES + i])
    state[LOG_PRICE] += log_return
    state[ANCHOR] += numbers.anchor_rate * (state[LOG_PRICE] - state[ANCHOR])
    state[LAST_SHOCK] = shock
