"""Population stability index and Kolmogorov-Smirnov distance of a window against a reference, with honest thresholds.

The usual rule "PSI above 0.2 is a shift" knows neither the number of rows nor of bins: of 50 healthy rows in ten bins
the index is 0.18 on average. Here a threshold is a quantile of what the statistic does while nothing has changed.

*PSI.* With independent rows and B bins, `PSI / (1/n + 1/m)` is asymptotically chi-square with B - 1 degrees of freedom
(Yurdakul and Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model Validation
14(4)). With dependent rows it is a weighted sum of chi-squares of one degree each, whose weights are the eigenvalues of
the bins' long-run covariance over their shares (Rao and Scott 1984, "On chi-squared tests for multiway contingency
tables with cell proportions estimated from survey data", Annals of Statistics 12(1)); its tail is that of the
saddlepoint (Kuonen 1999, "Saddlepoint approximations for distributions of quadratic forms in normal variables",
Biometrika 86(4)). A scaled chi-square of the same mean and variance is too short where one weight is much the largest,
as where volatility comes in clusters. Of few rows the index has a heavier tail than that, which is drawn.

*Kolmogorov-Smirnov.* The largest distance of the two distribution functions at the reference's borders, each over the
root of how much more it scatters than of independent rows; its tail is at most `2 exp(-2 t^2)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cryptoenv.analysis.drift.reference import ColumnReference

LEAST_ROWS = 16.0  #: independent rows that a window must be worth
PER_BIN = 8.0  #: independent rows that a bin of PSI must expect
HALF = 0.5  #: added to every count, so that an empty bin is no infinity
DRAWN, FARTHEST = 100_000, 5e-4  #: windows that are drawn for the tail, and how far out it is read from them
GRID = 6  #: steps of numbers of rows, per factor of 10, at which it is drawn
DENSE = 150  #: rows of a bin from which on the chi-square is near enough


@dataclass(frozen=True)
class Distance:
    """A statistic and what it may reach while nothing has changed; `statistic > threshold` is an alarm."""

    statistic: float
    threshold: float

    @property
    def alarms(self) -> bool:
        """Whether it is beyond."""
        return self.statistic > self.threshold


def bins_for(reference: ColumnReference, rows: float) -> tuple[int, float]:
    """How many cells a bin of PSI takes together (2, 4 or 10) and how many independent rows `rows` are worth.

    0 where a window of that many rows says nothing.
    """
    if not reference.judged:
        return 0, 0.0
    for wide in (2, 4, 10):
        shares, weights = _bins(reference, wide)
        worth = rows / _mean(weights)
        if len(shares) > 1 and worth >= LEAST_ROWS and worth * float(shares.min()) >= PER_BIN - 1e-9:
            return wide, worth
    return 0, rows / _mean(_bins(reference, 2)[1])


def population_stability(reference: ColumnReference, counts: NDArray[np.int64], alpha: float) -> Distance | None:
    """The population stability index of counts per cell (K,), and its `1 - alpha` quantile; None where nothing is said.

    `sum (p - q) ln(p / q)` over bins, p the window's shares and q the reference's.
    """
    rows = int(counts.sum())
    wide, worth = bins_for(reference, rows)
    if not wide:
        return None
    expected, weights = _bins(reference, wide)
    found = _together(counts.astype(np.float64), wide)
    p = (found + HALF) / (rows + HALF * len(found))
    index = float(np.sum((p - expected) * np.log(p / expected)))
    scale = 1.0 / rows + 1.0 / reference.rows
    return Distance(index, scale * weighted_tail(weights, alpha) * _tail(_on_grid(worth), len(expected), alpha))


def kolmogorov_smirnov(reference: ColumnReference, counts: NDArray[np.int64], alpha: float) -> Distance | None:
    """The distance of counts per cell (K,) from the reference, and its threshold; None where nothing is said."""
    rows = int(counts.sum())
    if not reference.judged or rows / float(np.median(reference.times)) < LEAST_ROWS:
        return None
    apart = np.abs(np.cumsum(counts)[:-1] / rows - np.cumsum(reference.shares)[:-1]) / np.sqrt(reference.times)
    return Distance(
        float(apart.max()), math.sqrt(-0.5 * math.log(alpha / 2.0) * (1.0 / rows + 1.0 / reference.rows))
    )


Weights = tuple[float, ...]


@lru_cache(maxsize=4096)
def _bins_of(key: tuple[bytes, bytes, int], wide: int) -> tuple[NDArray[np.float64], Weights]:
    shares, covariance, bins = np.frombuffer(key[0]), np.frombuffer(key[1]).reshape(key[2], key[2]), key[2]
    expected = _together(shares, wide)
    if len(expected) < 2:
        return expected, (1.0,)
    joined = np.zeros((len(expected), bins))
    joined[np.arange(bins) // (wide // 2), np.arange(bins)] = 1.0
    root = 1.0 / np.sqrt(np.maximum(expected, 1e-9))
    normed = root[:, None] * (joined @ covariance @ joined.T) * root
    weights = np.maximum(np.linalg.eigvalsh(normed)[1:], 1.0)  # shares add up to 1: one is none
    return expected, tuple(weights.tolist())


def _bins(reference: ColumnReference, wide: int) -> tuple[NDArray[np.float64], Weights]:
    """Shares of the bins, and the weights of the chi-squares, each at least 1."""
    covariance = np.ascontiguousarray(reference.covariance)
    return _bins_of((reference.shares.tobytes(), covariance.tobytes(), len(covariance)), wide)


def _mean(weights: Weights) -> float:
    return sum(weights) / len(weights)


@lru_cache(maxsize=4096)
def weighted_tail(weights: Weights, alpha: float) -> float:
    """What a sum of chi-squares of one degree each, times positive `weights`, exceeds with chance `alpha` <= 0.25.

    The saddlepoint runs from the mean outwards as `t` runs from 0 to half of one over the largest weight.
    """
    of = np.array(weights)
    low, high = 1e-6 / of.max(), (0.5 - 1e-9) / of.max()
    for _ in range(60):
        t = (low + high) / 2.0
        low, high = (t, high) if _beyond(of, t)[1] > alpha else (low, t)
    return _beyond(of, high)[0]


def _beyond(weights: NDArray[np.float64], t: float) -> tuple[float, float]:
    """The value of a saddlepoint, and the chance that the sum is beyond it."""
    left = 1.0 - 2.0 * t * weights
    value = float(np.sum(weights / left))
    curvature = float(np.sum(2.0 * (weights / left) ** 2))
    w = math.sqrt(max(2.0 * t * value + float(np.sum(np.log(left))), 1e-300))
    v = t * math.sqrt(curvature)
    return value, 0.5 * math.erfc((w + math.log(v / w) / w) / math.sqrt(2.0))


def _together(cells: NDArray[np.float64], wide: int) -> NDArray[np.float64]:
    return np.add.reduceat(cells, np.arange(0, len(cells), wide))


def _on_grid(worth: float) -> int:
    """Rows, rounded down to a step of the grid."""
    return max(int(10.0 ** (math.floor(GRID * math.log10(worth)) / GRID)), int(LEAST_ROWS))


@lru_cache(maxsize=1024)
def _tail(rows: int, bins: int, alpha: float) -> float:
    """How much farther than the chi-square the index of `rows` independent rows in equal bins reaches, at least 1."""
    if rows > DENSE * bins:
        return 1.0
    drawn = _drawn(rows, bins)
    at = max(alpha, FARTHEST)
    return max(float(np.quantile(drawn, 1.0 - at)) * rows / weighted_tail((1.0,) * (bins - 1), at), 1.0)


@lru_cache(maxsize=4)
def _drawn(rows: int, bins: int) -> NDArray[np.float64]:
    """(DRAWN,) indices of windows of independent rows, float32."""
    rng = np.random.default_rng([rows, bins])
    counts = rng.multinomial(rows, np.full(bins, 1.0 / bins), DRAWN)
    p = (counts + HALF) / (rows + HALF * bins)
    found: NDArray[np.float64] = np.sum((p - 1.0 / bins) * np.log(p * bins), axis=1).astype(np.float32)
    return found
