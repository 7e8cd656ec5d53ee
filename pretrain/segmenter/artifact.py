"""A trained segmenter with its state machines, and the folder it is kept in; no pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.features import FeatureFunction, FeatureSpec
from cryptoenv.files.typed_values import ConfigError, require_types, section
from cryptoenv.market.market import Market
from pretrain.data.scaler import RobustScaler
from pretrain.fitting.artifact_folder import (
    ArtifactError,
    exact_keys,
    loaded_module,
    parsed,
    read_folder,
    require_format,
)
from pretrain.fitting.blocks import Block
from pretrain.fitting.kept_predictor import CONFIG as CONFIG
from pretrain.fitting.kept_predictor import CONTENT as CONTENT
from pretrain.fitting.kept_predictor import SCALER as SCALER
from pretrain.fitting.kept_predictor import WEIGHTS as WEIGHTS
from pretrain.fitting.kept_predictor import KeptPredictor
from pretrain.fitting.market_layout import MarketLayout, kept_layout
from pretrain.fitting.packing import Wanted, windows_of
from pretrain.fitting.provenance import Provenance, provenance_in
from pretrain.networks.chunks import ChunkedReader
from pretrain.segmenter.config import SegmenterConfig
from pretrain.segmenter.model import SegmenterModel
from pretrain.segmenter.states import ANOMALY as ANOMALY
from pretrain.segmenter.states import Machines

FORMAT, FORMAT_VERSION = "cryptoenv-segmenter", 1
CONFIG_KEYS = (
    "format", "format_version", "architecture", "market", "machines", "anomaly", "target", "label_kind",
    "training_data", "recipe", "versions", "metrics", "data",
)  # fmt: skip
ERROR = "pursuit_error"  #: the base feature that anomalies are told by
STATES, SEGMENTS = "states.parquet", "segments.csv"


@dataclass(frozen=True)
class Anomaly:
    """How unusual a window is: the percentile of its pursuit's error among those of the training windows.

    Attributes:
        quantiles: values of the base feature `pursuit_error` at 0, 1, ..., 100 percent of the training bars; none where
            there is no such feature.

    Raises:
        ValueError: quantiles that decrease.
    """

    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        if self.quantiles and (len(self.quantiles) < 2 or min(np.diff(self.quantiles)) < 0.0):
            raise ValueError(f"quantiles={self.quantiles[:8]} are not allowed: at least two numbers that do not fall")

    @classmethod
    def fit(cls, names: Sequence[str], rows: NDArray[np.float32]) -> Self:
        """Of the base features `names` of the training bars `rows` (R, F)."""
        if ERROR not in names:
            return cls()
        values = np.percentile(rows[:, list(names).index(ERROR)].astype(np.float64), np.arange(101.0))
        return cls(tuple(float(value) for value in values))

    def percentile(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """(n,) float32 percentiles, 0 to 100, of values of the feature (n,)."""
        grid = np.array(self.quantiles)
        return np.interp(values.astype(np.float64), grid, np.linspace(0.0, 100.0, len(grid))).astype(np.float32)


class Segmenter(KeptPredictor):
    """A trained `SegmenterModel` with its features, scaler, state machines and provenance; in evaluation mode.

    Args:
        model: trained; moved to the CPU.
        scaler: that its features are scaled with.
        provenance: where it comes from.
        features: what its features are made by.
        machines: one state machine per timescale, and the one over their states.
        anomaly: how unusual windows are told.

    Raises:
        ArtifactError: `features` have other names than the model reads, or machines other states than its classes.
    """

    kind, version = FORMAT, FORMAT_VERSION
    model: SegmenterModel

    def __init__(
        self,
        model: SegmenterModel,
        scaler: RobustScaler,
        provenance: Provenance,
        features: FeatureSpec,
        machines: Machines,
        anomaly: Anomaly | None = None,
    ) -> None:
        self.model = model.cpu().eval()
        self.scaler = scaler
        self.provenance = provenance
        config = model.config
        self._layout = MarketLayout.named(config.timeframes, config.window, features, config.feature_names)
        if machines.timescales != config.timescales or machines.classes != config.classes:
            raise ArtifactError(
                f"machines of {machines.timescales} over {machines.classes} do not fit the architecture's "
                f"{config.timescales} over {config.classes}"
            )
        self.machines = machines
        self.anomaly = Anomaly() if anomaly is None else anomaly
        self._reader = ChunkedReader(self.model, self._chances)
        self._error = config.feature_names[0].index(ERROR) if self.anomaly.quantiles else -1

    @property
    def config(self) -> SegmenterConfig:
        """The architecture, timeframes, windows, timescales and classes."""
        return self.model.config

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `predict`, all float32: `bull_4h`, the probability of a class on a timescale, S * C of them; and
        `anomaly`, the percentile of the pursuit's error among those of the training windows, where it reads one."""
        return (*self.machines.columns, *((ANOMALY,) if self.anomaly.quantiles else ()))

    @property
    def hash(self) -> str:
        """sha256 (hex) over what decides its output: weights, architecture, features, scaler, machines, anomaly."""
        return self._digest(self._layout.digest, self.machines.to_dict(), list(self.anomaly.quantiles))

    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, C) float32 predictions of a block (`Predictor.read`)."""
        return self._said(self._reader.read(block), block, block.places[0])

    def read_at(self, block: Block, place: int) -> NDArray[np.float32]:
        """(C,) float32 predictions at one place of a block (`Predictor.read_at`)."""
        return self._said(self._reader.read_at(block, place), block, block.places[0, place : place + 1])[0]

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, C) float32 predictions of one decision of each block (`Predictor.read_several`)."""
        found = self._reader.read_several(wanted).cpu().numpy()
        if not self.anomaly.quantiles:
            return found
        newest = [windows_of(block, place, self.config.window[0])[0][-1, self._error] for block, place in wanted]
        errors = torch.stack(newest).cpu().numpy()
        return np.concatenate([found, self.anomaly.percentile(errors)[:, None]], axis=1)

    def read_scaled(
        self, windows: Sequence[Tensor], sigma: NDArray[np.float64], closes_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """(n, C) float32 predictions of scaled windows (`Predictor.read_scaled`)."""
        found = self._chances(self.model.of_scaled(windows)).cpu().numpy()
        if not self.anomaly.quantiles:
            return found
        scale, centre = float(self.scaler.scale(0)[self._error]), float(self.scaler.median[0][self._error])
        errors = windows[0][:, -1, self._error].cpu().numpy() * scale + centre
        return np.concatenate([found, self.anomaly.percentile(errors)[:, None]], axis=1)

    def _chances(self, embeddings: Tensor) -> Tensor:
        """(n, S * C) probabilities from embeddings (n, D)."""
        return torch.softmax(self.model.logits(embeddings), dim=-1).flatten(1)

    def _said(self, chances: Tensor, block: Block, places: Tensor) -> NDArray[np.float32]:
        """(n, C) float32: probabilities, and how unusual the windows at `places` (n,) of the block are."""
        found = chances.cpu().numpy()
        if not self.anomaly.quantiles:
            return found
        last = places + self.config.window[0] - 1
        errors = block.bars[0, last, self._error].cpu().numpy()
        return np.concatenate([found, self.anomaly.percentile(errors)[:, None]], axis=1)

    def states(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The states of all machines at every row of `predict`: see `Machines.states`."""
        return self.machines.states(predictions)

    def segments(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The segments of all machines: see `Machines.segments`."""
        return self.machines.segments(predictions)

    def tables(self, market: Market, table: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
        """`states.parquet` and `segments.csv`: as `Predictor.tables`."""
        return {STATES: self.states(table), SEGMENTS: self.segments(table)}

    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """The last days shaded by their states, unusual windows, and the machines: as `Predictor.draw`."""
        from pretrain.segmenter.prediction_picture import draw_predictions

        return draw_predictions(self.machines, market, table, folder)

    def _further(self) -> dict[str, Any]:
        return {"machines": self.machines.to_dict(), "anomaly": list(self.anomaly.quantiles)}

    def _target(self) -> dict[str, Any]:
        """What it predicts, for who reads the configuration without this package."""
        return {
            "timescales": list(self.config.timescales),
            "classes": list(self.config.classes),
            "columns": list(self.columns),
            "definition": "probability of each class on each timescale at the close of the bar; anomaly: percentile of "
            "the error of the bar's matching pursuit among the training windows",
        }

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", functions: Sequence[FeatureFunction] = ()) -> Self:
        """The segmenter kept in `folder`, after every check.

        Args:
            folder: of the artifact.
            device: where it predicts.
            functions: code of the user's own features, where it reads some.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others; the code of
                a feature is missing. ValueError: no such device.
        """
        content = read_folder(Path(folder), CONTENT)
        values = exact_keys(parsed(content[CONFIG], CONFIG), CONFIG_KEYS, CONFIG)
        require_format(values, CONFIG, (FORMAT, FORMAT_VERSION))
        try:
            config = SegmenterConfig.from_json(values["architecture"])
            machines = Machines.from_dict(values["machines"], config.timescales, f"{CONFIG}: machines")
            anomaly = section({"quantiles": values["anomaly"]}, Anomaly, f"{CONFIG}: anomaly")
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG}: {error}") from error
        architecture = (config.timeframes, config.window, config.feature_names)
        layout = kept_layout(values["market"], f"{CONFIG}: market", architecture, functions)
        try:
            scaler = RobustScaler.from_json(parsed(content[SCALER], SCALER), config.timeframes, config.feature_names)
        except ConfigError as error:
            raise ArtifactError(f"{SCALER}: {error}") from error
        if anomaly.quantiles and ERROR not in config.feature_names[0]:
            raise ArtifactError(f"{CONFIG}: anomaly needs the base feature {ERROR!r}, which the architecture lacks")
        try:
            model = loaded_module(lambda: SegmenterModel(config, scaler), content[WEIGHTS], WEIGHTS)
        except ValueError as error:
            raise ArtifactError(str(error)) from error
        loaded = cls(model, scaler, provenance_in(values), layout.features, machines, anomaly)
        if values["target"] != loaded._target():
            raise ArtifactError(f"{CONFIG}: target is not that of the architecture: classes or columns differ")
        return loaded if device == "cpu" else loaded.to(device)
