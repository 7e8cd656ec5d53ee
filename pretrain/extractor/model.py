"""The extractor's network: scaled windows, an encoder, and the heads that train it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.scaler import RobustScaler
from pretrain.extractor.config import ExtractorConfig
from pretrain.networks.scaled_encoder import ScaledEncoder


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


class ExtractorModel(ScaledEncoder):
    """Windows of every timeframe to one embedding, and an embedding to predictions.

    Features are scaled by the scaler's median and range (buffers, not weights) and clipped before the encoder.

    Args:
        config: the architecture, with feature names.
        scaler: fitted on training rows, of the same timeframes and features.

    Raises:
        ValueError: the config names no features, or the scaler has other timeframes or features.
    """

    config: ExtractorConfig

    def __init__(self, config: ExtractorConfig, scaler: RobustScaler) -> None:
        super().__init__(config, scaler)
        width, positions, horizons = config.width, len(config.positions), len(config.horizons)
        self.action_head = nn.Linear(width, positions * positions)
        self.direction_head = nn.Linear(width, horizons)
        self.quantile_head = nn.Linear(width, horizons * len(config.quantiles))
        self.regime_head = nn.Linear(width, config.regimes) if config.regimes else None
        both = config.memory and config.regimes
        self.memory_head = nn.Linear(config.memory, positions * positions) if config.memory else None
        self.memory_regime_head = nn.Linear(config.memory, config.regimes) if both else None
        self._label_widths = [len(classes) or 1 for classes in config.label_classes]
        self.label_head = nn.Linear(width, sum(self._label_widths)) if self._label_widths else None

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
