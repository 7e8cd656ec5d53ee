"""N environments stepped by several threads: the caller writes down the job and wakes helpers, all take blocks of rows.

Nobody spins and nobody waits for a thread that has not begun: each takes the next block that is free, the caller from
the front and helpers from the back, and the caller waits only for blocks that others are at. A helper that gets no core
(another process has it) is left asleep for a while. The bits do not depend on who steps a row.

Callers hold the GIL throughout, so that there is one job at a time; helpers never take it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, EpisodeRules, World
from cryptoenv.env.lanes import EnvRows
from cryptoenv.env.thread_signals import acquire_lock, atomic_add, atomic_read, atomic_swap, pause, release_lock
from cryptoenv.env.vector_rows import AMOUNTS, Seen, copy_some_windows, step_block
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import bool_at, float32_at, float64_at, int8_at, int64_at
from cryptoenv.trading.plain_steps import LANES, STEP_WIDTH

BYTES = 8  #: of an int64
APART = 16  #: int64s between words that several threads write: two cache lines
# Words of the board, each written by many threads.
FREE, OPEN, TAKEN_BACK = 0, APART, 2 * APART  #: blocks that nobody took; that are not done; taken from the back
# Words that only callers write.
DONE_LOCK, ACQUIRE_AT, RELEASE_AT, CLOSED, HELPERS = range(3 * APART, 3 * APART + 5)
_REST, PATIENCE = 3 * APART + 8, 3 * APART + 10  #: per kind of job: how many the caller does alone; the next time
JOB = 4 * APART  #: what is to be done: 24 int64
KIND, N, BLOCK, BLOCKS = range(4)
_STEP, _WINDOWS = 0, 1
_RESTART, _BARS, _RANDOM, _CASH = range(4, 8)
_ROWS, _WORLD, _SEEN = 8, 13, 20  #: addresses and widths
_OUT = 8  #: of copying windows
JOB_WIDTH = 32
HELPER = JOB + JOB_WIDTH  #: of the first helper: whether it sleeps, then its lock
_SLEEPS, LOCK = 0, 1
WINDOW_CELLS = 32_768  #: cells (N * W * F) of windows in one block, about
SPINS = 500  #: looks at blocks that others are at, before the caller goes to sleep
LINGERS = 2_000  #: looks for a next job, before a helper goes to sleep that worked beside the caller in the last one
LONGEST_REST = 63  #: jobs that the caller does alone before it tries again whether a core is free
_AMOUNTS = len(AMOUNTS)


@njit(cache=True, error_model="numpy")
def _word(board: NDArray[np.int64], word: int) -> int:
    return board.ctypes.data + word * BYTES


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


@njit(cache=True, error_model="numpy")
def _do(job: NDArray[np.int64], block: int, step: NDArray[np.float64]) -> None:
    """Do a block of the job; `step` is memory of the thread's own."""
    if job[KIND] == _STEP:
        _step_one(job, block, step)
    else:
        first = block * job[BLOCK]
        _copy_one(job, first, min(first + job[BLOCK], job[N]))


@njit(cache=True, error_model="numpy")
def _wake(board: NDArray[np.int64], me: int) -> None:
    """Wake the two helpers below `me` (the caller is 0), who wake theirs: nobody wakes more than two."""
    for number in range(2 * me + 1, min(2 * me + 2, board[HELPERS]) + 1):
        helper = HELPER + (number - 1) * APART
        if atomic_swap(_word(board, helper + _SLEEPS), 0) == 1:
            release_lock(board[RELEASE_AT], board[helper + LOCK])


@njit(cache=True, error_model="numpy")
def _share(board: NDArray[np.int64], job: NDArray[np.int64], blocks: int) -> None:
    """Do the job that is written down: together with the helpers, or alone while they have no core of their own."""
    kind, step = job[KIND], np.empty((STEP_WIDTH, LANES))
    if board[_REST + kind] > 0:
        board[_REST + kind] -= 1
        for block in range(blocks):
            _do(job, block, step)
        return
    mine = _together(board, job, blocks, step)
    # Helpers that took nothing had no core or woke too late; one that took all ran on the caller's.
    if 0 < mine < blocks:
        board[PATIENCE + kind] = 0
    else:
        board[PATIENCE + kind] = min(2 * board[PATIENCE + kind] + 1, LONGEST_REST)
        board[_REST + kind] = board[PATIENCE + kind]


