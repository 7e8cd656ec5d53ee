"""Behaviour cloning of demonstrations, through `imitation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.cloning.config_ranges import require_numbers
from agents.cloning.demonstrations import Batches, Demonstrations
from agents.cloning.imitation_extra import imitation_is_missing
from agents.seeds import spread_seed
from cryptoenv.progress import tqdm
from pretrain.data.teachers import ORACLE_LABELS
from pretrain.extractor.value_decisions import VALUE_DECISIONS

try:
    from imitation.algorithms import bc
    from imitation.data import types
    from imitation.util import logger as imitation_logger
except ModuleNotFoundError as error:
    raise imitation_is_missing(error) from error


@dataclass(frozen=True)
class CloningConfig:
    """How the clone is trained.

    Attributes:
        samples: demonstrations collected.
        dwell: mean bars for which a random position is held while they are collected.
        epochs: passes over them.
        batch_size: states per gradient step.
        learning_rate: of Adam at the start; it falls linearly to a tenth.
        entropy_weight: weight of the entropy bonus.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    samples: int = 400_000
    dwell: int = 16
    epochs: int = 8
    batch_size: int = 2048
    learning_rate: float = 2e-3
    entropy_weight: float = 1e-3

    def __post_init__(self) -> None:
        require_numbers(self)


def cloning_of(label_kind: str) -> CloningConfig:
    """How labels of a kind are cloned: the oracle's, and what an extractor's values decide, at length; labels of bars,
    mostly noise, in two slow passes.

    On validation markets of "standard" eight passes over labels of bars gave 0.41 of the optimum, two slow ones 0.72.
    """
    clean = label_kind in (ORACLE_LABELS, VALUE_DECISIONS)
    return CloningConfig() if clean else CloningConfig(epochs=2, learning_rate=3e-4)


class _ReadyBatches:
    """Batches in the form that `imitation.algorithms.bc` takes."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._batches:
            observations = types.DictObs({"index": batch.index, "account": batch.account})
            yield {"obs": observations, "acts": batch.actions}


def clone(
    policy: ActorCriticPolicy,
    demonstrations: Demonstrations,
    config: CloningConfig,
    *,
    seed: int,
    log_folder: Path | None = None,
    progress: bool = True,
) -> ActorCriticPolicy:
    """Train `policy`, in place, to do what the demonstrations do; returns it.

    Args:
        policy: on the embeddings of the markets that the demonstrations number.
        demonstrations: labelled states.
        config: batch size, epochs and rates.
        seed: of the order of the batches, and of what `imitation` draws.
        log_folder: TensorBoard log, or None.
        progress: show a progress bar.
    """
    order, drawn = (np.random.default_rng(spread_seed(seed, part)) for part in ("order", "imitation"))
    batches = Batches(demonstrations, config.batch_size, order)
    if log_folder is None:  # `configure` would leave an empty folder behind, in the place for temporary files
        logger = imitation_logger.HierarchicalLogger(Logger(None, []), [])
    else:
        logger = imitation_logger.configure(str(log_folder), ["tensorboard"])
    demonstrated: Any = _ReadyBatches(batches)  # an iterable of batches; imitation's own annotation is narrower
    trainer = bc.BC(
        observation_space=policy.observation_space,
        action_space=policy.action_space,
        rng=drawn,
        policy=policy,
        demonstrations=demonstrated,
        batch_size=config.batch_size,
        optimizer_kwargs={"lr": config.learning_rate},
        ent_weight=config.entropy_weight,
        device="cpu",
        custom_logger=logger,
    )
    total = config.epochs * len(batches)
    bar = tqdm(total=total, desc="cloning", unit="batch", disable=not progress)

    rates = iter(np.linspace(config.learning_rate, 0.1 * config.learning_rate, total))

    def after_batch() -> None:
        bar.update()
        rate = next(rates)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate

    with bar:
        trainer.train(n_epochs=config.epochs, on_batch_end=after_batch, log_interval=20, progress_bar=False)
    return policy
