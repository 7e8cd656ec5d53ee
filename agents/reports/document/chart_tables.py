"""What a chart shows as a table, for those who read it."""

from __future__ import annotations

import math

from agents.reports.document.blocks import PERCENT, PLAIN, Column, Table, Value
from agents.reports.document.charts import Bars, Chart, Heat, Intervals, Lines


def chart_table(chart: Chart) -> Table:
    """What a small chart shows, as a table; of lines the first, lowest, highest and last value.

    Raises:
        TypeError: candles, which are too many.
    """
    head: tuple[str, ...]
    rows: list[tuple[Value, ...]]
    if isinstance(chart, Lines):
        first, head = "Line", ("first", "lowest", "highest", "last")
        rows = [
            (line.name, *map(float, (line.y[0], line.y.min(), line.y.max(), line.y[-1])))
            for line in chart.lines
            if len(line.y)
        ]
    elif isinstance(chart, Bars):
        first, head = chart.x_title or "what", tuple(chart.series)
        rows = list(zip(chart.categories, *(map(_finite, v) for v in chart.series.values()), strict=True))
    elif isinstance(chart, Heat):
        first, head = chart.row_title, chart.columns
        rows = [(name, *map(_finite, values)) for name, values in zip(chart.rows, chart.values, strict=True)]
    elif isinstance(chart, Intervals):
        first, head = "Name", ("value", "from", "to")
        values = (map(_finite, v) for v in (chart.values, chart.low, chart.high))
        rows = list(zip(chart.names, *values, strict=True))
    else:
        raise TypeError(f"{type(chart).__name__} have too many values for a table")
    style = PERCENT if isinstance(chart, Heat) or chart.percent else PLAIN
    columns = (Column("name", first, "text"), *(Column(name, name, "number", style) for name in head))
    return Table("values", chart.title, columns, tuple(rows))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
