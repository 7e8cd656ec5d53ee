"""Scaled windows and an encoder: what every model is built on that reads the windows of several timeframes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pretrain.data.scaler import SCALED_BOUND, RobustScaler
from pretrain.fitting.blocks import Block
from pretrain.networks.encoder_config import EncoderConfig
from pretrain.networks.encoders import PatchTransformer, new_encoder
from pretrain.networks.recurrent_reader import RecurrentReader

ROWS = 32  #: decisions of a block that a hybrid reads at once


class ScaledEncoder(nn.Module):
    """Windows of every timeframe to one embedding; models add their heads.

    Features are scaled by the scaler's median and range (buffers, not weights) and clipped before the encoder.

    Args:
        config: the architecture, with feature names.
        scaler: fitted on training rows, of the same timeframes and features.
        encoder: the network from scaled windows to embeddings; the one that `config` names where None.

    Raises:
        ValueError: the config names no features, or the scaler has other timeframes or features.
    """

    def __init__(self, config: EncoderConfig, scaler: RobustScaler, encoder: nn.Module | None = None) -> None:
        super().__init__()
        if not config.feature_names:
            raise ValueError("config.feature_names is empty: take it from a market with config.for_market(market)")
        if (scaler.timeframes, scaler.names) != (config.timeframes, config.feature_names):
            raise ValueError("the scaler was fitted on other timeframes or features than the config names")
        self.config = config
        self.encoder = new_encoder(config) if encoder is None else encoder
        for k in range(len(config.timeframes)):
            # Not saved with the weights: scaler.json is the one place where the scaler is kept.
            self.register_buffer(f"median_{k}", torch.from_numpy(scaler.median[k].copy()), persistent=False)
            self.register_buffer(f"scale_{k}", torch.from_numpy(scaler.scale(k)), persistent=False)

    def forward(self, windows: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """Embeddings (B, D) float32 of `windows`.

        Args:
            windows: one (B, W_k, F_k) float32 tensor of unscaled features per timeframe, oldest bar first: a sequence
                in the config's order, or a mapping by timeframe name (further keys are not read).
        """
        return self.encoder(self._scaled(windows))

    def of_scaled(self, windows: Sequence[Tensor]) -> Tensor:
        """Embeddings (B, D) of windows (B, W_k, F_k) that are scaled already; clipped as `forward` clips them."""
        return self.encoder([window.clamp(-SCALED_BOUND, SCALED_BOUND) for window in windows])

    def over_stretches(self, bars: Tensor, places: Tensor, higher: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeddings of decisions within stretches (`pretrain.data.stretches`), with the memory run once over each.

        Args:
            bars: (C, L, F_0) unscaled features of the stretches' base bars.
            places: (C, R) int64 decisions, counted from the stretch's first.
            higher: their windows of the higher timeframes, (C * R, W_k, F_k) each.

        Returns:
            (C * R, D) embeddings, and (C, stretch, memory) states of the memory at every decision.

        Raises:
            TypeError: the encoder has no memory.
        """
        window, patch = self.config.window[0], self.config.patches[0]
        states = self.remember(bars)
        ends = places[:, :, None] + torch.arange(patch - 1, window, patch, device=places.device)
        which = torch.arange(len(bars), device=places.device)[:, None, None]
        base = states[which, ends].flatten(0, 1)
        return self.read_states(base, higher), states[:, window - 1 :]

    def remember(self, bars: Tensor, before: Tensor | None = None) -> Tensor:
        """(C, L, memory) states of the memory after each of L unscaled base bars (C, L, F_0).

        Args:
            bars: in the order of time.
            before: (C, memory) the state after the bar before them; None: it is empty.

        Raises:
            TypeError: the encoder has no memory.
        """
        return self._remembering().remember(self._scaled_one(0, bars), before)

    def read_states(self, base: Tensor, higher: Sequence[Tensor]) -> Tensor:
        """(B, D) embeddings from states of the memory at the ends of the base patches, (B, patches, memory), and from
        windows of the higher timeframes, (B, W_k, F_k).

        Raises:
            TypeError: the encoder has no memory.
        """
        scaled = [self._scaled_one(k, part) for k, part in enumerate(higher, start=1)]
        return self._remembering().read(base, scaled)

    def _remembering(self) -> PatchTransformer | RecurrentReader:
        if not isinstance(self.encoder, PatchTransformer | RecurrentReader) or not self.config.memory:
            found = f"encoder={self.config.encoder!r}, memory={self.config.memory}"
            raise TypeError(f"only an encoder with a memory reads stretches; this is {found}")
        return self.encoder

    def over_block(self, block: Block) -> Tensor:
        """(S, D) embeddings of a block's decisions (`pretrain.fitting.blocks`); rows without one are worth nothing."""
        if self.config.memory:
            return self.over_stretches(block.bars, block.places, block.higher)[0]
        windows = block.windows(self.config.window[0])
        if self.config.encoder != "hybrid":
            return self(windows)
        # A window of it is dear: rows that hold decisions are read, in parts of one shape, and so of the same bits.
        out = torch.zeros(len(block.decided), self.config.width, device=windows[0].device)
        for start in range(0, len(out), ROWS):
            rows = slice(start, start + ROWS)
            if block.decided[rows].any():
                out[rows] = self([part[rows] for part in windows])
        return out

    def attention(self, windows: Mapping[str, Tensor] | Sequence[Tensor]) -> Tensor:
        """(B, tokens) float32: attention of the summary over itself and the patches, timeframe by timeframe.

        Raises:
            TypeError: the encoder is not a transformer.
        """
        if not isinstance(self.encoder, PatchTransformer):
            raise TypeError(f"only the transformer attends; this encoder is {self.config.encoder!r}")
        return self.encoder.attention(self._scaled(windows))

    def _scaled(self, windows: Mapping[str, Tensor] | Sequence[Tensor]) -> list[Tensor]:
        if isinstance(windows, Mapping):
            windows = [windows[timeframe] for timeframe in self.config.timeframes]
        return [self._scaled_one(k, window) for k, window in enumerate(windows)]

    def _scaled_one(self, k: int, window: Tensor) -> Tensor:
        scaled = (window - self.get_buffer(f"median_{k}")) / self.get_buffer(f"scale_{k}")
        return scaled.clamp(-SCALED_BOUND, SCALED_BOUND)
