"""TorchRL: GymEnv, a collector, a replay buffer and DQN's loss.

pip install torchrl
python examples/torchrl_dqn.py --steps 20000
"""

import argparse

import torch
from tensordict.nn import TensorDictSequential
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.envs import CatTensors, FlattenObservation, GymEnv, TransformedEnv
from torchrl.modules import EGreedyModule, QValueActor
from torchrl.objectives import DQNLoss, SoftUpdate

import cryptoenv  # noqa: F401 -- registers the environment

WINDOW, FRAMES = (8, 2, 1), 256


def make_env(**arguments: object) -> TransformedEnv:
    """Windows and account of an observation in one vector."""
    env = GymEnv("CryptoTrade-v0", market="easy", window=WINDOW, episode_bars=960, categorical_action_encoding=True,
                 **arguments)  # fmt: skip
    flat = TransformedEnv(env, FlattenObservation(-2, -1, in_keys=["15m", "4h", "1d"]))
    flat.append_transform(CatTensors(["15m", "1d", "4h", "account"], "observation"))
    return flat


def main() -> None:
    """Learn on training markets, then trade one validation market once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    env = make_env()
    env.set_seed(0)
    size = env.observation_spec["observation"].shape[-1]
    network = torch.nn.Sequential(torch.nn.Linear(size, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    actor = QValueActor(network, in_keys=["observation"], spec=env.action_spec)
    explorer = TensorDictSequential(actor, EGreedyModule(env.action_spec, eps_end=0.05, annealing_num_steps=steps // 2))
    loss = DQNLoss(actor, action_space=env.action_spec, delay_value=True)
    loss.make_value_estimator(gamma=0.97)
    target, optimiser = SoftUpdate(loss, eps=0.99), torch.optim.Adam(loss.parameters(), lr=3e-4)
    memory = TensorDictReplayBuffer(storage=LazyTensorStorage(50_000), batch_size=256)
    for batch in Collector(env, explorer, frames_per_batch=FRAMES, total_frames=steps):
        memory.extend(batch.reshape(-1))
        explorer[1].step(FRAMES)
        for _ in range(16):
            found = loss(memory.sample())["loss"]
            optimiser.zero_grad()
            found.backward()
            optimiser.step()
            target.step()
    with torch.no_grad():
        judged = make_env(split="validation")
        judged.set_seed(0)
        episode = judged.rollout(2_000, actor)
    print(f"one validation episode of {len(episode)} steps: log-return {episode['next', 'reward'].sum().item():+.3f}")


if __name__ == "__main__":
    main()
