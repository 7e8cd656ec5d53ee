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

GATHERING_MEDIAN, GATHERING_SPREAD, GATHERING_LEAST = 60.0, 0.5, 10  #: bars before a pump in which insiders gather
RISE_MEDIAN, RISE_SPREAD = 6.0, 1.2  #: bars of a pump until the dump
STRENGTH_MEDIAN, STRENGTH_SPREAD = 0.5, 1.0  #: log-odds of a buy while it rises
DUMP = 1.5  #: log-odds of a sale when it falls


@dataclass(frozen=True)
class EventCounts:
    """How many events of each kind a token has; each at least 0.

    Attributes:
        pump_and_dump: insiders gather quietly, then buy in the open, then sell into the crowd; the crowd follows out.
            How far the price goes is as uneven as with young tokens: many pumps are sold into at once.
        news_shock: the fair value jumps up or down and trades multiply, then die away.
        sentiment_drift: many bars of a slight surplus of buys, or of sells.
        volume_spike: one bar of many large trades, without a side.
        volume_cluster: activity that excites itself: a parent spike, and children that die away.
        liquidity_withdrawal: providers take a part of both reserves out, and bring it back at the end.
        trading_burst: bots make many small trades for a few bars.
        accumulation: insiders gather as before a pump, and no pump comes.

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
    accumulation: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}: a number of events must be >= 0")

    def times(self, factor: int) -> EventCounts:
        """Every count so many times."""
        return EventCounts(**{one.name: factor * getattr(self, one.name) for one in fields(self)})


class Forces(NamedTuple):
    """What the events add up to, (T,) each: see `Flow`. `activity` is a factor on the rate of trades; `gathering` is 1
    where insiders gather before a pump, or before nothing, else 0."""

    activity: Floats
    size: Floats
    pressure: Floats
    log_value: Floats
    liquidity: Floats
    gathering: Floats

    @classmethod
    def none(cls, length: int) -> Forces:
        """Where nothing happens."""
        one, zero = np.ones, np.zeros
        return cls(one(length), one(length), zero(length), zero(length), one(length), zero(length))


class PlannedEvent(NamedTuple):
    """An event before its effect is known: first and last bar, the bar of its greatest force, and the bars before the
    first in which insiders gather (0 but for pumps)."""

    kind: str
    first: int
    peak: int
    last: int
    gathering: int = 0


def _lasting(rng: np.random.Generator, median: float, spread: float, least: int) -> int:
    """A log-normal number of bars."""
    return max(least, round(median * math.exp(spread * rng.standard_normal())))


def gathering_bars(rng: np.random.Generator) -> int:
    """How long insiders gather, with or without a pump to follow: who sees them cannot tell which it will be."""
    return _lasting(rng, GATHERING_MEDIAN, GATHERING_SPREAD, GATHERING_LEAST)


def _gather(forces: Forces, first: int, stop: int, rng: np.random.Generator) -> None:
    """Many small buys that hardly move the price."""
    over = slice(max(0, first), stop)
    forces.activity[over] *= 1.5 + 0.5 * rng.random()
    forces.size[over] *= 0.5
    forces.pressure[over] += 0.4 + 0.4 * rng.random()
    forces.gathering[over] = 1.0


def _accumulation(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    bars = gathering_bars(rng)
    _gather(forces, first, first + bars, rng)
    return first + bars - 1, first + bars - 1


def _pump_and_dump(forces: Forces, first: int, rng: np.random.Generator) -> tuple[int, int]:
    _gather(forces, first - gathering_bars(rng), first, rng)
    rise, fall = _lasting(rng, RISE_MEDIAN, RISE_SPREAD, 1), _lasting(rng, 20, 0.6, 6)
    strength = STRENGTH_MEDIAN * math.exp(STRENGTH_SPREAD * rng.standard_normal())
    up = slice(first, first + rise)
    forces.activity[up] *= 2.0 + 3.0 * rng.random()
    forces.pressure[up] += strength
    down = slice(first + rise, first + rise + fall)
    fading = np.exp(-np.arange(fall) / (0.35 * fall))[: len(forces.size[down])]
    forces.activity[down] *= 1.0 + 5.0 * fading
    forces.pressure[down] -= DUMP * (0.5 + fading)
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
    "accumulation": _accumulation,
}

EVENT_KINDS: Final = tuple(_ACTS)


def plan_events(
    counts: EventCounts,
    length: int,
    rng: np.random.Generator,
    *,
    until: int | None = None,
    earliest: int | None = None,
    latest: int | None = None,
) -> tuple[Forces, list[PlannedEvent]]:
    """Place the events of one token at random, and add their forces up. An event at the end is cut there.

    Args:
        counts: how many of each kind.
        length: bars `T`.
        rng: of the token.
        until: leave out the events that begin after this bar (the gathering before a pump is a part of it); what is
            drawn is the same.
        earliest, latest: events have their first bar from `earliest` (`length // 20`) until before `latest` (`length`).

    Returns:
        The forces, and the events by first bar.
    """
    forces = Forces.none(length)
    planned = []
    for kind, act in _ACTS.items():
        for _ in range(getattr(counts, kind)):
            lowest, highest = length // 20 if earliest is None else earliest, length if latest is None else latest
            first = int(rng.integers(lowest, highest))
            begins = max(0, _begins(kind, first, rng))
            if until is not None and begins > until:
                act(Forces.none(length), first, rng)
                continue
            peak, last = act(forces, first, rng)
            planned.append(PlannedEvent(kind, first, min(peak, length - 1), min(last, length - 1), first - begins))
    return forces, sorted(planned, key=lambda event: (event.first, event.kind))


def _begins(kind: str, first: int, rng: np.random.Generator) -> int:
    """The bar that an event begins to act at; `rng` stays where it is."""
    if kind != "pump_and_dump":
        return first
    ahead = np.random.Generator(type(rng.bit_generator)())
    ahead.bit_generator.state = rng.bit_generator.state
    return first - gathering_bars(ahead)
