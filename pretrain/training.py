"""`fit_extractor`: from labelled markets to a trained extractor, on Lightning's Trainer."""

from __future__ import annotations

import logging
import math
import platform
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from pretrain.artifact import Extractor, Provenance
from pretrain.config import ExtractorConfig, TrainingConfig
from pretrain.learner import ExtractorLearner
from pretrain.scaler import RobustScaler
from pretrain.transformer import TransformerExtractor
from pretrain.windows import LabelledMarket, OrderedBatches, ShuffledBatches, WindowDataset

MONITOR = "validation/loss"
# Validation needs no gradients: larger batches are faster.
VALIDATION_BATCH = 2048


def fit_extractor(
    train: Sequence[LabelledMarket],
    validation: Sequence[LabelledMarket],
    config: ExtractorConfig | None = None,
    training: TrainingConfig | None = None,
    *,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Extractor:
    """Trains an extractor on labelled decision rows and keeps the weights that were best on validation rows.

    On CPU, the same seed, data and configuration give the same weights, bit for bit, unless `training.max_seconds`
    cuts a run short. The scaler is fitted on `train` only. Torch's global random state and thread count are left
    as they were.

    Args:
        train: markets (or ranges of markets) to learn from.
        validation: others, to stop early on and to choose weights by; never the ones that results are reported on.
        config: architecture; feature names are taken from the data.
        training: budget, optimiser and loss weights.
        seed: of the initial weights, the order of windows, and dropout.
        out: folder for the TensorBoard log (`out/tensorboard`); nothing is written when None. `Extractor.save` keeps
            the result.
        progress: whether to show a progress bar.

    Raises:
        ConfigError: the configuration does not fit the markets.
        ValueError: no labelled decisions, or markets or labels that differ from each other.
        RuntimeError: the loss is not finite.
    """
    training = TrainingConfig() if training is None else training
    if not train:
        raise ValueError("train: at least one labelled market is needed")
    config = (ExtractorConfig() if config is None else config).for_market(train[0].market)
    dataset, held_out = (_dataset(part, config, name) for part, name in ((train, "train"), (validation, "validation")))
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    threads = torch.get_num_threads()
    torch.set_num_threads(training.threads)
    try:
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            learner = ExtractorLearner(TransformerExtractor(config, scaler), training)
            order = ShuffledBatches(dataset, training.batch, training.steps, seed)
            metrics = _train(learner, order, held_out, None if out is None else Path(out), progress)
    finally:
        torch.set_num_threads(threads)
    provenance = Provenance(train[0].label_kind, dataset.hash, _versions(), metrics)
    return Extractor(learner.model, scaler, provenance)


def _dataset(markets: Sequence[LabelledMarket], config: ExtractorConfig, name: str) -> WindowDataset:
    if not markets:
        raise ValueError(f"{name}: at least one labelled market is needed")
    for number, item in enumerate(markets):
        config.for_market(item.market)
        held = item.labels.shape[1]
        if held != len(config.positions):
            raise ValueError(f"{name}[{number}]: labels for {held} positions, but config.positions={config.positions}")
        if item.regimes is not None and config.regimes and int(item.regimes.max()) >= config.regimes:
            raise ValueError(f"{name}[{number}]: regime {int(item.regimes.max())} >= config.regimes={config.regimes}")
    return WindowDataset(markets, config.window, config.horizons)


def _train(
    learner: ExtractorLearner, train: ShuffledBatches, validation: WindowDataset, out: Path | None, progress: bool
) -> dict[str, float]:
    """Fits in place, leaves the best weights in the learner's model, and returns what was measured."""
    training = learner.training_config
    best = _BestWeights()
    callbacks: list[Callback] = [best, EarlyStopping(MONITOR, patience=training.patience, check_finite=True)]
    if progress:
        callbacks.append(_TrainingBar(refresh_rate=20))
    measurements = max(1, round(training.steps / training.validate_every))
    trainer = lightning.Trainer(
        accelerator=training.accelerator,
        devices=1,
        max_steps=training.steps,
        gradient_clip_val=training.gradient_clip,
        val_check_interval=training.steps // measurements,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        logger=False if out is None else TensorBoardLogger(str(out), name="tensorboard", version=""),
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
    )
    rows = _spread(len(validation), training.validation_windows)
    held_out = OrderedBatches(validation, VALIDATION_BATCH, rows)
    trainer.fit(learner, train, held_out)
    if not math.isfinite(best.metrics[MONITOR]):
        rate = training.learning_rate
        raise RuntimeError(f"training diverged: {MONITOR} is {best.metrics[MONITOR]}; try less than {rate=}")
    learner.model.load_state_dict(best.weights)
    return best.metrics | {"steps": float(trainer.global_step), "cpu_seconds": round(learner.cpu_seconds, 2)}


class _TrainingBar(TQDMProgressBar):
    """One bar over all steps; validation is short and shows as figures at its end."""

    def init_validation_tqdm(self) -> Tqdm:
        bar = Tqdm(disable=True)
        self.val_progress_bar = bar
        return bar


class _BestWeights(Callback):
    """Keeps a copy of the weights with the lowest validation loss, and what was measured with them."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        measured = {name: float(value) for name, value in trainer.callback_metrics.items() if "validation/" in name}
        if not self.weights or measured[MONITOR] < self.metrics[MONITOR]:
            self.metrics = measured
            model: Any = pl_module.model
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _spread(length: int, count: int) -> NDArray[np.int64]:
    """At most `count` rows out of `length`, evenly spread."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "numpy": np.__version__}
    return found | {"torch": str(torch.__version__), "lightning": lightning.__version__}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notes on devices, workers and loggers; its errors still show."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
