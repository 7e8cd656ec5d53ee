"""Gradient checkpointing: the same weights, fewer activations; only where there are blocks to compute again."""

from __future__ import annotations

import pytest
import torch

from benchmarks.gradient_checkpointing import deep_model, kept_bytes, step
from cryptoenv.market.market import Market
from pretrain import ConfigError, FitOptions, fit_extractor
from tests.pretrain.conftest import planted, small_config, small_training

QUIET = FitOptions(progress=False)


def test_the_weights_are_the_same(markets: tuple[Market, ...]) -> None:
    items = [planted(market) for market in markets]
    made = [
        fit_extractor(
            items[:2], items[2:], small_config(layers=2, dropout=0.1),
            small_training(steps=4, validate_every=4, checkpoint_gradients=on), seed=1, options=QUIET,
        ).hash
        for on in (False, True)
    ]  # fmt: skip
    assert made[0] == made[1]


def test_a_step_keeps_less() -> None:
    model = deep_model(layers=6, width=32)
    windows = (torch.randn(8, 128, 30), torch.randn(8, 32, 20))
    assert kept_bytes(model, windows, True) < 0.5 * kept_bytes(model, windows, False)
    (_, off), (_, on) = (step(model, windows, checkpointed) for checkpointed in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(off, on, strict=True))


def test_other_encoders_refuse_it(markets: tuple[Market, ...]) -> None:
    items = [planted(market) for market in markets]
    with pytest.raises(ConfigError, match=r"checkpoint_gradients is for the encoder 'transformer'.* got encoder='gru'"):
        fit_extractor(
            items[:2], items[2:], small_config(encoder="gru"), small_training(steps=2, checkpoint_gradients=True),
            options=QUIET,
        )  # fmt: skip
