"""A frozen extractor in Stable-Baselines3: embeddings computed once per market, gathered by (market, bar)."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from agents.markets.embedded import EmbeddingTable


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
