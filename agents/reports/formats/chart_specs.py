"""Charts as the page's script reads them: numbers in the packed arrays, words and small tables in JSON."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.reports.document.blocks import Trades
from agents.reports.document.charts import MOST_CANDLES, Bars, Candles, Chart, Heat, Intervals, Lines
from agents.reports.formats.packing import Packer

OVERVIEW = 60_000  #: candles of the whole where bars are too many
AROUND = 40  #: bars shown before and after a trade
EXACT_BUDGET = 60_000  #: bars kept one by one around trades where bars are too many
MOST_TRADES = 20_000  #: in a page's table
SIGNIFICANT = 9  #: digits of a trade's figures in the page
DRAWN = 7  #: digits of what is drawn as a line


def chart_spec(chart: Chart, packer: Packer) -> dict[str, Any]:
    """What the page needs to draw a chart.

    Raises:
        TypeError: an unknown kind of chart.
    """
    if isinstance(chart, Lines):
        return _lines(chart, packer)
    if isinstance(chart, Bars):
        return {
            "kind": "bars", "categories": list(chart.categories), "percent": chart.percent, "grouped": chart.grouped,
            "signed": chart.signed,
            "series": [{"name": name, "y": plain(values), "colour": chart.colours.get(name, "main")}
                       for name, values in chart.series.items()], "yTitle": chart.y_title, "xTitle": chart.x_title,
        }  # fmt: skip
    if isinstance(chart, Heat):
        return {
            "kind": "heat", "rows": list(chart.rows), "columns": list(chart.columns),
            "values": [plain(row) for row in chart.values],
        }  # fmt: skip
    if isinstance(chart, Intervals):
        return {
            "kind": "intervals", "names": list(chart.names), "values": plain(chart.values), "low": plain(chart.low),
            "high": plain(chart.high), "xTitle": chart.x_title, "percent": chart.percent,
        }  # fmt: skip
    if isinstance(chart, Candles):
        return _candles(chart, packer)
    raise TypeError(f"no page draws a {type(chart).__name__}")


def _lines(chart: Lines, packer: Packer) -> dict[str, Any]:
    lines = []
    for given in chart.lines:
        line = given.thinned()
        lines.append({"name": line.name, "x": packer.add(line.x), "y": packer.add(significant(line.y, DRAWN)),
                      "colour": line.colour,
                      "dashed": line.dashed, "filled": line.filled, "stepped": line.stepped,
                      "hidden": line.hidden})  # fmt: skip
    return {"kind": "lines", "lines": lines, "timed": chart.timed, "percent": chart.percent, "log": chart.log,
            "marks": chart.marks, "yTitle": chart.y_title, "xTitle": chart.x_title}  # fmt: skip


def _candles(chart: Candles, packer: Packer) -> dict[str, Any]:
    count = len(chart.open)
    blocks = []
    if count <= MOST_CANDLES:
        blocks.append(_block(chart, packer))
    else:
        blocks.append(_block(chart.grouped(-(-count // OVERVIEW)), packer))
        blocks += [_block(chart.part(first, last), packer) for first, last in exact_spans(chart)]
    table = chart.trades
    trades: dict[str, Any] = {"n": len(table)}
    for name in ("entry_ms", "exit_ms", "entry_price", "exit_price", "stop", "profit", "return"):
        trades[name] = packer.add(significant(table[name].to_numpy())) if name in table else None
    for name in ("side", "exit_kind"):
        trades[name] = packer.words(table[name].to_numpy()) if name in table else None
    return {"kind": "candles", "blocks": blocks, "trades": trades, "barMs": chart.step_ms}


def _block(chart: Candles, packer: Packer) -> dict[str, Any]:
    columns = packer.candles((chart.open, chart.high, chart.low, chart.close))
    return {"start": int(chart.opens_ms[0]), "step": int(chart.step_ms), "n": len(chart.open), **columns}


def exact_spans(chart: Candles, budget: int = EXACT_BUDGET) -> list[tuple[int, int]]:
    """Rows `first <= t < last` around the trades that moved most, as many as `budget` bars hold, without overlap."""
    if not len(chart.trades):
        return []
    table = chart.trades
    start = int(chart.opens_ms[0])
    first = np.clip((table["entry_ms"].to_numpy() - start) // chart.step_ms - AROUND, 0, len(chart.open))
    last = np.clip((table["exit_ms"].to_numpy() - start) // chart.step_ms + AROUND + 1, 0, len(chart.open))
    inside = np.zeros(len(chart.open), dtype=bool)
    left = budget
    for row in np.argsort(-np.abs(table["gain"].to_numpy()), kind="stable"):
        more = int((~inside[first[row] : last[row]]).sum())
        if more <= left:
            inside[first[row] : last[row]] = True
            left -= more
        if left < AROUND:
            break
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside.astype(np.int8), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def trades_spec(trades: Trades, packer: Packer) -> dict[str, Any]:
    """The table of trades; of too many those that moved most."""
    table: pd.DataFrame = trades.table
    whole = len(table)
    if whole > MOST_TRADES:
        kept = np.sort(np.argsort(-np.abs(table["gain"].to_numpy()), kind="stable")[:MOST_TRADES])
        table = table.iloc[kept]
    columns = []
    for column in trades.columns:
        values = table[column.name].to_numpy()
        said = {"name": column.name, "label": column.label, "kind": column.kind}
        if column.kind == "text":
            columns.append(said | packer.words(values))
            continue
        style = column.style
        columns.append(said | {"values": packer.add(significant(values)), "scale": style.scale, "unit": style.unit,
                               "spec": style.spec})  # fmt: skip
    return {"columns": columns, "n": len(table), "whole": whole, "chart": packer.words(table["chart"].to_numpy()),
            "entry": packer.add(table["entry_ms"].to_numpy())}  # fmt: skip


def significant(values: NDArray[Any], digits: int = SIGNIFICANT) -> NDArray[Any]:
    """Values (n,) rounded to so many significant digits of the largest; whole numbers as they are."""
    array = np.asarray(values)
    if array.dtype.kind in "iub" or not len(array):
        return array
    array = array.astype(np.float64)
    known = np.abs(array[np.isfinite(array)])
    largest = float(known.max(initial=0.0))
    if largest == 0.0:
        return array
    return np.round(array, max(0, digits - 1 - math.floor(math.log10(largest))))


def plain(values: NDArray[Any]) -> list[float | None]:
    """Values (n,) for JSON; what is not finite is null."""
    return [float(one) if math.isfinite(one) else None for one in np.asarray(values, dtype=np.float64)]
