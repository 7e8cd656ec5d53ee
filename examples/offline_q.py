"""Offline learning with Stable-Baselines3: recorded episodes fill a replay buffer, DQN learns from it and never trades.

python examples/offline_q.py --steps 20000
"""

import argparse
import tempfile
from pathlib import Path

import gymnasium as gym
import torch
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import DQN
from stable_baselines3.common.logger import configure

import agents
from agents.evaluation.recording import record_episodes
from cryptoenv.env.offline import OfflineData

WINDOW = (8, 2, 1)


def main() -> None:
    """Record the oracle with noise, learn from what it did and from what it was paid, and judge both learners."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000, help="gradient steps")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--markets", type=int, default=8)
    parser.add_argument("--days", type=int, default=60)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp()) / "noisy-oracle"
    record_episodes(["oracle"], "easy", folder, form="parquet", episodes=options.episodes, noise=0.3, window=WINDOW,
                    observation="flat", progress=False)  # fmt: skip
    data = OfflineData.load(folder)
    steps = data.transitions()
    print(f"{len(steps)} steps; mean return of an episode {data.about['returns']['oracle']:+.3f}")

    env = FlattenObservation(data.make_env())
    learner = DQN("MlpPolicy", env, buffer_size=len(steps), batch_size=256, gamma=0.97, learning_rate=3e-4,
                  target_update_interval=500, policy_kwargs={"net_arch": [64, 64]}, seed=0, device="cpu")  # fmt: skip
    learner.set_logger(configure(format_strings=[]))
    steps.fill(learner.replay_buffer)
    learner.train(gradient_steps=options.steps, batch_size=256)

    clone = torch.nn.Sequential(torch.nn.Linear(gym.spaces.flatdim(env.observation_space), 64), torch.nn.Tanh(),
                                torch.nn.Linear(64, 3))  # fmt: skip
    arrays, optimiser = steps.arrays(), torch.optim.Adam(clone.parameters(), lr=1e-3)
    seen, done = torch.from_numpy(arrays["observations"]), torch.from_numpy(arrays["actions"])
    for rows in torch.randint(len(done), (options.steps // 4, 256), generator=torch.Generator().manual_seed(0)):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(clone(seen[rows]), done[rows]).backward()
        optimiser.step()

    for name, policy in (("offline DQN", learner), ("behaviour cloning", clone)):
        table = agents.score(policy, "easy", split="validation", markets=options.markets, days=options.days,
                             observation="flat", settings=agents.TradingSettings(window=WINDOW))  # fmt: skip
        line = table.loc["policy"]
        print(f"{name}: score {line['score']:.3f} [{line['score_low']:.3f}, {line['score_high']:.3f}] of the optimum")


if __name__ == "__main__":
    main()
