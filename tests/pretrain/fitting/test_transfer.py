"""From memory to a GPU through pinned memory, as far as a machine without one can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from agents.markets.embedded import embedding_on
from pretrain import Extractor, PretrainingConfig
from pretrain.extractor.embedding_cache import cached_embeddings
from pretrain.fitting import blocks
from pretrain.fitting.blocks import market_blocks
from pretrain.fitting.fitting import TaskLearner
from pretrain.fitting.transfer import to_device
from synthetic import regime_market

CUDA = torch.device("cuda")


class InMemory:
    """Stands for a tensor in memory, and writes down what is asked of it."""

    def __init__(self) -> None:
        self.device, self.asked = torch.device("cpu"), []  # type: ignore[var-annotated]

    def pin_memory(self) -> InMemory:
        self.asked.append("pinned")
        return self

    def to(self, device: torch.device, **options: Any) -> InMemory:
        self.asked.append((device.type, options))
        return self


def test_a_gpu_gets_pinned_memory_without_waiting() -> None:
    tensor: Any = InMemory()
    to_device(tensor, CUDA)
    assert tensor.asked == ["pinned", ("cuda", {"non_blocking": True})]
    there: Any = InMemory()
    there.device = CUDA
    to_device(there, CUDA)
    assert there.asked == [("cuda", {})]
    kept = torch.ones(3)
    assert to_device(kept, torch.device("cpu")) is kept


def test_blocks_and_batches_go_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, ...]] = []

    def seen(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        sent.append(tuple(tensor.shape))
        assert device == CUDA
        return tensor

    extractor = Extractor.load("default")
    market = extractor.market(regime_market("easy", days=4, seed=0).bars)
    monkeypatch.setattr(blocks, "to_device", seen)
    monkeypatch.setattr("pretrain.fitting.fitting.to_device", seen)
    _, _, block = next(iter(market_blocks(market, extractor.layout)))
    block.to(CUDA)
    assert len(sent) == 2 + len(block.higher)
    learner = TaskLearner(torch.nn.Linear(1, 1), None, PretrainingConfig())  # type: ignore[arg-type]
    sent.clear()
    batch = ((torch.ones(2), torch.ones(3)), torch.ones(4))
    moved = learner.transfer_batch_to_device(batch, CUDA, 0)
    assert sent == [(2,), (3,), (4,)] and type(moved) is tuple
    assert learner.transfer_batch_to_device(batch, torch.device("cpu"), 0)[1] is batch[1]
    assert len(sent) == 3


def test_embedding_is_put_back_and_keeps_apart_what_another_device_made(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor.load("default")
    with embedding_on(extractor, "auto"):
        assert extractor.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert extractor.device.type == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cannot be used here"), embedding_on(extractor, "gpu"):
            pass
        assert extractor.device.type == "cpu"
    market = extractor.market(regime_market("easy", days=4, seed=0).bars)
    own = cached_embeddings(extractor, market)
    monkeypatch.setattr(extractor, "device", torch.device("cuda"))
    monkeypatch.setattr(type(extractor), "embed", lambda self, market: np.zeros_like(own))
    assert not cached_embeddings(extractor, market).any() and own.any()
