"""A trained extractor, and the folder it is kept in: weights, configuration, scaler and checksums; no pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import ConfigError, require_types, written_values
from cryptoenv.market.market import Market
from pretrain.data.scaler import RobustScaler
from pretrain.data.stretches import STRETCH
from pretrain.data.windows import WindowSource
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.artifact_folder import (
    ArtifactError,
    checked_weights,
    exact_keys,
    json_bytes,
    parsed,
    read_folder,
    require_format,
    weights_bytes,
    write_folder,
)

FORMAT = "cryptoenv-extractor"
FORMAT_VERSION = 5
WEIGHTS, CONFIG, SCALER = "model.safetensors", "config.json", "scaler.json"
CONTENT = (WEIGHTS, CONFIG, SCALER)
SHIPPED = Path(__file__).parents[1] / "artifacts"
CONFIG_KEYS = (
    "format", "format_version", "architecture", "label_kind", "training_data", "recipe", "versions", "metrics",
)  # fmt: skip


@dataclass(frozen=True)
class Provenance:
    """Where an extractor comes from.

    `label_kind`: the teacher's name, after fine-tuning "first, then second"; `training_data`: sha256 (hex) over the
    markets, labels and rows last learned from; `recipe`: digest of the `Recipe` that made it, or ""; `versions`: of the
    libraries that trained it; `metrics`: losses and accuracies on validation rows, steps, CPU seconds.
    """

    label_kind: str
    training_data: str
    recipe: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class Extractor:
    """A trained `ExtractorModel` with its scaler and provenance; on CPU, in evaluation mode."""

    def __init__(self, model: ExtractorModel, scaler: RobustScaler, provenance: Provenance) -> None:
        self.model = model.cpu().eval()
        self.scaler = scaler
        self.provenance = provenance
        self._hashed: tuple[object, str] | None = None

    @property
    def config(self) -> ExtractorConfig:
        """The architecture, timeframes, windows and feature names."""
        return self.model.config

    @property
    def width(self) -> int:
        """Width D of an embedding."""
        return self.config.width

    @property
    def hash(self) -> str:
        """sha256 (hex) over what decides embeddings: weights, architecture and scaler (not metrics or versions).

        It is computed once, and again when a tensor of the model was replaced or written to.
        """
        state = self.model.state_dict()
        now = tuple((name, tensor.data_ptr(), tensor._version) for name, tensor in state.items())
        if self._hashed is None or self._hashed[0] != now:
            digest = hashlib.sha256(json_bytes([written_values(self.config), self.scaler.to_json()]))
            digest.update(weights_bytes(self.model))
            self._hashed = now, digest.hexdigest()
        return self._hashed[1]

    def require(self, market: Market, window: tuple[int, ...] | None = None) -> None:
        """Refuses a market, or an environment's `window`, that the extractor was not trained for.

        Raises:
            ArtifactError: names the field that differs, what the extractor needs and what it was given.
        """
        given = {"timeframes": market.timeframes, "window": self.config.window if window is None else window}
        for name, value in given.items():
            if value != getattr(self.config, name):
                raise ArtifactError(f"{name} differ: the extractor needs {getattr(self.config, name)}, got {value}")
        for timeframe, needed, found in zip(
            market.timeframes, self.config.feature_names, market.feature_names, strict=True
        ):
            if needed != found:
                raise ArtifactError(f"feature_names of {timeframe!r} differ: the extractor needs {needed}, got {found}")

    def embed(self, market: Market, batch: int = 1024) -> NDArray[np.float32]:
        """(T, D) float32 embeddings; rows before `market.first_decision(window)` are 0.

        A recurrent memory starts empty one window before the UTC-anchored block of `STRETCH` base bars that a decision
        lies in (or at the market's first bar), as in training: it has then seen at least the decision's own window.

        Raises:
            ArtifactError: the market has other timeframes or features.
        """
        return self._over_rows(market, batch, (self.width,), lambda embeddings: embeddings)

    def action_logits(self, market: Market, batch: int = 1024) -> NDArray[np.float32]:
        """(T, P, A) float32 logits of the best target given each held position; 0 before the first decision.

        Raises:
            ArtifactError: the market has other timeframes or features.
        """
        positions = len(self.config.positions)
        return self._over_rows(market, batch, (positions, positions), self.model.action_logits)

    def _over_rows(self, market: Market, batch: int, shape: tuple[int, ...], read: Any) -> NDArray[np.float32]:
        self.require(market)
        source = WindowSource([market], self.config.window)
        out = np.zeros((len(market), *shape), np.float32)
        with torch.inference_mode():
            for rows, embeddings in (self._blocks if self.config.memory else self._batches)(market, source, batch):
                out[rows] = read(embeddings).numpy()
        return out

    def _batches(self, market: Market, source: WindowSource, batch: int) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        for start in range(market.first_decision(self.config.window), len(market), batch):
            rows = np.arange(start, min(start + batch, len(market)))
            yield rows, self.model(source.gather(np.zeros_like(rows), rows))

    def _blocks(self, market: Market, source: WindowSource, _: int) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Rows block by block; block borders are multiples of `STRETCH` base bars since 1970."""
        first, window = market.first_decision(self.config.window), self.config.window[0]
        anchor = -(market.start_ms // timeframe_ms(market.timeframes[0])) % STRETCH - STRETCH
        for start in range(anchor + (first - anchor) // STRETCH * STRETCH, len(market), STRETCH):
            begin, end = max(start + 1 - window, 0), min(start + STRETCH, len(market))
            rows = np.arange(max(start, first), end)
            bars = torch.from_numpy(market.features[0][None, begin:end].copy())
            # places count from the decision whose window is the first one of the stretch
            places = torch.from_numpy(rows[None] - (begin + window - 1))
            higher = source.gather(np.zeros_like(rows), rows, first_timeframe=1)
            yield rows, self.model.over_stretches(bars, places, higher)[0]

    def save(self, folder: str | Path) -> Path:
        """Writes the artifact beside its place and moves it there whole; an older artifact there is replaced.

        Raises:
            ArtifactError: `folder` exists and is no artifact.
        """
        folder = Path(folder)
        content = {WEIGHTS: weights_bytes(self.model), SCALER: json_bytes(self.scaler.to_json())}
        content[CONFIG] = json_bytes(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "architecture": written_values(self.config),
                **asdict(self.provenance),
            }
        )
        write_folder(folder, content)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The extractor kept in `folder`, after every check; "default" is the one that ships with the package.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others.
        """
        content = read_folder(SHIPPED / "default" if folder == "default" else Path(folder), CONTENT)
        values = exact_keys(parsed(content[CONFIG], CONFIG), CONFIG_KEYS, CONFIG)
        require_format(values, CONFIG, (FORMAT, FORMAT_VERSION))
        try:
            config = ExtractorConfig.from_json(values["architecture"])
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG}: {error}") from error
        try:
            scaler = RobustScaler.from_json(parsed(content[SCALER], SCALER), config.timeframes, config.feature_names)
        except ConfigError as error:
            raise ArtifactError(f"{SCALER}: {error}") from error
        with torch.device("meta"):  # shapes alone: a config that asks for the earth gets no memory
            expected = ExtractorModel(config, scaler).state_dict()
        weights = checked_weights(content[WEIGHTS], expected, WEIGHTS)
        model = ExtractorModel(config, scaler)
        model.load_state_dict(weights)
        return cls(model, scaler, _provenance(values))


def _provenance(values: dict[str, Any]) -> Provenance:
    given = {name: values[name] for name in ("label_kind", "training_data", "recipe", "versions", "metrics")}
    try:
        require_types(Provenance, given, CONFIG)
    except ConfigError as error:
        raise ArtifactError(str(error)) from error
    return Provenance(**given)
