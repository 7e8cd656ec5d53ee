"""What off-policy algorithms take from the clone: first transitions, labelled states, and a pull that decays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import obs_as_tensor
from torch import nn

from agents.algorithms.index_replay import IndexReplayBuffer
from agents.algorithms.written_values import margin_loss as margin_loss  # where it was before
from agents.algorithms.written_values import pull_loss as pull_loss  # where it was before
from agents.cloning.config_ranges import require_numbers
from agents.cloning.demonstrations import Demonstrations, collect
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.heads import action_distribution, bind, copy_of
from agents.policies.trading_policy import held_position
from agents.seeds import spread_seed

Observation = dict[str, torch.Tensor]


@dataclass(frozen=True)
class OffPolicyConfig:
    """What all off-policy algorithms share.

    Attributes:
        steps: env steps in total, prefilled ones not counted.
        num_envs: rows stepped at once.
        batch_size: transitions per gradient step.
        gradient_steps: per step of all rows.
        buffer_size: transitions kept.
        learning_rate: of Adam at the start; it falls linearly to zero.
        gamma: discount per bar.
        averaging: share of the new weights that goes into the target networks at each update of theirs.
        episode_bars: steps of an episode.
        evaluate_every: env steps between evaluations on validation markets.
        from_clone: start at the clone; False takes nothing from it.
        prefill: env steps of the clone and of random positions (from scratch: of these alone) in the buffer before
            learning begins.

    Raises:
        ConfigError: a value of another type, or outside its range.
    """

    steps: int = 300_000
    num_envs: int = 256
    batch_size: int = 1024
    gradient_steps: int = 3
    buffer_size: int = 1_000_000
    learning_rate: float = 1e-4
    gamma: float = 0.99
    averaging: float = 0.005
    episode_bars: int = 960
    evaluate_every: int = 51_200
    from_clone: bool = True
    prefill: int = 200_000

    def __post_init__(self) -> None:
        require_numbers(self)

    def arguments(self, seed: int, device: str = "cpu") -> dict[str, Any]:
        """Those of Stable-Baselines3's constructors that say the same of every algorithm."""
        return {
            "learning_rate": lambda remaining: self.learning_rate * remaining,
            "buffer_size": self.buffer_size,
            "learning_starts": 0,
            "batch_size": self.batch_size,
            "tau": self.averaging,
            "gamma": self.gamma,
            "train_freq": 1,
            "gradient_steps": self.gradient_steps,
            "replay_buffer_class": IndexReplayBuffer,
            "seed": seed,
            "device": device,
        }


