"""Published forecasting Transformers as peers: Hugging Face's PatchTST, Informer and Time Series Transformer.

Built from their configurations with fresh weights; nothing is downloaded. Their encoders read the scaled base window,
the last bars of higher timeframes join by a layer, and the heads, losses and training are those of all networks here,
so that what differs is the network alone. Shapes: see `config`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import InformerConfig, PatchTSTConfig, PatchTSTModel, TimeSeriesTransformerConfig
from transformers.models.informer.modeling_informer import InformerEncoder
from transformers.models.time_series_transformer.modeling_time_series_transformer import TimeSeriesTransformerEncoder

from pretrain.forecaster.config import ForecasterConfig
from pretrain.networks.hybrid import OF_BARS

OF_SCALES = 3  #: columns that an encoder of these has beside further features: a value, and its location and scale


class PublishedNetwork(nn.Module):
    """(B, D) of scaled windows, one (B, W_k, F_k) per timeframe.

    "patchtst" (Nie et al. 2023) reads what bars themselves say, channel by channel, in patches of `patch` bars, and
    takes the mean of all its tokens. "informer" (Zhou et al. 2021, ProbSparse attention and distilling) and
    "series_transformer" (a vanilla encoder) read all features and speak at the last bar. ProbSparse attention draws
    which keys it looks at: outside training always the same ones, so that a window's forecast is a function of it.

    Args:
        config: of a network in PUBLISHED, with feature names.
    """

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        names = config.feature_names[0]
        bars = [i for i, name in enumerate(names) if name.startswith(OF_BARS)] or list(range(len(names)))
        self.channels = config.network == "patchtst"
        self.register_buffer("bar_columns", torch.tensor(bars), persistent=False)
        self.encoder: Any = _patchtst(config, len(bars)) if self.channels else _encoder(config, len(names))
        own = len(names) if self.channels else 0  # the indicators of the last bar, which its channels leave out
        self.joined = nn.Linear(own + sum(len(part) for part in config.feature_names[1:]) + config.width, config.width)

    def forward(self, windows: Sequence[Tensor]) -> Tensor:
        """(B, D) float32."""
        base = windows[0]
        parts = [part[:, -1] for part in windows[0 if self.channels else 1 :]]
        if self.channels:
            tokens = self.encoder(past_values=base[..., self.get_buffer("bar_columns")]).last_hidden_state
            read = tokens.mean(dim=(1, 2))
        else:
            with contextlib.nullcontext() if self.training else torch.random.fork_rng(devices=[]):
                if not self.training:
                    torch.manual_seed(0)
                read = self.encoder(inputs_embeds=base).last_hidden_state[:, -1]
        out: Tensor = torch.relu(self.joined(torch.cat((read, *parts), dim=1)))
        return out


def _patchtst(config: ForecasterConfig, channels: int) -> PatchTSTModel:
    return PatchTSTModel(PatchTSTConfig(
        num_input_channels=channels, context_length=config.window[0], patch_length=config.patch,
        patch_stride=config.patch, num_hidden_layers=config.layers, d_model=config.width,
        num_attention_heads=config.heads, ffn_dim=config.feedforward, attention_dropout=config.dropout,
        ff_dropout=config.dropout, scaling=None, do_mask_input=False,
    ))  # fmt: skip


def _encoder(config: ForecasterConfig, features: int) -> nn.Module:
    shared: dict[str, Any] = {
        "prediction_length": config.horizons[-1], "context_length": config.window[0], "lags_sequence": [1],
        "num_dynamic_real_features": features - OF_SCALES, "d_model": config.width, "encoder_layers": config.layers,
        "encoder_attention_heads": config.heads, "encoder_ffn_dim": config.feedforward, "dropout": config.dropout,
        "attention_dropout": config.dropout, "activation_dropout": config.dropout, "encoder_layerdrop": 0.0,
    }  # fmt: skip
    if config.network == "informer":
        return InformerEncoder(InformerConfig(**shared))
    return TimeSeriesTransformerEncoder(TimeSeriesTransformerConfig(**shared))
