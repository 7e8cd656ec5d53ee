"""Seeds of one training's parts, far from each other and from those of the next seed."""

from __future__ import annotations

import zlib

import numpy as np


def spread_seed(seed: int, purpose: str) -> int:
    """A seed of 31 bits that belongs to `purpose`, a part of a training with `seed`; no two parts share one.

    A part that has parts of its own takes the seed that it is given and spreads it again; the raw seed of a training is
    drawn from nowhere. (Row `i` of a vector env reset with `s` draws as a single env reset with `s + i`: with the seeds
    0, 1, 2, ... as they stand, trainings would share all their episodes but a few.)
    """
    return int(np.random.SeedSequence((seed, zlib.crc32(purpose.encode()))).generate_state(1)[0] >> 1)
