"""What learners of exposures share: exposures as actions of the env, and a start from the teacher's positions.

A mean-squared clone of positions answers with fractions of them, and every wobble of a fraction costs; so the clone is
by likelihood under the actor's Gaussian.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.algorithms.off_policy import LabelledStates, OffPolicyConfig, bound_clone, labelled_states, prefill
from agents.algorithms.sb3_vec_env import training_env
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.exposure_head import exposure_arguments, exposure_space
from agents.policies.heads import bind
from agents.settings import TradingSettings

INSIDE = 0.97  #: the squashed Gaussian cannot reach 1; positions are cloned as this share of themselves
DWELL = 16  #: mean bars for which a prefilled position is held


class ExposureActions(VecEnvWrapper):
    """Takes exposures (N, 1), a fraction of equity; the position nearest to each is traded where there are positions.

    Args:
        venv: whose actions are shares of the exposure limit.
        settings: instrument, limits and positions; `continuous` trades exposures as they are.
    """

    def __init__(self, venv: Any, settings: TradingSettings) -> None:
        super().__init__(venv, action_space=exposure_space(settings))
        self._limit = settings.limits.exposure
        self._positions = None if settings.continuous else np.asarray(settings.positions, np.float32)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Ask for the exposures (N, 1) at `step_wait`."""
        if self._positions is not None:
            nearest = np.abs(actions - self._positions[None, :]).argmin(axis=1)
            actions = self._positions[nearest][:, None]
        self.venv.step_async(np.asarray(actions / self._limit, np.float32))

    def reset(self) -> VecEnvObs:
        """Reset all rows."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Step all rows."""
        return self.venv.step_wait()

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """The state of all rows, as arrays (N, ...)."""
        return self.venv.state_dict()  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from where `state_dict` found the rows: arrays (N, ...)."""
        self.venv.load_state_dict(state)  # type: ignore[attr-defined]


class SlowActor:
    """For SAC and TQC: an actor that stands still until the critics know something, and then learns slowly."""

    warm_up: int = 0
    actor_rate: float = 1.0
    actor: Any
    _n_updates: int

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)  # type: ignore[misc]
        for group in self.actor.optimizer.param_groups:
            group["lr"] *= 0.0 if self._n_updates < self.warm_up else self.actor_rate


def exposure_env(train: EmbeddedMarkets, settings: TradingSettings, config: Any) -> ExposureActions:
    """What learners of exposures learn in; `config` has `num_envs` and `episode_bars`."""
    env = training_env(train, settings, num_envs=config.num_envs, episode_bars=config.episode_bars, continuous=True)
    return ExposureActions(env, settings)


def new_exposure_learner(
    kind: Callable[..., Any], clone: Agent, train: EmbeddedMarkets, config: OffPolicyConfig, seed: int
) -> Any:
    """SAC or TQC over exposures, started from the teacher's positions and prefilled with the clone's trades.

    Args:
        kind: class of the algorithm, a `SlowActor`.
        clone: of positions.
        train: the training markets.
        config: with `temperature`, `cloning_steps`, `labelled`, `warm_up` and `actor_rate`.
        seed: of what is drawn.
    """
    told: Any = config
    algorithm = kind(
        "MultiInputPolicy",
        exposure_env(train, clone.settings, config),
        ent_coef=told.temperature,
        policy_kwargs=exposure_arguments(clone.shape),
        **config.arguments(seed),
    )
    bind(algorithm.policy, train.table)
    own = _within(algorithm, clone.settings.positions)
    if config.from_clone:
        algorithm.warm_up, algorithm.actor_rate = told.warm_up, told.actor_rate
        states = labelled_states(train, clone, told.labelled, seed)
        clone_by_likelihood(algorithm.policy.actor, states, own, told.cloning_steps)
    if config.prefill:
        guide = bound_clone(clone, train) if config.from_clone else None
        prefill(algorithm, guide, clone.settings.positions, config.prefill, dwell=DWELL)
    return algorithm


def _within(algorithm: OffPolicyAlgorithm, positions: tuple[float, ...]) -> tuple[float, ...]:
    """Positions as a squashed actor says them, within +-1."""
    scaled = algorithm.policy.scale_action(np.asarray(positions, np.float32)[:, None])
    return tuple(float(value) for value in scaled[:, 0])


def clone_by_likelihood(actor: Any, states: LabelledStates, positions: tuple[float, ...], steps: int) -> float:
    """Train an actor to make the teacher's exposures likely; returns the last mean log-likelihood.

    Args:
        actor: a squashed Gaussian one.
        states: with the index of the teacher's position.
        positions: target exposures, within +-1.
        steps: gradient steps of 2048 states.
    """
    exposures = INSIDE * torch.tensor(positions)
    optimizer = torch.optim.Adam(actor.parameters(), lr=1e-3)
    likelihood = torch.zeros(())
    for _ in range(steps):
        seen, labels = states.draw(2048)
        mean, log_std, further = actor.get_action_dist_params(seen)
        distribution = actor.action_dist.proba_distribution(mean, log_std, **further)
        likelihood = distribution.log_prob(exposures[labels][:, None]).mean()
        optimizer.zero_grad()
        (-likelihood).backward()
        torch.nn.utils.clip_grad_norm_(actor.parameters(), 1.0)
        optimizer.step()
    return float(likelihood.detach())
