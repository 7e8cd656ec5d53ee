"""TorchRL's `GymEnv` over the environment; skipped where torchrl is not installed (it is not a dependency)."""

from importlib.util import find_spec
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import cryptoenv
from tests.clients import worker

EPISODE = 8
SEED = 3


@pytest.mark.skipif(find_spec("torchrl") is None, reason="torchrl is not installed: pip install torchrl")
def test_a_rollout_is_the_single_envs(market: cryptoenv.Market) -> None:
    """In a process of its own: importing torchrl changes how all later processes start."""
    given: dict[str, Any] = {"market": market, "window": (4, 2, 2), "episode_bars": EPISODE}
    data = worker.in_spawned_process(worker.send_torchrl_rollout, 2 * EPISODE, SEED, given)
    env = gym.make("CryptoTrade-v0", **given)
    assert data["15m"].shape == (2 * EPISODE, *env.observation_space["15m"].shape)
    assert set(data["action"].tolist()) == {0, 1, 2}
    env.reset(seed=SEED)
    observation, _ = env.reset()  # `set_seed` resets once, the rollout once more: it shows the second episode
    for t, action in enumerate(data["action"].tolist()):
        for name, values in observation.items():
            assert np.array_equal(data[name][t], values)
        observation, reward, terminated, truncated, _ = env.step(action)
        assert data["next reward"][t, 0] == np.float32(reward)
        assert data["next terminated"][t, 0] == terminated
        assert data["next truncated"][t, 0] == truncated
        for name, values in observation.items():
            assert np.array_equal(data[f"next {name}"][t], values)
        if truncated:
            observation, _ = env.reset()
    assert data["next truncated"].sum() == 2
