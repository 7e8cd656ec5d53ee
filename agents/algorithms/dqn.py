"""DQN and QR-DQN on cached embeddings and a replay buffer of indices, from a clone or from scratch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import QRDQN
from sb3_contrib.common.utils import quantile_huber_loss
from stable_baselines3 import DQN
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch.nn import functional

from agents.algorithms.off_policy import (
    LabelledStates,
    LeanCollection,
    Observation,
    OffPolicyConfig,
    bound_clone,
    clone_logits,
    copy_actor,
    labelled_states,
    margin_loss,
    prefill,
    pull_loss,
)
from agents.algorithms.sb3_vec_env import training_env
from agents.algorithms.towers import Follower, Tower, clip, fuse
from agents.algorithms.written_passes import quicken
from agents.algorithms.written_ppo import Towers
from agents.algorithms.written_values import Guides, q_gradient, q_targets
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.cached_embeddings import CachedEmbeddings
from agents.policies.heads import bind
from agents.policies.value_heads import LOG_ODDS, QUANTILES, quantile_arguments, value_arguments
from agents.seeds import spread_seed
from pretrain.data.teachers import ORACLE_LABELS


@dataclass(frozen=True)
class Guidance:
    """What a value network takes from the clone while it learns.

    Attributes:
        clone: a policy with the embeddings of the training markets bound.
        states: with the teacher's action, for the margin loss; None without it.
        pull: weight of the KL toward the clone at the start; it falls linearly to zero.
        margin_weight: weight of the margin loss at the start; it falls linearly to zero.
        margin: by which the teacher's action should lead, in units of the values.
        temperature: of the values, so that `values / temperature` are like log-odds.
        batch: labelled states per gradient step.
    """

    clone: Any
    states: LabelledStates | None
    pull: float
    margin_weight: float
    margin: float
    temperature: float
    batch: int


class _Guided(LeanCollection, ABC):
    """What both algorithms do alike, as a mixin of Stable-Baselines3's."""

    guidance: Guidance | None = None

    def guide(self: Any, values: torch.Tensor, observations: Observation) -> torch.Tensor:
        """The weighted pull and margin losses; `values` (B, A) are those of `observations`."""
        guidance, left = self.guidance, self._current_progress_remaining
        loss = torch.zeros((), device=values.device)
        if guidance is None:
            return loss
        if guidance.pull > 0.0:
            logits = clone_logits(guidance.clone, observations)
            loss = loss + left * guidance.pull * pull_loss(values, logits, guidance.temperature)
        if guidance.states is not None and guidance.margin_weight > 0.0:
            seen, expert = guidance.states.draw(guidance.batch)
            lead = margin_loss(self.values_of(seen), expert, guidance.margin)
            loss = loss + left * guidance.margin_weight * lead
        return loss

    @abstractmethod
    def values_of(self, observations: Observation) -> torch.Tensor:
        """(B, A) Q-values of the network that learns."""

    @abstractmethod
    def _values_and_error(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, A) Q-values of the samples' observations, and the scalar loss of the temporal difference."""

    def predict(
        self: Any, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Greedy actions; unless `deterministic`, each row takes a random one with the exploration rate."""
        greedy, state = self.policy.predict(observation, state, episode_start, deterministic=True)
        return (greedy if deterministic else explored(self, greedy)), state

    def train(self: Any, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on samples of the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        errors, guides = [], []
        for _ in range(gradient_steps):
            samples = self.replay_buffer.sample(batch_size)
            values, error = self._values_and_error(samples)
            guide = self.guide(values, samples.observations)
            self.policy.optimizer.zero_grad()
            (error + guide).backward()
            if self.max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
            self.policy.optimizer.step()
            errors.append(float(error.detach()))
            guides.append(float(guide.detach()))
        self._record(gradient_steps, errors, guides)

    def _record(self: Any, gradient_steps: int, errors: list[float], guides: list[float]) -> None:
        self._n_updates += gradient_steps
        self.logger.record("train/td_loss", float(np.mean(errors)))
        self.logger.record("train/guidance_loss", float(np.mean(guides)))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


def explored(algorithm: DQN | QRDQN, greedy: NDArray[Any]) -> NDArray[Any]:
    """Greedy actions (B,), each replaced by a random one with the exploration rate.

    Stable-Baselines3 tosses once for all rows, which makes a vector env explore in bursts.
    """
    if algorithm.exploration_rate <= 0.0 or np.ndim(greedy) == 0:
        return greedy
    toss = np.random.rand(len(greedy)) < algorithm.exploration_rate  # noqa: NPY002 -- what the seed of SB3 seeds
    drawn = np.random.randint(algorithm.action_space.n, size=len(greedy))  # type: ignore[attr-defined]  # noqa: NPY002
    return np.where(toss, drawn, greedy)


@dataclass(frozen=True)
class ValueTowers:
    """The network that learns, the averaged one, what turns observations into features, and the clone that pulls."""

    own: Tower
    averaged: Tower
    features: CachedEmbeddings
    clone: Tower | None

    @staticmethod
    def of(policy: Any, clone: Any) -> ValueTowers | None:
        """Those of DQN's policy and of an actor; None where one is of another kind."""
        own, averaged = Tower.of(policy.q_net.q_net), Tower.of(policy.q_net_target.q_net)
        extractor, guide = policy.q_net.features_extractor, None if clone is None else Towers.of(clone)
        if own is None or averaged is None or not own.learns or type(extractor) is not CachedEmbeddings:
            return None
        if clone is not None and guide is None:
            return None
        return ValueTowers(own, averaged, extractor, None if guide is None else guide.actor)


class CloneGuidedDQN(_Guided, DQN):
    """Stable-Baselines3's DQN (Mnih et al. 2015) with double Q-learning (van Hasselt et al. 2016) and `Guidance`.

    The target network follows slowly and is also the average of weights that is judged and kept: a Q-network
    oscillates, its average does not.
    """

    _towers: ValueTowers | None = None

    def use_towers(self) -> None:
        """Have passes written by hand where the policy and the clone are such that it can be; call it last."""
        self._towers = ValueTowers.of(self.policy, None if self.guidance is None else self.guidance.clone)
        fuse(self.policy.optimizer)
        self._follower = Follower(self.q_net, self.q_net_target, self.tau)

    def _acts(self, features: torch.Tensor) -> NDArray[np.int64]:
        assert self._towers is not None
        return explored(self, self._towers.own.forward(features).argmax(dim=1).cpu().numpy())

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Gradient steps on samples of the replay buffer."""
        if self._towers is None:
            super().train(gradient_steps, batch_size)
            return
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        losses = []
        for _ in range(gradient_steps):
            losses.append(self._written_step(self._towers, batch_size))
            clip([self._towers.own], self.max_grad_norm)
            self.policy.optimizer.step()
        self._record(gradient_steps, *torch.stack(losses).T.tolist())

    def _written_step(self, towers: ValueTowers, batch_size: int) -> torch.Tensor:
        """Give the weights their gradients on a sample of the replay; the losses, (2,)."""
        assert self.replay_buffer is not None
        samples: Any = self.replay_buffer.sample(batch_size)
        following = towers.features(samples.next_observations)
        target = q_targets(
            towers.own.forward(following), towers.averaged.forward(following), samples.rewards, samples.dones,
            self.gamma,
        )  # fmt: skip
        features, expert = towers.features(samples.observations), torch.empty(0, dtype=torch.int64, device=self.device)
        clone, guides = torch.empty((0, 0), device=self.device), Guides(0.0, 1.0, 0.0, 0.0)
        guidance = self.guidance
        if guidance is not None and towers.clone is not None:
            left = self._current_progress_remaining
            guides = Guides(
                left * guidance.pull, guidance.temperature, left * guidance.margin_weight, guidance.margin
            )  # fmt: skip
            clone = towers.clone.forward(features)
            if guidance.states is not None and guidance.margin_weight > 0.0:
                seen, expert = guidance.states.draw(guidance.batch)
                features = torch.cat((features, towers.features(seen)))
        values = towers.own.forward(features)
        gradient, losses = q_gradient(values, (samples.actions, target, expert), clone, guides)
        towers.own.backward(gradient)
        return losses

    def _on_step(self) -> None:
        if self._towers is None:
            super()._on_step()
            return
        self._n_calls += 1
        if self._n_calls % max(self.target_update_interval // self.n_envs, 1) == 0:
            self._follower.follow()
        self.exploration_rate = self.exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_towers", "_follower"]

    def values_of(self, observations: Observation) -> torch.Tensor:
        """(B, A) Q-values of the network that learns."""
        return self.q_net(observations)

    def _values_and_error(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            best = self.q_net(samples.next_observations).argmax(dim=1, keepdim=True)
            following = self.q_net_target(samples.next_observations).gather(1, best)
            target = samples.rewards + (1.0 - samples.dones) * self.gamma * following
        values = self.q_net(samples.observations)
        return values, functional.smooth_l1_loss(values.gather(1, samples.actions.long()), target)


class CloneGuidedQRDQN(_Guided, QRDQN):
    """sb3-contrib's QR-DQN (Dabney et al. 2018) with `Guidance` on the means of its quantiles."""

    def values_of(self, observations: Observation) -> torch.Tensor:
        """(B, A) Q-values of the network that learns: means over quantiles."""
        return self.quantile_net(observations).mean(dim=1)

    def _values_and_error(self, samples: ReplayBufferSamples) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            best = self.values_of(samples.next_observations).argmax(dim=1)  # type: ignore[arg-type]
            following = _of_action(self.quantile_net_target(samples.next_observations), best)
            target = samples.rewards + (1.0 - samples.dones) * self.gamma * following
        quantiles = self.quantile_net(samples.observations)
        chosen = _of_action(quantiles, samples.actions[:, 0].long())
        return quantiles.mean(dim=1), quantile_huber_loss(chosen, target, sum_over_quantiles=False)


def _of_action(quantiles: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """(B, quantiles) of one action each, from (B, quantiles, A)."""
    wanted = actions[:, None, None].expand(-1, quantiles.shape[1], 1)
    return quantiles.gather(2, wanted)[:, :, 0]


ORACLE_MARGIN_WEIGHT = 0.1


@dataclass(frozen=True)
class DQNConfig(OffPolicyConfig):
    """How DQN and QR-DQN go on from the clone: from its log-odds, which are the values' first guess.

    Attributes:
        exploration: probability of a random action at the start and at the end.
        demonstration_share: at least so much of every batch comes from what was prefilled, which then stays.
        pull: weight of the KL toward the clone at the start.
        margin_weight: weight of the margin loss on the teacher's labels at the start (Hester et al. 2018); None is 0.1
            for labels of the oracle and 0 for labels of bars, which are too often wrong to insist on.
        margin: of that loss, in percent.
        labelled: states labelled for it.
    """

    gradient_steps: int = 4
    averaging: float = 0.01
    exploration: tuple[float, float] = (0.05, 0.01)
    demonstration_share: float = 0.0
    pull: float = 0.1
    margin_weight: float | None = None
    margin: float = 0.05
    labelled: int = 100_000


def new_dqn(
    clone: Agent, train: EmbeddedMarkets, config: DQNConfig, *, seed: int, device: str = "cpu"
) -> CloneGuidedDQN:
    """DQN on the training markets, started and guided as `config` says.

    Args:
        clone: where to start, and what pulls.
        train: markets to learn on.
        config: of DQN.
        seed: of episodes, exploration, samples and, from scratch, weights.
        device: where embeddings and updates are, as torch names it.
    """
    arguments = _arguments(clone, train, config, seed, device)
    algorithm = CloneGuidedDQN(policy_kwargs=value_arguments(clone.shape), **arguments)
    if config.from_clone:
        copy_actor(clone.policy, algorithm.q_net.q_net, 1.0 / LOG_ODDS)
        algorithm.q_net_target.load_state_dict(algorithm.q_net.state_dict())
    return _guided(algorithm, clone, train, config, seed)


def new_qrdqn(
    clone: Agent, train: EmbeddedMarkets, config: DQNConfig, *, seed: int, device: str = "cpu"
) -> CloneGuidedQRDQN:
    """QR-DQN on the training markets; arguments as for `new_dqn`."""
    layers = quantile_arguments(clone.shape)
    algorithm = CloneGuidedQRDQN(policy_kwargs=layers, **_arguments(clone, train, config, seed, device))
    if config.from_clone:
        copy_actor(clone.policy, algorithm.quantile_net.quantile_net, 1.0 / LOG_ODDS, QUANTILES)
        algorithm.quantile_net_target.load_state_dict(algorithm.quantile_net.state_dict())
    return _guided(algorithm, clone, train, config, seed)


def _arguments(
    clone: Agent, train: EmbeddedMarkets, config: DQNConfig, seed: int, device: str
) -> dict[str, Any]:
    first, last = config.exploration
    return {
        "policy": "MultiInputPolicy",
        "env": training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars),
        **config.arguments(seed, device),
        "target_update_interval": config.num_envs,
        "exploration_fraction": 1.0,
        "exploration_initial_eps": first,
        "exploration_final_eps": last,
        "max_grad_norm": 10.0,
    }


def _guided(algorithm: Any, clone: Agent, train: EmbeddedMarkets, config: DQNConfig, seed: int) -> Any:
    bind(algorithm.policy, train.table)
    quicken(algorithm.policy)
    guide = bound_clone(clone, train, str(algorithm.device)) if config.from_clone else None
    if guide is not None:
        quicken(guide)
        weight = config.margin_weight
        if weight is None:
            weight = ORACLE_MARGIN_WEIGHT if train.labelled[0].label_kind == ORACLE_LABELS else 0.0
        states = labelled_states(train, clone, config.labelled, seed).to(algorithm.device) if weight > 0.0 else None
        algorithm.guidance = Guidance(
            clone=guide, states=states, pull=config.pull, margin_weight=weight, margin=config.margin,
            temperature=1.0 / LOG_ODDS, batch=config.batch_size // 4,
        )  # fmt: skip
    if config.prefill:
        prefill(algorithm, guide, clone.settings.positions, config.prefill, dwell=16)
        algorithm.replay_buffer.keep_demonstrations(config.demonstration_share)
    if isinstance(algorithm, CloneGuidedDQN):
        algorithm.use_towers()
    torch.manual_seed(spread_seed(seed, "draws while learning"))
    return algorithm
