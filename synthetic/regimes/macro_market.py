"""Draws a two-level market: a slow macro chain decides what the events of a fast chain lead to.

For bar `t` in joint state `k`, with scale and distance of `synthetic.regimes.macro_recursion`:

    x          = snr * drift[k] - anchor_pull[k] * distance + volatility[k] * noise,  noise Student-t of unit variance
    r          = scale * x - bounce * (scale * x of the bar before)
    log volume = known + carried + log_volume[k] + signed_volume[k] * clip(x, -2, 2) + noise * normal
    wicks      ~ Exponential(wick * scale * volatility[k] * (1 -+ wick_tilt[k])) above and below the body

Shape legend: `T` bars, `M` macro states, `F` fast states, `K = M F` joint states.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthetic.regimes.chain_task import BARS_PER_DAY
from synthetic.regimes.macro_recursion import (
    LAST_SHOCK,
    RecursionNumbers,
    advance,
    distance_of,
    first_state,
    recursion_numbers,
    scale_of,
    volume_carried,
    volume_known,
)
from synthetic.regimes.macro_task import Floats, MacroTask
from synthetic.regimes.sample import RegimeSample, first_price, price_bars, sample_of

LARGEST_SIGNED_MOVE: Final = 2.0

NOTIONAL: Final = 1e8
"""Traded value of a bar (quote units) at activity 1. Activity varies a hundredfold here, and even its lowest leaves an
account of 10,000 below the participation cap."""

# A whole number of days, so that the season starts at midnight. The slowest average keeps exp(-9.6) of its start.
_BURN_IN: Final = 80 * BARS_PER_DAY


class StateNumbers(NamedTuple):
    """What each joint state does, (K,) each; drift times signal-to-noise."""

    drift: Floats
    anchor_pull: Floats
    volatility: Floats
    log_volume: Floats
    signed_volume: Floats
    wick_tilt: Floats


class _Draws(NamedTuple):
    """The randomness of one market, (n,) each."""

    macro: Floats
    event: Floats
    noise: Floats
    level: Floats
    volume: Floats
    upper_wick: Floats
    lower_wick: Floats


class _Walk(NamedTuple):
    """What came of it, (n,) each; wicks as log distances beyond the body."""

    regime: NDArray[np.int8]
    log_return: Floats
    log_activity: Floats
    upper_wick: Floats
    lower_wick: Floats
    drift: Floats
    spread: Floats
    scale: Floats
    level: Floats


class _Chain(NamedTuple):
    """Cumulated transition probabilities (M, M) and (M, F, F), and the level's decay and innovation."""

    macro: Floats
    event: Floats
    level_decay: float
    level_noise: float


def state_numbers(task: MacroTask) -> StateNumbers:
    """The tables of the task, flattened to joint states."""
    flat = [
        np.array(table).ravel()
        for table in (task.anchor_pull, task.volatility, task.log_volume, task.signed_volume, task.wick_tilt)
    ]
    return StateNumbers(task.signal_to_noise * np.array(task.drift).ravel(), *flat)


def level_decay(task: MacroTask) -> float:
    """Share of the volatility level that a bar leaves."""
    return 1.0 - 1.0 / task.level_memory


@njit(cache=True)
def _next(cumulative: Floats, uniform: float) -> int:
    place = 0
    while place < cumulative.shape[0] - 1 and uniform >= cumulative[place]:
        place += 1
    return place


@njit(cache=True)
def _walk(
    draws: _Draws,
    first_regime: int,
    states: StateNumbers,
    chain: _Chain,
    numbers: RecursionNumbers,
    noises: tuple[float, float],
) -> _Walk:
    """`noises`: standard deviation of log volume, mean length of a wick."""
    length = draws.macro.shape[0]
    events = chain.event.shape[1]
    out = _Walk(
        np.empty(length, np.int8),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
    )
    macro, event = first_regime // events, first_regime % events
    # The level starts from its stationary law.
    level = draws.level[0] * chain.level_noise / math.sqrt(1.0 - chain.level_decay * chain.level_decay)
    state = first_state()
    for t in range(length):
        if t > 0:
            level = chain.level_decay * level + chain.level_noise * draws.level[t]
        macro = _next(chain.macro[macro], draws.macro[t])
        event = _next(chain.event[macro, event], draws.event[t])
        k = macro * events + event
        log_season = numbers.season[t % numbers.season.shape[0]]
        scale = scale_of(state, level, log_season, numbers)
        pull = states.drift[k] - states.anchor_pull[k] * distance_of(state, level, numbers)
        move = pull + states.volatility[k] * draws.noise[t]
        shock = scale * move
        taken_back = numbers.bounce * state[LAST_SHOCK]
        signed = states.signed_volume[k] * min(max(move, -LARGEST_SIGNED_MOVE), LARGEST_SIGNED_MOVE)
        excess = volume_carried(state, numbers) + states.log_volume[k] + signed + noises[0] * draws.volume[t]
        wick = noises[1] * scale * states.volatility[k]
        out.regime[t] = k
        out.log_return[t] = shock - taken_back
        out.log_activity[t] = volume_known(state, move, level, log_season, numbers) + excess
        out.upper_wick[t] = wick * (1.0 - states.wick_tilt[k]) * draws.upper_wick[t]
        out.lower_wick[t] = wick * (1.0 + states.wick_tilt[k]) * draws.lower_wick[t]
        out.drift[t] = scale * pull - taken_back
        out.spread[t] = scale * states.volatility[k]
        out.scale[t] = scale
        out.level[t] = level
        advance(state, out.log_return[t], shock, move, excess, numbers)
    return out


def _draw(task: MacroTask, length: int, rng: np.random.Generator) -> _Draws:
    degrees = task.degrees_of_freedom
    return _Draws(
        macro=rng.random(length),
        event=rng.random(length),
        noise=rng.standard_t(degrees, length) * math.sqrt((degrees - 2.0) / degrees),
        level=rng.standard_normal(length),
        volume=rng.standard_normal(length),
        upper_wick=rng.standard_exponential(length),
        lower_wick=rng.standard_exponential(length),
    )


def draw_macro_market(task: MacroTask, length: int, seed: int) -> RegimeSample:
    """One market of `length` bars; regime, level and variance are stationary from the first bar on."""
    rng = np.random.default_rng(seed)
    price = first_price(rng)
    first_regime = int(rng.choice(len(task.regimes), p=task.stationary_distribution))
    decay = level_decay(task)
    chain = _Chain(
        np.cumsum(task.macro_matrix, axis=1),
        np.cumsum(task.event_matrices, axis=2),
        decay,
        task.level_spread * math.sqrt(1.0 - decay * decay),
    )
    draws = _draw(task, length + _BURN_IN, rng)
    noises = (task.volume.noise, task.wick)
    walked = _walk(draws, first_regime, state_numbers(task), chain, recursion_numbers(task), noises)
    walk = _Walk(walked.regime[_BURN_IN:], *(column[_BURN_IN:] for column in walked[1:]))
    prices = price_bars(walk.log_return, walk.upper_wick, walk.lower_wick, walk.log_activity, price, NOTIONAL)
    truth: dict[str, NDArray[Any]] = {
        "regime": walk.regime,
        "drift": walk.drift,
        "second_moment": walk.drift**2 + walk.spread**2,
        "volatility": walk.scale,
        "macro": walk.regime // np.int8(len(task.events)),
        "level": walk.level,
    }
    return sample_of(prices, truth, task, seed)
