"""Networks that read a window as a whole and say one thing of it: the hybrid, and the encoders of the extractor."""

from __future__ import annotations

from torch import nn

from pretrain.forecaster.config import ForecasterConfig
from pretrain.networks.encoder_config import EncoderConfig
from pretrain.networks.encoders import new_encoder


def window_network(config: ForecasterConfig) -> nn.Module:
    """(B, D) of scaled windows, by the network that `config.network` names."""
    patches = (config.patch, *(1 for _ in config.window[1:])) if config.network == "transformer" else config.window
    encoder = EncoderConfig(
        config.timeframes, config.window, patches, config.feature_names, config.width, config.layers, config.heads,
        config.feedforward, config.dropout, config.network, ablate=config.ablate,
    )  # fmt: skip
    return new_encoder(encoder)
