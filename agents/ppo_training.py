"""PPO on cached embeddings, from a clone or from scratch."""

from __future__ import annotations

from dataclasses import dataclass

from agents.agent import Agent
from agents.clone_guided_ppo import CloneGuidedPPO
from agents.heads import actor_arguments, new_policy
from agents.material import EmbeddedMarkets
from agents.sb3_vec_env import training_env
from agents.seeds import spread_seed


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


@dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """How PPO goes on from the clone.

    Attributes:
        critic_rate: learning rate of the critic, which starts from nothing where the actor starts at the clone.
        pull: weight of the KL pull toward the clone at the start; it falls linearly to zero.
        warm_up: updates in which only the critic learns.
        from_clone: start at the clone; False starts from fresh weights, without pull and warm-up, at one rate for both.
    """

    critic_rate: float = 1e-3
    pull: float = 0.1
    warm_up: int = 10
    from_clone: bool = True


def new_ppo(clone: Agent, train: EmbeddedMarkets, config: PPOConfig, *, seed: int) -> CloneGuidedPPO:
    """PPO on the training markets, with the clone's weights (or, from scratch, fresh ones).

    Args:
        clone: where to start, and what the pull pulls toward.
        train: markets to learn on.
        config: of PPO.
        seed: of episodes, actions, minibatches and, from scratch, weights.
    """
    algorithm = CloneGuidedPPO(
        clone=clone.policy if config.from_clone else new_policy(clone.shape, spread_seed(seed, "fresh weights")),
        pull=config.pull if config.from_clone else 0.0,
        warm_up=config.warm_up if config.from_clone else 0,
        critic_rate=config.critic_rate / config.learning_rate if config.from_clone else 1.0,
        policy="MultiInputPolicy",
        env=training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars),
        policy_kwargs=actor_arguments(clone.shape),
        learning_rate=lambda remaining: config.learning_rate * remaining,
        n_steps=config.rollout_steps,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy_weight,
        seed=seed,
        device="cpu",
    )
    algorithm.bind(train.table)
    return algorithm
