"""Checkpoints of something long: folders by step with checksums, written whole, the last two kept.

    step-000000000250/{what the training writes, checksums.json}, step-000000000500/...

Whatever kills the process, a good one is there. One that was changed, cut short or is nonsense is passed over for the
one before it, with a warning; where none is left, going on is refused: nothing begins anew unasked.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import (
    NotRegularError,
    clear_left_overs,
    make_folder,
    read_regular,
    refuse_special,
    write_file,
    write_folder,
)

CHECKSUMS = "checksums.json"
KEPT = 2  #: generations
_NAME = re.compile(r"step-(\d{12,})")
_SMALL = 1_000_000  # bytes of the checksums

T = TypeVar("T")


class CheckpointError(ValueError):
    """No checkpoint that can be gone on from; the message names what is damaged or differs, and what to do."""


class DamagedCheckpoint(CheckpointError):
    """One checkpoint is damaged or nonsense; there may be another."""


def generations(folder: Path) -> list[Path]:
    """The checkpoints in a folder, good or not, oldest first."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((path for path in found if _NAME.fullmatch(path.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """Steps after which a checkpoint was saved, as its name says."""
    return int(checkpoint.name.removeprefix("step-"))


def save_generation(folder: Path, step: int, make: Callable[[Path], object]) -> Path:
    """A new checkpoint, whole and on the disk; then drops all but the last two.

    Args:
        folder: of the checkpoints; made where it does not exist.
        step: steps taken.
        make: writes files into the folder it gets.

    Raises:
        OSError: the disk is full, ...; those that were there still are. Whatever `make` raises.
    """

    def sealed(place: Path) -> None:
        make(place)
        sums = {path.name: _sha256(path) for path in sorted(place.iterdir())}
        write_file(place / CHECKSUMS, json.dumps(sums, indent=1, sort_keys=True) + "\n")

    whole = folder / f"step-{step:012d}"
    make_folder(folder)
    if whole.is_symlink() or whole.is_file():  # what was passed over when the training went on
        whole.unlink()
    write_folder(whole, sealed)
    for old in generations(folder)[:-KEPT]:
        _drop(old)
    return whole


def require_whole(checkpoint: Path, names: Collection[str]) -> None:
    """Checks that a checkpoint is a folder of these files, every byte as it was written.

    Raises:
        DamagedCheckpoint: it is not; the message names the file.
    """
    try:
        refuse_special(checkpoint)
        sums = parse_json(read_regular(checkpoint / CHECKSUMS, _SMALL), CHECKSUMS)
        if not isinstance(sums, dict) or set(sums) != set(names):
            raise DamagedCheckpoint(f"{checkpoint}: {CHECKSUMS} does not name the files of a checkpoint")
        for name, digest in sums.items():
            if _sha256(checkpoint / name) != digest:
                raise DamagedCheckpoint(f"{checkpoint}: {name} was changed or cut short after it was written")
    except FileNotFoundError as error:
        raise DamagedCheckpoint(f"{checkpoint}: {Path(str(error.filename)).name} is missing") from error
    except (JsonError, NotRegularError, OSError) as error:
        raise DamagedCheckpoint(f"{checkpoint} cannot be read: {error}") from error


def newest_good(folder: Path, use: Callable[[Path], T]) -> T | None:
    """What `use` makes of the newest checkpoint that is good; None where there are none at all.

    Args:
        folder: of the checkpoints; what killed writers left in it is removed.
        use: takes a checkpoint, and raises DamagedCheckpoint where the one before it is to be tried.

    Raises:
        CheckpointError: there are checkpoints and none is good. Whatever else `use` raises.
    """
    if folder.is_dir():
        clear_left_overs(folder)
    faults: list[DamagedCheckpoint] = []
    for checkpoint in reversed(generations(folder)):
        try:
            found = use(checkpoint)
        except DamagedCheckpoint as error:
            faults.append(error)
            continue
        if faults:
            warnings.warn(f"{faults[0]}: going on from the one before it, {checkpoint.name}", stacklevel=2)
        return found
    if faults:
        raise CheckpointError(f"{faults[0]}, and no good checkpoint is left before it: begin anew in another folder")
    return None


def first_difference(then: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first entry, by name, in which what a checkpoint is of differs from what is trained now; in words."""
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            return f"{name} was {repr(then.get(name))[:200]} and is {repr(now.get(name))[:200]}"
    return None


def _drop(checkpoint: Path) -> None:
    if checkpoint.is_dir() and not checkpoint.is_symlink():
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        checkpoint.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
