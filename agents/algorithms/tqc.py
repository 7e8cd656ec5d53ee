"""TQC (Kuznetsov et al. 2020) over exposures, from a clone of the teacher's positions by likelihood.

A mean-squared clone of positions answers with fractions of them, and every wobble of a fraction costs; so the clone is
by likelihood under the actor's squashed Gaussian, and exposures are snapped to the nearest position before they trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import TQC
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from agents.algorithms.off_policy import LabelledStates, OffPolicyConfig, bound_clone, labelled_states, prefill
from agents.algorithms.sb3_vec_env import training_env
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.exposure_head import exposure_arguments
from agents.policies.heads import bind

INSIDE = 0.97  #: the squashed Gaussian cannot reach 1; positions are cloned as this share of themselves


@dataclass(frozen=True)
class TQCConfig(OffPolicyConfig):
    """How TQC goes on from a clone of the teacher's positions by likelihood.

    Attributes:
        temperature: weight of the entropy, in percent.
        cloning_steps: gradient steps of the clone by likelihood.
        warm_up: gradient steps in which only the critics learn.
        actor_rate: learning rate of the actor, as a share of the critics'.
        labelled: states labelled for it.
    """

    steps: int = 200_000
    gradient_steps: int = 2
    temperature: float = 0.005
    cloning_steps: int = 1_500
    warm_up: int = 800
    actor_rate: float = 0.1
    labelled: int = 200_000


class SnappedExposures(VecEnvWrapper):
    """Trades the position nearest to each exposure."""

    def __init__(self, venv: Any, positions: tuple[float, ...]) -> None:
        super().__init__(venv)
        self._positions = np.asarray(positions, np.float32)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Snap the actions (N, 1) for `step_wait`."""
        nearest = np.abs(actions - self._positions[None, :]).argmin(axis=1)
        self.venv.step_async(self._positions[nearest][:, None])

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


class WarmedUpTQC(TQC):
    """sb3-contrib's TQC whose actor stands still until the critics know something, and then learns slowly."""

    warm_up: int = 0
    actor_rate: float = 1.0

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        for group in self.actor.optimizer.param_groups:
            group["lr"] *= 0.0 if self._n_updates < self.warm_up else self.actor_rate


def new_tqc(clone: Agent, train: EmbeddedMarkets, config: TQCConfig, *, seed: int) -> TQC:
    """TQC on the training markets, started from the teacher's positions and prefilled with the clone's trades."""
    settings = clone.settings
    env = training_env(train, settings, num_envs=config.num_envs, episode_bars=config.episode_bars, continuous=True)
    algorithm = WarmedUpTQC(
        "MultiInputPolicy",
        SnappedExposures(env, settings.positions),
        ent_coef=config.temperature,
        policy_kwargs=exposure_arguments(clone.shape),
        **config.arguments(seed),
    )
    bind(algorithm.policy, train.table)
    if config.from_clone:
        algorithm.warm_up, algorithm.actor_rate = config.warm_up, config.actor_rate
        states = labelled_states(train, clone, config.labelled, seed)
        clone_by_likelihood(algorithm.policy.actor, states, settings.positions, config.cloning_steps)
    if config.prefill:
        guide = bound_clone(clone, train) if config.from_clone else None
        prefill(algorithm, guide, settings.positions, config.prefill, dwell=16)
    return algorithm


def clone_by_likelihood(actor: Any, states: LabelledStates, positions: tuple[float, ...], steps: int) -> float:
    """Train an actor to make the teacher's exposures likely; returns the last mean log-likelihood.

    Args:
        actor: a squashed Gaussian one.
        states: with the index of the teacher's position.
        positions: target exposures.
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
