"""The network: rows of six channels to the joint distribution of the next row, and to the chances of a pump.

Every row of a window looks back alone, so that a window trains all of its rows at once and a forecast goes on from its
last row without reading the others again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.networks.encoders import AttentionBlock
from pretrain.tokens.channels import PREDICTED
from pretrain.tokens.config import TokenModelConfig
from pretrain.tokens.series import FEATURES

CHUNK = 128  #: rows that are averaged at once
FAINT = 0.1  #: how much of a head's first weights is left where it begins at what is usual
LEAST_STEP = 1e-3  #: from one quantile to the next, and of a share, where a head begins
CHANCES = ("pump", "rise")  #: what the second head says: a pump starts, the price rises


class Remembered(NamedTuple):
    """What a forecast goes on from: the newest rows for the convolution, and the state of every layer.

    `recent` (P, kernel - 1, 6); `means` (P, scales, D), see `RunningMeans`; `layers`: keys and values (P, heads, L,
    D / heads) of attention, the first `rows` of which are known, or hidden and cell states (layers, P, D) of an LSTM;
    `rows`: how many were read.
    """

    recent: Tensor
    means: Tensor
    layers: tuple[tuple[Tensor, Tensor], ...]
    rows: int

    def of(self, paths: Tensor) -> Remembered:
        """What is remembered of these paths, (M,) int64, in a memory of its own; one may be there several times."""
        layers = tuple((_of(first, paths), _of(second, paths)) for first, second in self.layers)
        return Remembered(self.recent[paths], self.means[paths], layers, self.rows)


def _of(state: Tensor, paths: Tensor) -> Tensor:
    """Of keys and values (P, heads, L, D / heads) or recurrent states (layers, P, D)."""
    return state[paths] if state.ndim == 4 else state[:, paths]


class RunningMeans(nn.Module):
    """Exponentially weighted means of all rows so far, over several scales at once, mixed into one vector a row.

    Who gathers before a pump shows in many rows a little, in none much: a sum over scores of rows is what tells, and
    attention over rows that all look alike is slow to learn it. The weight of a row falls by `e` in `scale` rows.

    Args:
        scales: (S,) in rows; none: every row gets zeros.
        width: `D`, of what is averaged.
    """

    within: Tensor
    decays: Tensor

    def __init__(self, scales: Sequence[int], width: int) -> None:
        super().__init__()
        age = torch.arange(CHUNK)[:, None] - torch.arange(CHUNK)[None]
        decays = torch.exp(-1.0 / torch.tensor(scales, dtype=torch.float64))
        weights = torch.where(age >= 0, decays[:, None, None] ** age.clamp(min=0), 0.0)
        self.register_buffer("within", ((1.0 - decays)[:, None, None] * weights).float(), persistent=False)
        self.register_buffer("decays", decays, persistent=False)
        self.mix = nn.Linear(len(scales) * width, width) if len(scales) else None

    def forward(self, rows: Tensor, before: Tensor | None = None, seen: int = 0) -> tuple[Tensor, Tensor]:
        """(B, N, D) mixed means of rows (B, N, D), and what goes on from the last (B, scales, D).

        Args:
            rows: to average.
            before: what was returned of the rows before, of which there were `seen`; None at the start.
            seen: so many.
        """
        carried = rows.new_zeros(len(rows), len(self.decays), rows.shape[2]) if before is None else before
        if self.mix is None:
            return torch.zeros_like(rows), carried
        parts = []
        for start in range(0, rows.shape[1], CHUNK):
            part = rows[:, None, start : start + CHUNK]
            count = part.shape[2]
            age = torch.arange(1, count + 1, device=rows.device)
            fading = (self.decays[:, None] ** age).to(rows)
            means = self.within[:, :count, :count] @ part + fading[:, :, None] * carried[:, :, None]
            carried = means[:, :, -1]
            known = 1.0 - self.decays[:, None] ** (age + seen + start)  # the weight of the rows that were there
            parts.append(means / known.to(rows)[:, :, None])
        found = torch.cat(parts, dim=2)  # (B, scales, N, D)
        return self.mix(found.permute(0, 2, 1, 3).flatten(2)), carried


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
        self.means = RunningMeans(config.scales, width)
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
        hidden, _ = self._embedded(F.pad(rows, (0, 0, self.reach, 0)), 0)
        if self.config.encoder == "lstm":
            return self.norm(self.lstm(hidden)[0])
        for block in self.blocks:
            hidden = block(hidden, hidden, True)
        return self.norm(hidden)

    def begin(self, rows: Tensor) -> tuple[Tensor, Remembered]:
        """As `forward`, of the last row alone (P, D), with what `extend` goes on from."""
        padded = F.pad(rows, (0, 0, self.reach, 0))
        (hidden, means), count = self._embedded(padded, 0), rows.shape[1]
        recent = padded[:, padded.shape[1] - self.reach :]
        if self.config.encoder == "lstm":
            out, (state, cell) = self.lstm(hidden)
            return self.norm(out[:, -1]), Remembered(recent, means, ((state, cell),), count)
        layers = []
        for block in self.blocks:
            hidden, keys, values = cast(AttentionBlock, block).remembered(hidden, self.config.seq_length)
            layers.append((keys, values))
        return self.norm(hidden[:, -1]), Remembered(recent, means, tuple(layers), count)

    def extend(self, row: Tensor, before: Remembered) -> tuple[Tensor, Remembered]:
        """The next row (P, 6): its (P, D), and what the row after it goes on from (`before` is used up)."""
        seen = torch.cat([before.recent, row[:, None]], dim=1)
        hidden, means = self._embedded(seen, before.rows, before.means)
        recent = seen[:, seen.shape[1] - self.reach :]
        if self.config.encoder == "lstm":
            out, state = self.lstm(hidden, before.layers[0])
            return self.norm(out[:, 0]), Remembered(recent, means, (state,), before.rows + 1)
        for block, (keys, values) in zip(self.blocks, before.layers, strict=True):
            hidden = cast(AttentionBlock, block).extend(hidden, keys, values, before.rows)
        return self.norm(hidden[:, 0]), Remembered(recent, means, before.layers, before.rows + 1)

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

    def begin_at(self, usual: Tensor, share: Tensor) -> None:
        """Set the heads so that, before any training, every row says nearly what is usual.

        Args:
            usual: (5, Q) quantiles of the predicted columns.
            share: (2,) of the rows that a pump starts after, and a rise.
        """
        middle = self.config.median
        with torch.no_grad():
            for head, levels in zip(self.heads, usual, strict=True):
                steps = torch.log(torch.expm1(levels.diff().clamp(LEAST_STEP, 50.0)))  # what softplus makes them of
                last = cast(nn.Linear, cast(nn.Sequential, head)[-1])
                last.weight.mul_(FAINT)
                last.bias.copy_(torch.cat([steps[:middle], levels[middle : middle + 1], steps[middle:]]))
            last = cast(nn.Linear, cast(nn.Sequential, self.chances)[-1])
            last.weight.mul_(FAINT)
            last.bias.copy_(torch.logit(share.clamp(LEAST_STEP, 1.0 - LEAST_STEP)))

    def _embedded(self, rows: Tensor, first: int, means: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, D) of (B, reach + N, 6), the first of which stands at place `first` of the window, with the means."""
        hidden = self.embed(rows.transpose(1, 2)).transpose(1, 2)
        usual, means = self.means(F.gelu(hidden), means, first)
        hidden = hidden + usual
        if self.config.encoder == "lstm":  # a recurrence knows the order
            return hidden, means
        return hidden + self.positions[first : first + hidden.shape[1]], means


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
