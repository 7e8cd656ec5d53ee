"""Given targets through the kernel, bar by bar, in one jitted pass: backtests, and sweeps over many at once.

Targets are decided beforehand, one per close, so nothing here looks at features or draws anything. A step is the one of
the environments (`cryptoenv.trading.kernel.transition`): a replay of an environment's actions gives its equities, bit
for bit.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, PRICE_COLUMNS
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    BORROW_PAID,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    ORDER_STATUS,
    PREVIOUS_EQUITY,
    QUANTITY,
    RUINED,
    SHORTFALL,
    SLIPPAGE,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
    TARGET,
    TURNOVER,
)
from cryptoenv.trading.borrowed_memory import float64_at
from cryptoenv.trading.config import PARAMETER_WIDTH
from cryptoenv.trading.exits import LIQUIDATED, NO_EXIT
from cryptoenv.trading.kernel import open_account, transition

#: What is kept of each step, columns of the account after it.
TRACE_COLUMNS = (
    EQUITY, EXPOSURE, QUANTITY, FILL_PRICE, FILL_QUANTITY, EXIT_PRICE, EXIT_KIND, ORDER_STATUS, STEP_FEES,
    STEP_SLIPPAGE, STEP_FUNDING, STEP_BORROW, TURNOVER, TARGET, RUINED, SHORTFALL,
)  # fmt: skip
TRACE_NAMES = (
    "equity", "exposure", "quantity", "fill_price", "fill_quantity", "exit_price", "exit_kind", "order_status", "fees",
    "slippage", "funding", "borrow", "turnover", "target", "ruined", "shortfall",
)  # fmt: skip
PRICE_WIDTH = len(PRICE_COLUMNS)
RULE_WIDTH = 5  #: two lines, a band, the exposures above and below it
_KEPT, _WIDTH = np.array(TRACE_COLUMNS, dtype=np.int64), len(TRACE_COLUMNS)
#: Figures of a run in a sweep.
SWEEP_NAMES = (
    "equity", "log_return", "mean_return", "deviation", "max_drawdown", "turnover", "fills", "exposed", "fees",
    "slippage", "funding", "borrow", "ruined",
)  # fmt: skip

_SWEPT = len(SWEEP_NAMES)


class Trace(NamedTuple):
    """What happened in a replay of S steps from bar `first`; step `s` is decided at the close of bar `first + s`.

    Attributes:
        first: bar of the first decision.
        start: equity there.
        steps: (S, C) float64, the C columns of `TRACE_NAMES`; from ruin on, what it left.
    """

    first: int
    start: float
    steps: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """(S,) float64, a column of `TRACE_NAMES`."""
        return self.steps[:, TRACE_NAMES.index(name)]

    @property
    def equity(self) -> NDArray[np.float64]:
        """(S + 1,) float64, the start and the mark after each step."""
        return np.concatenate(([self.start], self.column("equity")))


class Swept(NamedTuple):
    """What K rules came to.

    Attributes:
        figures: (K, len(SWEEP_NAMES)) float64, columns as in `SWEEP_NAMES`.
        marks: (K, n) float64, equity at the start and every so many bars after it; the last mark is the end.
    """

    figures: NDArray[np.float64]
    marks: NDArray[np.float64]

    def column(self, name: str) -> NDArray[np.float64]:
        """(K,) float64, a column of `SWEEP_NAMES`."""
        return self.figures[:, SWEEP_NAMES.index(name)]


class Opening(NamedTuple):
    """How an account begins: cash in quote currency, and the exposure that it already holds at no cost."""

    cash: float = 10_000.0
    exposure: float = 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _asked(target: float, left: float, stay_out: bool) -> tuple[float, float]:
    """The target that is sent, and the one that a stop or take-profit has ended (NaN: none), `left` until now."""
    if not stay_out or math.isnan(left):
        return target, math.nan
    if target == left:
        return 0.0, left
    return target, math.nan


class _Tape(NamedTuple):
    """What every pass reads, by address (see `borrowed_memory`), and where it begins: whoever calls keeps it alive."""

    prices: int
    bars: int
    first: int
    parameters: int
    account: int


@njit(cache=True, error_model="numpy")
def _replay(tape: _Tape, targets: int, steps: int, opening: Opening, stay_out: bool, out: int) -> None:
    """`targets`: address of (S,) float64; `out`: of (S, len(TRACE_COLUMNS)) float64, written."""
    prices, p = float64_at(tape.prices, (tape.bars, PRICE_WIDTH)), float64_at(tape.parameters, (PARAMETER_WIDTH,))
    account, given = float64_at(tape.account, (ACCOUNT_WIDTH,)), float64_at(targets, (steps,))
    kept = float64_at(out, (steps, _WIDTH))
    open_account(account, opening.cash, prices[tape.first, CLOSE], opening.exposure)
    wanted, left = opening.exposure, math.nan
    for s in range(steps):
        if not math.isnan(given[s]):
            wanted = given[s]
        asked, left = _asked(wanted, left, stay_out)
        if account[RUINED] == 0.0:
            transition(account, prices, tape.first + s, asked, p)
            if account[EXIT_KIND] != NO_EXIT and account[EXIT_KIND] != LIQUIDATED:
                left = wanted
        else:
            _rest(account)
        for c in range(_WIDTH):
            kept[s, c] = account[_KEPT[c]]


@njit(cache=True, error_model="numpy")
def _rest(account: NDArray[np.float64]) -> None:
    """A step after ruin: nothing is held, nothing happens. `account`: (ACCOUNT_WIDTH,), overwritten."""
    account[FILL_PRICE] = account[EXIT_PRICE] = math.nan
    account[FILL_QUANTITY] = account[TURNOVER] = account[EXIT_KIND] = account[ORDER_STATUS] = 0.0
    account[STEP_FEES] = account[STEP_SLIPPAGE] = account[STEP_FUNDING] = account[STEP_BORROW] = 0.0
    account[PREVIOUS_EQUITY] = account[EQUITY]


def replay(
    prices: NDArray[np.float64],
    targets: NDArray[np.float64],
    parameters: NDArray[np.float64],
    *,
    first: int = 0,
    opening: Opening = Opening(),  # noqa: B008 -- a tuple: it cannot be changed
    stay_out: bool = False,
) -> Trace:
    """Trade given targets.

    Args:
        prices: (T, 8) float64, `Market.prices`.
        targets: (S,) float64 target exposures, decided at the closes of bars `first`, `first + 1`, ...; NaN keeps the
            one before.
        parameters: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
        first: bar of the first decision.
        opening: the account at its close.
        stay_out: after a stop or a take-profit, stay flat until another target is asked for; the environment asks
            again in the next bar.

    Raises:
        ValueError: targets that reach beyond the last bar but one, infinite ones, or no cash.
    """
    wanted = _checked(prices, targets, first, opening)
    out, (tape, _alive) = np.empty((len(wanted), _WIDTH)), _tape(prices, parameters, first)
    _replay(tape, wanted.ctypes.data, len(wanted), opening, stay_out, out.ctypes.data)
    return Trace(first, opening.cash, out)


def _tape(
    prices: NDArray[np.float64], parameters: NDArray[np.float64], first: int
) -> tuple[_Tape, tuple[NDArray[np.float64], ...]]:
    """Addresses, and what has to stay alive while they are used."""
    alive = (
        np.ascontiguousarray(prices, dtype=np.float64), np.ascontiguousarray(parameters, dtype=np.float64),
        np.zeros(ACCOUNT_WIDTH),
    )  # fmt: skip
    if alive[0].shape[1:] != (PRICE_WIDTH,) or alive[1].shape != (PARAMETER_WIDTH,):
        raise ValueError(
            f"prices and parameters have shapes {alive[0].shape} and {alive[1].shape}; allowed: (T, {PRICE_WIDTH}) and "
            f"({PARAMETER_WIDTH},)"
        )
    return _Tape(alive[0].ctypes.data, len(prices), first, alive[1].ctypes.data, alive[2].ctypes.data), alive


class _Rules(NamedTuple):
    """Rules of a sweep and what is written of each, by address: (L, T) lines, (K, 5) rules, (K, F) figures, (K, M)
    marks, all float64."""

    lines: int
    rules: int
    number: int
    figures: int
    every: int
    marks: int
    marked: int


@njit(cache=True, error_model="numpy", nogil=True)
def _sweep(tape: _Tape, rules: _Rules, opening: Opening, stay_out: bool) -> None:
    for k in range(rules.number):
        _run(tape, rules, k, opening, stay_out)


@njit(cache=True, error_model="numpy")
def _run(tape: _Tape, rules: _Rules, k: int, opening: Opening, stay_out: bool) -> None:
    prices, p = float64_at(tape.prices, (tape.bars, PRICE_WIDTH)), float64_at(tape.parameters, (PARAMETER_WIDTH,))
    account, out = float64_at(tape.account, (ACCOUNT_WIDTH,)), float64_at(rules.figures + 8 * k * _SWEPT, (_SWEPT,))
    marks = float64_at(rules.marks + 8 * k * rules.marked, (rules.marked,))
    rule = float64_at(rules.rules + 8 * k * RULE_WIDTH, (RULE_WIDTH,))
    fast = float64_at(rules.lines + 8 * int(rule[0]) * tape.bars, (tape.bars,))
    slow = float64_at(rules.lines + 8 * int(rule[1]) * tape.bars, (tape.bars,))
    band, above, below = rule[2], rule[3], rule[4]
    open_account(account, opening.cash, prices[tape.first, CLOSE], opening.exposure)
    marks[0], mark = account[EQUITY], 1
    wanted, left = opening.exposure, math.nan
    total = squares = turnover = fills = exposed = deepest = 0.0
    peak, steps = account[EQUITY], tape.bars - 1 - tape.first
    due = rules.every
    for t in range(tape.first, tape.first + steps):
        if fast[t] > slow[t] + band:  # NaN is neither
            wanted = above
        elif fast[t] < slow[t] - band:
            wanted = below
        asked, left = _asked(wanted, left, stay_out)
        transition(account, prices, t, asked, p)
        if account[EXIT_KIND] != NO_EXIT and account[EXIT_KIND] != LIQUIDATED:
            left = wanted
        gain = account[EQUITY] / account[PREVIOUS_EQUITY] - 1.0
        total += gain
        squares += gain * gain
        turnover += account[TURNOVER]
        fills += 1.0 if account[FILL_QUANTITY] != 0.0 else 0.0
        exposed += 1.0 if account[QUANTITY] != 0.0 else 0.0
        peak = max(peak, account[EQUITY])
        deepest = max(deepest, 1.0 - account[EQUITY] / peak)
        due -= 1
        if due == 0:
            due = rules.every
            marks[mark] = account[EQUITY]
            mark += 1
        if account[RUINED] == 1.0:
            break
    for m in range(mark, rules.marked):
        marks[m] = account[EQUITY]
    mean = total / steps
    out[0], out[1], out[2] = account[EQUITY], math.log(account[EQUITY] / opening.cash), mean
    out[3] = math.sqrt(max(squares - steps * mean * mean, 0.0) / (steps - 1)) if steps > 1 else 0.0
    out[4], out[5], out[6], out[7] = deepest, turnover, fills, exposed / steps
    out[8], out[9], out[10], out[11] = account[FEES], account[SLIPPAGE], account[FUNDING_PAID], account[BORROW_PAID]
    out[12] = account[RUINED]


def sweep(
    prices: NDArray[np.float64],
    lines: NDArray[np.float64],
    rules: NDArray[np.float64],
    parameters: NDArray[np.float64],
    *,
    first: int = 0,
    opening: Opening = Opening(),  # noqa: B008 -- a tuple: it cannot be changed
    stay_out: bool = False,
    every: int = 96,
    threads: int | None = None,
) -> Swept:
    """Run K rules over the same bars, side by side on threads, without keeping what each did bar by bar.

    A rule compares two lines: above the other by more than its band it asks for one exposure, below it by more than
    that for another, and between it keeps what it asked for last.

    Args:
        prices: (T, 8) float64, `Market.prices`.
        lines: (L, T) float64, known at each close; NaN where they are not known yet.
        rules: (K, 5) float64: number of a line, number of the other, band (in the lines' unit), exposure asked for
            above, exposure asked for below.
        parameters: (PARAMETER_WIDTH,) float64.
        first: bar of the first decision; the last one falls at the last bar but one.
        opening, stay_out: as for `replay`.
        every: bars between two marks of equity that are kept, 96 for days of 15m.
        threads: how many; as many as there are cores where None.

    Returns:
        Final equity, net log-return, mean and standard deviation of the returns of a bar, deepest drawdown, turnover
        in multiples of equity, fills, share of bars with a position, costs by kind in quote currency, and whether it
        was ruined; and the marks.

    Raises:
        ValueError: lines or rules of another shape, a number of a line that is not there, or no bar to trade in.
    """
    if lines.ndim != 2 or lines.shape[1] != len(prices):
        raise ValueError(f"lines have shape {lines.shape}; allowed: (L, {len(prices)}), one value per bar")
    if rules.ndim != 2 or rules.shape[1] != RULE_WIDTH:
        raise ValueError(f"rules have shape {rules.shape}; allowed: (K, {RULE_WIDTH})")
    numbers = rules[:, :2]
    if not ((numbers >= 0) & (numbers < len(lines)) & (numbers == np.floor(numbers))).all():
        raise ValueError(f"rules name lines that are not there; allowed: whole numbers from 0 to {len(lines) - 1}")
    if not np.isfinite(rules).all():
        raise ValueError("rules hold values that are not finite")
    if every < 1:
        raise ValueError(f"every={every} is not allowed: bars >= 1")
    steps = max(len(prices) - 1 - first, 1)
    _checked(prices, np.zeros(steps), first, opening)
    out, marks = np.empty((len(rules), _SWEPT)), np.empty((len(rules), 1 + -(-steps // every)))
    lines, rules = np.ascontiguousarray(lines, dtype=np.float64), np.ascontiguousarray(rules, dtype=np.float64)
    workers = max(min(threads or os.cpu_count() or 1, len(rules)), 1)

    def run(mine: NDArray[np.float64], into: NDArray[np.float64], marked: NDArray[np.float64]) -> None:
        tape, _alive = _tape(prices, parameters, first)
        told = _Rules(lines.ctypes.data, mine.ctypes.data, len(mine), into.ctypes.data, every, marked.ctypes.data,
                      marks.shape[1])  # fmt: skip
        _sweep(tape, told, opening, stay_out)

    with ThreadPoolExecutor(workers) as pool:  # the jitted pass lets go of the interpreter
        parts = zip(*(np.array_split(array, workers) for array in (rules, out, marks)), strict=True)
        for part in [pool.submit(run, *each) for each in parts]:
            part.result()
    return Swept(out, marks)


def _checked(
    prices: NDArray[np.float64], targets: NDArray[np.float64], first: int, opening: Opening
) -> NDArray[np.float64]:
    wanted = np.ascontiguousarray(targets, dtype=np.float64)
    if wanted.ndim != 1 or len(wanted) == 0:
        raise ValueError(f"targets have shape {wanted.shape}; allowed: (S,) with S >= 1")
    if first < 0 or first + len(wanted) > len(prices) - 1:
        raise ValueError(
            f"{len(wanted)} targets from bar {first} on reach beyond bar {len(prices) - 2}, the last but one: a "
            "decision is carried out in the bar after it"
        )
    if np.isinf(wanted).any():
        raise ValueError(f"targets[{int(np.isinf(wanted).argmax())}] is infinite; allowed: exposures, or NaN to keep")
    if not (math.isfinite(opening.cash) and opening.cash > 0.0 and math.isfinite(opening.exposure)):
        raise ValueError(f"{opening} is not allowed: cash > 0 and a finite exposure")
    return wanted
