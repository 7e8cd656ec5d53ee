"""`fit`: a task, a model and batches, on Lightning's Trainer; every model of the package is trained by it."""

from __future__ import annotations

import logging
import math
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from cryptoenv.files.durable_files import make_folder
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.files.typed_values import written_values
from cryptoenv.progress import tqdm
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.generations import CheckpointError, Generations
from pretrain.fitting.mlflow_tracking import folder_tag, mlflow_is_missing, tracking_uri
from pretrain.fitting.transfer import to_device

MONITOR = "validation/loss"
CHECKPOINTS, LOG = "checkpoints", "tensorboard"


class Measured(NamedTuple):
    """What a task says of a model on a batch: the loss to minimise, figures to log beside it, windows in the batch.

    Loss and figures are scalars.
    """

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
        resume: go on from `out`'s newest good checkpoint; from the start where training ended before the first one.
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
    """Minimises a task's loss with AdamW: a linear warm-up, then a cosine to zero over the budget, or no change."""

    def __init__(self, model: nn.Module, task: Task, training: PretrainingConfig) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.training_config = training
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
        """The loss of one batch, a scalar."""
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

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """A batch, of whatever shape, on the device of the network."""
        if device.type != "cuda":
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return apply_to_collection(batch, Tensor, to_device, device)

    def on_train_batch_end(self, *_: Any) -> None:
        """Stops when the CPU seconds are used up, or after the steps that are to be taken of the schedule."""
        if self.spent >= 1.0 or _taken(self.global_step, self.training_config):
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
        if self.training_config.schedule == "constant":
            return 1.0
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (spent - warm_up) / (1.0 - warm_up))))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning leaves out: the random state (dropout draws from it) and the seconds used."""
        checkpoint["random_state"], checkpoint["cpu_seconds"] = torch.get_rng_state(), self.cpu_seconds

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
    training: PretrainingConfig,
    options: FitOptions,
    *,
    seed: int,
    data: str = "",
    made_of: Mapping[str, Any] | None = None,
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
        made_of: further plain values that must not have changed in a resumed run (architecture, what it starts from).

    Returns:
        What was measured with the best weights, the steps taken and the CPU seconds used.

    Raises:
        Diverged: the loss is not finite. FileExistsError: `options.out` holds checkpoints of another run, and
            `resume` was not asked for. CheckpointError: the run to resume has no good checkpoint left.
            FolderLockedError: another training writes there. ConfigError: the run to resume has another seed, data or
            training. ImportError: MLflow is asked for and not installed.
    """
    identity = {"seed": seed, "data": data} | written_values(training) | dict(made_of or {})
    identity.pop("stop_after", None)  # how far it goes is not what it is made of
    threads = torch.get_num_threads()
    torch.set_num_threads(training.threads)
    try:
        with tempfile.TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            folder = Path(scratch) if options.out is None else options.out / CHECKPOINTS
            make_folder(folder)
            with folder_lock(folder, f"the training in {options.out}"):
                return _fit(TaskLearner(model, task, training), batches, Generations(folder, identity), options)
    finally:
        torch.set_num_threads(threads)


def _fit(
    learner: TaskLearner,
    batches: tuple[Iterable[Any], Iterable[Any]],
    generations: Generations,
    options: FitOptions,
) -> dict[str, float]:
    refuse_earlier_run(options)
    before = generations.newest()
    if before is None:
        _refuse_removed(options)
    generations.begin()
    keeper = _Keeper(generations, options.on_validation)
    trainer = _trainer(learner.training_config, keeper, options)
    if before is None or not _ended(_loaded(before), learner.training_config):
        with _interrupts_raised():
            trainer.fit(learner, *batches, ckpt_path=before, weights_only=True)
    made = generations.newest(fall_back=False)
    kept = {} if made is None else _loaded(made)
    state = kept.get("callbacks", {}).get(keeper.state_key, {})
    if not state.get("measured"):
        rate = learner.training_config.learning_rate
        raise Diverged(f"training diverged: {MONITOR} is not finite; try less than {rate=}")
    learner.model.load_state_dict(state["best"])
    if learner.training_config.devices > 1 or trainer.global_step == 0:  # what others did is only in their checkpoint
        steps, seconds = kept["global_step"], kept["cpu_seconds"]
    else:
        steps, seconds = trainer.global_step, learner.cpu_seconds
    return state["measured"] | {"steps": float(steps), "cpu_seconds": round(seconds, 2)}


@contextmanager
def _interrupts_raised() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt: Lightning makes an exit of it and leaves the signal ignored."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGINT, before)


def refuse_earlier_run(options: FitOptions) -> None:
    """Check that a run may write into `options.out`.

    Raises:
        FileExistsError: it holds checkpoints, and they are not to be resumed.
    """
    if options.out is None or options.resume:
        return
    folder = options.out / CHECKPOINTS
    if Generations(folder, {}).hold_a_training():
        raise FileExistsError(f"{folder} holds checkpoints of an earlier run: resume it, or choose another folder")


