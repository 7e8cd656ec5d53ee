"""DQN and QR-DQN on cached embeddings and a replay buffer of indices, from a clone or from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from agents.agent import Agent
from agents.clone_guided_dqn import CloneGuidedDQN, CloneGuidedQRDQN, Guidance
from agents.heads import bind
from agents.index_replay import IndexReplayBuffer
from agents.material import EmbeddedMarkets
from agents.off_policy_guidance import bound_clone, copy_actor, labelled_states, prefill
from agents.sb3_vec_env import training_env
from agents.seeds import spread_seed
from agents.value_heads import LOG_ODDS, QUANTILES, quantile_arguments, value_arguments
from pretrain.lessons import ORACLE_LABELS

ORACLE_MARGIN_WEIGHT = 0.1


@dataclass(frozen=True)
class DQNConfig:
    """How DQN and QR-DQN go on from the clone.

    Attributes:
        steps: env steps in total, prefilled ones not counted.
        num_envs: rows stepped at once.
        batch_size: transitions per gradient step.
        gradient_steps: per step of all rows.
        buffer_size: transitions kept.
        learning_rate: of Adam at the start; it falls linearly to zero.
        gamma: discount per bar.
        averaging: share of the new weights that goes into the target network at each step of all rows.
        exploration: probability of a random action at the start and at the end.
        episode_bars: steps of an episode.
        evaluate_every: env steps between evaluations on validation markets.
        from_clone: start the network at the clone's log-odds; False takes nothing from clone or teacher.
        prefill: env steps of the clone and of random positions (from scratch: of these alone) in the buffer before
            learning begins.
        demonstration_share: at least so much of every batch comes from what was prefilled, which then stays.
        pull: weight of the KL toward the clone at the start.
        margin_weight: weight of the margin loss on the teacher's labels at the start (Hester et al. 2018); None is 0.1
            for labels of the oracle and 0 for labels of bars, which are too often wrong to insist on.
        margin: of that loss, in percent.
        labelled: states labelled for it.
    """

    steps: int = 300_000
    num_envs: int = 256
    batch_size: int = 1024
    gradient_steps: int = 4
    buffer_size: int = 1_000_000
    learning_rate: float = 1e-4
    gamma: float = 0.99
    averaging: float = 0.01
    exploration: tuple[float, float] = (0.05, 0.01)
    episode_bars: int = 960
    evaluate_every: int = 51_200
    from_clone: bool = True
    prefill: int = 200_000
    demonstration_share: float = 0.0
    pull: float = 0.1
    margin_weight: float | None = None
    margin: float = 0.05
    labelled: int = 100_000


def new_dqn(clone: Agent, train: EmbeddedMarkets, config: DQNConfig, *, seed: int) -> CloneGuidedDQN:
    """DQN on the training markets, started and guided as `config` says.

    Args:
        clone: where to start, and what pulls.
        train: markets to learn on.
        config: of DQN.
        seed: of episodes, exploration, samples and, from scratch, weights.
    """
    algorithm = CloneGuidedDQN(policy_kwargs=value_arguments(clone.shape), **_arguments(clone, train, config, seed))
    if config.from_clone:
        copy_actor(clone.policy, algorithm.q_net.q_net, 1.0 / LOG_ODDS)
        algorithm.q_net_target.load_state_dict(algorithm.q_net.state_dict())
    return _guided(algorithm, clone, train, config, seed)


def new_qrdqn(clone: Agent, train: EmbeddedMarkets, config: DQNConfig, *, seed: int) -> CloneGuidedQRDQN:
    """QR-DQN on the training markets; arguments as for `new_dqn`."""
    layers = quantile_arguments(clone.shape)
    algorithm = CloneGuidedQRDQN(policy_kwargs=layers, **_arguments(clone, train, config, seed))
    if config.from_clone:
        copy_actor(clone.policy, algorithm.quantile_net.quantile_net, 1.0 / LOG_ODDS, QUANTILES)
        algorithm.quantile_net_target.load_state_dict(algorithm.quantile_net.state_dict())
    return _guided(algorithm, clone, train, config, seed)


def _arguments(clone: Agent, train: EmbeddedMarkets, config: DQNConfig, seed: int) -> dict[str, Any]:
    first, last = config.exploration
    return {
        "policy": "MultiInputPolicy",
        "env": training_env(train, clone.settings, num_envs=config.num_envs, episode_bars=config.episode_bars),
        "learning_rate": lambda remaining: config.learning_rate * remaining,
        "buffer_size": config.buffer_size,
        "learning_starts": 0,
        "batch_size": config.batch_size,
        "tau": config.averaging,
        "gamma": config.gamma,
        "train_freq": 1,
        "gradient_steps": config.gradient_steps,
        "replay_buffer_class": IndexReplayBuffer,
        "target_update_interval": config.num_envs,
        "exploration_fraction": 1.0,
        "exploration_initial_eps": first,
        "exploration_final_eps": last,
        "max_grad_norm": 10.0,
        "seed": seed,
        "device": "cpu",
    }


def _guided(algorithm: Any, clone: Agent, train: EmbeddedMarkets, config: DQNConfig, seed: int) -> Any:
    bind(algorithm.policy, train.table)
    guide = bound_clone(clone, train) if config.from_clone else None
    if guide is not None:
        weight = config.margin_weight
        if weight is None:
            weight = ORACLE_MARGIN_WEIGHT if train.taught[0].label_kind == ORACLE_LABELS else 0.0
        states = labelled_states(train, clone, config.labelled, seed) if weight > 0.0 else None
        algorithm.guidance = Guidance(
            clone=guide, states=states, pull=config.pull, margin_weight=weight, margin=config.margin,
            temperature=1.0 / LOG_ODDS, batch=config.batch_size // 4,
        )  # fmt: skip
    if config.prefill:
        prefill(algorithm, guide, clone.settings.positions, config.prefill, dwell=16)
        algorithm.replay_buffer.keep_demonstrations(config.demonstration_share)
    torch.manual_seed(spread_seed(seed, "draws while learning"))
    return algorithm
