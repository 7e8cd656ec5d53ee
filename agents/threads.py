"""One thread: two on shared cores wait for each other and can be twenty times slower."""

from __future__ import annotations

import numba
import torch


def use_one_thread() -> None:
    """Have torch use one thread in this process from now on, and numba, and the vector envs that are made.

    numba starts its thread pool on first use and, with OpenMP, gives torch as many threads as it takes itself; so the
    pool is started first.
    """
    numba.set_num_threads(1)
    torch.set_num_threads(1)
