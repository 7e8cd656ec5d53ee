"""Charts as what they say: series, axes and a sentence. How they are drawn, on a page or a picture, is elsewhere.

Colours are named by their part ("main", "held", "gain", ...); `colours` has the values in both themes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_POINTS = 12_000  #: of a line in a report; more than any screen has columns, extremes included
MOST_CANDLES = 130_000  #: that a report holds bar by bar


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        name: in the legend.
        y: (n,) float64.
        x: (n,) int64 milliseconds or float64.
        colour: its part.
        dashed, filled, stepped: how it is drawn.
        hidden: in the legend alone until it is asked for: it would squeeze the others.
    """

    name: str
    y: NDArray[np.float64]
    x: NDArray[np.int64] | NDArray[np.float64]
    colour: str = "main"
    dashed: bool = False
    filled: bool = False
    stepped: bool = False
    hidden: bool = False

    def thinned(self, most: int = MOST_POINTS) -> Line:
        """The same line with fewer points: first, lowest, highest and last of each column, exact values all of them."""
        rows = extremes(self.y, most)
        return replace(self, y=self.y[rows], x=self.x[rows])


@dataclass(frozen=True)
class Chart:
    """What all charts have.

    Attributes:
        key: its name on the page, unique within a chapter.
        title: what it shows.
        message: what one sees in it, in a sentence, for those who do not see it.
    """

    key: str
    title: str
    message: str


@dataclass(frozen=True)
class Lines(Chart):
    """Lines over time (`timed`: x is milliseconds since 1970, UTC) or over numbers.

    Attributes:
        lines: each with its own x.
        y_title, x_title: with units.
        percent: y is a fraction, shown times 100.
        log: y on a logarithmic axis.
        marks: y values of horizontal lines.
    """

    lines: tuple[Line, ...] = ()
    y_title: str = ""
    x_title: str = ""
    timed: bool = True
    percent: bool = False
    log: bool = False
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Bars(Chart):
    """Bars per category.

    Attributes:
        categories: (n,) words.
        series: name -> (n,) float64.
        colours: name -> part.
        grouped: several series stand side by side; they are stacked where False.
        signed: one series whose bars are coloured by their sign.
    """

    categories: tuple[str, ...] = ()
    series: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    y_title: str = ""
    x_title: str = ""
    percent: bool = False
    grouped: bool = False
    signed: bool = False


@dataclass(frozen=True)
class Heat(Chart):
    """A grid of fractions around 0, shown times 100, NaN where there is none."""

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    row_title: str = ""


@dataclass(frozen=True)
class Intervals(Chart):
    """Values (n,) by name with their 95% intervals, `low` and `high` (n,), NaN where there is none."""

    names: tuple[str, ...] = ()
    values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    low: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    x_title: str = ""
    percent: bool = False


@dataclass(frozen=True)
class Candles(Chart):
    """Candles with fills, stops and position, to be zoomed to a single trade.

    Attributes:
        opens_ms: (n,) int64, opens of the bars, `step_ms` apart.
        step_ms: length of a bar.
        open, high, low, close: (n,) float64.
        trades: entry_ms, exit_ms (opens of the bars that fill), side, entry_price, exit_price, exit_kind, gain, return,
            and stop and profit: the levels at which it would be closed, NaN where there is none.
    """

    opens_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    step_ms: int = 0
    open: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    high: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    low: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    close: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    trades: pd.DataFrame = field(default_factory=pd.DataFrame)

    def grouped(self, bars: int) -> Candles:
        """The same with every so many bars as one; the last may be of fewer."""
        edges = np.arange(0, len(self.open), bars)
        ends = np.minimum(edges + bars, len(self.open)) - 1
        high, low = np.maximum.reduceat(self.high, edges), np.minimum.reduceat(self.low, edges)
        return Candles(
            self.key, self.title, self.message, self.opens_ms[edges], self.step_ms * bars, self.open[edges], high, low,
            self.close[ends], self.trades,
        )  # fmt: skip

    def part(self, first: int, last: int) -> Candles:
        """Bars `first <= t < last` and no trades."""
        at = slice(first, last)
        return Candles(
            self.key, self.title, self.message, self.opens_ms[at], self.step_ms, self.open[at], self.high[at],
            self.low[at], self.close[at],
        )  # fmt: skip


def extremes(values: NDArray[np.float64], most: int) -> NDArray[np.int64]:
    """Rows, in order, of the first, lowest, highest and last of values (n,) in each of `most // 4` equal columns.

    What is drawn from them looks as all of it does at that width, and every value is one of the given.
    """
    count = len(values)
    if count <= most:
        return np.arange(count, dtype=np.int64)
    width = -(-count // max(most // 4, 1))
    whole = count // width * width
    blocks = values[:whole].reshape(-1, width)
    base = np.arange(len(blocks), dtype=np.int64) * width
    safe_low, safe_high = np.where(np.isnan(blocks), np.inf, blocks), np.where(np.isnan(blocks), -np.inf, blocks)
    found = [base, base + safe_low.argmin(axis=1), base + safe_high.argmax(axis=1), base + width - 1]
    if whole < count:
        tail = values[whole:]
        ends = np.array([0, np.nan_to_num(tail, nan=np.inf).argmin(), np.nan_to_num(tail, nan=-np.inf).argmax(),
                         len(tail) - 1], dtype=np.int64)  # fmt: skip
        found.append(whole + ends)
    return np.unique(np.concatenate(found))
