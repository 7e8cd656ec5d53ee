"""The matching pursuit of the last closes as a family of features; see `pursuit_features`."""

from dataclasses import dataclass

import numpy as np

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.features.pursuit.dictionary import PursuitConfig
from cryptoenv.features.pursuit.features import PURSUIT_NAMES, pursuit_features
from cryptoenv.features.view import Setting, View


@dataclass(frozen=True)
class Pursuit(PursuitConfig):
    """Features "pursuit_..." of the rolling orthogonal matching pursuit; in no default set."""

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return tuple(f"pursuit_{name}" for name in PURSUIT_NAMES)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return self.window

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`."""
        before = self.window - 1
        closes = np.ascontiguousarray(view.bars.ohlcv[view.first - before :, CLOSE])
        return np.asarray(pursuit_features(closes, self)[before:])
