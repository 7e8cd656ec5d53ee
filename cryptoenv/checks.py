"""Checks of numbers that configurations share."""

import numpy as np


def require_counts(owner: object, **counts: int | tuple[int, ...] | None) -> None:
    """Checks parameters that count bars.

    Raises:
        ValueError: one that is not a whole number >= 1 (or several of them); the message names it.
    """
    for name, given in counts.items():
        for count in given if isinstance(given, tuple) else () if given is None else (given,):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{type(owner).__name__}.{name} is {given!r}; allowed: whole numbers of bars >= 1")


def require_pair(owner: object, name: str) -> None:
    """Checks that a parameter, where it is not None, holds two numbers.

    Raises:
        ValueError: it does not.
    """
    given = getattr(owner, name)
    if given is not None and len(given) != 2:
        raise ValueError(f"{type(owner).__name__}.{name} is {given!r}; allowed: two whole numbers of bars >= 1")


def _check(owner: str, name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise ValueError unless `low <= value <= high` (`low < value` with `open_low`); NaN fails."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{owner}.{name} must be a number, got {value!r}")
    if not (low < value if open_low else low <= value) or not value <= high:
        raise ValueError(f"{owner}.{name}={value!r} is outside the allowed {'(' if open_low else '['}{low}, {high}]")
