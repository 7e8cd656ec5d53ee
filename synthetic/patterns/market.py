"""Long markets with chart patterns planted in them; what is planted where stands beside the bars, never in them.

The log-return of bar `t`, with `sigma[t]` its deviation (background, and a slow log-normal level that knows nothing of
patterns) and `e` Student-t noise of unit variance:

    background   r = drift sigma - pull (log price - anchor) + sigma e
    pattern      r = d - PULL x + unrest sqrt(max(sigma**2 - d**2, (FLOOR sigma)**2)) e

where `d` is the step of the pattern's eased skeleton and `x` how far the price is from the skeleton. The skeleton
starts level, at the price, and ends level; noise gives way to the skeleton's steps. So the returns of a pattern's
borders are distributed as those around them, and nothing jumps there. Shape legend: `T` bars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, follow_rule, lines_of, target_price
from synthetic.patterns.planting import BACKGROUND_STATES, BACKGROUNDS, Floats, Planted, eased, plan
from synthetic.patterns.shapes import SHAPES
from synthetic.regimes.chain_task import WARMUP_DAYS
from synthetic.regimes.origin import Origin
from synthetic.regimes.sample import START, first_price, price_bars
from synthetic.regimes.tasks import seeds_of

PATTERN_TASK: Final = "patterns"
"""The task's name in the origin of a pattern market, and of its seed families."""

_STRENGTH: Final = 0.2  # mean share of a pattern's variance that its skeleton has
_PULL: Final = 0.12
_FLOOR: Final = 0.3
_DEGREES: Final = 7
_LEVEL_MEMORY, _LEVEL_SPREAD = 0.98, 0.25  # of the logarithm of sigma
_STATE_RATE: Final = 1 / 24  # how fast sigma goes over to that of the background
_WICK: Final = 0.4
_VOLUME_MEMORY, _VOLUME_SPREAD = 0.7, 0.65


@dataclass(frozen=True)
class PatternSample:
    """One generated pattern market.

    Attributes:
        bars: (T,) rows of float64 `open high low close volume` on a UTC index named `timestamp`; each open is the
            previous close. The first `WARMUP_DAYS` days are warm-up. They carry their `origin`.
        truth: on the same index. `background`: int8, place in `BACKGROUNDS`. `pattern`: int8, place in `PATTERN_KINDS`
            within a planted pattern, else -1. `recognised`: the same from the pattern's confirmation on. `action`:
            int8, exposure (-1, 0, 1) to hold from the close of each bar: within a pattern flat until a close confirms
            it, then its side until a close beyond target or stop, or its end; in a trend the trend's side; else flat.
            `drift` = E[r_t | truth, past], `second_moment` = E[r_t**2 | truth, past], `volatility`: deviation of the
            bar's log-return `r_t` without drift.
        spans: a row for each pattern: `kind`, `start`, `confirmation`, `end` (bars from 0, inclusive; confirmation -1
            where no close confirmed it), `target` (price at which the rule takes its profit; NaN without confirmation
            or side), `height` (log distance of one height), `background` (name). Kinds without a side are confirmed by
            the turning point after which they can be told.
        seed: what it was drawn with.
        density: share of bars in patterns that was asked for.
        volatility: deviation of a bar's log-return that was asked for.
    """

    bars: pd.DataFrame
    truth: pd.DataFrame
    spans: pd.DataFrame
    seed: int
    density: float
    volatility: float

    @property
    def name(self) -> str:
        """What its market is called: task and seed."""
        return f"{PATTERN_TASK}-{self.seed}"

    @property
    def actions(self) -> NDArray[np.int8]:
        """(T,) int8: `truth["action"]`."""
        return self.truth["action"].to_numpy(np.int8)


class _Course(NamedTuple):
    """What the walk follows, (T,) each: `inside` is 1 within a pattern, 2 at its first bar, 0 around it."""

    inside: NDArray[np.int8]
    background: NDArray[np.int8]
    step: Floats
    unrest: Floats
    sigma: Floats
    noise: Floats


