"""Soft actor-critic on cached embeddings and a replay buffer of indices, from a clone or from scratch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.dqn.policies import MultiInputPolicy as ValuePolicy
from torch.nn import functional

from agents.algorithms.exposures import SlowActor, new_exposure_learner
from agents.algorithms.off_policy import (
    LeanCollection,
    Observation,
    OffPolicyConfig,
    bound_clone,
    clone_logits,
    copy_actor,
    prefill,
)
from agents.algorithms.sb3_vec_env import training_env
from agents.algorithms.towers import Follower, Tower, fuse
from agents.algorithms.written_passes import quicken
from agents.algorithms.written_ppo import Towers, drawn
from agents.algorithms.written_values import Guides, actor_gradient, q_gradient, soft_targets
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.cached_embeddings import CachedEmbeddings
from agents.policies.heads import action_distribution, actor_arguments, bind
from agents.policies.value_heads import LOG_ODDS, value_arguments
from cryptoenv.files.typed_values import later_field

CRITICS = 2


class DiscreteSACPolicy(BasePolicy):
    """An actor, and two critics with their slowly following targets.

    Args:
        observation_space, action_space: "index" observations and discrete positions.
        lr_schedule: of all optimisers.
        actor_arguments: of the actor's `MultiInputActorCriticPolicy`.
        critic_arguments: of DQN's policy, which is a critic with its target.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete,
        lr_schedule: Schedule,
        actor_arguments: dict[str, Any],
        critic_arguments: dict[str, Any],
        use_sde: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space)
        assert isinstance(observation_space, spaces.Dict)
        self.actor = MultiInputActorCriticPolicy(observation_space, action_space, lr_schedule, **actor_arguments)
        self.critics = torch.nn.ModuleList(
            ValuePolicy(observation_space, action_space, lr_schedule, **critic_arguments) for _ in range(CRITICS)
        )
        self.critic_optimizer = torch.optim.Adam(
            [p for critic in self.critics for p in critic.q_net.parameters()],  # type: ignore[union-attr]
            lr=lr_schedule(1),
        )

    def values(self, observations: Observation, *, target: bool) -> list[torch.Tensor]:
        """(B, A) Q-values of each critic, or of its target."""
        networks: list[Any] = [c.q_net_target if target else c.q_net for c in self.critics]
        return [network(observations) for network in networks]

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return self.actor._predict(observation, deterministic)


@dataclass(frozen=True)
class SACTowers:
    """The actor, both critics and their targets, what turns observations into features, and the clone that pulls."""

    actor: Tower
    critics: tuple[Tower, ...]
    targets: tuple[Tower, ...]
    features: CachedEmbeddings
    clone: Tower | None

    @staticmethod
    def of(policy: DiscreteSACPolicy, clone: Any) -> SACTowers | None:
        """Those of a policy and of an actor; None where one is of another kind."""
        actor, guide = Towers.of(policy.actor), None if clone is None else Towers.of(clone)
        nets: list[Any] = list(policy.critics)
        critics = [Tower.of(net.q_net.q_net) for net in nets]
        targets = [Tower.of(net.q_net_target.q_net) for net in nets]
        if actor is None or (clone is not None and guide is None) or None in (*critics, *targets):
            return None
        own: Any = tuple(critics)
        averaged: Any = tuple(targets)
        return SACTowers(actor.actor, own, averaged, actor.features, None if guide is None else guide.actor)


