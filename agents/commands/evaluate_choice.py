"""What a pretrained model is evaluated on, as the command line says it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """What to evaluate on: a task or paths of bars (None: the run's own task), the family or part, how many markets of
    a task or which, and how many days of each."""

    source: str | tuple[str, ...] | None
    split: str
    markets: int
    seeds: tuple[int, ...]
    days: int
