"""YAML files that name only what differs from a dataclass's defaults; unknown keys and wrong types are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cryptoenv.files.bounded_yaml import YamlError, read_yaml
from cryptoenv.files.durable_files import write_file
from cryptoenv.files.typed_values import ConfigError, require_types

T = TypeVar("T")


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


def known_values(values: object, known: Sequence[str], where: str) -> dict[str, Any]:
    """`values` as a dict whose keys are all in `known`.

    Raises:
        ConfigError: no mapping, or an unknown key; `where` and the known keys are named.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected keys and values, got {type(values).__name__}")
    if unknown := sorted(set(map(str, values)) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, known are {list(known)}")
    return dict(values)


def section(
    values: object,
    kind: type[T],
    where: str,
    *,
    base: T | None = None,
    further: Sequence[str] = (),
    without: Sequence[str] = (),
) -> T:
    """`kind` from a mapping of some of its fields; lists become tuples, the others are `base`'s or the defaults.

    Args:
        values: the mapping, as it was read.
        kind: a dataclass.
        where: names the mapping in messages.
        base: values of what the mapping leaves out.
        further: keys that the file may have beside them, and that were taken out before.
        without: fields that it may not have.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type or out of range.
    """
    names = [item.name for item in fields(kind) if item.name not in without]  # type: ignore[arg-type]
    known = dict.fromkeys((*names, *further))
    given = {key: tupled(value) for key, value in known_values(values, tuple(known), where).items()}
    require_types(kind, given, where)
    if base is not None:
        given = {item.name: getattr(base, item.name) for item in fields(kind)} | given  # type: ignore[arg-type]
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def tupled(value: Any) -> Any:
    """Lists, at any depth, as tuples."""
    return tuple(tupled(item) for item in value) if isinstance(value, list) else value


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
