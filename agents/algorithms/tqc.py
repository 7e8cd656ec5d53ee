"""TQC (Kuznetsov et al. 2020) over exposures, from a clone of the teacher's positions by likelihood.

Exposures are snapped to the nearest position before they trade, unless the agent's actions are continuous.
"""

from __future__ import annotations

from dataclasses import dataclass

from sb3_contrib import TQC

from agents.algorithms.exposures import INSIDE as INSIDE  # where it was before
from agents.algorithms.exposures import SlowActor, new_exposure_learner
from agents.algorithms.exposures import clone_by_likelihood as clone_by_likelihood  # where it was before
from agents.algorithms.off_policy import OffPolicyConfig
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent


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


class WarmedUpTQC(SlowActor, TQC):
    """sb3-contrib's TQC with a slow actor."""


def new_tqc(clone: Agent, train: EmbeddedMarkets, config: TQCConfig, *, seed: int) -> TQC:
    """TQC on the training markets, started from the teacher's positions and prefilled with the clone's trades."""
    return new_exposure_learner(WarmedUpTQC, clone, train, config, seed)  # type: ignore[no-any-return]
