"""The machines of a segmenter together: one per timescale and one over their states; all of history, or bar by bar.

States follow from class probabilities alone, and begin at the first bar that can be decided at: what a machine is in
depends on where its history starts until the first change that both histories share. From one start, bars that come one
at a time give the states that all of history gives, and none depends on later bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.files.typed_values import ConfigError, known_values, section, written_values
from pretrain.segmenter.state_machine import Memory, StateMachine

ANOMALY = "anomaly"  #: column of predictions: how unusual the window of a bar is
OVERALL = "all"  #: what the machine over the timescales is called in tables


@dataclass(frozen=True)
class Machines:
    """One machine for each of S timescales, and one over their states, in which each timescale has one vote.

    Raises:
        ConfigError: machines with different states, or as many as there are no timescales.
    """

    timescales: tuple[str, ...]
    each: tuple[StateMachine, ...]
    overall: StateMachine

    def __post_init__(self) -> None:
        if len(self.each) != len(self.timescales) or not self.each:
            raise ConfigError(f"machines: {len(self.each)} of them for the timescales {self.timescales}: one for each")
        for name, machine in zip((*self.timescales, OVERALL), (*self.each, self.overall), strict=True):
            if machine.states != self.classes:
                raise ConfigError(f"machines: states of {name!r} are {machine.states}, of others {self.classes}")
        if self.overall.agreement > len(self.timescales):
            raise ConfigError(
                f"agreement={self.overall.agreement} is not allowed: 1 to {len(self.timescales)}, the timescales"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """C names."""
        return self.each[0].states

    @property
    def columns(self) -> tuple[str, ...]:
        """S * C names of the columns of probabilities, as "bull_4h"."""
        return tuple(f"{name}_{scale}" for scale in self.timescales for name in self.classes)

    @property
    def state_columns(self) -> tuple[str, ...]:
        """Names of the columns of states: "state_4h", ..., and "state" for the market as a whole."""
        return (*(f"state_{scale}" for scale in self.timescales), "state")

    def probabilities(self, predictions: pd.DataFrame) -> NDArray[np.float64]:
        """(n, S, C) float64 of a table with `columns`."""
        flat = predictions[list(self.columns)].to_numpy(np.float64)
        return flat.reshape(len(flat), len(self.timescales), len(self.classes))

    def numbers(self, probabilities: NDArray[np.float64]) -> NDArray[np.int8]:
        """(n, S + 1) int8 places of the states in `classes`, the overall one last."""
        own = [machine.states_of(probabilities[:, s]) for s, machine in enumerate(self.each)]
        return np.stack([*own, self.overall.states_of(self._votes(np.stack(own, axis=1)))], axis=1)

    def _votes(self, states: NDArray[np.integer]) -> NDArray[np.float64]:
        """(n, S, C): 1 for the state of each timescale."""
        votes: NDArray[np.float64] = np.eye(len(self.classes))[states]
        return votes

    def states(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The states at every row of predictions: categories in the order of `classes`, columns `state_columns`."""
        return self.named(self.numbers(self.probabilities(predictions)), predictions.index)

    def named(self, numbers: NDArray[np.int8], index: pd.Index) -> pd.DataFrame:
        """States (n, S + 1) as a table of categories."""
        names = pd.Index(self.classes)
        columns = {
            name: pd.Categorical.from_codes(numbers[:, k], categories=names)
            for k, name in enumerate(self.state_columns)
        }
        return pd.DataFrame(columns, index=index)

    def segments(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The segments of all machines, by timescale, then time: columns as of `StateMachine.run`; the market as a
        whole has the timescale "all", and as probability the share of timescales in its state."""
        found, index = self.probabilities(predictions), predictions.index
        parts = [
            machine.run(found[:, s], index, scale)
            for s, (machine, scale) in enumerate(zip(self.each, self.timescales, strict=True))
        ]
        own = self.numbers(found)[:, :-1]
        parts.append(self.overall.run(self._votes(own), index, OVERALL))
        return pd.concat(parts, ignore_index=True)

    def step(self, row: NDArray[np.float64], before: tuple[Memory, ...] | None) -> tuple[Memory, ...]:
        """The memories of all machines after one more row (S, C), the overall one last; None begins."""
        known = before or (None,) * (len(self.each) + 1)
        own = [machine.step(row[s], known[s]) for s, machine in enumerate(self.each)]
        votes = self._votes(np.array([memory.state for memory in own]))
        return (*own, self.overall.step(votes, known[-1]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for an artifact's configuration."""
        return {"each": [written_values(one) for one in self.each], "overall": written_values(self.overall)}

    @classmethod
    def from_dict(cls, content: Any, timescales: tuple[str, ...], where: str) -> Self:
        """The machines of `to_dict`.

        Raises:
            ConfigError: a key or value that is not allowed.
        """
        values = known_values(content, ("each", "overall"), where)
        listed = values.get("each")
        if not isinstance(listed, list):
            raise ConfigError(f"{where}: each must be a list of machines")
        each = tuple(section(one, StateMachine, f"{where}: each[{k}]", complete=True) for k, one in enumerate(listed))
        return cls(timescales, each, section(values.get("overall"), StateMachine, f"{where}: overall", complete=True))
