"""A replay buffer of indices: 35 bytes a transition, where windows would take kilobytes.

An "index" observation is (market, bar) and five numbers of the account. The next observation of a transition is the
observation of the row's following transition, so it is stored once; only where an episode ends, its last observation
is kept apart. A million transitions take about 35 MB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numba import njit
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import DictReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

ACCOUNT = 5  #: numbers of an account observation
NOT_AN_END = -1


class Observed(NamedTuple):
    """What is seen: `index` (B, 2) int64, `account` (B, 5) float32."""

    index: NDArray[np.int64]  # type: ignore[assignment]
    account: NDArray[np.float32]


@njit(cache=True, error_model="numpy", nogil=True)
def _take(
    where: tuple[NDArray[np.int64], NDArray[np.int64]], ring: tuple[int, int, int], stored: tuple[NDArray[Any], ...],
    told: tuple[NDArray[Any], ...], latest: tuple[NDArray[Any], ...], ends: tuple[NDArray[Any], ...],
    seen: tuple[NDArray[Any], ...], after: tuple[NDArray[Any], ...], made: tuple[NDArray[Any], ...],
) -> None:  # fmt: skip
    """Fill `seen`, `after` and `made` (actions, rewards, dones but for timeouts) of transitions (B,) by place and row.

    What follows a transition is the row's next one (`ring`: the newest place, the buffer's size, the first place that
    is no demonstration), or the newest of all, or the end of its episode.
    """
    places, rows = where
    newest, size, first = ring
    stored_actions, stored_rewards, dones, timeouts = told
    slots, end_index, end_account = ends
    actions, rewards, ended = made
    for i in range(len(places)):
        place, row = places[i], rows[i]
        _copy_row(stored[0][place, row], stored[1][place, row], seen[0][i], seen[1][i])
        slot = slots[place, row]
        if slot != NOT_AN_END:
            _copy_row(end_index[slot], end_account[slot], after[0][i], after[1][i])
        elif place == newest:
            _copy_row(latest[0][row], latest[1][row], after[0][i], after[1][i])
        else:
            following = first if place + 1 == size else place + 1
            _copy_row(stored[0][following, row], stored[1][following, row], after[0][i], after[1][i])
        for k in range(actions.shape[1]):
            actions[i, k] = stored_actions[place, row, k]
        rewards[i] = stored_rewards[place, row]
        ended[i] = np.float32(1.0) if dones[place, row] and not timeouts[place, row] else np.float32(0.0)


@njit(inline="always", error_model="numpy")
def _copy_row(index: NDArray[Any], account: NDArray[Any], to_index: NDArray[Any], to_account: NDArray[Any]) -> None:
    to_index[0], to_index[1] = index[0], index[1]
    for k in range(ACCOUNT):
        to_account[k] = account[k]


class IndexReplayBuffer(ReplayBuffer):
    """Stable-Baselines3's `DictReplayBuffer` for "index" observations: the same samples from the same draws.

    Args:
        buffer_size: transitions in all.
        observation_space: with `index` (2,) and `account` (5,).
        action_space: `Discrete`, or a `Box` of one exposure.
        device: of the samples.
        n_envs: rows that are added at once.
        optimize_memory_usage: what this buffer always does; must be False.
        handle_timeout_termination: a truncated episode is not taken for an ended one.

    Raises:
        ValueError: another observation space, or `optimize_memory_usage`.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        super(ReplayBuffer, self).__init__(buffer_size, observation_space, action_space, device, n_envs)
        if not isinstance(observation_space, spaces.Dict) or set(observation_space.spaces) != {"index", "account"}:
            raise ValueError("this buffer is for observation='index' (index and account)")
        if optimize_memory_usage:
            raise ValueError("optimize_memory_usage=True is for buffers that could store observations twice")
        self.optimize_memory_usage = False  # what the base class would do; here nothing is stored twice
        self.buffer_size = max(buffer_size // n_envs, 1)
        self._timeouts_count = handle_timeout_termination
        shape = (self.buffer_size, n_envs)
        discrete = isinstance(action_space, spaces.Discrete)
        self.arrays: dict[str, NDArray[Any]] = {
            "index": np.zeros((*shape, 2), np.int32),
            "account": np.zeros((*shape, ACCOUNT), np.float32),
            "actions": np.zeros((*shape, self.action_dim), np.int8 if discrete else np.float32),
            "rewards": np.zeros(shape, np.float32),
            "dones": np.zeros(shape, np.bool_),
            "timeouts": np.zeros(shape, np.bool_),
            "end": np.full(shape, NOT_AN_END, np.int32),
        }
        self._latest = {"index": np.zeros((n_envs, 2), np.int32), "account": np.zeros((n_envs, ACCOUNT), np.float32)}
        self._ends = {"index": np.zeros((64, 2), np.int32), "account": np.zeros((64, ACCOUNT), np.float32)}
        self._free = list(range(63, -1, -1))
        self.demonstrated, self.share = 0, 0.0

    def keep_demonstrations(self, share: float) -> None:
        """Take what the buffer holds for demonstrations: never overwritten, and at least `share` of every sample.

        Raises:
            ValueError: a share that is none, or a buffer without room for anything else.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share={share} is not allowed: 0 <= share <= 1")
        if share > 0.0 and (self.full or self.pos >= self.buffer_size - 1):
            size = self.buffer_size * self.n_envs
            raise ValueError(f"the buffer of {size} transitions holds nothing but the prefill: make it larger")
        if share > 0.0:
            self.demonstrated, self.share = self.pos, share

    def sample(  # type: ignore[override]
        self, batch_size: int, env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        """`batch_size` transitions, drawn evenly but for the share of demonstrations."""
        if not self.demonstrated:
            return super().sample(batch_size, env)  # type: ignore[return-value]
        fixed = round(self.share * batch_size)
        held = self.buffer_size if self.full else self.pos
        places = np.concatenate([
            np.random.randint(0, self.demonstrated, size=fixed),  # noqa: NPY002 -- as the base class draws
            np.random.randint(0, held, size=batch_size - fixed),  # noqa: NPY002 -- as the base class draws
        ])  # fmt: skip
        return self._get_samples(places, env)

    @property
    def _newest(self) -> int:
        """The place filled last."""
        return self.buffer_size - 1 if self.full and self.pos == self.demonstrated else self.pos - 1

    @property
    def nbytes(self) -> int:
        """Memory that the transitions take, in bytes."""
        parts = (*self.arrays.values(), *self._latest.values(), *self._ends.values())
        return sum(array.nbytes for array in parts)

    def add(
        self,
        obs: Any,
        next_obs: Any,
        action: NDArray[Any],
        reward: NDArray[Any],
        done: NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """Add one transition of every row; where `obs` is not what `next_obs` was before, the env was reset between.

        `action`: (N,) or (N, 1); `reward` and `done`: (N,).
        """
        at, store = self.pos, self.arrays
        if self.pos > 0 or self.full:
            before = self._newest
            torn = (self._latest["index"] != obs["index"]).any(axis=1) & (store["end"][before] == NOT_AN_END)
            for row in np.flatnonzero(torn):
                store["end"][before, row] = self._keep_end(self._latest, int(row))
        for row in np.flatnonzero(store["end"][at] != NOT_AN_END):
            self._free.append(int(store["end"][at, row]))
        store["end"][at] = NOT_AN_END
        for name in ("index", "account"):
            store[name][at] = obs[name]
            self._latest[name][:] = next_obs[name]
        store["actions"][at] = np.reshape(action, (self.n_envs, self.action_dim))
        store["rewards"][at], store["dones"][at] = reward, done
        store["timeouts"][at] = False
        for row in np.flatnonzero(done):
            store["end"][at, row] = self._keep_end(next_obs, int(row))
            store["timeouts"][at, row] = self._timeouts_count and infos[row].get("TimeLimit.truncated", False)
        self.pos += 1
        if self.pos == self.buffer_size:
            self.full, self.pos = True, self.demonstrated

    def _keep_end(self, last: dict[str, NDArray[Any]], row: int) -> int:
        if not self._free:
            size = len(self._ends["index"])
            self._ends = {name: np.concatenate([array, np.zeros_like(array)]) for name, array in self._ends.items()}
            self._free = list(range(2 * size - 1, size - 1, -1))
        slot = self._free.pop()
        for name, array in self._ends.items():
            array[slot] = last[name][row]
        return slot

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> DictReplayBufferSamples:
        rows = np.random.randint(0, high=self.n_envs, size=(len(batch_inds),))  # noqa: NPY002 -- as the base class draws
        count = len(batch_inds)
        seen = Observed(np.empty((count, 2), np.int64), np.empty((count, ACCOUNT), np.float32))
        after = Observed(np.empty((count, 2), np.int64), np.empty((count, ACCOUNT), np.float32))
        actions = np.empty((count, self.action_dim), self._action_type)
        rewards, ended = np.empty(count, np.float32), np.empty(count, np.float32)
        store = self.arrays
        _take(
            (batch_inds, rows), (self._newest, self.buffer_size, self.demonstrated),
            (store["index"], store["account"]), (store["actions"], store["rewards"], store["dones"], store["timeouts"]),
            (self._latest["index"], self._latest["account"]),
            (store["end"], self._ends["index"], self._ends["account"]), seen, after, (actions, rewards, ended),
        )  # fmt: skip
        return DictReplayBufferSamples(
            observations=self._tensors(seen),
            actions=self.to_torch(actions),
            next_observations=self._tensors(after),
            dones=self.to_torch(ended).reshape(-1, 1),
            rewards=self.to_torch(rewards).reshape(-1, 1),
        )

    @property
    def _action_type(self) -> type[Any]:
        return np.int64 if self.arrays["actions"].dtype == np.int8 else np.float32

    def _tensors(self, observed: Observed) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array).to(self.device) for name, array in observed._asdict().items()}

    def to_torch(self, array: NDArray[Any], copy: bool = True) -> torch.Tensor:
        """A fresh array of any shape as a tensor, which shares its memory where the device allows."""
        return torch.from_numpy(array).to(self.device)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, for a checkpoint: those of transitions are (buffer size, N, ...)."""
        found = {f"arrays/{name}": array for name, array in self.arrays.items()}
        found |= {f"latest/{name}": array for name, array in self._latest.items()}
        found |= {f"ends/{name}": array for name, array in self._ends.items()}
        place = np.array([self.pos, int(self.full), self.demonstrated])
        return found | {"free": np.array(self._free, np.int64), "place": place}

    def load_state_dict(self, state: dict[str, NDArray[Any]]) -> None:
        """The inverse of `state_dict`, into a buffer of the same size: arrays (buffer size, N, ...).

        Raises:
            ValueError: an array has another shape or dtype, or numbers that no buffer has.
        """
        self._check(state)
        for name, mine in self.arrays.items():
            mine[:] = state[f"arrays/{name}"]
        for name in self._latest:
            self._latest[name][:] = state[f"latest/{name}"]
        self._ends = {name: state[f"ends/{name}"].copy() for name in self._ends}
        self._free = state["free"].tolist()
        self.pos, self.full = int(state["place"][0]), bool(state["place"][1])
        self.demonstrated = int(state["place"][2])

    def _check(self, state: dict[str, NDArray[Any]]) -> None:
        """What `load_state_dict` relies on; nothing is loaded where it does not hold."""
        slots = len(state["ends/index"])
        shapes = {f"arrays/{name}": (array.shape, array.dtype) for name, array in self.arrays.items()}
        shapes |= {f"latest/{name}": (array.shape, array.dtype) for name, array in self._latest.items()}
        shapes |= {f"ends/{name}": ((slots, *array.shape[1:]), array.dtype) for name, array in self._ends.items()}
        shapes |= {"free": ((len(state["free"]),), np.dtype(np.int64)), "place": ((3,), np.dtype(np.int64))}
        for name, (shape, dtype) in shapes.items():
            if (state[name].shape, state[name].dtype) != (shape, dtype):
                raise ValueError(
                    f"the replay buffer's {name} has shape {state[name].shape} ({state[name].dtype}) there and "
                    f"{shape} ({dtype}) here"
                )
        pos, full, demonstrated = (int(number) for number in state["place"])
        if not (0 <= demonstrated <= pos < self.buffer_size and full in (0, 1)):
            raise ValueError(f"the replay buffer's place {pos, full, demonstrated} does not fit its {self.buffer_size}")
        ends, free = state["arrays/end"], state["free"]
        used = ends[ends != NOT_AN_END]
        if not np.array_equal(np.sort(np.concatenate([used.ravel(), free])), np.arange(slots)):
            raise ValueError("the replay buffer's ends of episodes are not each in one place")
        if any(int(state[f"{part}/index"].min(initial=0)) < 0 for part in ("arrays", "latest", "ends")):
            raise ValueError("the replay buffer holds a market or bar below 0")
