"""How likely the best of many trials is luck: overfitting of backtests (CSCV), and data snooping (White, Hansen)."""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis.resampling import block_length

BLOCKS = 16


@dataclass(frozen=True)
class Overfitting:
    """What combinatorially symmetric cross-validation says.

    Attributes:
        probability: share of the partitions in which the trial that is best in sample is below the median out of it
            (PBO): 0.5 where choosing is worth nothing.
        loss: share of them in which it earns less than nothing out of sample.
        degradation: slope of its Sharpe ratio out of sample on that in sample.
        partitions: how many.
    """

    probability: float
    loss: float
    degradation: float
    partitions: int


def backtest_overfitting(returns: ArrayLike, blocks: int = BLOCKS) -> Overfitting:
    """Probability that choosing the best backtest chooses nothing.

    Bailey, D., Borwein, J., Lopez de Prado, M. and Zhu, Q. (2017), "The probability of backtest overfitting", Journal
    of Computational Finance 20(4): time is cut into blocks, every half of them is the sample in which the best trial
    (by Sharpe ratio) is chosen, the other half tells its rank. A trial that does not vary has a Sharpe ratio of 0.

    Args:
        returns: (T, N) of N >= 2 trials over the same bars.
        blocks: an even number; 16 make 12,870 partitions.

    Raises:
        ValueError: other shapes, fewer than two bars a block, or a number of blocks that is not even.
    """
    matrix = np.asarray(returns, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or not np.isfinite(matrix).all():
        raise ValueError(f"returns have shape {matrix.shape}; allowed: (T, N) finite numbers of N >= 2 trials")
    if blocks < 2 or blocks % 2 or len(matrix) < 2 * blocks:
        raise ValueError(f"blocks={blocks} is not allowed: an even number, with two of the {len(matrix)} bars in each")
    edges = np.linspace(0, len(matrix), blocks + 1).astype(np.int64)
    centre = matrix.mean(axis=0)
    centred = matrix - centre
    sums = np.add.reduceat(centred, edges[:-1], axis=0)
    squares = np.add.reduceat(centred**2, edges[:-1], axis=0)
    halves = np.array(list(combinations(range(blocks), blocks // 2)))
    inside = np.zeros((len(halves), blocks))
    np.put_along_axis(inside, halves, 1.0, axis=1)
    chosen_by, told_by = (_sharpes(part, sums, squares, np.diff(edges), centre) for part in (inside, 1.0 - inside))
    rows, best = np.arange(len(halves)), chosen_by.argmax(axis=1)
    outside = told_by[rows, best]
    below = (told_by < outside[:, None]).sum(axis=1) + ((told_by == outside[:, None]).sum(axis=1) + 1.0) / 2.0
    rank = below / (matrix.shape[1] + 1.0)
    chosen = chosen_by[rows, best]
    spread = chosen - chosen.mean()
    slope = float(np.dot(spread, outside) / np.dot(spread, spread)) if np.dot(spread, spread) > 0.0 else 0.0
    return Overfitting(float((rank <= 0.5).mean()), float((outside < 0.0).mean()), slope, len(halves))


def _sharpes(
    members: NDArray[np.float64],
    sums: NDArray[np.float64],
    squares: NDArray[np.float64],
    sizes: NDArray[np.int64],
    centre: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(partitions, N) Sharpe ratios over the blocks of each partition, (partitions, blocks) zeros and ones."""
    count = (members @ sizes)[:, None]
    mean = members @ sums / count
    variance = (members @ squares - count * mean**2) / (count - 1.0)
    scatter = np.sqrt(np.maximum(variance, 0.0))
    found = np.zeros_like(mean)
    np.divide(mean + centre, scatter, out=found, where=scatter > 1e-12)
    return found


@dataclass(frozen=True)
class Snooping:
    """Tests of the best of N trials against a benchmark, all of them tried on the same bars.

    Attributes:
        reality_check: p-value of White (2000).
        spa: consistent p-value of Hansen (2005). spa_low, spa_high: its lower and upper bounds.
        best: number of the best trial.
    """

    reality_check: float
    spa: float
    spa_low: float
    spa_high: float
    best: int


def data_snooping(
    gains: ArrayLike, *, resamples: int = 2000, seed: int = 0, block: int | None = None
) -> Snooping:
    """Whether the best of N trials is better than a benchmark, for all that were tried.

    White, H. (2000), "A reality check for data snooping", Econometrica 68(5); Hansen, P. (2005), "A test for superior
    predictive ability", Journal of Business & Economic Statistics 23(4), which studentises and lets hopeless trials
    count for nothing. Circular blocks in place of stationary ones.

    Args:
        gains: (T, N) returns of each trial beyond the benchmark's (returns themselves, against standing aside).
        resamples: how many are drawn.
        seed: of the draws.
        block: length of the blocks; the longest that `block_length` says of any trial where None.

    Raises:
        ValueError: other shapes, or fewer than 20 bars.
    """
    matrix = np.asarray(gains, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < 20 or matrix.shape[1] < 1 or not np.isfinite(matrix).all():
        raise ValueError(f"gains have shape {matrix.shape}; allowed: (T, N) finite numbers with T >= 20")
    count = len(matrix)
    length = block or round(max(block_length(column) for column in matrix.T))
    length = min(max(length, 1), count // 4)
    mean = matrix.mean(axis=0)
    drawn = _block_means(matrix - mean, length, resamples, np.random.default_rng(seed))
    error = np.sqrt((drawn**2).mean(axis=0))
    varies = error > 1e-15
    ratio = np.zeros_like(mean)
    np.divide(mean, error, out=ratio, where=varies)
    observed, statistic = float(mean.max()), max(float(ratio.max()), 0.0)
    scaled = np.zeros_like(drawn)
    np.divide(drawn, error, out=scaled, where=varies)
    hopeless = ratio < -math.sqrt(2.0 * math.log(math.log(max(count, 16))))
    # The mean under the null: as observed where a trial is hopeless (consistent) or below nothing (low), else 0.
    shifts = {"low": np.minimum(ratio, 0.0), "spa": np.where(hopeless, ratio, 0.0), "high": np.zeros_like(ratio)}
    found = {
        name: _share(np.maximum((scaled + shift).max(axis=1), 0.0), statistic) for name, shift in shifts.items()
    }
    return Snooping(
        _share(drawn.max(axis=1), observed), found["spa"], found["low"], found["high"], int(ratio.argmax())
    )


def _share(drawn: NDArray[np.float64], observed: float) -> float:
    return float((drawn >= observed).mean())


def _block_means(
    centred: NDArray[np.float64], length: int, resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(resamples, N) means of circular blocks, drawn for all trials together."""
    count, blocks = len(centred), max(len(centred) // length, 1)
    wrapped = np.concatenate((np.zeros((1, centred.shape[1])), centred, centred[:length]))
    sums = np.cumsum(wrapped, axis=0)
    per_block = sums[length : length + count] - sums[:count]
    out = np.empty((resamples, centred.shape[1]))
    for r in range(resamples):
        out[r] = per_block[rng.integers(count, size=blocks)].sum(axis=0)
    return out / (blocks * length)
