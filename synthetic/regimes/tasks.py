"""The named tasks, frozen, and the disjoint families of seeds that their markets are drawn from."""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import Final

from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.macro_tables import HARD, STANDARD
from synthetic.regimes.macro_task import MacroTask

SEED_FAMILIES: Final = ("oracle", "extractor", "train", "validation", "test", "demo")
"""Who may read which seeds. Seeds below `SEEDS_PER_FAMILY` belong to no family."""
SEEDS_PER_FAMILY: Final = 10**12
_SEEDS_PER_TASK: Final = 10**9


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
    return seeds_of(find_task(task).name, family, count)


def seeds_of(name: str, family: str, count: int) -> tuple[int, ...]:
    """As `task_seeds`, of what is called `name`."""
    if family not in SEED_FAMILIES:
        raise ValueError(f"family is {family!r}: it must be one of {SEED_FAMILIES}")
    if not 0 <= count <= _SEEDS_PER_TASK:
        raise ValueError(f"count is {count}: it must lie between 0 and {_SEEDS_PER_TASK}")
    digest = zlib.crc32(name.encode()) % (SEEDS_PER_FAMILY // _SEEDS_PER_TASK)
    first = (SEED_FAMILIES.index(family) + 1) * SEEDS_PER_FAMILY + digest * _SEEDS_PER_TASK
    return tuple(range(first, first + count))


def family_of(seed: int) -> str | None:
    """The member of `SEED_FAMILIES` that a seed belongs to, whatever its task; None for a seed of no family."""
    place = seed // SEEDS_PER_FAMILY - 1
    return SEED_FAMILIES[place] if 0 <= place < len(SEED_FAMILIES) else None
