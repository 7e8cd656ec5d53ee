"""A market whose bars come from a hidden regime chain, with the truth beside the bars and never in them.

For bar `t` in regime `k`, with `h` the observable variance of `VarianceRecursion`:

    r[t]       = sigma * (snr * drift[k] + volatility[k] * sqrt(h[t]) * noise),  noise Student-t of unit variance
    activity   = exp(log_volume[k] + ln(h[t]) / 2 + volume_noise * normal)
    wicks      ~ Exponential(wick * sigma * sqrt(h[t])) beyond the body, whatever the regime

Shape legend: `T` bars, `K` regimes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.regime_task import BARS_PER_DAY, WARMUP_DAYS, RegimeTask, find_task

Floats: TypeAlias = NDArray[np.float64]

START: Final = pd.Timestamp("2020-01-01", tz="UTC")

TYPICAL_NOTIONAL: Final = 1e7
"""Traded value of a bar (quote units) at activity 1. Base volume is this over the price, so that an account of 10,000
stays far below any participation cap wherever the price wanders."""

_TYPICAL_PRICE: Final = 100.0
_START_PRICE_SPREAD: Final = 0.1

# The chain starts from its stationary distribution; the variance forgets its start at persistence**t: 5e-22 by then.
_BURN_IN: Final = 384


@dataclass(frozen=True)
class RegimeSample:
    """One generated market.

    Attributes:
        bars: (T,) rows of `open high low close volume` (float64) on a UTC index named `timestamp`, 15 minutes apart;
            each open is the previous close. The first `WARMUP_DAYS` days are warm-up.
        truth: on the same index, `regime` (int8, place in `task.regimes`), `drift` = E[r_t | regime_t, past],
            `second_moment` = E[r_t**2 | regime_t, past], and `volatility` = sigma * sqrt(h_t), the scale known before
            the bar. `r_t` is the log-return from open to close.
        task: its parameters.
        seed: what it was drawn with.
    """

    bars: pd.DataFrame
    truth: pd.DataFrame
    task: RegimeTask
    seed: int


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


@njit(cache=True)
def _prices(log_returns: Floats, upper_wick: Floats, lower_wick: Floats, log_activity: Floats, price: float) -> Floats:
    """(T, 5) open, high, low, close, volume from a first price; wicks are log distances beyond the body."""
    bars = np.empty((log_returns.shape[0], 5))
    log_price = math.log(price)
    for t in range(log_returns.shape[0]):
        log_price += log_returns[t]
        close = math.exp(log_price)
        bars[t, 0] = price
        bars[t, 1] = max(price, close) * math.exp(upper_wick[t])
        bars[t, 2] = min(price, close) * math.exp(-lower_wick[t])
        bars[t, 3] = close
        bars[t, 4] = TYPICAL_NOTIONAL * math.exp(log_activity[t]) / price
        price = close
    return bars


def _draw(task: RegimeTask, length: int, rng: np.random.Generator) -> _Draws:
    unit_variance = math.sqrt((task.degrees_of_freedom - 2.0) / task.degrees_of_freedom)
    return _Draws(
        chain=rng.random(length),
        noise=rng.standard_t(task.degrees_of_freedom, length) * unit_variance,
        upper_wick=rng.standard_exponential(length),
        lower_wick=rng.standard_exponential(length),
        volume=rng.standard_normal(length),
    )


def regime_market(task: str | RegimeTask = "easy", days: int = 60, seed: int = 0) -> RegimeSample:
    """Draw one market: `WARMUP_DAYS` days of warm-up, then `days` tradable days, in bars of 15 minutes.

    Same arguments, same bytes. Chain and variance are stationary from the first bar on.

    Args:
        task: name in `TASKS`, or a `RegimeTask`.
        days: tradable days, at least 1.
        seed: any integer >= 0; `task_seeds` has families of them.

    Raises:
        ValueError: the task is unknown, or `days` or `seed` is out of range.
    """
    found = find_task(task)
    if days < 1:
        raise ValueError(f"days is {days}: at least 1 tradable day is needed")
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be >= 0")
    return draw_market(found, (WARMUP_DAYS + days) * BARS_PER_DAY, seed)


def draw_market(task: RegimeTask, length: int, seed: int) -> RegimeSample:
    """As `regime_market`, of `length` bars in all."""
    rng = np.random.default_rng(seed)
    first_price = _TYPICAL_PRICE * math.exp(_START_PRICE_SPREAD * rng.standard_normal())
    first_regime = int(rng.choice(len(task.regimes), p=task.stationary_distribution))
    draws = _draw(task, length + _BURN_IN, rng)
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
    prices = _prices(task.sigma * shocks, upper, lower, log_activity, first_price)
    index = pd.date_range(START, periods=length, freq="15min", name="timestamp")
    drift = task.mean_log_return[regimes]
    spread = numbers.volatility[regimes] * scale
    truth = {"regime": regimes, "drift": drift, "second_moment": drift**2 + spread**2, "volatility": scale}
    return RegimeSample(
        bars=pd.DataFrame(prices, index=index, columns=["open", "high", "low", "close", "volume"]),
        truth=pd.DataFrame(truth, index=index),
        task=task,
        seed=seed,
    )
