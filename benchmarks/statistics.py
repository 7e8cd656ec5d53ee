"""How often the statistics of evaluation are right, in simulation: intervals, Sharpe ratios, overfitting, the verdict.

    python -m benchmarks.statistics [--repetitions 2000] [--seconds 600] [--out FILE]

Each row of the result is one case. What stands in the file is kept and what is missing is added, until the time is up:
call it again. Coverage of 95% intervals of the mean and of the Sharpe ratio is counted on returns with a known mean:
independent or autocorrelated, with normal or with heavy tails, and with volatility that clusters. The others count how
often the best of strategies without any skill is taken for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.support.kept import run_cases
from cryptoenv.analysis.overfitting import backtest_overfitting, data_snooping
from cryptoenv.analysis.resampling import LEVEL, STATISTICS, Statistic, block_interval, stratified_interval
from cryptoenv.analysis.statistics import Moments, deflated_sharpe, probabilistic_sharpe
from cryptoenv.analysis.verdict import verdict

MEAN = 0.1  #: of returns whose deviation is 1: their Sharpe ratio too
LENGTHS = (250, 1000)
DAYS, TRIALS = 250, 100  #: of a search without skill
RESAMPLES = 499
Row = dict[str, float | int | str]


@njit(cache=True)
def _autoregressive(noise: NDArray[np.float64], dependence: float) -> NDArray[np.float64]:
    out = np.empty_like(noise)
    last = 0.0
    for i in range(noise.shape[0]):
        last = dependence * last + noise[i]
        out[i] = last
    return out


@njit(cache=True)
def _clustered(noise: NDArray[np.float64], shock: float, memory: float) -> NDArray[np.float64]:
    """GARCH(1, 1) of unconditional variance 1."""
    out = np.empty_like(noise)
    variance = 1.0
    for i in range(noise.shape[0]):
        out[i] = math.sqrt(variance) * noise[i]
        variance = 1.0 - shock - memory + shock * out[i] ** 2 + memory * variance
    return out


def returns_of(seed: int, count: int, dependence: float, tails: float | None, clustered: bool) -> NDArray[np.float64]:
    """(count,) returns of deviation 1 and mean `MEAN`, with autocorrelation `dependence`^lag and Student tails."""
    rng = np.random.default_rng([seed, count])
    size = count + 500
    noise = rng.standard_normal(size) if tails is None else rng.standard_t(tails, size) * math.sqrt(1.0 - 2.0 / tails)
    if clustered:
        noise = _clustered(noise, 0.08, 0.9)
    return _autoregressive(noise, dependence)[500:] * math.sqrt(1.0 - dependence**2) + MEAN


def coverage(
    statistic: Statistic, count: int, dependence: float, tails: float | None, clustered: bool, repetitions: int
) -> Row:
    """How often the interval holds the true value, and its mean width."""
    hits = below = 0
    width = 0.0
    for seed in range(repetitions):
        values = returns_of(seed, count, dependence, tails, clustered)
        found = block_interval(values, statistic, resamples=RESAMPLES, seed=seed)
        hits += found.low <= MEAN <= found.high
        below += found.high < MEAN
        width += (found.high - found.low) / repetitions
    return {"coverage": hits / repetitions, "interval_too_low": below / repetitions, "mean_width": width,
            "nominal": LEVEL, "repetitions": repetitions}  # fmt: skip


def stratified(repetitions: int) -> Row:
    """Coverage of the mean over 10 runs on each of 6 markets that differ."""
    levels, hits = np.linspace(0.0, 3.0, 6), 0
    for seed in range(repetitions):
        scores = np.random.default_rng(seed).normal(levels, 0.5, (10, 6))
        found = stratified_interval(scores, "mean", resamples=RESAMPLES, seed=seed)
        hits += found.low <= levels.mean() <= found.high
    return {"coverage": hits / repetitions, "nominal": LEVEL, "repetitions": repetitions}


def best_of_noise(repetitions: int) -> Row:
    """How often the best of `TRIALS` strategies without skill passes: alone, deflated, and as a verdict."""
    single = deflated = shown = 0
    for seed in range(repetitions):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (DAYS, TRIALS))
        ratios = returns.mean(axis=0) / returns.std(axis=0, ddof=1)
        best = returns[:, int(ratios.argmax())]
        moments, variance = Moments.of(best), float(ratios.var(ddof=1))
        single += probabilistic_sharpe(moments) > LEVEL
        deflated += deflated_sharpe(moments, TRIALS, variance) > LEVEL
        shown += verdict(best, TRIALS, variance=variance, seed=seed).word == "shown"
    return {"probabilistic_above_95": single / repetitions, "deflated_above_95": deflated / repetitions,
            "verdict_shown": shown / repetitions, "trials": TRIALS, "days": DAYS,
            "repetitions": repetitions}  # fmt: skip


def one_strategy(sharpe: float, repetitions: int) -> Row:
    """How often one strategy of a yearly Sharpe ratio, tried alone over two years, is shown, and how often refuted."""
    words = {"shown": 0, "not shown": 0, "refuted": 0}
    for seed in range(repetitions):
        values = returns_of(seed, 730, 0.0, 5.0, False) - MEAN + sharpe / math.sqrt(365.0)
        words[verdict(0.01 * values, seed=seed).word] += 1
    return {**{word: count / repetitions for word, count in words.items()}, "yearly_sharpe": sharpe,
            "repetitions": repetitions}  # fmt: skip


def overfitting(edge: float, repetitions: int) -> Row:
    """Probability of overfitting among 30 strategies, of which one earns `edge` deviations a day."""
    found = []
    for seed in range(repetitions):
        returns = np.random.default_rng(seed).normal(0.0, 0.01, (800, 30))
        returns[:, 7] += 0.01 * edge
        found.append(backtest_overfitting(returns).probability)
    return {"mean_probability": float(np.mean(found)), "deviation": float(np.std(found)), "edge": edge,
            "repetitions": repetitions}  # fmt: skip


def snooping(repetitions: int) -> Row:
    """How often the two tests find the best of 12 strategies without skill better than nothing, at 5%."""
    hits = np.zeros(2)
    for seed in range(repetitions):
        told = data_snooping(np.random.default_rng(seed).normal(0.0, 0.01, (200, 12)), resamples=RESAMPLES, seed=seed)
        hits += [told.reality_check < 0.05, told.spa < 0.05]
    return {"reality_check_below_5": hits[0] / repetitions, "spa_below_5": hits[1] / repetitions,
            "repetitions": repetitions}  # fmt: skip


def cases(repetitions: int) -> dict[str, Callable[[], Row]]:
    """What is simulated, by name, in the order of what matters most."""
    found: dict[str, Callable[[], Row]] = {}
    kinds: list[tuple[str, float, float | None, bool]] = [
        ("independent", 0.0, None, False), ("autocorrelated 0.3", 0.3, None, False),
        ("independent, t(4)", 0.0, 4.0, False), ("autocorrelated 0.3, t(4)", 0.3, 4.0, False),
        ("autocorrelated -0.2", -0.2, None, False), ("independent, t(5)", 0.0, 5.0, False),
        ("GARCH, t(5)", 0.0, 5.0, True), ("autocorrelated 0.6", 0.6, None, False),
    ]  # fmt: skip
    for count in reversed(LENGTHS):
        for name, dependence, tails, clustered in kinds:
            for statistic in STATISTICS:
                told = f"coverage of the {statistic}: {name}, n = {count}"
                found[told] = partial(coverage, statistic, count, dependence, tails, clustered, repetitions)
    found["coverage over seeds and markets"] = partial(stratified, repetitions)
    found["best of noise"] = partial(best_of_noise, repetitions // 4)
    found["overfitting of noise"] = partial(overfitting, 0.0, repetitions // 20)
    found["overfitting with an edge"] = partial(overfitting, 0.3, repetitions // 20)
    found["data snooping"] = partial(snooping, repetitions // 2)
    for sharpe in (0.0, 1.0, 2.0, 3.0, -2.0):
        found[f"verdict on a yearly Sharpe ratio of {sharpe:g}"] = partial(one_strategy, sharpe, repetitions // 2)
    return found


if __name__ == "__main__":
    run_cases("statistics", __doc__, cases, 2000, mean=MEAN, resamples=RESAMPLES)
