"""Features of further columns: a reference market's close, and whatever else was known with the bars.

| feature | value |
|---|---|
| reference_correlation | correlation of the last `bars` log-returns with the reference market's |
| reference_beta | covariance with the reference's returns / their variance |
| reference_strength | log-return over `strength_bars` bars, less the reference's / (v sqrt(strength_bars)) |
| z_NAME | (value - median) / (interquartile range / 1.349) of the last `bars` values of the column |

Means are of the returns themselves, not removed (they are nil at these lengths). Where something does not move: 0.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.staleness import REFERENCE
from cryptoenv.features.families.windowed import log_returns
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import require_counts

_NORMAL_QUARTILES: Final = 1.349  #: interquartile range of a normal distribution with standard deviation 1


@dataclass(frozen=True)
class Reference:
    """Rolling correlation, beta and relative strength against a reference market, where the market has one."""

    bars: int = 96
    strength_bars: int = 16

    def __post_init__(self) -> None:
        require_counts(self, bars=self.bars, strength_bars=self.strength_bars)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        wanted = ("reference_correlation", "reference_beta", "reference_strength")
        return wanted if REFERENCE in setting.columns else ()

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return max(self.bars, self.strength_bars, setting.volatility_bars) if self.names(setting) else 0

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        if REFERENCE not in view.setting.columns:
            return np.empty((view.wanted, 0))
        close = np.ascontiguousarray(view.bars.ohlcv[:, CLOSE])
        return _against(close, view.column(REFERENCE), view.volatility, view.first, (self.bars, self.strength_bars))


@dataclass(frozen=True)
class Exogenous:
    """Robust z of the named further columns over their last `bars` values."""

    columns: tuple[str, ...] = ()
    bars: int = 96

    def __post_init__(self) -> None:
        require_counts(self, bars=self.bars)
        if REFERENCE in self.columns:
            raise ValueError(f"Exogenous.columns holds {REFERENCE!r}, which names the reference's close; rename it")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return tuple(f"z_{name}" for name in self.columns)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return self.bars

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        out = np.empty((view.wanted, len(self.columns)))
        for k, name in enumerate(self.columns):
            out[:, k] = _robust_z(view.column(name), view.first, self.bars)
        return out


@njit(cache=True)
def _against(
    close: np.ndarray, reference: np.ndarray, volatility: np.ndarray, first: int, spans: tuple[int, int]
) -> np.ndarray:
    bars, strength = spans
    out = np.zeros((close.shape[0] - first, 3))
    own, other = log_returns(close), log_returns(reference)
    for t in range(first, close.shape[0]):
        own_squares, other_squares, products = 0.0, 0.0, 0.0
        for i in range(t - bars + 1, t + 1):
            own_squares += own[i] * own[i]
            other_squares += other[i] * other[i]
            products += own[i] * other[i]
        if own_squares > 0.0 and other_squares > 0.0:
            out[t - first, 0] = products / math.sqrt(own_squares * other_squares)
            out[t - first, 1] = products / other_squares
        if volatility[t] > 0.0:
            change = math.log(close[t] / close[t - strength]) - math.log(reference[t] / reference[t - strength])
            out[t - first, 2] = change / (volatility[t] * math.sqrt(strength))
    return out


@njit(cache=True)
def _quantile(ordered: np.ndarray, part: float) -> float:
    place = part * (ordered.shape[0] - 1)
    below = int(place)
    above = min(below + 1, ordered.shape[0] - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@njit(cache=True)
def _robust_z(values: np.ndarray, first: int, bars: int) -> np.ndarray:
    out = np.zeros(values.shape[0] - first)
    for t in range(first, values.shape[0]):
        ordered = np.sort(values[t - bars + 1 : t + 1])
        width = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / _NORMAL_QUARTILES
        if width > 0.0:
            out[t - first] = (values[t] - _quantile(ordered, 0.5)) / width
    return out
