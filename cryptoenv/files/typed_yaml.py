"""YAML files that name only what differs from a dataclass's defaults; unknown keys and wrong types are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cryptoenv.files.bounded_yaml import YamlError, read_yaml
from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, known_values, section, tupled

__all__ = ["known_values", "plain", "read_mapping", "recipe_path", "section", "tupled", "write_yaml", "yaml_text"]


def recipe_path(recipe: str | Path, shipped: Path) -> Path:
    """The file of a recipe: one of those in the folder `shipped`, by name, or a file of one's own.

    Raises:
        ConfigError: neither; those that ship are named.
    """
    named = shipped / f"{recipe}.yaml"
    path = named if named.is_file() else Path(recipe)
    if not path.is_file():
        what = "is a directory, no file" if path.is_dir() else "is neither a file nor one of those shipped"
        names = sorted(found.stem for found in shipped.glob("*.yaml"))
        raise ConfigError(f"recipe {str(recipe)!r} {what}: {names}")
    return path


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no YAML, nothing at all, or something else than keys and values.
    """
    try:
        values = read_yaml(path)
    except YamlError as error:
        raise ConfigError(str(error)) from error
    if values is None or values == {}:
        raise ConfigError(f"{path}: the file says nothing; leave the recipe out for the default one")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, got {type(values).__name__}")
    return values


def plain(value: Any) -> Any:
    """Tuples, at any depth, as lists: what YAML can say."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple | list) else value


def yaml_text(values: dict[str, Any]) -> str:
    """Plain values in their order, as YAML."""
    return str(yaml.safe_dump(plain(values), sort_keys=False))


def write_yaml(values: dict[str, Any], path: Path) -> None:
    """Write `yaml_text` to a file, whole or not at all."""
    write_file(path, yaml_text(values))
