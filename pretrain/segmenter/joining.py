"""Ways of joining timeframes: one encoder over the tokens of all, one for each, or one over tokens of all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pretrain.networks.encoder_config import EncoderConfig
from pretrain.networks.encoders import new_encoder
from pretrain.segmenter.config import SegmenterConfig


class SeparateEncoders(nn.Module):
    """An encoder for each timeframe; a layer joins their embeddings."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(new_encoder(_of_one(config, k)) for k in range(len(config.timeframes)))
        joined = len(config.timeframes) * config.width
        self.join = nn.Sequential(nn.Linear(joined, config.width), nn.GELU(), nn.LayerNorm(config.width))

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        found = [encoder([window]) for encoder, window in zip(self.encoders, windows, strict=True)]
        return self.join(torch.cat(found, dim=1))


class ConcatenatedEncoder(nn.Module):
    """One encoder whose n-th token holds the n-th patches, counted back from now, of all timeframes."""

    def __init__(self, config: SegmenterConfig) -> None:
        super().__init__()
        self._patches = config.patches
        steps = config.window[0] // config.patches[0]
        names = tuple(
            f"{timeframe} {name} {place}"
            for timeframe, patch, named in zip(config.timeframes, config.patches, config.feature_names, strict=True)
            for place in range(patch)
            for name in named
        )
        self.encoder = new_encoder(_plain(config, ("joined",), (steps,), (1,), (names,)))

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32 embeddings."""
        pairs = zip(windows, self._patches, strict=True)
        return self.encoder([torch.cat([w.reshape(len(w), w.shape[1] // p, -1) for w, p in pairs], dim=2)])


def joined_encoder(config: SegmenterConfig) -> nn.Module:
    """The network from scaled windows to embeddings that `config.join` names, with fresh weights."""
    if config.join == "separate":
        return SeparateEncoders(config)
    return ConcatenatedEncoder(config) if config.join == "concatenation" else new_encoder(config)


def _of_one(config: SegmenterConfig, k: int) -> EncoderConfig:
    one = slice(k, k + 1)
    return _plain(config, config.timeframes[one], config.window[one], config.patches[one], config.feature_names[one])


def _plain(
    config: SegmenterConfig,
    timeframes: tuple[str, ...],
    window: tuple[int, ...],
    patches: tuple[int, ...],
    names: tuple[tuple[str, ...], ...],
) -> EncoderConfig:
    sizes = EncoderConfig(
        width=config.width, layers=config.layers, heads=config.heads, feedforward=config.feedforward,
        dropout=config.dropout, encoder=config.encoder, bar_width=config.bar_width,
    )  # fmt: skip
    return replace(sizes, timeframes=timeframes, window=window, patches=patches, feature_names=names)
