"""RLlib's PPO. RLlib pins gymnasium 1.2.2, which does for this environment too: give it an environment of its own.

pip install "ray[rllib]" cryptoenv-rl
python examples/rllib_ppo.py --iterations 5
"""

import argparse
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env


def make_env(config: dict[str, Any]) -> gym.Env:
    """In every worker: importing is what registers the environment there."""
    import cryptoenv  # noqa: F401

    return FlattenObservation(gym.make("CryptoTrade-v0", **config))


def main() -> None:
    """Some iterations on the pool of training markets; workers are seeded apart by RLlib."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2_000, help="per iteration")
    options = parser.parse_args()
    register_env("crypto", make_env)
    config = (
        PPOConfig()
        .environment("crypto", env_config={"market": "easy", "window": (8, 2, 1), "episode_bars": 96})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=4)
        .training(gamma=0.97, train_batch_size_per_learner=options.steps, minibatch_size=256, num_epochs=4)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(options.iterations)]
    algorithm.stop()
    print("mean log-return of a day, by iteration:", [round(float(found), 4) for found in returns])


if __name__ == "__main__":
    main()
