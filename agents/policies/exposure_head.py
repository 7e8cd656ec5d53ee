"""Heads that answer with an exposure: TQC's and SAC's squashed Gaussian, PPO's Gaussian.

Where an agent's actions are positions, they are preferred by how near they lie to the exposure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.tqc.policies import MultiInputPolicy as ExposurePolicy
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.sac.policies import MultiInputPolicy as SACExposurePolicy

from agents.policies.policy_shape import Observation, PolicyShape, embedding_arguments, observation_space
from agents.settings import TradingSettings

NEARNESS = 4.0  #: preference lost per unit of exposure


def exposure_space(settings: TradingSettings) -> spaces.Box:
    """Exposures (1,) that instrument and limits allow."""
    low, high = settings.exposure_bounds
    return spaces.Box(low, high, (1,), np.float32)


def exposure_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of TQC's policy class, and of SAC's."""
    return {"net_arch": list(shape.hidden), "n_critics": 2, **embedding_arguments(shape)}


def gaussian_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of PPO's policy class; it begins with small steps: every wobble of an exposure costs."""
    layers = {"pi": list(shape.hidden), "vf": list(shape.hidden)}
    return {"net_arch": layers, "log_std_init": -1.5, **embedding_arguments(shape)}


def new_exposure_policy(shape: PolicyShape, settings: TradingSettings) -> ExposurePolicy:
    """TQC's actor and critics with fresh weights."""
    return ExposurePolicy(observation_space(), exposure_space(settings), lambda _: 3e-4, **exposure_arguments(shape))


def new_sac_exposure_policy(shape: PolicyShape, settings: TradingSettings) -> SACExposurePolicy:
    """SAC's actor and critics with fresh weights."""
    return SACExposurePolicy(observation_space(), exposure_space(settings), lambda _: 3e-4, **exposure_arguments(shape))


def new_gaussian_policy(shape: PolicyShape, settings: TradingSettings) -> MultiInputActorCriticPolicy:
    """PPO's actor and critic with fresh weights."""
    actions = exposure_space(settings)
    return MultiInputActorCriticPolicy(observation_space(), actions, lambda _: 3e-4, **gaussian_arguments(shape))


def squashed_exposures(policy: Any, observation: Observation) -> torch.Tensor:
    """(B, 1): the mean exposure of a squashed Gaussian actor, which itself answers within +-1."""
    low, high = _bounds(policy)
    return low + 0.5 * (policy.actor(observation, deterministic=True) + 1.0) * (high - low)


def gaussian_exposures(policy: Any, observation: Observation) -> torch.Tensor:
    """(B, 1): the mean exposure of a Gaussian actor, cut to what is allowed."""
    low, high = _bounds(policy)
    mean: torch.Tensor = policy.get_distribution(observation).distribution.mean
    return mean.clamp(low, high)


def exposure_preferences(policy: Any, observation: Observation, positions: tuple[float, ...]) -> torch.Tensor:
    """(B, A): nearness of each position to the exposure of a squashed Gaussian actor."""
    return _nearness(squashed_exposures(policy, observation), positions)


def gaussian_preferences(policy: Any, observation: Observation, positions: tuple[float, ...]) -> torch.Tensor:
    """(B, A): nearness of each position to the exposure of a Gaussian actor."""
    return _nearness(gaussian_exposures(policy, observation), positions)


def _nearness(exposures: torch.Tensor, positions: tuple[float, ...]) -> torch.Tensor:
    return -NEARNESS * (exposures - torch.tensor(positions)[None, :]).abs()


def _bounds(policy: Any) -> tuple[float, float]:
    space = policy.action_space
    return float(space.low[0]), float(space.high[0])
