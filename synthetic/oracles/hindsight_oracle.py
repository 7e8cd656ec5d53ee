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

from synthetic.oracles.plan import Cost, Oracle, best_target, check_positions, cost_matrix


@njit(cache=True)
def _log_growth(exposure: float, body: float, gap: float) -> float:
    """Log-return of an exposure over a bar and the gap after it; minus infinity where either takes all equity."""
    if exposure == 0.0:
        return 0.0
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
        if t + 1 < length:
            for a in range(count):
                values[t, a] = _log_growth(positions[a], body[t + 1], gap[t + 1]) + onward[a]
        for held in range(count):
            target = best_target(values[t], held, costs)
            actions[t, held] = target
            onward[held] = values[t, target] - costs[held, target]
    return values, actions


@njit(cache=True)
def _best_of_three(held: int, hold: float, other: float, first: int, last: float, second: int) -> tuple[int, float]:
    """The best of holding and two other targets in rising order: as `best_target`, without arrays."""
    best, worth = held, hold
    if other > worth:
        best, worth = first, other
    if last > worth:
        best, worth = second, last
    return best, worth


@njit(cache=True)
def _backward_three(
    body: NDArray[np.float64], gap: NDArray[np.float64], positions: NDArray[np.float64], costs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int8]]:
    """`_backward` for three positions, the usual grid, unrolled: the same bytes, in half the time."""
    length = body.shape[0]
    values = np.zeros((length, 3))
    actions = np.empty((length, 3), np.int8)
    low, middle, high = positions[0], positions[1], positions[2]
    from_low, to_high = costs[0, 1], costs[1, 2]
    from_high, to_low = costs[2, 1], costs[1, 0]
    up, down = costs[0, 2], costs[2, 0]
    short = flat = long = 0.0
    for t in range(length - 1, -1, -1):
        if t + 1 < length:
            short += _log_growth(low, body[t + 1], gap[t + 1])
            flat += _log_growth(middle, body[t + 1], gap[t + 1])
            long += _log_growth(high, body[t + 1], gap[t + 1])
        values[t, 0], values[t, 1], values[t, 2] = short, flat, long
        place_0, worth_0 = _best_of_three(0, short, flat - from_low, 1, long - up, 2)
        place_1, worth_1 = _best_of_three(1, flat, short - to_low, 0, long - to_high, 2)
        place_2, worth_2 = _best_of_three(2, long, short - down, 0, flat - from_high, 1)
        actions[t, 0], actions[t, 1], actions[t, 2] = place_0, place_1, place_2
        short, flat, long = worth_0, worth_1, worth_2
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


def _due_after(funding: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """(T,) funding due at the open after each bar; what is due after the last lies in the future and is 0."""
    rates = np.asarray(funding, dtype=np.float64)
    if rates.shape != (length,):
        raise ValueError(f"funding has shape {rates.shape}: it must be ({length},), one rate for each bar")
    bad = np.flatnonzero(~np.isfinite(rates))
    if len(bad):
        raise ValueError(f"funding is {rates[bad[0]]} at place {bad[0]}: it must be finite")
    return np.append(rates[1:], 0.0)[:length]


def hindsight_oracle(
    market: pd.DataFrame | NDArray[np.float64],
    cost: Cost = 0.0011,
    positions: Sequence[float] = (-1.0, 0.0, 1.0),
    funding: NDArray[np.float64] | None = None,
) -> Oracle:
    """The exact optimum under costs for one who knows every bar to come. Looks ahead to the end of the data.

    A target chosen at the close of bar `t` is filled at the next open and held to the open after it:
    `reward(t, a) = log(1 + a (C/O - 1)[t+1]) + log(1 + a (O[t+2] / C[t+1] - 1))`, less `cost` per unit of turnover.
    Funding due at an open is paid on the value there, by the position held until then: it is a further move of the gap,
    `-(O[t+2] / C[t+1]) * funding[t+2]`. From log-returns, open is taken to be the previous close. Values at the last
    bar are 0: nothing follows it.

    Args:
        market: bars with `open` and `close`, or log-returns (T,) of each bar over the one before.
        cost: log-return lost per unit of turnover, one number or (buy, sell). On exposures {0, 1} with half-spread `h`
            and fee `f`, `(log((1+h)(1+f)), -log((1-h)(1-f)))` is exact.
        positions: exposures to choose from, strictly increasing. One that a bar would ruin is worth minus infinity.
        funding: (T,) rates due at the open of each bar, paid by longs to shorts where positive; None is none.

    Raises:
        ValueError: prices, returns, costs, positions or funding are not as stated; the message names which.
    """
    checked = check_positions(positions)
    body, gap = _simple_returns(market)
    if funding is not None:
        gap = gap - (1.0 + gap) * _due_after(funding, len(body))
    backward = _backward_three if len(checked) == 3 else _backward
    values, actions = backward(body, gap, checked, cost_matrix(checked, cost))
    return Oracle(positions=checked, values=values, actions=actions)
