"""How much neighbours in time depend on each other: what n rows of a series tell is what fewer independent rows would.

Everything that follows compares means over a live window with means over a reference. With dependent rows the
variance of such a mean is not `v / n` but `v * time / n`, where `time` is the integrated autocorrelation time; an alarm
that takes rows for independent fires on healthy streams as soon as its features have a memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

STRETCH = 6.0  #: correlation times in a stretch of what is no more than grouped
BATCH = 12.0  #: memories in a batch: its mean then misses a twelfth of the variance
FREE = 1.25  #: correlation time below which rows are taken for independent
LEAST_BATCHES = 8  #: from fewer the variance of a mean is not known


def correlation_time(values: ArrayLike) -> float:
    """Integrated autocorrelation time of a series (n,), in rows: 1 for independent ones, n / time is their number.

    The sum of autocorrelations until the sums of neighbouring pairs are no longer positive and falling (Geyer 1992,
    "Practical Markov chain Monte Carlo", Statistical Science 7(4): initial monotone sequence), never below 1: series
    that swing back and forth tell more than independent ones, and no use is made of that.

    >>> from cryptoenv.analysis.drift.dependence import correlation_time
    >>> correlation_time([0.0, 1.0] * 50)
    1.0
    """
    return _time_and_memory(values)[0]


def _time_and_memory(values: ArrayLike) -> tuple[float, float]:
    """Correlation time, and the mean lag of what makes it up: `sum |k| rho_k / sum rho_k` over lags of both signs.

    A mean over b rows misses the share `memory / b` of the long-run variance. The two part where a slow thing hides
    under noise: volatility that comes in clusters gives its rows weak correlations, so a short correlation time, that
    go on for long.
    """
    series = np.asarray(values, dtype=np.float64)
    count = len(series)
    if count < 4:
        return 1.0, 0.0
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 1 << (2 * count - 1).bit_length())
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:count]
    if not covariance[0] > 1e-12 * count * (1.0 + float(np.abs(series).max()) ** 2):
        return 1.0, 0.0
    pairs = covariance[: count - count % 2].reshape(-1, 2).sum(axis=1) / covariance[0]
    ended = np.flatnonzero(pairs <= 0.0)
    pairs = np.minimum.accumulate(pairs[: ended[0] if len(ended) else len(pairs)])
    time = 2.0 * float(pairs.sum()) - 1.0
    if not time > 1.0:
        return 1.0, 0.0
    lags = np.arange(len(pairs)) * 2.0 + 0.5
    lagged = 2.0 * float((lags * pairs).sum() - 0.5)  # the lag 0 is of the first pair, and weighs nothing
    return min(time, count), min(max(lagged, 0.0) / time, count)


def batch_rows(*series: ArrayLike) -> int:
    """Rows of a batch that suits series (n,): `BATCH` of the longest memory of those that have one; else 1."""
    return _rows_of([_time_and_memory(one) for one in series])


def stretch_rows(*series: ArrayLike) -> int:
    """Rows of a stretch of `STRETCH` of the longest correlation time of series (n,); 1 where rows are independent."""
    time = max(correlation_time(one) for one in series)
    return math.ceil(STRETCH * time) if time > FREE else 1


def _rows_of(found: Sequence[tuple[float, float]]) -> int:
    return max((math.ceil(BATCH * memory) for time, memory in found if time > FREE), default=1) or 1


def batch_length(parts: Sequence[NDArray[np.float64]]) -> int:
    """Rows of a batch that suits stretches of ranks in [0, 1], each (n,), as `batch_rows`.

    Looked at are the ranks themselves (a level that wanders) and their distance from the middle (a volatility that
    does); the median over stretches would hide one that remembers, so it is the mean, by length.
    """
    weights = np.array([len(part) for part in parts], dtype=np.float64)
    found = [
        np.average([_time_and_memory(of(part)) for part in parts], axis=0, weights=weights)
        for of in (lambda ranks: ranks, lambda ranks: np.abs(ranks - 0.5))
    ]
    return _rows_of([(float(time), float(memory)) for time, memory in found])


def long_run_covariance(parts: Sequence[NDArray[np.float64]], length: int) -> tuple[NDArray[np.float64], float]:
    """(K, K) covariance of the mean of rows times their number, from overlapping batches; and how many batches fit.

    Overlapping batch means (Meketon and Schmeiser 1984; Flegal and Jones 2010, "Batch means and spectral variance
    estimators in Markov chain Monte Carlo", Annals of Statistics 38(2)), pooled over stretches around the mean of all,
    and made larger by what batches of `BATCH` memories miss.

    Args:
        parts: stretches of rows in time, each (n, K); those shorter than a batch are left out.
        length: rows of a batch.

    Returns:
        The covariance, and the number of batches that do not overlap.
    """
    whole = np.concatenate(parts)
    mean = whole.mean(axis=0)
    total = np.zeros((whole.shape[1],) * 2)
    used, batches = 0, 0.0
    for part in parts:
        if len(part) < length:
            continue
        sums = np.concatenate([np.zeros((1, part.shape[1])), np.cumsum(part - mean, axis=0)])
        deviations = (sums[length:] - sums[:-length]) / math.sqrt(length)
        total += deviations.T @ deviations
        used += len(deviations)
        batches += len(part) / length
    if not used:
        return total, 0.0
    missed = 1.0 if length == 1 else 1.0 - 1.0 / BATCH
    return total / used / missed / max(1.0 - 1.0 / batches, 0.5), batches


def safety(length: int, batches: float) -> float:
    """By how much a variance from few batches is made larger: one of its own deviations; nothing for single rows."""
    return 1.0 if length == 1 else 1.0 + math.sqrt(2.0 / (1.5 * max(batches, 1.0)))
