"""Where a pattern market's patterns and backgrounds lie, before any price is drawn. Shape legend: `T` bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, place_points
from synthetic.patterns.shapes import SHAPES

Floats = NDArray[np.float64]


class Background(NamedTuple):
    """What the bars around the patterns do.

    Attributes:
        name: of it.
        drift: mean log-return of a bar, in units of its deviation.
        pull: share of the distance to where it began that a bar takes back.
        volatility: factor on the deviation of a bar.
    """

    name: str
    drift: float
    pull: float
    volatility: float


BACKGROUND_STATES: Final = (
    Background("trend_up", 0.08, 0.0, 1.0),
    Background("trend_down", -0.08, 0.0, 1.0),
    Background("range", 0.0, 0.06, 0.9),
    Background("calm", 0.0, 0.0, 0.55),
    Background("wild", 0.0, 0.0, 1.8),
)
BACKGROUNDS: Final = tuple(state.name for state in BACKGROUND_STATES)

SHORTEST, LONGEST = 96, 288
"""Bars of a planted pattern: log-uniform between them, whole ends included."""
_MEAN_DURATION: Final = (LONGEST - SHORTEST) / math.log(LONGEST / SHORTEST)
_LEAST_GAP: Final = 8
_SOJOURN: Final = 250.0  # mean bars of a background; the bars of patterns within it do not count
_VARIATION: Final = 0.3  # of the legs' lengths


@dataclass(frozen=True)
class Planted:
    """One pattern of a market.

    Attributes:
        kind: of `PATTERN_KINDS`.
        places: (P,) int64, bars of its turning points, the first and the last of its bars among them.
        background: place in `BACKGROUNDS` of the one that it stands in.
    """

    kind: str
    places: NDArray[np.int64]
    background: int

    @property
    def start(self) -> int:
        """First bar."""
        return int(self.places[0])

    @property
    def end(self) -> int:
        """Last bar."""
        return int(self.places[-1])


def plan(length: int, density: float, rng: np.random.Generator) -> tuple[list[Planted], NDArray[np.int8]]:
    """Patterns one after another with gaps between them, and the background (T,) of each bar.

    Kinds are dealt from shuffled decks of all twenty, so none comes again before the rest did. A pattern stands wholly
    within one background.

    Args:
        length: bars `T`.
        density: share of bars that lie in a pattern, about; in [0, 0.8].
        rng: the only source of randomness.
    """
    backgrounds = np.empty(length, np.int8)
    planted: list[Planted] = []
    deck: list[int] = []
    state, left = int(rng.integers(len(BACKGROUNDS))), int(rng.geometric(1.0 / _SOJOURN))
    bar = 0
    while bar < length:
        gap = _gap(density, rng) if density > 0 else length
        until = min(bar + gap, length)
        while bar < until:
            if left == 0:
                state = (state + 1 + int(rng.integers(len(BACKGROUNDS) - 1))) % len(BACKGROUNDS)
                left = int(rng.geometric(1.0 / _SOJOURN))
            stay = min(left, until - bar)
            backgrounds[bar : bar + stay] = state
            bar, left = bar + stay, left - stay
        deck = deck or rng.permutation(len(PATTERN_KINDS)).tolist()
        duration = round(SHORTEST * math.exp(rng.random() * math.log(LONGEST / SHORTEST)))
        if bar + duration >= length:  # a border has a bar on either side
            backgrounds[bar:] = state
            break
        kind = PATTERN_KINDS[deck.pop()]
        params = PatternParams(length=duration, duration=duration, variation=_VARIATION)
        planted.append(Planted(kind, bar + place_points(SHAPES[kind], params, rng), state))
        backgrounds[bar : bar + duration] = state
        bar += duration
    return planted, backgrounds


def _gap(density: float, rng: np.random.Generator) -> int:
    """Bars between two patterns: at least `_LEAST_GAP`, geometric beyond."""
    mean = _MEAN_DURATION * (1.0 - density) / density
    return _LEAST_GAP + int(rng.geometric(1.0 / max(mean - _LEAST_GAP, 1.0)))


def eased(places: NDArray[np.int64], values: Floats) -> Floats:
    """`values` (P,) at every bar from the first place to the last, (n,): half a cosine from each to the next."""
    bars = np.arange(places[0], places[-1] + 1)
    leg = np.clip(np.searchsorted(places, bars, side="right") - 1, 0, len(places) - 2)
    way = (bars - places[leg]) / (places[leg + 1] - places[leg])
    bend = np.array([0.5 - 0.5 * math.cos(math.pi * share) for share in way.tolist()])
    return np.asarray(values[leg] + bend * (values[leg + 1] - values[leg]))
