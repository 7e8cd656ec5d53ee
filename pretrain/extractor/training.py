"""`fit_extractor`: from labelled markets to a trained extractor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from cryptoenv.files.typed_values import ConfigError, written_values
from pretrain.data.labelled_market import NO_LABEL, LabelledMarket
from pretrain.data.scaler import NORMAL_IQR, RobustScaler
from pretrain.data.splits import JUDGED_BY, refuse_families
from pretrain.data.windows import WindowDataset
from pretrain.extractor.artifact import Extractor
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.task import ExtractorTask
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.batches import refuse_shared_rows, training_batches
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.fitting import FitOptions, fit
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.provenance import LearnedFrom, Provenance, versions
from pretrain.networks.encoders import PatchTransformer


def fit_extractor(
    train: Sequence[LabelledMarket],
    validation: Sequence[LabelledMarket],
    config: ExtractorConfig | None = None,
    training: PretrainingConfig | None = None,
    *,
    seed: int = 0,
    options: FitOptions | None = None,
    start: Extractor | None = None,
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
        options: what is written and shown, and whether an interrupted run goes on; `Extractor.save` keeps the result.
        start: an extractor to go on from (fine-tuning, say on real bars): its architecture, weights and scaler.

    Raises:
        ConfigError: the configuration does not fit the markets.
        ValueError: no labelled decisions, markets or labels that differ from each other, rows that train and
            validation share, synthetic markets that agents learn from or that are kept to judge by, or a `config`
            beside `start`.
        Diverged: the loss is not finite. CheckpointError: the run to resume has no good checkpoint left.
    """
    training = PretrainingConfig() if training is None else training
    if not train:
        raise ValueError("train: at least one labelled market is needed")
    if start is not None and config is not None and config != start.config:
        raise ValueError("config: an extractor to start from brings its own; leave it out")
    config = (config or ExtractorConfig()) if start is None else start.config
    config = config.for_market(train[0].market)
    layout = MarketLayout.of(train[0].market, config.window) if start is None else start.layout
    dataset, held_out = (
        _dataset(part, config, layout, name) for part, name in ((train, "train"), (validation, "validation"))
    )
    config = config.for_labels(train[0].columns, _scales(dataset))
    for part, name in ((train, "train"), (validation, "validation")):
        refuse_families([item.market for item in part], ("train", *JUDGED_BY), name)
    refuse_shared_rows(train, validation)
    if start is None:
        scaler = RobustScaler.fit(config.timeframes, config.feature_names, dataset.feature_rows())
    else:
        scaler = start.scaler
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ExtractorModel(config, scaler)
    if start is not None:
        _take_weights(model, start.model)
    if training.checkpoint_gradients:
        _checkpoint(model)
    batches = training_batches(dataset, held_out, training, seed, memory=config.memory > 0)
    made_of = {f"architecture.{name}": value for name, value in written_values(config).items()}
    made_of["start"] = None if start is None else start.hash
    acts = bool((dataset.labels != NO_LABEL).any())
    metrics = fit(
        model, ExtractorTask(training, acts=acts), batches, training, options or FitOptions(), seed=seed,
        data=dataset.hash, made_of=made_of,
    )  # fmt: skip
    kind = train[0].label_kind if start is None else f"{start.provenance.label_kind}, then {train[0].label_kind}"
    earlier = () if start is None else start.provenance.data
    data = (*earlier, LearnedFrom.of(train[0].label_kind, train, dataset.hash))
    provenance = Provenance(kind, dataset.hash, "", versions(), metrics, data)
    return Extractor(model, scaler, provenance, train[0].market.feature_spec)


def _checkpoint(model: ExtractorModel) -> None:
    if not isinstance(model.encoder, PatchTransformer):
        found = f"encoder={model.config.encoder!r}"
        raise ConfigError(f"checkpoint_gradients is for the encoder 'transformer', whose blocks it keeps; got {found}")
    model.encoder.checkpoint_gradients = True


def _take_weights(model: ExtractorModel, start: ExtractorModel) -> None:
    """The weights of what is gone on from; a head for labels that it does not know stays as drawn."""
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("label_head.")}
    model.load_state_dict(own | start.state_dict())


def _dataset(
    markets: Sequence[LabelledMarket], config: ExtractorConfig, layout: MarketLayout, name: str
) -> WindowDataset:
    if not markets:
        raise ValueError(f"{name}: at least one labelled market is needed")
    for number, item in enumerate(markets):
        config.for_market(item.market)
        try:
            layout.require(item.market)
        except ArtifactError as error:
            raise ValueError(f"{name}[{number}]: {error}") from error
        held = item.labels.shape[1]
        if held != len(config.positions):
            raise ValueError(f"{name}[{number}]: labels for {held} positions, but config.positions={config.positions}")
        if config.regimes and item.regimes > config.regimes:
            raise ValueError(f"{name}[{number}]: beliefs of {item.regimes} regimes > config.regimes={config.regimes}")
    whole = config.memory > 0 and any(item.columns for item in markets)  # a memory runs over bars without labels, too
    return WindowDataset(markets, config.window, config.horizons, whole=whole)


def _scales(dataset: WindowDataset) -> tuple[tuple[float, float], ...]:
    """Centre and spread of every column of the user's labels: of classes 0 and 1, of numbers those of the rows."""
    found = []
    for number, column in enumerate(dataset.markets[0].columns):
        values = dataset.columns[:, number].astype(np.float64)
        if np.isnan(values).all():
            raise ValueError(f"train: no decision has a label of column {column.name!r}; leave it out, or bring more")
        low, middle, high = np.nanpercentile(values, (25.0, 50.0, 75.0))
        spread = (high - low) / NORMAL_IQR or float(np.nanstd(values)) or 1.0
        found.append((0.0, 1.0) if column.classes else (float(middle), float(spread)))
    return tuple(found)
