"""A head that answers with an exposure (TQC's actor): positions are preferred by how near they lie to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.tqc.policies import MultiInputPolicy as ExposurePolicy

from agents.policies.policy_shape import Observation, PolicyShape, embedding_arguments, observation_space
from agents.settings import TradingSettings

NEARNESS = 4.0  #: preference lost per unit of exposure


def exposure_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of TQC's policy class."""
    return {"net_arch": list(shape.hidden), "n_critics": 2, **embedding_arguments(shape)}


def new_exposure_policy(shape: PolicyShape, _: TradingSettings) -> ExposurePolicy:
    """Actor and critics with fresh weights."""
    actions = spaces.Box(-1.0, 1.0, (1,), np.float32)
    return ExposurePolicy(observation_space(), actions, lambda _: 3e-4, **exposure_arguments(shape))


def exposure_preferences(
    policy: ExposurePolicy, observation: Observation, positions: tuple[float, ...]
) -> torch.Tensor:
    """(B, A): nearness of each position to the actor's mean exposure."""
    exposure = policy.actor(observation, deterministic=True)
    return -NEARNESS * (exposure - torch.tensor(positions)[None, :]).abs()
