"""A job in blocks, done by several threads: the caller writes it down and wakes helpers, all take blocks of it.

Nobody spins and nobody waits for a thread that has not begun: each takes the next block that is free, the caller from
the front and helpers from the back, and the caller waits only for blocks that others are at. A helper that gets no core
(another process has it) is left asleep for a while. The bits do not depend on who does a block.

What is done with a block is a C function whose address is in the job: helpers know no environment, and compile none.
Callers hold the GIL throughout, so that there is one job at a time; helpers never take it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.thread_signals import (
    acquire_lock,
    atomic_add,
    atomic_read,
    atomic_swap,
    call_with,
    pause,
    release_lock,
)

BYTES = 8  #: of an int64
APART = 16  #: int64s between words that several threads write: two cache lines
# Words of the board, each written by many threads.
FREE, OPEN, TAKEN_BACK = 0, APART, 2 * APART  #: blocks that nobody took; that are not done; taken from the back
# Words that only callers write.
DONE_LOCK, ACQUIRE_AT, RELEASE_AT, CLOSED, HELPERS = range(3 * APART, 3 * APART + 5)
_REST, PATIENCE = 3 * APART + 8, 3 * APART + 10  #: per kind of job: how many the caller does alone; the next time
JOB = 4 * APART  #: what is to be done
KIND, BLOCKS, FUNCTION = range(3)  #: of a job; address of what does a block
BLOCK_SIGNATURE = "void(int64, int64, int64)"  #: of that: address of the job, the block, address of scratch memory
STEPPING, COPYING = 0, 1  #: kinds of jobs
OWN = 4  #: the first word of a job that its function alone reads
JOB_WIDTH = 48
SCRATCH = 2048  #: float64s of each thread's own that the function may use; their address is its last argument
HELPER = JOB + JOB_WIDTH  #: of the first helper: whether it sleeps, then its lock
_SLEEPS, LOCK = 0, 1
SPINS = 500  #: looks at blocks that others are at, before the caller goes to sleep
LINGERS = 2_000  #: looks for a next job, before a helper goes to sleep that worked beside the caller in the last one
LONGEST_REST = 63  #: jobs that the caller does alone before it tries again whether a core is free


@njit(cache=True, error_model="numpy")
def _word(board: NDArray[np.int64], word: int) -> int:
    return board.ctypes.data + word * BYTES


@njit(cache=True, error_model="numpy")
def _do(job: NDArray[np.int64], block: int, scratch: NDArray[np.float64]) -> None:
    call_with(job[FUNCTION], job.ctypes.data, block, scratch.ctypes.data)


@njit(cache=True, error_model="numpy")
def _wake(board: NDArray[np.int64], me: int) -> None:
    """Wake the two helpers below `me` (the caller is 0), who wake theirs: nobody wakes more than two."""
    for number in range(2 * me + 1, min(2 * me + 2, board[HELPERS]) + 1):
        helper = HELPER + (number - 1) * APART
        if atomic_swap(_word(board, helper + _SLEEPS), 0) == 1:
            release_lock(board[RELEASE_AT], board[helper + LOCK])


@njit(cache=True, error_model="numpy")
def share(board: NDArray[np.int64], job: NDArray[np.int64], blocks: int) -> None:
    """Do the job that is written down: together with the helpers, or alone while they have no core of their own.

    Args:
        board: (HELPER + APART * helpers,) int64. job: (JOB_WIDTH,) int64 of it. blocks: of the job.
    """
    kind, scratch = job[KIND], np.empty(SCRATCH)
    if board[_REST + kind] > 0:
        board[_REST + kind] -= 1
        for block in range(blocks):
            _do(job, block, scratch)
        return
    mine = _together(board, job, blocks, scratch)
    # Helpers that took nothing had no core or woke too late; one that took all ran on the caller's.
    if 0 < mine < blocks:
        board[PATIENCE + kind] = 0
    else:
        board[PATIENCE + kind] = min(2 * board[PATIENCE + kind] + 1, LONGEST_REST)
        board[_REST + kind] = board[PATIENCE + kind]


@njit(cache=True, error_model="numpy")
def _together(board: NDArray[np.int64], job: NDArray[np.int64], blocks: int, scratch: NDArray[np.float64]) -> int:
    """Do the job with the helpers; how many blocks the caller did."""
    job[BLOCKS] = blocks
    free, unfinished = _word(board, FREE), _word(board, OPEN)
    atomic_swap(_word(board, TAKEN_BACK), 0)
    atomic_swap(unfinished, blocks)
    atomic_swap(free, blocks)  # from here on helpers take blocks
    _wake(board, 0)
    mine = 0
    while atomic_add(free, -1) > 0:
        _do(job, mine, scratch)
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
    job, scratch = board[JOB : JOB + JOB_WIDTH], np.empty(SCRATCH)
    helper = HELPER + (number - 1) * APART
    free, sleeps = _word(board, FREE), _word(board, helper + _SLEEPS)
    while atomic_read(_word(board, CLOSED)) == 0:
        beside = False
        while atomic_add(free, -1) > 0:  # a block that is taken keeps its job on the board
            back = atomic_add(_word(board, TAKEN_BACK), 1)
            beside = back + 1 < job[BLOCKS]  # who took all was alone on the caller's core
            _do(job, job[BLOCKS] - 1 - back, scratch)
            if atomic_add(_word(board, OPEN), -1) == 1:
                release_lock(board[RELEASE_AT], board[DONE_LOCK])
        if beside and _lingers(board, number):
            continue
        atomic_swap(sleeps, 1)
        if atomic_read(free) > 0 and atomic_swap(sleeps, 0) == 1:
            continue
        acquire_lock(board[ACQUIRE_AT], board[helper + LOCK])
        _wake(board, number)
