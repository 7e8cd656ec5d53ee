"""What happens to a token: pumps, news, moods, spikes, clusters, bursts and withdrawals, as forces on its order flow.

An event changes, over its bars, the number of trades, their size, the log-odds of a buy, the fair value, or the pool's
liquidity. Shape legend: `T` bars.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class EventCounts:
    """How many events of each kind a token has; each at least 0.

    Attributes:
        pump_and_dump: insiders buy for `rise` bars, then sell into the crowd; the crowd follows out.
        news_shock: the fair value jumps up or down and trades multiply, then die away.
        sentiment_drift: many bars of a slight surplus of buys, or of sells.
        volume_spike: one bar of many large trades, without a side.
        volume_cluster: activity that excites itself: a parent spike, and children that die away.
        liquidity_withdrawal: providers take a part of both reserves out, and bring it back at the end.
        trading_burst: bots make many small trades for a few bars.

    Raises:
        ValueError: a count is negative.
    """

    pump_and_dump: int = 1
    news_shock: int = 1
    sentiment_drift: int = 1
    volume_spike: int = 2
    volume_cluster: int = 1
    liquidity_withdrawal: int = 1
    trading_burst: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}: a number of events must be >= 0")

    def times(self, factor: int) -> EventCounts:
        """Every count so many times."""
        return EventCounts(**{one.name: factor * getattr(self, one.name) for one in fields(self)})


class Forces(NamedTuple):
    """What the events add up to, (T,) each: see `Flow`. `activity` is a factor on the rate of trades."""

    activity: Floats
    size: Floats
    pressure: Floats
    log_value: Floats
    liquidity: Floats


class PlannedEvent(NamedTuple):
    """An event before its effect is known: first and last bar, and the bar of its greatest force."""

    kind: str
    first: int
    peak: int
    last: int


def _lasting(rng: np.random.Generator, median: float, spread: float, least: int) -> int:
    """A log-normal number of bars."""
    return max(least, round(median * math.exp(spread * rng.standard_normal())))


def _pump_and_dump(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    rise, fall = _lasting(rng, 14, 0.8, 2), _lasting(rng, 20, 0.6, 6)
    strength = 0.6 + 1.5 * rng.random()
    up = slice(first, first + rise)
    forces.activity[up] *= 3.0 + 4.0 * rng.random()
    forces.pressure[up] += strength
    down = slice(first + rise, first + rise + fall)
    fading = np.exp(-np.arange(fall) / (0.35 * fall))[: len(forces.size[down])]
    forces.activity[down] *= 1.0 + 5.0 * fading
    forces.pressure[down] -= strength * (0.5 + fading)
    dump = slice(first + rise, first + rise + max(1, round(0.15 * fall)))
    forces.size[dump] *= 1.0 + 2.0 * rng.random()
    return first + rise - 1, first + rise + fall - 1


def _news_shock(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = _lasting(rng, 25, 0.4, 5)
    jump = (0.4 + 0.5 * rng.random()) * (1.0 if rng.random() < 0.5 else -1.0)
    over = slice(first, first + bars)
    fading = np.exp(-np.arange(bars) / (0.3 * bars))[: len(forces.size[over])]
    forces.log_value[first:] += jump
    forces.pressure[over] += 2.0 * math.copysign(1.0, jump) * fading
    forces.activity[over] *= 1.0 + 6.0 * fading
    return first, first + bars - 1


def _sentiment_drift(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = _lasting(rng, 200, 0.4, 40)
    side = 1.0 if rng.random() < 0.5 else -1.0
    over = slice(first, first + bars)
    arc = np.sin(np.pi * (np.arange(bars) + 0.5) / bars)
    forces.pressure[over] += side * (0.25 + 0.2 * rng.random()) * arc[: len(forces.size[over])]
    return first + bars // 2, first + bars - 1


def _volume_spike(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    forces.activity[first] *= 6.0 + 6.0 * rng.random()
    forces.size[first] *= 1.5
    return first, first


def _volume_cluster(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = _lasting(rng, 60, 0.3, 12)
    excitement = 3.0
    excited = np.zeros(bars)
    for t in range(bars):  # a branching process in steps (Hawkes 1971): a child raises the rate of the next
        excited[t] = excitement
        excitement = 0.85 * excitement + 0.6 * rng.poisson(0.2 * excitement)
    over = slice(first, first + bars)
    forces.activity[over] *= 1.0 + excited[: len(forces.size[over])]
    return first + int(excited.argmax()), first + bars - 1


def _liquidity_withdrawal(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = _lasting(rng, 120, 0.4, 20)
    left = 0.25 + 0.35 * rng.random()
    forces.liquidity[first] *= left
    if first + bars < len(forces.liquidity):
        forces.liquidity[first + bars] /= left
    return first, first + bars - 1


def _trading_burst(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = _lasting(rng, 8, 0.4, 3)
    over = slice(first, first + bars)
    forces.activity[over] *= 10.0
    forces.size[over] *= 0.15
    return first + bars // 2, first + bars - 1


_ACTS: Final[dict[str, Callable[[Forces, int, np.random.Generator], tuple[int, int]]]] = {
    "pump_and_dump": _pump_and_dump,
    "news_shock": _news_shock,
    "sentiment_drift": _sentiment_drift,
    "volume_spike": _volume_spike,
    "volume_cluster": _volume_cluster,
    "liquidity_withdrawal": _liquidity_withdrawal,
    "trading_burst": _trading_burst,
}

EVENT_KINDS: Final = tuple(_ACTS)


def plan_events(counts: EventCounts, length: int, rng: np.random.Generator) -> tuple[Forces, list[PlannedEvent]]:
    """Place the events of one token at random, and add their forces up. An event at the end is cut there.

    Args:
        counts: how many of each kind.
        length: bars `T`.
        rng: of the token.

    Returns:
        The forces, and the events by first bar.
    """
    forces = Forces(np.ones(length), np.ones(length), np.zeros(length), np.zeros(length), np.ones(length))
    planned = []
    for kind, act in _ACTS.items():
        for _ in range(getattr(counts, kind)):
            first = int(rng.integers(length // 20, length))
            peak, last = act(forces, first, rng)
            planned.append(PlannedEvent(kind, first, min(peak, length - 1), min(last, length - 1)))
    return forces, sorted(planned, key=lambda event: (event.first, event.kind))
