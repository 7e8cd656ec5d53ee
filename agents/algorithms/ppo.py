"""PPO on cached embeddings, from a clone or from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.utils import explained_variance, obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv
from torch.nn import functional

from agents.algorithms.exposures import exposure_env
from agents.algorithms.off_policy import LabelledStates, labelled_states
from agents.algorithms.sb3_vec_env import Sb3VecEnv, training_env
from agents.algorithms.towers import clip, fuse
from agents.algorithms.written_passes import quicken
from agents.algorithms.written_ppo import LOSSES, Towers, Weights, drawn, losses_and_gradients, rollout_of
from agents.cloning.config_ranges import require_numbers
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.exposure_head import gaussian_arguments
from agents.policies.heads import actor_arguments, bind, copy_of, new_policy
from agents.seeds import spread_seed
from cryptoenv.files.typed_values import later_field

NEAR = 0.05  #: of an exposure: nearer than that, errors count squared
CRITIC = 1  #: the critic's group of the optimiser's parameters


class CloneGuidedPPO(PPO):
    """Stable-Baselines3's PPO (Schulman et al. 2017) with the loss `ppo + beta * KL(clone || policy)`.

    The clone's critic knows nothing yet, and advantages from it would undo the actor within one update. So for the
    first `warm_up` updates only the critic learns. Then `beta` falls linearly from `pull` to 0 over training, as in
    kickstarting (Schmitt et al. 2018), so that the clone guides early steps and does not bound the result.

    Args:
        clone: the policy to start from; its weights are copied, it is not changed.
        pull: weight of the KL term at the start.
        warm_up: updates (rollouts) in which the actor stands still.
        critic_rate: learning rate of the critic, as a multiple of the actor's.
        ppo_arguments: of `stable_baselines3.PPO`.
    """

    def __init__(
        self, *, clone: ActorCriticPolicy, pull: float, warm_up: int, critic_rate: float = 1.0, **ppo_arguments: Any
    ) -> None:
        super().__init__(**ppo_arguments)
        self.policy.load_state_dict(clone.state_dict())
        self._critic_rate = critic_rate
        _split_groups(self.policy)
        self._clone = copy_of(clone).to(self.device)
        fuse(self.policy.optimizer)
        self._towers = Towers.of(self.policy), Towers.of(self._clone)
        quicken(self.policy)
        self._pull = pull
        self._warm_up = warm_up
        self._rollouts_seen = 0

    def bind(self, table: EmbeddingTable) -> None:
        """Have the policy and the clone read the embeddings of the training markets."""
        for policy in (self.policy, self._clone):
            bind(policy, table)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        optimizers.param_groups[CRITIC]["lr"] *= self._critic_rate

    def train(self) -> None:
        """Update the policy on the rollout buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clipping = float(self.clip_range(self._current_progress_remaining))  # type: ignore[operator]
        beta = self._pull * self._current_progress_remaining
        warming_up = self._rollouts_seen < self._warm_up
        own, clone = self._towers
        if own is None or clone is None:
            sums = self._autograd_epochs(clipping, beta, warming_up)
        else:
            sums = self._written_epochs(own, clone, Weights(self.vf_coef, self.ent_coef, beta, clipping), warming_up)
        self._rollouts_seen += 1
        self._record(sums, beta, warming_up)

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """As Stable-Baselines3's, without what a native vector env and a policy of towers make superfluous."""
        own = self._towers[0]
        if own is None or type(env) is not Sb3VecEnv:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        seen: Any = self._last_obs
        self.policy.set_training_mode(False)
        rollout_buffer.reset()
        callback.on_rollout_start()
        for _ in range(n_rollout_steps):
            features = self._features(own, seen)
            values = own.critic.forward(features)
            actions, log_probs = drawn(own.actor.forward(features))
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            values = values.clone()  # the next pass overwrites it
            if dones.any():
                self._update_info_buffer(infos, dones)
                self._bootstrap(own, rewards, infos)
            starts: Any = self._last_episode_starts
            rollout_buffer.add(seen, actions[:, None], rewards, starts, values, log_probs)  # type: ignore[arg-type]
            self._last_obs, self._last_episode_starts = new_obs, dones  # type: ignore[assignment]
            seen = new_obs
        values = own.critic.forward(self._features(own, seen)).clone()
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _features(self, own: Towers, observations: Mapping[str, NDArray[Any]]) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = own.features(obs_as_tensor(dict(observations), self.device))
        return found

    def _bootstrap(self, own: Towers, rewards: NDArray[np.float32], infos: list[dict[str, Any]]) -> None:
        """Add to the rewards (N,) of episodes that were cut what their last states are worth."""
        cut = [row for row, info in enumerate(infos) if info.get("TimeLimit.truncated", False)]
        if cut:
            last = [infos[row]["terminal_observation"] for row in cut]
            stacked = {name: np.stack([each[name] for each in last]) for name in last[0]}
            values = own.critic.forward(self._features(own, stacked)).flatten()
            rewards[cut] += self.gamma * values.cpu().numpy()

    def _written_epochs(
        self, own: Towers, clone: Towers, weights: Weights, warming_up: bool
    ) -> dict[str, list[float]]:
        """The update with gradients written by hand; the parts of the loss, one per gradient step."""
        steps = rollout_of(self.rollout_buffer, own, clone, self.device)
        learning = [own.critic] if warming_up else [own.actor, own.critic]
        own.actor.forget()  # one without gradients stands still
        found: list[torch.Tensor] = []
        for _ in range(self.n_epochs):
            order = np.random.permutation(len(steps.actions))  # noqa: NPY002 -- the buffer's own way, which SB3 seeds
            for chosen in torch.as_tensor(order, device=self.device).split(self.batch_size):
                found.append(losses_and_gradients(own, steps.some(chosen), weights, not warming_up))
                clip(learning, self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
        return dict(zip(LOSSES, torch.stack(found).T.tolist(), strict=True))

    def _autograd_epochs(self, clip: float, beta: float, warming_up: bool) -> dict[str, list[float]]:
        """The update by autograd, of any policy; the parts of the loss, one per gradient step."""
        sums: dict[str, list[float]] = {}
        for _ in range(self.n_epochs):
            for samples in self.rollout_buffer.get(self.batch_size):
                losses = self._losses(samples, clip)
                loss = self.vf_coef * losses["value_loss"]
                if not warming_up:
                    actor = losses["policy_gradient_loss"] - self.ent_coef * losses["entropy"]
                    loss = loss + actor + beta * losses["kl_to_clone"]
                self.policy.optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
                for name, value in losses.items():
                    sums.setdefault(name, []).append(float(value.detach()))
            self._n_updates += 1
        return sums

    def _losses(self, samples: RolloutBufferSamples, clip: float) -> dict[str, torch.Tensor]:
        """The parts of the loss on one minibatch, scalars."""
        policy: Any = self.policy
        actions = samples.actions if policy.action_space.shape else samples.actions.long().flatten()
        features = policy.extract_features(samples.observations)
        latent_actor, latent_critic = policy.mlp_extractor(features)
        distribution = policy._get_action_dist_from_latent(latent_actor).distribution
        values = policy.value_net(latent_critic).flatten()
        advantages = samples.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = torch.exp(_of_row(distribution.log_prob(actions)) - samples.old_log_prob)
        clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
        with torch.no_grad():
            reference: Any = self._clone.get_distribution(samples.observations).distribution  # type: ignore[arg-type]
        return {
            "value_loss": functional.mse_loss(samples.returns, values),
            "policy_gradient_loss": -torch.min(advantages * ratio, advantages * clipped).mean(),
            "entropy": _of_row(distribution.entropy()).mean(),
            "kl_to_clone": _of_row(torch.distributions.kl_divergence(reference, distribution)).mean(),
            "clip_fraction": (torch.abs(ratio.detach() - 1.0) > clip).float().mean(),
        }

    def _record(self, sums: dict[str, list[float]], beta: float, warming_up: bool) -> None:
        for name, values in sums.items():
            self.logger.record(f"train/{name}", float(np.mean(values)))
        buffer = self.rollout_buffer
        self.logger.record(
            "train/explained_variance", explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        )
        self.logger.record("train/pull", 0.0 if warming_up else beta)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_clone", "_towers"]


def _of_row(values: torch.Tensor) -> torch.Tensor:
    """(B,) of (B,), or of (B, 1) for exposures."""
    return values.flatten()


def _split_groups(policy: Any) -> None:
    """Give the critic's weights a group of their own in the policy's optimiser."""
    (group,) = policy.optimizer.param_groups
    critic = [*policy.mlp_extractor.value_net.parameters(), *policy.value_net.parameters()]
    chosen = {id(weight) for weight in critic}
    actor = [weight for weight in group["params"] if id(weight) not in chosen]
    group["params"] = actor
    policy.optimizer.add_param_group({"params": critic})


@dataclass(frozen=True)
class OnPolicyConfig:
    """What PPO and sb3-contrib's variants of it have in common.

    Attributes:
        steps: env steps in total.
        num_envs: rows stepped at once.
        rollout_steps: steps per row and update.
        batch_size: samples per gradient step (1024 and more are several times faster than the usual 64).
        epochs: passes over each rollout.
        learning_rate: of Adam at the start; it falls linearly to zero.
        gamma: discount per bar.
        gae_lambda: of generalised advantage estimation.
        clip: clipping range of the probability ratio.
        entropy_weight: weight of the entropy bonus.
        episode_bars: steps of an episode.
        evaluate_every: env steps between evaluations on validation markets.
        curriculum: share of the steps over which costs rise from nothing to the full ones.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    steps: int = 1_000_000
    num_envs: int = 256
    rollout_steps: int = 64
    batch_size: int = 4096
    epochs: int = 4
    learning_rate: float = 1e-4
    gamma: float = 0.99
    gae_lambda: float = 0.8
    clip: float = 0.2
    entropy_weight: float = 0.0
    episode_bars: int = 960
    evaluate_every: int = 98_304
    curriculum: float = 0.0

    def __post_init__(self) -> None:
        require_numbers(self)

    def arguments(self, seed: int, device: str = "cpu") -> dict[str, Any]:
        """What Stable-Baselines3's PPO and its variants are told alike."""
        return {
            "learning_rate": lambda remaining: self.learning_rate * remaining,
            "n_steps": self.rollout_steps,
            "batch_size": self.batch_size,
            "n_epochs": self.epochs,
            "gamma": self.gamma,
            "gae_lambda": self.gae_lambda,
            "clip_range": self.clip,
            "ent_coef": self.entropy_weight,
            "seed": seed,
            "device": device,
        }


@dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """How PPO goes on from the clone.

    Attributes:
        critic_rate: learning rate of the critic, which starts from nothing where the actor starts at the clone.
        pull: weight of the KL pull toward the clone at the start; it falls linearly to zero.
        warm_up: updates in which only the critic learns.
        from_clone: start at the clone; False starts from fresh weights, without pull and warm-up, at one rate for both.
        cloning_steps, labelled: of continuous actions alone: gradient steps toward the teacher's exposures, and
            states labelled for them.
    """

    critic_rate: float = 1e-3
    pull: float = 0.1
    warm_up: int = 10
    from_clone: bool = True
    cloning_steps: int = later_field(1_500)
    labelled: int = later_field(200_000)


def new_ppo(
    clone: Agent, train: EmbeddedMarkets, config: PPOConfig, *, seed: int, device: str = "cpu"
) -> CloneGuidedPPO:
    """PPO on the training markets, with the clone's weights (or, from scratch, fresh ones).

    Args:
        clone: where to start, and what the pull pulls toward.
        train: markets to learn on.
        config: of PPO.
        seed: of episodes, actions, minibatches and, from scratch, weights.
        device: where embeddings, rollouts' features and updates are, as torch names it.
    """
    start = clone.policy if config.from_clone else new_policy(clone.shape, spread_seed(seed, "fresh weights"))
    env = training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars)
    algorithm = CloneGuidedPPO(
        clone=start, env=env, policy_kwargs=actor_arguments(clone.shape), **_arguments(config, seed, device)
    )
    algorithm.bind(train.table)
    return algorithm


