"""A market whose bars come from a hidden regime chain, with the truth beside the bars and never in them.

For bar `t` in regime `k`, with `h` the observable variance of `VarianceRecursion`:

    r[t]       = sigma * (snr * drift[k] + volatility[k] * sqrt(h[t]) * noise),  noise Student-t of unit variance
    activity   = exp(log_volume[k] + ln(h[t]) / 2 + volume_noise * normal)
    wicks      ~ Exponential(wick * sigma * sqrt(h[t])) beyond the body, whatever the regime

Shape legend: `T` bars, `K` regimes.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthetic.regimes.chain_task import BARS_PER_DAY, WARMUP_DAYS, RegimeTask
from synthetic.regimes.macro_market import draw_macro_market
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.sample import Floats, RegimeSample, first_price, price_bars, sample_of
from synthetic.regimes.tasks import find_task

# The chain starts from its stationary distribution; the variance forgets its start at persistence**t: 5e-22 by then.
_BURN_IN: Final = 384


class VarianceNumbers(NamedTuple):
    """The fields of `VarianceRecursion`, as jitted code takes them."""

    constant: float
    reaction: float
    persistence: float
    shock_bound: float
    floor: float
    ceiling: float


class _RegimeNumbers(NamedTuple):
    """What the walk reads of a task: arrays of (K,), drift times signal-to-noise, volatility and log volume."""

    cumulative: Floats
    drift: Floats
    volatility: Floats
    log_volume: Floats


class _Draws(NamedTuple):
    """All randomness of a market, (n,) each: uniform, unit-variance Student-t, exponential, exponential, normal."""

    chain: Floats
    noise: Floats
    upper_wick: Floats
    lower_wick: Floats
    volume: Floats


def variance_numbers(task: RegimeTask) -> VarianceNumbers:
    """The variance recursion of a task, as `variance_after` takes it."""
    v = task.variance
    return VarianceNumbers(v.constant, v.reaction, v.persistence, v.shock_bound, v.floor, v.ceiling)


@njit(cache=True)
def variance_after(h: float, shock: float, recursion: VarianceNumbers) -> float:
    """The variance of the next bar, given this bar's variance and its log-return in units of sigma."""
    following = (
        recursion.constant + recursion.reaction * min(shock * shock, recursion.shock_bound) + recursion.persistence * h
    )
    return min(max(following, recursion.floor), recursion.ceiling)


@njit(cache=True)
def _walk(
    draws: _Draws, first_regime: int, numbers: _RegimeNumbers, recursion: VarianceNumbers, volume_noise: float
) -> tuple[NDArray[np.int8], Floats, Floats, Floats]:
    """Regime, log-return in units of sigma, variance and log activity of each bar, (n,) each."""
    length = draws.chain.shape[0]
    last = numbers.cumulative.shape[0] - 1
    regimes = np.empty(length, np.int8)
    shocks = np.empty(length)
    variances = np.empty(length)
    log_activity = np.empty(length)
    regime = first_regime
    h = 1.0
    for t in range(length):
        following = 0
        while following < last and draws.chain[t] >= numbers.cumulative[regime, following]:
            following += 1
        regime = following
        regimes[t] = regime
        variances[t] = h
        shocks[t] = numbers.drift[regime] + numbers.volatility[regime] * math.sqrt(h) * draws.noise[t]
        log_activity[t] = numbers.log_volume[regime] + 0.5 * math.log(h) + volume_noise * draws.volume[t]
        h = variance_after(h, shocks[t], recursion)
    return regimes, shocks, variances, log_activity


def _draw(task: RegimeTask, length: int, rng: np.random.Generator) -> _Draws:
    unit_variance = math.sqrt((task.degrees_of_freedom - 2.0) / task.degrees_of_freedom)
    return _Draws(
        chain=rng.random(length),
        noise=rng.standard_t(task.degrees_of_freedom, length) * unit_variance,
        upper_wick=rng.standard_exponential(length),
        lower_wick=rng.standard_exponential(length),
        volume=rng.standard_normal(length),
    )


def regime_market(task: str | RegimeTask | MacroTask = "easy", days: int = 60, seed: int = 0) -> RegimeSample:
    """Draw one market: `WARMUP_DAYS` days of warm-up, then `days` tradable days, in bars of 15 minutes.

    Same arguments, same bytes. Chain and variance are stationary from the first bar on.

    Args:
        task: name in `TASKS`, or a task of one's own.
        days: tradable days, at least 1.
        seed: any integer >= 0; `task_seeds` has families of them.

    Raises:
        ValueError: the task is unknown, or `days` or `seed` is out of range.

    Example:
        >>> from synthetic import regime_market
        >>> sample = regime_market("easy", days=2, seed=1)
        >>> sample.bars.shape, sample.bars.equals(regime_market("easy", days=2, seed=1).bars)
        ((5568, 5), True)
    """
    found = find_task(task)
    if days < 1:
        raise ValueError(f"days is {days}: at least 1 tradable day is needed")
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be >= 0")
    return draw_market(found, (WARMUP_DAYS + days) * BARS_PER_DAY, seed)


def noise_length(length: int) -> int:
    """How many draws of noise a market of `length` bars of a regime chain takes."""
    return length + _BURN_IN


def draw_market(task: RegimeTask | MacroTask, length: int, seed: int, noise: Floats | None = None) -> RegimeSample:
    """As `regime_market`, of `length` bars in all; a regime chain's with the `noise`, (`noise_length`,), if given."""
    if isinstance(task, MacroTask):
        return draw_macro_market(task, length, seed)
    rng = np.random.default_rng(seed)
    price = first_price(rng)
    first_regime = int(rng.choice(len(task.regimes), p=task.stationary_distribution))
    draws = _draw(task, length + _BURN_IN, rng)
    if noise is not None:
        draws = draws._replace(noise=noise)
    numbers = _RegimeNumbers(
        np.cumsum(task.transition_matrix, axis=1),
        task.signal_to_noise * np.array(task.drift),
        np.array(task.volatility),
        np.array(task.log_volume),
    )
    walked = _walk(draws, first_regime, numbers, variance_numbers(task), task.volume_noise)
    regimes = walked[0][_BURN_IN:]
    shocks, variances, log_activity = (column[_BURN_IN:] for column in walked[1:])
    scale = task.sigma * np.sqrt(variances)
    upper, lower = (task.wick * scale * wick[_BURN_IN:] for wick in (draws.upper_wick, draws.lower_wick))
    prices = price_bars(task.sigma * shocks, upper, lower, log_activity, price)
    drift = task.mean_log_return[regimes]
    spread = numbers.volatility[regimes] * scale
    truth: dict[str, NDArray[Any]] = {
        "regime": regimes,
        "drift": drift,
        "second_moment": drift**2 + spread**2,
        "volatility": scale,
    }
    return sample_of(prices, truth, task, seed)
