"""`fit`: a task, a model and batches, on Lightning's Trainer; every model of the package is trained by it."""

from __future__ import annotations

import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch import Tensor, nn

from pretrain.config import ConfigError, TrainingConfig
from pretrain.mlflow_tracking import mlflow_is_missing, tracking_uri

MONITOR = "validation/loss"
BEST, LAST, CHECKPOINTS = "best.ckpt", "last.ckpt", "checkpoints"


class Measured(NamedTuple):
    """What a task says of a model on a batch: the loss to minimise, figures to log beside it, windows in the batch."""

    loss: Tensor
    figures: Mapping[str, Tensor]
    size: int


class Task(Protocol):
    """What to predict: how wrong a model is on a batch."""

    def measure(self, model: Any, batch: Any) -> Measured:
        """The loss of `model` on `batch`, and what is worth logging."""


@dataclass(frozen=True)
class FitOptions:
    """What a fit leaves behind and shows; no result depends on it.

    Attributes:
        out: folder of the TensorBoard log (`tensorboard/`) and of the checkpoints (`checkpoints/`); None: neither.
        resume: go on from `out`'s last checkpoint where there is one.
        progress: show a progress bar.
        mlflow: also log to MLflow, an experiment of this name (`MLFLOW_TRACKING_URI` says where,
            `mlflow.db` in the working directory by default).
        on_validation: called with the figures of every measurement; what it raises ends the training.
    """

    out: Path | None = None
    resume: bool = False
    progress: bool = True
    mlflow: str | None = None
    on_validation: Callable[[dict[str, float]], None] | None = None


class Diverged(ValueError, RuntimeError):
    """The loss is not finite."""


class TaskLearner(lightning.LightningModule):
    """Minimises a task's loss with AdamW, a linear warm-up and a cosine to zero over the budget."""

    def __init__(self, model: nn.Module, task: Task, training: TrainingConfig, identity: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.training_config = training
        self.identity = identity
        self._started = time.process_time()
        self._random_state: Tensor | None = None

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of this process since training began, those before an interruption included."""
        return time.process_time() - self._started

    @property
    def spent(self) -> float:
        """Share of the budget used, 0 to 1 (or a little more): steps or CPU seconds, whichever is further."""
        config = self.training_config
        by_steps = self.global_step / config.steps
        return by_steps if config.max_seconds is None else max(by_steps, self.cpu_seconds / config.max_seconds)

    def training_step(self, batch: Any, _: int) -> Tensor:
        """The loss of one batch."""
        measured = self.task.measure(self.model, batch)
        self.log("train/loss", measured.loss, prog_bar=True, batch_size=measured.size)
        return measured.loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Logs the loss and the task's figures of one batch."""
        measured = self.task.measure(self.model, batch)
        shared = self.training_config.devices > 1
        self.log(MONITOR, measured.loss, prog_bar=True, batch_size=measured.size, sync_dist=shared)
        figures = {f"validation/{name}": value for name, value in measured.figures.items()}
        self.log_dict(figures, batch_size=measured.size, sync_dist=shared)

    def on_train_batch_end(self, *_: Any) -> None:
        """Stops when the CPU seconds are used up."""
        if self.spent >= 1.0:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """AdamW and its schedule."""
        config = self.training_config
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=not uses_bfloat16(config),  # Lightning clips no gradients of a fused optimiser in mixed precision
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: self._rate(self.spent))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, spent: float) -> float:
        """Share of the learning rate after a share `spent` of the budget."""
        warm_up = self.training_config.warm_up
        if spent < warm_up:
            return (spent + 1.0 / self.training_config.steps) / (warm_up + 1.0 / self.training_config.steps)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (spent - warm_up) / (1.0 - warm_up))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out: the random state (dropout draws from it) and the seconds used."""
        checkpoint["random_state"], checkpoint["cpu_seconds"] = torch.get_rng_state(), self.cpu_seconds
        checkpoint["identity"] = self.identity

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes up what `on_save_checkpoint` added."""
        self._random_state = checkpoint["random_state"]
        self._started = time.process_time() - checkpoint["cpu_seconds"]

    def on_train_start(self) -> None:
        """After an interruption, goes on drawing where the checkpoint stood."""
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)


def fit(
    model: nn.Module,
    task: Task,
    batches: tuple[Iterable[Any], Iterable[Any]],
    training: TrainingConfig,
    options: FitOptions,
    *,
    seed: int,
    data: str = "",
) -> dict[str, float]:
    """Trains `model` in place and leaves the weights in it that were best on the validation batches.

    On CPU, the same seed, batches and configuration give the same weights, bit for bit, also through any number of
    interruptions and resumptions, unless `training.max_seconds` cuts a run short.

    Args:
        model: what is trained; its initial weights are the caller's.
        task: how wrong the model is.
        batches: training batches (`training.steps` of them; `state_dict` and `load_state_dict` let a resumed run go
            on where it stood) and validation batches.
        training: budget, optimiser, devices.
        options: what is written and shown.
        seed: of dropout.
        data: a hash of what the batches come from; a run is only resumed on the same.

    Returns:
        What was measured with the best weights, the steps taken and the CPU seconds used.

    Raises:
        Diverged: the loss is not finite. FileExistsError: `options.out` holds checkpoints of another run, and
            `resume` was not asked for. ConfigError: the run to resume has another seed, data or training. ImportError:
            MLflow is asked for and not installed.
    """
    identity = {"seed": seed, "data": data} | asdict(training)
    threads = torch.get_num_threads()
    torch.set_num_threads(training.threads)
    try:
        with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            folder = Path(scratch) if options.out is None else options.out / CHECKPOINTS
            return _fit(TaskLearner(model, task, training, identity), batches, folder, options)
    finally:
        torch.set_num_threads(threads)


