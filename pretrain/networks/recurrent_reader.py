"""An encoder that is a memory and little else: it reads every base bar once, so it can learn from every bar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pretrain.networks.encoder_config import EncoderConfig


class RecurrentReader(nn.Module):
    """A gated recurrent network (Cho et al. 2014) over the base bars; an embedding is a layer on its state.

    Each base bar goes through a layer of `config.memory` units and then into the memory. What is remembered of a bar,
    M = 2 * `config.memory` numbers, is the memory's state after it and what the layer made of it; one layer reads an
    embedding from them. Of the higher timeframes it knows what the base features say of them and what it remembers:
    one run that also read their own windows, in other batches, was worse (docs/results.md). `config.window[0]` is the
    number of bars that the memory runs over, at least, before a decision that is read out of a market's middle.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.read_bar = nn.Sequential(nn.Linear(len(config.feature_names[0]), config.memory), nn.GELU())
        self.memory = nn.GRU(config.memory, config.memory, batch_first=True)
        self.read_out = nn.Sequential(nn.Linear(2 * config.memory, config.width), nn.GELU())

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        return self.read(self.remember(windows[0])[:, -1:], windows[1:])

    def remember(self, bars: Tensor, before: Tensor | None = None) -> Tensor:
        """(B, L, M) float32: what is remembered after each of L base bars (B, L, F_0); `before` (B, M): after the bar
        before them, nothing where None."""
        read = self.read_bar(bars)
        held = None if before is None else before[None, :, : self.config.memory].contiguous()
        return torch.cat((self.memory(read, held)[0], read), dim=-1)

    def read(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        """(B, D) embeddings of what is remembered at decisions, (B, 1, M); `higher` windows are not looked at."""
        found: Tensor = self.read_out(base[:, -1])
        return found
