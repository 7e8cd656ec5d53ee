"""One thread: two on shared cores wait for each other and can be twenty times slower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import torch


def use_one_thread() -> None:
    """Have torch use one thread in this process from now on, and numba, and the vector envs that are made.

    numba starts its thread pool on first use and, with OpenMP, gives torch as many threads as it takes itself; so the
    pool is started first.
    """
    numba.set_num_threads(1)
    torch.set_num_threads(1)


@contextmanager
def one_thread() -> Iterator[None]:
    """`use_one_thread` for the body; then torch and numba have as many threads as before."""
    before = torch.get_num_threads()  # first: asking numba starts its pool, which can change torch's
    numba_before = numba.get_num_threads()
    use_one_thread()
    try:
        yield
    finally:
        numba.set_num_threads(numba_before)
        torch.set_num_threads(before)