def pattern_market(
    days: int = 60, seed: int = 0, density: float = 0.5, volatility: float = 0.005, *, bar_minutes: int = 15
) -> PatternSample:
    """Draw one market: `WARMUP_DAYS` days of warm-up, then `days` tradable days. Same arguments, same bytes.

    Patterns last 96 to 288 bars; all twenty kinds are planted before one comes again, in trends, ranges, calm and wild
    stretches. Higher timeframes come from aggregation alone.

    Args:
        days: tradable days, at least 1. Some 30 patterns come in 60 of them and the warm-up.
        seed: any integer >= 0; `pattern_seeds` has families of them.
        density: share of bars that lie in patterns, in [0, 0.8]; 0 plants none.
        volatility: typical deviation of a bar's log-return, in (0, 0.1].
        bar_minutes: duration of a bar; a divisor of 1440.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """
    _check(days, seed, density, volatility, bar_minutes)
    length = (WARMUP_DAYS + days) * (1440 // bar_minutes)
    planning, drawing = (np.random.default_rng([seed, number]) for number in range(2))
    planted, backgrounds = plan(length, density, planning)
    price = first_price(drawing)
    level = _log_level(backgrounds, drawing.standard_normal(length))
    sigma = volatility * _exp(level)
    course, volume_factor, heights = _course(planted, backgrounds, sigma, drawing)
    returns, drift, spread = _walk(course, _background_numbers())
    upper, lower = (_WICK * sigma * drawing.standard_exponential(length) for _ in range(2))
    restless = _VOLUME_SPREAD * _autoregression(drawing.standard_normal(length), _VOLUME_MEMORY)
    activity = level + 0.15 * np.abs(course.noise) + restless + volume_factor
    index = pd.date_range(START, periods=length, freq=f"{bar_minutes}min", name="timestamp")
    bars = pd.DataFrame(
        price_bars(returns, upper, lower, activity, price), index, ["open", "high", "low", "close", "volume"]
    )
    Origin(PATTERN_TASK, int(seed)).mark(bars)
    told, spans = _told(planted, heights, backgrounds, bars)
    figures = {"drift": drift, "second_moment": drift**2 + spread**2, "volatility": spread}
    truth = pd.DataFrame({"background": backgrounds, **told, **figures}, index=index)
    return PatternSample(bars, truth, spans, seed, density, volatility)


def pattern_seeds(family: str, count: int) -> tuple[int, ...]:
    """The first `count` seeds of pattern markets of a family; disjoint as those of `task_seeds`.

    Raises:
        ValueError: the family or the count is not allowed.
    """
    return seeds_of(PATTERN_TASK, family, count)


def _check(days: int, seed: int, density: float, volatility: float, bar_minutes: int) -> None:
    if days < 1:
        raise ValueError(f"days is {days}: at least 1 tradable day is needed")
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be >= 0")
    if not 0 <= density <= 0.8:
        raise ValueError(f"density is {density!r}: it must lie in [0, 0.8]")
    if not 0 < volatility <= 0.1:
        raise ValueError(f"volatility is {volatility!r}: it must lie above 0 and not above 0.1")
    if bar_minutes < 1 or 1440 % bar_minutes:
        raise ValueError(f"bar_minutes is {bar_minutes}: it must divide a day, 1440 minutes")


def _course(
    planted: list[Planted], backgrounds: NDArray[np.int8], sigma: Floats, rng: np.random.Generator
) -> tuple[_Course, Floats, list[float]]:
    """What the walk follows, the patterns' addition to log volume, and their heights."""
    length = len(sigma)
    noise = rng.standard_t(_DEGREES, length) * math.sqrt((_DEGREES - 2.0) / _DEGREES)
    course = _Course(np.zeros(length, np.int8), backgrounds, np.zeros(length), np.ones(length), sigma, noise)
    volume = np.zeros(length)
    heights = []
    for one in planted:
        shape = SHAPES[one.kind]
        within = slice(one.start, one.end + 1)
        steps = np.diff(eased(one.places, np.array([level for _, level in shape.points])), prepend=shape.points[0][1])
        height = math.sqrt(_STRENGTH * float(np.mean(sigma[within] ** 2)) / float(np.mean(steps**2)))
        course.inside[within] = 1
        course.inside[one.start] = 2
        course.step[within] = height * steps
        if shape.unrest:
            course.unrest[within] = eased(one.places, np.array((1.0, *shape.unrest[1:-1], 1.0)))
        factors = np.array([0.0, *map(math.log, shape.volume[1:-1]), 0.0])  # at its borders as around it
        factors[1:-1] -= eased(one.places, factors).mean()  # and on average, nearly
        volume[within] = eased(one.places, factors)
        heights.append(height)
    return course, volume, heights


def _background_numbers() -> Floats:
    return np.array([(state.drift, state.pull) for state in BACKGROUND_STATES])


@njit(cache=True)
def _walk(course: _Course, states: Floats) -> tuple[Floats, Floats, Floats]:
    """Log-return of each bar, its mean and its deviation given the truth and the past, (T,) each."""
    length = course.sigma.shape[0]
    returns, drift, spread = np.empty(length), np.empty(length), np.empty(length)
    away = 0.0  # log distance from the skeleton, or from where the background began
    for t in range(length):
        sigma, state = course.sigma[t], course.background[t]
        if course.inside[t] > 0:
            if course.inside[t] == 2:
                away = 0.0
            step = course.step[t]
            drift[t] = step - _PULL * away
            spread[t] = course.unrest[t] * math.sqrt(max(sigma * sigma - step * step, _FLOOR * _FLOOR * sigma * sigma))
        else:
            if t == 0 or course.inside[t - 1] > 0 or course.background[t - 1] != state:
                away = 0.0
            step = 0.0
            drift[t] = states[state, 0] * sigma - states[state, 1] * away
            spread[t] = sigma
        returns[t] = drift[t] + spread[t] * course.noise[t]
        away += returns[t] - step
    return returns, drift, spread


def _log_level(backgrounds: NDArray[np.int8], draws: Floats) -> Floats:
    """(T,) logarithm of the factor on the volatility."""
    factors = [math.log(state.volatility) for state in BACKGROUND_STATES]
    slow = _LEVEL_SPREAD * _autoregression(draws, _LEVEL_MEMORY)
    at = factors[backgrounds[0]]
    out = np.empty(len(backgrounds))
    for t, state in enumerate(backgrounds.tolist()):
        at += _STATE_RATE * (factors[state] - at)
        out[t] = at
    return out + slow


def _autoregression(shocks: Floats, memory: float) -> Floats:
    """(T,) stationary AR(1) of unit deviation."""
    fresh = math.sqrt(1.0 - memory * memory)
    values, value = np.empty(len(shocks)), 0.0
    for t, shock in enumerate(shocks.tolist()):
        value = memory * value + fresh * shock if t else shock
        values[t] = value
    return values


def _exp(values: Floats) -> Floats:
    """As `np.exp`, with the bits of `math.exp`."""
    return np.array([math.exp(value) for value in values.tolist()])


def _told(
    planted: list[Planted], heights: list[float], backgrounds: NDArray[np.int8], bars: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The truth's columns that patterns decide, and the spans."""
    drifts = np.array([state.drift for state in BACKGROUND_STATES])
    action = np.sign(drifts[backgrounds]).astype(np.int8)
    pattern, recognised = (np.full(len(bars), -1, np.int8) for _ in range(2))
    rows = []
    for one, height in zip(planted, heights, strict=True):
        shape, within = SHAPES[one.kind], slice(one.start, one.end + 1)
        own = bars.iloc[within]
        places = one.places - one.start
        at_zero = float(own["open"].iloc[0]) * math.exp(-height * shape.points[0][1])
        params = PatternParams(length=len(own), duration=len(own), height=height, price=at_zero)
        lines = lines_of(shape, places, params)
        action[within], found = follow_rule(shape.rule, own, lines, places, height)
        target = math.nan
        if shape.rule is None:
            found = int(places[shape.evident])
        elif found >= 0:
            target = target_price(shape.rule, lines, found, height)
        confirmation = one.start + found if found >= 0 else -1
        pattern[within] = PATTERN_KINDS.index(one.kind)
        if found >= 0:
            recognised[confirmation : one.end + 1] = PATTERN_KINDS.index(one.kind)
        rows.append((one.kind, one.start, confirmation, one.end, target, height, BACKGROUNDS[one.background]))
    names = ["kind", "start", "confirmation", "end", "target", "height", "background"]
    spans = pd.DataFrame(rows, columns=names).astype(
        {"start": int, "confirmation": int, "end": int, "target": float, "height": float}
    )
    return {"pattern": pattern, "recognised": recognised, "action": action}, spans
