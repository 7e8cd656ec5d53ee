"""Portfolio rules to judge agents by: weights from closes known at the decision. Shapes: `T` bars, `A` assets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthetic.oracles.filter_oracle import filter_oracle
from synthetic.regimes.sample import RegimeSample

Floats = NDArray[np.float64]


def equal_weights(closes: Floats) -> Floats:
    """(A,) equal weights for closes (T, A): the constant rebalanced portfolio, asked for in every bar.

    With `RiskLimits(rebalance_tolerance=125)`, under which drift asks for no order, it is bought once and held.
    """
    return np.full(closes.shape[1], 1.0 / closes.shape[1])


def equal_risk(closes: Floats, bars: int = 96, rounds: int = 50) -> Floats:
    """(A,) weights >= 0 of sum 1 whose shares of the portfolio's variance are equal, from the last returns.

    Cyclical coordinate descent (Griveau-Billion, Richard and Roncalli 2013) on `w_i (S w)_i = 1 / A` (Maillard,
    Roncalli and Teiletche 2010).

    Args:
        closes: (T, A), oldest first. bars: returns that the covariance S is taken of. rounds: over all assets.
    """
    assets = closes.shape[1]
    returns = np.diff(np.log(closes[-bars - 1 :]), axis=0)
    if len(returns) <= assets:
        return equal_weights(closes)
    covariance = np.cov(returns, rowvar=False).reshape(assets, assets)
    diagonal = np.diag(covariance)
    if (diagonal <= 0.0).any():
        return equal_weights(closes)
    weights = 1.0 / np.sqrt(diagonal)
    weights /= np.sqrt(weights @ covariance @ weights)
    for _ in range(rounds):
        for i in range(assets):
            rest = covariance[i] @ weights - diagonal[i] * weights[i]
            weights[i] = (-rest + np.sqrt(rest * rest + 4.0 * diagonal[i] / assets)) / (2.0 * diagonal[i])
    return np.asarray(weights / weights.sum())


def on_simplex(values: Floats) -> Floats:
    """The point nearest to `values` (A,) with entries >= 0 of sum 1 (Duchi et al. 2008)."""
    ordered = np.sort(values)[::-1]
    excess = (np.cumsum(ordered) - 1.0) / np.arange(1, len(values) + 1)
    return np.maximum(values - excess[np.flatnonzero(ordered > excess)[-1]], 0.0)


def olmar(closes: Floats, weights: Floats, bars: int = 5, epsilon: float = 10.0) -> Floats:
    """(A,) weights of on-line moving average reversion (Li and Hoi 2012, OLMAR-1), after `weights` (A,).

    Args:
        closes: (T, A), oldest first. weights: of the bar before. bars: of the average. epsilon: growth hoped for.
    """
    predicted = closes[-bars:].mean(axis=0) / closes[-1]
    excess = predicted - predicted.mean()
    size = float(excess @ excess)
    if size == 0.0:
        return weights.copy()
    return on_simplex(weights + max(0.0, (epsilon - float(weights @ predicted)) / size) * excess)


def oracle_weights(samples: Sequence[RegimeSample], start: int, cost: float = 0.0011) -> Floats:
    """(T, A) weights of each asset's own causal optimum, an equal part of the equity each: what one looks up to.

    Every asset is traded as if alone (`synthetic.filter_oracle` over -1, 0, 1). That is no optimum of the portfolio,
    whose risk it does not see: a bound for who treats assets one by one.

    Args:
        samples: of A assets on one index, with their latent models, as `correlated_market` draws them.
        start: bar of the first decision; flat before. cost: log-return lost per unit of turnover.
    """
    oracles = [filter_oracle(sample, cost) for sample in samples]
    weights = np.zeros((len(samples[0].bars), len(samples)))
    for j, oracle in enumerate(oracles):
        held = int(np.flatnonzero(oracle.positions == 0.0)[0])
        for t in range(start, len(weights)):
            held = int(oracle.actions[t, held])
            weights[t, j] = oracle.positions[held] / len(samples)
    return weights