def _fit(
    learner: TaskLearner, batches: tuple[Iterable[Any], Iterable[Any]], folder: Path, options: FitOptions
) -> dict[str, float]:
    refuse_earlier_run(options)
    last = folder / LAST
    training = learner.training_config
    best = _Checkpoints(folder, options.on_validation)
    trainer = _trainer(training, best, options)
    before = _loaded(last)
    _require_same(before, learner.identity, last)
    if not _stopped_early(before):
        trainer.fit(learner, *batches, ckpt_path=str(last) if before else None, weights_only=True)
    kept = _loaded(folder / BEST)
    measured: dict[str, float] = kept.get("callbacks", {}).get(best.state_key, {}).get("measured", {})
    if not math.isfinite(measured.get(MONITOR, math.nan)):
        rate = training.learning_rate
        raise Diverged(f"training diverged: {MONITOR} is {measured.get(MONITOR)}; try less than {rate=}")
    learner.load_state_dict(kept["state_dict"])
    if training.devices > 1 or trainer.global_step == 0:  # what others did is only in their checkpoint
        after = _loaded(last)
        steps, seconds = after["global_step"], after["cpu_seconds"]
    else:
        steps, seconds = trainer.global_step, learner.cpu_seconds
    return measured | {"steps": float(steps), "cpu_seconds": round(seconds, 2)}


def refuse_earlier_run(options: FitOptions) -> None:
    """Check that a run may write into `options.out`.

    Raises:
        FileExistsError: it holds checkpoints, and they are not to be resumed.
    """
    if options.out is None or options.resume:
        return
    folder = options.out / CHECKPOINTS
    if (folder / LAST).exists():
        raise FileExistsError(f"{folder} holds checkpoints of an earlier run: resume it, or choose another folder")


def _require_same(checkpoint: dict[str, Any], identity: dict[str, Any], path: Path) -> None:
    """Refuse to go on with another training than the one that was interrupted."""
    for name, now in identity.items() if checkpoint else ():
        if (then := checkpoint["identity"].get(name)) != now:
            raise ConfigError(f"{path} is of another training: {name} was {then!r} and is {now!r}")


def _stopped_early(checkpoint: dict[str, Any]) -> bool:
    """Whether patience had run out: going on would train longer than an uninterrupted run does."""
    states = [state for name, state in checkpoint.get("callbacks", {}).items() if name.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in states)


def _loaded(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's content, plain values and tensors only; empty where there is none."""
    return torch.load(checkpoint, map_location="cpu", weights_only=True) if checkpoint.exists() else {}


def _trainer(training: TrainingConfig, best: ModelCheckpoint, options: FitOptions) -> lightning.Trainer:
    callbacks: list[Callback] = [EarlyStopping(MONITOR, patience=training.patience, check_finite=True), best]
    if options.progress:
        callbacks.append(_TrainingBar(refresh_rate=20))
    measurements = max(1, round(training.steps / training.validate_every))
    return lightning.Trainer(
        accelerator=training.accelerator,
        devices=training.devices,
        strategy="auto" if training.devices == 1 else "ddp_spawn",
        precision="bf16-mixed" if uses_bfloat16(training) else "32-true",
        max_steps=training.steps,
        gradient_clip_val=training.gradient_clip,
        val_check_interval=training.steps // measurements,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        logger=_loggers(options),
        callbacks=callbacks,
        enable_model_summary=False,
        enable_progress_bar=options.progress,
        use_distributed_sampler=False,
    )


def uses_bfloat16(training: TrainingConfig) -> bool:
    """Whether matrices are multiplied in bfloat16: when asked for, or on a GPU that has it."""
    if training.precision == "auto":
        return training.accelerator != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return training.precision == "bfloat16"


def _loggers(options: FitOptions) -> list[Logger] | bool:
    loggers: list[Logger] = []
    if options.out is not None:
        loggers.append(TensorBoardLogger(str(options.out), name="tensorboard", version=""))
    if options.mlflow is not None:
        from lightning.pytorch.loggers import MLFlowLogger

        try:
            loggers.append(MLFlowLogger(options.mlflow, tracking_uri=tracking_uri()))
        except ModuleNotFoundError as error:
            raise mlflow_is_missing(error) from error
    return loggers or False


class _TrainingBar(TQDMProgressBar):
    """One bar over all steps; validation is short and shows as figures at its end."""

    def init_validation_tqdm(self) -> Tqdm:
        bar = Tqdm(disable=True)
        self.val_progress_bar = bar
        return bar


class _Checkpoints(ModelCheckpoint):
    """Saves, at each measurement, the state to resume from and, where it is the best so far, the weights to keep."""

    def __init__(self, folder: Path, tell: Callable[[dict[str, float]], None] | None) -> None:
        self._tell = tell
        super().__init__(
            folder,
            BEST.removesuffix(".ckpt"),
            MONITOR,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )
        self.measured: dict[str, float] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if "validation/" in name}
        if not self.measured or found[MONITOR] < self.measured[MONITOR]:
            self.measured = found
        super().on_validation_end(trainer, pl_module)
        if self._tell is not None:
            self._tell(found)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"measured": self.measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.measured = state_dict["measured"]
        super().load_state_dict(state_dict)


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
