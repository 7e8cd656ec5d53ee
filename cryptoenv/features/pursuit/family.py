"""The matching pursuit of what the last bars hold as a family of features; see `pursuit_features`."""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import BAR_COLUMNS, VOLUME
from cryptoenv.features.pursuit.dictionary import PursuitConfig, dictionary, slowest_atoms
from cryptoenv.features.pursuit.features import PURSUIT_NAMES, pursuit_rows
from cryptoenv.features.view import Family, Setting, View
from cryptoenv.files.typed_values import later_field

_CLOSE, _PREFIX = "close", "pursuit_"


@dataclass(frozen=True)
class Pursuit(PursuitConfig):
    """Features named `pursuit_*` of the rolling orthogonal matching pursuit; in no default set.

    Those of the closes are called "pursuit_trend", of another column, such as "volume", "pursuit_volume_trend".

    Attributes:
        columns: what is pursued: open, high, low, close (their logs), volume (its square root, which is there without
            any volume too), a further column of the market, or another feature of the same timeframe by its name, such
            as "rsi".
        coefficients: how many signed coefficients are features too, each of one atom: of the slowest ones; 0 for none.
    """

    columns: tuple[str, ...] = later_field((_CLOSE,))
    coefficients: int = later_field(0)

    def __post_init__(self) -> None:
        """As `PursuitConfig`."""
        super().__post_init__()
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns is {self.columns!r}; allowed: names of columns, each once")
        for name in self.columns:
            if not isinstance(name, str) or not name or name.startswith(_PREFIX):
                raise ValueError(f"columns holds {name!r}; allowed: names of columns that are no pursuit themselves")
        atoms = len(slowest_atoms(self, 1_000_000))
        count = self.coefficients
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= atoms:
            raise ValueError(f"coefficients is {count!r}; allowed: 0 to {atoms}, the number of atoms")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        kinds = dictionary(self).kinds if self.coefficients else ()
        of_one = (*PURSUIT_NAMES, *(kinds[d].label for d in slowest_atoms(self, self.coefficients)))
        prefixes = (_PREFIX if column == _CLOSE else f"{_PREFIX}{column}_" for column in self.columns)
        return tuple(prefix + name for prefix in prefixes for name in of_one)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        before, longest = self.window - 1, self.window
        for name in self.columns:
            family = self._source(name, setting)
            if family is not None:  # the window's rows are anchored at their own days
                days = math.ceil(before / setting.block) * setting.block
                longest = max(longest, days + family.memory(setting))
        return longest

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        before, atoms = self.window - 1, slowest_atoms(self, self.coefficients)
        parts = [pursuit_rows(self._series(name, view), self, atoms)[before:] for name in self.columns]
        return np.concatenate(parts, axis=1)

    def _source(self, name: str, setting: Setting) -> Family | None:
        """The family that has the feature of this name; None where a column of the bars has it.

        Raises:
            ValueError: nothing has it.
        """
        if name in BAR_COLUMNS or name in setting.columns:
            return None
        for family in setting.families:
            if name in family.names(setting):
                return family
        features = [found for family in setting.families for found in family.names(setting)]
        raise ValueError(f"pursuit column {name!r} is unknown; allowed: {[*BAR_COLUMNS, *setting.columns, *features]}")

    def _series(self, name: str, view: View) -> np.ndarray:
        """(W - 1 + wanted,) float64: what is pursued."""
        first = view.first - self.window + 1
        if name in BAR_COLUMNS:
            column = BAR_COLUMNS.index(name)
            return _scaled(np.ascontiguousarray(view.bars.ohlcv[first:, column]), column == VOLUME)
        family = self._source(name, view.setting)
        if family is None:
            return view.column(name)[first:]
        earlier = View(view.setting, view.bars, view.higher, first, view.volatility)
        found = family.values(earlier)[:, family.names(view.setting).index(name)]
        return np.ascontiguousarray(found, dtype=np.float64)


@njit(cache=True)
def _scaled(values: np.ndarray, root: bool) -> np.ndarray:
    # Not np.log: its bits may depend on where in the array a value stands.
    out = np.empty(values.shape[0])
    for i in range(values.shape[0]):
        out[i] = math.sqrt(values[i]) if root else math.log(values[i])
    return out
