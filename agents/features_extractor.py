"""A frozen extractor in Stable-Baselines3: embeddings computed once per market, gathered by (market, bar)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.taught_market import TaughtMarket
from cryptoenv.market import Market
from cryptoenv.progress import tqdm
from pretrain import Extractor
from pretrain.embedding_cache import cache_folder, cached_embeddings

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


def embed(extractor: Extractor, taught: Sequence[TaughtMarket], *, progress: bool = True) -> EmbeddingTable:
    """Embeddings of every decidable bar of every market; computed once, and kept on disk (`pretrain.embedding_cache`).

    Where that disk takes no more, they are computed each time, with a warning.
    """
    bar = tqdm(taught, desc="embedding", unit="market", disable=not progress)
    return EmbeddingTable([_kept_embeddings(extractor, t.market) for t in bar])


def _kept_embeddings(extractor: Extractor, market: Market) -> NDArray[np.float32]:
    try:
        return cached_embeddings(extractor, market)
    except OSError as error:
        warnings.warn(f"embeddings are not kept in {cache_folder()}: {error}", stacklevel=4)
        return extractor.embed(market)


class CachedEmbeddings(BaseFeaturesExtractor):
    """Features of an "index" observation: the embedding of (market, bar) beside the account.

    The table is a buffer that the state dict leaves out: weights stay the same whatever markets they are used on.
    """

    rows: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, observation_space: gym.spaces.Dict, embedding_width: int) -> None:
        account_width = int(np.prod(observation_space["account"].shape or ()))
        super().__init__(observation_space, features_dim=embedding_width + account_width)
        self._embedding_width = embedding_width
        self.register_buffer("rows", torch.zeros((1, embedding_width)), persistent=False)
        self.register_buffer("offsets", torch.zeros(1, dtype=torch.int64), persistent=False)

    def bind(self, table: EmbeddingTable) -> None:
        """Read embeddings from `table` from now on.

        Raises:
            ValueError: a table of another width.
        """
        if table.rows.shape[1] != self._embedding_width:
            raise ValueError(f"the table's embeddings are {table.rows.shape[1]} wide, not {self._embedding_width}")
        self.rows = torch.from_numpy(table.rows)
        self.offsets = torch.from_numpy(table.offsets)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, D + 5) float32 from `index` (B, 2) and `account` (B, 5)."""
        index = observations["index"].long()
        embedding = self.rows[self.offsets[index[:, 0]] + index[:, 1]]
        return torch.cat([embedding, observations["account"].float()], dim=1)
