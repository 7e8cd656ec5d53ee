"""Whether a process may step on several threads: a forked one may not, where numba's threads ran before the fork.

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


def threads_usable() -> bool:
    """False in a process that was forked from one whose numba threads had been started."""
    return not _Forked.lost_threads