class DiscreteSAC(LeanCollection, OffPolicyAlgorithm):
    """Discrete SAC with a decaying pull toward the clone, and critics that learn alone at first.

    Args:
        clone: a policy with the training markets' embeddings bound; None learns from scratch.
        pull: weight of KL(clone || policy) at the start; it falls linearly to zero.
        warm_up: gradient steps in which only the critics learn.
        entropy: target entropy, as a share of that of random positions; the temperature follows it.
        arguments: of Stable-Baselines3's `OffPolicyAlgorithm`.
    """

    policy: DiscreteSACPolicy
    _towers: SACTowers | None = None

    def __init__(
        self, *, clone: Any, pull: float, warm_up: int, entropy: float, temperature: float, **arguments: Any
    ) -> None:
        super().__init__(
            DiscreteSACPolicy, sde_support=False, supported_action_spaces=(spaces.Discrete,), support_multi_env=True,
            **arguments,
        )  # fmt: skip
        self._clone = clone
        self._pull, self._warm_up = pull, warm_up
        self._setup_model()
        self.target_entropy = entropy * math.log(int(self.action_space.n))  # type: ignore[attr-defined]
        self.log_temperature = torch.tensor([math.log(temperature)], requires_grad=True, device=self.device)
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], lr=self.lr_schedule(1))

    def use_towers(self) -> None:
        """Have passes written by hand where policy and clone are such that it can be; call it last."""
        self._towers = SACTowers.of(self.policy, self._clone)
        for optimizer in (self.policy.critic_optimizer, self.policy.actor.optimizer):
            fuse(optimizer)
        nets: list[Any] = list(self.policy.critics)
        self._followers = [Follower(net.q_net, net.q_net_target, self.tau) for net in nets]

    def _acts(self, features: torch.Tensor) -> NDArray[np.int64]:
        assert self._towers is not None
        return drawn(self._towers.actor.forward(features))[0]

    def _written_step(self, towers: SACTowers, batch_size: int) -> dict[str, float]:
        """One gradient step with passes written by hand; the parts of the loss."""
        assert self.replay_buffer is not None
        samples: Any = self.replay_buffer.sample(batch_size)
        temperature = float(self.log_temperature.detach().exp())
        following, features = towers.features(samples.next_observations), towers.features(samples.observations)
        logits = towers.actor.forward(following)
        first, second = (target.forward(following) for target in towers.targets)
        target = soft_targets(logits, (first, second), samples.rewards, samples.dones, temperature, self.gamma)
        losses, none = [], torch.empty(0, dtype=torch.int64, device=self.device)
        unused = torch.empty((0, 0), device=self.device)
        for critic in towers.critics:
            values = critic.forward(features)
            told = (samples.actions, target, none)
            gradient, found = q_gradient(values, told, unused, Guides(0.0, 1.0, 0.0, 0.0))
            critic.backward(gradient)
            losses.append(found[0])
        self.policy.critic_optimizer.step()
        parts = {"critic_loss": float(torch.stack(losses).sum())}
        if self._n_updates >= self._warm_up:
            parts |= self._written_actor(towers, features, temperature)
        for follower in self._followers:
            follower.follow()
        return parts

    def _written_actor(self, towers: SACTowers, features: torch.Tensor, temperature: float) -> dict[str, float]:
        first, second = (critic.forward(features) for critic in towers.critics)
        pulled = towers.clone is not None and self._pull > 0.0
        logits = towers.actor.forward(features)
        clone = towers.clone.forward(features) if towers.clone is not None and pulled else logits
        weight = self._current_progress_remaining * self._pull if pulled else 0.0
        gradient, found = actor_gradient(logits, (first, second), clone, temperature, weight)
        towers.actor.backward(gradient)
        self.policy.actor.optimizer.step()
        loss, entropy, divergence = found.tolist()
        self.log_temperature.grad = torch.full_like(self.log_temperature, entropy - self.target_entropy)
        self.temperature_optimizer.step()
        return {"actor_loss": loss, "entropy": entropy} | ({"kl_to_clone": divergence} if pulled else {})

    @property
    def policy_to_judge(self) -> MultiInputActorCriticPolicy:
        """The actor, a policy like the clone's."""
        return self.policy.actor

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Gradient steps on samples of the replay buffer."""
        self.policy.set_training_mode(True)
        optimizers = [self.policy.critic_optimizer, self.policy.actor.optimizer, self.temperature_optimizer]
        self._update_learning_rate(optimizers)
        sums: dict[str, list[float]] = {}
        for _ in range(gradient_steps):
            if self._towers is None:
                losses = self._autograd_step(batch_size)
            else:
                losses = self._written_step(self._towers, batch_size)
            self._n_updates += 1
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
        for name, values in sums.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        self.logger.record("train/temperature", float(self.log_temperature.detach().exp()))

    def _autograd_step(self, batch_size: int) -> dict[str, float]:
        """One gradient step of any policy; the parts of the loss."""
        assert self.replay_buffer is not None
        samples = self.replay_buffer.sample(batch_size)
        losses = {"critic_loss": self._improve_critics(samples)}
        if self._n_updates >= self._warm_up:
            losses |= self._improve_actor(samples.observations)  # type: ignore[arg-type]
        for critic in self.policy.critics:
            networks = (critic.q_net.parameters(), critic.q_net_target.parameters())  # type: ignore[union-attr]
            polyak_update(*networks, self.tau)
        return losses

    def _improve_critics(self, samples: Any) -> float:
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            logits = action_distribution(self.policy.actor, samples.next_observations).logits
            following = torch.stack(self.policy.values(samples.next_observations, target=True)).amin(dim=0)
            target = soft_target(samples, logits, following, temperature, self.gamma)
        found = self.policy.values(samples.observations, target=False)
        actions = samples.actions.long()
        loss = torch.stack([functional.smooth_l1_loss(v.gather(1, actions), target) for v in found]).sum()
        _descend(self.policy.critic_optimizer, loss)
        return float(loss.detach())

    def _improve_actor(self, observations: Observation) -> dict[str, float]:
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            values = torch.stack(self.policy.values(observations, target=False)).amin(dim=0)
        logits = action_distribution(self.policy.actor, observations).logits
        loss, entropy = actor_loss(logits, values, temperature)
        total = loss
        losses = {"actor_loss": float(loss.detach()), "entropy": float(entropy.detach())}
        if self._clone is not None and self._pull > 0.0:
            reference = clone_logits(self._clone, observations)
            divergence = functional.kl_div(logits, reference, reduction="batchmean", log_target=True)
            total = total + self._current_progress_remaining * self._pull * divergence
            losses["kl_to_clone"] = float(divergence.detach())
        _descend(self.policy.actor.optimizer, total)
        _descend(self.temperature_optimizer, (self.log_temperature * (entropy.detach() - self.target_entropy)).sum())
        return losses

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_clone", "_towers", "_followers"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        optimizers = ["policy.actor.optimizer", "policy.critic_optimizer", "temperature_optimizer"]
        return ["policy", *optimizers], ["log_temperature"]


def soft_target(
    samples: Any, logits: torch.Tensor, following: torch.Tensor, temperature: torch.Tensor, gamma: float
) -> torch.Tensor:
    """(B, 1) `r + gamma sum_a pi(a|s') [Q(s', a) - alpha log pi(a|s')]` (Christodoulou 2019, eqs. 3 and 10).

    Args:
        samples: with `rewards` and `dones`, (B, 1).
        logits: (B, A) log-probabilities at the next states.
        following: (B, A) values there.
        temperature: alpha.
        gamma: discount.
    """
    soft = (logits.exp() * (following - temperature * logits)).sum(dim=1, keepdim=True)
    return samples.rewards + (1.0 - samples.dones) * gamma * soft


def actor_loss(
    logits: torch.Tensor, values: torch.Tensor, temperature: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of `sum_a pi(a|s) [alpha log pi(a|s) - Q(s, a)]` (Christodoulou 2019, eq. 12) and of the entropy."""
    chances = logits.exp()
    entropy = -(chances * logits).sum(dim=1).mean()
    return (chances * (temperature * logits - values)).sum(dim=1).mean(), entropy


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """How SAC goes on from the clone: actor and critics start there.

    Attributes:
        entropy: target entropy as a share of that of random positions.
        temperature: at the start, in percent.
        demonstration_share: at least so much of every batch comes from what was prefilled, which then stays.
        pull: weight of the KL toward the clone at the start.
        warm_up: gradient steps in which only the critics learn.
        cloning_steps, labelled, actor_rate: of continuous actions alone, as of TQC, where neither `entropy`, `pull` nor
            `demonstration_share` counts: the temperature stays.
    """

    entropy: float = 0.15
    temperature: float = 0.02
    demonstration_share: float = 0.0
    pull: float = 0.1
    warm_up: int = 1_000
    cloning_steps: int = later_field(1_500)
    labelled: int = later_field(200_000)
    actor_rate: float = later_field(0.1)


