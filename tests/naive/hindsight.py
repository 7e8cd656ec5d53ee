"""The best path of positions by trying them all: plain Python, exponential, for series of a few bars."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def log_growth(exposure: float, simple_return: float) -> float:
    growth = 1 + exposure * simple_return
    return math.log(growth) if growth > 0 else -math.inf


def path_return(
    path: Sequence[float], opens: Sequence[float], closes: Sequence[float], start: float, buy: float, sell: float
) -> float:
    """Net log-return of the targets chosen at bars 0 .. T-2, from exposure `start`: path[t] fills at open t+1."""
    total = 0.0
    held = start
    for t, target in enumerate(path):
        total -= buy * max(target - held, 0) + sell * max(held - target, 0)
        held = target
        total += log_growth(held, closes[t + 1] / opens[t + 1] - 1)
        if t + 2 < len(opens):
            total += log_growth(held, opens[t + 2] / closes[t + 1] - 1)
    return total


def best_return(
    opens: Sequence[float],
    closes: Sequence[float],
    positions: Sequence[float],
    start: float,
    buy: float,
    sell: float,
    first: float | None = None,
) -> float:
    """The largest net log-return over all P^(T-1) paths; with `first`, over those that begin with that target."""
    paths = itertools.product(positions, repeat=len(opens) - 1)
    return max(
        path_return(path, opens, closes, start, buy, sell) for path in paths if first is None or path[0] == first
    )
