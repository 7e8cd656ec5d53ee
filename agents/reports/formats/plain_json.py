"""A report as JSON: every figure and table with all digits, series with the points that the page draws."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from agents.reports.document.blocks import Block, Figures, Listing, Picture, Report, Table, Trades, Value, Words
from agents.reports.document.charts import Bars, Candles, Heat, Intervals, Lines
from agents.reports.formats.chart_specs import OVERVIEW
from agents.reports.formats.chart_specs import plain as numbers
from agents.reports.formats.packing import scalar

FORMAT = 1


def report_json(report: Report) -> str:
    """The text; what is not finite is null."""
    chapters = [
        {
            "key": chapter.key, "title": chapter.title, "kind": chapter.kind, "verdict": chapter.verdict,
            "word": chapter.word, "sections": [
                {"key": section.key, "title": section.title, "empty": section.empty,
                 "blocks": [_block(block) for block in section.blocks]} for section in chapter.sections
            ],
        } for chapter in report.chapters
    ]  # fmt: skip
    whole = {"format": FORMAT, "title": report.title, "versions": dict(report.versions), "chapters": chapters}
    return json.dumps(whole, allow_nan=False, default=scalar) + "\n"


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Figures):
        return {"kind": "figures", "numbers": [
            {"key": n.key, "label": n.label, "value": _value(n.value), "shown": n.shown, "low": _value(n.low),
             "high": _value(n.high), "own": n.own} for n in block.numbers
        ]}  # fmt: skip
    if isinstance(block, Words):
        return {"kind": "words", "lines": list(block.lines), "warning": block.warning}
    if isinstance(block, Table):
        return {"kind": "table", "title": block.title, "columns": [column.name for column in block.columns],
                "rows": [[_value(one) for one in row] for row in block.rows]}  # fmt: skip
    if isinstance(block, Trades):
        columns = [column.name for column in block.columns]
        rows = block.table[columns].to_dict(orient="list")
        return {"kind": "trades", "columns": {name: [_value(one) for one in values] for name, values in rows.items()}}
    if isinstance(block, Listing):
        return {"kind": "listing", "title": block.title, "text": block.text}
    if isinstance(block, Picture):
        return {"kind": "picture", "title": block.title, "path": str(block.path)}
    said = {"kind": type(block).__name__.lower(), "key": block.key, "title": block.title, "message": block.message}
    return said | _chart(block)


def _chart(block: Any) -> dict[str, Any]:
    if isinstance(block, Lines):
        lines = [one.thinned() for one in block.lines]
        return {"y": block.y_title, "lines": [
            {"name": one.name, "x": np.asarray(one.x).tolist(), "y": numbers(one.y)} for one in lines
        ]}  # fmt: skip
    if isinstance(block, Bars):
        return {"categories": list(block.categories), "series": {n: numbers(v) for n, v in block.series.items()}}
    if isinstance(block, Heat):
        return {
            "rows": list(block.rows),
            "columns": list(block.columns),
            "values": [numbers(row) for row in block.values],
        }
    if isinstance(block, Intervals):
        return {
            "names": list(block.names),
            "values": numbers(block.values),
            "low": numbers(block.low),
            "high": numbers(block.high),
        }
    assert isinstance(block, Candles)
    shown = block if len(block.open) <= OVERVIEW else block.grouped(-(-len(block.open) // OVERVIEW))
    return {"start_ms": int(shown.opens_ms[0]), "step_ms": shown.step_ms, "open": numbers(shown.open),
            "high": numbers(shown.high), "low": numbers(shown.low), "close": numbers(shown.close)}  # fmt: skip


def _value(value: Value | Any) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
