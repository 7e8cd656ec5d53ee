"""A version: a model with where it comes from, how good it was, and a checksum of every file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from agents.policies.segmented_extractor import SEGMENTER
from agents.run_folders.run_folder import (
    AGENT,
    CLONE,
    CONFIG,
    EXTRACTOR,
    LEARNED_UNTIL,
    METRICS,
    PICTURE,
    RECIPE,
    SEEDS,
    TRAINED_UNTIL,
    Run,
    read_json,
    seed_folders,
)
from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import NotRegularError, read_regular, refuse_special, write_file
from pretrain import load
from pretrain.data.rewards import REWARDS_OF_SYNTHETIC
from pretrain.data.teachers import ORACLE_LABELS, PATTERN_LABELS
from pretrain.fitting.artifact_folder import kind_of
from pretrain.fitting.run_folder import ARTIFACT, INPUTS, artifact_in

TOLD, MODEL, DRIFT = "version.json", "model", "drift.json"
RECORD, TABLE = "comparison.json", "walk-forward"  #: of a proposal: against which version, and its walk-forward
FORMAT = 1
AGENT_KIND = "agent"
SYNTHETIC = (ORACLE_LABELS, PATTERN_LABELS, REWARDS_OF_SYNTHETIC)  #: teachers of synthetic markets alone
LARGEST = 16_000_000  #: bytes of a version's description
OF_A_MODEL = (RECIPE, INPUTS)  #: of a run of another model, beside its artifact: how it can be trained again
OF_AN_AGENT = (RECIPE, SEEDS, CONFIG, METRICS, PICTURE, EXTRACTOR, AGENT, CLONE, SEGMENTER)


class VersionError(ValueError):
    """A version that is not there, is not whole, or was changed; the message names it and the file."""


@dataclass(frozen=True)
class Version:
    """What is said of a version.

    Attributes:
        name: "0001".
        kind: "agent", or of an artifact ("cryptoenv-extractor", "cryptoenv-forecaster", ...).
        made_at: ISO 8601, UTC.
        source: where it was copied from, or "retrain".
        parent: the version that it was to replace, "" for none.
        why: that it was made.
        data: what it learned from: `market`, `trained_until`, `learned_until` and the like, as its files say.
        metrics: figures.
        files: sha256 (hex) by path within the version's folder.
    """

    name: str
    kind: str
    made_at: str
    source: str
    parent: str
    why: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, str] = field(repr=False)

    @property
    def last_bar(self) -> pd.Timestamp | None:
        """Open time (UTC) of the last bar that was learned from or chosen by; None where it is not known."""
        found = self.data.get(LEARNED_UNTIL)
        return None if found is None else pd.Timestamp(found)


def kind_of_model(place: Path) -> str:
    """What a folder holds: "agent", or the kind of an artifact.

    Raises:
        VersionError: several runs, or a run that is not finished. ArtifactError: no model at all.
    """
    if seed_folders(place):
        names = ", ".join(path.name for path in seed_folders(place))
        raise VersionError(f"{place} holds several runs ({names}): name the folder of one of them")
    unfinished = not (place / METRICS).is_file() and not (place / ARTIFACT / CONFIG).is_file()
    if (place / RECIPE).is_file() and (place / "checkpoints").is_dir() and unfinished:
        raise VersionError(f"{place} is a run that is not finished: it has no {METRICS} and no {ARTIFACT}")
    if (place / CONFIG).is_file() and (place / AGENT).is_dir():
        return AGENT_KIND
    return kind_of(artifact_in(place))


def require_loads(model: Path, kind: str) -> None:
    """Load it, with all its checks.

    Raises:
        ValueError: a checksum fails, or files do not belong together. FileNotFoundError: one is missing.
    """
    if kind == AGENT_KIND:
        Run.load(model)
    else:
        load(model)


def copy_model(place: Path, kind: str, into: Path) -> None:
    """Copy what a model needs, without logs and checkpoints.

    Raises:
        NotRegularError: a link or a device is among it.
    """
    refuse_special(place)
    if kind != AGENT_KIND:
        shutil.copytree(artifact_in(place), into)
        return
    into.mkdir()
    for name in OF_AN_AGENT:
        one = place / name
        if one.is_dir():
            shutil.copytree(one, into / name)
        elif one.is_file():
            shutil.copy2(one, into / name)


def copy_recipe(place: Path, kind: str, into: Path) -> None:
    """Copy what a model that is no agent was trained by, where it is a run that is copied."""
    for name in () if kind == AGENT_KIND else OF_A_MODEL:
        if (place / name).is_file():
            shutil.copy2(place / name, into / name)


def described(place: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a model's own files say of its data, and of its figures."""
    if kind == AGENT_KIND:
        config, metrics = read_json(place / CONFIG), read_json(place / METRICS)
        keys = ("algorithm", "market", "seed", "inputs", TRAINED_UNTIL, LEARNED_UNTIL)
        data = {key: config[key] for key in keys if config.get(key) is not None}
        return data, {key: value for key, value in metrics.items() if isinstance(value, int | float | str)}
    config = read_json(artifact_in(place) / CONFIG)
    learned = config.get("data") or []
    data = {"learned": learned}
    parts = [one for one in learned if isinstance(one, dict)] if isinstance(learned, list) else []
    own = [one["last"] for one in parts if "last" in one and one.get("teacher") not in SYNTHETIC]
    if own:  # the dates of synthetic markets are no dates
        data[LEARNED_UNTIL] = own[-1]
    figures = config.get("metrics")
    return data, figures if isinstance(figures, dict) else {}


