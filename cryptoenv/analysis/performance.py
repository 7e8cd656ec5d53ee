"""Performance of an equity curve. Fractions throughout (0.1 is ten per cent); the risk-free rate is zero."""

import math
from collections.abc import Sequence

import numpy as np

_NOISE = 1e-12  # of a return; the last digit of a double is 2e-16


def performance(
    equity: Sequence[float] | np.ndarray,
    bars_per_year: float,
    turnover: Sequence[float] | np.ndarray | float | None = None,
    trades: Sequence[float] | np.ndarray | None = None,
) -> dict[str, float]:
    """Key figures of an equity curve; r_t = equity_t / equity_{t-1} - 1, A = `bars_per_year`.

    | key | formula |
    |---|---|
    | total_return | equity_T / equity_0 - 1 |
    | annualised_return | (equity_T / equity_0)^(A / T) - 1 (infinite where that overflows) |
    | volatility | std(r, ddof 1) sqrt(A) |
    | sharpe | mean(r) / std(r, ddof 1) sqrt(A) (Sharpe 1994); 0 where nothing varies |
    | sortino | mean(r) / sqrt(mean(min(r, 0)^2)) sqrt(A) (Sortino and Price 1994, target 0); 0 without a loss |
    | max_drawdown | max over t of 1 - equity_t / max(equity_0..equity_t), so >= 0 |
    | turnover, turnover_per_year | sum of `turnover`; the same times A / T |
    | trades, win_rate | number of closed trades; share of them with a gain > 0 (0 where there is none) |

    What varies or loses no more than rounding does (1e-12 of a bar's return) neither varies nor loses.

    Args:
        equity: (T + 1,) equity at the start and after each of T >= 1 bars; finite, start > 0, none negative, 0 for good
            once it is 0.
        bars_per_year: bars in a year of 365 days, e.g. 35_040 for 15m.
        turnover: per bar or in total, traded notional as a multiple of equity; None leaves its keys out.
        trades: net gain of each closed trade, in any one unit; None leaves its keys out.

    Raises:
        ValueError: an argument is not as above; the message names it.
    """
    curve = np.asarray(equity, dtype=np.float64)
    _check(curve, bars_per_year)
    bars = len(curve) - 1
    before = curve[:-1]
    returns = np.divide(curve[1:], before, out=np.ones(bars), where=before > 0.0) - 1.0
    mean, noise = float(returns.mean()), _noise(equity, returns)
    deviation = float(returns.std(ddof=1)) if bars > 1 else 0.0
    deviation = deviation if deviation > noise else 0.0
    shortfall = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    shortfall = shortfall if shortfall > noise else 0.0
    growth = float(curve[-1] / curve[0])
    figures = {
        "total_return": growth - 1.0,
        "annualised_return": _annualised(growth, bars_per_year / bars),
        "volatility": deviation * math.sqrt(bars_per_year),
        "sharpe": mean / deviation * math.sqrt(bars_per_year) if deviation > 0.0 else 0.0,
        "sortino": mean / shortfall * math.sqrt(bars_per_year) if shortfall > 0.0 else 0.0,
        "max_drawdown": float(np.max(1.0 - curve / np.maximum.accumulate(curve))),
    }
    if turnover is not None:
        traded = _finite("turnover", turnover)
        if (traded < 0.0).any():
            raise ValueError(f"turnover has {traded.min()!r}; allowed: numbers >= 0")
        figures["turnover"] = float(traded.sum())
        figures["turnover_per_year"] = float(traded.sum()) * bars_per_year / bars
    if trades is not None:
        gains = _finite("trades", trades)
        figures["trades"] = float(gains.size)
        figures["win_rate"] = float((gains > 0.0).mean()) if gains.size else 0.0
    return figures


def _noise(equity: Sequence[float] | np.ndarray, returns: np.ndarray) -> float:
    """What rounding alone makes of returns: thousands of last digits, as a curve is summed or multiplied up."""
    given = np.asarray(equity).dtype
    digits = 4.0 * float(np.finfo(given).eps) if given in (np.float32, np.float16) else _NOISE
    return digits * (1.0 + float(np.abs(returns).max()))


def _annualised(growth: float, years_inverse: float) -> float:
    if growth <= 0.0:
        return -1.0
    try:
        return math.expm1(math.log(growth) * years_inverse)
    except OverflowError:
        return math.inf


def _finite(name: str, values: Sequence[float] | np.ndarray | float) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {array[~np.isfinite(array)][0]!r}; allowed: finite numbers")
    return array


def _check(curve: np.ndarray, bars_per_year: float) -> None:
    if curve.ndim != 1 or len(curve) < 2:
        raise ValueError(f"equity has shape {curve.shape}; allowed: (T + 1,) with T >= 1")
    bad = ~np.isfinite(curve) | (curve < 0.0)
    if bad.any() or curve[0] <= 0.0:
        row = int(bad.argmax())
        raise ValueError(f"equity[{row}] is {curve[row]!r}; allowed: finite, > 0 at the start and >= 0 after it")
    if ((curve[:-1] == 0.0) & (curve[1:] > 0.0)).any():
        raise ValueError("equity rises from 0; allowed: 0 from its first 0 on")
    if not (math.isfinite(bars_per_year) and bars_per_year > 0.0):
        raise ValueError(f"bars_per_year is {bars_per_year!r}; allowed: a finite number > 0")
