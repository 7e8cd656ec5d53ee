"""What a trader can know of a two-level market: its exact Bayes filter, and filters that are told less.

The full filter is given the task's parameters, the bars, and one latent quantity: the volatility level up to the bar.
Everything else (variance, volume averages, anchor, last shock) it recomputes from the bars; their values before the
first bar are unknown, and what that costs is forgotten within the warm-up. Return, volume and both wicks are
independent given regime and past, so the likelihood is Student-t times normal times two exponentials.
Shape legend: `T` bars, `M` macro states, `F` fast states, `K = M F` joint states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numba import njit

from synthetic.regimes.chain_task import BARS_PER_DAY
from synthetic.regimes.macro_market import LARGEST_SIGNED_MOVE, NOTIONAL, StateNumbers, level_decay, state_numbers
from synthetic.regimes.macro_recursion import (
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
from synthetic.regimes.sample import RegimeSample

# Steps of the level's estimate, chosen on "standard" by the log-probability of the true regime.
_MOVE_STEP: Final = 0.004
_WICK_STEP: Final = 0.004
_LONGEST_WICK: Final = 5.0


@dataclass(frozen=True)
class Information:
    """What a filter of a two-level market is told.

    Attributes:
        level: the latent volatility level up to the bar; without it the level is estimated from the size of moves and
            wicks before it.
        volume: traded volume.
        wicks: highs and lows.
        macro: that macro states last; without it the macro state is taken to be drawn afresh at every bar.
        memory: bars that the belief is built from; None is all of them.

    Raises:
        ValueError: the memory is below one bar.
    """

    level: bool = True
    volume: bool = True
    wicks: bool = True
    macro: bool = True
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and self.memory < 1:
            raise ValueError(f"memory is {self.memory}: it must be at least 1 bar, or None for all of them")


EVERYTHING: Final = Information()
OBSERVABLE: Final = Information(level=False)
"""What bars alone allow. The exact filter would carry a belief over the level; this one carries an estimate, so that
its score is a ceiling known to be within reach, a little below the true one."""


class Evidence(NamedTuple):
    """What each bar shows, (T,) each, and what is known of the one after it, `next_*`.

    Moves and wicks are in units of the bar's scale; `volume` is log volume above what was expected.
    """

    move: Floats
    distance: Floats
    volume: Floats
    upper_wick: Floats
    lower_wick: Floats
    next_scale: Floats
    next_distance: Floats
    shock: Floats


class _LevelLaw(NamedTuple):
    """How the level moves, and how its estimate follows what is seen where it is not given.

    `decay` is what a bar leaves of the level and `lift` half the variance of what it adds; the estimate takes a step of
    `move_step` times the score of the move and `wick_step` times that of the wicks, whose typical volatility and length
    are `spread` and `wick`. All steps are zero where the level is given.
    """

    decay: float
    lift: float
    move_step: float
    wick_step: float
    spread: float
    wick: float
    degrees: float


class _Law(NamedTuple):
    """The likelihood's constants: (K,) each, then numbers."""

    drift: Floats
    anchor_pull: Floats
    inverse_spread: Floats
    log_volume: Floats
    signed_volume: Floats
    upper_rate: Floats
    lower_rate: Floats
    density: Floats
    inverse_volume_noise: float
    degrees: int


@njit(cache=True)
def _level_step(move: float, upper: float, lower: float, law: _LevelLaw) -> float:
    """Change of the level's estimate after a bar: scores of its Student-t move and exponential wicks.

    A score-driven filter (Creal, Koopman and Lucas 2013, "Generalized autoregressive score models"). Volume is left
    out: its averages follow an error of the level, and a step on it makes matters worse.
    """
    square = move * move / (law.spread * law.spread) * law.degrees / (law.degrees - 2.0)
    of_move = (law.degrees + 1.0) * square / (law.degrees + square) - 1.0
    of_wicks = min(upper / law.wick, _LONGEST_WICK) + min(lower / law.wick, _LONGEST_WICK) - 2.0
    return law.move_step * of_move + law.wick_step * of_wicks


