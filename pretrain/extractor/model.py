"""The extractor's network: scaled windows, an encoder, and the heads that train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.scaler import SCALED_BOUND, RobustScaler
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.encoders import PatchTransformer, new_encoder


class Predictions(NamedTuple):
    """What the heads say about B windows.

    `action_logits` (B, P, A): best target given each held position; `direction_logits` (B, H): log-odds that the
    return over each horizon is positive; `return_quantiles` (B, H, Q), increasing in Q, in units of
    sigma * sqrt(horizon); `regime_logits` (B, regimes) or None; `labels`: for each column of the user's labels the
    logits of its classes (B, classes), or (B, 1) the number in units of its scale. All float32.
    """

    action_logits: Tensor
    direction_logits: Tensor
    return_quantiles: Tensor
    regime_logits: Tensor | None
    labels: tuple[Tensor, ...] = ()


class ExtractorModel(nn.Module):
    """Windows of every timeframe to one embedding, and an embedding to predictions.

    Features are scaled by the scaler's median and range (buffers, not weights) and clipped before the encoder.

    Args:
        config: the architecture, with feature names.
        scaler: fitted on training rows, of the same timeframes and features.

    Raises:
        ValueError: the config names no features, or the scaler has other timeframes or features.
    """

    def __init__(self, config: ExtractorConfig, scaler: RobustScaler) -> None:
        super().__init__()
        if not config.feature_names:
            raise ValueError("config.feature_names is empty: take it from a market with config.for_market(market)")
        if (scaler.timeframes, scaler.names) != (config.timeframes, config.feature_names):
            raise ValueError("the scaler was fitted on other timeframes or features than the config names")
        self.config = config
        width, positions, horizons = config.width, len(config.positions), len(config.horizons)
        self.encoder = new_encoder(config)
        self.action_head = nn.Linear(width, positions * positions)
        self.direction_head = nn.Linear(width, horizons)
        self.quantile_head = nn.Linear(width, horizons * len(config.quantiles))
        self.regime_head = nn.Linear(width, config.regimes) if config.regimes else None
        both = config.memory and config.regimes
        self.memory_head = nn.Linear(config.memory, positions * positions) if config.memory else None
        self.memory_regime_head = nn.Linear(config.memory, config.regimes) if both else None
        self._label_widths = [len(classes) or 1 for classes in config.label_classes]
        self.label_head = nn.Linear(width, sum(self._label_widths)) if self._label_widths else None
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
        if not isinstance(self.encoder, PatchTransformer) or not self.config.memory:
            found = f"encoder={self.config.encoder!r}, memory={self.config.memory}"
            raise TypeError(f"only a transformer with a memory reads stretches; this is {found}")
        window, patch = self.config.window[0], self.config.patches[0]
        states = self.encoder.remember(self._scaled_one(0, bars))
        ends = places[:, :, None] + torch.arange(patch - 1, window, patch, device=places.device)
        which = torch.arange(len(bars), device=places.device)[:, None, None]
        base = states[which, ends].flatten(0, 1)
        scaled = [self._scaled_one(k, part) for k, part in enumerate(higher, start=1)]
        return self.encoder.read(base, scaled), states[:, window - 1 :]

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

    def predict(self, embeddings: Tensor) -> Predictions:
        """What all heads say about `embeddings` (B, D)."""
        horizons, quantiles = len(self.config.horizons), len(self.config.quantiles)
        raw = self.quantile_head(embeddings).view(-1, horizons, quantiles)
        # Steps between quantiles are positive, so that quantiles never cross.
        steps = torch.cat((raw[..., :1], F.softplus(raw[..., 1:])), dim=-1)
        return Predictions(
            action_logits=self.action_logits(embeddings),
            direction_logits=self.direction_head(embeddings),
            return_quantiles=steps.cumsum(dim=-1),
            regime_logits=None if self.regime_head is None else self.regime_head(embeddings),
            labels=() if self.label_head is None else self.label_head(embeddings).split(self._label_widths, dim=-1),
        )

    def action_logits(self, embeddings: Tensor) -> Tensor:
        """(B, P, A) float32 logits of the best target given each held position, from `embeddings` (B, D)."""
        positions = len(self.config.positions)
        return self.action_head(embeddings).view(-1, positions, positions)
