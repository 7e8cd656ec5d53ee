"""A trained extractor, and the folder it is kept in: weights, configuration, scaler and checksums; no pickle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.features import FeatureFunction, FeatureSpec
from cryptoenv.files.typed_values import ConfigError
from cryptoenv.market.market import Market
from pretrain.data.scaler import RobustScaler
from pretrain.data.stretches import STRETCH
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel, Predictions
from pretrain.fitting.artifact_folder import (
    ArtifactError,
    artifact_in,
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
from pretrain.fitting.packing import Packed, Wanted, fewest_alike, packed, rows_alike, windows_of
from pretrain.fitting.provenance import LearnedFrom as LearnedFrom  # where it was before
from pretrain.fitting.provenance import Provenance, provenance_in

FORMAT = "cryptoenv-extractor"
FORMAT_VERSION = 6
BASIS_POINTS = 100.0  #: of a percent
MEMORY_STEPS = 64  #: base bars in whose steps the memory stops where one decision is read
DEFINED = "; value: basis points of equity that a position is worth more than none, before the cost of going there"
NAMES_ONLY = 5  #: the version that kept names of features, not the features
SHIPPED = Path(__file__).parents[1] / "artifacts"
SHIPPED_NAMES = ("default", "bars")  #: what ships: taught by the causal optimum, and by rewards from bars alone
_EARLIER_KEYS = (
    "format", "format_version", "architecture", "label_kind", "training_data", "recipe", "versions", "metrics",
)  # fmt: skip
CONFIG_KEYS = (*_EARLIER_KEYS, "data", "market", "target")


class Extractor(KeptPredictor):
    """A trained `ExtractorModel` with its features, scaler and provenance; on one device, in evaluation mode.

    Example:
        >>> from cryptoenv import Market
        >>> from pretrain import Extractor
        >>> from synthetic import regime_market
        >>> extractor = Extractor.load("default")  # the one that ships
        >>> market = Market.from_bars(regime_market("easy", days=2, seed=1).bars, extractor.config.timeframes)
        >>> extractor.embed(market).shape == (len(market), extractor.width)
        True

    Args:
        model: trained; moved to the CPU.
        scaler: that its features are scaled with.
        provenance: where it comes from.
        features: what its features are made by; the default ones where None.

    Raises:
        ArtifactError: `features` have other names than the model reads.
    """

    kind, version = FORMAT, FORMAT_VERSION
    model: ExtractorModel

    whole_history = False  #: whether an embedding depends on more than the bars of its windows and its block

    def __init__(
        self, model: ExtractorModel, scaler: RobustScaler, provenance: Provenance, features: FeatureSpec | None = None
    ) -> None:
        self.model = model.cpu().eval()
        self.scaler = scaler
        self.provenance = provenance
        self._layout = _layout_of(model.config, FeatureSpec() if features is None else features)
        self._hashed: tuple[object, str] | None = None
        self._anywhere: bool | None = None  #: whether rows of other blocks may lie at any place of a batch
        self._fewer: tuple[int, int] | None = None  #: rows read at once for one decision, and steps of its memory

    @property
    def config(self) -> ExtractorConfig:
        """The architecture, timeframes, windows and feature names."""
        return self.model.config

    @property
    def features(self) -> FeatureSpec:
        """What its features are made by."""
        return self._layout.features

    @property
    def width(self) -> int:
        """Width D of an embedding."""
        return self.config.width

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the A targets that its action head chooses from, in the order of its outputs: exposures."""
        return tuple(signed(position) for position in self.config.positions)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `predict`, all float32.

        `up_4`: probability that the log-return over the next 4 base bars is positive. `return_4_q10`: its 10% quantile,
        a log-return. `regime_0`, ...: probabilities of the teacher's regimes, where it had some. `action_-1`,
        `action_0`, `action_+1`: probabilities of the best target exposure for who holds nothing. Where there is a head
        of values, `value_-1`, `value_0`, `value_+1`: what each position is worth more than none, in basis points of
        equity, before the cost of going there. Of the user's own labels: `label_NAME_CLASS`, probabilities of the
        classes of a column, or `label_NAME`, a number in its unit.
        """
        config = self.config
        return (
            *(f"up_{horizon}" for horizon in config.horizons),
            *(f"return_{horizon}_q{100.0 * q:g}" for horizon in config.horizons for q in config.quantiles),
            *(f"regime_{number}" for number in range(config.regimes)),
            *(f"action_{name}" for name in self.classes),
            *(f"value_{name}" for name in self.classes if config.values != "none"),
            *(name for names in _label_columns(config) for name in names),
        )

    @property
    def hash(self) -> str:
        """sha256 (hex) over what decides embeddings: weights, architecture, features, scaler (not metrics, versions).

        It is computed once, and again when a tensor of the model was replaced or written to.
        """
        state = self.model.state_dict()
        now = tuple((name, tensor.data_ptr(), tensor._version) for name, tensor in state.items())
        if self._hashed is None or self._hashed[0] != now:
            self._hashed = now, self._digest(self._layout.digest)
        return self._hashed[1]

    @property
    def earlier_hash(self) -> str:
        """The `hash` that artifacts had before they kept their features: agents of that time name it."""
        return self._digest()

    def embed(self, market: Market) -> NDArray[np.float32]:
        """(T, D) float32 embeddings; rows before `market.first_decision(window)` are 0.

        A recurrent memory starts empty one window before the UTC-anchored block of 512 base bars that a decision lies
        in (or at the market's first bar), as in training: it has then seen at least the decision's own window.

        Raises:
            ArtifactError: the market has other timeframes or features.
        """
        return self._whole(market, lambda block: self.embedded(block).cpu().numpy())

    def action_logits(self, market: Market) -> NDArray[np.float32]:
        """(T, P, A) float32 logits of the best target given each held position; 0 before the first decision.

        Raises:
            ArtifactError: the market has other timeframes or features.
        """
        return self._whole(market, lambda block: self.model.action_logits(self.embedded(block)).cpu().numpy())

    def values(self, market: Market) -> NDArray[np.float32]:
        """(T, P) float32: what each position is worth more than none, in percent of equity, before the cost of going
        there; 0 before the first decision.

        Raises:
            ArtifactError: the market has other timeframes or features, or the extractor has no head of values.
        """
        if self.config.values == "none":
            raise ArtifactError("this extractor has no head of values: pretrain one by rewards (--recipe bars)")
        return self._whole(market, lambda block: self.model.values(self.embedded(block)).cpu().numpy())

    def _whole(self, market: Market, read: Callable[[Block], NDArray[np.float32]]) -> NDArray[np.float32]:
        """(T, ...) what is read of every row, 0 before the first decision."""
        rows, values = self.over_blocks(market, read)
        out = np.zeros((len(market), *values.shape[1:]), np.float32)
        out[rows] = values
        return out

    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, C) float32 predictions of a block (`Predictor.read`)."""
        return self.said(self.embedded(block), block.sigma)

    def said(self, embedded: Tensor, sigma: NDArray[np.float64]) -> NDArray[np.float32]:
        """(n, C) float32 predictions from embeddings (n, D) and the sigma (n,) of their bars."""
        said: Predictions = self.model.predict(embedded)
        config = self.config
        units = torch.from_numpy(sigma[:, None] * np.sqrt(np.array(config.horizons, np.float64)))
        returns = said.return_quantiles.cpu().double() * units[:, :, None]
        flat = int(np.abs(np.array(config.positions)).argmin())
        parts = [torch.sigmoid(said.direction_logits), returns.flatten(1).float()]
        if said.regime_logits is not None:
            parts.append(torch.softmax(said.regime_logits, dim=1))
        parts.append(torch.softmax(said.action_logits[:, flat], dim=1))
        if said.values is not None:
            parts.append(said.values * BASIS_POINTS)
        for classes, (centre, spread), own in zip(config.label_classes, config.label_scales, said.labels, strict=True):
            parts.append(torch.softmax(own, dim=1) if classes else own * spread + centre)
        return torch.cat([part.cpu() for part in parts], dim=1).numpy()

    def embedded(self, block: Block) -> Tensor:
        """(S, D) embeddings of a block."""
        return self.model.over_block(block)

    def embedded_at(self, block: Block, place: int) -> Tensor:
        """(D,) embedding of one decision of a block: row `place` of `embedded`, bit for bit.

        On the CPU it is read among a few rows, where this machine's libraries give them the bits of the whole block,
        and the memory stops at the decision; that is tried, once.
        """
        if self.device.type != "cpu" or self.config.encoder == "hybrid":
            return self.embedded(block)[place]
        window, patch = self.config.window[0], self.config.patches[0]
        if self._fewer is None:
            self._fewer = self._fewest(block)
        rows, steps = self._fewer
        first = place // rows * rows
        places = block.places[0, first : first + rows]
        if self.config.memory:
            length = min(-(-(int(block.places[0, place]) + window) // steps) * steps, block.bars.shape[1])
            states = self.model.remember(block.bars[:, :length])[0]
            ends = places[:, None] + torch.arange(patch - 1, window, patch)
            base = states[ends.clamp(max=length - 1)]  # later rows are not read
        else:
            base = block.bars[0].unfold(0, window, 1).transpose(1, 2)[places].contiguous()
        return self._of_rows([base, *(part[first : first + rows] for part in block.higher)])[place - first]

    def _fewest(self, block: Block) -> tuple[int, int]:
        """How many rows of a block to read for one, and in steps of how many bars its memory may stop."""
        config, bars = self.config, torch.randn(block.bars.shape, generator=torch.Generator().manual_seed(0))
        steps = bars.shape[1]
        base = (config.window[0], bars.shape[2])
        if config.memory:
            whole, cut = self.model.remember(bars), range(MEMORY_STEPS, steps, MEMORY_STEPS)
            base = (config.window[0] // config.patches[0], whole.shape[2])
            if all(torch.equal(self.model.remember(bars[:, :length]), whole[:, :length]) for length in cut):
                steps = MEMORY_STEPS
        shapes = [base, *(tuple(part.shape[1:]) for part in block.higher)]
        return fewest_alike(self._of_rows, shapes, STRETCH), steps

    def embedded_together(self, wanted: Wanted) -> Iterator[tuple[Packed, Tensor]]:
        """Batches of decisions of several blocks, and the (S, D) embeddings of each; the bits of `embedded`."""
        window, patch = self.config.window[0], self.config.patches[0]
        inputs = [windows_of(block, place, window) for block, place in wanted]
        if self.config.memory:
            states: dict[int, Tensor] = {}  # decisions of one block share its memory
            for i, (block, place) in enumerate(wanted):
                if id(block.bars) not in states:
                    states[id(block.bars)] = self.model.remember(block.bars)[0]
                ends = int(block.places[0, place]) + torch.arange(patch - 1, window, patch, device=self.device)
                inputs[i] = (states[id(block.bars)][ends], *inputs[i][1:])
        if self._anywhere is None:
            self._anywhere = rows_alike(self._of_rows, [tuple(part.shape) for part in inputs[0]], STRETCH)
        for batch in packed([place for _, place in wanted], STRETCH, self._anywhere):
            parts = [batch.filled([row[k] for row in inputs], STRETCH) for k in range(len(inputs[0]))]
            yield batch, self._of_rows(parts)

    def _of_rows(self, parts: list[Tensor]) -> Tensor:
        """(S, D) of S windows of every timeframe, or of S rows of states instead of the base's windows."""
        return self.model.read_states(parts[0], parts[1:]) if self.config.memory else self.model(parts)

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, C) float32 predictions of one decision of each block (`Predictor.read_several`)."""
        sigma = np.array([block.sigma[place] for block, place in wanted])
        out = np.zeros((len(wanted), len(self.columns)), np.float32)
        for batch, embedded in self.embedded_together(wanted):
            units = np.zeros(STRETCH)
            units[batch.rows] = sigma[batch.which]
            out[batch.which] = self.said(embedded, units)[batch.rows]
        return out

    def read_scaled(
        self, windows: Sequence[Tensor], sigma: NDArray[np.float64], closes_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """(n, C) float32 predictions of scaled windows (`Predictor.read_scaled`); its memory begins with the window."""
        return self.said(self.model.of_scaled(windows), sigma)

    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """Probabilities of the last days over the price: as `Predictor.draw`."""
        from pretrain.extractor.prediction_picture import draw_predictions

        return draw_predictions(self.config, self.classes, market, table, folder)

    def _target(self) -> dict[str, Any]:
        """What it predicts, for who reads the configuration without this package."""
        return {
            "classes": list(self.classes),
            "columns": list(self.columns),
            "labels": {
                name: list(classes)
                for name, classes in zip(self.config.label_columns, self.config.label_classes, strict=True)
            },
            "definition": "classes: target exposure given each held one, as the teacher chose; up, return: log-return "
            "of the close over base bars ahead" + ("" if self.config.values == "none" else DEFINED),
        }

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        device: str = "cpu",
        functions: Sequence[FeatureFunction] = (),
        features: FeatureSpec | None = None,
    ) -> Self:
        """The extractor kept in `folder`, after every check; "default" and "bars" ship with the package.

        Args:
            folder: of the artifact, or of the run that made it.
            device: where it predicts.
            functions: code of the user's own features, where it reads some.
            features: of an artifact that was made before they were kept in it (format version 5), where they are not
                the default ones; saving it again keeps them.

        Raises:
            ArtifactError: a file is missing, unexpected, changed, unreadable, or does not fit the others; the code of
                a feature is missing. ValueError: no such device.
        """
        content = read_folder(shipped_place(folder) or artifact_in(Path(folder)), CONTENT)
        values, earlier = _config_values(content[CONFIG])
        try:
            config = ExtractorConfig.from_json(values["architecture"])
        except ConfigError as error:
            raise ArtifactError(f"{CONFIG}: {error}") from error
        if earlier:
            spec = _features_of_earlier(config, features, folder)
        elif features is not None:
            raise ArtifactError(f"{folder} keeps its features: leave features= out")
        else:
            architecture = (config.timeframes, config.window, config.feature_names)
            spec = kept_layout(values["market"], f"{CONFIG}: market", architecture, functions).features
        try:
            scaler = RobustScaler.from_json(parsed(content[SCALER], SCALER), config.timeframes, config.feature_names)
        except ConfigError as error:
            raise ArtifactError(f"{SCALER}: {error}") from error
        model = loaded_module(lambda: ExtractorModel(config, scaler), content[WEIGHTS], WEIGHTS)
        loaded = cls(model, scaler, provenance_in(values), spec)
        if not earlier and values["target"] != loaded._target():
            raise ArtifactError(f"{CONFIG}: target is not that of the architecture: classes or columns differ")
        return loaded if device == "cpu" else loaded.to(device)


def shipped_place(name: str | Path) -> Path | None:
    """The folder of an artifact that ships with the package, by its name; None for another name, or a path."""
    return SHIPPED / name if isinstance(name, str) and name in SHIPPED_NAMES else None


def _label_columns(config: ExtractorConfig) -> list[list[str]]:
    """Per column of the user's labels, the names of its predictions."""
    named = zip(config.label_columns, config.label_classes, strict=True)
    return [[f"label_{name}_{kind}" for kind in classes] or [f"label_{name}"] for name, classes in named]


def signed(position: float) -> str:
    """An exposure as a class is called: "-1", "0", "+0.5"."""
    return f"{position:+g}" if position else "0"


def _config_values(data: bytes) -> tuple[dict[str, Any], bool]:
    """The configuration, and whether it is of the version that kept no features."""
    values = parsed(data, CONFIG)
    earlier = isinstance(values, dict) and (values.get("format"), values.get("format_version")) == (FORMAT, NAMES_ONLY)
    values = exact_keys(values, _EARLIER_KEYS if earlier else CONFIG_KEYS, CONFIG)
    if not earlier:
        require_format(values, CONFIG, (FORMAT, FORMAT_VERSION))
    return values, earlier


def _layout_of(config: ExtractorConfig, features: FeatureSpec) -> MarketLayout:
    return MarketLayout.named(config.timeframes, config.window, features, config.feature_names)


def _features_of_earlier(config: ExtractorConfig, features: FeatureSpec | None, folder: str | Path) -> FeatureSpec:
    """The features of an artifact that kept only their names: those given, or the default ones, with a warning."""
    what = f"{folder} was made before artifacts kept their features (format version {NAMES_ONLY})"
    do = "load it with features=FeatureSpec(...), the ones it was trained on, and save it again to keep them"
    try:
        _layout_of(config, FeatureSpec() if features is None else features)
    except ArtifactError as error:
        raise ArtifactError(f"{what}, and its names are not those of the features taken ({error}): {do}") from error
    if features is None:
        warnings.warn(f"{what}: the default ones are taken; if it was trained on others, {do}", stacklevel=4)
    return FeatureSpec() if features is None else features
