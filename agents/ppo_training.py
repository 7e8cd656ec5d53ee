"""PPO on cached embeddings, from a clone, keeping the policy that does best on validation markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.policies import ActorCriticPolicy
from tqdm import tqdm

from agents.agent import Agent
from agents.clone_guided_ppo import CloneGuidedPPO
from agents.evaluation import MARGINS, VALIDATION_BLOCK, margin_scores
from agents.features_extractor import EmbeddingTable
from agents.heads import actor_arguments, bind, copy_of
from agents.rollout import blocks
from agents.sb3_vec_env import Sb3VecEnv
from agents.settings import vector_env
from agents.taught_market import TaughtMarket, markets_of


@dataclass(frozen=True)
class PPOConfig:
    """How PPO goes on from the clone.

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
        pull: weight of the KL pull toward the clone at the start; it falls linearly to zero.
        warm_up: updates in which only the critic learns.
        episode_bars: steps of an episode.
        evaluate_every: updates between evaluations on validation markets.
    """

    steps: int = 1_500_000
    num_envs: int = 256
    rollout_steps: int = 64
    batch_size: int = 4096
    epochs: int = 4
    learning_rate: float = 1e-4
    gamma: float = 0.99
    gae_lambda: float = 0.8
    clip: float = 0.2
    entropy_weight: float = 0.0
    pull: float = 0.3
    warm_up: int = 10
    episode_bars: int = 960
    evaluate_every: int = 15


REWARD_IN_PERCENT = 100.0  #: log-returns of a bar are of order 0.001; values and losses want order 1


class KeepBest(BaseCallback):
    """Evaluates on validation markets, starting with the clone; remembers the best weights and their hysteresis."""

    def __init__(self, agent: Agent, taught: Sequence[TaughtMarket], table: EmbeddingTable, config: PPOConfig) -> None:
        super().__init__()
        self._agent = agent
        self._taught = taught
        self._table = table
        self._rows = blocks(taught, VALIDATION_BLOCK)
        self._every = config.evaluate_every
        self._rollouts = 0
        self.best_score = -float("inf")
        self.best_margin = agent.margin
        self.best_weights: dict[str, torch.Tensor] = {}
        self.scores: list[tuple[int, float]] = []

    def evaluate(self) -> None:
        """Score the current weights; keep them if they are the best so far."""
        held = copy_of(cast(ActorCriticPolicy, self.model.policy))
        bind(held, self._table)
        by_margin = margin_scores(self._agent, held, self._taught, self._rows)
        earned = float(by_margin.max())
        self.scores.append((self.num_timesteps, earned))
        self.logger.record("validation/log_return", earned)
        if earned > self.best_score:
            self.best_score = earned
            self.best_margin = MARGINS[int(by_margin.argmax())]
            self.best_weights = {k: v.clone() for k, v in self.model.policy.state_dict().items()}

    def _on_training_start(self) -> None:
        self.evaluate()

    def _on_rollout_start(self) -> None:
        if self._rollouts and self._rollouts % self._every == 0:
            self.evaluate()
        self._rollouts += 1

    def _on_training_end(self) -> None:
        self.evaluate()

    def _on_step(self) -> bool:
        return True


class Progress(BaseCallback):
    """A progress bar in env steps with the latest validation result."""

    def __init__(self, total: int, best: KeepBest, *, show: bool) -> None:
        super().__init__()
        self._best = best
        self._bar = tqdm(total=total, desc="PPO", unit="step", unit_scale=True, disable=not show)

    def _on_step(self) -> bool:
        self._bar.update(self.training_env.num_envs)
        return True

    def _on_rollout_end(self) -> None:
        self._bar.set_postfix(validation=f"{self._best.scores[-1][1]:+.4f}", best=f"{self._best.best_score:+.4f}")

    def _on_training_end(self) -> None:
        self._bar.close()


@dataclass(frozen=True)
class PPOResult:
    """The agent with the best validation result, and the results on the way: (env steps, mean net log-return)."""

    agent: Agent
    validation: tuple[tuple[int, float], ...]
    kept_step: int


def improve(
    clone: Agent,
    train: tuple[Sequence[TaughtMarket], EmbeddingTable],
    validation: tuple[Sequence[TaughtMarket], EmbeddingTable],
    config: PPOConfig,
    *,
    seed: int,
    log_folder: Path | None = None,
    progress: bool = True,
) -> PPOResult:
    """Go on from `clone` with PPO.

    Args:
        clone: where to start, and what the pull pulls toward.
        train: markets to learn on, and their embeddings.
        validation: markets to select weights on, and their embeddings.
        config: of PPO.
        seed: of episodes, actions and minibatches.
        log_folder: TensorBoard log, or None.
        progress: show a progress bar.
    """
    algorithm = _algorithm(clone, train, config, seed)
    algorithm.set_logger(configure(str(log_folder) if log_folder else None, ["tensorboard"] if log_folder else []))
    best = KeepBest(clone, validation[0], validation[1], config)
    algorithm.learn(config.steps, callback=[best, Progress(config.steps, best, show=progress)])
    algorithm.env.close()
    policy = copy_of(clone.policy)
    policy.load_state_dict(best.best_weights)
    kept = max(best.scores, key=lambda pair: pair[1])[0]
    return PPOResult(replace(clone, policy=policy, margin=best.best_margin, algorithm="ppo"), tuple(best.scores), kept)


def _algorithm(clone: Agent, train: tuple[Sequence[TaughtMarket], EmbeddingTable], config: PPOConfig, seed: int) -> Any:
    """PPO on the training markets, with the clone's weights and the markets' embeddings bound."""
    taught, table = train
    episode_bars = min(config.episode_bars, *(t.steps for t in taught))
    envs = vector_env(
        markets_of(taught), clone.settings, num_envs=config.num_envs, episode_bars=episode_bars,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    algorithm = CloneGuidedPPO(
        clone=clone.policy,
        pull=config.pull,
        warm_up=config.warm_up,
        policy="MultiInputPolicy",
        env=Sb3VecEnv(envs, reward_scale=REWARD_IN_PERCENT),
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
    algorithm.bind(table)
    return algorithm
