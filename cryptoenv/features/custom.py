"""A user's own features: functions of a slice of bars, called from fixed anchors as ours are.

@feature("gap", bound=4.0, memory=1)
def gap(bars):
    out = np.zeros(len(bars.close))
    out[1:] = 100.0 * np.log(bars.open[1:] / bars.close[:-1])
    return out

spec = FeatureSpec().with_functions(gap)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cryptoenv.bars.price_columns import BAR_COLUMNS, CLOSE, VOLUME
from cryptoenv.features.fingerprint import fingerprint
from cryptoenv.features.view import Setting, View

FEATURE_BOUND = 8.0  #: every feature lies within +- this
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class FeatureBars(NamedTuple):
    """What a feature function gets: S bars from the anchor to the end of a UTC day, read-only float64 (S,) each.

    S depends on the timeframe and the memory only. Bars that are not known yet are flat at the last close, without
    volume: they fill the day, so that history and live make the same call.

    Attributes:
        open_ms: (S,) int64, opens since the epoch.
        columns: further columns by name, the last value known at each bar's close.
    """

    open_ms: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    columns: Mapping[str, np.ndarray]


FeatureCode = Callable[[FeatureBars], np.ndarray]


@dataclass(frozen=True)
class FeatureFunction:
    """A feature of the user's: make it with `feature`.

    Attributes:
        name: lower-case letters, digits, underscores.
        bound: values are clipped to +- bound, at most 8.
        memory: bars before the UTC day of a bar that its value may use (from one day on: before the bar).
        digest: sha256 of the function and of what it reads (`fingerprint`), part of the spec's hash.
        function: (S,) float64 from `FeatureBars`; None where the spec came from a file, which holds no code.
    """

    name: str
    bound: float
    memory_bars: int
    digest: str
    function: FeatureCode | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(f"feature name {self.name!r}; allowed: lower-case letters, digits and underscores")
        number = isinstance(self.bound, int | float) and not isinstance(self.bound, bool)
        if not number or not 0 < self.bound <= FEATURE_BOUND:
            raise ValueError(f"bound of feature {self.name!r} is {self.bound!r}; allowed: in (0, {FEATURE_BOUND:g}]")
        if isinstance(self.memory_bars, bool) or not isinstance(self.memory_bars, int) or self.memory_bars < 0:
            raise ValueError(f"memory of feature {self.name!r} is {self.memory_bars!r}; allowed: whole bars >= 0")

    def __call__(self, bars: FeatureBars) -> np.ndarray:
        """The values of all rows of a slice."""
        if self.function is None:
            raise ValueError(
                f"feature {self.name!r} came from a file, which holds no code; give it with spec.with_functions(...)"
            )
        return self.function(bars)

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return (self.name,)

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        return self.memory_bars

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`, (wanted, 1) float64; raises ValueError on values of the wrong shape or not finite."""
        out = np.empty((view.wanted, 1))
        for row, end in view.blocks():
            anchor = view.anchor(row, self.memory_bars)
            bars = feature_slice(view, anchor, self.memory_bars + view.setting.block)
            found = np.asarray(self(bars), dtype=np.float64)
            if found.shape != (self.memory_bars + view.setting.block,):
                raise ValueError(f"feature {self.name!r} returned shape {found.shape}; allowed: one value per bar")
            wanted = found[row - anchor : end - anchor]
            if not np.isfinite(wanted).all():
                bad = int(np.flatnonzero(~np.isfinite(wanted))[0]) + row
                moment = np.datetime64(view.bars.start_ms + bad * view.setting.duration_ms, "ms")
                raise ValueError(f"feature {self.name!r} is {found[bad - anchor]} at bar {moment}; allowed: finite")
            out[row - view.first : end - view.first, 0] = np.clip(wanted, -self.bound, self.bound)
        return out


def feature(name: str, *, bound: float = FEATURE_BOUND, memory: int = 64) -> Callable[[FeatureCode], FeatureFunction]:
    """Decorator that makes a feature of a function; add it to a spec with `FeatureSpec.with_functions`.

    Args:
        name: lower-case letters, digits, underscores.
        bound: values are clipped to +- bound, at most 8.
        memory: bars before the UTC day of a bar that its value may use (from one day on: before the bar).

    Raises:
        ValueError: an argument that is not allowed; the message names it.

    The function is given `FeatureBars`, arrays (T,), and returns (T,) float64.

    Example:
        >>> import numpy as np
        >>> from cryptoenv import Market
        >>> from cryptoenv.features import FeatureSpec, feature
        >>> from synthetic import regime_market
        >>> @feature("body", bound=1.0, memory=1)
        ... def body(bars):
        ...     return (bars.close - bars.open) / np.maximum(bars.high - bars.low, 1e-9)
        >>> spec = FeatureSpec.none().with_functions(body)
        >>> market = Market.from_bars(regime_market("easy", days=2, seed=1).bars, ("15m", "4h"), features=spec)
        >>> market.feature_names, market.features[1].shape
        ((('body',), ('body',)), (348, 1))
    """

    def made(function: FeatureCode) -> FeatureFunction:
        return FeatureFunction(name, bound, memory, fingerprint(function), function)

    return made


def feature_slice(view: View, anchor: int, rows: int) -> FeatureBars:
    """Rows from `anchor` on, as a feature function gets them."""
    known = view.bars.ohlcv[anchor : anchor + rows]
    columns = view.bars.columns[anchor : anchor + rows]
    missing = rows - len(known)
    if missing:
        later = np.repeat(known[-1:, [CLOSE]], len(BAR_COLUMNS), axis=1)
        later[:, VOLUME] = 0.0
        known = np.concatenate([known, np.repeat(later, missing, axis=0)])
        columns = np.concatenate([columns, np.repeat(columns[-1:], missing, axis=0)])
    opened, high, low, close, volume = np.array(known.T, order="C")  # a copy: what a function writes harms nobody
    opens = view.bars.start_ms + view.setting.duration_ms * np.arange(anchor, anchor + rows, dtype=np.int64)
    further = dict(zip(view.setting.columns, np.array(columns.T, order="C"), strict=True))
    return FeatureBars(opens, opened, high, low, close, volume, further)