def _refuse_removed(options: FitOptions) -> None:
    """Refuse to begin anew what a log says was trained before; say that training begins at the start."""
    if options.out is None or not options.resume:
        return
    folder = options.out / CHECKPOINTS
    if any((options.out / LOG).glob("events.*")) and not Generations(folder, {}).begun():
        raise CheckpointError(f"{options.out} holds the log of a training, but {folder} holds none of its checkpoints: "
                              "put them back, or begin anew in another folder")  # fmt: skip
    warnings.warn(f"{folder} holds no checkpoint to resume from: training begins at its start", stacklevel=5)


def _stopped_early(checkpoint: dict[str, Any]) -> bool:
    """Whether patience had run out: going on would train longer than an uninterrupted run does."""
    states = [state for name, state in checkpoint.get("callbacks", {}).items() if name.startswith("EarlyStopping")]
    return any(state["wait_count"] >= state["patience"] for state in states)


def _taken(step: int, training: PretrainingConfig) -> bool:
    """Whether the steps that are to be taken of the schedule are taken."""
    return training.stop_after is not None and step >= training.stop_after


def _ended(checkpoint: dict[str, Any], training: PretrainingConfig) -> bool:
    """Whether a resumed training has nothing left to do."""
    return _stopped_early(checkpoint) or _taken(int(checkpoint["global_step"]), training)


def _loaded(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's content, plain values and tensors only."""
    return dict(torch.load(checkpoint, map_location="cpu", weights_only=True))


def _trainer(training: PretrainingConfig, keeper: Callback, options: FitOptions) -> lightning.Trainer:
    callbacks: list[Callback] = [EarlyStopping(MONITOR, patience=training.patience, check_finite=True), keeper]
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


def uses_bfloat16(training: PretrainingConfig) -> bool:
    """Whether matrices are multiplied in bfloat16: when asked for, or on a GPU that has it."""
    if training.precision == "auto":
        return training.accelerator != "cpu" and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return training.precision == "bfloat16"


def _loggers(options: FitOptions) -> list[Logger] | bool:
    loggers: list[Logger] = []
    if options.out is not None:
        loggers.append(TensorBoardLogger(str(options.out), name=LOG, version=""))
    if options.mlflow is not None:
        from lightning.pytorch.loggers import MLFlowLogger

        try:
            tags = {} if options.out is None else folder_tag(options.out)
            loggers.append(MLFlowLogger(options.mlflow, tracking_uri=tracking_uri(), tags=dict(tags)))
        except ModuleNotFoundError as error:
            raise mlflow_is_missing(error) from error
    return loggers or False


class _TrainingBar(TQDMProgressBar):
    """One bar over all steps, or plain lines; validation is short and shows as figures at its end."""

    def init_train_tqdm(self) -> Tqdm:
        return tqdm(desc=self.train_description, disable=self.is_disabled, dynamic_ncols=True, smoothing=0)

    def init_validation_tqdm(self) -> Tqdm:
        bar = Tqdm(disable=True)
        self.val_progress_bar = bar
        return bar


class _Keeper(Checkpoint):
    """Saves, at each measurement, the state to resume from; the best weights so far and their figures are part of it.

    What was best is thus never apart from what was measured of it, wherever the folder is moved to. A measurement that
    is not finite is not saved: the last good checkpoint stays.
    """

    def __init__(self, generations: Generations, tell: Callable[[dict[str, float]], None] | None) -> None:
        self._generations, self._tell = generations, tell
        self._measured: dict[str, float] = {}
        self._best: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keeps and saves; Lightning runs it after all other callbacks, so that their state is of the same moment."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items() if "validation/" in name}
        if math.isfinite(found[MONITOR]):
            if not self._measured or found[MONITOR] < self._measured[MONITOR]:
                weights = pl_module.get_submodule("model").state_dict()
                self._measured = found
                self._best = {name: value.detach().cpu().clone() for name, value in weights.items()}
            self._save(trainer)
        elif self._measured and trainer.is_global_zero:
            warnings.warn(f"{MONITOR} is {found[MONITOR]} after {trainer.global_step} steps: training ends, and the "
                          "best weights before it are kept", stacklevel=1)  # fmt: skip
        if self._tell is not None:
            self._tell(found)

    def _save(self, trainer: lightning.Trainer) -> None:
        if trainer.is_global_zero:
            self._generations.save(trainer.global_step, trainer.save_checkpoint)
        else:  # every process takes part in making a checkpoint, the first one writes it
            trainer.save_checkpoint(self._generations.folder)

    def state_dict(self) -> dict[str, Any]:
        """Figures and weights that were best."""
        return {"measured": self._measured, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them up."""
        self._measured, self._best = state_dict["measured"], state_dict["best"]


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
