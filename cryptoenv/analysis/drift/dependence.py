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

BATCH = 6.0  #: correlation times in a batch: its mean then misses about a twelfth of the variance
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
    series = np.asarray(values, dtype=np.float64)
    count = len(series)
    if count < 4:
        return 1.0
    centred = series - series.mean()
    spectrum = np.fft.rfft(centred, 1 << (2 * count - 1).bit_length())
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[:count]
    if not covariance[0] > 1e-12 * count * (1.0 + float(np.abs(series).max()) ** 2):
        return 1.0
    pairs = covariance[: count - count % 2].reshape(-1, 2).sum(axis=1) / covariance[0]
    ended = np.flatnonzero(pairs <= 0.0)
    pairs = np.minimum.accumulate(pairs[: ended[0] if len(ended) else len(pairs)])
    return float(min(max(2.0 * pairs.sum() - 1.0, 1.0), count))


def batch_length(parts: Sequence[NDArray[np.float64]]) -> int:
    """Rows of a batch that suits stretches of ranks in [0, 1], each (n,): several of the longest correlation times.

    Looked at are the ranks themselves (a level that wanders) and their distance from the middle (a volatility that
    does); the median over stretches would hide one that remembers, so it is the mean, by length.
    """
    weights = np.array([len(part) for part in parts], dtype=np.float64)
    times = [
        float(np.average([correlation_time(of(part)) for part in parts], weights=weights))
        for of in (lambda ranks: ranks, lambda ranks: np.abs(ranks - 0.5))
    ]
    return math.ceil(BATCH * max(times)) if max(times) > 1.25 else 1


def long_run_covariance(parts: Sequence[NDArray[np.float64]], length: int) -> tuple[NDArray[np.float64], float]:
    """(K, K) covariance of the mean of rows times their number, from overlapping batches; and how many batches fit.

    Overlapping batch means (Meketon and Schmeiser 1984; Flegal and Jones 2010, "Batch means and spectral variance
    estimators in Markov chain Monte Carlo", Annals of Statistics 38(2)), pooled over stretches around the mean of all,
    and made larger by what batches of `BATCH` correlation times miss.

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
    missed = 1.0 if length == 1 else 1.0 - 0.5 / BATCH
    return total / used / missed / max(1.0 - 1.0 / batches, 0.5), batches


def safety(length: int, batches: float) -> float:
    """By how much a variance from few batches is made larger: one of its own deviations; nothing for single rows."""
    return 1.0 if length == 1 else 1.0 + math.sqrt(2.0 / (1.5 * max(batches, 1.0)))