class LeanCollection:
    """A mixin of Stable-Baselines3's off-policy algorithms: steps in which no episode ends are kept without copies.

    The replay of indices copies what it is given, and a native vector env tells of nothing but ends of episodes.
    """

    def _update_info_buffer(self: Any, infos: list[dict[str, Any]], dones: NDArray[np.bool_] | None = None) -> None:
        if dones is None or dones.any():
            super()._update_info_buffer(infos, dones)  # type: ignore[misc]

    def _sample_action(
        self: Any, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.num_timesteps < learning_starts or getattr(self, "_towers", None) is None:
            return super()._sample_action(learning_starts, action_noise, n_envs)  # type: ignore[misc, no-any-return]
        with torch.no_grad():
            actions = self._acts(self._towers.features(obs_as_tensor(self._last_obs, self.device)))
        return actions, actions

    def _store_transition(
        self: Any, replay_buffer: Any, buffer_action: NDArray[Any], new_obs: Any, reward: NDArray[Any],
        dones: NDArray[np.bool_], infos: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        if dones.any() or type(replay_buffer) is not IndexReplayBuffer or self._vec_normalize_env is not None:
            super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)  # type: ignore[misc]
            return
        replay_buffer.add(self._last_obs, new_obs, buffer_action, reward, dones, infos)
        self._last_original_obs, self._last_obs = self._last_obs, new_obs


@dataclass(frozen=True)
class LabelledStates:
    """States with the teacher's action, as tensors: `index` (N, 2), `account` (N, 5), `actions` (N,)."""

    index: torch.Tensor
    account: torch.Tensor
    actions: torch.Tensor

    def to(self, device: torch.device) -> LabelledStates:
        """The same on a device."""
        return LabelledStates(self.index.to(device), self.account.to(device), self.actions.to(device))

    @classmethod
    def of(cls, demonstrations: Demonstrations) -> LabelledStates:
        """From demonstrations."""
        arrays = (demonstrations.index, demonstrations.account, demonstrations.actions)
        return cls(*(torch.from_numpy(array) for array in arrays))

    def draw(self, count: int) -> tuple[Observation, torch.Tensor]:
        """B = `count` of them, drawn with torch's random state: index (B, 2), account (B, 5), actions (B,)."""
        rows = torch.randint(len(self.actions), (count,)).to(self.actions.device)
        return {"index": self.index[rows], "account": self.account[rows]}, self.actions[rows]


def labelled_states(train: EmbeddedMarkets, clone: Agent, samples: int, seed: int) -> LabelledStates:
    """States with positions held at random, labelled by the teacher of the training markets."""
    seed = spread_seed(seed, "labelled states")
    return LabelledStates.of(collect(train.labelled, clone.settings, samples=samples, seed=seed, progress=False))


def bound_clone(clone: Agent, train: EmbeddedMarkets, device: str = "cpu") -> Any:
    """The clone's policy on the training markets, on a device."""
    policy = copy_of(clone.policy).to(device)
    bind(policy, train.table)
    return policy


def clone_logits(clone: Any, observation: Observation) -> torch.Tensor:
    """(B, A) log-odds of the clone, without gradient."""
    with torch.no_grad():
        return action_distribution(clone, observation).logits


def copy_actor(clone: Any, layers: nn.Sequential, scale: float, repeats: int = 1) -> None:
    """Start a value network as `scale` times the clone's log-odds; `layers` must have the shape of the clone's actor.

    With `repeats`, the last layer has so many outputs per action, action by action within each repeat (quantiles).
    """
    source = [m for m in (*clone.mlp_extractor.policy_net, clone.action_net) if isinstance(m, nn.Linear)]
    target = [m for m in layers if isinstance(m, nn.Linear)]
    with torch.no_grad():
        for mine, theirs in zip(target[:-1], source[:-1], strict=True):
            mine.weight.copy_(theirs.weight)
            mine.bias.copy_(theirs.bias)
        target[-1].weight.copy_(scale * source[-1].weight.repeat(repeats, 1))
        target[-1].bias.copy_(scale * source[-1].bias.repeat(repeats))


def prefill(algorithm: OffPolicyAlgorithm, clone: Any, positions: tuple[float, ...], steps: int, dwell: int) -> None:
    """Fill the replay buffer with the clone's trades, interrupted by positions that are held at random for a while.

    Args:
        algorithm: its env is stepped, and its buffer filled.
        clone: with the embeddings of the training markets bound; None holds nothing but random positions.
        positions: target exposures.
        steps: env steps in all.
        dwell: mean bars for which the clone decides, and for which a random position is held.
    """
    env, buffer = algorithm.env, algorithm.replay_buffer
    assert env is not None
    assert buffer is not None
    assert algorithm.seed is not None
    rng = np.random.default_rng(spread_seed(algorithm.seed, "prefill"))
    seen: Any = env.reset()
    random = np.zeros(env.num_envs, np.bool_)
    held = np.zeros(env.num_envs, np.int64)
    for _ in range(steps // env.num_envs):
        change = rng.random(env.num_envs) < 1.0 / dwell
        held = np.where(change, rng.integers(len(positions), size=env.num_envs), held)
        chosen: NDArray[np.int64] = held
        if clone is not None:
            random = np.where(change, ~random, random)
            logits = clone_logits(clone, obs_as_tensor(seen, algorithm.device))  # type: ignore[arg-type]
            chosen = np.where(random, held, logits.argmax(dim=1).cpu().numpy())
        actions = chosen
        if algorithm.action_space.shape:  # exposures
            actions = np.asarray(positions, np.float32)[chosen][:, None]  # type: ignore[assignment]
        after, rewards, dones, infos = env.step(actions)
        if algorithm.action_space.shape:  # as the actor says them
            actions = algorithm.policy.scale_action(actions)  # type: ignore[assignment]
        last: Any = {name: value.copy() for name, value in after.items()}  # type: ignore[union-attr]
        for row in np.flatnonzero(dones):
            for name, value in infos[row]["terminal_observation"].items():
                last[name][row] = value
        buffer.add(seen, last, actions, rewards, dones, infos)  # type: ignore[arg-type]
        seen = after


def held_actions(account: torch.Tensor, positions: tuple[float, ...]) -> torch.Tensor:
    """(B,) int64 index of the position held, from account observations (B, 5)."""
    return torch.from_numpy(held_position(account.numpy(), positions))
