"""What a trader can know of the hidden regime: the exact Bayes filter of the regime chain.

A two-level market has its own (`synthetic.oracles.macro_filter`); here is that of one chain.

Given: the task's parameters, and per bar its log-return from open to close and its traded value `volume * open`. Not
given: the regime, nor any volatility: the variance is recomputed from the observed returns by `VarianceRecursion`.
The variance and regime of the bar before the first are unknown; the filter starts them at their long-run values, and
the error so made fades with `persistence**t` and the chain's memory, long before the warm-up ends. Wicks carry no
information about the regime in this market. Shape legend: `T` bars, `K` regimes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit

from synthetic.oracles.macro_filter import EVERYTHING, Information, evidence, macro_beliefs
from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.market import VarianceNumbers, variance_after, variance_numbers
from synthetic.regimes.sample import TYPICAL_NOTIONAL, Floats, RegimeSample


class _Emission(NamedTuple):
    """What each regime says of a bar: drift, volatility, log volume, (K,) each, and the shapes of the two noises."""

    drift: Floats
    volatility: Floats
    log_volume: Floats
    degrees_of_freedom: float
    volume_noise: float


@njit(cache=True)
def _variances(shocks: Floats, recursion: VarianceNumbers) -> Floats:
    """(T + 1,) variance in force at each bar and at the one after the last."""
    variances = np.empty(shocks.shape[0] + 1)
    variances[0] = min(max(1.0, recursion.floor), recursion.ceiling)
    for t in range(shocks.shape[0]):
        variances[t + 1] = variance_after(variances[t], shocks[t], recursion)
    return variances


@njit(cache=True)
def _predict(belief: Floats, transitions: Floats, predicted: Floats) -> None:
    """Fill `predicted` (K,) with the belief one bar on, before that bar is seen."""
    predicted[:] = 0.0
    for i in range(belief.shape[0]):
        for j in range(belief.shape[0]):
            predicted[j] += belief[i] * transitions[i, j]


@njit(cache=True)
def _log_likelihoods(shock: float, log_activity: float, h: float, emission: _Emission, out: Floats) -> None:
    """Fill `out` (K,) with the log-likelihood of a bar under each regime, up to a constant that they share."""
    degrees = emission.degrees_of_freedom
    root = math.sqrt(h * (degrees - 2.0) / degrees)
    activity = log_activity - 0.5 * math.log(h)
    for k in range(out.shape[0]):
        z = (shock - emission.drift[k]) / (emission.volatility[k] * root)
        e = (activity - emission.log_volume[k]) / emission.volume_noise
        student = -0.5 * (degrees + 1.0) * math.log(1.0 + z * z / degrees) - math.log(emission.volatility[k])
        out[k] = student - 0.5 * e * e


@njit(cache=True)
def _filter(
    shocks: Floats, log_activity: Floats, variances: Floats, start: Floats, transitions: Floats, emission: _Emission
) -> Floats:
    """(T, K) beliefs after each bar; `start` (K,) is the belief before the first."""
    beliefs = np.empty((shocks.shape[0], start.shape[0]))
    predicted = start.copy()
    log_likelihood = np.empty(start.shape[0])
    for t in range(shocks.shape[0]):
        if t > 0:
            _predict(beliefs[t - 1], transitions, predicted)
        _log_likelihoods(shocks[t], log_activity[t], variances[t], emission, log_likelihood)
        # The largest likelihood is scaled to 1, so that an outlier cannot underflow them all.
        largest = -math.inf
        for k in range(start.shape[0]):
            if predicted[k] > 0.0:
                largest = max(largest, log_likelihood[k])
        total = 0.0
        for k in range(start.shape[0]):
            if predicted[k] > 0.0:
                beliefs[t, k] = predicted[k] * math.exp(log_likelihood[k] - largest)
            else:
                beliefs[t, k] = 0.0
            total += beliefs[t, k]
        for k in range(start.shape[0]):
            beliefs[t, k] /= total
    return beliefs


def observed_shocks(bars: pd.DataFrame, task: RegimeTask) -> Floats:
    """(T,) log-returns from open to close in units of the task's sigma."""
    return np.log(bars["close"].to_numpy() / bars["open"].to_numpy()) / task.sigma


def observed_variances(bars: pd.DataFrame, task: RegimeTask) -> Floats:
    """(T + 1,) variance `h` in force at each bar and, last, at the bar to come, from the bars before it alone."""
    return _variances(observed_shocks(bars, task), variance_numbers(task))


def filter_beliefs(sample: RegimeSample, information: Information = EVERYTHING) -> Floats:
    """Probability of each regime at every bar, given all bars up to and including it.

    The forward recursion of a hidden Markov model (Rabiner 1989). Reads `sample.bars` and `sample.task`; of
    `sample.truth` only the volatility level of a two-level market, up to the bar, and only if told to.

    Args:
        sample: the market.
        information: what a two-level market's filter is told; a one-level market's is always told everything.

    Returns:
        (T, K) float64; rows sum to 1.

    Raises:
        ValueError: information is left out of a one-level market.
    """
    task = sample.task
    if isinstance(task, MacroTask):
        return macro_beliefs(sample, information, evidence(sample, information))
    if information != EVERYTHING:
        raise ValueError(f"task {task.name!r} has no macro state: information can only be left out of one that has")
    notional = sample.bars["volume"].to_numpy() * sample.bars["open"].to_numpy()
    emission = _Emission(
        task.signal_to_noise * np.array(task.drift),
        np.array(task.volatility),
        np.array(task.log_volume),
        task.degrees_of_freedom,
        task.volume_noise,
    )
    return _filter(
        observed_shocks(sample.bars, task),
        np.log(notional / TYPICAL_NOTIONAL),
        observed_variances(sample.bars, task),
        task.stationary_distribution,
        task.transition_matrix,
        emission,
    )
