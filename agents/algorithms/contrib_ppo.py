"""sb3-contrib's variants of PPO, from the clone: MaskablePPO and RecurrentPPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sb3_contrib import MaskablePPO, RecurrentPPO

from agents.algorithms.ppo import OnPolicyConfig
from agents.algorithms.sb3_vec_env import training_env
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.heads import actor_arguments, bind
from agents.policies.recurrent_head import RecurrentPolicy, recurrent_arguments
from agents.seeds import spread_seed


@dataclass(frozen=True)
class MaskableConfig(OnPolicyConfig):
    """How MaskablePPO learns; `from_clone` starts it with the clone's weights."""

    from_clone: bool = True


@dataclass(frozen=True)
class RecurrentConfig(OnPolicyConfig):
    """How RecurrentPPO learns; it starts from scratch, as an LSTM has no counterpart in the clone."""

    steps: int = 400_000
    num_envs: int = 128
    rollout_steps: int = 64
    batch_size: int = 2048
    epochs: int = 2
    learning_rate: float = 1e-3
    evaluate_every: int = 102_400
    curriculum: float = 0.5


def _arguments(clone: Agent, train: EmbeddedMarkets, config: OnPolicyConfig, seed: int) -> dict[str, Any]:
    env = training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars)
    return {"env": env, **config.arguments(seed)}


def new_maskable_ppo(clone: Agent, train: EmbeddedMarkets, config: MaskableConfig, *, seed: int) -> MaskablePPO:
    """MaskablePPO on the training markets: actions that the venue would refuse are never drawn.

    Its policy has the clone's layers, so the clone's weights carry over; critic warm-up and pull are `ppo`'s alone.
    """
    layers = actor_arguments(clone.shape)
    algorithm = MaskablePPO("MultiInputPolicy", policy_kwargs=layers, **_arguments(clone, train, config, seed))
    if config.from_clone:
        algorithm.policy.load_state_dict(clone.policy.state_dict())
    bind(algorithm.policy, train.table)
    torch.manual_seed(spread_seed(seed, "draws while learning"))
    return algorithm


def new_recurrent_ppo(clone: Agent, train: EmbeddedMarkets, config: RecurrentConfig, *, seed: int) -> RecurrentPPO:
    """RecurrentPPO on the training markets, from scratch."""
    layers = recurrent_arguments(clone.shape)
    algorithm = RecurrentPPO(RecurrentPolicy, policy_kwargs=layers, **_arguments(clone, train, config, seed))
    bind(algorithm.policy, train.table)
    return algorithm
