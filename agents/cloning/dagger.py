"""DAgger: the clone trades, the teacher says what it would have done there, and the clone learns that too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from imitation.algorithms.dagger import LinearBetaSchedule

from agents.cloning.behaviour_cloning import CloningConfig, clone
from agents.cloning.config_ranges import require_numbers
from agents.cloning.demonstrations import Demonstrations, collect
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent, AgentPolicy
from agents.seeds import spread_seed


@dataclass(frozen=True)
class DaggerConfig:
    """How a clone is corrected on the states it comes to by itself.

    Attributes:
        rounds: of trading and cloning; 0 leaves the clone as it is.
        samples: states labelled in each round.
        rounds_with_teacher: over which the share of steps that the teacher decides falls linearly from 1 to 0.
        epochs: passes over all demonstrations so far, in each round.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    rounds: int = 0
    samples: int = 100_000
    rounds_with_teacher: int = 1
    epochs: int = 2

    def __post_init__(self) -> None:
        require_numbers(self)


def dagger(
    agent: Agent,
    demonstrations: Demonstrations,
    train: EmbeddedMarkets,
    config: DaggerConfig,
    cloning: CloningConfig,
    *,
    seed: int,
    progress: bool = True,
) -> Demonstrations:
    """Dataset aggregation (Ross et al. 2011, algorithm 3.1): trains `agent.policy`, in place.

    Each round trades the training markets with the clone (the teacher deciding a falling share of steps), has the
    teacher label every state visited, and clones all labels so far, with `imitation`'s behaviour cloning and schedule.
    `imitation`'s own `DAggerTrainer` writes trajectories to disk and reads them a sample at a time, which at 10^5
    states a round takes longer than all the rest.

    Args:
        agent: a clone whose policy has the embeddings of `train` bound.
        demonstrations: what it was cloned from.
        train: markets with the teacher's labels for any position held.
        config: rounds and samples.
        cloning: batch size and rates; its epochs are replaced.
        seed: of starts, mixtures and batches.
        progress: show progress bars.

    Returns:
        All demonstrations, the first ones included.
    """
    share = LinearBetaSchedule(config.rounds_with_teacher)
    for number in range(config.rounds):
        found = collect(
            train.labelled, agent.settings, samples=config.samples, seed=spread_seed(seed, f"states of round {number}"),
            visitor=AgentPolicy(agent, agent.policy), teacher_share=share(number), progress=progress,
        )  # fmt: skip
        demonstrations = Demonstrations(
            *(np.concatenate(pair) for pair in zip(_arrays(demonstrations), _arrays(found), strict=True))
        )
        clone(
            agent.policy, demonstrations, replace(cloning, epochs=config.epochs),
            seed=spread_seed(seed, f"cloning of round {number}"), progress=progress,
        )  # fmt: skip
    return demonstrations


def _arrays(demonstrations: Demonstrations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return demonstrations.index, demonstrations.account, demonstrations.actions