def write_version(folder: Path, version: Mapping[str, Any], fill: Callable[[Path], object]) -> None:
    """Fill an empty folder and seal it: `version.json`, with every file's checksum, comes last."""
    fill(folder)
    told = {"format": FORMAT, **version, "files": checksums(folder)}
    write_file(folder / TOLD, json.dumps(told, indent=1, sort_keys=True) + "\n")


def read_version(folder: Path) -> Version:
    """What is said of a version; its files are not looked at.

    Raises:
        VersionError: nothing is, or it cannot be read.
    """
    path = folder / TOLD
    try:
        told = parse_json(read_regular(path, LARGEST), str(path), LARGEST)
    except FileNotFoundError:
        raise VersionError(f"version {folder.name} is not there, or was never finished: {path} is missing") from None
    except (JsonError, NotRegularError) as error:
        raise VersionError(f"version {folder.name} is damaged: {error}") from error
    if not isinstance(told, dict) or told.pop("format", None) != FORMAT or told.get("name") != folder.name:
        raise VersionError(f"version {folder.name} is damaged: {path} does not describe it in format {FORMAT}")
    texts = ("name", "kind", "made_at", "source", "parent", "why")
    if set(told) != {*texts, "data", "metrics", "files"} or not all(isinstance(told[key], str) for key in texts) or (
        not all(isinstance(told[key], dict) for key in ("data", "metrics", "files"))
    ):  # fmt: skip
        raise VersionError(f"version {folder.name} is damaged: {path} has other keys or types than it was written with")
    return Version(**told)


def require_whole(folder: Path, *, load_it: bool = True) -> Version:
    """Check every byte of a version, and load its model.

    Raises:
        VersionError: a file is missing, changed, or too many; or the model cannot be loaded.
    """
    version = read_version(folder)
    try:
        refuse_special(folder)
        found = checksums(folder)
    except (NotRegularError, OSError) as error:
        raise VersionError(f"version {version.name} is damaged: {error}") from error
    for name in sorted({*found, *version.files}):
        if found.get(name) != version.files.get(name):
            state = "missing" if name not in found else "unknown" if name not in version.files else "changed"
            raise VersionError(f"version {version.name} is damaged: {folder / name} is {state}")
    if load_it:
        try:
            require_loads(folder / MODEL, version.kind)
        except (ValueError, OSError) as error:
            raise VersionError(f"version {version.name} cannot be loaded: {error}") from error
    return version


def checksums(folder: Path) -> dict[str, str]:
    """sha256 (hex) of every file but the description, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in (TOLD, ".lock"):
            with open(path, "rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
