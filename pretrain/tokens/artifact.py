"""A trained token forecaster, and the folder it is kept in: weights, configuration, checksums; no pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryptoenv.features import FeatureFunction
from cryptoenv.files.typed_values import ConfigError, written_values
from pretrain.fitting.artifact_folder import (
    CONFIG,
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
from pretrain.fitting.predicting import chosen_device
from pretrain.fitting.provenance import Provenance, provenance_in
from pretrain.tokens.channels import PREDICTED, channels, normalised, target_scales
from pretrain.tokens.config import TokenModelConfig
from pretrain.tokens.model import CHANCES, TokenModel
from pretrain.tokens.rollout import sampled_paths
from pretrain.tokens.series import FEATURES, PRICE, SeriesError, TokenSeries
from pretrain.tokens.windows import first_decision

FORMAT, FORMAT_VERSION = "cryptoenv-tokens", 2
WEIGHTS: Final = "model.safetensors"
CONTENT = (WEIGHTS, CONFIG)
KEYS = (
    "format", "format_version", "architecture", "normalization", "target", "label_kind", "training_data", "recipe",
    "versions", "metrics", "data",
)  # fmt: skip
Floats = NDArray[np.float64]


class TokenForecaster:
    """A trained `TokenModel` with its normalisation and provenance; on one device, in evaluation mode.

    Args:
        model: trained; moved to the CPU.
        normalization: (2, 6) centres and spreads, fitted on rows of training.
        provenance: where it comes from.
    """

    def __init__(self, model: TokenModel, normalization: Floats, provenance: Provenance) -> None:
        self.model = model.cpu().eval()
        self.normalization = normalization
        self.provenance = provenance
        self.device = torch.device("cpu")

    @property
    def config(self) -> TokenModelConfig:
        """The architecture."""
        return self.model.config

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `predict`: `price_q50`, ...: quantiles of the next row's price, in its unit; `pump_30`: the
        probability that a pump starts within the next 30 rows; `rise_30`: that the price rises by `config.rise`."""
        config = self.config
        prices = (f"price_q{100.0 * level:g}" for level in config.quantiles)
        return (*prices, *(f"{name}_{config.pump_ahead}" for name in CHANCES))

    @property
    def hash(self) -> str:
        """sha256 (hex) over weights, architecture and normalisation."""
        told = [written_values(self.config), self.normalization.tolist()]
        return hashlib.sha256(json_bytes(told) + weights_bytes(self.model)).hexdigest()

    def to(self, device: str) -> Self:
        """The forecaster itself, its network moved to a device.

        Raises:
            ValueError: no such device on this machine.
        """
        self.device = chosen_device(device)
        self.model.to(self.device)
        return self

    def predict(self, token: TokenSeries) -> pd.DataFrame:
        """What is said at every row that has a whole window behind it; float64, one column per name of `columns`.

        A row is read in the window that began half a window before its block of time, as counted from 1970: the same
        row gets the same prediction however much longer the history is.

        Raises:
            SeriesError: fewer rows than a window.
        """
        first = first_decision(self.config)
        if len(token) <= first:
            raise SeriesError(f"{token.address}: {len(token)} rows; a window has {first + 1}: give more rows")
        hidden = self._hidden(token)[first:]
        with torch.inference_mode():
            nothing = hidden.new_zeros(len(hidden), len(PREDICTED))
            returns = self.model.quantiles(hidden, nothing, 0).double().cpu().numpy()
            chances = torch.sigmoid(self.model.chances(hidden)).double().cpu().numpy()
        price = token.values[first:, PRICE, None] * np.exp(returns * target_scales(self.normalization)[0])
        return pd.DataFrame(np.hstack([price, chances]), index=token.index[first:], columns=list(self.columns))

    def forecast(self, token: TokenSeries, row: int, *, steps: int, paths: int = 64, seed: int = 0) -> Floats:
        """(P, steps, 6) sampled rows after `row`, which are not looked at: `pretrain.tokens.rollout.sampled_paths`.

        Raises:
            SeriesError: no such row.
        """
        if not 0 <= row < len(token):
            raise SeriesError(f"{token.address} has no row {row}; allowed: 0 to {len(token) - 1}")
        return self.forecasts([(token, row)], steps=steps, paths=paths, seed=seed)[0]

    def forecasts(
        self, presents: Sequence[tuple[TokenSeries, int]], *, steps: int, paths: int = 64, seed: int = 0
    ) -> Floats:
        """(N, P, steps, 6) sampled rows after each token's row; as `forecast`, several at once."""
        pasts = [(token.values[: row + 1], token.supply) for token, row in presents]
        return sampled_paths(self.model, self.normalization, pasts, steps=steps, paths=paths, seed=seed)

    def _hidden(self, token: TokenSeries) -> torch.Tensor:
        """(T, D) what the network makes of every row; see `predict`."""
        length = self.config.seq_length
        half = length // 2
        rows = torch.from_numpy(normalised(channels(token.values), self.normalization))
        offset = int(token.times[0] // token.step_ms) % half
        borders = np.unique(np.clip(np.arange(-offset, len(token) + half, half), 0, len(token)))
        out = torch.empty(len(token), self.config.embed_size, device=self.device)
        blocks = list(zip(borders[:-1].tolist(), borders[1:].tolist(), strict=True))
        with torch.inference_mode():
            for start, stop in blocks:
                begin = max(0, start - half)
                said = self.model(rows[None, begin:stop].to(self.device))
                out[start:stop] = said[0, start - begin :]
        return out

    def save(self, folder: str | Path) -> Path:
        """Writes the artifact beside its place and moves it there whole; an older artifact there is replaced.

        Raises:
            ArtifactError: `folder` exists and is no artifact.
        """
        content = {
            "format": FORMAT, "format_version": FORMAT_VERSION, "architecture": written_values(self.config),
            "normalization": self.normalization.tolist(), "target": self._target(), **asdict(self.provenance),
        }  # fmt: skip
        write_folder(Path(folder), {WEIGHTS: weights_bytes(self.model), CONFIG: json_bytes(content)})
        return Path(folder)

    def _target(self) -> dict[str, Any]:
        """What it reads and predicts, for who reads the configuration without this package."""
        return {"features": list(FEATURES), "predicted": list(PREDICTED), "columns": list(self.columns)}

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", functions: Sequence[FeatureFunction] = ()) -> Self:
        """The forecaster kept in `folder`, after every check.

        Args:
            folder: of the artifact.
            device: where it predicts.
            functions: it reads no features of others: none are needed.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others.
            ValueError: no such device.
        """
        content = read_folder(Path(folder), CONTENT)
        values = exact_keys(parsed(content[CONFIG], CONFIG), KEYS, CONFIG)
        require_format(values, CONFIG, (FORMAT, FORMAT_VERSION))
        try:
            config = TokenModelConfig.from_json(values["architecture"])
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG}: {error}") from error
        with torch.device("meta"):  # shapes alone: a config that asks for the earth gets no memory
            expected = TokenModel(config).state_dict()
        weights = checked_weights(content[WEIGHTS], expected, WEIGHTS)
        model = TokenModel(config)
        model.load_state_dict(weights)
        loaded = cls(model, _normalization(values["normalization"]), provenance_in(values))
        if values["target"] != loaded._target():
            raise ArtifactError(f"{CONFIG}: target is not that of the architecture: features or columns differ")
        return loaded if device == "cpu" else loaded.to(device)


def _normalization(value: object) -> Floats:
    try:
        found = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{CONFIG}: normalization holds no numbers: {error}") from error
    if found.shape != (2, len(FEATURES)) or not np.isfinite(found).all() or not (found[1] > 0).all():
        raise ArtifactError(f"{CONFIG}: normalization must be 2 lists of {len(FEATURES)} finite numbers, spreads > 0")
    return found
