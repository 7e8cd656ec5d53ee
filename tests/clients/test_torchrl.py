"""TorchRL's `GymEnv` over the environment; skipped where torchrl is not installed (it is not a dependency)."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import cryptoenv

pytest.importorskip("torchrl", reason="torchrl is not installed: pip install torchrl")

EPISODE = 8


def test_a_rollout_is_the_single_envs(market: cryptoenv.Market) -> None:
    from torchrl.envs import GymEnv

    given: dict[str, Any] = {"market": market, "window": (4, 2, 2), "episode_bars": EPISODE}
    client, env = (
        GymEnv("CryptoTrade-v0", categorical_action_encoding=True, **given),
        gym.make("CryptoTrade-v0", **given),
    )
    torch.manual_seed(0)
    client.set_seed(3)  # resets once, the rollout once more: it shows the second episode of seed 3
    data = client.rollout(2 * EPISODE, break_when_any_done=False)
    assert tuple(data["15m"].shape) == (2 * EPISODE, *env.observation_space["15m"].shape)
    actions = data["action"].tolist()
    assert set(actions) == {0, 1, 2}
    env.reset(seed=3)
    observation, _ = env.reset()
    for t, action in enumerate(actions):
        for name, values in observation.items():
            assert np.array_equal(data[name][t].numpy(), values)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert data["next", "reward"][t].item() == np.float32(reward)
        assert data["next", "truncated"][t].item() is truncated
        assert data["next", "terminated"][t].item() is terminated
        for name, values in observation.items():
            assert np.array_equal(data["next", name][t].numpy(), values)
        if truncated:
            observation, _ = env.reset()
    assert data["next", "truncated"].sum().item() == 2
