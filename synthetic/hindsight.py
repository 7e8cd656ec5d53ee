"""The best path of positions that hindsight can find: for labels only, since it reads the future.

Exact backward dynamic programming over positions (Bellman 1957), O(T P^2), with costs linear in turnover. Nothing that
trades may see its result. Shape legend: `T` bars, `P` positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.oracle import Cost, Oracle, best_target, check_positions, cost_matrix


@njit(cache=True)
def _log_growth(exposure: float, body: float, gap: float) -> float:
    """Log-return of an exposure over a bar and the gap after it; minus infinity where either takes all equity."""
    over_body = 1.0 + exposure * body
    over_gap = 1.0 + exposure * gap
    return math.log(over_body * over_gap) if over_body > 0.0 and over_gap > 0.0 else -math.inf


@njit(cache=True)
def _backward(
    body: NDArray[np.float64], gap: NDArray[np.float64], positions: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """Values (T, P) and actions (T, P) from simple returns (T,): open to close, and close to the next open."""
    length = body.shape[0]
    count = positions.shape[0]
    values = np.zeros((length, count))
    actions = np.empty((length, count), np.int8)
    onward = np.zeros(count)
    for t in range(length - 1, -1, -1):
        for a in range(count):
            if t + 1 < length:
                values[t, a] = _log_growth(positions[a], body[t + 1], gap[t + 1]) + onward[a]
        for held in range(count):
            target = best_target(values[t], held, costs)
            actions[t, held] = target
            onward[held] = values[t, target] - costs[held, target]
    return values, actions


def _simple_returns(market: pd.DataFrame | NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Open-to-close and close-to-next-open returns, (T,) each; the last gap, which lies in the future, is 0."""
    if isinstance(market, pd.DataFrame):
        missing = {"open", "close"} - set(market.columns)
        if missing:
            raise ValueError(f"bars lack the columns {sorted(missing)}: open and close are needed")
        opens = market["open"].to_numpy(np.float64)
        closes = market["close"].to_numpy(np.float64)
        for name, prices in (("open", opens), ("close", closes)):
            bad = np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))
            if len(bad):
                row = market.index[bad[0]]
                raise ValueError(f"bars have {name} {prices[bad[0]]} at {row}: prices must be finite and positive")
        return closes / opens - 1.0, np.append(opens[1:] / closes[:-1] - 1.0, 0.0)[: len(opens)]
    log_returns = np.asarray(market, dtype=np.float64)
    if log_returns.ndim != 1:
        raise ValueError(f"log_returns has shape {log_returns.shape}: it must be (T,)")
    bad = np.flatnonzero(~np.isfinite(log_returns))
    if len(bad):
        raise ValueError(f"log_returns is {log_returns[bad[0]]} at place {bad[0]}: it must be finite")
    return np.expm1(log_returns), np.zeros_like(log_returns)


def hindsight_oracle(
    market: pd.DataFrame | NDArray[np.float64],
    cost: Cost = 0.0011,
    positions: Sequence[float] = (-1.0, 0.0, 1.0),
) -> Oracle:
    """The exact optimum under costs for one who knows every bar to come. Looks ahead to the end of the data.

    A target chosen at the close of bar `t` is filled at the next open and held to the open after it:
    `reward(t, a) = log(1 + a (C/O - 1)[t+1]) + log(1 + a (O[t+2] / C[t+1] - 1))`, less `cost` per unit of turnover.
    From log-returns, open is taken to be the previous close. Values at the last bar are 0: nothing follows it.

    Args:
        market: bars with `open` and `close`, or log-returns (T,) of each bar over the one before.
        cost: log-return lost per unit of turnover, one number or (buy, sell). On exposures {0, 1} with half-spread `h`
            and fee `f`, `(log((1+h)(1+f)), -log((1-h)(1-f)))` is exact.
        positions: exposures to choose from, strictly increasing. One that a bar would ruin is worth minus infinity.

    Raises:
        ValueError: prices, returns, costs or positions are not as stated; the message names which.
    """
    checked = check_positions(positions)
    body, gap = _simple_returns(market)
    values, actions = _backward(body, gap, checked, cost_matrix(checked, cost))
    return Oracle(positions=checked, values=values, actions=actions)
