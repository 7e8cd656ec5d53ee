"""How many threads a process may step on: as many as numba was left, and one after a fork that lost them.

A fork copies memory but not threads, and GNU OpenMP ends a child that goes on using the ones its parent had. Serial
stepping gives the same bits.
"""

import os

import numba


class _Forked:
    lost_threads = False


def _note_lost_threads() -> None:
    try:
        numba.threading_layer()  # raises unless the threads were started
    except ValueError:
        return
    _Forked.lost_threads = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_lost_threads)


def granted_threads() -> int:
    """Threads that numba may use: what `numba.set_num_threads` says where they were started, else one per core."""
    try:
        numba.threading_layer()
    except ValueError:  # asking numba for their number would start them, and they reset torch's
        return min(int(numba.config.NUMBA_NUM_THREADS), os.cpu_count() or 1)  # type: ignore[attr-defined]
    return int(numba.get_num_threads())


def threads_usable() -> bool:
    """False in a process that was forked from one whose numba threads had been started."""
    return not _Forked.lost_threads
