"""What a family of features sees of a market: bars of one timeframe, the ended bars of longer ones, further columns.

Anchors: below one day a feature of a bar may use the bars from `memory` bars before the open of the UTC day in which
the bar opens; from one day on, from `memory` bars before the bar itself. That slice depends on the clock alone, so one
computation gives the same bits for all of history, for a shorter one, and live. A UTC day is a block of rows; from one
day on each row is a block of its own.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np

from cryptoenv.bars.series import Series
from cryptoenv.bars.timeframe import DAY_MS, bar_open_ms


class Setting(NamedTuple):
    """What is known of a timeframe before its bars are.

    Attributes:
        duration_ms: of one bar.
        higher_ms: durations of the longer timeframes of the market, ascending.
        columns: names of the further columns, "reference" (the close of the reference market) among them.
        volatility_bars: memory of the volatility v.
        warm_up_bars: what recursive indicators start from.
        families: all that the timeframe has, for those that read what others say.
    """

    duration_ms: int
    higher_ms: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    volatility_bars: int = 96
    warm_up_bars: int = 192
    families: tuple["Family", ...] = ()

    @property
    def block(self) -> int:
        """Rows of a UTC day; 1 from one day on."""
        return max(DAY_MS // self.duration_ms, 1)


@dataclass(frozen=True, eq=False)
class View:
    """Bars of a timeframe as its families read them.

    Attributes:
        setting: the timeframe.
        bars: its bars, from the anchor of row `first` on at least.
        higher: the longer timeframes' bars, ascending; those that end after a row's close are not for it to see.
        first: first row wanted, valid by its memory.
        volatility: (T,) float64, v: root mean square of the last `volatility_bars` log-returns, 0 in earlier rows.
    """

    setting: Setting
    bars: Series
    higher: tuple[Series, ...]
    first: int
    volatility: np.ndarray

    def __len__(self) -> int:
        return len(self.bars.ohlcv)

    @property
    def wanted(self) -> int:
        """Number of rows wanted."""
        return len(self) - self.first

    @cached_property
    def offset(self) -> int:
        """Rows of the first block that lie before row 0."""
        return int((self.bars.start_ms - bar_open_ms(self.bars.start_ms, DAY_MS)) // self.setting.duration_ms)

    def blocks(self) -> list[tuple[int, int]]:
        """The wanted rows block by block: first row, and the one after the last."""
        size = self.setting.block
        out, row = [], self.first
        while row < len(self):
            last = min(row - (row + self.offset) % size + size, len(self))
            out.append((row, last))
            row = last
        return out

    def anchor(self, row: int, memory: int) -> int:
        """First row that row `row` may use."""
        return row - (row + self.offset) % self.setting.block - memory

    def ended(self, higher: int) -> np.ndarray:
        """(wanted,) int64: for each wanted row, the row of the last bar of a longer timeframe that has ended."""
        duration, longer = self.setting.duration_ms, self.setting.higher_ms[higher]
        closes = self.bars.start_ms + duration * np.arange(self.first + 1, len(self) + 1, dtype=np.int64)
        return (closes - self.higher[higher].start_ms) // longer - 1

    def column(self, name: str) -> np.ndarray:
        """(T,) float64: a further column."""
        return np.ascontiguousarray(self.bars.columns[:, self.setting.columns.index(name)])


class Family(Protocol):
    """Features that belong together, with their parameters."""

    def names(self, setting: Setting) -> tuple[str, ...]:
        """Names of the features; none where the timeframe lacks what they need."""

    def memory(self, setting: Setting) -> int:
        """Bars before the anchor's day (from one day on: before the bar) that a row needs."""

    def values(self, view: View) -> np.ndarray:
        """(wanted, F) float64."""


def first_valid_row(start_ms: int, setting: Setting, memory: int) -> int:
    """First row that has its whole memory, for gapless bars of which the first opens at `start_ms`."""
    if setting.duration_ms >= DAY_MS:
        return memory
    into_day = int((start_ms - bar_open_ms(start_ms, DAY_MS)) // setting.duration_ms)
    return math.ceil((memory + into_day) / setting.block) * setting.block - into_day if memory else 0