@njit(cache=True, error_model="numpy")
def _together(board: NDArray[np.int64], job: NDArray[np.int64], blocks: int, step: NDArray[np.float64]) -> int:
    """Do the job with the helpers; how many blocks the caller did."""
    job[BLOCKS] = blocks
    free, unfinished = _word(board, FREE), _word(board, OPEN)
    atomic_swap(_word(board, TAKEN_BACK), 0)
    atomic_swap(unfinished, blocks)
    atomic_swap(free, blocks)  # from here on helpers take blocks
    _wake(board, 0)
    mine = 0
    while atomic_add(free, -1) > 0:
        _do(job, mine, step)
        mine += 1
    others = atomic_add(unfinished, -mine) - mine
    if others == 0 and mine > 0:
        return mine
    for _ in range(SPINS):
        if atomic_read(unfinished) == 0:
            break
        pause()
    acquire_lock(board[ACQUIRE_AT], board[DONE_LOCK])  # released by whoever finished the last block
    return mine


@njit(cache=True, error_model="numpy")
def _lingers(board: NDArray[np.int64], number: int) -> bool:
    """Whether the next job comes while a helper that is awake looks out for it."""
    free = _word(board, FREE)
    for _ in range(LINGERS):
        if atomic_read(free) > 0:
            return bool(board[HELPERS] >= number)
        pause()
    return False


@njit(cache=True, error_model="numpy", nogil=True)
def serve(board: NDArray[np.int64], number: int) -> None:
    """Help with every job, asleep in between, until the board is closed; `number` of the helper, from 1.

    Args:
        board: (HELPER + APART * helpers,) int64, see `stepping_threads`.
    """
    job, step = board[JOB : JOB + JOB_WIDTH], np.empty((STEP_WIDTH, LANES))
    helper = HELPER + (number - 1) * APART
    free, sleeps = _word(board, FREE), _word(board, helper + _SLEEPS)
    while atomic_read(_word(board, CLOSED)) == 0:
        beside = False
        while atomic_add(free, -1) > 0:  # a block that is taken keeps its job on the board
            back = atomic_add(_word(board, TAKEN_BACK), 1)
            beside = back + 1 < job[BLOCKS]  # who took all was alone on the caller's core
            _do(job, job[BLOCKS] - 1 - back, step)
            if atomic_add(_word(board, OPEN), -1) == 1:
                release_lock(board[RELEASE_AT], board[DONE_LOCK])
        if beside and _lingers(board, number):
            continue
        atomic_swap(sleeps, 1)
        if atomic_read(free) > 0 and atomic_swap(sleeps, 0) == 1:
            continue
        acquire_lock(board[ACQUIRE_AT], board[helper + LOCK])
        _wake(board, number)


@njit(cache=True, error_model="numpy")
def step_shared(
    rows: EnvRows, world: World, rules: EpisodeRules, restart: bool, seen: Seen, board: NDArray[np.int64]
) -> None:
    """As `step_serial`, together with the helpers that serve `board` (CELLS,); the results are the same bits."""
    job = board[JOB : JOB + JOB_WIDTH]
    n = rows.clocks.shape[0]
    job[KIND], job[N], job[BLOCK], job[_RESTART] = _STEP, n, LANES, restart
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
    _share(board, job, rows.accounts.shape[0])


@njit(cache=True, error_model="numpy")
def copy_windows_shared(
    table: NDArray[np.int64],
    clocks: NDArray[np.int64],
    timeframe: int,
    out: NDArray[np.float32],
    board: NDArray[np.int64],
) -> None:
    """As `copy_windows` into `out` (N, W, F), together with the helpers that serve `board` (CELLS,)."""
    job = board[JOB : JOB + JOB_WIDTH]
    n = out.shape[0]
    block = max(1, WINDOW_CELLS // (out.shape[1] * out.shape[2]))
    job[KIND], job[N], job[BLOCK] = _WINDOWS, n, block
    job[_OUT], job[_OUT + 1], job[_OUT + 2] = table.ctypes.data, table.shape[0], table.shape[1]
    job[_OUT + 3], job[_OUT + 4], job[_OUT + 5] = clocks.ctypes.data, clocks.shape[1], timeframe
    job[_OUT + 6], job[_OUT + 7], job[_OUT + 8] = out.ctypes.data, out.shape[1], out.shape[2]
    _share(board, job, -(-n // block))
