"""A report as Markdown, for a README or a CI's summary: figures and tables whole, charts as what one sees in them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from agents.reports.document.blocks import (
    Block,
    Column,
    Figures,
    Listing,
    Picture,
    Report,
    Table,
    Trades,
    Words,
    shown_in,
)
from agents.reports.document.chart_tables import chart_table
from agents.reports.document.charts import Chart, Heat, Intervals

MOST_TRADES = 10  #: best and worst, in a table of trades
_SPECIAL = re.compile(r"([\\`*_\[\]|#~$])")


def markdown(report: Report) -> str:
    """The text."""
    lines = [f"# {cell(report.title)}", ""]
    several = len(report.chapters) > 1
    for chapter in report.chapters:
        if several:
            lines += [f"## {cell(chapter.title)}", ""]
        if chapter.kind != "comparison":
            lines += [f"**Verdict** {cell(chapter.verdict)}", ""]
        for section in chapter.sections:
            lines += [f"{'###' if several else '##'} {cell(section.title)}", ""]
            if section.empty:
                lines += [f"Nothing to show: {cell(section.empty)}.", ""]
            for block in section.blocks:
                lines += [*_block(block), ""]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines += ["All times are UTC. Money is in quote currency and net of all costs, unless it says otherwise.", "",
              f"Made by cryptoenv: {cell(versions)}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def cell(value: object) -> str:
    """Text of a user's file in a line or a cell: nothing in it is markup."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return _SPECIAL.sub(r"\\\1", text)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Figures):
        yield from _rows(("Figure", "Value", "95% interval"), "lrr",
                         [(n.label, n.shown, n.interval.removeprefix("95%: ")) for n in block.numbers])  # fmt: skip
    elif isinstance(block, Words):
        for line in block.lines:
            yield from ((f"> {cell(line)}" if block.warning else cell(line)), "")
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, Trades):
        yield from _trades(block)
    elif isinstance(block, Listing):
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", block.text)), default=0))
        yield from (f"**{cell(block.title)}**", "", fence, block.text.rstrip("\n"), fence)
    elif isinstance(block, Picture):
        yield f"Picture: {cell(block.path)}"
    elif isinstance(block, Chart):
        yield from (f"**{cell(block.title)}**", "")
        yield cell(block.message)
        if isinstance(block, Heat | Intervals):
            yield ""
            yield from _table(chart_table(block), titled=False)


def _table(table: Table, *, titled: bool = True) -> Iterator[str]:
    if titled:
        yield from (f"**{cell(table.title)}**", "")
    align = "".join("r" if column.kind == "number" else "l" for column in table.columns)
    body = [tuple(table.cell(i, j) for j in range(len(table.columns))) for i in range(len(table.rows))]
    yield from _rows(tuple(column.label for column in table.columns), align, body)


def _trades(block: Trades) -> Iterator[str]:
    """The trades that moved most, at either end."""
    table = block.table.sort_values("gain", kind="stable")
    shown = table if len(table) <= 2 * MOST_TRADES else table.iloc[[*range(MOST_TRADES), *range(-MOST_TRADES, 0)]]
    said = f"{len(table):,} trades" + ("" if len(shown) == len(table) else f"; the {MOST_TRADES} worst and best")
    yield from (f"{said}. trades.parquet has all of them.", "")
    columns: tuple[Column, ...] = block.columns
    body = [tuple(shown_in(column, row[column.name]) for column in columns) for _, row in shown.iterrows()]
    align = "".join("r" if column.kind == "number" else "l" for column in columns)
    yield from _rows(tuple(column.label for column in columns), align, body)


def _rows(head: tuple[str, ...], align: str, body: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(map(cell, head)) + " |"
    yield "|" + "|".join("---:" if side == "r" else "---" for side in align) + "|"
    for row in body:
        yield "| " + " | ".join(map(cell, row)) + " |"
