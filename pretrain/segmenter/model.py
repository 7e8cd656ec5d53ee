"""The segmenter's network: scaled windows of every timeframe, an encoder, and a head of classes for each timescale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretrain.data.scaler import RobustScaler
from pretrain.networks.scaled_encoder import ScaledEncoder
from pretrain.segmenter.config import SegmenterConfig
from pretrain.segmenter.joining import joined_encoder

LEAST = 1e-6  #: probability of a class by hidden states, whose logarithm is its logit


class SegmenterModel(ScaledEncoder):
    """Windows of every timeframe to one embedding, and an embedding to class logits of every timescale.

    Args:
        config: the architecture, with feature names, timescales and classes.
        scaler: fitted on training rows, of the same timeframes and features.

    Raises:
        ValueError: the config names no features or no classes, or the scaler has other timeframes or features.
    """

    config: SegmenterConfig

    def __init__(self, config: SegmenterConfig, scaler: RobustScaler) -> None:
        if not config.classes:
            raise ValueError("config.classes is empty: take them from the labels with config.for_labels(columns)")
        if not config.feature_names:
            raise ValueError("config.feature_names is empty: take it from a market with config.for_market(market)")
        super().__init__(config, scaler, joined_encoder(config))
        classes = len(config.timescales) * len(config.classes)
        outputs = config.hidden or classes
        self.head = nn.Linear(config.width, outputs)
        self.memory_head = nn.Linear(config.remembered, outputs) if config.memory else None
        if config.hidden:
            self.emission = nn.Parameter(torch.randn(config.hidden, classes))

    def logits(self, embeddings: Tensor) -> Tensor:
        """(..., S, C) float32 class logits from embeddings (..., D)."""
        return self._by_timescale(self.head(embeddings))

    def memory_logits(self, states: Tensor) -> Tensor:
        """(..., S, C) float32 class logits from states of the memory alone.

        Raises:
            TypeError: the encoder has no memory.
        """
        if self.memory_head is None:
            raise TypeError("the encoder has no memory")
        return self._by_timescale(self.memory_head(states))

    def hidden_states(self, embeddings: Tensor) -> Tensor:
        """(..., hidden) float32 probabilities of the hidden states from embeddings (..., D)."""
        return self.head(embeddings).softmax(dim=-1)

    def _by_timescale(self, said: Tensor) -> Tensor:
        shape = (len(self.config.timescales), len(self.config.classes))
        if not self.config.hidden:
            return said.unflatten(-1, shape)
        of_state = self.emission.unflatten(-1, shape).softmax(dim=-1).flatten(1)
        return (said.softmax(dim=-1) @ of_state).clamp(min=LEAST).log().unflatten(-1, shape)
