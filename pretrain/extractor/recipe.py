"""Recipes: everything that decides a pretrained extractor, in one YAML file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, Range, require_ranges, require_types, written_values
from cryptoenv.files.typed_yaml import read_mapping, recipe_path, section, yaml_text
from pretrain.data.teachers import OWN_LABELS, TEACHERS
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.artifact_folder import json_bytes
from pretrain.fitting.config import PretrainingConfig
from synthetic import TASKS

RECIPES = Path(__file__).parents[1] / "recipes"
_COUNTS = {
    "markets": Range(1, 1_000_000), "validation_markets": Range(1, 1_000_000), "days": Range(1, 36_500),
    "seed": Range(0, 2**63 - 1),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """What to pretrain on, and how.

    Attributes:
        task: synthetic task whose "extractor" seeds are learnt from.
        markets: how many of them.
        validation_markets: of the "validation" seeds, to stop early on and choose weights by.
        days: tradable days of each market.
        teacher: "oracle", "path" or "horizon" (`pretrain.data.teachers`); "patterns", which learns from pattern markets
            whatever the task, and wants `architecture.regimes` of at least 21 (none and twenty kinds); or "labels": the
            user's own, which stand in files beside the bars (`pretrain.data.own_labels`).
        seed: of weights, batches and dropout.
        architecture: of the extractor.
        training: its optimiser and budget.

    Raises:
        ConfigError: a count that is not positive, or an unknown task or teacher.
    """

    task: str = "standard"
    markets: int = 192
    validation_markets: int = 24
    days: int = 60
    teacher: str = "oracle"
    seed: int = 0
    architecture: ExtractorConfig = field(default_factory=ExtractorConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _COUNTS)
        for name, allowed in (("task", tuple(TASKS)), ("teacher", (*TEACHERS, OWN_LABELS))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {allowed}")

    @property
    def digest(self) -> str:
        """sha256 (hex) over all of it."""
        return hashlib.sha256(json_bytes(written_values(self))).hexdigest()

    @classmethod
    def read(cls, recipe: str | Path) -> Self:
        """A recipe by name (of those shipped) or from a YAML file.

        A file names only what differs from the defaults of `Recipe`.

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key, or a value that is not allowed.
        """
        path = recipe_path(recipe, RECIPES)
        values = read_mapping(path)
        for name, kind in (("architecture", ExtractorConfig), ("training", PretrainingConfig)):
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
