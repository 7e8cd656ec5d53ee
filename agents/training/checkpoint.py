"""Checkpoints of a training that goes on bit for bit, on CPU.

A checkpoint holds all that decides how a training continues (`agents.training.training_state`), and the selection of
the best weights, in the form of `cryptoenv.files.generations`: arrays are safetensors, the rest is JSON. Nothing in it
is pickled, and nothing in it is believed: one that is damaged, or whole and nonsense, gives way to the one before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save_file
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.training.training_state import Arrays, StateError, put_back, state_of
from cryptoenv.files.durable_files import make_folder, read_regular, write_file
from cryptoenv.files.folder_lock import folder_lock
from cryptoenv.files.generations import (
    CheckpointError,
    DamagedCheckpoint,
    first_difference,
    generations,
    newest_good,
    require_whole,
    save_generation,
    step_of,
)

__all__ = ["ARRAYS", "STATE", "CheckpointError", "Checkpoints", "Stateful"]

ARRAYS, STATE = "arrays.safetensors", "state.json"
SAVED = "saved"  #: an empty file that says that there were checkpoints here


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

        whole = save_generation(self._folder, algorithm.num_timesteps, fill)
        if not self.saved_before():
            write_file(self._folder / SAVED, b"")
        self.saved_step = algorithm.num_timesteps
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

        def put_back_from(checkpoint: Path) -> int:
            arrays, state = _read(checkpoint)
            self._check_identity(state["identity"], checkpoint)
            _put_back(checkpoint, arrays, state, algorithm, beside)
            self.saved_step = algorithm.num_timesteps
            return int(algorithm.num_timesteps)

        return newest_good(self._folder, put_back_from) or 0

    def _check_identity(self, found: dict[str, Any], folder: Path) -> None:
        difference = first_difference(found, self._identity)
        if difference is not None and not self.force:
            raise CheckpointError(
                f"{folder} belongs to another training: {difference}; go on with --force, or choose another run folder"
            )


def _read(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and state of a checkpoint that is what was written; the state has its three parts."""
    require_whole(folder, (ARRAYS, STATE))
    try:
        state = json.loads(read_regular(folder / STATE))
        for part in ("identity", "algorithm", "beside"):
            if not isinstance(state[part], dict):
                raise DamagedCheckpoint(f"{folder / STATE}: {part} is no object")
        return load(read_regular(folder / ARRAYS)), state
    except DamagedCheckpoint:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{folder} cannot be read: {error!r}") from error


def _put_back(folder: Path, arrays: Arrays, state: dict[str, Any], algorithm: BaseAlgorithm, beside: Stateful) -> None:
    mine = {name: value for name, value in arrays.items() if not name.startswith("beside/")}
    further = {name.removeprefix("beside/"): value for name, value in arrays.items() if name.startswith("beside/")}
    try:
        put_back(algorithm, mine, state["algorithm"])
        if algorithm.num_timesteps != step_of(folder):
            raise StateError(f"it says {algorithm.num_timesteps} env steps")
        beside.restore(further, state["beside"])
    except ValueError as error:
        raise DamagedCheckpoint(f"{folder} is no checkpoint of this training: {error}") from error
