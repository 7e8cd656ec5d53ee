"""All that decides how an algorithm of Stable-Baselines3 goes on: as arrays and plain values, and back into it.

What is put back was a file, so every part is held against the algorithm's own before it is used: names, shapes, dtypes,
finite numbers. Whatever does not fit is a `StateError`; the algorithm is then to be given another state, or dropped.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import recursive_getattr

#: What algorithms count, where they have it.
COUNTERS = (
    "num_timesteps", "_n_updates", "_episode_num", "_n_calls", "exploration_rate", "_current_progress_remaining",
    "_rollouts_seen",
)  # fmt: skip
Arrays = dict[str, NDArray[Any]]
_UNFIT = (KeyError, ValueError, TypeError, RuntimeError, IndexError, AttributeError, OverflowError)


class StateError(ValueError):
    """A state that is none of this algorithm's; the message says what does not fit."""


def state_of(algorithm: BaseAlgorithm) -> tuple[Arrays, dict[str, Any]]:
    """Networks, optimisers, replay, env, memory and random states of an algorithm; counters as plain values."""
    arrays: Arrays = {}
    values: dict[str, Any] = {name: getattr(algorithm, name) for name in COUNTERS if hasattr(algorithm, name)}
    for name in _modules(algorithm):
        for key, value in recursive_getattr(algorithm, name).state_dict().items():
            arrays[f"module/{name}/{key}"] = value.detach().cpu().numpy()
    for name in _optimizers(algorithm):
        arrays |= _of_optimizer(name, recursive_getattr(algorithm, name))
    for name in algorithm._get_torch_save_params()[1]:
        arrays[f"tensor/{name}"] = recursive_getattr(algorithm, name).detach().cpu().numpy()
    if (buffer := getattr(algorithm, "replay_buffer", None)) is not None:
        arrays |= {f"replay/{name}": value for name, value in buffer.state_dict().items()}
    if algorithm.env is not None:
        arrays |= {f"env/{name}": value for name, value in algorithm.env.state_dict().items()}  # type: ignore[attr-defined]
        last: Any = algorithm._last_obs
        arrays |= {f"last/{name}": value for name, value in last.items()}
        arrays["starts"] = np.asarray(algorithm._last_episode_starts)
    if (memory := getattr(algorithm, "_last_lstm_states", None)) is not None:  # RecurrentPPO's
        arrays |= {f"memory/{part}/{n}": s.cpu().numpy() for part in ("pi", "vf") for n, s in _states(memory, part)}
    _, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # type: ignore[misc]  # noqa: NPY002 -- SB3 draws from it
    arrays |= {"rng/torch": torch.get_rng_state().numpy(), "rng/numpy": np.asarray(keys)}
    values["numpy"] = [int(place), int(has_gauss), float(gauss)]
    values["python"] = random.getstate()
    if algorithm.action_space is not None:
        values["actions"] = algorithm.action_space.np_random.bit_generator.state
    return arrays, values


def put_back(algorithm: BaseAlgorithm, arrays: Arrays, values: Mapping[str, Any]) -> None:
    """The inverse of `state_of`; a state that is refused half-way leaves a mixture behind.

    Raises:
        StateError: a part is missing, is another algorithm's, or holds a number that is not finite.
    """
    try:
        for name, array in arrays.items():
            checks_itself = name.startswith("env/")  # an env without a stop keeps NaN for it
            if array.dtype.kind == "f" and not checks_itself and not np.isfinite(array).all():
                raise StateError(f"{name} holds a number that is not finite")
        _counters(algorithm, values)
        _networks(algorithm, arrays)
        _surroundings(algorithm, arrays)
        _random_states(algorithm, arrays, values)
    except _UNFIT as error:
        if isinstance(error, StateError):
            raise
        raise StateError(f"it is not of this algorithm: {error!r}") from error


def tensors_like(expected: Mapping[str, torch.Tensor], given: Arrays, what: str) -> dict[str, torch.Tensor]:
    """The arrays (of any shape) as tensors, with exactly the names, shapes and dtypes of `expected`.

    Raises:
        StateError: names what differs.
    """
    if different := sorted(expected.keys() ^ given.keys()):
        raise StateError(f"{what} {different[0]!r} is {'missing' if different[0] in expected else 'unknown'}")
    tensors = {name: torch.from_numpy(array.copy()) for name, array in given.items()}
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            told, wanted = (f"{t.dtype} {tuple(t.shape)}" for t in (tensor, expected[name]))
            raise StateError(f"{what} {name!r} is {told}, not {wanted}")
    return tensors


