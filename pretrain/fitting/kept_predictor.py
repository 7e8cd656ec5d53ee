"""What is the same for every model that is kept as an artifact: its device, its hash, its files."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from cryptoenv.files.typed_values import written_values
from pretrain.data.scaler import RobustScaler
from pretrain.fitting.artifact_folder import CONFIG, json_bytes, weights_bytes, write_folder
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.predicting import Predictor, chosen_device
from pretrain.fitting.provenance import Provenance

WEIGHTS, SCALER = "model.safetensors", "scaler.json"
CONTENT = (WEIGHTS, CONFIG, SCALER)  #: the files of an artifact, beside its checksums


class KeptPredictor(Predictor):
    """A trained network with its features, scaler and provenance, as an artifact's folder keeps them.

    Attributes:
        kind: of the model, as `config.json` names it.
        version: of its artifact's format.
    """

    kind: ClassVar[str]
    version: ClassVar[int]
    model: Any  #: a module, of the kind of model
    scaler: RobustScaler
    provenance: Provenance
    _layout: MarketLayout

    @property
    @abstractmethod
    def config(self) -> Any:
        """The architecture, timeframes, windows and feature names."""

    @property
    def layout(self) -> MarketLayout:
        """Timeframes, windows and the whole feature spec."""
        return self._layout

    def to(self, device: str) -> Self:
        """The model itself, its network moved to a device ("cpu", "cuda", "auto", ...).

        Raises:
            ValueError: no such device on this machine.
        """
        self.device = chosen_device(device)
        self.model.to(self.device)
        return self

    def save(self, folder: str | Path) -> Path:
        """Writes the artifact beside its place and moves it there whole; an older artifact there is replaced.

        Raises:
            ArtifactError: `folder` exists and is no artifact.
        """
        folder = Path(folder)
        content = {WEIGHTS: weights_bytes(self.model), SCALER: json_bytes(self.scaler.to_json())}
        content[CONFIG] = json_bytes(
            {
                "format": self.kind,
                "format_version": self.version,
                "architecture": written_values(self.config),
                "market": self._layout.to_dict(),
                **self._further(),
                "target": self._target(),
                **asdict(self.provenance),
            }
        )
        write_folder(folder, content)
        return folder

    @abstractmethod
    def _target(self) -> dict[str, Any]:
        """What it predicts, for who reads the configuration without this package."""

    def _further(self) -> dict[str, Any]:
        """Keys of the configuration that this kind of model has beside those of all."""
        return {}

    def _digest(self, *further: Any) -> str:
        """sha256 (hex) over architecture, scaler, what is further said, and weights."""
        digest = hashlib.sha256(json_bytes([written_values(self.config), self.scaler.to_json(), *further]))
        digest.update(weights_bytes(self.model))
        return digest.hexdigest()
