"""What a regime market is made of: the frozen parameters of its chain, its noise and its volume.

A market is a hidden Markov chain over `K` regimes. Every regime has its own drift, volatility and volume; how long it
lasts is geometric, and what follows it is drawn from its row of exits. Shape legend: `T` bars, `K` regimes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

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

BARS_PER_DAY: Final = 96
"""Base bars of 15 minutes in a day."""
WARMUP_DAYS: Final = 56
"""Days that come before the tradable ones, so that every daily window is full when trading starts."""


@dataclass(frozen=True)
class VarianceRecursion:
    """GARCH(1,1) on observed returns, in units of the base volatility (Bollerslev 1986), with bounded shocks.

    `h[t+1] = clip(constant + reaction * min(x[t]**2, shock_bound) + persistence * h[t], floor, ceiling)` with
    `x = log-return / sigma`. It is driven by what a trader sees, so the scale of the next bar is known.
    """

    constant: float = 0.06
    reaction: float = 0.05
    persistence: float = 0.88
    shock_bound: float = 16.0
    floor: float = 0.3
    ceiling: float = 4.0

    def __post_init__(self) -> None:
        for name in ("constant", "reaction", "persistence", "shock_bound", "floor", "ceiling"):
            at_least(f"VarianceRecursion.{name}", getattr(self, name), 0.0)
        if self.persistence >= 1:
            raise ValueError(f"VarianceRecursion.persistence is {self.persistence}: it must be below 1")
        if not 0 < self.floor < self.ceiling:
            raise ValueError(
                f"VarianceRecursion.floor is {self.floor} and .ceiling {self.ceiling}: 0 < floor < ceiling must hold"
            )


@dataclass(frozen=True)
class RegimeTask:
    """Parameters of one regime market; hashable, checked on construction.

    Attributes:
        name: label of the task; part of its seeds.
        regimes: `K` names.
        drift: (K,) mean log-return of a bar in units of `sigma`, before `signal_to_noise`.
        volatility: (K,) standard deviation of a bar in units of `sigma * sqrt(h)`, positive.
        log_volume: (K,) shift of the log of traded volume.
        durations: (K,) mean length in bars, at least 1.
        exits: (K, K) probability of each next regime once a regime ends; rows sum to 1.
        signal_to_noise: factor on every drift.
        sigma: base standard deviation of a bar's log-return.
        degrees_of_freedom: of the Student-t noise, above 2 so that it has a variance.
        volume_noise: standard deviation of log volume around what regime and variance explain.
        wick: mean length of a wick beyond the body, in units of `sigma * sqrt(h)`.
        variance: the recursion that moves `h`.

    Raises:
        ValueError: a parameter has the wrong length or lies outside its range; the message names it.
    """

    name: str
    regimes: tuple[str, ...]
    drift: tuple[float, ...]
    volatility: tuple[float, ...]
    log_volume: tuple[float, ...]
    durations: tuple[float, ...]
    exits: tuple[tuple[float, ...], ...]
    signal_to_noise: float = 1.0
    sigma: float = 0.0025
    degrees_of_freedom: float = 5.0
    volume_noise: float = 0.5
    wick: float = 0.4
    variance: VarianceRecursion = field(default_factory=VarianceRecursion)

    def __post_init__(self) -> None:
        count = len(self.regimes)
        if not 1 <= count <= 127:
            raise ValueError(f"regimes has {count} names: between 1 and 127 are allowed")
        for name in ("drift", "volatility", "log_volume", "durations"):
            object.__setattr__(self, name, finite_row(name, getattr(self, name), count))
        if len(self.exits) != count:
            raise ValueError(f"exits has {len(self.exits)} rows: there must be one per regime, {count}")
        rows = tuple(finite_row(f"exits[{self.regimes[i]}]", row, count) for i, row in enumerate(self.exits))
        object.__setattr__(self, "exits", rows)
        self._check_ranges()

    def _check_ranges(self) -> None:
        for regime, volatility, duration, row in zip(
            self.regimes, self.volatility, self.durations, self.exits, strict=True
        ):
            above(f"volatility of regime {regime!r}", volatility, 0.0)
            check_duration(f"regime {regime!r}", duration)
            check_exits(f"regime {regime!r}", row)
        for name in ("signal_to_noise", "wick"):
            at_least(name, getattr(self, name), 0.0)
        for name, lowest in (("sigma", 0.0), ("volume_noise", 0.0), ("degrees_of_freedom", 2.0)):
            above(name, getattr(self, name), lowest)

    @property
    def transition_matrix(self) -> NDArray[np.float64]:
        """(K, K) probability of regime j in the next bar given regime i in this one."""
        return transition_matrix(self.durations, self.exits)

    @property
    def stationary_distribution(self) -> NDArray[np.float64]:
        """(K,) share of bars that each regime takes in the long run."""
        return stationary_distribution(self.transition_matrix)

    @property
    def mean_log_return(self) -> NDArray[np.float64]:
        """(K,) expected log-return of a bar in each regime."""
        return self.sigma * self.signal_to_noise * np.array(self.drift)
