"""Returns of an equity curve and how they scatter: pure functions on arrays, in fractions (0.1 is ten per cent).

Crypto trades all day and all year: a year has 365 days, and `bars_per_year` follows from the length of a bar alone
(35,040 for 15m), never from the calendar days that an index happens to span. The risk-free rate is zero.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryptoenv.bars.timeframe import timeframe_ms

YEAR_MS = 365 * 24 * 3600 * 1000
NOISE = 1e-12  #: of a return; the last digit of a double is 2e-16
TAIL = 0.05  #: share of the returns that VaR, CVaR and the tail ratio look at


def bars_per_year(timeframe: str) -> float:
    """Bars of a timeframe in 365 days: 35,040 for "15m".

    Raises:
        ValueError: no timeframe.
    """
    return YEAR_MS / timeframe_ms(timeframe)


def simple_returns(equity: ArrayLike) -> NDArray[np.float64]:
    """(T,) `equity_t / equity_{t-1} - 1` of a curve (T + 1,); 0 where nothing was left to lose."""
    curve = np.asarray(equity, dtype=np.float64)
    before = curve[:-1]
    return np.divide(curve[1:], before, out=np.ones(len(before)), where=before > 0.0) - 1.0


def total_return(equity: ArrayLike) -> float:
    """`equity_T / equity_0 - 1`: the return on what was put in (ROI)."""
    curve = np.asarray(equity, dtype=np.float64)
    return float(curve[-1] / curve[0]) - 1.0


def annualised_return(equity: ArrayLike, per_year: float) -> float:
    """Compound growth per year, `(equity_T / equity_0)^(per_year / T) - 1`; infinite where that overflows.

    As empyrical's `annual_return` and ffn's CAGR; ruin is -1.
    """
    curve = np.asarray(equity, dtype=np.float64)
    growth = float(curve[-1] / curve[0])
    if growth <= 0.0:
        return -1.0
    try:
        return math.expm1(math.log(growth) * per_year / (len(curve) - 1))
    except OverflowError:
        return math.inf


def period_returns(equity: ArrayLike, closes_ms: ArrayLike, unit: str = "M") -> tuple[NDArray[np.int64], ...]:
    """Returns of calendar months (or "Y" years, "D" days), UTC; the first and the last may be parts of one.

    Args:
        equity: (T + 1,).
        closes_ms: (T + 1,) int64, when each value was marked, milliseconds since 1970, increasing.
        unit: of numpy's `datetime64`.

    Returns:
        (n,) numbers of the periods since 1970, and (n,) float64 returns; they compound to the total return.
    """
    curve = np.asarray(equity, dtype=np.float64)
    moments = np.asarray(closes_ms, dtype=np.int64) - 1  # a mark at midnight belongs to the day that ends
    period = moments.astype("datetime64[ms]").astype(f"datetime64[{unit}]").astype(np.int64)
    last = np.append(np.flatnonzero(np.diff(period[1:])) + 1, len(curve) - 1)
    marks = np.concatenate(([curve[0]], curve[last]))
    return period[last], simple_returns(marks)  # type: ignore[return-value]


def rounding(returns: ArrayLike, given: np.dtype | None = None) -> float:
    """What rounding alone makes of returns (T,): thousands of last digits, as a curve is summed or multiplied up.

    `given`: the type that the curve had, where it was a shorter float.
    """
    values = np.asarray(returns, dtype=np.float64)
    digits = 4.0 * float(np.finfo(given).eps) if given in (np.float32, np.float16) else NOISE
    return digits * (1.0 + max(float(values.max()), -float(values.min()))) if len(values) else digits


def deviation(returns: ArrayLike, noise: float | None = None) -> float:
    """Standard deviation (ddof 1) of returns (T,), 0 where it is at most `noise` (None: `rounding` of a constant)."""
    values = np.asarray(returns, dtype=np.float64)
    if len(values) < 2:
        return 0.0
    found = float(values.std(ddof=1))
    return found if found > (rounding(values) if noise is None else noise) else 0.0


def volatility(returns: ArrayLike, per_year: float, noise: float | None = None) -> float:
    """Annualised standard deviation, `std(r, ddof 1) sqrt(per_year)`; `noise` as for `deviation`."""
    return deviation(returns, noise) * math.sqrt(per_year)


def sharpe_ratio(returns: ArrayLike, per_year: float = 1.0, noise: float | None = None) -> float:
    """`mean(r) / std(r, ddof 1) sqrt(per_year)` (Sharpe 1994, J. Portfolio Management 21); 0 where nothing varies."""
    values = np.asarray(returns, dtype=np.float64)
    scatter = deviation(values, noise)
    return float(values.mean()) / scatter * math.sqrt(per_year) if scatter > 0.0 else 0.0


def downside_deviation(returns: ArrayLike, per_year: float = 1.0, noise: float | None = None) -> float:
    """`sqrt(mean(min(r, 0)^2) per_year)`; 0 without a loss beyond `noise` (None: rounding)."""
    values = np.asarray(returns, dtype=np.float64)
    below = np.minimum(values, 0.0)
    found = math.sqrt(float(np.dot(below, below)) / len(values)) if len(values) else 0.0
    return found * math.sqrt(per_year) if found > (rounding(values) if noise is None else noise) else 0.0


def sortino_ratio(returns: ArrayLike, per_year: float = 1.0, noise: float | None = None) -> float:
    """`mean(r) per_year / downside deviation` (Sortino and Price 1994, target 0); 0 without a loss."""
    values = np.asarray(returns, dtype=np.float64)
    below = downside_deviation(values, 1.0, noise)
    return float(values.mean()) / below * math.sqrt(per_year) if below > 0.0 else 0.0


def value_at_risk(returns: ArrayLike, tail: float = TAIL) -> float:
    """The return that a share `tail` of all returns lies below (historical; negative where it is a loss)."""
    return float(np.quantile(np.asarray(returns, dtype=np.float64), tail))


def conditional_value_at_risk(returns: ArrayLike, tail: float = TAIL) -> float:
    """Mean of the worst share `tail` of the returns, one at least (expected shortfall; Acerbi and Tasche 2002)."""
    values = np.asarray(returns, dtype=np.float64)
    worst = int((len(values) - 1) * tail)
    return float(np.partition(values, worst)[: worst + 1].mean())


def tail_ratio(returns: ArrayLike, tail: float = TAIL) -> float:
    """The upper quantile over the lower in size: `|q(1 - tail)| / |q(tail)|`; 0 where there is no lower tail."""
    low, high = np.abs(np.quantile(np.asarray(returns, dtype=np.float64), [tail, 1.0 - tail]))
    return float(high / low) if low > NOISE else 0.0


def information_ratio(returns: ArrayLike, benchmark: ArrayLike, per_year: float = 1.0) -> float:
    """Sharpe ratio of the returns beyond a benchmark's (T,), such as buy and hold's; 0 where the two are the same."""
    return sharpe_ratio(np.asarray(returns, dtype=np.float64) - np.asarray(benchmark, dtype=np.float64), per_year)


def beta(returns: ArrayLike, benchmark: ArrayLike) -> float:
    """Slope of returns on a benchmark's returns (T,); 0 where the benchmark does not vary."""
    values, other = (np.asarray(given, dtype=np.float64) for given in (returns, benchmark))
    if deviation(other) == 0.0:
        return 0.0
    centred = other - other.mean()
    return float(np.dot(centred, values) / np.dot(centred, centred))

