"""Heads that value actions: the policies of DQN and QR-DQN, judged by their averaged weights."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.qrdqn.policies import MultiInputPolicy as QuantilePolicy
from stable_baselines3.dqn.policies import MultiInputPolicy as ValuePolicy

from agents.policies.policy_shape import Observation, PolicyShape, embedding_arguments, observation_space
from agents.settings import TradingSettings

LOG_ODDS = 20.0  #: preferences per percent of value: five basis points are like one unit of log-odds
QUANTILES = 16


def value_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of DQN's policy class."""
    return {"net_arch": list(shape.hidden), **embedding_arguments(shape)}


def quantile_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of QR-DQN's policy class."""
    return {"n_quantiles": QUANTILES, **value_arguments(shape)}


def new_value_policy(shape: PolicyShape, _: TradingSettings) -> ValuePolicy:
    """A Q-network and its averaged twin, with fresh weights."""
    actions = spaces.Discrete(shape.actions)
    return ValuePolicy(observation_space(), actions, lambda _: 3e-4, **value_arguments(shape))


def new_quantile_policy(shape: PolicyShape, _: TradingSettings) -> QuantilePolicy:
    """A quantile network and its averaged twin, with fresh weights."""
    actions = spaces.Discrete(shape.actions)
    return QuantilePolicy(observation_space(), actions, lambda _: 3e-4, **quantile_arguments(shape))


def value_preferences(policy: ValuePolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    """(B, A): values by the averaged weights."""
    return LOG_ODDS * policy.q_net_target(observation)


def quantile_preferences(policy: QuantilePolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    """(B, A): means over quantiles by the averaged weights."""
    return LOG_ODDS * policy.quantile_net_target(observation).mean(dim=1)
