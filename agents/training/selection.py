"""Which weights a training keeps: those that earn most on validation markets, compared with the clone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.cloning.demonstrations import collect
from agents.evaluation.hysteresis import MARGINS, VALIDATION_BLOCK, margin_rollouts
from agents.evaluation.rollout import blocks
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.heads import HEADS, bind, copy_of
from agents.training.training_state import StateError, tensors_like

COMPARED = 4096  #: validation states on which a policy is compared with the clone


@dataclass(frozen=True)
class Schedule:
    """How long an algorithm learns, and when it is looked at; all in env steps, whatever the number of envs.

    Attributes:
        steps: in total.
        evaluate_every: between evaluations on validation markets.
        patience: evaluations without a gain after which learning stops.
        checkpoint_every: between checkpoints; 0 writes none.
        curriculum: share of the steps over which costs rise linearly from nothing to what the settings say.
    """

    steps: int
    evaluate_every: int
    patience: int = 1_000
    checkpoint_every: int = 0
    curriculum: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "evaluate_every", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not allowed: a whole number >= 1")
        if self.checkpoint_every < 0 or not 0.0 <= self.curriculum < 1.0:
            raise ValueError(
                f"checkpoint_every={self.checkpoint_every}, curriculum={self.curriculum}: allowed are steps >= 0 and a "
                "share 0 <= curriculum < 1"
            )


@dataclass(frozen=True)
class Improved:
    """What came out.

    Attributes:
        agent: with the weights and the hysteresis that did best on validation markets.
        validation: (env steps, mean net log-return) of every evaluation.
        kept_step: env steps after which the best weights stood.
        metrics: KL to the clone, share of changed actions, turnover and exposure of the best weights.
    """

    agent: Agent
    validation: tuple[tuple[int, float], ...]
    kept_step: int
    metrics: dict[str, float]


class NotFinite(ValueError):
    """A weight became NaN or infinite; the last good checkpoint, with the best weights so far, was kept."""


class Selection(BaseCallback):
    """Evaluates on validation markets, starting with the clone; remembers the best weights and their hysteresis."""

    def __init__(self, clone: Agent, kind: tuple[str, str], validation: EmbeddedMarkets, schedule: Schedule) -> None:
        super().__init__()
        self._agent = replace(clone, algorithm=kind[0], head=kind[1])
        self._validation = validation
        self._rows = blocks(validation.labelled, VALIDATION_BLOCK)
        self._schedule = schedule
        self._compared = states_of_comparison(clone, validation)
        self.next_evaluation = 0
        self.since_best = 0
        self.best_score = -float("inf")
        self.best_margin = clone.margin
        self.best_weights: dict[str, torch.Tensor] = {}
        self.best_metrics: dict[str, float] = {}
        self.kept_step = 0
        self.scores: list[tuple[int, float]] = []

    def judged(self) -> Any:
        """The policy that counts: averaged weights where the algorithm keeps them."""
        return getattr(self.model, "policy_to_judge", self.model.policy)

    def evaluate(self) -> None:
        """Score the current weights; keep them if they are the best so far.

        Raises:
            NotFinite: a weight is not finite.
        """
        policy = self.judged()
        require_finite(self.model)
        held = copy_of(policy)
        bind(held, self._validation.table)
        found = margin_rollouts(self._agent, held, self._validation.labelled, self._rows)
        best = int(found.earned.argmax())
        metrics = found.figures(best) | difference_from_clone(self._agent, held, *self._compared)
        self.scores.append((self.num_timesteps, float(found.earned[best])))
        self.logger.record("validation/log_return", float(found.earned[best]))
        for name, value in metrics.items():
            self.logger.record(f"validation/{name}", value)
        self.since_best += 1
        if found.earned[best] > self.best_score:
            self.since_best, self.kept_step = 0, self.num_timesteps
            self.best_score, self.best_margin, self.best_metrics = float(found.earned[best]), MARGINS[best], metrics
            self.best_weights = {k: v.detach().cpu().clone() for k, v in policy.state_dict().items()}
        self.logger.dump(self.num_timesteps)

    def result(self) -> Improved:
        """The agent with the best weights."""
        policy = copy_of(self.judged())
        policy.load_state_dict(self.best_weights)
        agent = replace(self._agent, policy=policy, margin=self.best_margin)
        return Improved(agent, tuple(self.scores), self.kept_step, self.best_metrics)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The best weights, and all else that a checkpoint has to keep."""
        values = {name: getattr(self, name) for name in self._KEPT}
        return {name: weight.numpy() for name, weight in self.best_weights.items()}, values

    _KEPT = ("next_evaluation", "since_best", "best_score", "best_margin", "best_metrics", "kept_step", "scores")

    def restore(self, arrays: dict[str, Any], values: dict[str, Any]) -> None:
        """The inverse of `state`.

        Raises:
            StateError: weights of another network, or values that `state` does not write.
        """
        _require_selection(values)
        weights = {}
        if arrays or values["scores"]:
            weights = tensors_like(self.judged().state_dict(), arrays, "kept weight")
        self.best_weights = weights
        for name in self._KEPT:
            setattr(self, name, values[name])
        self.scores = [(int(step), float(score)) for step, score in self.scores]

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.next_evaluation:
            self.next_evaluation = self.num_timesteps + self._schedule.evaluate_every
            self.evaluate()

    def _on_step(self) -> bool:
        return self.since_best < self._schedule.patience

    def _on_training_end(self) -> None:
        if not self.scores or self.scores[-1][0] != self.num_timesteps:
            self.evaluate()


