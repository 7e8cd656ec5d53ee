"""N environments, jitted: their state, one step of all, and what they show."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import (
    ACCOUNT_OBSERVATION,
    BAR,
    DRAWN,
    ENDED,
    EPISODE,
    MARKET,
    EpisodeRules,
    World,
    begin_episode,
    copy_window,
    mask_row,
    observe_account,
    step_episode,
)
from cryptoenv.market.table import prefetch_prices
from cryptoenv.trading.account import (
    BORROW_PAID,
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    ORDER_STATUS,
    RUINED,
    SLIPPAGE,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
)
from cryptoenv.trading.borrowed_memory import float32_at, float64_at, int64_at
from cryptoenv.trading.config import EXPOSURE_LIMIT

#: The float64 columns of the account that infos show, in the order of `Seen.amounts`.
AMOUNTS = {
    "equity": EQUITY,
    "exposure": EXPOSURE,
    "close": CLOSE_PRICE,
    "fill_price": FILL_PRICE,
    "fill_quantity": FILL_QUANTITY,
    "fees": FEES,
    "slippage": SLIPPAGE,
    "funding": FUNDING_PAID,
    "borrow": BORROW_PAID,
    "exit_price": EXIT_PRICE,
    "step_fees": STEP_FEES,
    "step_slippage": STEP_SLIPPAGE,
    "step_funding": STEP_FUNDING,
    "step_borrow": STEP_BORROW,
}
_COLUMNS = tuple(AMOUNTS.values())
ROWS_AHEAD = 8  #: rows between asking for a bar's prices, which lie anywhere in memory, and reading them
CACHED_ROWS = 64  #: rows whose accounts (18 kB) stay in the first cache between stepping and showing them


class EnvRows(NamedTuple):
    """The state of N environments.

    Attributes:
        accounts: (N, ACCOUNT_WIDTH) float64. clocks: (N, CLOCK_WIDTH) int64. targets: (N,) float64.
    """

    accounts: NDArray[np.float64]
    clocks: NDArray[np.int64]
    targets: NDArray[np.float64]


class Seen(NamedTuple):
    """What a step shows of N environments, besides windows; the arrays in which it leaves the step's results.

    Attributes:
        rewards: (N,) float64. terminated, truncated: (N,) bool; a reset leaves all three alone.
        account: (N, 5) float32. where: (N, 2) int64, market and bar; clock: (2, N) int64, the same as columns.
        amounts: (14, N) float64, `AMOUNTS`. kinds: (2, N) int8, order status and exit kind. ruined: (N,) bool.
    """

    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    account: NDArray[np.float32]
    where: NDArray[np.int64]
    clock: NDArray[np.int64]
    amounts: NDArray[np.float64]
    kinds: NDArray[np.int8]
    ruined: NDArray[np.bool_]


def empty_seen(n: int) -> Seen:
    """Fresh memory for what `n` environments show."""
    return Seen(
        np.empty(n, dtype=np.float64),
        np.empty(n, dtype=np.bool_),
        np.empty(n, dtype=np.bool_),
        np.empty((n, ACCOUNT_OBSERVATION), dtype=np.float32),
        np.empty((n, 2), dtype=np.int64),
        np.empty((2, n), dtype=np.int64),
        np.empty((len(AMOUNTS), n), dtype=np.float64),
        np.empty((2, n), dtype=np.int8),
        np.empty(n, dtype=np.bool_),
    )


@njit(cache=True, error_model="numpy")
def _rows_disowned(rows: EnvRows) -> EnvRows:
    """The same memory without owners: passing or slicing an owned array costs more than a step's arithmetic."""
    accounts, clocks, n = rows.accounts, rows.clocks, rows.accounts.shape[0]
    return EnvRows(
        float64_at(accounts.ctypes.data, (n, accounts.shape[1])),
        int64_at(clocks.ctypes.data, (n, clocks.shape[1])),
        float64_at(rows.targets.ctypes.data, (n,)),
    )


@njit(cache=True, error_model="numpy")
def _world_disowned(world: World) -> World:
    table, parameters, weights = world.table, world.parameters, world.weights
    return World(
        int64_at(table.ctypes.data, (table.shape[0], table.shape[1])),
        float64_at(parameters.ctypes.data, (parameters.shape[0],)),
        float64_at(weights.ctypes.data, (weights.shape[0],)),
    )


