"""`fit_segmenter`: from labelled markets to a trained segmenter with tuned state machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cryptoenv.features import FeatureSpec
from cryptoenv.files.typed_values import ConfigError, written_values
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.scaler import RobustScaler
from pretrain.data.splits import JUDGED_BY, refuse_families
from pretrain.data.windows import WindowDataset
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.batches import refuse_shared_rows, training_batches
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import FitOptions, fit
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.provenance import LearnedFrom, Provenance, versions
from pretrain.segmenter.artifact import Anomaly, Segmenter
from pretrain.segmenter.beginning import Start, begin_with, fit_emissions, has_emissions, require_start, started_scaler
from pretrain.segmenter.config import MachineChoice, SegmenterConfig
from pretrain.segmenter.machine_tuning import Held, machine_of, overall_machine, tuned_machine
from pretrain.segmenter.model import SegmenterModel
from pretrain.segmenter.states import Machines
from pretrain.segmenter.task import SegmenterTask

EMISSION_ROWS = 8_192  #: that say what hidden states of another model mean here


def fit_segmenter(
    train: Sequence[LabelledMarket],
    validation: Sequence[LabelledMarket],
    config: SegmenterConfig | None = None,
    training: PretrainingConfig | None = None,
    *,
    choice: MachineChoice | None = None,
    balance: float = 0.0,
    seed: int = 0,
    options: FitOptions | None = None,
    start: Start | None = None,
) -> Segmenter:
    """Trains a segmenter, keeps the weights that were best on validation rows, and tunes its machines on them.

    On CPU, the same seed, data and configuration give the same segmenter, bit for bit, unless `training.max_seconds`
    cuts a run short. Scaler, class weights and anomalies are fitted on `train` only.

    Args:
        train: markets (or ranges of markets) with a column of classes per timescale (`pretrain.segmenter.classes`).
        validation: others, to stop early on, to choose weights and thresholds by; never those that are reported on.
        config: architecture; feature names, timescales and classes are taken from the data.
        training: budget and optimiser.
        choice: how the machines are chosen.
        balance: of the classes, as `SegmenterRecipe` says.
        seed: of the initial weights, the order of windows, and dropout.
        options: what is written and shown, and whether an interrupted run goes on.
        start: an extractor or a segmenter whose encoder the network begins with (`pretrain.segmenter.beginning`).

    Raises:
        ConfigError: the configuration does not fit the markets or `start`, or a class has no rows in training.
        ValueError: no labelled decisions, markets or labels that differ from each other, rows that train and
            validation share, or synthetic markets that agents learn from or that are kept to judge by.
        Diverged: the loss is not finite. CheckpointError: the run to resume has no good checkpoint left.
    """
    training, choice = training or PretrainingConfig(), choice or MachineChoice()
    if not train or not validation:
        raise ValueError("train, validation: at least one labelled market is needed in each")
    config = (config or SegmenterConfig()).for_market(train[0].market).for_labels(train[0].columns)
    layout = MarketLayout.of(train[0].market, config.window)
    for part, name in ((train, "train"), (validation, "validation")):
        _require(part, config, layout, name)
        refuse_families([item.market for item in part], ("train", *JUDGED_BY), name)
    refuse_shared_rows(train, validation)
    dataset, held_out = (
        WindowDataset(part, config.window, (), whole=config.memory > 0) for part in (train, validation)
    )
    weights = class_weights(dataset, config, balance)
    rows = dataset.feature_rows()
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, rows)
    if start is not None:
        require_start(config, layout.features, start)
        scaler = started_scaler(scaler, start)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SegmenterModel(config, scaler)
    if start is not None:
        begin_with(model, start)
        if config.hidden and not has_emissions(config, start):
            enough = replace(training, validation_windows=EMISSION_ROWS)
            fit_emissions(model.eval(), training_batches(dataset, dataset, enough, seed, memory=config.memory > 0)[1])
            model.train()
    batches = training_batches(dataset, held_out, training, seed, memory=config.memory > 0)
    made_of = {f"architecture.{name}": value for name, value in written_values(config).items()} | {"balance": balance}
    made_of["start"] = None if start is None else start.hash
    metrics = fit(
        model, SegmenterTask(training, weights), batches, training, options or FitOptions(), seed=seed,
        data=dataset.hash, made_of=made_of,
    )  # fmt: skip
    kind, earlier = train[0].label_kind, () if start is None else start.provenance.data
    data = (*earlier, LearnedFrom.of(kind, train, dataset.hash))
    kind = kind if start is None else f"{start.provenance.label_kind}, then {kind}"
    provenance = Provenance(kind, dataset.hash, "", versions(), metrics, data)
    features, anomaly = train[0].market.feature_spec, Anomaly.fit(config.feature_names[0], rows[0])
    return _with_machines(model, scaler, provenance, features, anomaly, (validation, choice))


def class_weights(dataset: WindowDataset, config: SegmenterConfig, balance: float) -> Tensor:
    """(S, C) float32: shares of the classes to the power -balance, such that the mean over the rows is 1.

    Raises:
        ConfigError: a class that no training row has.
    """
    weights = np.empty((len(config.timescales), len(config.classes)))
    for s, scale in enumerate(config.timescales):
        column = dataset.columns[:, s]
        known = column[~np.isnan(column)].astype(np.int64)
        counts = np.bincount(known, minlength=len(config.classes))
        for name, count in zip(config.classes, counts, strict=True):
            if count == 0:
                raise ConfigError(
                    f"class {name!r} has no row in training on timescale {scale!r}: bring more bars, map a regime to "
                    "it, or leave it out"
                )
        shares = counts / counts.sum()
        weights[s] = shares**-balance / (shares ** (1.0 - balance)).sum()
    return torch.from_numpy(weights.astype(np.float32))


def _require(part: Sequence[LabelledMarket], config: SegmenterConfig, layout: MarketLayout, name: str) -> None:
    outputs = len(config.timescales) * len(config.classes)
    for number, item in enumerate(part):
        config.for_market(item.market).for_labels(item.columns)
        if item.regimes != outputs:
            raise ValueError(f"{name}[{number}]: beliefs of {item.regimes} classes, not {outputs}: one per head")
        try:
            layout.require(item.market)
        except ArtifactError as error:
            raise ValueError(f"{name}[{number}]: {error}") from error


def held_rows(segmenter: Segmenter, item: LabelledMarket) -> list[Held]:
    """Per timescale, probabilities (n, C) and labels (n,) int64, -1 unknown, of the market's rows."""
    table = segmenter.predict(item.market)
    first = len(item.market) - len(table)
    start = max(item.start, first)
    found = segmenter.machines.probabilities(table)[start - first : item.end - first]
    return [
        (found[:, s], np.where(column.known, np.nan_to_num(column.values), -1)[start : item.end].astype(np.int64))
        for s, column in enumerate(item.columns)
    ]


def _with_machines(
    model: SegmenterModel,
    scaler: RobustScaler,
    provenance: Provenance,
    features: FeatureSpec,
    anomaly: Anomaly,
    held_out: tuple[Sequence[LabelledMarket], MachineChoice],
) -> Segmenter:
    """The segmenter, its machines tuned on validation markets where the choice says so."""
    validation, choice = held_out
    config = model.config
    each = tuple(machine_of(config.classes, choice) for _ in config.timescales)
    overall = overall_machine(config.classes, len(config.timescales), choice)
    untuned = Segmenter(model, scaler, provenance, features, Machines(config.timescales, each, overall), anomaly)
    if not choice.tune:
        return untuned
    held = [held_rows(untuned, item) for item in validation]
    each = tuple(
        tuned_machine(machine, [rows[s] for rows in held], choice.most_changes) for s, machine in enumerate(each)
    )
    machines = replace(untuned.machines, each=each)
    return Segmenter(model, scaler, provenance, features, machines, anomaly)
