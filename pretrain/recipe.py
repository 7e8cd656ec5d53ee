"""Recipes: everything that decides a pretrained extractor, in one YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import yaml

from pretrain.config import ConfigError, ExtractorConfig, TrainingConfig

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """What to pretrain on, and how.

    Attributes:
        task: synthetic task whose "extractor" seeds are learnt from.
        markets: how many of them.
        validation_markets: of the "validation" seeds, to stop early on and choose weights by.
        days: tradable days of each market.
        teacher: "oracle", "path" or "horizon" (`pretrain.lessons`).
        seed: of weights, batches and dropout.
        architecture: of the extractor.
        training: its optimiser and budget.

    Raises:
        ConfigError: a count that is not positive, or an unknown teacher.
    """

    task: str = "standard"
    markets: int = 192
    validation_markets: int = 24
    days: int = 60
    teacher: str = "oracle"
    seed: int = 0
    architecture: ExtractorConfig = field(default_factory=ExtractorConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        for name in ("markets", "validation_markets", "days"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} is not allowed: a whole number >= 1")

    @classmethod
    def read(cls, recipe: str | Path) -> Self:
        """A recipe by name (of those shipped) or from a YAML file.

        A file names only what differs from the defaults of `Recipe`.

        Raises:
            ConfigError: no such recipe, no YAML, an unknown key, or a value that is not allowed.
        """
        path = RECIPES / f"{recipe}.yaml" if (RECIPES / f"{recipe}.yaml").is_file() else Path(recipe)
        if not path.is_file():
            shipped = sorted(found.stem for found in RECIPES.glob("*.yaml"))
            raise ConfigError(f"recipe {str(recipe)!r} is neither a file nor one of those shipped: {shipped}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: no YAML: {error}") from error
        return cls(**_sections(_known(values or {}, cls, str(path)), str(path)))

    def changed(self, **changes: Any) -> Self:
        """This recipe with other values; None leaves one as it is."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def write(self, path: Path) -> None:
        """Write all of it, defaults included, as YAML."""
        path.write_text(yaml.safe_dump(_plain(asdict(self)), sort_keys=False), encoding="utf-8")


def _sections(values: dict[str, Any], where: str) -> dict[str, Any]:
    for name, kind in (("architecture", ExtractorConfig), ("training", TrainingConfig)):
        if name in values:
            given = _known(values[name], kind, f"{where}: {name}")
            try:
                values[name] = kind(**{key: _tuples(value) for key, value in given.items()})
            except TypeError as error:
                raise ConfigError(f"{where}: {name}: a value has the wrong type: {error}") from error
    return values


def _known(values: object, kind: type[Any], where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected keys and values, got {type(values).__name__}")
    known = [item.name for item in fields(kind)]
    if unknown := sorted(set(map(str, values)) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, known are {known}")
    return dict(values)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