@njit(cache=True, error_model="numpy")
def _step_rows(
    first: int, last: int, rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen
) -> None:
    """Step rows `first` to `last` (exclusive); with `restart` (NEXT_STEP) rows that had ended begin anew instead."""
    for i in range(first, last):
        account, clock = rows.accounts[i], rows.clocks[i]
        later = rows.clocks[min(i + ROWS_AHEAD, last - 1)]
        prefetch_prices(world.table, later[MARKET], later[BAR])
        if restart and clock[ENDED] == 1:
            clock[EPISODE] += 1
            begin_episode(account, clock, world, rules, DRAWN, DRAWN, 0.0)
            seen.rewards[i] = 0.0
            seen.terminated[i] = False
            seen.truncated[i] = False
        else:
            seen.rewards[i] = step_episode(account, clock, world, rows.targets[i])
            seen.terminated[i] = account[RUINED] == 1.0
            seen.truncated[i] = clock[ENDED] == 1 and account[RUINED] == 0.0


@njit(cache=True, error_model="numpy")
def _see_rows(first: int, last: int, rows: EnvRows, seen: Seen, limit: float) -> None:
    """Write what rows `first` to `last` (exclusive) show."""
    n = rows.accounts.shape[0]
    account_out = float32_at(seen.account.ctypes.data, (n, seen.account.shape[1]))
    index_out = int64_at(seen.where.ctypes.data, (n, 2))
    for i in range(first, last):
        account, clock = rows.accounts[i], rows.clocks[i]
        observe_account(account, account_out[i], limit)
        index_out[i, 0] = clock[MARKET]
        index_out[i, 1] = clock[BAR]
        seen.clock[0, i] = clock[MARKET]
        seen.clock[1, i] = clock[BAR]
        seen.kinds[0, i] = np.int8(account[ORDER_STATUS])
        seen.kinds[1, i] = np.int8(account[EXIT_KIND])
        seen.ruined[i] = account[RUINED] != 0.0
    amounts = float64_at(seen.amounts.ctypes.data, (len(_COLUMNS), n))
    for k, column in enumerate(_COLUMNS):
        for i in range(first, last):
            amounts[k, i] = rows.accounts[i, column]


@njit(cache=True, error_model="numpy")
def see_serial(rows: EnvRows, seen: Seen, limit: float) -> None:
    """Write what all N rows show."""
    _see_rows(0, rows.accounts.shape[0], _rows_disowned(rows), seen, limit)


@njit(cache=True, error_model="numpy")
def step_block(
    first: int, last: int, rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen
) -> None:
    """Step rows `first` to `last` (exclusive) and write what they show, some rows at a time, while they are cached."""
    own, markets = _rows_disowned(rows), _world_disowned(world)
    for start in range(first, last, CACHED_ROWS):
        stop = min(start + CACHED_ROWS, last)
        _step_rows(start, stop, own, markets, rules, restart, seen)
        _see_rows(start, stop, own, seen, markets.parameters[EXPOSURE_LIMIT])


@njit(cache=True, error_model="numpy")
def step_serial(rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen) -> None:
    """Step all N rows on one thread and write what they show.

    `restart`: rows that had ended begin their next episode instead.
    """
    step_block(0, rows.accounts.shape[0], rows, world, rules, restart, seen)


@njit(cache=True, error_model="numpy")
def begin_rows(
    mask: NDArray[np.bool_],
    rows: EnvRows,
    world: World,
    rules: EpisodeRules,
    markets: NDArray[np.int64],
    starts: NDArray[np.int64],
    exposures: NDArray[np.float64],
) -> None:
    """Begin the episode numbered in its clock in every row where `mask` is True; all arrays are (N,)."""
    for i in range(mask.shape[0]):
        if mask[i]:
            begin_episode(rows.accounts[i], rows.clocks[i], world, rules, markets[i], starts[i], exposures[i])


@njit(cache=True, error_model="numpy")
def copy_some_windows(
    first: int, last: int, table: NDArray[np.int64], clocks: NDArray[np.int64], timeframe: int, out: NDArray[np.float32]
) -> None:
    """Write the windows of rows `first` to `last` (exclusive) into the (N, W, F) `out`."""
    cells, bars = out.shape[1] * out.shape[2], out.shape[1]
    windows = float32_at(out.ctypes.data, (out.shape[0], cells))
    every = int64_at(clocks.ctypes.data, (clocks.shape[0], clocks.shape[1]))
    for i in range(first, last):
        copy_window(table, every[i], timeframe, windows[i], bars)


@njit(cache=True, error_model="numpy")
def copy_windows(table: NDArray[np.int64], clocks: NDArray[np.int64], timeframe: int, out: NDArray[np.float32]) -> None:
    """Write the (N, W, F) windows of a timeframe."""
    copy_some_windows(0, out.shape[0], table, clocks, timeframe, out)


@njit(cache=True, error_model="numpy")
def mask_rows(rows: EnvRows, world: World, actions: NDArray[np.float64], out: NDArray[np.bool_]) -> None:
    """Write the (N, A) action masks."""
    for i in range(out.shape[0]):
        mask_row(rows.accounts[i], rows.clocks[i], world, actions, out[i])
