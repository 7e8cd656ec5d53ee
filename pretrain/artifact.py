"""A trained extractor, and the folder it is kept in: weights, configuration, scaler and checksums; no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.market import Market
from cryptoenv.timeframe import timeframe_ms
from pretrain.config import ConfigError, ExtractorConfig
from pretrain.extractor_model import ExtractorModel
from pretrain.scaler import RobustScaler
from pretrain.stretches import STRETCH
from pretrain.windows import WindowSource

FORMAT = "cryptoenv-extractor"
FORMAT_VERSION = 3
WEIGHTS, CONFIG, SCALER, CHECKSUMS = "model.safetensors", "config.json", "scaler.json", "checksums.json"
CONTENT = (WEIGHTS, CONFIG, SCALER)
SHIPPED = Path(__file__).parent / "artifacts"
CONFIG_KEYS = ("format", "format_version", "architecture", "label_kind", "training_data", "versions", "metrics")


class ArtifactError(ValueError):
    """An artifact that cannot be loaded, or that does not fit a market; the message names the file or the field."""


@dataclass(frozen=True)
class Provenance:
    """Where an extractor comes from.

    `label_kind`: the teacher's name; `training_data`: sha256 (hex) over markets, labels and rows; `versions`: of the
    libraries that trained it; `metrics`: losses and accuracies on validation rows, steps, CPU seconds.
    """

    label_kind: str
    training_data: str
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class Extractor:
    """A trained `ExtractorModel` with its scaler and provenance; on CPU, in evaluation mode."""

    def __init__(self, model: ExtractorModel, scaler: RobustScaler, provenance: Provenance) -> None:
        self.model = model.cpu().eval()
        self.scaler = scaler
        self.provenance = provenance

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
        """sha256 (hex) over what decides embeddings: weights, architecture and scaler (not metrics or versions)."""
        digest = hashlib.sha256(_json_bytes([asdict(self.config), self.scaler.to_json()]))
        digest.update(_weights_bytes(self.model))
        return digest.hexdigest()

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

    def _batches(
        self, market: Market, source: WindowSource, batch: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
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
        if folder.exists() and not (folder / CHECKSUMS).is_file():
            raise ArtifactError(f"{folder} exists and is no extractor artifact: it has no {CHECKSUMS}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        content = {WEIGHTS: _weights_bytes(self.model), SCALER: _json_bytes(self.scaler.to_json())}
        content[CONFIG] = _json_bytes(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "architecture": asdict(self.config),
                **asdict(self.provenance),
            }
        )
        sums = {name: hashlib.sha256(content[name]).hexdigest() for name in CONTENT}
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            made = scratch / "new"
            made.mkdir()
            for name, data in (content | {CHECKSUMS: _json_bytes(sums)}).items():
                (made / name).write_bytes(data)
            if folder.exists():
                os.replace(folder, scratch / "old")
            os.replace(made, folder)
        finally:
            shutil.rmtree(scratch)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The extractor kept in `folder`, after every check; "default" is the one that ships with the package.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others.
        """
        content = _read_checked(SHIPPED / "default" if folder == "default" else Path(folder))
        values = _keys(_parse(content[CONFIG], CONFIG), CONFIG_KEYS, CONFIG)
        if (values["format"], values["format_version"]) != (FORMAT, FORMAT_VERSION):
            found = f"{values['format']!r} version {values['format_version']!r}"
            raise ArtifactError(f"{CONFIG}: format is {found}, expected {FORMAT!r} version {FORMAT_VERSION}")
        try:
            config = ExtractorConfig.from_json(values["architecture"])
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG}: {error}") from error
        try:
            scaler = RobustScaler.from_json(_parse(content[SCALER], SCALER), config.timeframes, config.feature_names)
        except ConfigError as error:
            raise ArtifactError(f"{SCALER}: {error}") from error
        model = ExtractorModel(config, scaler)
        model.load_state_dict(_weights(content[WEIGHTS], model.state_dict()))
        return cls(model, scaler, _provenance(values))


def _json_bytes(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _weights_bytes(model: ExtractorModel) -> bytes:
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})


def _read_checked(folder: Path) -> dict[str, bytes]:
    """The files of an artifact by name, each equal to its checksum."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is no extractor artifact: no such folder")
    expected = {*CONTENT, CHECKSUMS}
    found = {path.name for path in folder.iterdir()}
    if missing := sorted(expected - found):
        raise ArtifactError(f"{folder}: {missing[0]} is missing")
    if foreign := sorted(found - expected):
        raise ArtifactError(f"{folder}: unexpected file {foreign[0]}, an artifact holds only {sorted(expected)}")
    for name in sorted(expected):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise ArtifactError(f"{folder}: {name} is no regular file")
    sums = _keys(_parse((folder / CHECKSUMS).read_bytes(), CHECKSUMS), CONTENT, CHECKSUMS)
    content = {name: (folder / name).read_bytes() for name in CONTENT}
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise ArtifactError(f"{folder}: {name} does not have the sha256 in {CHECKSUMS}: truncated or changed")
    return content


def _parse(data: bytes, name: str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{name} is no JSON: {error}") from error


def _keys(value: object, keys: tuple[str, ...], name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} must hold an object, got {type(value).__name__}")
    if different := sorted(set(value) ^ set(keys)):
        raise ArtifactError(f"{name}: key {different[0]!r} is {'missing' if different[0] in keys else 'unknown'}")
    return value


def _weights(data: bytes, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in `data`, of the names, shapes and dtypes of `expected`, all finite."""
    try:
        weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"{WEIGHTS} is no safetensors file: {error}") from error
    if different := sorted(set(weights) ^ set(expected)):
        state = "missing" if different[0] in expected else "unknown to the architecture"
        raise ArtifactError(f"{WEIGHTS}: tensor {different[0]!r} is {state}")
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            found, needed = (f"{t.dtype} {tuple(t.shape)}" for t in (tensor, wanted))
            raise ArtifactError(f"{WEIGHTS}: tensor {name!r} is {found}, the architecture needs {needed}")
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{WEIGHTS}: tensor {name!r} holds a number that is not finite")
    return weights


def _provenance(values: dict[str, Any]) -> Provenance:
    for name, kind in (("label_kind", str), ("training_data", str), ("versions", dict), ("metrics", dict)):
        if not isinstance(values[name], kind):
            raise ArtifactError(f"{CONFIG}: {name} must be {kind.__name__}, got {type(values[name]).__name__}")
    return Provenance(**{name: values[name] for name in ("label_kind", "training_data", "versions", "metrics")})
