"""Labels again, in plain Python: every future bar looked at one by one, every division of the bars tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence


def horizon_sign(opens: Sequence[float], closes: Sequence[float], t: int, horizon: int, deadband: float) -> int | None:
    if t + horizon >= len(closes):
        return None
    growth = math.log(closes[t + horizon] / opens[t + 1])
    return 1 if growth > deadband else -1 if growth < -deadband else 0


def past_deviation(closes: Sequence[float], t: int, memory: int) -> float | None:
    """Weighted root mean square of the log-returns up to `t`, from its definition as a sum."""
    if t < memory:
        return None
    keep = 1 - 2 / (memory + 1)
    weights = [keep**age for age in range(t)]
    squares = [math.log(closes[t - age] / closes[t - age - 1]) ** 2 for age in range(t)]
    return math.sqrt(sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights))


def barrier_touch(
    rows: Sequence[tuple[float, float, float, float]], t: int, timeout: int, upper: float, lower: float, memory: int
) -> tuple[int, int] | None:
    """Sign and bar of what is met first from the close of `t`; None where the data does not say."""
    deviation = past_deviation([row[3] for row in rows], t, memory)
    if deviation is None:
        return None
    above = rows[t][3] * math.exp(upper * deviation * math.sqrt(timeout))
    below = rows[t][3] * math.exp(-lower * deviation * math.sqrt(timeout))
    for s in range(t + 1, t + timeout + 1):
        if s == len(rows):
            return None
        opening, high, low, _ = rows[s]
        if opening >= above or (high >= above and low > below):
            return 1, s
        if opening <= below or (low <= below and high < above):
            return -1, s
        if high >= above and low <= below:
            return 0, s
    return 0, t + timeout


def divisions(length: int, minimum: int) -> Iterator[list[tuple[int, int]]]:
    """All divisions of `length` bars into stretches of at least `minimum`."""
    if length == 0:
        yield []
    for first in range(minimum, length + 1):
        for rest in divisions(length - first, minimum):
            yield [(0, first), *((first + a, first + b) for a, b in rest)]


def regimes_gain(log_returns: Sequence[float], regimes: Sequence[int], drift: float, penalty: float) -> float:
    """What a labelling earns: neighbours of one regime are one stretch."""
    total = 0.0
    for t, (growth, regime) in enumerate(zip(log_returns, regimes, strict=True)):
        total += 0.0 if regime == 1 else (regime - 1) * growth - drift
        total -= penalty if t and regime != regimes[t - 1] else 0.0
    return total


def best_regimes_gain(log_returns: Sequence[float], minimum: int, drift: float, penalty: float) -> float:
    """The most that any division can earn, by trying them all."""
    best = -math.inf
    for stretches in divisions(len(log_returns), minimum):
        labelled: list[list[int]] = [[]]
        for a, b in stretches:
            labelled = [[*so_far, *[k] * (b - a)] for so_far in labelled for k in range(3)]
        best = max(best, *(regimes_gain(log_returns, regimes, drift, penalty) for regimes in labelled))
    return best
