"""A frozen extractor in Stable-Baselines3: embeddings computed once per market, gathered by (market, bar)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
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
        self.rows, self.offsets = table.on(self.rows.device)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, D + 5) float32 from `index` (B, 2) and `account` (B, 5)."""
        index = observations["index"].long()
        if self.rows.device.type == "cpu":
            account = observations["account"].float().contiguous()
            if not account.requires_grad:
                return self._gathered(index.contiguous(), account)
        embedding = self.rows[self.offsets[index[:, 0]] + index[:, 1]]
        return torch.cat([embedding, observations["account"].float()], dim=1)

    def _gathered(self, index: torch.Tensor, account: torch.Tensor) -> torch.Tensor:
        """The same in one pass."""
        features = torch.empty((len(index), self.rows.shape[1] + account.shape[1]))
        inside = _gather(
            self.rows.numpy(), self.offsets.numpy(), index.numpy(), account.numpy(), features.numpy()
        )  # fmt: skip
        if not inside:
            raise IndexError("an observation's market or bar is none of the embeddings that are bound")
        return features


@njit(cache=True, error_model="numpy", nogil=True)
def _gather(
    rows: NDArray[Any], offsets: NDArray[Any], index: NDArray[Any], account: NDArray[Any], features: NDArray[Any]
) -> bool:
    """Fill features (B, D + 5) by index (B, 2) and account (B, 5); False where an index leads nowhere."""
    width = rows.shape[1]
    for i in range(len(index)):
        market = index[i, 0]
        if not 0 <= market < len(offsets):
            return False
        row = offsets[market] + index[i, 1]
        if not 0 <= row < len(rows):
            return False
        for j in range(width):
            features[i, j] = rows[row, j]
        for j in range(account.shape[1]):
            features[i, width + j] = account[i, j]
    return True
