"""What a regime market is made of: the frozen parameters of its chain, its noise and its volume.

A market is a hidden Markov chain over `K` regimes. Every regime has its own drift, volatility and volume; how long it
lasts is geometric, and what follows it is drawn from its row of exits. Shape legend: `T` bars, `K` regimes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from synthetic.macro_tables import HARD, STANDARD
from synthetic.macro_task import MacroTask

BARS_PER_DAY: Final = 96
"""Base bars of 15 minutes in a day."""

WARMUP_DAYS: Final = 56
"""Days that come before the tradable ones, so that every daily window is full when trading starts."""

SEED_FAMILIES: Final = ("oracle", "extractor", "train", "validation", "test", "demo")
"""Who may read which seeds. Seeds below `SEEDS_PER_FAMILY` belong to no family."""

SEEDS_PER_FAMILY: Final = 10**12
_SEEDS_PER_TASK: Final = 10**9

_ROW_SUM_TOLERANCE: Final = 1e-9


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
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"VarianceRecursion.{name} is {value!r}: it must be a finite number >= 0")
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
            object.__setattr__(self, name, _numbers(name, getattr(self, name), count))
        if len(self.exits) != count:
            raise ValueError(f"exits has {len(self.exits)} rows: there must be one per regime, {count}")
        rows = tuple(_numbers(f"exits[{self.regimes[i]}]", row, count) for i, row in enumerate(self.exits))
        object.__setattr__(self, "exits", rows)
        self._check_ranges()

    def _check_ranges(self) -> None:
        for regime, volatility, duration, row in zip(
            self.regimes, self.volatility, self.durations, self.exits, strict=True
        ):
            if volatility <= 0:
                raise ValueError(f"volatility of regime {regime!r} is {volatility}: it must be positive")
            if duration < 1:
                raise ValueError(f"duration of regime {regime!r} is {duration} bars: it must be at least 1")
            if min(row) < 0 or abs(math.fsum(row) - 1) > _ROW_SUM_TOLERANCE:
                raise ValueError(f"exits of regime {regime!r} are {row}: they must be >= 0 and sum to 1")
        for name in ("signal_to_noise", "wick"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be a finite number >= 0")
        for name, lowest in (("sigma", 0.0), ("volume_noise", 0.0), ("degrees_of_freedom", 2.0)):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > lowest):
                raise ValueError(f"{name} is {value!r}: it must be a finite number above {lowest}")

    @property
    def transition_matrix(self) -> NDArray[np.float64]:
        """(K, K) probability of regime j in the next bar given regime i in this one."""
        leave = 1.0 / np.array(self.durations)
        return np.diag(1.0 - leave) + np.array(self.exits) * leave[:, None]

    @property
    def stationary_distribution(self) -> NDArray[np.float64]:
        """(K,) share of bars that each regime takes in the long run.

        The least-squares solution of `pi P = pi, sum(pi) = 1`, which is unique for a chain with one recurrent class.
        """
        count = len(self.regimes)
        system = np.vstack([self.transition_matrix.T - np.eye(count), np.ones(count)])
        shares = np.linalg.lstsq(system, np.append(np.zeros(count), 1.0), rcond=None)[0]
        shares = np.maximum(shares, 0.0)
        return shares / shares.sum()

    @property
    def mean_log_return(self) -> NDArray[np.float64]:
        """(K,) expected log-return of a bar in each regime."""
        return self.sigma * self.signal_to_noise * np.array(self.drift)


def _numbers(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} entries: there must be one per regime, {count}")
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} is {numbers}: every entry must be finite")
    return numbers


def _easy() -> RegimeTask:
    """Eleven regimes with long trends that simple rules can follow: a market for first steps and for tests.

    As measured by `python -m benchmarks.oracle` (48 test markets x 60 days, cost 0.12%): the filter oracle, which is
    given nothing but the bars, earns 1.09 % a day at a Sharpe of 6.3; the best of 660 tuned rules has 0.65 of it.
    """
    exits_by_name: dict[str, dict[str, float]] = {
        "bull": {"range": 0.35, "high_volatility": 0.15, "blow_off": 0.25, "bear": 0.10, "compression": 0.15},
        "bear": {"range": 0.35, "high_volatility": 0.15, "capitulation": 0.25, "bull": 0.10, "compression": 0.15},
        "range": {"compression": 0.4, "bull": 0.2, "bear": 0.2, "high_volatility": 0.2},
        "high_volatility": {"bull": 0.3, "bear": 0.3, "range": 0.4},
        "compression": {"breakout_up": 0.42, "breakout_down": 0.42, "range": 0.16},
        "breakout_up": {"bull": 0.5, "range": 0.3, "high_volatility": 0.2},
        "breakout_down": {"bear": 0.5, "range": 0.3, "high_volatility": 0.2},
        "blow_off": {"crash": 0.8, "range": 0.2},
        "crash": {"bear": 0.4, "range": 0.3, "high_volatility": 0.3},
        "capitulation": {"rebound": 0.8, "range": 0.2},
        "rebound": {"bull": 0.4, "range": 0.3, "high_volatility": 0.3},
    }
    regimes = tuple(exits_by_name)
    return RegimeTask(
        name="easy",
        regimes=regimes,
        drift=(0.12, -0.14, 0.0, 0.0, 0.0, 0.40, -0.40, 0.30, -0.50, -0.35, 0.45),
        volatility=(0.9, 1.1, 0.7, 1.8, 0.4, 1.3, 1.3, 1.4, 1.7, 1.5, 1.3),
        log_volume=(0.0, 0.1, -0.3, 0.6, -0.6, 0.9, 0.9, 1.0, 1.2, 1.1, 0.9),
        durations=(160, 130, 200, 60, 40, 20, 20, 24, 16, 20, 16),
        exits=tuple(tuple(row.get(regime, 0.0) for regime in regimes) for row in exits_by_name.values()),
    )


_FROZEN: tuple[RegimeTask | MacroTask, ...] = (_easy(), STANDARD, HARD)

TASKS: Final = MappingProxyType({task.name: task for task in _FROZEN})
"""Frozen benchmark tasks by name."""


def find_task(task: str | RegimeTask | MacroTask) -> RegimeTask | MacroTask:
    """The task itself, or the one of that name in `TASKS`.

    Raises:
        ValueError: no task has that name.
    """
    if isinstance(task, RegimeTask | MacroTask):
        return task
    if task not in TASKS:
        raise ValueError(f"task is {task!r}: known tasks are {sorted(TASKS)}, or pass a task of your own")
    return TASKS[task]


def task_seeds(task: str | RegimeTask | MacroTask, family: str, count: int) -> tuple[int, ...]:
    """The first `count` seeds of a family: disjoint between families, and far from the small seeds people type.

    Seeds are `family * 10**12 + digest of the task's name * 10**9 + i`, so they are exact as int64 and as float64.

    Args:
        task: name in `TASKS`, or a task of one's own.
        family: one of `SEED_FAMILIES`. "test" is for scoring only: nothing may be fitted or chosen on it.
        count: how many, from 0 to 10**9.

    Raises:
        ValueError: the task, the family or the count is not allowed.
    """
    if family not in SEED_FAMILIES:
        raise ValueError(f"family is {family!r}: it must be one of {SEED_FAMILIES}")
    if not 0 <= count <= _SEEDS_PER_TASK:
        raise ValueError(f"count is {count}: it must lie between 0 and {_SEEDS_PER_TASK}")
    digest = zlib.crc32(find_task(task).name.encode()) % (SEEDS_PER_FAMILY // _SEEDS_PER_TASK)
    first = (SEED_FAMILIES.index(family) + 1) * SEEDS_PER_FAMILY + digest * _SEEDS_PER_TASK
    return tuple(range(first, first + count))


def family_of(seed: int) -> str | None:
    """The member of `SEED_FAMILIES` that a seed belongs to, whatever its task; None for a seed of no family."""
    place = seed // SEEDS_PER_FAMILY - 1
    return SEED_FAMILIES[place] if 0 <= place < len(SEED_FAMILIES) else None
