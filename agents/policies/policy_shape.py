"""What every policy on cached embeddings has in common: sizes, what it sees, and the arguments that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.policies.cached_embeddings import CachedEmbeddings

Observation = dict[str, torch.Tensor]
"""`index` (B, 2) int64 and `account` (B, 5) float32."""


@dataclass(frozen=True)
class PolicyShape:
    """Sizes of the policy head.

    Attributes:
        embedding_width: D of the extractor.
        actions: number of target positions.
        hidden: widths of the hidden layers, the same for actor and critic, which share nothing.
    """

    embedding_width: int
    actions: int
    hidden: tuple[int, ...] = (64, 64)


def observation_space() -> gym.spaces.Dict:
    """Of a policy on any markets: index (2,) int64 and account (5,) float32."""
    index = gym.spaces.Box(0, 2**24, shape=(2,), dtype=np.int64)
    account = gym.spaces.Box(-np.inf, np.inf, shape=(5,), dtype=np.float32)
    return gym.spaces.Dict({"index": index, "account": account})


def embedding_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of any policy class that reads cached embeddings."""
    return {
        "activation_fn": torch.nn.Tanh,
        "features_extractor_class": CachedEmbeddings,
        "features_extractor_kwargs": {"embedding_width": shape.embedding_width},
    }
