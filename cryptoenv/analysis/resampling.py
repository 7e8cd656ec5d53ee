"""Intervals by resampling: blocks of returns, which keep their dependence, and scores over seeds and markets."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
LEVEL = 0.95
LEAST = 20  #: observations that an interval needs
Statistic = Literal["mean", "sharpe"]
_NORMAL = NormalDist()
STATISTICS: tuple[Statistic, ...] = ("mean", "sharpe")


@dataclass(frozen=True)
class Interval:
    """A figure, its interval at `level`, and how many independent parts it rests on (blocks, or scores)."""

    value: float
    low: float
    high: float
    level: float = LEVEL
    parts: int = 0


def block_length(returns: ArrayLike) -> float:
    """The length of blocks that suits the dependence of returns (n,), for circular blocks, 1 at least.

    Politis, D. and White, H. (2004), "Automatic block-length selection for the dependent bootstrap", Econometric
    Reviews 23(1), with the correction of Patton, Politis and White (2009).
    """
    values = np.asarray(returns, dtype=np.float64)
    count = len(values)
    centred = values - values.mean()
    power = float(np.dot(centred, centred)) / count
    if count < 8 or math.sqrt(power) <= 1e-12 * (1.0 + abs(float(values.mean()))):
        return 1.0
    bias, spectrum = _at_zero(centred)
    if bias == 0.0 or spectrum <= 0.0:
        return 1.0
    found = (2.0 * bias**2 / (4.0 / 3.0 * spectrum**2)) ** (1.0 / 3.0) * count ** (1.0 / 3.0)
    return float(min(max(found, 1.0), math.ceil(min(3.0 * math.sqrt(count), count / 3.0))))


def _at_zero(centred: NDArray[np.float64]) -> tuple[float, float]:
    """Sums over all lags of the autocovariances, times the lag and as they are, under a flat-top window.

    The second is the variance of the mean times n; the window reaches twice as far as there is dependence (Politis and
    Romano 1995, "Bias-corrected nonparametric spectral estimation", Journal of Time Series Analysis 16(1)). It may come
    out negative.
    """
    count = len(centred)
    in_a_row = max(5, math.ceil(math.sqrt(math.log10(count))))
    most = min(math.ceil(math.sqrt(count)) + in_a_row, count - 1)
    covariance = _autocovariance(centred, most)
    small = np.abs(covariance[1:] / covariance[0]) < 2.0 * math.sqrt(math.log10(count) / count)
    runs = np.convolve(small.astype(np.int64), np.ones(in_a_row, dtype=np.int64), mode="valid") == in_a_row
    last = int(runs.argmax()) if runs.any() else int(np.flatnonzero(~small).max(initial=-1)) + 1
    if last == 0:
        return 0.0, float(covariance[0])
    reach = min(2 * last, most)
    lags = np.arange(-reach, reach + 1)
    taper = np.clip(2.0 * (1.0 - np.abs(lags) / reach), 0.0, 1.0)
    weighted = taper * covariance[np.abs(lags)]
    return float((np.abs(lags) * weighted).sum()), float(weighted.sum())


def _autocovariance(centred: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """(most + 1,) of lags 0 to `most`."""
    count = len(centred)
    return np.array([np.dot(centred[lag:], centred[: count - lag]) / count for lag in range(most + 1)])


def block_interval(
    returns: ArrayLike,
    statistic: Statistic = "mean",
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    block: int | None = None,
) -> Interval:
    """The mean or the Sharpe ratio of returns (n,), per observation, with a studentised circular-block interval.

    Blocks of neighbours are drawn with replacement (Politis and Romano 1992); what is resampled is the error over its
    own standard error, which holds the level better than percentiles do (Goetze and Kuensch 1996; for Sharpe ratios
    Ledoit and Wolf 2008, "Robust performance hypothesis testing with the Sharpe ratio").

    Args:
        returns: in the order of time, `LEAST` at least.
        statistic: "mean" or "sharpe".
        level: of the interval.
        resamples: how many are drawn.
        seed: of the draws.
        block: its length, by which the standard error is taken, too; where None `block_length` of what the statistic
            averages, and its autocovariances.

    Raises:
        ValueError: too few returns, values that are not finite, or an unknown statistic.
    """
    values = np.ascontiguousarray(returns, dtype=np.float64)
    if values.ndim != 1 or len(values) < LEAST or not np.isfinite(values).all():
        raise ValueError(f"returns have shape {values.shape}; allowed: (n,) finite numbers with n >= {LEAST}")
    if statistic not in STATISTICS:
        raise ValueError(f"statistic={statistic!r} is unknown; choose one of {STATISTICS}")
    mean, scatter = float(values.mean()), float(values.std())
    if scatter <= 1e-12 * (1.0 + abs(mean)):
        value = mean if statistic == "mean" else 0.0
        return Interval(value, value, value, level, len(values))
    sharpe = statistic == "sharpe"
    value = mean / scatter if sharpe else mean
    scaled = (values - mean) / scatter
    influence = scaled - 0.5 * value * (scaled**2 - 1.0) if sharpe else scaled
    length = max(round(block_length(influence)) if block is None else block, 1)
    length = min(length, len(values) // 4)
    spectral = 0.0 if block is not None else _spectral_error(influence)
    error = spectral or _block_error(influence, length)
    error *= 1.0 if sharpe else scatter
    ratios = _ratios(scaled, mean / scatter, length, sharpe, resamples, np.random.default_rng(seed))
    low, high = np.quantile(ratios, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(value, value - float(high) * error, value - float(low) * error, level, len(values) // length)


def _spectral_error(influence: NDArray[np.float64]) -> float:
    """Standard error of the mean of what is summed, by its autocovariances, which err less than blocks do where returns
    depend on each other; 0 where they say nothing."""
    return math.sqrt(max(_at_zero(influence - influence.mean())[1], 0.0) / (len(influence) - 1.0))


def _block_error(influence: NDArray[np.float64], length: int) -> float:
    """The same from all overlapping circular blocks."""
    count = len(influence)
    wrapped = np.concatenate((influence, influence[:length]))
    sums = np.concatenate(([0.0], np.cumsum(wrapped)))
    blocks = sums[length : length + count] - sums[:count]
    blocks = blocks - blocks.mean()
    # Blocks of dependent values around their own mean scatter too little by what the mean of all takes.
    return math.sqrt(float(np.mean(blocks**2)) / length / count / (1.0 - length / count))


@njit(cache=True, error_model="numpy")
def _ratios(
    scaled: NDArray[np.float64], ratio: float, length: int, sharpe: bool, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(resamples,) errors of the statistic of resampled returns, each over its own standard error.

    `scaled`: (n,) returns of mean 0 and deviation 1, in which unit the mean is `ratio`.
    """
    count = scaled.shape[0]
    first, second = np.zeros(count + length + 1), np.zeros(count + length + 1)
    for i in range(count + length):
        value = scaled[i % count]
        first[i + 1] = first[i] + value
        second[i + 1] = second[i] + value * value
    blocks = max(count // length, 2)
    drawn, squares = np.empty(blocks), np.empty(blocks)
    out = np.empty(resamples)
    for r in range(resamples):
        total = power = 0.0
        for b in range(blocks):
            at = int(rng.random() * count)  # a third of the time of `integers`, and as even below 2^53
            drawn[b] = first[at + length] - first[at]
            squares[b] = second[at + length] - second[at]
            total += drawn[b]
            power += squares[b]
        size = blocks * length
        mean = total / size
        scatter = math.sqrt(max(power / size - mean * mean, 1e-300))
        found = (mean + ratio) / scatter if sharpe else mean
        spread = 0.0
        for b in range(blocks):
            error = (drawn[b] - length * mean) / (scatter if sharpe else 1.0)
            if sharpe:
                around = squares[b] - 2.0 * mean * drawn[b] + length * mean * mean
                error -= 0.5 * found * (around / (scatter * scatter) - length)
            spread += error * error
        spread = math.sqrt(max(spread / (blocks - 1) * blocks, 1e-300)) / size
        out[r] = (found - (ratio if sharpe else 0.0)) / spread
    return out


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores, the quarter at either end left out (Agarwal et al. 2021).

    As scipy's `trim_mean(scores, 0.25)`.
    """
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    cut = len(values) // 4
    return float(values[cut : len(values) - cut].mean())


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Mean over markets of the probability that a run of ours beats one of theirs, ties half (Agarwal et al. 2021).

    Args:
        ours: (runs, markets) scores. theirs: (other runs, markets).

    Raises:
        ValueError: other markets.
    """
    x, y = np.atleast_2d(np.asarray(ours, np.float64)), np.atleast_2d(np.asarray(theirs, np.float64))
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"scores have shapes {x.shape} and {y.shape}; allowed: (runs, markets), of the same markets")
    wins = (x[:, None, :] > y[None, :, :]) + 0.5 * (x[:, None, :] == y[None, :, :])
    return float(wins.mean())


