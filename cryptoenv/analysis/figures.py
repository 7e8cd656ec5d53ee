"""All figures of a run in one table of names and values, each a number or a word that says why there is none."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cryptoenv.analysis import drawdowns, returns
from cryptoenv.analysis.performance import check_curve
from cryptoenv.analysis.trades import trade_figures

TOO_SHORT = "too short"  #: for the figure that is asked for
NO_LOSS = "no loss"  #: a ratio over losses of which there is none
BEYOND = "beyond numbers"  #: a growth rate that no double holds
LEAST_RETURNS = 20  #: returns below which ratios, quantiles and deviations say nothing
LEAST_DAYS = 30  #: days below which nothing is put on a year
Figure = float | str

_RATIOS = ("volatility", "sharpe", "sortino", "var_95", "cvar_95", "tail_ratio", "best_bar", "worst_bar")
_ON_A_YEAR = ("annualised_return", "calmar")


def figures(
    equity: ArrayLike,
    per_year: float,
    *,
    exposure: ArrayLike | None = None,
    turnover: ArrayLike | float | None = None,
    trades: pd.DataFrame | None = None,
    costs: Mapping[str, float] | None = None,
    benchmark: ArrayLike | None = None,
) -> dict[str, Figure]:
    """Every figure of an equity curve that can be told, by name.

    Nothing is NaN or infinite: a flat line has a Sharpe ratio of 0 and no drawdown, ruin is a total and annualised
    return of -1 (what the kernel leaves at ruin counts as it is), no trade is 0 throughout, a single bar is `TOO_SHORT`
    for whatever needs several. Below `LEAST_RETURNS` returns every ratio is `TOO_SHORT`, below `LEAST_DAYS` days what
    is put on a year.

    Args:
        equity: (T + 1,) at the start and after each of T >= 1 bars, as for `cryptoenv.performance`.
        per_year: bars in a year of 365 days (`returns.bars_per_year`).
        exposure: (T,) signed exposure over each bar.
        turnover: (T,), or in total: traded notional as a multiple of equity.
        trades: of `trades.trades_of`; its open trade counts in no figure of closed ones.
        costs: totals by kind in the equity's unit, such as `{"fees": 12.0, "funding": -1.5}`.
        benchmark: (T + 1,) equity of what is compared with, such as buy and hold.

    Raises:
        ValueError: an argument is not as above; the message names it.
    """
    curve = np.asarray(equity, dtype=np.float64)
    check_curve(curve, per_year)
    gains = returns.simple_returns(curve)
    found = _of_curve(curve, gains, per_year)
    if exposure is not None:
        held = _per_bar("exposure", exposure, len(gains))
        found |= {"time_in_market": float((held != 0.0).mean()), "mean_exposure": float(np.abs(held).mean())}
    if turnover is not None:
        traded = float(np.sum(turnover))
        found |= {"turnover": traded, "turnover_per_day": traded / _days(len(gains), per_year)}
    if trades is not None:
        found |= _of_trades(trades)
    if costs is not None:
        found |= {f"cost_{kind}": float(paid) for kind, paid in costs.items()}
        total = float(sum(costs.values()))
        found |= {"cost_total": total, "cost_share": total / float(curve[0])}
    if benchmark is not None:
        found |= _against(gains, np.asarray(benchmark, dtype=np.float64), per_year)
    return _told(found, len(gains), per_year)


def _of_curve(curve: NDArray[np.float64], gains: NDArray[np.float64], per_year: float) -> dict[str, Figure]:
    return {
        "bars": float(len(gains)),
        "days": _days(len(gains), per_year),
        "total_return": returns.total_return(curve),
        "log_return": math.log(curve[-1] / curve[0]) if curve[-1] > 0.0 else -math.inf,
        "annualised_return": returns.annualised_return(curve, per_year),
        "volatility": returns.volatility(gains, per_year),
        "sharpe": returns.sharpe_ratio(gains, per_year),
        "sortino": returns.sortino_ratio(gains, per_year),
        "calmar": drawdowns.calmar_ratio(curve, per_year),
        "max_drawdown": drawdowns.max_drawdown(curve),
        "longest_drawdown_bars": float(drawdowns.longest_drawdown(curve)),
        "ulcer_index": drawdowns.ulcer_index(curve),
        "var_95": returns.value_at_risk(gains),
        "cvar_95": returns.conditional_value_at_risk(gains),
        "tail_ratio": returns.tail_ratio(gains),
        "best_bar": float(gains.max()),
        "worst_bar": float(gains.min()),
    }


def _of_trades(table: pd.DataFrame) -> dict[str, Figure]:
    closed = table[~table["open"].to_numpy(dtype=bool)]
    told = trade_figures(closed["gain"].to_numpy())
    held = closed["bars"].to_numpy(dtype=np.float64)
    return {
        "trades": float(told.trades),
        "win_rate": told.win_rate,
        "win_loss_ratio": told.win_loss_ratio,
        "profit_factor": told.profit_factor,
        "payoff": told.payoff,
        "expectancy": told.expectancy,
        "expectancy_return": float(closed["return"].mean()) if len(closed) else 0.0,
        "best_trade": told.best,
        "worst_trade": told.worst,
        "longest_losing_run": float(told.longest_losing_run),
        "mean_holding_bars": float(held.mean()) if len(held) else 0.0,
        "median_holding_bars": float(np.median(held)) if len(held) else 0.0,
    }


def _against(gains: NDArray[np.float64], benchmark: NDArray[np.float64], per_year: float) -> dict[str, Figure]:
    if benchmark.shape != (len(gains) + 1,):
        raise ValueError(f"benchmark has shape {benchmark.shape}; allowed: ({len(gains) + 1},), as equity")
    check_curve(benchmark, per_year, "benchmark")
    others = returns.simple_returns(benchmark)
    short = len(gains) < LEAST_RETURNS
    return {
        "benchmark_return": returns.total_return(benchmark),
        "information_ratio": TOO_SHORT if short else returns.information_ratio(gains, others, per_year),
        "beta": TOO_SHORT if short else returns.beta(gains, others),
    }


def _told(found: dict[str, Figure], bars: int, per_year: float) -> dict[str, Figure]:
    """Words where a number would say nothing."""
    short = set(_RATIOS) if bars < LEAST_RETURNS else set()
    if _days(bars, per_year) < LEAST_DAYS or bars < LEAST_RETURNS:
        short |= set(_ON_A_YEAR)
    return {name: TOO_SHORT if name in short else _finite(name, value) for name, value in found.items()}


def _finite(name: str, value: Figure) -> Figure:
    if isinstance(value, str) or math.isfinite(value):
        return value
    return BEYOND if name in (*_ON_A_YEAR, "log_return") else NO_LOSS


def _days(bars: int, per_year: float) -> float:
    return 365.0 * bars / per_year


def _per_bar(name: str, values: ArrayLike, bars: int) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (bars,) or not np.isfinite(found).all():
        raise ValueError(f"{name} has shape {found.shape}; allowed: ({bars},) finite numbers, one per bar")
    return found


def monthly_table(equity: ArrayLike, closes_ms: ArrayLike) -> pd.DataFrame:
    """Returns of calendar months: a row per year, columns 1 to 12 and "year" (compounded), NaN where there is none.

    Args:
        equity: (T + 1,).
        closes_ms: (T + 1,) int64, when each value was marked, milliseconds since 1970.
    """
    months, gains = returns.period_returns(equity, closes_ms)
    table = pd.DataFrame({"year": 1970 + months // 12, "month": months % 12 + 1, "return": gains})
    grid = table.pivot(index="year", columns="month", values="return").reindex(columns=range(1, 13))
    grid["year"] = table.groupby("year")["return"].apply(lambda r: float(np.prod(1.0 + r) - 1.0))
    return grid
