"""Features of the timeframes of a market, from fixed anchors: history, a shorter history and live come through here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from cryptoenv.bars.series import Series
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features.custom import FEATURE_BOUND
from cryptoenv.features.families.windowed import rolling_volatility
from cryptoenv.features.spec import FeatureSpec
from cryptoenv.features.view import Family, Setting, View, first_valid_row


@dataclass(frozen=True)
class TimeframePlan:
    """What is computed of one timeframe.

    Attributes:
        timeframe: its name.
        setting: what its families are told of it.
        families: in the order of their columns.
    """

    timeframe: str
    setting: Setting
    families: tuple[Family, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """F names of features, in the order of the columns."""
        return tuple(name for family in self.families for name in family.names(self.setting))

    @cached_property
    def memory(self) -> int:
        """Bars that a row needs before its UTC day (from one day on: before itself)."""
        return max((family.memory(self.setting) for family in self.families if family.names(self.setting)), default=0)

    def first_valid_row(self, start_ms: int) -> int:
        """First row that has its whole memory, for gapless bars of which the first opens at `start_ms`."""
        return first_valid_row(start_ms, self.setting, self.memory)

    def rows(self, bars: Series, higher: tuple[Series, ...], first: int) -> np.ndarray:
        """Features of rows `first` and later.

        Args:
            bars: from `memory` bars before the UTC day of row `first` on, or from earlier.
            higher: bars of the longer timeframes, ascending.
            first: first row wanted.

        Returns:
            (T - first, F) float32 in [-FEATURE_BOUND, FEATURE_BOUND].
        """
        ohlcv = np.require(bars.ohlcv, np.float64, ("C", "W"))  # one compiled version, for read-only rows too
        volatility = rolling_volatility(ohlcv, self.setting.volatility_bars)
        view = View(self.setting, bars._replace(ohlcv=ohlcv), higher, first, volatility)
        out = np.empty((len(ohlcv) - first, len(self.names)), dtype=np.float32)
        column = 0
        for family in self.families:
            width = len(family.names(self.setting))
            if width:
                _put(family.values(view), out, column)
                column += width
        return out

    def matrix(self, bars: Series, higher: tuple[Series, ...]) -> np.ndarray:
        """(T, F) float32: the features of all bars; rows before `first_valid_row` are 0."""
        out = np.zeros((len(bars.ohlcv), len(self.names)), dtype=np.float32)
        first = self.first_valid_row(bars.start_ms)
        if first < len(out) and self.names:
            out[first:] = self.rows(bars, higher, first)
        return out


@njit(cache=True)
def _put(values: np.ndarray, out: np.ndarray, column: int) -> None:
    for row in range(values.shape[0]):
        for k in range(values.shape[1]):
            out[row, column + k] = min(max(values[row, k], -FEATURE_BOUND), FEATURE_BOUND)


def feature_plans(
    spec: FeatureSpec, timeframes: Sequence[str], columns: tuple[str, ...] = ()
) -> tuple[TimeframePlan, ...]:
    """One plan per timeframe (base first) of a market with these further columns.

    Raises:
        ValueError: two features of a timeframe with one name, or features for a timeframe that is not there.
    """
    spec.require_timeframes(timeframes)
    durations = [timeframe_ms(timeframe) for timeframe in timeframes]
    plans = []
    for position, (timeframe, duration) in enumerate(zip(timeframes, durations, strict=True)):
        role = spec.role(position, durations)
        higher = tuple(durations[position + 1 :])
        families = tuple(role.families())
        setting = Setting(duration, higher, columns, role.volatility_bars, role.warm_up_bars, families)
        plan = TimeframePlan(timeframe, setting, families)
        for name in plan.names:
            if plan.names.count(name) > 1:
                raise ValueError(f"two features of {timeframe} are called {name!r}; give the spec each name once")
        plans.append(plan)
    return tuple(plans)
