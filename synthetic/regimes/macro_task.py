"""What a two-level regime market is made of: a slow macro chain, and a fast chain whose exits it decides.

The hidden state is a pair (macro, fast): the macro state moves first, then the fast one by the new macro state's
matrix. Everything else that moves the market (three variance averages, two volume averages, an anchor, the last shock)
is a recursion on observed bars, except for the volatility level, a slow latent AR(1).
Shape legend: `M` macro states, `F` fast states, `K = M F` joint states (macro-major).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synthetic.regimes.markov import (
    above,
    at_least,
    check_duration,
    check_exits,
    finite_row,
    stationary_distribution,
    transition_matrix,
)

Row: TypeAlias = tuple[float, ...]
Table: TypeAlias = tuple[Row, ...]
Floats: TypeAlias = NDArray[np.float64]

_STATE_TABLES: Final = (
    "drift",
    "volatility",
    "log_volume",
    "signed_volume",
    "wick_tilt",
    "anchor_pull",
    "durations",
)


@dataclass(frozen=True)
class VarianceAverages:
    """Variance as a sum of moving averages of squared shocks, in the manner of HARCH (Mueller et al. 1997).

    `H[i] += rates[i] * (min(q, shock_bound) - H[i])` with `q` the squared shock before the variance is applied, and
    `h = clip(constant + weights . H, floor, ceiling)`. The second average is also the anchor's unit.
    """

    rates: Row = (0.4, 1 / 40, 1 / 800)
    weights: Row = (0.36, 0.10, 0.42)
    constant: float = 0.03
    shock_bound: float = 40.0
    floor: float = 0.1
    ceiling: float = 15.0

    def __post_init__(self) -> None:
        _check_averages("VarianceAverages", self.rates, self.weights, 3)
        for name in ("constant", "shock_bound"):
            at_least("VarianceAverages." + name, getattr(self, name), 0.0)
        if not 0 < self.floor < self.ceiling < math.inf:
            raise ValueError(
                f"VarianceAverages.floor is {self.floor} and .ceiling {self.ceiling}: 0 < floor < ceiling must hold"
            )


@dataclass(frozen=True)
class VolumeLaw:
    """Log volume around what is known of a bar: its variance, hour and size, and two averages of volume before it.

    Attributes:
        noise: standard deviation of what is left.
        on_variance: weight of the log variance, level included.
        on_season: weight of the log of the daily season.
        on_move: weight of `min(|x|, 4) - 0.75`, `x` the move in units of its scale.
        rates: of the two averages.
        weights: of the two averages.
    """

    noise: float = 0.40
    on_variance: float = 0.5
    on_season: float = 1.5
    on_move: float = 0.25
    rates: Row = (1 / 4, 1 / 150)
    weights: Row = (0.40, 0.45)

    def __post_init__(self) -> None:
        above("VolumeLaw.noise", self.noise, 0.0)
        for name in ("on_variance", "on_season", "on_move"):
            at_least("VolumeLaw." + name, getattr(self, name), 0.0)
        _check_averages("VolumeLaw", self.rates, self.weights, 2)


@dataclass(frozen=True)
class MacroTask:
    """Parameters of one two-level regime market; hashable, checked on construction.

    Attributes:
        name: label of the task; part of its seeds.
        macros: `M` names of the slow states.
        events: `F` names of the fast states.
        macro_durations: (M,) mean length in bars, at least 1.
        macro_exits: (M, M) probability of each next macro state once one ends; rows sum to 1.
        exits: (M, F, F) probability of each next fast state once one ends; rows sum to 1.
        durations: (M, F) mean length of a fast state in bars, at least 1.
        drift: (M, F) mean of a bar in units of its scale, before `signal_to_noise`.
        volatility: (M, F) standard deviation of a bar in units of its scale, positive.
        log_volume: (M, F) shift of the log of traded volume.
        signed_volume: (M, F) log volume per unit of the bar's move, bounded at two units.
        wick_tilt: (M, F) share by which lower wicks are longer and upper ones shorter, between -1 and 1.
        anchor_pull: (M, F) pull of the price towards its anchor, in units of scale per unit of distance.
        signal_to_noise: factor on every drift.
        sigma: base scale of a bar's log-return.
        degrees_of_freedom: of the Student-t noise, an odd integer from 3 on.
        wick: mean length of a wick beyond the body, in units of the bar's scale.
        bounce: share of the last shock that the next return takes back: `r[t] = u[t] - bounce * u[t-1]`.
        season: amplitude of the daily season of the log scale.
        level_spread: standard deviation of the latent log volatility level; 0 makes everything observable.
        level_memory: its time constant in bars, above 1.
        anchor_rate: of the moving average of log prices that is the anchor.
        variance: the recursion that moves the variance.
        volume: how volume follows.

    Raises:
        ValueError: a parameter has the wrong shape or lies outside its range; the message names it.
    """

    name: str
    macros: tuple[str, ...]
    events: tuple[str, ...]
    macro_durations: Row
    macro_exits: Table
    exits: tuple[Table, ...]
    durations: Table
    drift: Table
    volatility: Table
    log_volume: Table
    signed_volume: Table
    wick_tilt: Table
    anchor_pull: Table
    signal_to_noise: float = 1.0
    sigma: float = 0.006
    degrees_of_freedom: int = 5
    wick: float = 0.40
    bounce: float = 0.04
    season: float = 0.20
    level_spread: float = 0.30
    level_memory: float = 800.0
    anchor_rate: float = 1 / 48
    variance: VarianceAverages = field(default_factory=VarianceAverages)
    volume: VolumeLaw = field(default_factory=VolumeLaw)

    def __post_init__(self) -> None:
        macros, events = len(self.macros), len(self.events)
        if not (macros >= 1 and events >= 1 and macros * events <= 127):
            raise ValueError(f"there are {macros} macros and {events} events: 1 to 127 pairs of them are allowed")
        object.__setattr__(self, "macro_durations", finite_row("macro_durations", self.macro_durations, macros))
        object.__setattr__(self, "macro_exits", _table("macro_exits", self.macro_exits, self.macros, macros))
        for name in _STATE_TABLES:
            object.__setattr__(self, name, _table(name, getattr(self, name), self.macros, events))
        if len(self.exits) != macros:
            raise ValueError(f"exits has {len(self.exits)} tables: there must be one per macro state, {macros}")
        tables = tuple(
            _table(f"exits[{macro}]", table, self.events, events)
            for macro, table in zip(self.macros, self.exits, strict=True)
        )
        object.__setattr__(self, "exits", tables)
        self._check_states()
        self._check_numbers()

    def _check_states(self) -> None:
        for m, macro in enumerate(self.macros):
            check_duration(f"macro state {macro!r}", self.macro_durations[m])
            check_exits(f"macro state {macro!r}", self.macro_exits[m])
            for f, event in enumerate(self.events):
                state = f"{macro}/{event}"
                check_duration(f"regime {state!r}", self.durations[m][f])
                check_exits(f"regime {state!r}", self.exits[m][f])
                above(f"volatility of regime {state!r}", self.volatility[m][f], 0.0)
                at_least(f"anchor_pull of regime {state!r}", self.anchor_pull[m][f], 0.0)
                if not abs(self.wick_tilt[m][f]) < 1:
                    raise ValueError(
                        f"wick_tilt of regime {state!r} is {self.wick_tilt[m][f]}: it must lie between -1 and 1"
                    )

    def _check_numbers(self) -> None:
        for name in ("signal_to_noise", "season", "level_spread"):
            at_least(name, getattr(self, name), 0.0)
        for name, lowest in (("sigma", 0.0), ("wick", 0.0), ("level_memory", 1.0)):
            above(name, getattr(self, name), lowest)
        degrees = self.degrees_of_freedom
        if degrees < 3 or degrees % 2 != 1:
            raise ValueError(f"degrees_of_freedom is {degrees!r}: it must be an odd integer from 3 on")
        if not -1 < self.bounce < 1:
            raise ValueError(f"bounce is {self.bounce!r}: it must lie between -1 and 1, so that it can be inverted")
        if not 0 < self.anchor_rate <= 1:
            raise ValueError(f"anchor_rate is {self.anchor_rate!r}: it must lie above 0 and not above 1")

    @property
    def regimes(self) -> tuple[str, ...]:
        """(K,) names of the joint states, `macro/event`."""
        return tuple(f"{macro}/{event}" for macro in self.macros for event in self.events)

    @property
    def macro_matrix(self) -> Floats:
        """(M, M) probability of each macro state in the next bar."""
        return transition_matrix(self.macro_durations, self.macro_exits)

    @property
    def event_matrices(self) -> Floats:
        """(M, F, F) probability of each fast state in the next bar, given that bar's macro state and the last event."""
        return np.array([transition_matrix(*chain) for chain in zip(self.durations, self.exits, strict=True)])

    @property
    def transition_matrix(self) -> Floats:
        """(K, K) probability of each joint state in the next bar."""
        count = len(self.macros) * len(self.events)
        joint = self.macro_matrix[:, None, :, None] * self.event_matrices.transpose(1, 0, 2)[None]
        return joint.reshape(count, count)

    @property
    def stationary_distribution(self) -> Floats:
        """(K,) share of bars that each joint state takes in the long run."""
        return stationary_distribution(self.transition_matrix)


def _table(name: str, rows: Sequence[Sequence[float]], row_names: Sequence[str], count: int) -> Table:
    if len(rows) != len(row_names):
        raise ValueError(f"{name} has {len(rows)} rows: there must be {len(row_names)}, one for each of {row_names}")
    return tuple(finite_row(f"{name}[{row_name}]", row, count) for row_name, row in zip(row_names, rows, strict=True))


def _check_averages(owner: str, rates: Row, weights: Row, count: int) -> None:
    if len(rates) != count or len(weights) != count:
        raise ValueError(f"{owner} has {len(rates)} rates and {len(weights)} weights: there must be {count} of each")
    for rate in rates:
        if not 0 < rate <= 1:
            raise ValueError(f"{owner}.rates is {rates}: every rate must lie above 0 and not above 1")
    for weight in weights:
        at_least(f"{owner}.weights", weight, 0.0)
    if not sum(weights) < 1:
        raise ValueError(
            f"{owner}.weights is {weights}: their sum must be below 1, or what they feed on itself explodes"
        )