@njit(cache=True)
def _gather(
    columns: tuple[Floats, Floats, Floats, Floats],
    levels: Floats,
    first_hour: int,
    law: _LevelLaw,
    numbers: RecursionNumbers,
) -> Evidence:
    """From log-returns, wicks above and below, and log activity, (T,) each; `levels` (T,), or (0,) to estimate them."""
    log_returns, upper, lower, activity = columns
    length = log_returns.shape[0]
    out = Evidence(
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
        np.empty(length),
    )
    hours = numbers.season.shape[0]
    state = first_state()
    shock, level = 0.0, 0.0
    given = levels.shape[0] == length
    for t in range(length):
        if given:
            level = levels[t]
        log_season = numbers.season[(first_hour + t) % hours]
        scale = scale_of(state, level, log_season, numbers)
        shock = log_returns[t] + numbers.bounce * shock
        move = shock / scale
        excess = activity[t] - volume_known(state, move, level, log_season, numbers)
        out.move[t] = move
        out.distance[t] = distance_of(state, level, numbers)
        out.volume[t] = excess - volume_carried(state, numbers)
        out.upper_wick[t] = upper[t] / scale
        out.lower_wick[t] = lower[t] / scale
        out.shock[t] = shock
        advance(state, log_returns[t], shock, move, excess, numbers)
        level = law.decay * (level + _level_step(move, out.upper_wick[t], out.lower_wick[t], law))
        out.next_scale[t] = scale_of(state, level + law.lift, numbers.season[(first_hour + t + 1) % hours], numbers)
        out.next_distance[t] = distance_of(state, level, numbers)
    return out


