"""Checkpoints of a pretraining: folders with checksums, written whole, the last two kept.

    checkpoints/begun.json, step-000000000250/{training.ckpt, state.json, checksums.json}, step-000000000500/...

Whatever kills the process, a good one is there. One that was changed or cut short is passed over for the one before it,
with a warning; where none is left, or where they were removed, going on is refused: training never begins anew unasked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import (
    NotRegularError,
    make_folder,
    read_regular,
    refuse_special,
    write_file,
    write_folder,
)
from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.artifact_folder import CHECKSUMS, json_bytes

TRAINING, STATE, BEGUN = "training.ckpt", "state.json", "begun.json"
KEPT = 2  #: checkpoints
_SMALL = 1_000_000  # bytes of a JSON file here


class CheckpointError(ValueError):
    """No checkpoint that can be gone on from; the message names what is damaged or missing, and what to do."""


class Generations:
    """The checkpoints of one training.

    Args:
        folder: made with the first one.
        identity: what the training is made of (seed, data, configuration): plain values, by name.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._identity: dict[str, Any] = json.loads(json.dumps(dict(identity)))  # as it comes back from a file

    def all(self) -> list[Path]:
        """Their folders, oldest first."""
        return sorted(self.folder.glob("step-" + "[0-9]" * 12))

    def begin(self) -> None:
        """Notes that a training begins here, before it has a checkpoint."""
        if not self.begun():
            self._note(saved=False)

    def begun(self) -> bool:
        """Whether a training has begun here."""
        return (self.folder / BEGUN).exists()

    def hold_a_training(self) -> bool:
        """Whether there are checkpoints here, or were."""
        return bool(self.all()) or self._saved_before()

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """A new checkpoint, whole and on the disk; then drops all but the last two.

        Args:
            step: optimiser steps taken.
            write: writes the training's state to the file it gets.
        """

        def make(place: Path) -> None:
            write(place / TRAINING)
            (place / STATE).write_bytes(json_bytes({"identity": self._identity, "step": step}))
            sums = {name: _sha256(place / name) for name in (TRAINING, STATE)}
            (place / CHECKSUMS).write_bytes(json_bytes(sums))

        whole = self.folder / f"step-{step:012d}"
        if whole.is_symlink() or whole.is_file():  # what was passed over when the training went on
            whole.unlink()
        write_folder(whole, make)
        self._note(saved=True)
        for old in self.all()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return whole

    def newest(self, *, fall_back: bool = True) -> Path | None:
        """File with the state of the newest good checkpoint, every byte as it was written; None where none was made.

        Args:
            fall_back: pass over what is damaged.

        Raises:
            CheckpointError: there are checkpoints and none is good, or there were some and they are gone.
            ConfigError: it is of another seed, data or training; the message names the difference.
        """
        faults: list[CheckpointError] = []
        for folder in reversed(self.all()):
            try:
                state = _checked(folder)
            except CheckpointError as error:
                if not fall_back:
                    raise
                faults.append(error)
                continue
            self._require_same(state["identity"], folder)
            if faults:
                warnings.warn(f"{faults[0]}: going on from the one before it, {folder.name}", stacklevel=2)
            return folder / TRAINING
        anew = "begin anew in another folder"
        if faults:
            raise CheckpointError(f"{faults[0]}, and no good checkpoint is left before it: {anew}")
        if self._saved_before():
            raise CheckpointError(f"{self.folder} had checkpoints, and they are gone: put them back, or {anew}")
        return None

    def _require_same(self, stored: Mapping[str, Any], folder: Path) -> None:
        for name in sorted({*stored, *self._identity}):
            then, now = stored.get(name), self._identity.get(name)
            if then != now:
                told = " and is ".join(repr(value)[:200] for value in (then, now))
                raise ConfigError(f"{folder} is of another training: {name} was {told}")

    def _note(self, *, saved: bool) -> None:
        make_folder(self.folder)
        write_file(self.folder / BEGUN, json_bytes({"saved": saved}))

    def _saved_before(self) -> bool:
        """Whether a checkpoint was ever made here; a note that cannot be read says nothing else."""
        try:
            return bool(parse_json(read_regular(self.folder / BEGUN, _SMALL), BEGUN) != {"saved": False})
        except FileNotFoundError:
            return False
        except (JsonError, NotRegularError, OSError):
            return True


def _checked(folder: Path) -> dict[str, Any]:
    """The state of a checkpoint, once all its files are what was written."""
    try:
        refuse_special(folder)
        sums = parse_json(read_regular(folder / CHECKSUMS, _SMALL), CHECKSUMS)
        if not isinstance(sums, dict) or set(sums) != {TRAINING, STATE}:
            raise CheckpointError(f"{folder}: {CHECKSUMS} does not name the files of a checkpoint")
        for name, sum_ in sums.items():
            if _sha256(folder / name) != sum_:
                raise CheckpointError(f"{folder}: {name} was changed or cut short after it was written")
        state = parse_json(read_regular(folder / STATE, _SMALL), STATE)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: {Path(str(error.filename)).name} is missing") from error
    except (JsonError, NotRegularError, OSError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
        raise CheckpointError(f"{folder}: {STATE} does not say what the checkpoint is of")
    return state


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
