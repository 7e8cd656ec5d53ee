"""What observations and actions of recorded episodes are: shapes, dtypes, bounds, names of features, exposures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.files.typed_values import section

Observations = dict[str, NDArray[Any]]  #: arrays (N, ...) by name; a flat one has the name `FLAT`
FLAT = "observation"
KINDS = ("window", "index", "flat")


@dataclass(frozen=True)
class Part:
    """One array of an observation.

    Attributes:
        name: the timeframe, "account", "index", or "observation" of a flat one.
        shape: of one observation. dtype: float32 or int64.
        low, high: bounds; one number for all, or one for each of the last axis.
        columns: what the numbers of the last axis are; none where they have no names.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    columns: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Numbers of one observation."""
        return int(np.prod(self.shape))

    @property
    def box(self) -> spaces.Box:
        """As a space."""
        low, high = (np.broadcast_to(np.array(at, self.dtype), self.shape).copy() for at in (self.low, self.high))
        return spaces.Box(low, high, shape=self.shape, dtype=np.dtype(self.dtype).type)


@dataclass(frozen=True)
class DataLayout:
    """What a dataset's observations and actions are.

    Attributes:
        observation: "window", "index" or "flat".
        parts: its arrays, by name; one where flat: the windows' arrays one after another, names in order.
        targets: target exposures that action numbers stand for; none where actions are exposures themselves.
        lowest_action: -1, or 0 where shorts are not allowed; of exposures.
    """

    observation: Literal["window", "index", "flat"]
    parts: tuple[Part, ...]
    targets: tuple[float, ...]
    lowest_action: float = -1.0

    @classmethod
    def of(cls, setup: EnvironmentSpec, *, flat: bool) -> Self:
        """That of an environment; its windows in one array where `flat`."""
        parts = tuple(_part(name, box, setup) for name, box in setup.observation_space.spaces.items())  # names in order
        targets = () if setup.targets is None else tuple(float(at) for at in setup.targets)
        if not flat:
            return cls(setup.observation, parts, targets, setup.lowest_action)  # type: ignore[arg-type]
        bounds = [np.concatenate([np.ravel(getattr(part.box, end)) for part in parts]) for end in ("low", "high")]
        low, high = (tuple(float(at) for at in bound) for bound in bounds)
        one = Part(FLAT, (len(low),), "float32", low, high)
        return cls("flat", (one,), targets, setup.lowest_action)

    @property
    def observation_space(self) -> spaces.Space[Any]:
        """Gymnasium's space of one observation."""
        if self.observation == "flat":
            return self.parts[0].box
        return spaces.Dict({part.name: part.box for part in self.parts})

    @property
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """Gymnasium's space of one action."""
        if self.targets:
            return spaces.Discrete(len(self.targets))
        return spaces.Box(self.lowest_action, 1.0, shape=(1,), dtype=np.float32)

    def shown(self, seen: Observations) -> Observations:
        """Observations (N, ...) of the environment in this layout, copied."""
        if self.observation != "flat":
            return {part.name: np.array(seen[part.name]) for part in self.parts}
        return {FLAT: flattened(seen)}

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, where: str) -> Self:
        """The inverse of `as_dict`, also after a trip through JSON.

        Raises:
            ConfigError: a value that is missing or not allowed; `where` says whose.
        """
        given = dict(values) if isinstance(values, dict) else values
        if isinstance(given, dict) and isinstance(given.get("parts"), list | tuple):
            given["parts"] = tuple(section(part, Part, f"{where}: parts") for part in given["parts"])
        return section(given, cls, where, complete=True)


def _part(name: str, box: Any, setup: EnvironmentSpec) -> Part:
    names: tuple[str, ...] = ()
    if name in setup.pool.timeframes:
        names = tuple(setup.pool.markets[0].feature_names[setup.pool.timeframes.index(name)])
    elif name == "account":
        names = ("exposure", "target", "unrealised", "drawdown", "held")
    elif name == "index":
        names = ("market", "bar")
    bounds = []
    for end in (box.low, box.high):
        rows = np.unique(end.reshape(-1, end.shape[-1]), axis=0)[0]
        bounds.append((float(rows[0]),) if len(np.unique(rows)) == 1 else tuple(float(at) for at in rows))
    return Part(name, box.shape, box.dtype.name, bounds[0], bounds[1], names)


def flattened(seen: Observations) -> NDArray[np.float32]:
    """(N, D) float32, each row as `gymnasium.spaces.flatten` has it: names in order."""
    rows = [np.asarray(seen[name], np.float32) for name in sorted(seen)]
    return np.concatenate([row.reshape(len(row), -1) for row in rows], axis=1)
