"""The network: rows of six channels to the joint distribution of the next row, and to the chances of a pump.

Every row of a window looks back alone, so that a window trains all of its rows at once and a forecast goes on from its
last row without reading the others again.
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.networks.encoders import AttentionBlock
from pretrain.tokens.channels import PREDICTED
from pretrain.tokens.config import TokenModelConfig
from pretrain.tokens.series import FEATURES

CHANCES = ("pump", "rise")  #: what the second head says: a pump starts, the price rises


class Remembered(NamedTuple):
    """What a forecast goes on from: the newest rows for the convolution, and the state of every layer.

    `recent` (P, kernel - 1, 6); `layers`: keys and values (P, heads, L, D / heads) of attention, the first `rows` of
    which are known, or hidden and cell states (layers, P, D) of an LSTM; `rows`: how many were read.
    """

    recent: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    rows: int


class TokenModel(nn.Module):
    """Embedding, sinusoidal positions, a causal Transformer encoder, and two heads.

    The first head gives the next row as a chain of conditional distributions: the quantiles of the return, then those
    of buys given the return, and so on (`PREDICTED`); a row that is sampled along the chain is drawn from their joint
    distribution. Quantiles are sums of positive steps and never cross. It reads windows (B, W, 6) of float32.
    """

    positions: Tensor

    def __init__(self, config: TokenModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embed_size
        kernel = config.kernel if config.embedding == "conv" else 1
        self.embed = nn.Conv1d(len(FEATURES), width, kernel)
        # a function of the place, not a weight: it is not saved
        self.register_buffer("positions", sinusoids(config.seq_length, width), persistent=False)
        if config.encoder == "lstm":
            self.lstm = nn.LSTM(width, width, config.layers, batch_first=True, dropout=config.dropout)
        else:
            self.blocks = nn.ModuleList(AttentionBlock(config.blocks) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        count = len(config.quantiles)
        self.heads = nn.ModuleList(_head(width + place, config.head_width, count) for place in range(len(PREDICTED)))
        self.chances = _head(width, config.head_width, len(CHANCES))

    @property
    def reach(self) -> int:
        """Rows before the present that the embedding sees."""
        return self.embed.kernel_size[0] - 1

    def forward(self, rows: Tensor) -> Tensor:
        """(B, N, D) of normalised channels (B, N, 6), N <= L; row n depends on rows up to n alone."""
        hidden = self._embedded(F.pad(rows, (0, 0, self.reach, 0)), 0)
        if self.config.encoder == "lstm":
            return self.norm(self.lstm(hidden)[0])
        for block in self.blocks:
            hidden = block(hidden, hidden, True)
        return self.norm(hidden)

    def begin(self, rows: Tensor) -> tuple[Tensor, Remembered]:
        """As `forward`, of the last row alone (P, D), with what `extend` goes on from."""
        padded = F.pad(rows, (0, 0, self.reach, 0))
        hidden, count = self._embedded(padded, 0), rows.shape[1]
        recent = padded[:, padded.shape[1] - self.reach :]
        if self.config.encoder == "lstm":
            out, (state, cell) = self.lstm(hidden)
            return self.norm(out[:, -1]), Remembered(recent, ((state, cell),), count)
        layers = []
        for block in self.blocks:
            hidden, keys, values = cast(AttentionBlock, block).remembered(hidden, self.config.seq_length)
            layers.append((keys, values))
        return self.norm(hidden[:, -1]), Remembered(recent, tuple(layers), count)

    def extend(self, row: Tensor, before: Remembered) -> tuple[Tensor, Remembered]:
        """The next row (P, 6): its (P, D), and what the row after it goes on from (`before` is used up)."""
        seen = torch.cat([before.recent, row[:, None]], dim=1)
        hidden = self._embedded(seen, before.rows)
        recent = seen[:, seen.shape[1] - self.reach :]
        if self.config.encoder == "lstm":
            out, state = self.lstm(hidden, before.layers[0])
            return self.norm(out[:, 0]), Remembered(recent, (state,), before.rows + 1)
        for block, (keys, values) in zip(self.blocks, before.layers, strict=True):
            hidden = cast(AttentionBlock, block).extend(hidden, keys, values, before.rows)
        return self.norm(hidden[:, 0]), Remembered(recent, before.layers, before.rows + 1)

    def quantiles(self, hidden: Tensor, known: Tensor, column: int) -> Tensor:
        """(..., Q) quantiles of predicted `column`, given `hidden` (..., D) and those before it, `known` (..., 5)."""
        said = self.heads[column](torch.cat([hidden, known[..., :column]], dim=-1))
        middle = self.config.median
        steps = F.softplus(said)
        above = said[..., middle : middle + 1] + steps[..., middle + 1 :].cumsum(dim=-1)
        below = said[..., middle : middle + 1] - steps[..., :middle].flip(-1).cumsum(dim=-1).flip(-1)
        return torch.cat([below, said[..., middle : middle + 1], above], dim=-1)

    def all_quantiles(self, hidden: Tensor, known: Tensor) -> Tensor:
        """(..., 5, Q) of every predicted column, each given the true ones before it."""
        return torch.stack([self.quantiles(hidden, known, column) for column in range(len(PREDICTED))], dim=-2)

    def _embedded(self, rows: Tensor, first: int) -> Tensor:
        """(B, N, D) of (B, reach + N, 6), the first of which stands at place `first` of the window."""
        hidden = self.embed(rows.transpose(1, 2)).transpose(1, 2)
        if self.config.encoder == "lstm":  # a recurrence knows the order
            return hidden
        return hidden + self.positions[first : first + hidden.shape[1]]


def sinusoids(length: int, width: int) -> Tensor:
    """(length, width) positions (Vaswani et al. 2017, section 3.5): sines in even columns, cosines in odd ones."""
    place = torch.arange(length, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    out = torch.empty(length, width, dtype=torch.float64)
    out[:, 0::2], out[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
    return out.float()


def _head(inputs: int, width: int, outputs: int) -> nn.Module:
    layers = (nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs))
    return nn.Sequential(*layers)
