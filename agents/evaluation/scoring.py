"""Scores against the causal optimum, and intervals for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its bootstrap interval."""

    value: float
    low: float
    high: float


def score(
    method: NDArray[np.float64], optimum: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """`sum(method) / sum(optimum)` over markets, with a percentile bootstrap interval (95%).

    Markets are resampled, method and optimum together; with several trained seeds, seeds as well.

    Args:
        method: (M,) or (seeds, M) net log-returns of the method.
        optimum: (M,) net log-returns of the filter oracle on the same markets.
        seed: of the resampling.
        resamples: bootstrap samples.

    Raises:
        ValueError: shapes that do not match, or an optimum that earns nothing.
    """
    runs = np.atleast_2d(np.asarray(method, dtype=np.float64))
    best = np.asarray(optimum, dtype=np.float64)
    if runs.shape[1:] != best.shape:
        raise ValueError(f"method {np.shape(method)} and optimum {best.shape} are not on the same markets")
    if not best.sum() > 0.0:
        raise ValueError(
            f"the optimum earns {best.sum():.4g} over these {len(best)} markets: a share of it means nothing; judge on "
            "more markets, or longer ones"
        )
    rng = np.random.default_rng(seed)
    markets = rng.integers(len(best), size=(resamples, len(best)))
    trained = rng.integers(len(runs), size=(resamples, len(runs)))
    earned = runs[trained[:, :, None], markets[:, None, :]].mean(axis=1).sum(axis=1)
    return _estimate(float(runs.mean(axis=0).sum() / best.sum()), earned / best[markets].sum(axis=1))


def difference(
    method: NDArray[np.float64],
    other: NDArray[np.float64],
    optimum: NDArray[np.float64],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """How much higher `method` scores than `other`, paired: both on the same resampled markets, seeds drawn apart.

    Args:
        method, other: (seeds, M) net log-returns on the same markets; numbers of seeds may differ.
        optimum: (M,) of the filter oracle.
        seed, resamples: as of `score`.

    Raises:
        ValueError: shapes that do not match.
    """
    best, shares = np.asarray(optimum, dtype=np.float64), []
    rng = np.random.default_rng(seed)
    markets = rng.integers(len(best), size=(resamples, len(best)))
    for runs in (np.atleast_2d(method), np.atleast_2d(other)):
        if runs.shape[1:] != best.shape:
            raise ValueError(f"results {runs.shape} and optimum {best.shape} are not on the same markets")
        trained = rng.integers(len(runs), size=(resamples, len(runs)))
        shares.append(runs[trained[:, :, None], markets[:, None, :]].mean(axis=1).sum(axis=1))
    value = (np.atleast_2d(method).mean(axis=0) - np.atleast_2d(other).mean(axis=0)).sum() / best.sum()
    return _estimate(float(value), (shares[0] - shares[1]) / best[markets].sum(axis=1))


def mean(values: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of independent values (N,), with a percentile bootstrap interval (95%)."""
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    return _estimate(
        float(sample.mean()), sample[rng.integers(len(sample), size=(resamples, len(sample)))].mean(axis=1)
    )


def _estimate(value: float, resampled: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(resampled, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Estimate(value, float(low), float(high))
