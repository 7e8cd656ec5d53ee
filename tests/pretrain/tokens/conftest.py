"""Small tokens and a small model of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pretrain.data.splits import Span
from pretrain.tokens.config import TokenModelConfig
from pretrain.tokens.model import TokenModel
from pretrain.tokens.series import TokenSeries, synthetic_tokens
from pretrain.tokens.windows import normalization_of
from synthetic.tokens.events import EventCounts
from synthetic.tokens.market import TokenConfig


def small_config(**changes: object) -> TokenModelConfig:
    values: dict[str, object] = {
        "seq_length": 16, "embed_size": 16, "nhead": 2, "dim_feedforward": 16, "layers": 2, "head_width": 8,
        "kernel": 3, "quantiles": (0.05, 0.25, 0.5, 0.75, 0.95), "pump_ahead": 10,
    }  # fmt: skip
    return TokenModelConfig(**(values | changes))  # type: ignore[arg-type]


def new_model(config: TokenModelConfig, seed: int = 0) -> TokenModel:
    torch.manual_seed(seed)
    return TokenModel(config).eval()


@pytest.fixture(scope="session")
def tokens() -> tuple[TokenSeries, ...]:
    return synthetic_tokens(TokenConfig(tokens=5, bars=300, events=EventCounts(pump_and_dump=3)), 3)


@pytest.fixture(scope="session")
def normalization(tokens: tuple[TokenSeries, ...]) -> np.ndarray:
    return normalization_of(tokens, [Span(0, 0, 200), Span(1, 0, 200)])
