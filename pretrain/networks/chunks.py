"""Blocks read in chunks of fixed shape, so that one decision costs little and has the bits that a whole block gives it.

Matrix products round differently in other shapes. A block is always read in the same chunks of decisions and, where the
encoder has a memory, in the same pieces of bars: whoever wants one decision reads the chunk that it lies in alone, and
takes up the memory where the piece of its bar begins.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pretrain.data.stretches import STRETCH
from pretrain.fitting.blocks import Block
from pretrain.fitting.packing import Wanted, packed, rows_alike, windows_of
from pretrain.networks.scaled_encoder import ScaledEncoder

CHUNK = 16  #: decisions that are read together; a divisor of STRETCH
PIECE = 64  #: base bars that a memory runs over at once


class ChunkedReader:
    """Reads blocks with a model, all decisions or one; the same bits either way.

    Args:
        model: in evaluation mode.
        say: what is made of embeddings: (n, C) from (n, D), each row by itself.
    """

    def __init__(self, model: ScaledEncoder, say: Callable[[Tensor], Tensor]) -> None:
        self._model, self._say = model, say
        self._kept: tuple[Tensor, Tensor] | None = None
        self._anywhere: bool | None = None  #: whether rows of other blocks may lie at any place of a chunk

    def read(self, block: Block) -> Tensor:
        """(S, C) what is said of a block's decisions; rows that hold none are worth nothing."""
        states = self._states(block.bars, block.bars.shape[1]) if self._model.config.memory else None
        return torch.cat([self._chunk(block, number, states) for number in range(STRETCH // CHUNK)])

    def read_at(self, block: Block, place: int) -> Tensor:
        """(1, C) what is said of the decision at one place."""
        window, states = self._model.config.window[0], None
        if self._model.config.memory:
            bars = int(block.places[0, place]) + window
            states = self._states(block.bars, bars, keep=True)
        row = place % CHUNK
        return self._chunk(block, place // CHUNK, states)[row : row + 1]

    def read_several(self, wanted: Wanted) -> Tensor:
        """(n, C) what is said of one decision of each of n blocks: `read_at` of each, bit for bit."""
        window = self._model.config.window[0]
        memory = [self._ends(block, place) for block, place in wanted] if self._model.config.memory else None
        windows = [windows_of(block, place, window) for block, place in wanted]
        inputs = [part if memory is None else (memory[i], *part[1:]) for i, part in enumerate(windows)]
        if self._anywhere is None:
            self._anywhere = rows_alike(self._of_rows, [tuple(part.shape) for part in inputs[0]], CHUNK)
        out = None
        for batch in packed([place for _, place in wanted], CHUNK, self._anywhere):
            parts = [batch.filled([row[k] for row in inputs], CHUNK) for k in range(len(inputs[0]))]
            said = self._of_rows(parts)
            out = said.new_zeros(len(wanted), said.shape[1]) if out is None else out
            out[torch.from_numpy(batch.which)] = said[torch.from_numpy(batch.rows)]
        assert out is not None
        return out

    def _of_rows(self, parts: list[Tensor]) -> Tensor:
        """(R, C) of R windows of every timeframe, or of R rows of states instead of the base's windows."""
        if self._model.config.memory:
            return self._say(self._model.read_states(parts[0], parts[1:]))
        return self._say(self._model(parts))

    def _ends(self, block: Block, place: int) -> Tensor:
        """(patches, memory) states at the ends of the base patches of one decision."""
        window, patch, start = self._model.config.window[0], self._model.config.patches[0], int(block.places[0, place])
        states = self._states(block.bars, start + window)
        return states[start + torch.arange(patch - 1, window, patch, device=states.device)]

    def _chunk(self, block: Block, number: int, states: Tensor | None) -> Tensor:
        """(CHUNK, C) of one chunk."""
        model, rows = self._model, slice(number * CHUNK, (number + 1) * CHUNK)
        places, higher = block.places[0, rows], [part[rows] for part in block.higher]
        window, patch = model.config.window[0], model.config.patches[0]
        if states is None:
            base = block.bars[0].unfold(0, window, 1)[places].transpose(1, 2)
            return self._say(model((base, *higher)))
        ends = places[:, None] + torch.arange(patch - 1, window, patch, device=places.device)
        return self._say(model.read_states(states[ends.clamp(max=len(states) - 1)], higher))

    def _states(self, bars: Tensor, count: int, *, keep: bool = False) -> Tensor:
        """(n, memory) states after each of the first `count` base bars (1, L, F_0) and the rest of the last piece.

        `keep`: take up those of an earlier call on bars that begin as these do, and keep them for the next one.
        """
        parts, begin = [], 0
        kept = self._kept if keep else None
        if kept is not None:
            seen, states = kept
            same = len(seen) <= bars.shape[1] and torch.equal(seen, bars[0, : len(seen)])
            if same and len(seen):
                parts, begin = [states], len(seen)
        last = parts[0][-1:] if parts else None
        for start in range(begin, count, PIECE):
            found = self._model.remember(bars[:, start : start + PIECE], last)[0]
            parts.append(found)
            last = found[-1:]
        out = torch.cat(parts)
        if keep:
            whole = (count - 1) // PIECE * PIECE  # the piece of the newest bar is not full yet
            self._kept = bars[0, :whole].clone(), out[:whole].clone()
        return out
