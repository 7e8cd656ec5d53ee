"""How a model is trained: a frozen, validated configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types

PRECISIONS = ("auto", "float32", "bfloat16")
SCHEDULES = ("cosine", "constant")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
_BUDGETS = {
    **dict.fromkeys(("steps", "validate_every", "validation_windows", "patience"), Range(1, 10**12)),
    "batch": Range(1, 2**20), "threads": Range(1, 4_096), "devices": Range(1, 4_096),
    **dict.fromkeys(("learning_rate", "gradient_clip", "max_seconds"), Range(0.0, math.inf, above=True)),
    **dict.fromkeys(
        ("weight_decay", "quantile_weight", "direction_weight", "regime_weight", "memory_weight", "mean_weight"),
        Range(0.0, math.inf),
    ),
    "epochs": Range(0.0, 1e9, above=True), "stop_after": Range(1, 10**12),
}  # fmt: skip


@dataclass(frozen=True)
class PretrainingConfig:
    """How `fit` trains.

    `steps` optimiser steps of `batch` windows with AdamW: the learning rate rises linearly over the first `warm_up`
    share and falls to zero along a cosine (Loshchilov and Hutter 2017). About every `validate_every` steps, a whole
    number of times, the loss is measured on at most `validation_windows` windows, evenly spread; after `patience`
    measurements without a gain training stops, and the best weights are kept. `max_seconds` limits the CPU seconds of
    the process; the schedule then follows whichever budget runs out first, so that the learning rate always reaches its
    end (and the result is no longer a function of the seed alone). `*_weight` weigh the auxiliary heads against the
    action loss (1), `memory_weight` the action loss of a recurrent memory alone (whose belief in regimes counts as the
    regime head does). `threads` are torch's on CPU,
    `accelerator` is Lightning's ("cpu", "gpu", "auto"); with `devices` > 1 the batches are shared out among as many
    processes (Lightning's distributed data parallel). `precision` "auto" means bfloat16 where a GPU has it, else
    float32; weights stay float32 either way. With `checkpoint_gradients` a transformer keeps only what goes into each
    block, and computes the block again where gradients need it (Chen et al. 2016): less memory, more time, the same
    weights. `schedule` "constant" leaves the learning rate where the warm-up ends. `epochs`, where given, says the
    steps by the number of windows instead (`over`). `mean_weight` weighs the squared error of a forecaster's mean.
    `stop_after` ends training after so many steps, in the middle of the schedule of `steps`; a run that was stopped so
    may go on with a larger one, and is then the run that was never stopped.

    Raises:
        ConfigError: a value is out of range.
    """

    steps: int = 2_000
    batch: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warm_up: float = 0.05
    gradient_clip: float = 1.0
    validate_every: int = 250
    validation_windows: int = 8_192
    patience: int = 4
    quantile_weight: float = 0.05
    direction_weight: float = 0.05
    regime_weight: float = 0.2
    memory_weight: float = 1.0
    max_seconds: float | None = None
    threads: int = 1
    accelerator: str = "cpu"
    devices: int = 1
    precision: str = "auto"
    checkpoint_gradients: bool = later_field(False)
    schedule: str = later_field("cosine")
    epochs: float | None = later_field(None)
    mean_weight: float = later_field(1.0)
    stop_after: int | None = later_field(None)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _BUDGETS)
        require(self.accelerator in ACCELERATORS, "accelerator", self.accelerator, f"one of {ACCELERATORS}")
        require(self.schedule in SCHEDULES, "schedule", self.schedule, f"one of {SCHEDULES}")
        require(self.precision in PRECISIONS, "precision", self.precision, f"one of {PRECISIONS}")
        shared = f"a multiple of devices={self.devices}, so that every process gets as much"
        require(self.batch % self.devices == 0, "batch", self.batch, shared)
        require(0.0 <= self.warm_up < 1.0, "warm_up", self.warm_up, "a share of the steps, 0 <= warm_up < 1")
        seconds = self.max_seconds
        alone = seconds is None or self.devices == 1
        require(alone, "max_seconds", seconds, "None with several devices, which would not stop at the same step")

    def over(self, windows: int) -> Self:
        """This configuration with the steps that `epochs` passes over so many windows take; as it is without them."""
        if self.epochs is None:
            return self
        return replace(self, steps=max(1, round(self.epochs * windows / min(self.batch, windows))))


TrainingConfig = PretrainingConfig  # the name of version 0.1