def evidence(sample: RegimeSample, information: Information = EVERYTHING) -> Evidence:
    """What the bars of a two-level market show, bar by bar; reads `truth["level"]` if the information has it.

    Raises:
        ValueError: the sample is not of a two-level task.
    """
    task = two_level(sample)
    opens, high, low, close = (sample.bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    columns = (
        np.log(close / opens),
        np.log(high / np.maximum(opens, close)),
        np.log(np.minimum(opens, close) / low),
        np.log(sample.bars["volume"].to_numpy() * opens / NOTIONAL),
    )
    levels = sample.truth["level"].to_numpy() if information.level else np.empty(0)
    first = sample.bars.index[0]
    first_hour = (first.hour * 60 + first.minute) * BARS_PER_DAY // (24 * 60)
    return _gather(columns, levels, first_hour, _level_law(task, information), recursion_numbers(task))


def _level_law(task: MacroTask, information: Information) -> _LevelLaw:
    decay = level_decay(task)
    known = information.level or task.level_spread == 0.0
    spread = float(task.stationary_distribution @ state_numbers(task).volatility)
    return _LevelLaw(
        decay=decay,
        lift=task.level_spread**2 * (1.0 - decay**2) / 2.0 if information.level else 0.0,
        move_step=0.0 if known else _MOVE_STEP,
        wick_step=0.0 if known or not information.wicks else _WICK_STEP,
        spread=spread,
        wick=task.wick * spread,
        degrees=float(task.degrees_of_freedom),
    )


def two_level(sample: RegimeSample) -> MacroTask:
    """The sample's task.

    Raises:
        ValueError: it is not of two levels.
    """
    if not isinstance(sample.task, MacroTask):
        raise ValueError(
            f"task {sample.task.name!r} has no macro state: information can only be left out of one that has"
        )
    return sample.task


def _law(task: MacroTask, information: Information) -> _Law:
    """A source that is left out weighs nothing: its rates are zero."""
    states: StateNumbers = state_numbers(task)
    degrees = task.degrees_of_freedom
    wick = 1.0 / (task.wick * states.volatility) if information.wicks else np.zeros(len(states.drift))
    upper, lower = wick / (1.0 - states.wick_tilt), wick / (1.0 + states.wick_tilt)
    seen = upper * lower if information.wicks else 1.0
    return _Law(
        states.drift,
        states.anchor_pull,
        1.0 / (states.volatility * math.sqrt(degrees - 2.0)),
        states.log_volume,
        states.signed_volume,
        upper,
        lower,
        seen / states.volatility,
        1.0 / task.volume.noise if information.volume else 0.0,
        degrees,
    )


@njit(cache=True)
def _likelihoods(t: int, seen: Evidence, law: _Law, exponent: Floats, out: Floats) -> None:
    """Fill `out` (K,) with the likelihood of bar `t` under each joint state, up to a factor that they share."""
    move, distance, volume = seen.move[t], seen.distance[t], seen.volume[t]
    upper, lower = seen.upper_wick[t], seen.lower_wick[t]
    signed = min(max(move, -LARGEST_SIGNED_MOVE), LARGEST_SIGNED_MOVE)
    for k in range(out.shape[0]):
        e = (volume - law.log_volume[k] - law.signed_volume[k] * signed) * law.inverse_volume_noise
        exponent[k] = -0.5 * e * e - (upper * law.upper_rate[k] + lower * law.lower_rate[k])
        z = (move - law.drift[k] + law.anchor_pull[k] * distance) * law.inverse_spread[k]
        base = 1.0 + z * z
        student = base
        for _ in range((law.degrees - 1) // 2):
            student *= base
        out[k] = law.density[k] / student
    # The largest is scaled to 1, so that an outlier cannot underflow them all.
    largest = exponent[0]
    for k in range(1, out.shape[0]):
        largest = max(largest, exponent[k])
    for k in range(out.shape[0]):
        out[k] *= math.exp(exponent[k] - largest)


@njit(cache=True)
def _predict(belief: Floats, macro: Floats, events: Floats, mixed: Floats, predicted: Floats) -> None:
    """Fill `predicted` (M, F) with the belief one bar on: the macro states mix, then the events of each."""
    for n in range(macro.shape[0]):
        for j in range(events.shape[1]):
            mixed[n, j] = 0.0
            predicted[n, j] = 0.0
        for m in range(macro.shape[0]):
            weight = macro[m, n]
            for j in range(events.shape[1]):
                mixed[n, j] += weight * belief[m, j]
        for i in range(events.shape[1]):
            weight = mixed[n, i]
            for j in range(events.shape[1]):
                predicted[n, j] += weight * events[n, i, j]


@njit(cache=True)
def _condition(predicted: Floats, likelihood: Floats, belief: Floats) -> None:
    """Bayes' rule: fill `belief` (M, F)."""
    events = predicted.shape[1]
    total = 0.0
    for n in range(predicted.shape[0]):
        for j in range(events):
            belief[n, j] = predicted[n, j] * likelihood[n * events + j]
            total += belief[n, j]
    if total > 0.0:
        inverse = 1.0 / total
        for n in range(predicted.shape[0]):
            for j in range(events):
                belief[n, j] *= inverse
    else:
        # The bar is impossible to float precision under every state that can be: nothing is learnt from it.
        belief[:] = predicted


@njit(cache=True)
def _forget_macro(belief: Floats, given_event: Floats) -> None:
    """Replace what is known of the macro state by its long-run share given the event, (M, F)."""
    for j in range(belief.shape[1]):
        total = 0.0
        for m in range(belief.shape[0]):
            total += belief[m, j]
        for m in range(belief.shape[0]):
            belief[m, j] = total * given_event[m, j]


@njit(cache=True)
def _filter(
    seen: Evidence, law: _Law, start: Floats, macro: Floats, events: Floats, given_event: Floats, blind: bool
) -> Floats:
    """(T, M, F) beliefs after each bar; `start` (M, F) is the belief at the bar before the first."""
    beliefs = np.empty((seen.move.shape[0], start.shape[0], start.shape[1]))
    mixed, predicted, belief = np.empty(start.shape), np.empty(start.shape), start.copy()
    likelihood, exponent = np.empty(start.size), np.empty(start.size)
    for t in range(beliefs.shape[0]):
        _predict(belief, macro, events, mixed, predicted)
        _likelihoods(t, seen, law, exponent, likelihood)
        _condition(predicted, likelihood, belief)
        if blind:
            _forget_macro(belief, given_event)
        beliefs[t] = belief
    return beliefs


@njit(cache=True)
def _filter_of_memory(seen: Evidence, law: _Law, start: Floats, macro: Floats, events: Floats, memory: int) -> Floats:
    """As `_filter`, each belief built afresh from the last `memory` bars: (T, M, F)."""
    length = seen.move.shape[0]
    likelihoods, exponent = np.empty((length, start.size)), np.empty(start.size)
    for t in range(length):
        _likelihoods(t, seen, law, exponent, likelihoods[t])
    beliefs = np.empty((length, start.shape[0], start.shape[1]))
    mixed, predicted, belief = np.empty(start.shape), np.empty(start.shape), np.empty(start.shape)
    for t in range(length):
        belief[:] = start
        for back in range(max(t + 1 - memory, 0), t + 1):
            _predict(belief, macro, events, mixed, predicted)
            _condition(predicted, likelihoods[back], belief)
        beliefs[t] = belief
    return beliefs


def macro_beliefs(sample: RegimeSample, information: Information, seen: Evidence) -> Floats:
    """(T, K) probability of each joint state at every bar, from `seen`, the evidence of the same information."""
    task = two_level(sample)
    shape = (len(task.macros), len(task.events))
    start = task.stationary_distribution.reshape(shape)
    law = _law(task, information)
    macro, events = task.macro_matrix, task.event_matrices
    if information.memory is not None:
        if not information.macro:
            raise ValueError("information with a memory must have the macro state: one of the two can be left out")
        beliefs = _filter_of_memory(seen, law, start, macro, events, information.memory)
    else:
        beliefs = _filter(seen, law, start, macro, events, start / start.sum(axis=0), not information.macro)
    return beliefs.reshape(len(beliefs), -1)
