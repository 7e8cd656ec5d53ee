"""Stylised facts of a series of bars (the list of Cont 2001, "Empirical properties of asset returns").

All functions take arrays over `T` bars: `r` log-returns, `volume` base volume. NaN where too few bars are there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Series = NDArray[np.float64]

BARS_PER_DAY = 96
TAIL_SHARE = 0.01  #: of returns on either side that the tail index is estimated from
MEMORY_LAGS = (1, 4, 16, 48, 96, 288)
WINDOW_DAYS = 30  #: of the drawdown distribution


def autocorrelation(x: Series, lag: int) -> float:
    """Correlation of `x[t]` and `x[t + lag]`, about the mean of all of `x` (Box and Jenkins 1976, eq. 2.1.12)."""
    centred = x - x.mean()
    return float((centred[:-lag] * centred[lag:]).sum() / (centred * centred).sum())


def kurtosis(r: Series) -> float:
    """Fourth moment over squared variance; 3 for a Gaussian."""
    centred = r - r.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def tail_index(r: Series, share: float = TAIL_SHARE) -> float:
    """Hill estimator (Hill 1975) of the exponent of `P(|r| > x) ~ x^-alpha`, from the largest `2 * share` of `|r|`."""
    size = np.sort(np.abs(r))[::-1]
    count = max(int(2 * share * len(size)), 2)
    return float(1.0 / np.log(size[:count] / size[count]).mean())


def leverage(r: Series, lag: int = 1) -> float:
    """Correlation of a return with the absolute return `lag` bars later (Bouchaud, Matacz and Potters 2001)."""
    return float(np.corrcoef(r[:-lag], np.abs(r[lag:]))[0, 1])


def volume_volatility(r: Series, volume: Series) -> float:
    """Correlation of `|r|` and log volume, where there is volume."""
    traded = volume > 0.0
    return float(np.corrcoef(np.abs(r[traded]), np.log(volume[traded]))[0, 1])


def hourly_profile(r: Series, hour: NDArray[np.int64]) -> Series:
    """(24,) mean `|r|` of each hour of the day over the mean of all."""
    size = np.abs(r)
    return np.array([size[hour == h].mean() for h in range(24)]) / size.mean()


def peak_hour(profile: Series) -> float:
    """Hour, 0 to 24, at which the daily harmonic of a (24,) profile is highest."""
    angle = np.angle((profile * np.exp(2j * np.pi * np.arange(24) / 24)).sum())
    return float(angle % (2 * np.pi) * 24 / (2 * np.pi))


def variance_ratio(r: Series, bars: int) -> float:
    """Variance of sums of `bars` returns over `bars` times the variance of one (Lo and MacKinlay 1988, eq. 7)."""
    sums = np.convolve(r - r.mean(), np.ones(bars), mode="valid")
    return float((sums**2).mean() / (bars * r.var()))


def aggregated(r: Series, bars: int) -> Series:
    """Returns over blocks of `bars` bars."""
    count = len(r) // bars
    return r[: count * bars].reshape(count, bars).sum(axis=1)


def largest_drawdowns(r: Series, bars: int) -> Series:
    """Largest fall from a running peak, as a fraction, in each block of `bars` bars."""
    falls = []
    for block in range(len(r) // bars):
        path = np.concatenate([[0.0], np.cumsum(r[block * bars : (block + 1) * bars])])
        falls.append(1.0 - np.exp((path - np.maximum.accumulate(path)).min()))
    return np.array(falls)


def facts(bars: pd.DataFrame) -> dict[str, float]:
    """All facts of 15m bars that follow each other without a hole.

    Raises:
        ValueError: fewer than two windows of drawdowns.
    """
    close = bars["close"].to_numpy(np.float64)
    r = np.diff(np.log(close))
    volume = bars["volume"].to_numpy(np.float64)[1:]
    hour = pd.DatetimeIndex(bars.index).hour.to_numpy()[1:]
    if len(r) < 2 * WINDOW_DAYS * BARS_PER_DAY:
        raise ValueError(f"{len(bars)} bars are too few: {2 * WINDOW_DAYS} days of 15m bars are needed")
    profile = hourly_profile(r, hour)
    falls = largest_drawdowns(r, WINDOW_DAYS * BARS_PER_DAY)
    size = np.abs(r)
    found = {
        "volatility, % a day": float(100.0 * r.std() * BARS_PER_DAY**0.5),
        "kurtosis, 15m": kurtosis(r),
        "kurtosis, 1h": kurtosis(aggregated(r, 4)),
        "kurtosis, 4h": kurtosis(aggregated(r, 16)),
        "kurtosis, 1d": kurtosis(aggregated(r, BARS_PER_DAY)),
        "tail index": tail_index(r),
        "ACF of r, lag 1": autocorrelation(r, 1),
    }
    found |= {f"ACF of |r|, lag {lag}": autocorrelation(size, lag) for lag in MEMORY_LAGS}
    return found | {
        "leverage, lag 1": leverage(r),
        "|r| and log volume": volume_volatility(r, volume),
        "hourly profile, max / min": float(profile.max() / profile.min()),
        "hourly profile, hour of its peak (UTC)": peak_hour(profile),
        "variance ratio, 96 bars": variance_ratio(r, BARS_PER_DAY),
        "drawdown in 30 days, median / daily volatility": float(np.median(falls) / (r.std() * BARS_PER_DAY**0.5)),
        "drawdown in 30 days, largest / median": float(falls.max() / np.median(falls)),
    }
