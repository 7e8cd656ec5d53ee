"""Transitions of recorded episodes, in a row: what offline learning and replay buffers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoenv.env.offline.episode import Episode
from cryptoenv.env.offline.layout import FLAT, Observations, flattened

Rows = slice | Sequence[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Transitions:
    """N transitions, episode after episode; each observation is kept once.

    Attributes:
        seen: arrays (S, ...) by name: every observation of every episode, its last one too.
        at: (N,) int64, place in `seen` of what each transition was decided on; what it led to is the next place.
        actions: (N,) int64, or (N, 1) float32 exposures.
        rewards: (N,) float64. terminated, truncated: (N,) bool. episode: (N,) int64, number of each one's episode.
    """

    seen: Observations
    at: NDArray[np.int64]
    actions: NDArray[Any]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    episode: NDArray[np.int64]

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> Self:
        """Those of episodes, in order.

        Raises:
            ValueError: no episode.
        """
        if not episodes:
            raise ValueError("there are no episodes, so no transitions")
        lengths = np.array([len(episode) for episode in episodes])
        episode = np.repeat(np.arange(len(episodes)), lengths)
        return cls(
            seen={n: np.concatenate([one.observations[n] for one in episodes]) for n in episodes[0].observations},
            at=np.arange(lengths.sum()) + episode,  # each episode before it has one observation more than steps
            actions=np.concatenate([one.actions for one in episodes]),
            rewards=np.concatenate([one.rewards for one in episodes]),
            terminated=np.concatenate([one.terminated for one in episodes]),
            truncated=np.concatenate([one.truncated for one in episodes]),
            episode=episode,
        )

    def __len__(self) -> int:
        return len(self.at)

    def observations(self, rows: Rows = slice(None)) -> Observations:
        """What transitions were decided on: arrays (R, ...) by name; of all of them by default."""
        return {name: array[self.at[rows]] for name, array in self.seen.items()}

    def next_observations(self, rows: Rows = slice(None)) -> Observations:
        """What they led to; never the beginning of another episode."""
        return {name: array[self.at[rows] + 1] for name, array in self.seen.items()}

    def flat(self) -> Self:
        """The same with one array (S, D) float32 of observations, as `gymnasium.spaces.flatten` has it.

        Raises:
            ValueError: index observations, whose numbers name markets and measure nothing.
        """
        if "index" in self.seen:
            raise ValueError("observations 'index' are numbers of markets and bars: gather windows, or export those")
        made = dict(vars(self)) | {"seen": self.seen if FLAT in self.seen else {FLAT: flattened(self.seen)}}
        return type(self)(**made)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arguments of d3rlpy's `MDPDataset`, in the order of time: an episode ends where either of the last is 1.

        Returns:
            observations (N, D) float32, actions (N,) int64 or (N, 1) float32; rewards, terminals and timeouts (N,)
            float32.

        Raises:
            ValueError: index observations.
        """
        flat = self.flat()
        return {
            "observations": flat.observations()[FLAT],
            "actions": self.actions,
            "rewards": self.rewards.astype(np.float32),
            "terminals": self.terminated.astype(np.float32),
            "timeouts": (self.truncated & ~self.terminated).astype(np.float32),
        }

    def fill(self, buffer: Any) -> None:
        """Add all transitions to a replay buffer of Stable-Baselines3 of one row (`n_envs=1`), in order.

        Args:
            buffer: a `ReplayBuffer` for flat observations, a `DictReplayBuffer` (or `agents`' index buffer) for others.

        Raises:
            ValueError: a buffer of several rows, or one that is too small.
        """
        if buffer.n_envs != 1 or buffer.buffer_size < len(self):
            raise ValueError(
                f"the buffer has {buffer.n_envs} rows of {buffer.buffer_size}: make it with n_envs=1 and "
                f"buffer_size={len(self)} or more"
            )
        bare = FLAT in self.seen
        for n, at in enumerate(self.at.tolist()):
            now, after = ({name: array[k : k + 1] for name, array in self.seen.items()} for k in (at, at + 1))
            done = np.array([self.terminated[n] or self.truncated[n]])
            info = {"TimeLimit.truncated": bool(self.truncated[n] and not self.terminated[n])}
            action, reward = self.actions[n : n + 1], self.rewards[n : n + 1]
            buffer.add(now[FLAT] if bare else now, after[FLAT] if bare else after, action, reward, done, [info])
