"""What an agent is trained with: markets to learn on and to select on, and the extractor's embeddings of both."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agents.markets.expert_market import ExpertMarket
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain import Extractor
from pretrain.extractor.embedding_cache import cache_folder, cached_embeddings
from pretrain.fitting.transfer import DEVICES

LARGEST_EXACT_INDEX = 2**24  #: Stable-Baselines3 casts a Box observation to float32, which is exact below this


class EmbeddingTable:
    """Embeddings of several markets, one under the other.

    Attributes:
        rows: (sum of T, D) float32.
        offsets: (M,) int64, the row of each market's bar 0.
    """

    def __init__(self, embeddings: Sequence[NDArray[np.float32]]) -> None:
        lengths = [len(e) for e in embeddings]
        if max(lengths) > LARGEST_EXACT_INDEX:
            raise ValueError(
                f"a market of {max(lengths)} bars cannot be indexed exactly in float32; at most {LARGEST_EXACT_INDEX}"
            )
        self.rows: NDArray[np.float32] = np.ascontiguousarray(np.concatenate(embeddings), dtype=np.float32)
        self.offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self._on: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """`rows` (sum of T, D) and `offsets` (M,) on a device, one copy of them however many networks read it."""
        if str(device) not in self._on:
            parts = torch.from_numpy(self.rows), torch.from_numpy(self.offsets)
            self._on[str(device)] = parts[0].to(device), parts[1].to(device)
        return self._on[str(device)]


@contextmanager
def embedding_on(extractor: Extractor, accelerator: str) -> Iterator[None]:
    """Embeds on an accelerator ("cpu", "gpu", "auto") for a while; afterwards the extractor is where it was.

    Raises:
        ValueError: there is no GPU.
    """
    before = extractor.device
    extractor.to(DEVICES[accelerator])
    try:
        yield
    finally:
        extractor.to(str(before))


def embed(extractor: Extractor, labelled: Sequence[ExpertMarket], *, progress: bool = True) -> EmbeddingTable:
    """Embeddings of every decidable bar of every market; computed once, and kept on disk.

    The place is `pretrain.extractor.embedding_cache`'s. Where that disk takes no more, they are computed each time,
    with a warning.
    """
    bar = tqdm(labelled, desc="embedding", unit="market", disable=not progress)
    return EmbeddingTable([_kept_embeddings(extractor, t.market) for t in bar])


def _kept_embeddings(extractor: Extractor, market: Market) -> NDArray[np.float32]:
    try:
        return cached_embeddings(extractor, market)
    except OSError as error:
        warnings.warn(f"embeddings are not kept in {cache_folder()}: {error}", stacklevel=4)
        return extractor.embed(market)


@dataclass(frozen=True)
class EmbeddedMarkets:
    """Markets with their labels, and the embeddings of their bars; the table numbers markets in this order."""

    labelled: tuple[ExpertMarket, ...]
    table: EmbeddingTable

    def __repr__(self) -> str:
        return f"EmbeddedMarkets({len(self.labelled)} markets)"

    @classmethod
    def of(cls, extractor: Extractor, labelled: Sequence[ExpertMarket], *, progress: bool = True) -> EmbeddedMarkets:
        """Embed every decidable bar of every market once."""
        return cls(tuple(labelled), embed(extractor, labelled, progress=progress))


@dataclass(frozen=True)
class TrainingMarkets:
    """Markets to learn on (`train`), and others to choose weights and hysteresis by (`validation`)."""

    train: EmbeddedMarkets
    validation: EmbeddedMarkets
