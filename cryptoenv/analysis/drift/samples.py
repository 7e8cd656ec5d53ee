"""Population stability index and Kolmogorov-Smirnov distance of a window against a reference, with honest thresholds.

The usual rule "PSI above 0.2 is a shift" knows neither the number of rows nor of bins: of 50 healthy rows in ten bins
the index is 0.18 on average. Here a threshold is a quantile of what the statistic does while nothing has changed.

*PSI.* With independent rows and B bins, `PSI / (1/n + 1/m)` is asymptotically chi-square with B - 1 degrees of freedom
(Yurdakul and Naranjo 2020, "Statistical properties of the population stability index", Journal of Risk Model Validation
14(4)). With dependent rows it is a weighted sum of chi-squares, whose weights are the eigenvalues of the bins' long-run
covariance over their shares; mean and spread of the weights give the scaled chi-square of Rao and Scott (1984, "On
chi-squared tests for multiway contingency tables with cell proportions estimated from survey data", Annals of
Statistics 12(1), second-order correction). Of few rows the index has a heavier tail than that, which is drawn.

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
        shares, inflation, _ = _bins(reference, wide)
        worth = rows / inflation
        if len(shares) > 1 and worth >= LEAST_ROWS and worth * float(shares.min()) >= PER_BIN - 1e-9:
            return wide, worth
    return 0, rows / _bins(reference, 2)[1]


def population_stability(reference: ColumnReference, counts: NDArray[np.int64], alpha: float) -> Distance | None:
    """The population stability index of counts per cell (K,), and its `1 - alpha` quantile; None where nothing is said.

    `sum (p - q) ln(p / q)` over bins, p the window's shares and q the reference's.
    """
    rows = int(counts.sum())
    wide, worth = bins_for(reference, rows)
    if not wide:
        return None
    expected, inflation, spread = _bins(reference, wide)
    found = _together(counts.astype(np.float64), wide)
    p = (found + HALF) / (rows + HALF * len(found))
    index = float(np.sum((p - expected) * np.log(p / expected)))
    freedom = (len(expected) - 1) / (1.0 + spread)
    scale = inflation * (1.0 + spread) * (1.0 / rows + 1.0 / reference.rows)
    return Distance(index, scale * _chi_square(alpha, freedom) * _tail(_on_grid(worth), len(expected), alpha))


def kolmogorov_smirnov(reference: ColumnReference, counts: NDArray[np.int64], alpha: float) -> Distance | None:
    """The distance of counts per cell (K,) from the reference, and its threshold; None where nothing is said."""
    rows = int(counts.sum())
    if not reference.judged or rows / float(np.median(reference.times)) < LEAST_ROWS:
        return None
    apart = np.abs(np.cumsum(counts)[:-1] / rows - np.cumsum(reference.shares)[:-1]) / np.sqrt(reference.times)
    return Distance(
        float(apart.max()), math.sqrt(-0.5 * math.log(alpha / 2.0) * (1.0 / rows + 1.0 / reference.rows))
    )


@lru_cache(maxsize=4096)
def _bins_of(key: tuple[bytes, bytes, int], wide: int) -> tuple[NDArray[np.float64], float, float]:
    shares, covariance, bins = np.frombuffer(key[0]), np.frombuffer(key[1]).reshape(key[2], key[2]), key[2]
    expected = _together(shares, wide)
    if len(expected) < 2:
        return expected, 1.0, 0.0
    joined = np.zeros((len(expected), bins))
    joined[np.arange(bins) // (wide // 2), np.arange(bins)] = 1.0
    root = 1.0 / np.sqrt(np.maximum(expected, 1e-9))
    normed = root[:, None] * (joined @ covariance @ joined.T) * root
    freedom = len(expected) - 1
    mean = max(float(np.trace(normed)) / freedom, 1.0)
    spread = max(float(np.sum(normed * normed)) / (freedom * mean * mean) - 1.0, 0.0)
    return expected, mean, spread


def _bins(reference: ColumnReference, wide: int) -> tuple[NDArray[np.float64], float, float]:
    """Shares of the bins, the mean weight of the chi-squares, and the squared variation of the weights."""
    covariance = np.ascontiguousarray(reference.covariance)
    return _bins_of((reference.shares.tobytes(), covariance.tobytes(), len(covariance)), wide)


def _together(cells: NDArray[np.float64], wide: int) -> NDArray[np.float64]:
    return np.add.reduceat(cells, np.arange(0, len(cells), wide))


@lru_cache(maxsize=4096)
def _chi_square(alpha: float, freedom: float) -> float:
    from scipy.special import gammainccinv

    return 2.0 * float(gammainccinv(freedom / 2.0, alpha))


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
    return max(float(np.quantile(drawn, 1.0 - at)) * rows / _chi_square(at, bins - 1.0), 1.0)


@lru_cache(maxsize=4)
def _drawn(rows: int, bins: int) -> NDArray[np.float64]:
    """(DRAWN,) indices of windows of independent rows, float32."""
    rng = np.random.default_rng([rows, bins])
    counts = rng.multinomial(rows, np.full(bins, 1.0 / bins), DRAWN)
    p = (counts + HALF) / (rows + HALF * bins)
    found: NDArray[np.float64] = np.sum((p - 1.0 / bins) * np.log(p * bins), axis=1).astype(np.float32)
    return found
