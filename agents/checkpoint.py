"""Checkpoints of a training: after a restart on CPU it goes on bit for bit as if nothing had happened.

A checkpoint is a folder of `arrays.safetensors`, `state.json` and `checksums.json`; it appears whole or not at all, and
the one before it stays. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

ARRAYS, STATE, CHECKSUMS = "arrays.safetensors", "state.json", "checksums.json"
KEPT = 2  #: generations
#: What algorithms count, where they have it.
COUNTERS = (
    "num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "_current_progress_remaining",
    "_rollouts_seen",
)  # fmt: skip
Arrays = dict[str, NDArray[Any]]


class CheckpointError(ValueError):
    """A checkpoint that cannot be gone on from; the message names the file, or what differs."""


class Stateful(Protocol):
    """What is saved beside the algorithm: the selection of the best weights."""

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays, and plain values for JSON."""

    def restore(self, arrays: Arrays, values: dict[str, Any]) -> None:
        """The inverse."""


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: made where it does not exist.
        identity: what the training is made of (configuration, hashes of data and extractor); plain values.
        force: go on although the identity differs.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, force: bool = False) -> None:
        self._folder = folder
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        self._force = force
        self.saved_step = 0

    def save(self, algorithm: BaseAlgorithm, beside: Stateful) -> Path:
        """Write a checkpoint, then drop all but the last two."""
        arrays, values = _gather(algorithm)
        further, plain = beside.state()
        arrays |= {f"beside/{name}": value for name, value in further.items()}
        state = {"identity": self._identity, "algorithm": values, "beside": plain}
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=self._folder))
        try:
            save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, scratch / ARRAYS)
            (scratch / STATE).write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            sums = {name: _sha256(scratch / name) for name in (ARRAYS, STATE)}
            (scratch / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
            for path in (*scratch.iterdir(), scratch):
                _sync(path)
            whole = self._folder / f"step-{algorithm.num_timesteps:012d}"
            shutil.rmtree(whole, ignore_errors=True)
            os.replace(scratch, whole)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        _sync(self._folder)
        self.saved_step = algorithm.num_timesteps
        for old in self.generations()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return whole

    def generations(self) -> list[Path]:
        """Folders of the checkpoints, oldest first."""
        return sorted(self._folder.glob("step-*"))

    def restore(self, algorithm: BaseAlgorithm, beside: Stateful) -> int:
        """Put `algorithm` where the newest good checkpoint stood; returns its env steps, 0 where there is none.

        Raises:
            CheckpointError: there are checkpoints and none is good, or one of another training.
        """
        for unfinished in self._folder.glob(".part-*"):  # of a save that was killed
            shutil.rmtree(unfinished, ignore_errors=True)
        generations = self.generations()
        for folder in reversed(generations):
            try:
                arrays, state = _read(folder)
            except CheckpointError as error:
                warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
                continue
            self._check_identity(state["identity"], folder)
            _apply(algorithm, arrays, state["algorithm"])
            further = {name.removeprefix("beside/"): v for name, v in arrays.items() if name.startswith("beside/")}
            beside.restore(further, state["beside"])
            self.saved_step = algorithm.num_timesteps
            return int(algorithm.num_timesteps)
        if generations:
            raise CheckpointError(f"no checkpoint in {self._folder} can be read; delete the folder to start afresh")
        return 0

    def _check_identity(self, found: dict[str, Any], folder: Path) -> None:
        if found == self._identity or self._force:
            return
        keys = found.keys() | self._identity.keys()
        changed = sorted(key for key in keys if found.get(key) != self._identity.get(key))
        raise CheckpointError(
            f"{folder} belongs to another training: {changed[0]} was {found.get(changed[0])!r} and is "
            f"{self._identity.get(changed[0])!r}; go on with --force, or choose another run folder"
        )


def _read(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name in (ARRAYS, STATE):
            if _sha256(folder / name) != sums[name]:
                raise CheckpointError(f"{folder / name} is not what was written")
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return load_file(folder / ARRAYS), state
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder} cannot be read: {error}") from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _gather(algorithm: BaseAlgorithm) -> tuple[Arrays, dict[str, Any]]:
    """All that decides how `algorithm` goes on."""
    arrays: Arrays = {}
    values: dict[str, Any] = {name: getattr(algorithm, name) for name in COUNTERS if hasattr(algorithm, name)}
    for name in _modules(algorithm):
        for key, value in recursive_getattr(algorithm, name).state_dict().items():
            arrays[f"module/{name}/{key}"] = value.detach().numpy()
    for name in _optimizers(algorithm):
        arrays |= _of_optimizer(name, recursive_getattr(algorithm, name))
    for name in algorithm._get_torch_save_params()[1]:
        arrays[f"tensor/{name}"] = recursive_getattr(algorithm, name).detach().numpy()
    if (buffer := getattr(algorithm, "replay_buffer", None)) is not None:
        arrays |= {f"replay/{name}": value for name, value in buffer.state_dict().items()}
    if algorithm.env is not None:
        arrays |= {f"env/{name}": value for name, value in algorithm.env.state_dict().items()}  # type: ignore[attr-defined]
        last: Any = algorithm._last_obs
        arrays |= {f"last/{name}": value for name, value in last.items()}
        arrays["starts"] = np.asarray(algorithm._last_episode_starts)
    if (memory := getattr(algorithm, "_last_lstm_states", None)) is not None:  # RecurrentPPO's
        arrays |= {f"memory/{part}/{n}": state.numpy() for part in ("pi", "vf") for n, state in _states(memory, part)}
    _, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002 -- SB3 draws from it
    arrays |= {"rng/torch": torch.get_rng_state().numpy(), "rng/numpy": np.asarray(keys)}
    values["numpy"] = [int(place), int(has_gauss), float(gauss)]
    values["python"] = random.getstate()
    if algorithm.action_space is not None:
        values["actions"] = algorithm.action_space.np_random.bit_generator.state
    return arrays, values


def _apply(algorithm: BaseAlgorithm, arrays: Arrays, values: dict[str, Any]) -> None:
    """The inverse of `_gather`."""
    for name in COUNTERS:
        if hasattr(algorithm, name):
            setattr(algorithm, name, values[name])

    def under(prefix: str) -> Arrays:
        return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

    for name in _modules(algorithm):
        weights = {key: torch.from_numpy(value.copy()) for key, value in under(f"module/{name}/").items()}
        recursive_getattr(algorithm, name).load_state_dict(weights)
    for name in _optimizers(algorithm):
        _into_optimizer(recursive_getattr(algorithm, name), under(f"optimizer/{name}/"))
    for name, value in under("tensor/").items():
        with torch.no_grad():
            recursive_getattr(algorithm, name).copy_(torch.from_numpy(value.copy()))
    if (buffer := getattr(algorithm, "replay_buffer", None)) is not None:
        buffer.load_state_dict(under("replay/"))
    if algorithm.env is not None:
        algorithm.env.load_state_dict(under("env/"))  # type: ignore[attr-defined]
        algorithm._last_obs = under("last/")
        algorithm._last_episode_starts = arrays["starts"]
    if (memory := getattr(algorithm, "_last_lstm_states", None)) is not None:
        for part in ("pi", "vf"):
            for n, state in _states(memory, part):
                state.copy_(torch.from_numpy(arrays[f"memory/{part}/{n}"].copy()))
    place, has_gauss, gauss = values["numpy"]
    np.random.set_state(("MT19937", arrays["rng/numpy"], place, has_gauss, gauss))  # noqa: NPY002
    version, keys, gauss_next = values["python"]
    random.setstate((version, tuple(keys), gauss_next))
    torch.set_rng_state(torch.from_numpy(arrays["rng/torch"].copy()))
    if algorithm.action_space is not None:
        algorithm.action_space.np_random.bit_generator.state = values["actions"]


def _states(memory: Any, part: str) -> Iterator[tuple[int, torch.Tensor]]:
    """The numbered tensors (hidden and cell state) of a recurrent policy's actor ("pi") or critic ("vf")."""
    return enumerate(getattr(memory, part))


def _modules(algorithm: BaseAlgorithm) -> list[str]:
    """Names of the algorithm's networks: its policy and, where it averages weights, the averaged one."""
    return ["policy"] + (["policy_to_judge"] if hasattr(algorithm, "policy_to_judge") else [])


def _optimizers(algorithm: BaseAlgorithm) -> list[str]:
    named = [name for name in algorithm._get_torch_save_params()[0] if name != "policy"]
    return [name if name.endswith("optimizer") else f"{name}.optimizer" for name in named]


def _of_optimizer(name: str, optimizer: torch.optim.Optimizer) -> Arrays:
    found: Arrays = {f"optimizer/{name}/rate": np.array([group["lr"] for group in optimizer.param_groups])}
    for number, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            found[f"optimizer/{name}/{number}/{key}"] = torch.as_tensor(value).numpy()
    return found


def _into_optimizer(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in arrays.items():
        if name != "rate":
            number, key = name.split("/")
            state.setdefault(int(number), {})[key] = torch.from_numpy(value.copy())
    described = optimizer.state_dict()
    for group, rate in zip(described["param_groups"], arrays["rate"], strict=True):
        group["lr"] = float(rate)
    optimizer.load_state_dict({"state": state, "param_groups": described["param_groups"]})
