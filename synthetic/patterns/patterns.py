"""Chart patterns with their truth: where each part is, its lines, and what one who waits for confirmation does.

Shape legend: `T` bars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthetic.patterns.shapes import SHAPES, PatternShape, RuleShape

START: Final = pd.Timestamp("2020-01-01", tz="UTC")

PATTERN_KINDS: Final = tuple(SHAPES)

_NOISE_MEMORY: Final = 0.7
_VOLUME_NOISE: Final = 0.25
_BARS_PER_LEG: Final = 4


@dataclass(frozen=True)
class PatternParams:
    """Size and place of a pattern in its series.

    Attributes:
        length: bars `T` of the series.
        duration: bars of the pattern, its prior trend and the move after it included; at most `length`, and at least
            4 for each leg. It starts at a random bar; around it prices wander.
        height: log distance of one height of the pattern, above 0.
        variation: how much legs differ in time from the textbook, in [0, 1): 0 is the textbook.
        price: around which prices lie, above 0.
        volume: of a usual bar, in base units, above 0.
        bar_minutes: duration of a bar, at least 1.

    Raises:
        ValueError: a field is out of range, or the pattern is longer than the series.
    """

    length: int = 160
    duration: int = 140
    height: float = 0.08
    variation: float = 0.2
    price: float = 100.0
    volume: float = 1000.0
    bar_minutes: int = 15

    def __post_init__(self) -> None:
        for name in ("height", "price", "volume"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}: it must be finite and above 0")
        if not 0 <= self.variation < 1:
            raise ValueError(f"variation is {self.variation!r}: it must lie in [0, 1)")
        if self.bar_minutes < 1:
            raise ValueError(f"bar_minutes is {self.bar_minutes}: it must be at least 1")
        if self.duration < 1:
            raise ValueError(f"duration is {self.duration}: it must be at least 1 bar")
        if self.duration > self.length:
            raise ValueError(f"duration {self.duration} is longer than the series: length is {self.length} bars")


@dataclass(frozen=True)
class PatternTruth:
    """What is in the bars.

    Attributes:
        kind: which pattern.
        spans: a row for each part: `part`, `first`, `last` (bars, inclusive); the first row, "pattern", is all of it.
        lines: a row for each line: `line`, `first`, `last` (bars), `first_price`, `last_price`; straight in log price.
        actions: (T,) int8, the exposure (-1, 0, 1) to hold from the close of each bar: flat until a close confirms the
            pattern, then its side until a close beyond the target or the stop. Causal, given the lines, which its
            turning points have settled before it can be confirmed.
        confirmed: bar whose close confirms it; -1 where there is nothing to confirm or none did.
        turning_points: int64, bars of the skeleton's turning points, strictly increasing.
    """

    kind: str
    spans: pd.DataFrame
    lines: pd.DataFrame
    actions: NDArray[np.int8]
    confirmed: int
    turning_points: NDArray[np.int64]


def generate_pattern(
    kind: str, params: PatternParams, noise: float, rng: np.random.Generator
) -> tuple[pd.DataFrame, PatternTruth]:
    """Draw one pattern. Same arguments, same bytes.

    Args:
        kind: one of `PATTERN_KINDS`.
        params: its size and place.
        noise: stationary deviation of the AR(1) noise around the skeleton, in heights; at least 0. 0.05 is a clear
            pattern, 0.3 drowns it.
        rng: the only source of randomness.

    Returns:
        Bars, (T,) rows of float64 `open high low close volume` on a UTC index named `timestamp`, each open the previous
        close; and the truth.

    Raises:
        ValueError: the kind is unknown, `noise` is negative, or the duration has not 4 bars for each leg.
    """
    if kind not in SHAPES:
        raise ValueError(f"kind is {kind!r}: allowed are {', '.join(PATTERN_KINDS)}")
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise is {noise!r}: it must be finite and >= 0")
    shape = SHAPES[kind]
    least = _BARS_PER_LEG * (len(shape.points) - 1)
    if params.duration < least:
        raise ValueError(f"duration is {params.duration}: {kind} needs at least {least} bars")
    places = place_points(shape, params, rng)
    levels = np.interp(np.arange(params.length), places, [level for _, level in shape.points])
    levels += _wander(places, noise, params.length, rng)
    levels += _unrest(shape, places, params.length) * noise * _autoregression(rng, params.length)
    bars = _bars(levels, _volume_factor(shape, places, params.length), params, noise, rng)
    lines = lines_of(shape, places, params)
    actions, confirmed = follow_rule(shape.rule, bars, lines, places, params.height)
    return bars, PatternTruth(kind, _spans(shape, places), lines, actions, confirmed, places)


def place_points(shape: PatternShape, params: PatternParams, rng: np.random.Generator) -> NDArray[np.int64]:
    """(P,) int64: bars of a shape's turning points, increasing; legs are shortened and lengthened at random."""
    legs = np.diff([time for time, _ in shape.points])
    legs = legs * (1.0 + params.variation * (2.0 * rng.random(len(legs)) - 1.0))
    spare = params.duration - 1 - 2 * len(legs)  # no leg is shorter than 2 bars
    ends = np.round(np.append(0.0, np.cumsum(legs)) / legs.sum() * spare).astype(np.int64)
    first = int(rng.integers(params.length - params.duration + 1))
    return first + ends + 2 * np.arange(len(ends))