class WarmedUpSAC(SlowActor, SAC):
    """Stable-Baselines3's SAC (Haarnoja et al. 2018) with a slow actor."""


def new_exposure_sac(clone: Agent, train: EmbeddedMarkets, config: SACConfig, *, seed: int) -> SAC:
    """SAC over exposures, started from the teacher's positions by likelihood and prefilled with the clone's trades."""
    return new_exposure_learner(WarmedUpSAC, clone, train, config, seed)  # type: ignore[no-any-return]


def new_sac(
    clone: Agent, train: EmbeddedMarkets, config: SACConfig, *, seed: int, device: str = "cpu"
) -> DiscreteSAC:
    """Discrete SAC on the training markets, started and guided as `config` says.

    Args:
        clone: where to start, and what pulls.
        train: markets to learn on.
        config: of SAC.
        seed: of episodes, actions, samples and, from scratch, weights.
        device: where embeddings and updates are, as torch names it.
    """
    guide = bound_clone(clone, train, device) if config.from_clone else None
    algorithm = DiscreteSAC(
        clone=guide,
        pull=config.pull,
        warm_up=config.warm_up if config.from_clone else 0,
        entropy=config.entropy,
        temperature=config.temperature,
        env=training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars),
        policy_kwargs={
            "actor_arguments": actor_arguments(clone.shape), "critic_arguments": value_arguments(clone.shape)
        },
        **config.arguments(seed, device),
    )  # fmt: skip
    if config.from_clone:
        algorithm.policy.actor.load_state_dict(clone.policy.state_dict())
        for critic in algorithm.policy.critics:
            copy_actor(clone.policy, critic.q_net.q_net, 1.0 / LOG_ODDS)  # type: ignore[union-attr, arg-type]
            critic.q_net_target.load_state_dict(critic.q_net.state_dict())  # type: ignore[union-attr]
    bind(algorithm.policy, train.table)
    quicken(algorithm.policy)
    if guide is not None:
        quicken(guide)
    if config.prefill:
        prefill(algorithm, guide, clone.settings.positions, config.prefill, dwell=16)
        algorithm.replay_buffer.keep_demonstrations(config.demonstration_share)  # type: ignore[union-attr, operator]
    algorithm.use_towers()
    return algorithm
