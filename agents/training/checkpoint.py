"""Checkpoints of a training that goes on bit for bit, on CPU.

A checkpoint holds all that decides how a training continues (`agents.training.training_state`), and the selection of
the best weights. Arrays are safetensors, the rest is JSON, and both have a checksum; a checkpoint is written whole or
not at all, and the one before it stays. Nothing in it is pickled, and nothing in it is believed: one that is damaged,
or whole and nonsense, gives way to the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.run_folders.checkpoint_names import generations, step_of
from agents.training.training_state import Arrays, StateError, put_back, state_of
from cryptoenv.files.durable_files import clear_left_overs, make_folder, read_regular, write_file, write_folder
from cryptoenv.files.folder_lock import folder_lock

ARRAYS, STATE, CHECKSUMS = "arrays.safetensors", "state.json", "checksums.json"
SAVED = "saved"  #: an empty file that says that there were checkpoints here
KEPT = 2  #: generations


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the message names the file, or what differs."""


class Stateful(Protocol):
    """What is saved beside the algorithm: the selection of the best weights."""

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays, and plain values for JSON."""

    def restore(self, arrays: Arrays, values: dict[str, Any]) -> None:
        """The inverse.

        Raises:
            ValueError: something that `state` does not write.
        """


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: made where it does not exist.
        identity: what the training is made of (configuration, hashes of data and extractor); plain values.
        force: go on although the identity differs, and begin anew where checkpoints are gone.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, force: bool = False) -> None:
        self._folder = folder
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        self.force = force
        self.saved_step = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who writes checkpoints here.

        Raises:
            FolderLockedError: another process does.
        """
        make_folder(self._folder)
        with folder_lock(self._folder, f"the training in {self._folder.parent}"):
            yield

    def save(self, algorithm: BaseAlgorithm, beside: Stateful) -> Path:
        """Write a checkpoint, then drop all but the last two."""
        arrays, values = state_of(algorithm)
        further, plain = beside.state()
        arrays |= {f"beside/{name}": value for name, value in further.items()}
        state = {"identity": self._identity, "algorithm": values, "beside": plain}

        def fill(folder: Path) -> None:
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, folder / ARRAYS)
            (folder / STATE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (ARRAYS, STATE)}
            (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")

        whole = self._folder / f"step-{algorithm.num_timesteps:012d}"
        if whole.is_symlink() or whole.is_file():
            whole.unlink()
        write_folder(whole, fill)
        if not self.saved_before():
            write_file(self._folder / SAVED, b"")
        self.saved_step = algorithm.num_timesteps
        for old in self.generations()[:-KEPT]:
            _drop(old)
        return whole

    def begun(self) -> bool:
        """Whether a training has begun here: its folder is there."""
        return self._folder.is_dir()

    def saved_before(self) -> bool:
        """Whether a checkpoint was ever saved here."""
        return os.path.lexists(self._folder / SAVED)

    def generations(self) -> list[Path]:
        """Folders of the checkpoints, oldest first."""
        return generations(self._folder)

    def restore(self, algorithm: BaseAlgorithm, beside: Stateful) -> int:
        """Put `algorithm` where the newest good checkpoint stood; returns its env steps, 0 where there is none.

        Raises:
            CheckpointError: there are checkpoints and none is good, or one of another training. The algorithm is then
                not to be used.
        """
        if self._folder.is_dir():
            clear_left_overs(self._folder)  # of saves that were killed
        generations = self.generations()
        for folder in reversed(generations):
            try:
                arrays, state = _read(folder)
                self._check_identity(state["identity"], folder)
                _put_back(folder, arrays, state, algorithm, beside)
            except _Unreadable as error:
                warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
                continue
            self.saved_step = algorithm.num_timesteps
            return int(algorithm.num_timesteps)
        if generations:
            raise CheckpointError(f"no checkpoint in {self._folder} can be read; delete the folder to start afresh")
        return 0

    def _check_identity(self, stored: dict[str, Any], folder: Path) -> None:
        if stored == self._identity or self.force:
            return
        keys = stored.keys() | self._identity.keys()
        changed = sorted(key for key in keys if stored.get(key) != self._identity.get(key))
        raise CheckpointError(
            f"{folder} belongs to another training: {changed[0]} was {stored.get(changed[0])!r} and is "
            f"{self._identity.get(changed[0])!r}; go on with --force, or choose another run folder"
        )


class _Unreadable(CheckpointError):
    """One checkpoint is damaged or nonsense; there may be another."""


def _read(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and state of a checkpoint that is what was written; the state has its three parts."""
    try:
        sums = json.loads(read_regular(folder / CHECKSUMS))
        content = {name: read_regular(folder / name) for name in (ARRAYS, STATE)}
        for name, data in content.items():
            if hashlib.sha256(data).hexdigest() != sums[name]:
                raise _Unreadable(f"{folder / name} is not what was written")
        state = json.loads(content[STATE])
        for part in ("identity", "algorithm", "beside"):
            if not isinstance(state[part], dict):
                raise _Unreadable(f"{folder / STATE}: {part} is no object")
        return load(content[ARRAYS]), state
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        if isinstance(error, _Unreadable):
            raise
        raise _Unreadable(f"{folder} cannot be read: {error!r}") from error


def _put_back(folder: Path, arrays: Arrays, state: dict[str, Any], algorithm: BaseAlgorithm, beside: Stateful) -> None:
    mine = {name: value for name, value in arrays.items() if not name.startswith("beside/")}
    further = {name.removeprefix("beside/"): value for name, value in arrays.items() if name.startswith("beside/")}
    try:
        put_back(algorithm, mine, state["algorithm"])
        if algorithm.num_timesteps != step_of(folder):
            raise StateError(f"it says {algorithm.num_timesteps} env steps")
        beside.restore(further, state["beside"])
    except ValueError as error:
        raise _Unreadable(f"{folder} is no checkpoint of this training: {error}") from error


def _drop(checkpoint: Path) -> None:
    if checkpoint.is_dir() and not checkpoint.is_symlink():
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        checkpoint.unlink(missing_ok=True)
