"""Tianshou 2's DQN on flattened windows.

pip install tianshou
python examples/tianshou_dqn.py --steps 20000
"""

import argparse
from typing import Any

import gymnasium as gym
from gymnasium.wrappers import FlattenObservation
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import cryptoenv

ENVS = 8


class WithoutInfo(gym.Wrapper):
    """Tianshou keeps infos, too, and refuses NaN: what a fill's price is where nothing was filled."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """The observation alone."""
        return super().reset(**options)[0], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """All but the info."""
        return *super().step(action)[:4], {}


def make_env(**arguments: Any) -> Any:
    """Windows and account in one array."""
    env = gym.make("CryptoTrade-v0", market="easy", window=(8, 2, 1), episode_bars=960, **arguments)
    return WithoutInfo(FlattenObservation(env))


def main() -> None:
    """Learn on training markets; the returns that are printed are of validation markets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    train = DummyVectorEnv([make_env for _ in range(ENVS)])
    test = DummyVectorEnv([lambda: make_env(split="validation") for _ in range(4)])
    train.seed(cryptoenv.spread_seeds(0, ENVS))
    test.seed(0)
    space, actions = make_env().observation_space, make_env().action_space
    net = Net(state_shape=space.shape, action_shape=int(actions.n), hidden_sizes=[64, 64])
    policy = DiscreteQLearningPolicy(model=net, action_space=actions, observation_space=space, eps_training=0.2)
    learner = DQN(policy=policy, optim=AdamOptimizerFactory(lr=3e-4), gamma=0.97, target_update_freq=500)
    collecting = Collector[CollectStats](learner, train, VectorReplayBuffer(50_000, ENVS), exploration_noise=True)
    collecting.reset()
    collecting.collect(n_step=512)
    testing = Collector[CollectStats](learner, test)
    result = learner.run_training(
        OffPolicyTrainerParams(
            training_collector=collecting, test_collector=testing, max_epochs=2, epoch_num_steps=steps // 2,
            collection_step_num_env_steps=256, test_step_num_episodes=4, batch_size=256,
            update_step_num_gradient_steps_per_sample=1 / 16,
        )
    )  # fmt: skip
    print(f"best mean log-return of a validation episode of ten days: {result.best_reward:+.3f}")


if __name__ == "__main__":
    main()
