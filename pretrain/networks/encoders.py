"""Encoders: windows of every timeframe to one embedding, in eight ways behind one call.

All take the scaled windows, one (B, W_k, F_k) float32 tensor per timeframe with the oldest bar first, and return
(B, D). `EncoderConfig.encoder` chooses; `layers`, `width` and `feedforward` mean the nearest thing in each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain.networks.encoder_config import EncoderConfig
from pretrain.networks.hybrid import HybridEncoder
from pretrain.networks.recurrent_reader import RecurrentReader

KERNEL = 3  # bars that one layer of the convolution sees


class PatchTransformer(nn.Module):
    """Attention over patches of every timeframe.

    Windows are cut into patches, and each is embedded linearly per timeframe (Nie et al. 2023), after a small network
    shared by all bars of the timeframe where `config.bar_width` is not 0; timeframe and position embeddings are added,
    a summary token goes first, and pre-norm blocks follow (Xiong et al. 2020). In the last block only the summary
    token asks, as nothing else is read: this halves the cost of a two-layer encoder.

    With `config.memory`, a gated recurrent network (Cho et al. 2014) runs over the base bars, and a base patch is
    embedded from its state after the patch's last bar; the state after the last bar of all is added to the summary.
    What leads up to a decision reaches back much further than attention over few patches can afford to look, and a
    memory reads each bar once (`pretrain.data.stretches`).

    With `checkpoint_gradients` set, training keeps what goes into a block alone, and computes the block twice.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.checkpoint_gradients = False
        self.config = config
        width, bar_width = config.width, config.bar_width
        counts = [len(names) for names in config.feature_names]
        self.embed_bar = nn.ModuleList(
            nn.Sequential(nn.Linear(count, bar_width), nn.GELU()) for count in counts if bar_width
        )
        sizes = [patch * (bar_width or count) for patch, count in zip(config.patches, counts, strict=True)]
        if config.memory:
            sizes[0] = config.memory
            self.read_bar = nn.Sequential(nn.Linear(counts[0], config.memory), nn.GELU())
            self.memory = nn.GRU(config.memory, config.memory, batch_first=True)
            self.summarise = nn.Linear(config.memory, width)
        self.embed_patch = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.timeframe = nn.Parameter(0.1 * torch.randn(len(config.timeframes), width))
        self.position = nn.Parameter(0.1 * torch.randn(config.tokens - 1, width))
        self.summary = nn.Parameter(0.1 * torch.randn(width))
        self.blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        return self.read(self._base(windows[0]), windows[1:])

    def attention(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, tokens) float32: how much the summary token attends to each token in the last block, mean of heads."""
        tokens = self._before_last(self._base(windows[0]), windows[1:])
        last: AttentionBlock = self.blocks[-1]  # type: ignore[assignment]
        return last.weights(tokens[:, :1], tokens)

    def remember(self, bars: Tensor, before: Tensor | None = None) -> Tensor:
        """(B, L, memory) float32: the memory's state after each of L base bars (B, L, F_0); `before` (B, memory): its
        state before the first, empty where None."""
        return self.memory(self.read_bar(bars), None if before is None else before[None])[0]

    def read(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        """(B, D) embeddings of base patches (B, patches, their size) and the windows of the higher timeframes."""
        tokens = self._before_last(base, higher)
        return self.norm(self._through(self.blocks[-1], tokens[:, :1], tokens)[:, 0])

    def _before_last(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        """(B, N, D) tokens, the summary first, as the last block gets them."""
        tokens = self._tokens(base, higher)
        for block in self.blocks[:-1]:
            tokens = self._through(block, tokens, tokens)
        return tokens

    def _through(self, block: nn.Module, queries: Tensor, tokens: Tensor, causal: bool = False) -> Tensor:
        if self.checkpoint_gradients and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(block, queries, tokens, causal, use_reentrant=False))
        return cast(Tensor, block(queries, tokens, causal))

    def _base(self, window: Tensor) -> Tensor:
        """What the base patches of a window (B, W, F_0) are embedded from: their bars, or the memory's states."""
        if self.config.memory:
            patch = self.config.patches[0]
            return self.remember(window)[:, patch - 1 :: patch]
        return self._patches(0, window)

    def _patches(self, k: int, window: Tensor) -> Tensor:
        bars = self.embed_bar[k](window) if self.config.bar_width else window
        return bars.reshape(window.shape[0], self.config.window[k] // self.config.patches[k], -1)

    def _tokens(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        summary = self.summary.expand(base.shape[0], 1, -1)  # its len would fix the batch of an exported network
        if self.config.memory:
            summary = summary + self.summarise(base[:, -1:])
        parts = [summary]
        start = 0
        patches = [base, *(self._patches(k, window) for k, window in enumerate(higher, start=1))]
        for k, (embed, found) in enumerate(zip(self.embed_patch, patches, strict=True)):
            count = found.shape[1]
            parts.append(embed(found) + (self.timeframe[k] + self.position[start : start + count]))
            start += count
        return torch.cat(parts, dim=1)


class CausalTransformer(PatchTransformer):
    """The body of a GPT (Radford et al. 2019): the same patches as one sequence, each looking at those before it.

    The longest timeframe comes first, within each the oldest patch, the base last; the summary token ends the sequence
    and is what is read. Pre-norm blocks, GELU, learned positions and a last norm are those of GPT-2.
    """

    def _before_last(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        config = self.config
        counts = [bars // patch for bars, patch in zip(config.window, config.patches, strict=True)]
        parts = self._tokens(base, higher).split([1, *counts], dim=1)
        tokens = torch.cat((*parts[:0:-1], parts[0]), dim=1)
        for block in self.blocks[:-1]:
            tokens = self._through(block, tokens, tokens, causal=True)
        return torch.cat((tokens[:, -1:], tokens[:, :-1]), dim=1)


class AttentionBlock(nn.Module):
    """Pre-norm attention of `queries` over `tokens`, then a feed-forward layer, both residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feedforward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, config.feedforward),
            nn.GELU(),
            nn.Linear(config.feedforward, width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, queries: Tensor, tokens: Tensor, causal: bool = False) -> Tensor:
        """(B, M, D) from `queries` (B, M, D), the first M of `tokens` (B, N, D); `causal`: token n looks at those up
        to n alone."""
        query, key, value = self._heads(queries, tokens)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        mixed = mixed.transpose(1, 2).reshape(queries.shape)
        middle = queries + self.dropout(self.out(mixed))
        return middle + self.dropout(self.feedforward(middle))

    def extend(self, token: Tensor, keys: Tensor, values: Tensor, place: int) -> Tensor:
        """(B, 1, D) of one token more of a causal sequence, without those before it: `forward`'s, up to rounding.

        Args:
            token: (B, 1, D).
            keys, values: (B, heads, N, D / heads); the first `place` of them are those of the tokens before it, and the
                token's own are written after them.
            place: of the token in the sequence, below N.
        """
        query, key, value = self._heads(token, token)
        keys[:, :, place], values[:, :, place] = key[:, :, 0], value[:, :, 0]
        seen = slice(0, place + 1)
        # written out: torch's own attention takes twice as long for a single query
        scores = query @ keys[:, :, seen].transpose(-1, -2) / query.shape[-1] ** 0.5
        mixed = scores.softmax(dim=-1) @ values[:, :, seen]
        middle = token + self.out(mixed.transpose(1, 2).reshape(token.shape))
        return middle + self.feedforward(middle)

    def remembered(self, tokens: Tensor, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward` of causal `tokens` (B, n, D), with what `extend` wants: keys and values, `length` long."""
        _, key, value = self._heads(tokens[:, :1], tokens)
        room = (*key.shape[:2], length, key.shape[3])
        keys, values = key.new_empty(room), value.new_empty(room)
        keys[:, :, : tokens.shape[1]], values[:, :, : tokens.shape[1]] = key, value
        return self(tokens, tokens, True), keys, values

    def weights(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B, N) attention of the first query over the tokens, mean of the heads."""
        query, key, _ = self._heads(queries, tokens)
        scores = query[:, :, :1] @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return scores.softmax(dim=-1)[:, :, 0].mean(dim=1)

    def _heads(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed = self.attention_norm(tokens)
        batch, count, _ = queries.shape
        query = self.query(normed[:, :count]).view(batch, count, self.heads, -1).transpose(1, 2)
        both = self.key_value(normed).view(batch, tokens.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        return query, both[0], both[1]


class RecurrentEncoder(nn.Module):
    """An LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho et al. 2014) per timeframe; last states joined linearly."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[config.encoder]
        self.cells = nn.ModuleList(
            kind(len(names), config.width, config.layers, batch_first=True) for names in config.feature_names
        )
        self.join = _join(config)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        return self.join(torch.cat([cell(w)[0][:, -1] for cell, w in zip(self.cells, windows, strict=True)], dim=1))


class ConvolutionEncoder(nn.Module):
    """A temporal convolution per timeframe (Bai, Kolter and Koltun 2018): causal, dilated 1, 2, 4, ..., residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Conv1d(len(names), config.width, 1) for names in config.feature_names)
        # each layer doubles what the last bar sees: enough of them for the longest window, at least `layers`
        reach = max(config.layers, (max(config.window) - 1).bit_length() - 1)
        self.stacks = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(config.width, config.width, KERNEL, dilation=2**n) for n in range(reach))
            for _ in config.feature_names
        )
        self.join = _join(config)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        last = []
        for embed, stack, window in zip(self.embed, self.stacks, windows, strict=True):
            x = embed(window.transpose(1, 2))
            for convolution in stack:  # type: ignore[attr-defined]
                padded = F.pad(x, ((KERNEL - 1) * convolution.dilation[0], 0))
                x = x + F.gelu(convolution(padded))
            last.append(x[:, :, -1])
        return self.join(torch.cat(last, dim=1))


class FlatEncoder(nn.Module):
    """A perceptron on the flattened windows: `layers` hidden layers of `feedforward` units."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size = sum(bars * len(names) for bars, names in zip(config.window, config.feature_names, strict=True))
        stages: list[nn.Module] = []
        for _ in range(config.layers):
            stages += [nn.Linear(size, config.feedforward), nn.GELU()]
            size = config.feedforward
        self.stages = nn.Sequential(*stages, nn.Linear(size, config.width), nn.LayerNorm(config.width))

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        return self.stages(torch.cat([window.flatten(1) for window in windows], dim=1))


def _join(config: EncoderConfig) -> nn.Module:
    """One embedding from the last states of all timeframes."""
    joined = len(config.timeframes) * config.width
    return nn.Sequential(nn.Linear(joined, config.feedforward), nn.GELU(), nn.Linear(config.feedforward, config.width),
                         nn.LayerNorm(config.width))  # fmt: skip


_ENCODERS: dict[str, Callable[[EncoderConfig], nn.Module]] = {
    "transformer": PatchTransformer,
    "lstm": RecurrentEncoder,
    "gru": RecurrentEncoder,
    "convolution": ConvolutionEncoder,
    "flat": FlatEncoder,
    "gpt": CausalTransformer,
    "hybrid": HybridEncoder,
    "recurrent": RecurrentReader,
}


def new_encoder(config: EncoderConfig) -> nn.Module:
    """The encoder that `config.encoder` names, with fresh weights."""
    return _ENCODERS[config.encoder](config)