def _require_selection(values: dict[str, Any]) -> None:
    """Check what a checkpoint says of a selection.

    Raises:
        StateError: names the value.
    """

    def number(value: Any, kind: type | UnionType = int | float) -> bool:
        return isinstance(value, kind) and not isinstance(value, bool) and value == value

    scores, metrics = values.get("scores"), values.get("best_metrics")
    fits = {name: number(values.get(name), int) for name in ("next_evaluation", "since_best", "kept_step")}
    fits["best_score"] = number(values.get("best_score"))
    fits["best_margin"] = number(values.get("best_margin")) and 0.0 <= values["best_margin"] < float("inf")
    fits["best_metrics"] = isinstance(metrics, dict) and all(map(number, metrics.values()))
    fits["scores"] = isinstance(scores, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and number(pair[0], int) and number(pair[1])
        for pair in scores
    )
    for name, fit in fits.items():
        if not fit:
            raise StateError(f"{name}={values.get(name)!r} is not what a selection keeps")


def require_finite(algorithm: BaseAlgorithm) -> None:
    """Check every weight of an algorithm's networks.

    Raises:
        NotFinite: one is NaN or infinite.
    """
    networks = (algorithm.policy, getattr(algorithm, "policy_to_judge", algorithm.policy))
    if not all(bool(torch.isfinite(weight).all()) for network in networks for weight in network.parameters()):
        raise NotFinite(f"a weight is not finite after {algorithm.num_timesteps} env steps; try a lower learning rate")


def states_of_comparison(clone: Agent, validation: EmbeddedMarkets) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
    """B validation states with positions held at random, and the clone's preferences there, (B, A)."""
    states = collect(validation.labelled, clone.settings, samples=COMPARED, seed=0, num_envs=64, progress=False)
    observation = {"index": torch.from_numpy(states.index), "account": torch.from_numpy(states.account)}
    policy = copy_of(clone.policy)
    bind(policy, validation.table)
    with torch.no_grad():
        return observation, HEADS[clone.head].preferences(policy, observation, clone.settings.positions)


def difference_from_clone(
    agent: Agent, policy: Any, observation: Mapping[str, torch.Tensor], clone: torch.Tensor
) -> dict[str, float]:
    """KL divergence of the policy from the clone (mean, nats) and the share of states with another best position.

    Args:
        agent: whose kind of policy and positions count.
        policy: with the embeddings of the validation markets bound.
        observation, clone: of `states_of_comparison`.
    """
    with torch.no_grad():
        mine = HEADS[agent.head].preferences(policy, dict(observation), agent.settings.positions)
    log_clone, log_mine = clone.log_softmax(dim=1), mine.log_softmax(dim=1)
    divergence = (log_clone.exp() * (log_clone - log_mine)).sum(dim=1).mean()
    changed = (mine.argmax(dim=1) != clone.argmax(dim=1)).float().mean()
    return {"kl_to_clone": float(divergence), "changed_actions": float(changed)}
