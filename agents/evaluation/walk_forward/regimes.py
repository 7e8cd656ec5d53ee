"""Regimes of a market by numbers, and what a strategy earned in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.typed_values import Range, require_numbers
from cryptoenv.market.market import Market

LEAST_BARS = 500  #: of a regime, below which nothing is told of it
TOO_FEW = "too few"
REGIMES = ("bull", "bear", "sideways", "high volatility")


@dataclass(frozen=True)
class RegimeRules:
    """What a regime is; a bar may be of several, or of none.

    Attributes:
        swing: bull from a rise of this much above the lowest close since the last bear on, until a fall of as much
            below the highest close since then, from which on it is bear. Before the first of both it is neither.
        band: sideways while the log-return over `days` is smaller than this in size.
        days: of drift and volatility.
        share: high volatility while the deviation of log-returns over `days` is among this share of the largest of the
            time before the first judged bar.

    Raises:
        ConfigError: a number outside its range.
    """

    swing: float = 0.2
    band: float = 0.05
    days: float = 30.0
    share: float = 0.2

    def __post_init__(self) -> None:
        ranges = {"swing": Range(0.0, 10.0, above=True), "days": Range(0.0, 3650.0, above=True)}
        require_numbers(self, ranges | {"band": Range(0.0, 10.0), "share": Range(0.0, 1.0, above=True)})


def regimes_of(market: Market, trained_until: int, rules: RegimeRules | None = None) -> dict[str, NDArray[np.bool_]]:
    """Per regime, (T,) whether each bar is in it by what is known at its close.

    Args:
        market: whose closes count.
        trained_until: row of the first judged decision: the quantile of volatility is taken of the bars before it.
        rules: what a regime is.
    """
    rules = rules or RegimeRules()
    close = np.ascontiguousarray(market.prices[:, CLOSE])
    trend = _swings(close, rules.swing)
    bars = max(round(rules.days * DAY_MS / timeframe_ms(market.timeframes[0])), 2)
    logs = np.log(close)
    drift = np.full(len(close), np.nan)
    drift[bars:] = logs[bars:] - logs[:-bars]
    volatility = _rolling_deviation(np.diff(logs, prepend=logs[0]), bars)
    before = volatility[:trained_until]
    before = before[~np.isnan(before)]
    limit = float(np.quantile(before, 1.0 - rules.share)) if len(before) else np.inf
    with np.errstate(invalid="ignore"):
        return {
            "bull": trend == 1, "bear": trend == -1, "sideways": np.abs(drift) < rules.band,
            "high volatility": volatility > limit,
        }  # fmt: skip


@njit(cache=True)
def _swings(close: NDArray[np.float64], swing: float) -> NDArray[np.int8]:
    """(T,) int8: 1 bull, -1 bear, 0 before the first turn."""
    out = np.zeros(close.shape[0], dtype=np.int8)
    low = high = close[0]
    state = 0
    for t in range(close.shape[0]):
        low, high = min(low, close[t]), max(high, close[t])
        if state != 1 and close[t] >= low * (1.0 + swing):
            state, high = 1, close[t]
        elif state != -1 and close[t] <= high * (1.0 - swing):
            state, low = -1, close[t]
        out[t] = state
    return out


def _rolling_deviation(returns: NDArray[np.float64], bars: int) -> NDArray[np.float64]:
    """(T,) deviation of the last `bars` returns; NaN until there are so many."""
    found = pd.Series(returns).rolling(bars).std(ddof=0).to_numpy(dtype=np.float64).copy()
    found[:bars] = np.nan  # the first return is of no bar
    return found


def by_regime(
    log_returns: NDArray[np.float64], regimes: dict[str, NDArray[np.bool_]], bars_per_day: float
) -> pd.DataFrame:
    """A row per regime: bars, net log-return per day, share of bars with a gain; `TOO_FEW` below `LEAST_BARS`.

    Args:
        log_returns: (S,) net log-returns of steps.
        regimes: per name (S,) whether each step is decided in it.
        bars_per_day: of the base timeframe.
    """
    lines = {}
    for name, inside in {**regimes, "all": np.ones(len(log_returns), dtype=np.bool_)}.items():
        mine = log_returns[inside]
        told: dict[str, float | str] = {"bars": float(len(mine))}
        if len(mine) < LEAST_BARS:
            told |= {"log_return_per_day": TOO_FEW, "log_return": TOO_FEW}
        else:
            told |= {"log_return_per_day": float(mine.mean()) * bars_per_day, "log_return": float(mine.sum())}
        lines[name] = told
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("regime")


def regime_table(
    market: Market,
    first: int,
    log_returns: NDArray[np.float64],
    held: NDArray[np.float64],
    rules: RegimeRules | None = None,
    states: pd.Series | None = None,
) -> pd.DataFrame:
    """As `by_regime`, per day, beside buy and hold; a row per regime, and columns "market" and "regime" before all.

    Args:
        market: that was traded.
        first: row of the first decision.
        log_returns: (S,) net log-returns of the steps from there on. held: (S,) those of buy and hold.
        rules: what a regime is.
        states: (T,) names of states, known at the close of each bar; each is a regime, too.
    """
    regimes = regimes_of(market, first, rules)
    if states is not None:
        known = states.to_numpy()
        regimes |= {f"state {name}": known == name for name in sorted(states.dropna().unique())}
    inside = {name: found[first : first + len(log_returns)] for name, found in regimes.items()}
    table = by_regime(log_returns, inside, DAY_MS / timeframe_ms(market.timeframes[0])).reset_index()
    table["buy_and_hold"] = by_regime(held, inside, 1.0)["log_return"].to_numpy()
    table.insert(0, "market", market.name or "market")
    return table
