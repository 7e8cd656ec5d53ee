"""Folders of named files with checksums, written whole and read only after every check; no pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from cryptoenv.files import durable_files
from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import NotRegularError, read_files, read_regular, recover_folder

Module = TypeVar("Module", bound=nn.Module)

CHECKSUMS = "checksums.json"
CONFIG = "config.json"  #: of every model's artifact: an object with "format", the kind of model
ARTIFACT = "artifact"  #: folder of the artifact in a run's folder
LARGEST_FILE = 4 * 1024**3  #: bytes of a file that is read
LARGEST_CONFIG = 16 * 1024**2  #: bytes of a configuration that is looked into
LARGEST_HEADER = 2 * 1024**2  #: bytes of what a safetensors file says of its tensors


class ArtifactError(ValueError):
    """An artifact that cannot be loaded, or that does not fit a market; the message names the file or the field."""


def json_bytes(value: object) -> bytes:
    """`value` as indented JSON with sorted keys; numbers must be finite."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def weights_bytes(module: nn.Module) -> bytes:
    """The state of a module as a safetensors file."""
    return safetensors.torch.save({name: tensor.contiguous() for name, tensor in module.state_dict().items()})


def write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Writes files and their checksums beside their place and puts them there in one step; an artifact is replaced.

    Whatever kills the process: the folder is there, and is the old artifact or the new one.

    Raises:
        ArtifactError: `folder` exists and is no artifact.
        OSError: the disk is full, ...; what stood at `folder` still does.
    """
    recover_folder(folder)
    if folder.is_symlink() or (folder.exists() and not (folder / CHECKSUMS).is_file()):
        raise ArtifactError(f"{folder} exists and is no artifact: it is a link, or has no {CHECKSUMS}")
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    files = dict(content) | {CHECKSUMS: json_bytes(sums)}

    def make(place: Path) -> None:
        for name, data in files.items():
            (place / name).write_bytes(data)

    durable_files.write_folder(folder, make)


def read_folder(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files `names` of an artifact, each equal to its checksum.

    Raises:
        ArtifactError: no such folder; a file is missing, unexpected, a link, a pipe, too large, or changed.
    """
    expected = {*names, CHECKSUMS}

    def require(kept: list[str]) -> None:
        if missing := sorted(expected.difference(kept)):
            raise ArtifactError(f"{folder}: {missing[0]} is missing")
        if foreign := sorted({*kept} - expected):
            raise ArtifactError(f"{folder}: unexpected file {foreign[0]}, an artifact holds only {sorted(expected)}")

    try:
        content = read_files(folder, LARGEST_FILE, require)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(f"{folder} is no artifact: no such folder") from error
    except NotRegularError as error:
        raise ArtifactError(str(error)) from error
    sums = exact_keys(parsed(content.pop(CHECKSUMS), CHECKSUMS), names, CHECKSUMS)
    for name, data in content.items():
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise ArtifactError(f"{folder}: {name} does not have the sha256 in {CHECKSUMS}: truncated or changed")
    return content


def artifact_in(place: Path) -> Path:
    """The folder itself, or the artifact of a run's folder."""
    whole = (place / CONFIG).exists() or not (place / ARTIFACT / CONFIG).is_file()
    return place if whole else place / ARTIFACT


def kind_of(folder: Path) -> str:
    """The kind of model that an artifact holds, as its configuration names it; nothing else is checked.

    Raises:
        ArtifactError: no such folder, or no configuration that names a kind.
    """
    try:
        data = read_regular(folder / CONFIG, LARGEST_CONFIG)
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = f"{CONFIG} is missing" if folder.is_dir() else "a file" if folder.exists() else "no such folder"
        raise ArtifactError(f"{folder} is no artifact: {missing}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder} is no artifact: {error}") from error
    values = parsed(data, CONFIG)
    kind = values.get("format") if isinstance(values, dict) else None
    if not isinstance(kind, str):
        raise ArtifactError(f"{folder} is no artifact of a model: {CONFIG} names no format")
    return kind


def parsed(data: bytes, name: str) -> object:
    """The JSON in file `name`, bounded (`cryptoenv.files.bounded_json`).

    Raises:
        ArtifactError: it is none, holds a number that is not finite or a key twice, or is more than is read.
    """
    try:
        return parse_json(data, name)
    except JsonError as error:
        raise ArtifactError(str(error)) from error


def exact_keys(value: object, keys: tuple[str, ...], name: str) -> dict[str, Any]:
    """`value`, an object with exactly these keys.

    Raises:
        ArtifactError: another type, or a key too many or too few.
    """
    if not isinstance(value, dict):
        raise ArtifactError(f"{name} must hold an object, got {type(value).__name__}")
    if different := sorted(set(value) ^ set(keys)):
        raise ArtifactError(f"{name}: key {different[0]!r} is {'missing' if different[0] in keys else 'unknown'}")
    return value


def require_format(values: dict[str, Any], name: str, expected: tuple[str, int]) -> None:
    """Refuse another format, or another version of it.

    Raises:
        ArtifactError: names both.
    """
    if (values["format"], values["format_version"]) != expected:
        found = f"{values['format']!r} version {values['format_version']!r}"
        raise ArtifactError(f"{name}: format is {found}, expected {expected[0]!r} version {expected[1]}")


def require_header(data: bytes, file: str) -> None:
    """Refuse what does not begin as a safetensors file does: with the length of a header, and bounded JSON.

    Raises:
        ArtifactError: it does not.
    """
    header = int.from_bytes(data[:8], "little")
    if header > LARGEST_HEADER:
        raise ArtifactError(f"{file} is no safetensors file: its header has {header:,} bytes, over {LARGEST_HEADER:,}")
    try:
        parse_json(data[8 : 8 + header], f"the header of {file}")
    except JsonError as error:
        raise ArtifactError(f"{file} is no safetensors file: {error}") from error


def checked_weights(data: bytes, expected: Mapping[str, Tensor], file: str) -> dict[str, Tensor]:
    """The tensors in `data`, of the names, shapes (any shape) and dtypes of `expected`, all finite.

    Raises:
        ArtifactError: names the tensor that differs.
    """
    require_header(data, file)
    try:
        weights = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise ArtifactError(f"{file} is no safetensors file: {error}") from error
    if different := sorted(set(weights) ^ set(expected)):
        state = "missing" if different[0] in expected else "unknown to the architecture"
        raise ArtifactError(f"{file}: tensor {different[0]!r} is {state}")
    for name, tensor in weights.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            found, needed = (f"{t.dtype} {tuple(t.shape)}" for t in (tensor, wanted))
            raise ArtifactError(f"{file}: tensor {name!r} is {found}, the architecture needs {needed}")
        if not bool(torch.isfinite(tensor).all()):
            raise ArtifactError(f"{file}: tensor {name!r} holds a number that is not finite")
    return weights


def loaded_module(build: Callable[[], Module], data: bytes, file: str) -> Module:
    """The module that `build` makes, with the weights in `data`; arguments and errors as `checked_weights`."""
    with torch.device("meta"):  # shapes alone: a config that asks for the earth gets no memory
        expected = build().state_dict()
    weights = checked_weights(data, expected, file)
    module = build()
    module.load_state_dict(weights)
    return module
