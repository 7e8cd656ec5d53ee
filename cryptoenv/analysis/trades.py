"""Closed trades of a replay, and what they say: pure functions on arrays.

A trade begins when a position is opened and ends when it is closed or changes sign; adding to it and taking part of it
off belong to it. Costs are charged to the trade that caused them, so that the gains of all trades, the open one marked
at the last close, add up to what the account gained.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import ArrayLike, NDArray

from cryptoenv.trading.replay import TRACE_NAMES, Trace

TRADE_NAMES = (
    "entry_bar", "exit_bar", "side", "quantity", "entry_price", "exit_price", "gross", "fees", "slippage", "funding",
    "borrow", "gain", "return", "bars", "exit_kind", "open",
)  # fmt: skip
(ENTRY_BAR, EXIT_BAR, SIDE, MOST, ENTRY, EXIT, GROSS, PAID_FEES, PAID_SLIPPAGE, PAID_FUNDING, PAID_BORROW, GAIN, RETURN,
 BARS, HOW, IS_OPEN) = range(len(TRADE_NAMES))  # fmt: skip
(_EQUITY, _EXPOSURE, _QUANTITY, _FILL_PRICE, _FILL_QUANTITY, _EXIT_PRICE, _EXIT_KIND, _STATUS, _FEES, _SLIPPAGE,
 _FUNDING, _BORROW) = range(12)  # fmt: skip


@dataclass(frozen=True)
class TradeFigures:
    """What a set of closed trades says; all of it 0 where there is none.

    Attributes:
        trades: their number.
        win_rate: share with a gain > 0.
        profit_factor: sum of gains over sum of losses in size; infinite without a loss.
        payoff: mean gain over mean loss in size; infinite without a loss.
        win_loss_ratio: number of gains over number of losses; infinite without a loss.
        expectancy: mean gain of a trade, in its unit.
        best, worst: largest and smallest gain.
        longest_losing_run: losses one after the other, the most.
    """

    trades: int = 0
    win_rate: float = 0.0
    profit_factor: float = 0.0
    payoff: float = 0.0
    win_loss_ratio: float = 0.0
    expectancy: float = 0.0
    best: float = 0.0
    worst: float = 0.0
    longest_losing_run: int = 0


def trade_figures(gains: ArrayLike) -> TradeFigures:
    """Figures of the net gains of closed trades (n,), in any one unit and in the order of time."""
    values = np.asarray(gains, dtype=np.float64)
    if len(values) == 0:
        return TradeFigures()
    won, lost = values[values > 0.0], values[values < 0.0]
    gained, given = float(won.sum()), -float(lost.sum())
    losing = np.concatenate(([0], (values < 0.0).astype(np.int64), [0]))
    edges = np.flatnonzero(np.diff(losing))
    runs = edges[1::2] - edges[::2]
    return TradeFigures(
        trades=len(values),
        win_rate=len(won) / len(values),
        profit_factor=_over(gained, given),
        payoff=_over(gained / max(len(won), 1), given / max(len(lost), 1)),
        win_loss_ratio=_over(float(len(won)), float(len(lost))),
        expectancy=float(values.mean()),
        best=float(values.max()),
        worst=float(values.min()),
        longest_losing_run=int(runs.max()) if len(runs) else 0,
    )


def _over(gained: float, lost: float) -> float:
    if lost > 0.0:
        return gained / lost
    return float("inf") if gained > 0.0 else 0.0


def trades_of(trace: Trace, closes: NDArray[np.float64]) -> pd.DataFrame:
    """The trades of a replay, in the order in which they end; one that is still open comes last, marked at the close.

    Args:
        trace: of `cryptoenv.trading.replay.replay`, from flat.
        closes: (T,) closes of the market's bars.

    Returns:
        A row per trade, columns `TRADE_NAMES`: bars of the first and the last fill (the bar it fills in); `side` 1 or
        -1; the largest quantity held; average prices; `gross` is what prices gained, slippage included, `gain` is net
        of fees, funding and borrow; `slippage` is told beside, it is inside the prices; `return` is the gain over the
        equity at the decision to enter; `bars` held; `exit_kind` a number of `ExitKind` (0: by an order), and whether
        it is still `open`.
    """
    steps = np.ascontiguousarray(trace.steps)
    out = np.empty((2 * len(steps) + 1, len(TRADE_NAMES)))
    count = _walk(steps, trace.start, trace.first, closes, TRACE_NAMES.index("shortfall"), out)
    table = pd.DataFrame(out[:count].copy(), columns=list(TRADE_NAMES))
    whole = ["entry_bar", "exit_bar", "side", "bars", "exit_kind"]
    return table.astype(dict.fromkeys(whole, np.int64) | {"open": np.bool_})


@njit(cache=True, error_model="numpy")
def _begin(trade: NDArray[np.float64], bar: int, quantity: float, equity: float) -> None:
    """Forget the trade before. `trade`: (len(TRADE_NAMES),), overwritten; RETURN holds the equity until it ends."""
    trade[:] = 0.0
    trade[ENTRY_BAR] = bar
    trade[SIDE] = 1.0 if quantity > 0.0 else -1.0
    trade[RETURN] = equity


@njit(cache=True, error_model="numpy")
def _end(
    trade: NDArray[np.float64], sold: NDArray[np.float64], bar: int, kind: float, out: NDArray[np.float64]
) -> None:
    """Write a finished trade. `sold`: quantity closed until now, and what it brought."""
    trade[EXIT_BAR] = bar
    trade[EXIT] = sold[1] / sold[0]
    trade[GAIN] = trade[GROSS] - trade[PAID_FEES] - trade[PAID_FUNDING] - trade[PAID_BORROW]
    trade[RETURN] = trade[GAIN] / trade[RETURN]
    trade[HOW] = kind
    out[:] = trade
    sold[:] = 0.0


@njit(cache=True, error_model="numpy")
def _reduce(trade: NDArray[np.float64], sold: NDArray[np.float64], quantity: float, price: float, entry: float) -> None:
    """Close `quantity` > 0 of the position at `price`; `entry`: its average price."""
    sold[0] += quantity
    sold[1] += quantity * price
    trade[GROSS] += quantity * (price - entry) * trade[SIDE]


@njit(cache=True, error_model="numpy")
def _walk(
    steps: NDArray[np.float64],
    start: float,
    first: int,
    closes: NDArray[np.float64],
    shortfall: int,
    out: NDArray[np.float64],
) -> int:
    """Fills `out` with trades; returns how many."""
    trade, sold = np.zeros(out.shape[1]), np.zeros(2)
    held, entry, equity, count, bought = 0.0, 0.0, start, 0, 0.0
    for s in range(steps.shape[0]):
        row, bar = steps[s], first + s + 1
        fees, slippage = row[_FEES], row[_SLIPPAGE]
        if held != 0.0:
            trade[PAID_FUNDING] += row[_FUNDING]
            trade[PAID_BORROW] += row[_BORROW]
        filled = row[_FILL_QUANTITY]
        exited = row[_EXIT_KIND] != 0.0
        if filled != 0.0:
            price = row[_FILL_PRICE]
            # An exit in the same step has fees of its own: the shares are by notional, as the fee is.
            left = held + filled
            both = abs(filled) * price + (abs(left) * row[_EXIT_PRICE] if exited and row[_EXIT_KIND] != 3.0 else 0.0)
            part = abs(filled) * price / both
            fill_fees, fill_slippage = fees * part, slippage * part
            if held == 0.0 or held * filled > 0.0:
                if held == 0.0:
                    _begin(trade, bar, filled, equity)
                    bought = 0.0
                entry = (entry * abs(held) + price * abs(filled)) / (abs(held) + abs(filled))
                share = 0.0
            else:
                closed = min(abs(held), abs(filled))
                share = closed / abs(filled)
                trade[PAID_FEES] += fill_fees * share
                trade[PAID_SLIPPAGE] += fill_slippage * share
                _reduce(trade, sold, closed, price, entry)
            before, held = held, held + filled
            if row[_QUANTITY] == 0.0 and not exited:
                held = 0.0
            elif not exited:
                held = row[_QUANTITY]
            if before * filled < 0.0 and (held == 0.0 or held * before < 0.0):
                _end(trade, sold, bar, 0.0, out[count])
                count += 1
                entry = 0.0
                if held != 0.0:
                    _begin(trade, bar, held, equity)
                    bought = 0.0
                    entry = price
            if share < 1.0:
                trade[PAID_FEES] += fill_fees * (1.0 - share)
                trade[PAID_SLIPPAGE] += fill_slippage * (1.0 - share)
                opened = abs(filled) * (1.0 - share)
                trade[ENTRY] = (trade[ENTRY] * bought + price * opened) / (bought + opened)
                bought += opened
            fees -= fill_fees
            slippage -= fill_slippage
        if held != 0.0:
            trade[MOST] = max(trade[MOST], abs(held))
            trade[BARS] += 1.0
        if held != 0.0 and row[_QUANTITY] == 0.0:  # an exit inside the bar, or ruin at its close
            price = row[_EXIT_PRICE] if exited else closes[bar]
            trade[PAID_FEES] += fees
            trade[PAID_SLIPPAGE] += slippage
            _reduce(trade, sold, abs(held), price, entry)
            _end(trade, sold, bar, row[_EXIT_KIND], out[count])
            count += 1
            held, entry = 0.0, 0.0
        equity = row[_EQUITY]
    if held != 0.0:
        bar = first + steps.shape[0]
        _reduce(trade, sold, abs(held), closes[bar], entry)
        trade[IS_OPEN] = 1.0
        _end(trade, sold, bar, 0.0, out[count])
        count += 1
    return count


def exit_levels(
    entry: ArrayLike, side: ArrayLike, stop_loss: float | None, take_profit: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The prices at which the kernel closes positions by a stop and by a take-profit, (n,) each; NaN where not set.

    Args:
        entry: (n,) average prices of entry. side: (n,) 1 or -1.
        stop_loss, take_profit: distances from the entry, fractions (`RiskLimits`), or None.
    """
    price, sign = np.asarray(entry, dtype=np.float64), np.asarray(side, dtype=np.float64)
    stop = np.full(len(price), np.nan) if stop_loss is None else price * (1.0 - sign * stop_loss)
    profit = np.full(len(price), np.nan) if take_profit is None else price * (1.0 + sign * take_profit)
    return stop, np.where(profit > 0.0, profit, np.nan)
