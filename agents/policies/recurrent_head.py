"""A head with a memory of its own (RecurrentPPO); within one rollout it remembers each row."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentMultiInputActorCriticPolicy

from agents.policies.policy_shape import Observation, PolicyShape, embedding_arguments, observation_space
from agents.settings import TradingSettings

MEMORY = 32  #: units of the LSTM


def recurrent_arguments(shape: PolicyShape) -> dict[str, Any]:
    """Keyword arguments of the policy class."""
    layers = {"pi": list(shape.hidden), "vf": list(shape.hidden)}
    return {"net_arch": layers, "lstm_hidden_size": MEMORY, **embedding_arguments(shape)}


class RecurrentPolicy(RecurrentMultiInputActorCriticPolicy):
    """sb3-contrib's policy; what it is made from includes the size of its LSTM, so that it can be copied."""

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"lstm_hidden_size": self.lstm_actor.hidden_size}


def new_recurrent_policy(shape: PolicyShape, _: TradingSettings) -> RecurrentPolicy:
    """Fresh weights."""
    actions = spaces.Discrete(shape.actions)
    return RecurrentPolicy(observation_space(), actions, lambda _: 3e-4, **recurrent_arguments(shape))


def recurrent_preferences(policy: RecurrentPolicy, observation: Observation, _: tuple[float, ...]) -> torch.Tensor:
    """(B, A) log-odds; the state that follows is kept on the policy while the number of rows stays the same."""
    rows = len(observation["index"])
    states = getattr(policy, "rollout_states", None)
    if states is None or states[0].shape[1] != rows:
        layers = policy.lstm_actor.num_layers
        states = (torch.zeros(layers, rows, MEMORY), torch.zeros(layers, rows, MEMORY))
    distribution, states = policy.get_distribution(observation, states, torch.zeros(rows))  # type: ignore[arg-type]
    policy.rollout_states = states  # type: ignore[assignment]
    return distribution.distribution.logits  # type: ignore[union-attr]
