"""Decisions of several blocks read together, each with the bits that its own block gives it.

A network that reads each row by itself may be given rows of other blocks, as long as their number stays: matrix
products round differently in other shapes. Whether a row has the same bits at every place of a batch is a question of
the machine's libraries, so it is tried (`rows_alike`); where it has not, each row stays at the place that it has in its
own block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.fitting.blocks import Block

FEWER = (16, 64)  #: rows that are tried in place of a whole block's
Wanted = Sequence[tuple[Block, int]]  #: blocks, and the place of the decision that is wanted of each


class Packed(NamedTuple):
    """A batch of `R` rows: `which` (n,) of those wanted lie at `rows` (n,); the rest is zeros."""

    which: NDArray[np.int64]
    rows: NDArray[np.int64]

    def filled(self, parts: Sequence[Tensor], count: int) -> Tensor:
        """(R, ...) with `parts[i]` (...) of the wanted at their rows; `count` is R."""
        out = parts[0].new_zeros(count, *parts[0].shape)
        out[torch.from_numpy(self.rows)] = torch.stack([parts[i] for i in self.which.tolist()])
        return out


def packed(places: Sequence[int], count: int, anywhere: bool) -> Iterator[Packed]:
    """Batches of `count` rows that hold decisions of these places in their blocks.

    Args:
        places: in their blocks, one each.
        count: rows R of a batch, a divisor of a block's.
        anywhere: a row has the same bits at every place.
    """
    left = list(range(len(places)))
    while left:
        taken: dict[int, int] = {}
        later = []
        for i in left:
            row = len(taken) if anywhere else places[i] % count
            if row in taken or row >= count:
                later.append(i)
            else:
                taken[row] = i
        yield Packed(np.array(list(taken.values())), np.array(list(taken)))
        left = later


def windows_of(block: Block, place: int, bars: int) -> tuple[Tensor, ...]:
    """The windows of one decision, (W_k, F_k) per timeframe; `bars` is W_0."""
    start = int(block.places[0, place])
    return (block.bars[0, start : start + bars], *(part[place] for part in block.higher))


def rows_alike(read: Callable[[list[Tensor]], Tensor], shapes: Sequence[tuple[int, ...]], count: int) -> bool:
    """Whether a row has the same bits wherever it lies in a batch, and whatever lies beside it.

    Args:
        read: (R, C) of inputs (R, ...).
        shapes: of a row of each input.
        count: R.
    """
    numbers = torch.Generator().manual_seed(0)
    inputs = [torch.randn(count, *shape, generator=numbers) for shape in shapes]
    first = read(inputs)
    alike = all(torch.equal(read([part.roll(by, 0) for part in inputs]), first.roll(by, 0)) for by in (1, count // 2))
    alone = [torch.zeros_like(part) for part in inputs]
    for part, whole in zip(alone, inputs, strict=True):
        part[-1] = whole[0]
    return alike and torch.equal(read(alone)[-1], first[0])


def fewest_alike(read: Callable[[list[Tensor]], Tensor], shapes: Sequence[tuple[int, ...]], count: int) -> int:
    """How many rows have to be read at once for the bits that they have among all `count`: few, or all of them.

    Arguments as of `rows_alike`: inputs are (count, *shape) each. Groups of 16 rows, of 64 and so on are tried, each at
    its place.
    """
    numbers = torch.Generator().manual_seed(0)
    inputs = [torch.randn(count, *shape, generator=numbers) for shape in shapes]
    whole = read(inputs)
    for rows in FEWER:
        starts = range(0, count - rows + 1, rows)
        if count % rows == 0 and all(
            torch.equal(read([part[start : start + rows] for part in inputs]), whole[start : start + rows])
            for start in starts
        ):
            return rows
    return count
