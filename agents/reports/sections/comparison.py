"""Several runs side by side: figures, equity from the same start, and differences paired by market and day."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.reports.document.blocks import PERCENT, SHARE, Block, Column, Section, Style, Table, Value, plain_value
from agents.reports.document.charts import Intervals, Line, Lines
from agents.reports.document.colours import SERIES
from agents.reports.records.record import Record
from agents.reports.sections.days import dated_days
from agents.reports.sections.headline import METHODS
from agents.reports.sections.labels import PER_DAY, column_of
from cryptoenv.analysis.resampling import LEAST, block_interval

COLOURS = (*SERIES, "held", "loss", "gain")


def compared(records: Sequence[Record], names: Sequence[str]) -> tuple[Section, ...]:
    """The sections of the chapter that compares runs."""
    return (_figures(records, names), _equity(records, names), _differences(records, names))


def _figures(records: Sequence[Record], names: Sequence[str]) -> Section:
    tables = [record.methods for record in records]
    lines: list[Any] = [{} if table is None or not len(table) else table.iloc[0] for table in tables]
    shown = [name for name in METHODS if any(name in line for line in lines)]
    columns = [Column("run", "Run", "text"), Column("verdict", "Verdict", "text"), *(column_of(name) for name in shown)]
    rows: list[tuple[Value, ...]] = []
    for record, name, line in zip(records, names, lines, strict=True):
        word = record.verdict[0] if record.verdict else "none"
        rows.append((name, word, *(plain_value(line[one]) if one in line else None for one in shown)))
    return Section("side-by-side", "Side by side", (Table("runs", "Figures of each run", tuple(columns), tuple(rows)),))


def _equity(records: Sequence[Record], names: Sequence[str]) -> Section:
    lines = []
    for i, (record, name) in enumerate(zip(records, names, strict=True)):
        if record.tracks:
            first = record.tracks[0]
            lines.append(Line(name, first.own / first.own[0], first.closes_ms, COLOURS[i % len(COLOURS)]))
    if len(lines) < 2:
        return Section("equities", "Equity of each run", (), "fewer than two of the runs kept their equity over time")
    ends = ", ".join(f"{line.name} {PERCENT.shown(float(line.y[-1]) - 1.0)}" for line in lines)
    where = "on the first market of each" if any(len(record.tracks) > 1 for record in records) else ""
    return Section("equities", "Equity of each run", (
        Lines("equities", f"Equity over its start {where}".strip(), f"Total return: {ends}.", tuple(lines),
              "equity / start", log=True),
    ))  # fmt: skip


def _differences(records: Sequence[Record], names: Sequence[str]) -> Section:
    """Of every run against the first."""
    title = "Paired differences"
    days = [_days(record) for record in records]
    columns = (
        Column("pair", "Pair", "text"), Column("days", "Days in common", "number", Style(1.0, ",.0f")),
        Column("mean", "Mean difference a day", "number", PER_DAY), Column("low", "95% from", "number", PER_DAY),
        Column("high", "to", "number", PER_DAY), Column("better", "Days better", "number", SHARE),
        Column("said", "What it says", "text"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for mine, name in zip(days[1:], names[1:], strict=True):
        shared = sorted(mine.keys() & days[0].keys())
        pair = f"{name} minus {names[0]}"
        if len(shared) < LEAST:
            rows.append((pair, len(shared), None, None, None, None, f"too few: {LEAST} are the least"))
            continue
        difference = np.array([mine[day] - days[0][day] for day in shared])
        interval = block_interval(difference, "mean")
        said = "better" if interval.low > 0.0 else "worse" if interval.high < 0.0 else "no difference shown"
        rows.append((pair, len(shared), interval.value, interval.low, interval.high, _better(difference), said))
    told = [row for row in rows if isinstance(row[2], float)]
    if not told:
        most = max((row[1] for row in rows if isinstance(row[1], int)), default=0)
        return Section(
            "differences", title, (), f"the runs have {most} days on the same markets in common; {LEAST} are the least"
        )
    values, low, high = (np.array([float(row[i]) for row in told]) for i in (2, 3, 4))  # type: ignore[arg-type]
    message = "; ".join(f"{row[0]}: {PER_DAY.shown(row[2])}, {row[6]}" for row in told) + "."
    blocks: list[Block] = [
        Intervals("pairs", "Mean difference of daily returns, with 95% block-bootstrap intervals", message,
                  tuple(str(row[0]) for row in told), values, low, high, "return a day", percent=True),
        Table("pairs", "Returns of the same market and day, one run minus the other", columns, tuple(rows)),
    ]  # fmt: skip
    return Section("differences", title, tuple(blocks))


def _better(difference: NDArray[np.float64]) -> float:
    """Share of days above 0, ties half."""
    return float(((difference > 0.0) + 0.5 * (difference == 0.0)).mean())


def _days(record: Record) -> dict[tuple[str, int], float]:
    """(market, day) -> net return, the mean over accounts of a market."""
    found: dict[tuple[str, int], list[float]] = {}
    for track in record.tracks:
        for day, value in dated_days(track).items():
            found.setdefault((track.market, day), []).append(value)
    return {key: math.fsum(values) / len(values) for key, values in found.items()}
