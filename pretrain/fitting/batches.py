"""Batches to train on and to validate with, of whatever encoder; and what must not be in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.typed_values import ConfigError
from pretrain.data.stretches import ROWS, OrderedStretches, ShuffledStretches, StretchDataset
from pretrain.data.windows import OrderedBatches, ShuffledBatches, WindowDataset
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.provenance import Rows

# Validation needs no gradients: larger batches are faster.
VALIDATION_BATCH = 2048


def training_batches(
    dataset: WindowDataset, held_out: WindowDataset, training: PretrainingConfig, seed: int, *, memory: bool
) -> tuple[Iterable[Any], Iterable[Any]]:
    """Batches to train on and to validate with: windows, or stretches where the encoder has a memory.

    Raises:
        ConfigError: devices that cannot share a batch of stretches.
    """
    if memory:
        if training.devices > 1 and training.batch % (ROWS * training.devices):
            allowed = f"a multiple of {ROWS} x devices={training.devices}, so that every process gets whole stretches"
            raise ConfigError(f"batch={training.batch} is not allowed with a memory: {allowed}")
        stretches = ShuffledStretches(StretchDataset(dataset), training.batch, training.steps, seed)
        return stretches, OrderedStretches(StretchDataset(held_out), training.validation_windows)
    rows = evenly_spread(len(held_out), training.validation_windows)
    shuffled = ShuffledBatches(dataset, training.batch, training.steps, seed)
    return shuffled, OrderedBatches(held_out, VALIDATION_BATCH, rows)


def evenly_spread(length: int, count: int) -> NDArray[np.int64]:
    """(n,) int64: at most `count` rows out of `length`, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))


def refuse_shared_rows(train: Sequence[Rows], validation: Sequence[Rows]) -> None:
    """Refuse what would let training see validation.

    Raises:
        ValueError: a market of `validation` is also in `train`, with rows in common; both are numbered.
    """
    seen: dict[str, list[tuple[int, Rows]]] = {}
    for number, item in enumerate(train):
        seen.setdefault(item.market.hash, []).append((number, item))
    for number, item in enumerate(validation):
        for other_number, other in seen.get(item.market.hash, []):
            if item.start < other.end and other.start < item.end:
                raise ValueError(
                    f"validation[{number}] and train[{other_number}] are the same market with rows "
                    f"[{max(item.start, other.start)}, {min(item.end, other.end)}) in common"
                )
