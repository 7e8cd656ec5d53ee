"""PPO in one file, in the manner of CleanRL: `gym.make_vec`, vector wrappers, NEXT_STEP autoreset, plain torch.

python examples/single_file_ppo.py --iterations 50
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import vector as vector_wrappers
from torch import nn

import cryptoenv

GAMMA, LAMBDA, CLIP, EPOCHS, BATCHES = 0.9, 0.9, 0.2, 4, 4


class ActorCritic(nn.Module):
    """Logits (B, A) and values (B,) of flat observations (B, D)."""

    def __init__(self, inputs: int, actions: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, actions))
        self.critic = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.distributions.Categorical, torch.Tensor]:
        """The policy's distribution over actions, and the values."""
        return torch.distributions.Categorical(logits=self.actor(x)), self.critic(x).squeeze(-1)


def advantages(rewards: torch.Tensor, values: torch.Tensor, terminated: torch.Tensor, ended: torch.Tensor,
               ) -> torch.Tensor:  # fmt: skip
    """Generalised advantages (T, N); `values` (T + 1, N) of the observations before each step and after the last.

    With NEXT_STEP the observation after an end is the episode's last one, so that `values[t + 1]` bootstraps a
    truncated row, and the step that follows (the reset) carries no advantage on.
    """
    result, carried = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + GAMMA * values[t + 1] * (1.0 - terminated[t]) - values[t]
        carried = delta + GAMMA * LAMBDA * (1.0 - ended[t]) * carried
        result[t] = carried
    return result


def update(agent: ActorCritic, optimiser: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> None:
    """EPOCHS passes of clipped PPO over one rollout, (B, ...) per entry."""
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(batch["actions"])).chunk(BATCHES):
            distribution, values = agent(batch["observations"][rows])
            ratio = (distribution.log_prob(batch["actions"][rows]) - batch["log_probabilities"][rows]).exp()
            gain = batch["advantages"][rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            policy_loss = -torch.min(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain).mean()
            value_loss = (values - batch["returns"][rows]).pow(2).mean()
            optimiser.zero_grad()
            (policy_loss + 0.5 * value_loss - 0.01 * distribution.entropy().mean()).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimiser.step()


def train(num_envs: int, horizon: int, iterations: int, seed: int, **arguments: Any) -> tuple[ActorCritic, list[float]]:
    """The trained agent, and the return of every finished episode in order."""
    torch.manual_seed(seed)
    envs: Any = vector_wrappers.RecordEpisodeStatistics(gym.make_vec("CryptoTrade-v0", num_envs, **arguments))
    envs = vector_wrappers.NormalizeReward(vector_wrappers.FlattenObservation(envs), gamma=GAMMA)
    agent = ActorCritic(envs.single_observation_space.shape[0], envs.single_action_space.n)
    optimiser = torch.optim.Adam(agent.parameters(), lr=3e-3)
    finished: list[float] = []
    spread = cryptoenv.spread_seeds(seed, num_envs)  # a whole number would give seeds 0 and 1 nearly the same episodes
    seen, resetting = torch.as_tensor(envs.reset(seed=spread)[0]), torch.zeros(num_envs)
    for _ in range(iterations):
        steps: list[tuple[torch.Tensor, ...]] = []
        for _ in range(horizon):
            with torch.no_grad():
                distribution, value = agent(seen)
                action = distribution.sample()
            shown, reward, terminated, truncated, info = envs.step(action.numpy())
            steps.append((seen, action, distribution.log_prob(action), value, torch.as_tensor(reward).float(),
                          torch.as_tensor(terminated).float(), torch.as_tensor(terminated | truncated).float(),
                          resetting))  # fmt: skip
            seen, resetting = torch.as_tensor(shown), steps[-1][6]
            finished += info["episode"]["r"][info["_episode"]].tolist() if "episode" in info else []
        observations, actions, logs, values, rewards, dead, ended, resets = map(torch.stack, zip(*steps, strict=True))
        with torch.no_grad():
            gains = advantages(rewards, torch.cat([values, agent(seen)[1][None]]), dead, ended)
        kept = resets.flatten() == 0.0  # a step that only reset its row took no action
        columns = {"observations": observations, "actions": actions, "log_probabilities": logs, "advantages": gains,
                   "returns": gains + values}  # fmt: skip
        update(agent, optimiser, {name: column.flatten(0, 1)[kept] for name, column in columns.items()})
    return agent, [float(x) for x in np.asarray(finished)]


def main() -> None:
    """Train on the default pool of markets and print how the returns of episodes went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=50, help="rollouts of 16 environments x 128 steps")
    iterations = parser.parse_args().iterations
    _, returns = train(16, 128, iterations, 0, episode_bars=96)
    if returns:
        print(f"{len(returns)} episodes; mean log-return of the first 16: {np.mean(returns[:16]):+.4f}, "
              f"of the last 16: {np.mean(returns[-16:]):+.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
