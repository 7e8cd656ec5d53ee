"""The extractor's network: scaled windows, an encoder, and the heads that train it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.data.scaler import RobustScaler
from pretrain.extractor.config import ExtractorConfig
from pretrain.networks.scaled_encoder import ScaledEncoder

PERCENT = 100.0
LOG_ODDS = 20.0  #: per percent of value, where values decide actions: five basis points are one unit of log-odds


class Predictions(NamedTuple):
    """What the heads say about B windows.

    `action_logits` (B, P, A): best target given each held position; `direction_logits` (B, H): log-odds that the
    return over each horizon is positive; `return_quantiles` (B, H, Q), increasing in Q, in units of
    sigma * sqrt(horizon); `regime_logits` (B, regimes) or None; `labels`: for each column of the user's labels the
    logits of its classes (B, classes), or (B, 1) the number in units of its scale; `values` (B, P), in percent of
    equity: what each position is worth more than none, before the cost of going there, or None. All float32.
    """

    action_logits: Tensor
    direction_logits: Tensor
    return_quantiles: Tensor
    regime_logits: Tensor | None
    labels: tuple[Tensor, ...] = ()
    values: Tensor | None = None


class Returns(NamedTuple):
    """`direction_logits` (B, H) and `return_quantiles` (B, H, Q) float32, as of `Predictions`."""

    direction_logits: Tensor
    return_quantiles: Tensor


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
    held: Tensor
    """(P,) float32: 1, and 0 where the position is none."""
    switching: Tensor
    """(P, P) float32: cost of going from one position (row) to another (column), in percent of equity."""

    def __init__(self, config: ExtractorConfig, scaler: RobustScaler) -> None:
        super().__init__(config, scaler)
        width, positions, horizons = config.width, len(config.positions), len(config.horizons)
        self.action_head = nn.Linear(width, positions * positions) if config.values != "alone" else None
        self.direction_head = nn.Linear(width, horizons)
        self.quantile_head = nn.Linear(width, horizons * len(config.quantiles))
        self.regime_head = nn.Linear(width, config.regimes) if config.regimes else None
        both = config.memory and config.regimes
        of_actions = config.memory and config.values != "alone"
        self.memory_head = nn.Linear(config.remembered, positions * positions) if of_actions else None
        self.memory_regime_head = nn.Linear(config.remembered, config.regimes) if both else None
        self._label_widths = [len(classes) or 1 for classes in config.label_classes]
        self.label_head = nn.Linear(width, sum(self._label_widths)) if self._label_widths else None
        self.value_head = nn.Linear(width, positions) if config.values != "none" else None
        if self.value_head is not None:  # worth nothing until it is learned, and flat always
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
            exposures = torch.tensor(config.positions)
            self.register_buffer("held", (exposures != 0.0).float(), persistent=False)
            distance = (exposures[:, None] - exposures[None, :]).abs()
            self.register_buffer("switching", PERCENT * config.value_cost * distance, persistent=False)

    def predict(self, embeddings: Tensor) -> Predictions:
        """What all heads say about `embeddings` (B, D)."""
        returns = self.returns_said(embeddings)
        return Predictions(
            action_logits=self.action_logits(embeddings),
            direction_logits=returns.direction_logits,
            return_quantiles=returns.return_quantiles,
            regime_logits=None if self.regime_head is None else self.regime_head(embeddings),
            labels=() if self.label_head is None else self.label_head(embeddings).split(self._label_widths, dim=-1),
            values=None if self.value_head is None else self.values(embeddings),
        )

    def returns_said(self, embeddings: Tensor) -> Returns:
        """What the heads of direction and quantiles say about `embeddings` (B, D)."""
        raw = self.quantile_head(embeddings).view(-1, len(self.config.horizons), len(self.config.quantiles))
        # Steps between quantiles are positive, so that quantiles never cross.
        steps = torch.cat((raw[..., :1], F.softplus(raw[..., 1:])), dim=-1)
        return Returns(self.direction_head(embeddings), steps.cumsum(dim=-1))

    def action_logits(self, embeddings: Tensor) -> Tensor:
        """(B, P, A) float32 logits of the best target given each held position, from `embeddings` (B, D)."""
        positions = len(self.config.positions)
        if self.action_head is None:
            return LOG_ODDS * (self.values(embeddings)[:, None, :] - self.switching)
        return self.action_head(embeddings).view(-1, positions, positions)

    def values(self, embeddings: Tensor) -> Tensor:
        """(..., P) float32: what each position is worth more than none, in percent of equity, from (..., D).

        Raises:
            TypeError: it has no head of values.
        """
        if self.value_head is None:
            raise TypeError(
                f"values={self.config.values!r}: the extractor has no head that says what positions are worth"
            )
        found: Tensor = self.value_head(embeddings) * self.held
        return found
