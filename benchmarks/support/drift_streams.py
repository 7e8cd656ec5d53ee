"""Streams that drift detectors are tried on, what is planted into them, and what is said of alarms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import beta, binom

Rows = NDArray[np.float64]
LEVEL = 0.05  #: chance of a false alarm that every detector is held to
REFERENCE = 10_000  #: rows of what all is compared with
KINDS = ("independent", "autoregressive 0.5", "autoregressive 0.9", "Student t(3)", "GARCH(1, 1)")
OVERLAP = 8  #: rows that horizons of outcomes span


def stream(kind: str, rng: np.random.Generator, rows: int, columns: int = 1) -> Rows:
    """(rows, columns) of mean 0 and deviation 1, columns independent of each other."""
    if kind == "independent":
        return rng.standard_normal((rows, columns))
    if kind == "Student t(3)":
        return rng.standard_t(3.0, (rows, columns)) / math.sqrt(3.0)
    if kind.startswith("autoregressive"):
        keep = float(kind.split()[1])
        noise = rng.standard_normal((rows + 500, columns)) * math.sqrt(1.0 - keep * keep)
        found: Rows = lfilter([1.0], [1.0, -keep], noise, axis=0)[500:]
        return found
    shocks = rng.standard_t(5.0, (rows + 500, columns)) / math.sqrt(5.0 / 3.0)
    found, variance = np.empty_like(shocks), np.ones(columns)
    for t, shock in enumerate(shocks):
        found[t] = np.sqrt(variance) * shock
        variance = 0.05 + 0.10 * found[t] ** 2 + 0.85 * variance
    return found[500:]


def probabilities(
    rng: np.random.Generator, kind: str, rows: int, *, too_sure: float = 0.0, bias: float = 0.0
) -> tuple[Rows, Rows]:
    """Probabilities that were said, and outcomes, (rows,) each: independent, or of horizons of 8 rows that overlap.

    What is true has log-odds `1 - too_sure` times those that are said, plus `bias`.
    """
    overlapping = kind == "overlapping"
    said = 1.0 / (1.0 + np.exp(-0.8 * stream("autoregressive 0.5" if overlapping else kind, rng, rows)[:, 0]))
    drawn = rng.random(rows)
    if overlapping:  # neighbours share seven of eight bars: a Gaussian copula of moving sums
        weights = np.full(OVERLAP, 1.0 / math.sqrt(OVERLAP))
        noise = np.convolve(rng.standard_normal(rows + OVERLAP - 1), weights, mode="valid")
        drawn = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in noise])
    true = 1.0 / (1.0 + np.exp(-(np.log(said / (1.0 - said)) * (1.0 - too_sure) + bias)))
    return said, (drawn < true).astype(float)


def share(count: int, repetitions: int) -> dict[str, float]:
    """A share and its 95% interval (Clopper and Pearson)."""
    low = float(beta.ppf(0.025, count, repetitions - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, repetitions - count)) if count < repetitions else 1.0
    return {"share": count / repetitions, "low": low, "high": high}


def rate(alarms: int, known: int, repetitions: int) -> dict[str, Any]:
    """Share of alarms among all repetitions with its interval, and in how many something could be said."""
    found = share(alarms, repetitions)
    return {
        "alarms": found["share"], "low": found["low"], "high": found["high"], "level": LEVEL,
        "holds": found["low"] <= LEVEL, "judged": known / repetitions, "repetitions": repetitions,
    }  # fmt: skip


def delays_told(false: int, late: list[int | None]) -> dict[str, Any]:
    """What is said of a detector on a planted change.

    Args:
        false: streams in which it fired before the change. late: per stream, rows from the change to its alarm; None
            where it did not come.

    Returns:
        Shares with their intervals, and quantiles of the delay, the median with a 95% interval (order statistics). What
        was not seen counts as later than all that was: a quantile that falls there is None.
    """
    ordered = sorted(math.inf if one is None else one for one in late)
    count = len(ordered)
    ranks = {
        "median": count // 2, "90%": math.ceil(0.9 * count) - 1,
        "low": max(int(binom.ppf(0.025, count, 0.5)) - 1, 0), "high": min(int(binom.ppf(0.975, count, 0.5)), count - 1),
    }  # fmt: skip
    delay = {name: None if ordered[at] == math.inf else ordered[at] for name, at in ranks.items()}
    seen = sum(one is not None for one in late)
    return {
        "false alarms before": share(false, count), "seen": share(seen, count), "delay": delay, "repetitions": count,
    }  # fmt: skip
