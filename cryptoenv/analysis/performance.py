"""The key figures of an equity curve. Fractions throughout (0.1 is ten per cent); the risk-free rate is zero.

`cryptoenv.analysis.figures` tells all there are, and refuses to tell what too few bars cannot.
"""

import math
from collections.abc import Sequence

import numpy as np

from cryptoenv.analysis import drawdowns, returns


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
    check_curve(curve, bars_per_year)
    bars = len(curve) - 1
    gains = returns.simple_returns(curve)
    noise = returns.rounding(gains, np.asarray(equity).dtype)
    figures = {
        "total_return": returns.total_return(curve),
        "annualised_return": returns.annualised_return(curve, bars_per_year),
        "volatility": returns.volatility(gains, bars_per_year, noise),
        "sharpe": returns.sharpe_ratio(gains, bars_per_year, noise),
        "sortino": returns.sortino_ratio(gains, bars_per_year, noise),
        "max_drawdown": drawdowns.max_drawdown(curve),
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


def _finite(name: str, values: Sequence[float] | np.ndarray | float) -> np.ndarray:
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has {array[~np.isfinite(array)][0]!r}; allowed: finite numbers")
    return array


def check_curve(curve: np.ndarray, bars_per_year: float, name: str = "equity") -> None:
    """Check an equity curve, and the bars of a year.

    Raises:
        ValueError: not (T + 1,) with T >= 1, a value that is not finite or negative, one that rises from 0, or no
            positive number of bars; `name` is what the message calls the curve.
    """
    if curve.ndim != 1 or len(curve) < 2:
        raise ValueError(f"{name} has shape {curve.shape}; allowed: (T + 1,) with T >= 1")
    bad = ~np.isfinite(curve) | (curve < 0.0)
    if bad.any() or curve[0] <= 0.0:
        row = int(bad.argmax())
        raise ValueError(f"{name}[{row}] is {curve[row]!r}; allowed: finite, > 0 at the start and >= 0 after it")
    if ((curve[:-1] == 0.0) & (curve[1:] > 0.0)).any():
        raise ValueError(f"{name} rises from 0; allowed: 0 from its first 0 on")
    if not (math.isfinite(bars_per_year) and bars_per_year > 0.0):
        raise ValueError(f"bars_per_year is {bars_per_year!r}; allowed: a finite number > 0")