def _wander(places: NDArray[np.int64], noise: float, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(T,) a random walk before and after the pattern, 0 within it."""
    steps = 0.5 * noise * rng.standard_normal(length)
    walk = np.zeros(length)
    first, last = places[0], places[-1]
    walk[:first] = np.cumsum(steps[:first])[::-1]
    walk[last + 1 :] = np.cumsum(steps[last + 1 :])
    return walk


def _autoregression(rng: np.random.Generator, length: int) -> NDArray[np.float64]:
    """(T,) stationary AR(1) of unit deviation."""
    values = rng.standard_normal(length)
    for t in range(1, length):
        values[t] = _NOISE_MEMORY * values[t - 1] + math.sqrt(1.0 - _NOISE_MEMORY**2) * values[t]
    return values


def _unrest(shape: PatternShape, places: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """(T,) factor on the noise."""
    return np.interp(np.arange(length), places, shape.unrest or np.ones(len(places)))


def _volume_factor(shape: PatternShape, places: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """(T,) factor on the volume: that of the shape within the pattern, 1 around it."""
    around = [places[0] - 1, *places, places[-1] + 1]
    return np.interp(np.arange(length), around, [1.0, *shape.volume, 1.0])


def _bars(
    levels: NDArray[np.float64],
    volume_factor: NDArray[np.float64],
    params: PatternParams,
    noise: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    length = params.length
    close = np.array([params.price * math.exp(params.height * level) for level in levels])
    opening = np.append(close[:1], close[:-1])
    wicks = 0.5 * noise * params.height * rng.standard_exponential((2, length))
    volume_noise = _VOLUME_NOISE * rng.standard_normal(length)
    columns = {
        "open": opening,
        "high": np.maximum(opening, close) * [math.exp(wick) for wick in wicks[0]],
        "low": np.minimum(opening, close) * [math.exp(-wick) for wick in wicks[1]],
        "close": close,
        "volume": params.volume * volume_factor * [math.exp(draw) for draw in volume_noise],
    }
    index = pd.date_range(START, periods=length, freq=f"{params.bar_minutes}min", name="timestamp")
    return pd.DataFrame(columns, index=index)


def _spans(shape: PatternShape, places: NDArray[np.int64]) -> pd.DataFrame:
    rows = [("pattern", places[0], places[-1]), *((name, places[a], places[b]) for name, a, b in shape.parts)]
    return pd.DataFrame(rows, columns=["part", "first", "last"]).astype({"first": int, "last": int})


def lines_of(shape: PatternShape, places: NDArray[np.int64], params: PatternParams) -> pd.DataFrame:
    """The lines of a pattern with points at `places` (P,), as in `PatternTruth`; one through one point is level."""
    rows = []
    for line in shape.lines:
        first, second, last = (int(places[point]) for point in (line.first, line.second, line.end))
        low, high = shape.points[line.first][1], shape.points[line.second][1]
        slope = (high - low) / (second - first) if second > first else 0.0
        prices = [params.price * math.exp(params.height * level) for level in (low, low + slope * (last - first))]
        rows.append((line.name, first, last, *prices))
    frame = pd.DataFrame(rows, columns=["line", "first", "last", "first_price", "last_price"])
    return frame.astype({"first": int, "last": int, "first_price": float, "last_price": float})


def follow_rule(
    rule: RuleShape | None, bars: pd.DataFrame, lines: pd.DataFrame, places: NDArray[np.int64], height: float
) -> tuple[NDArray[np.int8], int]:
    """Actions (T,) and the confirming bar (-1 without) of one who knows the lines and sees one close after another.

    Args:
        rule: what to do; None: nothing.
        bars: with `close`.
        lines: as in `PatternTruth`.
        places: bars of the turning points.
        height: log distance of one height.
    """
    actions = np.zeros(len(bars), dtype=np.int8)
    if rule is None:
        return actions, -1
    first, start, slope = _rule_line(rule, lines)
    closes = bars["close"].to_numpy(np.float64)
    confirmed = -1
    target = math.inf
    for t in range(int(places[rule.armed]), len(bars)):
        log_close = math.log(closes[t])
        beyond = rule.side * (log_close - (start + slope * (t - first))) / height
        if confirmed < 0 and beyond > rule.offset:
            confirmed = t
            target = rule.side * log_close / height + rule.target - beyond
        if confirmed >= 0:
            if rule.side * log_close / height >= target or beyond < -rule.stop:
                break
            actions[t] = rule.side
    return actions, confirmed


def target_price(rule: RuleShape, lines: pd.DataFrame, confirmed: int, height: float) -> float:
    """Price at which `follow_rule` takes its profit, for the bar that confirms."""
    first, start, slope = _rule_line(rule, lines)
    return math.exp(start + slope * (confirmed - first) + rule.side * rule.target * height)


def _rule_line(rule: RuleShape, lines: pd.DataFrame) -> tuple[int, float, float]:
    """First bar of the rule's line, its log price there, and the slope in log price per bar."""
    line = next(row for row in lines.to_dict("records") if row["line"] == rule.line)
    start, slope = math.log(line["first_price"]), 0.0
    if line["last"] > line["first"]:
        slope = (math.log(line["last_price"]) - start) / (line["last"] - line["first"])
    return line["first"], start, slope
