"""What the recipes of all models have in common: one YAML file that decides everything, read, checked and written."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, known_values, require, tupled, written_values
from cryptoenv.files.typed_yaml import read_mapping, recipe_path, section, yaml_text
from pretrain.fitting.artifact_folder import json_bytes
from pretrain.fitting.market_inputs import INPUT_KEYS, MarketInputs
from pretrain.fitting.market_layout import MarketLayout

RECIPES = Path(__file__).parents[1] / "recipes"
MODEL = "model"  #: key of a recipe's file that says which model it is of
EXTRACTOR = "extractor"  #: what a recipe is of that does not say


@dataclass(frozen=True)
class ModelRecipe:
    """Base of the frozen dataclasses that describe a pretraining.

    A subclass names in `SECTIONS` those of its fields that are configurations of their own.
    """

    SECTIONS: ClassVar[Mapping[str, type[Any]]] = {}

    @property
    def values(self) -> dict[str, Any]:
        """All of it, as plain values, in the form of a recipe's file."""
        return written_values(self)

    @property
    def digest(self) -> str:
        """sha256 (hex) over all of it."""
        return hashlib.sha256(json_bytes(self.values)).hexdigest()

    @classmethod
    def read(cls, recipe: str | Path) -> Self:
        """A recipe by name (of those shipped) or from a YAML file.

        A file names only what differs from the defaults.

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key, or a value that is not allowed.
        """
        path = recipe_path(recipe, RECIPES)
        return cls.of(read_mapping(path), str(path))

    @classmethod
    def of(cls, values: dict[str, Any], path: str) -> Self:
        """The recipe of a file's keys and values; `path` names the file in messages.

        Raises:
            ConfigError: an unknown key, or a value that is not allowed.
        """
        for name, kind in cls.SECTIONS.items():
            if values.get(name, 0) is None:  # a heading whose lines are comments
                del values[name]
            elif name in values:
                values[name] = section(values[name], kind, f"{path}: {name}")
        return section(values, cls, path)

    def changed(self, **changes: Any) -> Self:
        """This recipe with other values; None leaves one as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def text(self) -> str:
        """All of it, defaults included, as YAML."""
        return yaml_text(self.values)

    def write(self, path: Path) -> None:
        """Write `text` to a file, whole or not at all."""
        write_file(path, self.text())


class MarketRecipe(ModelRecipe):
    """Base of those whose model reads markets by an encoder.

    They have a field `inputs`, whose `timeframes`, `features`, `reference`, `exogenous` and `split_fractions` are keys
    of a recipe's file like the others, and a section `architecture`, an `EncoderConfig`, of the timeframes
    that `inputs` name.
    """

    inputs: MarketInputs
    architecture: Any

    def require_timeframes(self) -> None:
        """Check that `inputs` and `architecture` name the same timeframes, and `inputs` nothing that is of trading.

        Raises:
            ConfigError: they do not, or they do.
        """
        named, built = self.inputs.timeframes, self.architecture.timeframes
        same = named in (None, built)
        require(same, "timeframes", named, f"those of the architecture, {built}; leave one of the two out")
        trades = "nothing here: it is charged where an agent trades, and belongs to an agent's recipe"
        require(not self.inputs.funding, "funding", self.inputs.funding, trades)

    @property
    def values(self) -> dict[str, Any]:
        """All of it, as plain values, in the form of a recipe's file."""
        told = super().values
        del told["inputs"]
        return told | self.inputs.given

    @classmethod
    def of(cls, values: dict[str, Any], path: str) -> Self:
        """As `ModelRecipe.of`."""
        inputs = MarketInputs.read({name: values.pop(name) for name in INPUT_KEYS if name in values}, path)
        known_values(values, [one.name for one in fields(cls) if one.name != "inputs"] + list(INPUT_KEYS), path)
        if inputs.timeframes is not None:
            values["architecture"] = cls._on(inputs.timeframes, values.get("architecture"), path)
        return super().of(values, path).changed(inputs=inputs)

    @classmethod
    def _on(cls, timeframes: tuple[str, ...], architecture: Any, where: str) -> Any:
        """The section of an architecture with these timeframes where it names none, and windows for them.

        Raises:
            ConfigError: it names others.
        """
        if architecture is not None and not isinstance(architecture, dict):
            return architecture  # refused where it is read
        named = dict(architecture or {})
        others = named.setdefault("timeframes", timeframes)
        same = tupled(others) == timeframes
        allowed = f"those of the architecture, {others}; leave one of the two out"
        require(same, f"{where}: timeframes", timeframes, allowed)
        fitted = cls.SECTIONS["architecture"]().for_timeframes(timeframes)
        for name in ("window", "patches"):
            if hasattr(fitted, name):
                named.setdefault(name, getattr(fitted, name))
        return named

    def with_inputs(self, inputs: MarketInputs) -> Self:
        """This recipe with what `inputs` say, and an architecture of their timeframes.

        Raises:
            ConfigError: values that are not allowed.
        """
        told = inputs.over(self.inputs)
        architecture = self.architecture.for_timeframes(told.timeframes or self.architecture.timeframes)
        return self.changed(inputs=told, architecture=architecture)

    @property
    def layout(self) -> MarketLayout:
        """What its model sees of a market.

        Raises:
            ConfigError: features that cannot be used with its timeframes.
        """
        return self.inputs.new_layout(self.architecture.timeframes, self.architecture.window)


def model_of(recipe: str | Path, known: Collection[str]) -> str:
    """The model that a recipe is of: one of `known`.

    Raises:
        ConfigError: no such recipe, no YAML, or one of another model.
    """
    path = recipe_path(recipe, RECIPES)
    model = read_mapping(path).get(MODEL, EXTRACTOR)
    if model not in known:
        raise ConfigError(f"{path}: {MODEL}={model!r:.100} is unknown; choose one of {tuple(known)}")
    return str(model)