Aggregate = Literal["mean", "median", "iqm"]


def stratified_interval(
    scores: ArrayLike,
    aggregate: Aggregate = "iqm",
    *,
    against: ArrayLike | None = None,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """An aggregate of scores over seeds and markets, with a stratified percentile bootstrap interval.

    Runs are drawn with replacement within each market, so every market keeps its weight ("Deep reinforcement learning
    at the edge of the statistical precipice", Agarwal et al. 2021). Of few runs percentiles are too narrow by
    `sqrt((runs - 1) / runs)`; they are taken as far out as mends that (Hesterberg 2015, "What teachers should know
    about the bootstrap", The American Statistician 69(4)). A single run has no interval but itself.

    Args:
        scores: (runs, markets).
        aggregate: "iqm" (interquartile mean), "mean" or "median".
        against: (other runs, markets) scores; then it is the probability of improvement on them, whatever `aggregate`.
        level, resamples, seed: as for `block_interval`.

    Raises:
        ValueError: no scores, scores that are not finite, or an unknown aggregate.
    """
    ours = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if ours.ndim != 2 or ours.size == 0 or not np.isfinite(ours).all():
        raise ValueError(f"scores have shape {ours.shape}; allowed: (runs, markets) finite numbers")
    if aggregate not in _AGGREGATES:
        raise ValueError(f"aggregate={aggregate!r} is unknown; choose one of {tuple(_AGGREGATES)}")
    rng = np.random.default_rng(seed)
    reckon = _AGGREGATES[aggregate]
    theirs = None if against is None else np.atleast_2d(np.asarray(against, dtype=np.float64))
    value = reckon(ours) if theirs is None else probability_of_improvement(ours, theirs)
    found = np.empty(resamples)
    for r in range(resamples):
        mine = _drawn(ours, rng)
        found[r] = reckon(mine) if theirs is None else probability_of_improvement(mine, _drawn(theirs, rng))
    runs = len(ours)
    tail = _NORMAL.cdf(_NORMAL.inv_cdf((1.0 - level) / 2.0) * math.sqrt(runs / max(runs - 1, 1)))
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high), level, ours.size)


_AGGREGATES = {
    "iqm": interquartile_mean,
    "mean": lambda scores: float(np.mean(scores)),
    "median": lambda scores: float(np.median(scores)),
}


def _drawn(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Runs drawn anew for each market."""
    rows = rng.integers(len(scores), size=scores.shape)
    return np.take_along_axis(scores, rows, axis=0)
