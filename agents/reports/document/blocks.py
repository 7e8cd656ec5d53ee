"""Blocks of a report: figures that keep every digit beside the words they are shown in, tables, pictures, text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.reports.document.charts import Chart

Value = float | int | str | bool | None
NOTHING = "none"  #: what a figure that does not exist is shown as
TIME_FORMAT = "%Y-%m-%d %H:%M"


@dataclass(frozen=True)
class Style:
    """How a value is shown: times `scale`, in a format of Python, with a unit behind it."""

    scale: float = 1.0
    spec: str = ".4g"
    unit: str = ""

    def shown(self, value: Value) -> str:
        """The value in words; the sign is a real minus."""
        if value is None:
            return NOTHING
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, str):
            return value
        if not self.spec:
            return repr(value)
        if not math.isfinite(value):
            return NOTHING if math.isnan(value) else "infinite" if value > 0 else "minus infinite"
        text = format(self.scale * value, self.spec)
        if float(text.replace(",", "") or 0) == 0.0:
            text = text.lstrip("-+")
        return text.replace("-", "\N{MINUS SIGN}", 1) + self.unit


PERCENT = Style(100.0, "+,.2f", "%")
SHARE = Style(100.0, ",.1f", "%")
RATIO = Style(1.0, "+,.2f")
PLAIN = Style()
EXACT = Style(1.0, "")  #: every digit, as JSON has it
COUNT = Style(1.0, ",.0f")
MONEY = Style(1.0, ",.2f")
SCORE = Style(1.0, ".3f")
CHANCE = Style(1.0, ".3f")


@dataclass(frozen=True)
class Number:
    """A figure.

    Attributes:
        key: dotted path in the run's `metrics.json`, or a name of the report's own where `own` is set.
        label: in words.
        value: as it was read, all digits; a word where a number would say nothing.
        style: how it is shown.
        low, high: of its 95% interval.
        note: what it means, in one sentence.
        own: reckoned by the report, by functions of `cryptoenv.analysis`; not in `metrics.json`.
    """

    key: str
    label: str
    value: Value
    style: Style = PLAIN
    low: float | None = None
    high: float | None = None
    note: str = ""
    own: bool = False

    @property
    def shown(self) -> str:
        """The value in words."""
        return self.style.shown(self.value)

    @property
    def interval(self) -> str:
        """The interval in words, or nothing."""
        if self.low is None or self.high is None:
            return ""
        return f"95%: {self.style.shown(self.low)} to {self.style.shown(self.high)}"


@dataclass(frozen=True)
class Figures:
    """Numbers side by side."""

    numbers: tuple[Number, ...]
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: "number" (right-aligned), "time" (milliseconds since 1970, UTC) or "text"."""

    name: str
    label: str
    kind: Literal["text", "number", "time"] = "number"
    style: Style = PLAIN


@dataclass(frozen=True)
class Table:
    """Rows of values under columns, the first of which names the row.

    Attributes:
        key: its name on the page, unique within a section.
        title: what it shows.
        columns: with their formats.
        rows: raw values, (rows, columns).
        keys: per cell of numbers, the dotted path in `metrics.json` that it comes from; {} where none does.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    keys: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def cell(self, row: int, column: int) -> str:
        """A cell in words."""
        return shown_in(self.columns[column], self.rows[row][column])


@dataclass(frozen=True)
class Trades:
    """The table of trades: sorted, filtered and saved as CSV on the page, where a trade is shown among its candles.

    Attributes:
        key: its name on the page.
        columns: with their formats.
        table: (trades, columns) by the columns' names; times are int64 milliseconds.
        candles: key of the chart that shows a trade, or "".
    """

    key: str
    columns: tuple[Column, ...]
    table: pd.DataFrame
    candles: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file and what it shows."""

    key: str
    title: str
    path: Path
    message: str


@dataclass(frozen=True)
class Words:
    """Sentences, a paragraph each; `warning` marks what a reader must know."""

    lines: tuple[str, ...]
    warning: bool = False


@dataclass(frozen=True)
class Listing:
    """Text to be shown as it is, such as a recipe."""

    title: str
    text: str


Block = Figures | Table | Trades | Picture | Words | Listing | Chart


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        key: its name, unique within a chapter.
        title: its heading.
        blocks: what it shows.
        empty: where it shows nothing, why.
    """

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    empty: str = ""


@dataclass(frozen=True)
class Chapter:
    """All sections on one run, or on the comparison of several; `verdict` is its line, `word` what it says in short."""

    key: str
    title: str
    kind: str
    verdict: str
    word: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Report:
    """All that is written, in any format."""

    title: str
    chapters: tuple[Chapter, ...]
    versions: Mapping[str, str]


def places(section_place: str, section: Section) -> list[tuple[str, Block]]:
    """The blocks of a section with their places on the page."""
    return [
        (f"{section_place}-{getattr(block, 'key', '') or number}", block) for number, block in enumerate(section.blocks)
    ]


def shown_in(column: Column, value: Value) -> str:
    """A value in the words of a column."""
    if column.kind == "time" and isinstance(value, int | float) and not isinstance(value, bool):
        return shown_time(int(value))
    return column.style.shown(value)


def shown_time(milliseconds: int) -> str:
    """Milliseconds since 1970 as a time, UTC."""
    return f"{pd.Timestamp(milliseconds, unit='ms'):{TIME_FORMAT}}"


def table_of(key: str, title: str, frame: pd.DataFrame, columns: Sequence[Column]) -> Table:
    """A table of those columns that the frame has, in the order of `columns`."""
    there = tuple(column for column in columns if column.name in frame)
    values = [[plain_value(one) for one in frame[column.name].tolist()] for column in there]
    return Table(key, title, there, tuple(zip(*values, strict=True)))


def plain_value(value: object) -> Value:
    """A cell as Python has it; text that is a number (as tables of figures keep all digits) is that number."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.generic):
        return plain_value(value.item())
    if isinstance(value, pd.Timestamp):
        return int(value.value // 1_000_000)
    text = str(value)
    try:
        return float(text)
    except ValueError:
        return text


def milliseconds(times: pd.DatetimeIndex | pd.Series) -> NDArray[np.int64]:
    """(n,) int64 milliseconds since 1970 of times in UTC."""
    index = pd.DatetimeIndex(times)
    index = index.tz_localize("UTC") if index.tz is None else index
    return index.tz_convert("UTC").tz_localize(None).astype("datetime64[ms]").astype(np.int64).to_numpy()
