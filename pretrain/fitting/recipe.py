"""What the recipes of all models have in common: one YAML file that decides everything, read, checked and written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, written_values
from cryptoenv.files.typed_yaml import read_mapping, recipe_path, section, yaml_text
from pretrain.fitting.artifact_folder import json_bytes

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
    def digest(self) -> str:
        """sha256 (hex) over all of it."""
        return hashlib.sha256(json_bytes(written_values(self))).hexdigest()

    @classmethod
    def read(cls, recipe: str | Path) -> Self:
        """A recipe by name (of those shipped) or from a YAML file.

        A file names only what differs from the defaults.

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key, or a value that is not allowed.
        """
        path = recipe_path(recipe, RECIPES)
        values = read_mapping(path)
        for name, kind in cls.SECTIONS.items():
            if values.get(name, 0) is None:  # a heading whose lines are comments
                del values[name]
            elif name in values:
                values[name] = section(values[name], kind, f"{path}: {name}")
        return section(values, cls, str(path))

    def changed(self, **changes: Any) -> Self:
        """This recipe with other values; None leaves one as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def text(self) -> str:
        """All of it, defaults included, as YAML."""
        return yaml_text(written_values(self))

    def write(self, path: Path) -> None:
        """Write `text` to a file, whole or not at all."""
        write_file(path, self.text())


def model_of(recipe: str | Path, known: Mapping[str, Any]) -> str:
    """The model that a recipe is of: one of the keys of `known`.

    Raises:
        ConfigError: no such recipe, no YAML, or one of another model.
    """
    path = recipe_path(recipe, RECIPES)
    model = read_mapping(path).get(MODEL, EXTRACTOR)
    if model not in known:
        raise ConfigError(f"{path}: {MODEL}={model!r:.100} is unknown; choose one of {tuple(known)}")
    return str(model)
