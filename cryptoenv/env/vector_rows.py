"""N environments, jitted: their state, one step of all, and what they show."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.core import config
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import SIGMA
from cryptoenv.env.episode import (
    ACCOUNT_OBSERVATION,
    BAR,
    CLOCK_WIDTH,
    DRAWN,
    END,
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
from cryptoenv.env.lanes import BLOCK_BYTES, EnvRows, account_at
from cryptoenv.market.table import PRICE_WIDTH, prefetch_prices, prices_of
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
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
from cryptoenv.trading.borrowed_memory import bool_at, float32_at, float64_at, int8_at, int64_at
from cryptoenv.trading.config import EXPOSURE_LIMIT, PARAMETER_WIDTH, REWARD_ADAPTATION, STEP_SIZE, TICK_SIZE
from cryptoenv.trading.plain_steps import ASKED, KNOWN_SIGMA, LANES, PLAIN, STEP_WIDTH, STEPS, step_plain
from cryptoenv.trading.rewards import REWARD_NAMES, weighted_reward

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
WEIGHT_COUNT = len(REWARD_NAMES)
#: Un-jitted, every step takes the general way: what side by side saves is the processor's.
PLAIN_STEPS = not getattr(config, "DISABLE_JIT", 0)


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


@njit(cache=True, error_model="numpy", forceinline=True)
def _world_disowned(world: World) -> World:
    """The same memory without owners: passing or slicing an owned array costs more than a step's arithmetic."""
    table, parameters, weights = world.table, world.parameters, world.weights
    return World(
        int64_at(table.ctypes.data, (table.shape[0], table.shape[1])),
        float64_at(parameters.ctypes.data, (PARAMETER_WIDTH,)),
        float64_at(weights.ctypes.data, (WEIGHT_COUNT,)),
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _look_ahead(
    first: int, count: int, clocks: NDArray[np.int64], targets: NDArray[np.float64], world: World, restart: bool,
    step: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write down what is known of the steps of a block's rows: prices, targets, and which rows step at all."""
    last = first + count - 1
    for lane in range(LANES):
        row = min(first + lane, last)
        later = clocks[min(row + ROWS_AHEAD, last)]
        prefetch_prices(world.table, later[MARKET], later[BAR])
        clock, bar = clocks[row], clocks[row, BAR]
        if lane >= count or (restart and clock[ENDED] == 1):
            step[STEPS, lane] = 0.0
            continue
        prices = prices_of(world.table, clock[MARKET])
        step[STEPS, lane] = 1.0
        step[ASKED, lane] = targets[row]
        step[KNOWN_SIGMA, lane] = prices[bar, SIGMA]
        for column in range(PRICE_WIDTH):
            step[column, lane] = prices[bar + 1, column]


@njit(cache=True, error_model="numpy", forceinline=True)
def _end_plain(
    first: int, count: int, rows: EnvRows, world: World, seen: Seen, step: NDArray[np.float64]
) -> int:
    """Clocks, rewards and ends of the rows of a block whose steps were plain; how many there are."""
    n, accounts, eta = rows.clocks.shape[0], rows.accounts.ctypes.data, world.parameters[REWARD_ADAPTATION]
    clocks, rewards = int64_at(rows.clocks.ctypes.data, (n, CLOCK_WIDTH)), float64_at(seen.rewards.ctypes.data, (n,))
    terminated, truncated = bool_at(seen.terminated.ctypes.data, (n,)), bool_at(seen.truncated.ctypes.data, (n,))
    plain = 0
    for lane in range(count):
        row = first + lane
        if step[PLAIN, lane] == 1.0:
            plain += 1
            bar = clocks[row, BAR] + 1
            over = bar >= clocks[row, END]
            clocks[row, BAR], clocks[row, ENDED] = bar, 1 if over else 0
            terminated[row], truncated[row] = False, over
            rewards[row] = weighted_reward(account_at(accounts, row), world.weights, eta)
    return plain


@njit(cache=True, error_model="numpy")
def _step_alone(row: int, rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen) -> None:
    """Step a row by itself, or begin its next episode."""
    account, clock = account_at(rows.accounts.ctypes.data, row), rows.clocks[row]
    if restart and clock[ENDED] == 1:
        clock[EPISODE] += 1
        begin_episode(account, clock, world, rules, DRAWN, DRAWN, 0.0)
        seen.rewards[row], seen.terminated[row], seen.truncated[row] = 0.0, False, False
        return
    seen.rewards[row] = step_episode(account, clock, world, rows.targets[row])
    seen.terminated[row] = account[RUINED] == 1.0
    seen.truncated[row] = clock[ENDED] == 1 and account[RUINED] == 0.0


@njit(cache=True, error_model="numpy", forceinline=True)
def _step_lanes(
    block: int, rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen, step: NDArray[np.float64]
) -> None:
    """Step the rows of a block; with `restart` (NEXT_STEP) rows that had ended begin anew instead."""
    first, n = block * LANES, rows.clocks.shape[0]
    count, p = min(LANES, n - first), world.parameters
    plainly = PLAIN_STEPS and p[STEP_SIZE] <= 0.0 and p[TICK_SIZE] <= 0.0
    plain = 0
    if plainly:
        clocks = int64_at(rows.clocks.ctypes.data, (n, CLOCK_WIDTH))
        targets = float64_at(rows.targets.ctypes.data, (n,))
        _look_ahead(first, count, clocks, targets, world, restart, step)
        step_plain(float64_at(rows.accounts.ctypes.data + block * BLOCK_BYTES, (ACCOUNT_WIDTH, LANES)), step, p)
        plain = _end_plain(first, count, rows, world, seen, step)
    if plain < count:
        for lane in range(count):
            if not (plainly and step[PLAIN, lane] == 1.0):
                _step_alone(first + lane, rows, world, rules, restart, seen)


@njit(cache=True, error_model="numpy", forceinline=True)
def _see_lanes(block: int, rows: EnvRows, seen: Seen, limit: float) -> None:
    """Write what the rows of a block show."""
    first, n = block * LANES, rows.clocks.shape[0]
    count = min(LANES, n - first)
    columns = float64_at(rows.accounts.ctypes.data + block * BLOCK_BYTES, (ACCOUNT_WIDTH, LANES))
    clocks = int64_at(rows.clocks.ctypes.data, (n, CLOCK_WIDTH))
    account_out = float32_at(seen.account.ctypes.data, (n, ACCOUNT_OBSERVATION))
    where, markets_and_bars = int64_at(seen.where.ctypes.data, (n, 2)), int64_at(seen.clock.ctypes.data, (2, n))
    for lane in range(count):
        row = first + lane
        observe_account(account_at(rows.accounts.ctypes.data, row), account_out[row], limit)
        market, bar = clocks[row, MARKET], clocks[row, BAR]
        where[row, 0], where[row, 1] = market, bar
        markets_and_bars[0, row], markets_and_bars[1, row] = market, bar
    kinds, ruined = int8_at(seen.kinds.ctypes.data, (2, n)), bool_at(seen.ruined.ctypes.data, (n,))
    for lane in range(count):
        kinds[0, first + lane] = np.int8(columns[ORDER_STATUS, lane])
        kinds[1, first + lane] = np.int8(columns[EXIT_KIND, lane])
        ruined[first + lane] = columns[RUINED, lane] != 0.0
    amounts = float64_at(seen.amounts.ctypes.data, (len(_COLUMNS), n))
    for k, column in enumerate(_COLUMNS):
        for lane in range(count):
            amounts[k, first + lane] = columns[column, lane]


@njit(cache=True, error_model="numpy")
def see_serial(rows: EnvRows, seen: Seen, limit: float) -> None:
    """Write what all N rows show."""
    for block in range(rows.accounts.shape[0]):
        _see_lanes(block, rows, seen, limit)


@njit(cache=True, error_model="numpy")
def step_block(
    block: int, rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen, step: NDArray[np.float64]
) -> None:
    """Step the rows of a block and write what they show, while they are cached.

    `step`: (STEP_WIDTH, LANES) float64, of the thread alone.
    """
    markets, known = _world_disowned(world), float64_at(step.ctypes.data, (STEP_WIDTH, LANES))
    _step_lanes(block, rows, markets, rules, restart, seen, known)
    _see_lanes(block, rows, seen, markets.parameters[EXPOSURE_LIMIT])


@njit(cache=True, error_model="numpy")
def step_serial(rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen) -> None:
    """Step all N rows on one thread and write what they show.

    `restart`: rows that had ended begin their next episode instead.
    """
    step = np.empty((STEP_WIDTH, LANES))
    for block in range(rows.accounts.shape[0]):
        step_block(block, rows, world, rules, restart, seen, step)


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
            account = account_at(rows.accounts.ctypes.data, i)
            begin_episode(account, rows.clocks[i], world, rules, markets[i], starts[i], exposures[i])


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
        mask_row(account_at(rows.accounts.ctypes.data, i), rows.clocks[i], world, actions, out[i])
