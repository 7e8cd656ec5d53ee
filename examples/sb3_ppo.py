"""Stable-Baselines3's PPO on flattened windows: the plain way, without cloning or a pretrained extractor.

python examples/sb3_ppo.py --steps 20000
"""

import argparse
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import cryptoenv  # noqa: F401 -- registers the environment

TASK: dict[str, Any] = {"market": "easy", "window": (16, 4, 2), "episode_bars": 960}


def main() -> None:
    """Learn on training markets, then trade one validation market once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    envs = make_vec_env("CryptoTrade-v0", n_envs=8, seed=0, env_kwargs=TASK, wrapper_class=FlattenObservation)
    model = PPO("MlpPolicy", envs, n_steps=128, batch_size=256, gamma=0.97, seed=0, device="cpu")
    model.learn(steps)
    env = FlattenObservation(gym.make("CryptoTrade-v0", **TASK, split="validation"))
    observation, info = env.reset(seed=0)
    over = False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(int(action))
        over = terminated or truncated
    print(f"one validation episode of ten days: equity {info['equity']:.0f}, fees {info['fees']:.0f}")


if __name__ == "__main__":
    main()