def new_exposure_ppo(clone: Agent, train: EmbeddedMarkets, config: PPOConfig, *, seed: int) -> CloneGuidedPPO:
    """PPO over exposures: a Gaussian actor that starts at the teacher's positions; arguments as `new_ppo`."""
    settings = clone.settings
    start = new_policy(clone.shape, spread_seed(seed, "fresh weights"), "gaussian", settings)
    if config.from_clone:
        bind(start, train.table)
        states = labelled_states(train, clone, config.labelled, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spread_seed(seed, "likelihood"))
            clone_by_median(start, states, settings.positions, config.cloning_steps)
    algorithm = CloneGuidedPPO(
        clone=start, env=exposure_env(train, settings, config), policy_kwargs=gaussian_arguments(clone.shape),
        **_arguments(config, seed),
    )  # fmt: skip
    algorithm.bind(train.table)
    return algorithm


def clone_by_median(policy: Any, states: LabelledStates, positions: tuple[float, ...], steps: int) -> float:
    """Train the mean of a Gaussian actor to be the median of the teacher's exposures; returns the last mean error.

    Where the teacher is not sure, a mean lies between positions, and every wobble of a fraction costs; a median is one
    of them.

    Args:
        policy: whose spread stays as it is.
        states: with the index of the teacher's position.
        positions: target exposures.
        steps: gradient steps of 2048 states.
    """
    exposures = torch.tensor(positions)
    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    optimizer = torch.optim.Adam(actor, lr=1e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        seen, labels = states.draw(2048)
        mean = policy.get_distribution(seen).distribution.mean
        loss = functional.smooth_l1_loss(mean, exposures[labels][:, None], beta=NEAR)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(actor, 1.0)
        optimizer.step()
    return float(loss.detach())


def _arguments(config: PPOConfig, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Arguments of `CloneGuidedPPO` that say the same whatever the actions are."""
    return {
        "pull": config.pull if config.from_clone else 0.0,
        "warm_up": config.warm_up if config.from_clone else 0,
        "critic_rate": config.critic_rate / config.learning_rate if config.from_clone else 1.0,
        "policy": "MultiInputPolicy",
        **config.arguments(seed, device),
    }
