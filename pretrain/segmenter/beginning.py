"""What a segmenter begins with: the encoder of a trained extractor or segmenter, whose features it reads and more.

The network that begins says what the other one says: features that the other does not read begin with weights of zero.
An extractor that learned what the best policy without foresight does knows much of the regimes already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec, TimeframeFeatures
from cryptoenv.files.typed_values import ConfigError
from pretrain.data.scaler import RobustScaler
from pretrain.data.stretches import StretchBatch
from pretrain.data.windows import Batch
from pretrain.extractor.artifact import FORMAT as EXTRACTOR_FORMAT
from pretrain.extractor.artifact import Extractor, shipped_place
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.artifact_folder import ArtifactError, kind_of
from pretrain.fitting.run_folder import artifact_in
from pretrain.segmenter.artifact import FORMAT, Segmenter
from pretrain.segmenter.config import SegmenterConfig
from pretrain.segmenter.model import LEAST, SegmenterModel

Start = Extractor | Segmenter
_SAME = (
    "timeframes", "window", "patches", "width", "layers", "heads", "feedforward", "encoder", "bar_width", "memory",
)  # fmt: skip
EM_STEPS, LEAST_EMISSION = 200, 1e-4
_ENCODER, _HEADS = "encoder.", ("head.", "memory_head.")


def loaded_start(folder: str | Path) -> Start:
    """The extractor or segmenter in a folder, or in that of the run that made it; "default" is the one that ships.

    Raises:
        ArtifactError: another model, or none.
    """
    place = shipped_place(folder) or artifact_in(Path(folder))
    kind = kind_of(place)
    if kind == EXTRACTOR_FORMAT:
        return Extractor.load(place)
    if kind == FORMAT:
        return Segmenter.load(place)
    raise ArtifactError(f"start: {place} holds a model of kind {kind!r:.100}; allowed: an extractor or a segmenter")


def require_start(config: SegmenterConfig, features: FeatureSpec, start: Start) -> None:
    """Check that a network of `config` on these features can begin with the encoder of `start`.

    Raises:
        ConfigError: names what differs: sizes, timeframes, or a feature that `start` reads and the network does not.
    """
    other = start.config
    for name in _SAME:
        had, own = getattr(other, name), getattr(config, name)
        if had != own:
            raise ConfigError(f"start: its {name} is {had}, the architecture's {own}: it must be the same")
    joins = {config.join, getattr(other, "join", config.join)}
    if joins != {"tokens"}:
        raise ConfigError(f"start: join={sorted(joins)} is not allowed: 'tokens', one encoder for all timeframes")
    for timeframe, had, own in zip(config.timeframes, other.feature_names, config.feature_names, strict=True):
        if missing := [name for name in had if name not in own]:
            raise ConfigError(f"start: reads the feature {missing[0]!r} of {timeframe}, which is not among the {own}")
    durations = [timeframe_ms(name) for name in config.timeframes]
    for place, timeframe in enumerate(config.timeframes):
        had, own = (spec.role(place, durations) for spec in (start.layout.features, features))
        if different := _different(had, own):
            raise ConfigError(f"start: its features of {timeframe} are made otherwise: {different} differs")


def _different(had: TimeframeFeatures, own: TimeframeFeatures) -> str:
    """The first setting or family of `had` that `own` does not have as it is; what `own` has beyond is no matter."""
    for one in fields(TimeframeFeatures):
        before, now = getattr(had, one.name), getattr(own, one.name)
        if one.name == "custom":
            if any(function not in now for function in before):
                return one.name
        elif before is not None and before != now:
            return one.name
    return ""


def started_scaler(fitted: RobustScaler, start: Start) -> RobustScaler:
    """The scaler of `start` for the features that it reads, `fitted` for the others."""
    median: list[NDArray[np.float32]] = []
    iqr: list[NDArray[np.float32]] = []
    for k, names in enumerate(fitted.names):
        places = [names.index(name) for name in start.scaler.names[k]]
        for found, own, had in ((median, fitted.median, start.scaler.median), (iqr, fitted.iqr, start.scaler.iqr)):
            values = np.array(own[k])
            values[places] = had[k]
            found.append(values)
    return RobustScaler(fitted.timeframes, fitted.names, tuple(median), tuple(iqr))


def begin_with(model: SegmenterModel, start: Start) -> None:
    """Gives `model` the encoder of `start`; and its heads where they are of the same timescales and classes, or where
    they say how likely as many hidden states are (an extractor's regimes).

    Args:
        model: with the scaler of `started_scaler`; changed in place.
        start: what `require_start` allows.
    """
    config, other = model.config, start.config
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = start.model.state_dict()
    for name, tensor in given.items():
        if name.startswith(_ENCODER):
            kept[name] = _widened(name, tensor, kept[name], config, other.feature_names)
    kept |= {name: tensor for name, tensor in _heads(given, other, config).items() if name in kept}
    model.load_state_dict(kept)


def _heads(
    given: Mapping[str, Tensor], other: ExtractorConfig | SegmenterConfig, own: SegmenterConfig
) -> dict[str, Tensor]:
    if isinstance(other, ExtractorConfig):
        if other.regimes != own.hidden:
            return {}
        named = {"regime_head.": "head.", "memory_regime_head.": "memory_head."}
        return {
            new + name.removeprefix(old): tensor
            for name, tensor in given.items()
            for old, new in named.items()
            if name.startswith(old)
        }
    same = _of_same_classes(other, own)
    if other.hidden != own.hidden or not (same or own.hidden):
        return {}
    heads = (*_HEADS, "emission") if same else _HEADS
    return {name: tensor for name, tensor in given.items() if name.startswith(heads)}


def _of_same_classes(other: SegmenterConfig, own: SegmenterConfig) -> bool:
    return (other.timescales, other.classes, other.hidden) == (own.timescales, own.classes, own.hidden)


def has_emissions(config: SegmenterConfig, start: Start) -> bool:
    """Whether `begin_with` takes from `start` what hidden states say of the classes."""
    return isinstance(start, Segmenter) and _of_same_classes(start.config, config)


def fit_emissions(model: SegmenterModel, batches: Iterable[Batch | StretchBatch]) -> None:
    """Sets what each hidden state says of the classes to what makes the rows likeliest.

    Expectation and maximisation (Dempster, Laird and Rubin 1977) over how likely the hidden states are, which stays as
    it is: the likelihood is concave in the emissions, so that there is one best. A state that is never likely says what
    all rows say.

    Args:
        model: with hidden states; changed in place.
        batches: of rows with labels.
    """
    config = model.config
    shape = (len(config.timescales), len(config.classes))
    states, beliefs = [], []
    with torch.inference_mode():
        for batch in batches:
            if isinstance(batch, Batch):
                embeddings, told = model(batch.windows), batch.beliefs
            else:
                embeddings, _ = model.over_stretches(batch.bars, batch.places, batch.decisions.windows)
                told = batch.decisions.beliefs
            states.append(model.hidden_states(embeddings).double())
            beliefs.append(told.double())
        found = _emissions(torch.cat(states), torch.cat(beliefs), shape)
    model.emission.data = found.clamp(min=LEAST_EMISSION).log().flatten(1).float()


def _emissions(states: Tensor, beliefs: Tensor, shape: tuple[int, int]) -> Tensor:
    """(hidden, S, C) from (N, hidden) probabilities of states and (N, S * C) beliefs."""
    everywhere = beliefs.sum(dim=0).unflatten(0, shape)
    everywhere = everywhere / everywhere.sum(dim=1, keepdim=True)  # counts as one row more of each state
    found = everywhere.expand(states.shape[1], *shape)
    for _ in range(EM_STEPS):
        likely = (states @ found.flatten(1)).clamp(min=LEAST)
        counts = (states.T @ (beliefs / likely)).unflatten(1, shape) * found + everywhere
        found = counts / counts.sum(dim=2, keepdim=True)
    return found


def _widened(
    name: str, given: Tensor, own: Tensor, config: SegmenterConfig, before: Sequence[tuple[str, ...]]
) -> Tensor:
    """A tensor of the encoder; columns of features that were not read before are zeros."""
    if given.shape == own.shape:
        return given
    parts = name.removeprefix(_ENCODER).split(".")
    k = int(parts[1]) if parts[0].startswith("embed") else 0
    names = config.feature_names[k]
    places = torch.tensor([names.index(feature) for feature in before[k]])
    out = torch.zeros_like(own).unflatten(1, (-1, len(names)))
    out[:, :, places] = given.unflatten(1, (-1, len(before[k])))
    return out.flatten(1)
