"""Soft actor-critic on cached embeddings and a replay buffer of indices, from a clone or from scratch."""

from __future__ import annotations

from dataclasses import dataclass

from agents.agent import Agent
from agents.discrete_sac import DiscreteSAC
from agents.heads import actor_arguments, bind
from agents.index_replay import IndexReplayBuffer
from agents.material import EmbeddedMarkets
from agents.off_policy_guidance import bound_clone, copy_actor, prefill
from agents.sb3_vec_env import training_env
from agents.value_heads import LOG_ODDS, value_arguments


@dataclass(frozen=True)
class SACConfig:
    """How SAC goes on from the clone.

    Attributes:
        steps: env steps in total, prefilled ones not counted.
        num_envs: rows stepped at once.
        batch_size: transitions per gradient step.
        gradient_steps: per step of all rows.
        buffer_size: transitions kept.
        learning_rate: of Adam at the start; it falls linearly to zero.
        gamma: discount per bar.
        averaging: share of the new weights that goes into the critics' targets at each gradient step.
        entropy: target entropy as a share of that of random positions.
        temperature: at the start, in percent.
        episode_bars: steps of an episode.
        evaluate_every: env steps between evaluations on validation markets.
        from_clone: start actor and critics at the clone; False takes nothing from it.
        prefill: env steps of the clone and of random positions (from scratch: of these alone) in the buffer before
            learning begins.
        demonstration_share: at least so much of every batch comes from what was prefilled, which then stays.
        pull: weight of the KL toward the clone at the start.
        warm_up: gradient steps in which only the critics learn.
    """

    steps: int = 300_000
    num_envs: int = 256
    batch_size: int = 1024
    gradient_steps: int = 3
    buffer_size: int = 1_000_000
    learning_rate: float = 1e-4
    gamma: float = 0.99
    averaging: float = 0.005
    entropy: float = 0.15
    temperature: float = 0.02
    episode_bars: int = 960
    evaluate_every: int = 51_200
    from_clone: bool = True
    prefill: int = 200_000
    demonstration_share: float = 0.0
    pull: float = 0.1
    warm_up: int = 1_000


def new_sac(clone: Agent, train: EmbeddedMarkets, config: SACConfig, *, seed: int) -> DiscreteSAC:
    """Discrete SAC on the training markets, started and guided as `config` says.

    Args:
        clone: where to start, and what pulls.
        train: markets to learn on.
        config: of SAC.
        seed: of episodes, actions, samples and, from scratch, weights.
    """
    guide = bound_clone(clone, train) if config.from_clone else None
    algorithm = DiscreteSAC(
        clone=guide,
        pull=config.pull,
        warm_up=config.warm_up if config.from_clone else 0,
        entropy=config.entropy,
        temperature=config.temperature,
        env=training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars),
        learning_rate=lambda remaining: config.learning_rate * remaining,
        buffer_size=config.buffer_size,
        learning_starts=0,
        batch_size=config.batch_size,
        tau=config.averaging,
        gamma=config.gamma,
        train_freq=1,
        gradient_steps=config.gradient_steps,
        replay_buffer_class=IndexReplayBuffer,
        policy_kwargs={
            "actor_arguments": actor_arguments(clone.shape), "critic_arguments": value_arguments(clone.shape)
        },
        seed=seed,
        device="cpu",
    )  # fmt: skip
    if config.from_clone:
        algorithm.policy.actor.load_state_dict(clone.policy.state_dict())
        for critic in algorithm.policy.critics:
            copy_actor(clone.policy, critic.q_net.q_net, 1.0 / LOG_ODDS)  # type: ignore[union-attr, arg-type]
            critic.q_net_target.load_state_dict(critic.q_net.state_dict())  # type: ignore[union-attr]
    bind(algorithm.policy, train.table)
    if config.prefill:
        prefill(algorithm, guide, clone.settings.positions, config.prefill, dwell=16)
        algorithm.replay_buffer.keep_demonstrations(config.demonstration_share)  # type: ignore[union-attr, operator]
    return algorithm
