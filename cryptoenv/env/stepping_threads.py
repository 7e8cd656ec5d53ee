"""How many threads a process may step on, and the helpers among them: as many as numba was left, and their board.

The helpers are the package's own, so no threading layer of numba's is started: OpenMP's threads spin at a barrier (a
busy neighbour makes a step ten times slower), are lost in a fork and shared with torch; workqueue's end the process
when two threads use them at once.
"""

import os
import threading

import numba
import numpy as np
from numpy.typing import NDArray

from cryptoenv.env import job_board as board_of
from cryptoenv.env.thread_signals import ACQUIRE, RELEASE, held_lock

MOST_HELPERS = 63  #: one board has room for
Board = NDArray[np.int64]


class _Crew:
    """The helpers of this process; a forked child, which has none, starts its own."""

    board: Board | None = None
    helpers = 0
    refused = False  # the system starts no more threads


def _forget_helpers() -> None:
    _Crew.board, _Crew.helpers, _Crew.refused = None, 0, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def granted_threads() -> int:
    """Threads that may step: what `numba.set_num_threads` says where numba's were started, else one per core."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return 1
    try:
        numba.threading_layer()
    except ValueError:  # asking numba for their number would start them, and they reset torch's
        return min(int(numba.config.NUMBA_NUM_THREADS), os.cpu_count() or 1)  # type: ignore[attr-defined]
    return int(numba.get_num_threads())


def helping(threads: int) -> Board | None:
    """The board that `threads` - 1 helpers serve, for the functions of `shared_rows`; None where there are none.

    They start on first use, as daemons, and sleep while there is nothing to do.
    """
    wanted = min(threads - 1, MOST_HELPERS)
    if wanted < 1:
        return None
    if _Crew.helpers < wanted and not _Crew.refused:
        _start_helpers(wanted)
    board = _Crew.board
    if board is None or _Crew.helpers == 0:
        return None
    board[board_of.HELPERS] = min(wanted, _Crew.helpers)
    return board


def _start_helpers(wanted: int) -> None:
    if _Crew.board is None:
        _Crew.board = _new_board()
    while _Crew.helpers < wanted:
        number = _Crew.helpers + 1
        helper = threading.Thread(
            target=board_of.serve, args=(_Crew.board, number), name=f"cryptoenv-step-{number}", daemon=True
        )
        try:
            helper.start()
        except RuntimeError:  # no more threads here: those there are will do
            _Crew.refused = True
            return
        _Crew.helpers = number


def _new_board() -> Board:
    room = np.zeros(board_of.HELPER + board_of.APART * (MOST_HELPERS + 1), dtype=np.int64)
    start = -(room.ctypes.data // 8) % board_of.APART  # each word that many write has cache lines of its own
    board = room[start : start + room.size - board_of.APART]
    board[board_of.DONE_LOCK], board[board_of.ACQUIRE_AT], board[board_of.RELEASE_AT] = held_lock(), ACQUIRE, RELEASE
    for number in range(MOST_HELPERS):
        board[board_of.HELPER + number * board_of.APART + board_of.LOCK] = held_lock()
    board[board_of.CLOSED] = 1
    board_of.serve(board, 1)  # compiled here: a helper that compiles while the process ends would take it down
    board[board_of.CLOSED] = 0
    return board
