"""Where a synthetic market comes from: task and seed, carried with its bars and beyond any name that is given to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from synthetic.regimes.tasks import family_of

_ATTRIBUTE: Final = "synthetic_origin"  # pandas keeps `attrs` through copies, slices and Parquet


@dataclass(frozen=True)
class Origin:
    """What a market was drawn from.

    Attributes:
        task: name of its task.
        seed: what it was drawn with; it tells the seed family.
    """

    task: str
    seed: int

    @property
    def family(self) -> str | None:
        """The member of `SEED_FAMILIES` that the seed belongs to, or None."""
        return family_of(self.seed)

    def mark(self, bars: pd.DataFrame) -> None:
        """Write it into the frame, whose copies and slices keep it."""
        bars.attrs[_ATTRIBUTE] = self.to_dict()

    @classmethod
    def of(cls, bars: pd.DataFrame) -> Origin | None:
        """What `mark` wrote into the frame; None where it was never marked, as one's own bars are."""
        found = bars.attrs.get(_ATTRIBUTE)
        return None if found is None else cls.from_dict(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: task, family and seed."""
        return {"task": self.task, "family": self.family, "seed": self.seed}

    @classmethod
    def from_dict(cls, values: Any) -> Origin:
        """The origin of `to_dict`.

        Raises:
            ValueError: other values, or a family that is not the seed's.
        """
        if isinstance(values, Mapping) and set(values) == {"task", "family", "seed"}:
            task, seed = values["task"], values["seed"]
            if isinstance(task, str) and isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0:
                origin = cls(task, seed)
                if origin.family == values["family"]:
                    return origin
        raise ValueError(f"the origin of a synthetic market is {values!r}; allowed: task, seed and the seed's family")
