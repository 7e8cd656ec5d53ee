"""Checkpoints of a pretraining, in the form of `cryptoenv.files.generations`.

    checkpoints/begun.json, step-000000000250/{training.ckpt, state.json, checksums.json}, step-000000000500/...

Where checkpoints were removed, going on is refused, too: training never begins anew unasked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptoenv.files.bounded_json import JsonError, parse_json
from cryptoenv.files.durable_files import NotRegularError, make_folder, read_regular, write_file
from cryptoenv.files.generations import (
    CheckpointError,
    DamagedCheckpoint,
    first_difference,
    generations,
    newest_good,
    require_whole,
    save_generation,
)
from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.artifact_folder import json_bytes

__all__ = ["BEGUN", "STATE", "TRAINING", "CheckpointError", "Generations"]

TRAINING, STATE, BEGUN = "training.ckpt", "state.json", "begun.json"
_SMALL = 1_000_000  # bytes of a JSON file here


class Generations:
    """The checkpoints of one training.

    Args:
        folder: made with the first one.
        identity: what the training is made of (seed, data, configuration): plain values, by name.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._identity: dict[str, Any] = json.loads(json.dumps(dict(identity)))  # as it comes back from a file

    def begin(self) -> None:
        """Notes that a training begins here, before it has a checkpoint."""
        if not self.begun():
            self._note(saved=False)

    def begun(self) -> bool:
        """Whether a training has begun here."""
        return (self.folder / BEGUN).exists()

    def hold_a_training(self) -> bool:
        """Whether there are checkpoints here, or were."""
        return bool(generations(self.folder)) or self._saved_before()

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """A new checkpoint, whole and on the disk; then drops all but the last two.

        Args:
            step: optimiser steps taken.
            write: writes the training's state to the file it gets.
        """

        def make(place: Path) -> None:
            write(place / TRAINING)
            (place / STATE).write_bytes(json_bytes({"identity": self._identity, "step": step}))

        whole = save_generation(self.folder, step, make)
        self._note(saved=True)
        return whole

    def newest(self, *, fall_back: bool = True) -> Path | None:
        """File with the state of the newest good checkpoint, every byte as it was written; None where none was made.

        Args:
            fall_back: pass over what is damaged.

        Raises:
            CheckpointError: there are checkpoints and none is good, or there were some and they are gone.
            ConfigError: it is of another seed, data or training; the message names the difference.
        """
        if fall_back:
            found = newest_good(self.folder, self._good)
        else:
            made = generations(self.folder)
            found = self._good(made[-1]) if made else None
        if found is None and self._saved_before():
            raise CheckpointError(
                f"{self.folder} had checkpoints, and they are gone: put them back, or begin anew in another folder"
            )
        return found

    def _good(self, checkpoint: Path) -> Path:
        require_whole(checkpoint, (TRAINING, STATE))
        try:
            state = parse_json(read_regular(checkpoint / STATE, _SMALL), STATE)
        except (JsonError, NotRegularError, OSError) as error:
            raise DamagedCheckpoint(f"{checkpoint} cannot be read: {error}") from error
        if not isinstance(state, dict) or not isinstance(state.get("identity"), dict):
            raise DamagedCheckpoint(f"{checkpoint}: {STATE} does not say what the checkpoint is of")
        if difference := first_difference(state["identity"], self._identity):
            raise ConfigError(f"{checkpoint} is of another training: {difference}")
        return checkpoint / TRAINING

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
