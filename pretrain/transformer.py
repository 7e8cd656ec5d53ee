"""A Transformer encoder over patches of every timeframe's window, and the heads that train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.config import ExtractorConfig
from pretrain.scaler import SCALED_BOUND, RobustScaler


class Predictions(NamedTuple):
    """What the heads say about B windows.

    `action_logits` (B, P, A): best target given each held position; `direction_logits` (B, H): log-odds that the
    return over each horizon is positive; `return_quantiles` (B, H, Q), increasing in Q, in units of
    sigma * sqrt(horizon); `regime_logits` (B, regimes) or None. All float32.
    """

    action_logits: Tensor
    direction_logits: Tensor
    return_quantiles: Tensor
    regime_logits: Tensor | None


class TransformerExtractor(nn.Module):
    """Windows of every timeframe to one embedding.

    Features are scaled by the scaler's median and range (buffers, not weights), cut into patches, and embedded
    linearly per timeframe (Nie et al. 2023); timeframe and position embeddings are added, a summary token goes
    first, and pre-norm blocks follow (Xiong et al. 2020). In the last block only the summary token asks, as nothing
    else is read: this halves the cost of a two-layer encoder.

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
        width = config.width
        self.embed_patch = nn.ModuleList(
            nn.Linear(patch * len(names), width)
            for patch, names in zip(config.patches, config.feature_names, strict=True)
        )
        self.timeframe = nn.Parameter(0.1 * torch.randn(len(config.timeframes), width))
        self.position = nn.Parameter(0.1 * torch.randn(config.tokens - 1, width))
        self.summary = nn.Parameter(0.1 * torch.randn(width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        positions, horizons = len(config.positions), len(config.horizons)
        self.action_head = nn.Linear(width, positions * positions)
        self.direction_head = nn.Linear(width, horizons)
        self.quantile_head = nn.Linear(width, horizons * len(config.quantiles))
        self.regime_head = nn.Linear(width, config.regimes) if config.regimes else None
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
        if isinstance(windows, Mapping):
            windows = [windows[timeframe] for timeframe in self.config.timeframes]
        tokens = self._tokens(windows)
        for block in self.blocks[:-1]:
            tokens = block(tokens, tokens)
        return self.norm(self.blocks[-1](tokens[:, :1], tokens)[:, 0])

    def _tokens(self, windows: Sequence[Tensor]) -> Tensor:
        batch = windows[0].shape[0]
        parts = [self.summary.expand(batch, 1, -1)]
        start = 0
        for k, (embed, patch) in enumerate(zip(self.embed_patch, self.config.patches, strict=True)):
            count = self.config.window[k] // patch
            scaled = (windows[k] - self.get_buffer(f"median_{k}")) / self.get_buffer(f"scale_{k}")
            patches = scaled.clamp(-SCALED_BOUND, SCALED_BOUND).reshape(batch, count, -1)
            parts.append(embed(patches) + (self.timeframe[k] + self.position[start : start + count]))
            start += count
        return torch.cat(parts, dim=1)

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
        )

    def action_logits(self, embeddings: Tensor) -> Tensor:
        """(B, P, A) float32 logits of the best target given each held position, from `embeddings` (B, D)."""
        positions = len(self.config.positions)
        return self.action_head(embeddings).view(-1, positions, positions)


class _Block(nn.Module):
    """Pre-norm attention of `queries` over `tokens`, then a feed-forward layer, both residual."""

    def __init__(self, config: ExtractorConfig) -> None:
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

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """(B, M, D) from `queries` (B, M, D), the first M of `tokens` (B, N, D)."""
        normed = self.attention_norm(tokens)
        batch, count, width = queries.shape
        query = self.query(normed[:, :count]).view(batch, count, self.heads, -1).transpose(1, 2)
        both = self.key_value(normed).view(batch, tokens.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, both[0], both[1])
        mixed = mixed.transpose(1, 2).reshape(batch, count, width)
        middle = queries + self.dropout(self.out(mixed))
        return middle + self.dropout(self.feedforward(middle))
