"""One column of a user's labels, beside the base bars of a market."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """What a column of the user's labels says of each base bar of a market.

    Attributes:
        name: the column's, as in the file.
        classes: its classes, named as in the file; none where it holds numbers.
        values: (T,) float32, the index of the class or the number; NaN where nothing is said.

    Raises:
        ValueError: values of another type or shape, or that are no class.
    """

    name: str
    classes: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.dtype != np.float32:
            raise ValueError(f"labels {self.name!r} are {self.values.dtype} {self.values.shape}; allowed: float32 (T,)")
        known = self.values[self.known]
        if self.classes and not np.isin(known, np.arange(len(self.classes))).all():
            raise ValueError(f"labels {self.name!r} hold what is none of their {len(self.classes)} classes")

    @property
    def known(self) -> NDArray[np.bool_]:
        """(T,) bool: where something is said."""
        return ~np.isnan(self.values)
