"""A trained forecaster, and the folder it is kept in: weights, configuration, scaler and checksums; no pickle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureFunction, FeatureSpec
from cryptoenv.files.typed_values import ConfigError, require
from cryptoenv.market.market import SIGMA_BARS, Market
from pretrain.data.scaler import RobustScaler
from pretrain.data.windows import WindowSource
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
from pretrain.fitting.packing import Wanted, packed, rows_alike, windows_of
from pretrain.fitting.predicting import on_one_thread
from pretrain.fitting.provenance import Provenance, provenance_in
from pretrain.forecaster.config import CLASSES, ForecasterConfig
from pretrain.forecaster.forecast_table import DIRECT, PATHS, direct_rows, forecast_table, path_rows
from pretrain.forecaster.model import ForecasterModel, Said
from pretrain.forecaster.tracking import quantile_name, tracked_table

FORMAT, FORMAT_VERSION = "cryptoenv-forecaster", 1
CONFIG_KEYS = (
    "format", "format_version", "architecture", "label_kind", "training_data", "recipe", "versions", "metrics", "data",
    "market", "target",
)  # fmt: skip
ROWS = 32  #: of a block that go through the network at once; a part without a decision is left out
DEFINITION = (
    "return: log-return of the close over base bars ahead, its calibrated mean and quantiles; direction: probabilities "
    "that it is below, within or above the deadband"
)


class Forecaster(KeptPredictor):
    """A trained `ForecasterModel` with its features, scaler and provenance; on one device, in evaluation mode.

    Args:
        model: trained; moved to the CPU.
        scaler: that its features are scaled with.
        provenance: where it comes from.
        features: what its features are made by; the default ones where None.

    Raises:
        ArtifactError: `features` have other names than the model reads.
    """

    kind, version = FORMAT, FORMAT_VERSION
    model: ForecasterModel

    def __init__(
        self, model: ForecasterModel, scaler: RobustScaler, provenance: Provenance, features: FeatureSpec | None = None
    ) -> None:
        self.model = model.cpu().eval()
        self.scaler, self.provenance = scaler, provenance
        self._layout = _layout_of(model.config, FeatureSpec() if features is None else features)
        self._anywhere: bool | None = None  #: whether rows of other blocks may lie at any place of a batch

    @property
    def config(self) -> ForecasterConfig:
        """The architecture, timeframes, windows and feature names."""
        return self.model.config

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `predict`, all float32, per horizon h in base bars.

        `return_h_mean`, `return_h_q10` and so on: log-returns; `direction_h_down`, `_flat`, `_up`: probabilities.
        """
        config = self.config
        return (
            *(f"return_{h}_mean" for h in config.horizons),
            *(f"return_{h}_{quantile_name(q)}" for h in config.horizons for q in config.quantiles),
            *(f"direction_{h}_{name}" for h in config.horizons for name in CLASSES),
        )

    @property
    def hash(self) -> str:
        """sha256 (hex) over what decides forecasts: weights, calibration, architecture, features, scaler."""
        return self._digest(self._layout.digest)

    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, C) float32 predictions of a block (`Predictor.read`)."""
        windows = block.windows(self.config.window[0])
        step = timeframe_ms(self.config.timeframes[0])
        closes = torch.from_numpy(block.opens_ms + step).to(self.device)
        out = np.zeros((len(closes), len(self.columns)), np.float32)
        for start in range(0, len(closes), ROWS):
            rows = slice(start, start + ROWS)
            if block.decided[rows].any():
                said = self.model.last([part[rows] for part in windows], closes[rows])
                out[rows] = self._columns_of(said, block.sigma[rows])
        return out

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, C) float32 predictions of one decision of each block (`Predictor.read_several`)."""
        step = timeframe_ms(self.config.timeframes[0])
        inputs = [windows_of(block, place, self.config.window[0]) for block, place in wanted]
        closes = np.array([block.opens_ms[place] + step for block, place in wanted])
        sigma = np.array([block.sigma[place] for block, place in wanted])
        if self._anywhere is None:
            ends = torch.full((ROWS,), int(closes[0]), device=self.device)
            shapes = [tuple(part.shape) for part in inputs[0]]
            self._anywhere = rows_alike(lambda parts: _all_of(self.model.last(parts, ends)), shapes, ROWS)
        out = np.zeros((len(wanted), len(self.columns)), np.float32)
        for batch in packed([place for _, place in wanted], ROWS, self._anywhere):
            parts = [batch.filled([row[k] for row in inputs], ROWS) for k in range(len(inputs[0]))]
            ends_ms, units = np.full(ROWS, closes[batch.which[0]]), np.zeros(ROWS)
            ends_ms[batch.rows], units[batch.rows] = closes[batch.which], sigma[batch.which]
            said = self.model.last(parts, torch.from_numpy(ends_ms).to(self.device))
            out[batch.which] = self._columns_of(said, units)[batch.rows]
        return out

    def read_scaled(
        self, windows: Sequence[torch.Tensor], sigma: NDArray[np.float64], closes_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """(n, C) float32 predictions of scaled windows (`Predictor.read_scaled`)."""
        ends = torch.from_numpy(closes_ms).to(self.device)
        return self._columns_of(self.model.last_of_scaled(windows, ends), sigma)

    def _columns_of(self, said: Said, sigma: NDArray[np.float64]) -> NDArray[np.float32]:
        units = sigma[:, None] * np.sqrt(np.array(self.config.horizons, np.float64))
        mean, quantiles = (part.double().cpu().numpy() for part in self.model.calibrated(said))
        mean, quantiles = mean * units, quantiles * units[..., None]
        classes = torch.softmax(said.direction, dim=-1).cpu().numpy()
        parts = (mean, quantiles.reshape(len(mean), -1), classes.reshape(len(mean), -1))
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)

    def forecast(  # type: ignore[override]  # its options by name
        self,
        source: Market | pd.DataFrame,
        steps: int | None = None,
        *,
        origins: Sequence[pd.Timestamp] | None = None,
        paths: int = 256,
        seed: int = 0,
        method: str | None = None,
        reference: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Forecasts of the next `steps` base bars, from the last bar or from several.

        Args:
            source: a market of the model's layout, or raw bars.
            steps: base bars ahead; the longest horizon where None.
            origins: opens (UTC) of the bars at whose close forecasts are made; the last one where None.
            paths: sampled paths of each origin, at least 2.
            seed: of the paths; an origin's depend on it and on the origin alone.
            method: "paths" draws bar after bar (a GPT's, and its default); "direct" reads the heads and interpolates
                between their horizons.
            reference: with bars, those of the reference market.

        Returns:
            One row per origin and step: `origin`, `step`, `time` (opens, UTC), `return_mean` and `return_q...`:
            log-returns since the origin's close; `price_mean`, `price_q...`: in quote currency (the mean of "direct"
            is the price at the mean log-return).

        Raises:
            ConfigError: an argument that is not allowed. ArtifactError: the market does not fit. BarsError: bars that
                cannot be used, or an origin that is none of their decisions.
        """
        market = source if isinstance(source, Market) else self.market(source, reference=reference)
        self.require(market)
        config = self.config
        method = method or (PATHS if config.steps else DIRECT)
        steps = config.horizons[-1] if steps is None else steps
        require(method in (PATHS, DIRECT), "method", method, f"one of {(PATHS, DIRECT)}")
        require(bool(config.steps) or method == DIRECT, "method", method, f"{DIRECT!r}: this model samples no paths")
        most = config.steps if method == PATHS else config.horizons[-1]
        require(1 <= steps <= most, "steps", steps, f"1 to {most} base bars, which the model was trained for")
        require(2 <= paths <= 100_000, "paths", paths, "2 to 100,000")
        rows = self._rows(market, origins)
        window = WindowSource([market], config.layout_window)
        found = []
        with on_one_thread(), torch.inference_mode():
            for row in rows:
                if method == PATHS:
                    found.append(path_rows(self.model, market, window, row, (steps, paths, seed)))
                else:
                    found.append(direct_rows(self.model, market, window, row, steps))
        return forecast_table(market, rows, found, config.quantiles)

    def track(self, market: Market, table: pd.DataFrame) -> pd.DataFrame:
        """What `predict` said of a market, with bands that follow what they have missed up to each row (`tracking`).

        A row depends on the rows before it in the table, and on closes up to its own; with every row that is added the
        earlier ones stay as they are.

        Args:
            market: that was predicted.
            table: all columns of `predict`, a row per bar.

        Raises:
            ValueError: the table has other columns, or rows that are none of the market's bars.
        """
        return tracked_table(market, table, self.config.horizons, self.config.quantiles)

    def _rows(self, market: Market, origins: Sequence[pd.Timestamp] | None) -> list[int]:
        first = max(market.first_decision(self.config.layout_window), SIGMA_BARS)
        if origins is None:
            return [len(market) - 1]
        step, rows = timeframe_ms(market.timeframes[0]), []
        for origin in origins:
            moment = pd.Timestamp(origin)
            moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment
            row, rest = divmod(int(moment.timestamp() * 1000) - market.start_ms, step)
            if rest or not first <= row < len(market):
                allowed = f"{market.bars.index[first]} to {market.bars.index[-1]}"
                raise BarsError(f"origin {moment} is none of the decisions: opens of base bars from {allowed}")
            rows.append(int(row))
        return rows

    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """What was forecast beside what came, and the bands: as `Predictor.draw`."""
        from pretrain.forecaster.prediction_pictures import draw_predictions

        return draw_predictions(self, self.config, market, folder, table)

    def _target(self) -> dict[str, Any]:
        """What it predicts, for who reads the configuration without this package."""
        return {"classes": list(CLASSES), "columns": list(self.columns), "definition": DEFINITION}

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "cpu", functions: Sequence[FeatureFunction] = ()
    ) -> Self:
        """The forecaster kept in `folder`, after every check.

        Args:
            folder: of the artifact.
            device: where it predicts.
            functions: code of the user's own features, where it reads some.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others. ValueError:
                no such device. ImportError: a GPT, and transformers is not installed.
        """
        content = read_folder(Path(folder), CONTENT)
        values = exact_keys(parsed(content[CONFIG], CONFIG), CONFIG_KEYS, CONFIG)
        require_format(values, CONFIG, (FORMAT, FORMAT_VERSION))
        try:
            config = ForecasterConfig.from_json(values["architecture"])
            scaler = RobustScaler.from_json(parsed(content[SCALER], SCALER), config.timeframes, config.feature_names)
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG} or {SCALER}: {error}") from error
        architecture = (config.timeframes, config.layout_window, config.feature_names)
        layout = kept_layout(values["market"], f"{CONFIG}: market", architecture, functions)
        model = loaded_module(lambda: ForecasterModel(config, scaler), content[WEIGHTS], WEIGHTS)
        loaded = cls(model, scaler, provenance_in(values), layout.features)
        if values["target"] != loaded._target():
            raise ArtifactError(f"{CONFIG}: target is not that of the architecture: columns differ")
        return loaded if device == "cpu" else loaded.to(device)


def _all_of(said: Said) -> torch.Tensor:
    """(B, ...) all that is said of a window, in one row."""
    return torch.cat([said.mean, said.quantiles.flatten(1), said.direction.flatten(1)], dim=1)


def _layout_of(config: ForecasterConfig, features: FeatureSpec) -> MarketLayout:
    return MarketLayout.named(config.timeframes, config.layout_window, features, config.feature_names)
