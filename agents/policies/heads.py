"""Kinds of policy that an agent can have: how each is made, and how much it prefers each target position.

A head reads cached embeddings and the account ("index" observations) and is a Stable-Baselines3 policy. Whatever it
was trained by, it is asked for one preference per position, larger is better, on a scale like that of log-odds, so
that one hysteresis serves all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, MultiInputActorCriticPolicy

from agents.markets.embedded import EmbeddingTable
from agents.policies.cached_embeddings import CachedEmbeddings
from agents.policies.exposure_head import (
    exposure_preferences,
    gaussian_exposures,
    gaussian_preferences,
    new_exposure_policy,
    new_gaussian_policy,
    new_sac_exposure_policy,
    squashed_exposures,
)
from agents.policies.policy_shape import Observation, PolicyShape, embedding_arguments, observation_space
from agents.policies.recurrent_head import new_recurrent_policy, recurrent_preferences
from agents.policies.utility_head import ON_VALUES, new_utility_policy, utility_preferences
from agents.policies.value_heads import new_quantile_policy, new_value_policy, quantile_preferences, value_preferences
from agents.settings import TradingSettings


@dataclass(frozen=True)
class Head:
    """A kind of policy.

    Attributes:
        new: a policy with fresh weights (from torch's random state), no embeddings bound.
        preferences: (B, A) float32 of a policy for B observations, given the A target positions.
        exposures: (B, 1) float32 of a policy that answers with exposures, for B observations; None where it does not.
    """

    new: Callable[[PolicyShape, TradingSettings], BasePolicy]
    preferences: Callable[[Any, Observation, tuple[float, ...]], torch.Tensor]
    exposures: Callable[[Any, Observation], torch.Tensor] | None = None


def actor_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of the actor-critic policy, the same for the clone and for PPO, so that weights carry over."""
    return {"net_arch": {"pi": list(shape.hidden), "vf": list(shape.hidden)}, **embedding_arguments(shape)}


def _new_actor(shape: PolicyShape, _: TradingSettings) -> ActorCriticPolicy:
    actions = gym.spaces.Discrete(shape.actions)
    return MultiInputActorCriticPolicy(observation_space(), actions, lambda _: 3e-4, **actor_arguments(shape))


def action_distribution(policy: ActorCriticPolicy, observation: Any) -> torch.distributions.Categorical:
    """The distribution of B actions, given stacked observations as tensors."""
    distribution = policy.get_distribution(observation).distribution
    assert isinstance(distribution, torch.distributions.Categorical)
    return distribution


def _log_odds(policy: ActorCriticPolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    # without a distribution: making one takes as long as the network, and a rollout asks at every step
    features: Any = policy.extract_features(observation, policy.pi_features_extractor)
    return policy.action_net(policy.mlp_extractor.forward_actor(features))


HEADS: dict[str, Head] = {
    "actor": Head(_new_actor, _log_odds),
    "value": Head(new_value_policy, value_preferences),
    "quantile": Head(new_quantile_policy, quantile_preferences),
    "exposure": Head(new_exposure_policy, exposure_preferences, squashed_exposures),
    "sac_exposure": Head(new_sac_exposure_policy, exposure_preferences, squashed_exposures),
    "gaussian": Head(new_gaussian_policy, gaussian_preferences, gaussian_exposures),
    "recurrent": Head(new_recurrent_policy, recurrent_preferences),
    "utility": Head(new_utility_policy, utility_preferences),
    ON_VALUES: Head(partial(new_utility_policy, on_values=True), utility_preferences),
}
"""By the name that an agent's description gives."""


def new_policy(shape: PolicyShape, seed: int, head: str = "actor", settings: TradingSettings | None = None) -> Any:
    """A freshly drawn policy on cached embeddings, for `settings`; torch's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[head].new(shape, settings or TradingSettings())


def copy_of(policy: Any) -> Any:
    """A policy with the same weights and no embeddings bound (`copy.deepcopy` fails on what a policy remembers)."""
    with torch.random.fork_rng(devices=[]):
        copied = type(policy)(**policy._get_constructor_parameters())
    copied.load_state_dict(policy.state_dict())
    copied.set_training_mode(False)
    return copied


def bind(policy: torch.nn.Module, table: EmbeddingTable) -> None:
    """Have every network of the policy read embeddings from `table` from now on."""
    for module in policy.modules():
        if isinstance(module, CachedEmbeddings):
            module.bind(table)