def _counters(algorithm: BaseAlgorithm, values: Mapping[str, Any]) -> None:
    for name in COUNTERS:
        if hasattr(algorithm, name):
            given, whole = values[name], isinstance(getattr(algorithm, name), int)
            if not isinstance(given, int if whole else int | float) or isinstance(given, bool):
                raise StateError(f"{name}={given!r} is no number")
            if not (math.isfinite(given) and given >= 0):
                raise StateError(f"{name}={given!r} is not a finite number >= 0")
            setattr(algorithm, name, given)


def _networks(algorithm: BaseAlgorithm, arrays: Arrays) -> None:
    for name in _modules(algorithm):
        module = recursive_getattr(algorithm, name)
        module.load_state_dict(tensors_like(module.state_dict(), _under(arrays, f"module/{name}/"), "weight"))
    for name in _optimizers(algorithm):
        _into_optimizer(recursive_getattr(algorithm, name), _under(arrays, f"optimizer/{name}/"))
    names = algorithm._get_torch_save_params()[1]
    mine = {name: recursive_getattr(algorithm, name).detach() for name in names}
    for name, tensor in tensors_like(mine, _under(arrays, "tensor/"), "tensor").items():
        with torch.no_grad():
            recursive_getattr(algorithm, name).copy_(tensor)


def _surroundings(algorithm: BaseAlgorithm, arrays: Arrays) -> None:
    """Replay, env, last observation and memory."""
    if (buffer := getattr(algorithm, "replay_buffer", None)) is not None:
        buffer.load_state_dict(_under(arrays, "replay/"))
    if (env := algorithm.env) is not None:
        last, starts = _under(arrays, "last/"), arrays["starts"]
        spaces: Any = env.observation_space
        for name, space in spaces.spaces.items():
            if (last[name].shape, last[name].dtype) != ((env.num_envs, *space.shape), space.dtype):
                raise StateError(f"the last observation {name!r} is {last[name].dtype} {last[name].shape}")
            if not ((space.low <= last[name]) & (last[name] <= space.high)).all():
                raise StateError(f"the last observation {name!r} lies outside of its space")
        if starts.shape != (env.num_envs,):
            raise StateError(f"starts has shape {starts.shape}, not ({env.num_envs},)")
        env.load_state_dict(_under(arrays, "env/"))  # type: ignore[attr-defined]
        algorithm._last_obs = last
        algorithm._last_episode_starts = starts
    if (memory := getattr(algorithm, "_last_lstm_states", None)) is not None:
        for part in ("pi", "vf"):
            mine = {str(n): state for n, state in _states(memory, part)}
            for name, tensor in tensors_like(mine, _under(arrays, f"memory/{part}/"), "memory").items():
                mine[name].copy_(tensor)


def _random_states(algorithm: BaseAlgorithm, arrays: Arrays, values: Mapping[str, Any]) -> None:
    place, has_gauss, gauss = values["numpy"]
    np.random.set_state(("MT19937", arrays["rng/numpy"], place, has_gauss, gauss))  # noqa: NPY002
    version, keys, gauss_next = values["python"]
    random.setstate((version, tuple(keys), gauss_next))
    torch.set_rng_state(torch.from_numpy(arrays["rng/torch"].copy()))
    if algorithm.action_space is not None:
        algorithm.action_space.np_random.bit_generator.state = values["actions"]


def _under(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


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
            found[f"optimizer/{name}/{number}/{key}"] = torch.as_tensor(value).cpu().numpy()
    return found


def _into_optimizer(optimizer: torch.optim.Optimizer, arrays: Arrays) -> None:
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in arrays.items():
        if name != "rate":
            number, key = name.split("/")
            tensor = torch.from_numpy(value.copy())
            if tensor.dim() and tensor.shape != parameters[int(number)].shape:
                raise StateError(f"the optimiser's {name!r} has shape {tuple(tensor.shape)}")
            state.setdefault(int(number), {})[key] = tensor
    if state.keys() - range(len(parameters)) or len({frozenset(entry) for entry in state.values()}) > 1:
        raise StateError("the optimiser's state is not of these weights")
    described = optimizer.state_dict()
    for group, rate in zip(described["param_groups"], arrays["rate"], strict=True):
        group["lr"] = float(rate)
    optimizer.load_state_dict({"state": state, "param_groups": described["param_groups"]})
