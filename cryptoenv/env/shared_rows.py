"""N environments stepped by several threads: what is written down of a step on the board of jobs, and read of it.

The results are the bits of one thread.
"""

from functools import cache

import numpy as np
from numba import cfunc, njit
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, EpisodeRules, World
from cryptoenv.env.job_board import (
    BLOCK_SIGNATURE,
    BYTES,
    COPYING,
    FUNCTION,
    JOB,
    JOB_WIDTH,
    KIND,
    OWN,
    STEPPING,
    share,
)
from cryptoenv.env.lanes import EnvRows
from cryptoenv.env.vector_rows import AMOUNTS, Seen, copy_some_windows, step_block
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import bool_at, float32_at, float64_at, int8_at, int64_at
from cryptoenv.trading.plain_steps import LANES, STEP_WIDTH

N, BLOCK = OWN, OWN + 1  #: rows; of windows: rows in a block
_RESTART, _BARS, _RANDOM, _CASH = range(OWN + 2, OWN + 6)
_ROWS, _WORLD, _SEEN = OWN + 6, OWN + 11, OWN + 18  #: addresses and widths
_OUT = OWN + 6  #: of copying windows
WINDOW_CELLS = 32_768  #: cells (N * W * F) of windows in one block, about
_AMOUNTS = len(AMOUNTS)


@njit(cache=True, error_model="numpy")
def _step_one(job: NDArray[np.int64], block: int, step: NDArray[np.float64]) -> None:
    """Step the rows of a block of the job."""
    n = job[N]
    rows = EnvRows(
        float64_at(job[_ROWS], (-(-n // LANES), ACCOUNT_WIDTH, LANES)),
        int64_at(job[_ROWS + 1], (n, CLOCK_WIDTH)),
        float64_at(job[_ROWS + 2], (n,)),
    )
    world = World(
        int64_at(job[_WORLD], (job[_WORLD + 3], job[_WORLD + 4])),
        float64_at(job[_WORLD + 1], (job[_WORLD + 5],)),
        float64_at(job[_WORLD + 2], (job[_WORLD + 6],)),
    )
    seen = Seen(
        float64_at(job[_SEEN], (n,)),
        bool_at(job[_SEEN + 1], (n,)),
        bool_at(job[_SEEN + 2], (n,)),
        float32_at(job[_SEEN + 3], (n, job[_SEEN + 9])),
        int64_at(job[_SEEN + 4], (n, 2)),
        int64_at(job[_SEEN + 5], (2, n)),
        float64_at(job[_SEEN + 6], (_AMOUNTS, n)),
        int8_at(job[_SEEN + 7], (2, n)),
        bool_at(job[_SEEN + 8], (n,)),
    )
    cash = float64_at(job.ctypes.data + _CASH * BYTES, (1,))[0]
    rules = EpisodeRules(job[_BARS], job[_RANDOM] % 2 == 1, cash, job[_RANDOM] >= 2)
    step_block(block, rows, world, rules, job[_RESTART] == 1, seen, step)


@njit(cache=True, error_model="numpy")
def _copy_one(job: NDArray[np.int64], first: int, last: int) -> None:
    """Copy the windows of rows `first` to `last` (exclusive) of the job."""
    table = int64_at(job[_OUT], (job[_OUT + 1], job[_OUT + 2]))
    clocks = int64_at(job[_OUT + 3], (job[N], job[_OUT + 4]))
    out = float32_at(job[_OUT + 6], (job[N], job[_OUT + 7], job[_OUT + 8]))
    copy_some_windows(first, last, table, clocks, job[_OUT + 5], out)


def _step_at(job: int, block: int, scratch: int) -> None:
    _step_one(int64_at(job, (JOB_WIDTH,)), block, float64_at(scratch, (STEP_WIDTH, LANES)))


def _copy_at(job: int, block: int, scratch: int) -> None:
    words = int64_at(job, (JOB_WIDTH,))
    first = block * words[BLOCK]
    _copy_one(words, first, min(first + words[BLOCK], words[N]))


@cache
def stepping() -> int:
    """The address of what steps a block; compiled when it is first asked for."""
    return int(cfunc(BLOCK_SIGNATURE, cache=True)(_step_at).address or 0)


@cache
def copying() -> int:
    """The address of what copies a block of windows."""
    return int(cfunc(BLOCK_SIGNATURE, cache=True)(_copy_at).address or 0)


@njit(cache=True, error_model="numpy")
def step_shared(
    rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen, board: NDArray[np.int64], function: int
) -> None:
    """As `step_serial`, shared with those that serve `board` (CELLS,); `function`: `stepping()`."""
    job = board[JOB : JOB + JOB_WIDTH]
    n = rows.clocks.shape[0]
    job[KIND], job[FUNCTION], job[N], job[_RESTART] = STEPPING, function, n, restart
    job[_BARS], job[_RANDOM] = rules.bars, rules.random_start + 2 * rules.keeps_place
    float64_at(job.ctypes.data + _CASH * BYTES, (1,))[0] = rules.cash
    job[_ROWS], job[_ROWS + 1] = rows.accounts.ctypes.data, rows.clocks.ctypes.data
    job[_ROWS + 2] = rows.targets.ctypes.data
    job[_WORLD], job[_WORLD + 1] = world.table.ctypes.data, world.parameters.ctypes.data
    job[_WORLD + 2] = world.weights.ctypes.data
    job[_WORLD + 3], job[_WORLD + 4] = world.table.shape[0], world.table.shape[1]
    job[_WORLD + 5], job[_WORLD + 6] = world.parameters.shape[0], world.weights.shape[0]
    job[_SEEN], job[_SEEN + 1] = seen.rewards.ctypes.data, seen.terminated.ctypes.data
    job[_SEEN + 2], job[_SEEN + 3] = seen.truncated.ctypes.data, seen.account.ctypes.data
    job[_SEEN + 4], job[_SEEN + 5] = seen.where.ctypes.data, seen.clock.ctypes.data
    job[_SEEN + 6], job[_SEEN + 7] = seen.amounts.ctypes.data, seen.kinds.ctypes.data
    job[_SEEN + 8], job[_SEEN + 9] = seen.ruined.ctypes.data, seen.account.shape[1]
    share(board, job, rows.accounts.shape[0])


@njit(cache=True, error_model="numpy")
def copy_windows_shared(
    table: NDArray[np.int64],
    clocks: NDArray[np.int64],
    timeframe: int,
    out: NDArray[np.float32],
    board: NDArray[np.int64],
    function: int,
) -> None:
    """As `copy_windows` into `out` (N, W, F), shared with who serves `board` (CELLS,); `function`: `copying()`."""
    job = board[JOB : JOB + JOB_WIDTH]
    n = out.shape[0]
    block = max(1, WINDOW_CELLS // (out.shape[1] * out.shape[2]))
    job[KIND], job[FUNCTION], job[N], job[BLOCK] = COPYING, function, n, block
    job[_OUT], job[_OUT + 1], job[_OUT + 2] = table.ctypes.data, table.shape[0], table.shape[1]
    job[_OUT + 3], job[_OUT + 4], job[_OUT + 5] = clocks.ctypes.data, clocks.shape[1], timeframe
    job[_OUT + 6], job[_OUT + 7], job[_OUT + 8] = out.ctypes.data, out.shape[1], out.shape[2]
    share(board, job, -(-n // block))
