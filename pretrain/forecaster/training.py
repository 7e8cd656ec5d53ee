"""`fit_forecaster`: from parts of markets to a trained and calibrated forecaster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cryptoenv.files.typed_values import written_values
from pretrain.data.forecast_windows import ForecastDataset, Part, divided
from pretrain.data.scaler import RobustScaler
from pretrain.data.splits import JUDGED_BY, refuse_families
from pretrain.data.windows import OrderedBatches, ShuffledBatches
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.batches import evenly_spread, refuse_shared_rows
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import FitOptions, fit
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.provenance import LearnedFrom, Provenance, versions
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.calibration import calibrate
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.model import ForecasterModel
from pretrain.forecaster.task import ForecastTask

VALIDATION_BATCH = 1024
CHOOSING = 1 / 3  #: share of validation rows that weights are chosen by; the later ones, purged, are for calibration
RETURNS = "later returns"  #: what a forecaster learns, as its artifact says


@dataclass(frozen=True)
class Start:
    """Weights to begin with: the folder of a GPT-2, and whether its attention and feed-forward layers stay."""

    folder: Path
    frozen: bool = False


def fit_forecaster(
    train: Sequence[Part],
    validation: Sequence[Part],
    config: ForecasterConfig | None = None,
    training: PretrainingConfig | None = None,
    *,
    seed: int = 0,
    options: FitOptions | None = None,
    start: Start | None = None,
    calibrated: bool = True,
) -> Forecaster:
    """Trains a forecaster on returns that follow windows, keeps the weights that were best on the first third of each
    validation part, and puts its bands and means right on the rest, which neither training nor that choice has seen.

    On CPU, the same seed, data and configuration give the same weights, bit for bit, unless `training.max_seconds`
    cuts a run short. The scaler is fitted on `train` only.

    Args:
        train: parts of markets to learn from.
        validation: others, later in time or of other markets: the first third of each part's decisions stops early and
            chooses the weights, those after it (the longest horizon further on) calibrate; never the rows that results
            are reported on.
        config: architecture; feature names are taken from the data.
        training: budget, optimiser and loss weights.
        seed: of the initial weights, the order of windows, dropout, hidden ends and paths of the calibration.
        options: what is written and shown, and whether an interrupted run goes on.
        start: a GPT-2 to begin with; its sizes are the architecture's then.
        calibrated: False leaves bands and means as they were learned; weights are chosen on all validation rows.

    Raises:
        ConfigError: the configuration does not fit the markets, or the start.
        ValueError: no rows, a validation part too short to divide, markets that differ, rows that train and validation
            share, or synthetic markets that agents learn from or that are kept to judge by.
        Diverged: the loss is not finite. CheckpointError: the run to resume has no good checkpoint left.
    """
    training, options = training or PretrainingConfig(), options or FitOptions()
    for name, part in (("train", train), ("validation", validation)):
        if not part:
            raise ValueError(f"{name}: at least one part of a market is needed")
        refuse_families([item.market for item in part], ("train", *JUDGED_BY), name)
    refuse_shared_rows(train, validation)
    config = (config or ForecasterConfig()).for_market(train[0].market)
    if start is not None:
        from pretrain.forecaster.gpt2_folder import like_gpt2

        config = like_gpt2(config, start.folder)
    layout = MarketLayout.of(train[0].market, config.layout_window)
    for name, part in (("train", train), ("validation", validation)):
        for number, item in enumerate(part):
            try:
                layout.require(item.market)
            except ArtifactError as error:
                raise ValueError(f"{name}[{number}]: {error}") from error
    dataset = ForecastDataset(train, config.layout_window, config.horizons, every=config.sequential)
    choosing, apart = validation, validation
    if calibrated:
        choosing, apart = divided(validation, config.layout_window, CHOOSING, config.horizons[-1])
    held_out = ForecastDataset(choosing, config.layout_window, config.horizons)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    model, digest = _new_model(config, scaler, dataset, seed, start)
    training = training.over(len(dataset))
    batches = (
        ShuffledBatches(dataset, training.batch, training.steps, seed),
        OrderedBatches(held_out, VALIDATION_BATCH, evenly_spread(len(held_out), training.validation_windows)),
    )
    made_of = {f"architecture.{name}": value for name, value in written_values(config).items()} | {"start": digest}
    metrics = fit(
        model, ForecastTask(training), batches, training, options, seed=seed, data=dataset.hash, made_of=made_of
    )
    if calibrated:
        calibrate(model.eval(), ForecastDataset(apart, config.layout_window, config.horizons), seed=seed)
    data = (LearnedFrom.of(RETURNS, train, dataset.hash),)
    kind = RETURNS if start is None else f"{RETURNS}, from a GPT-2 {digest}"
    provenance = Provenance(kind, dataset.hash, "", versions(), metrics, data)
    return Forecaster(model, scaler, provenance, train[0].market.feature_spec)


def _new_model(
    config: ForecasterConfig, scaler: RobustScaler, dataset: ForecastDataset, seed: int, start: Start | None
) -> tuple[ForecasterModel, str]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ForecasterModel(config, scaler)
    if config.tokens == "bins":
        rows = evenly_spread(len(dataset), 20_000)
        first = dataset.returns(rows)[0][:, -1, 0]
        levels = np.arange(1, config.bins) / config.bins
        edges = np.quantile(first[np.isfinite(first)], levels)
        model.get_buffer("bin_edges").copy_(torch.from_numpy(edges))
    if start is None:
        return model, ""
    from pretrain.forecaster.gpt2_folder import take_gpt2

    return model, take_gpt2(model, start.folder, frozen=start.frozen)
