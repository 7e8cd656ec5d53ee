"""Where everything comes from: configuration, seeds, data with hashes, versions."""

from __future__ import annotations

from agents.reports.document.blocks import COUNT, EXACT, Block, Column, Listing, Section, Table, Value
from agents.reports.records.record import Record
from agents.reports.sections.labels import flattened

SOURCE_COLUMNS = (
    Column("what", "What", "text"), Column("path", "Name or place", "text"), Column("from", "From (UTC)", "text"),
    Column("to", "To (UTC)", "text"), Column("bars", "Bars", "number", COUNT), Column("hash", "sha256", "text"),
)  # fmt: skip


def provenance(record: Record) -> Section:
    """Configuration, seeds, files with their ranges and hashes, versions."""
    blocks: list[Block] = []
    if record.sources:
        rows = tuple(tuple(_cell(row.get(column.name)) for column in SOURCE_COLUMNS) for row in record.sources)
        blocks.append(Table("sources", "Data", SOURCE_COLUMNS, rows))
    for number, (title, values) in enumerate(record.settings.items()):
        leaves = [(path, value) for path, value in flattened(values) if value is not None]
        if leaves:
            columns = (Column("name", "Setting", "text"), Column("value", "Value", "number", EXACT))
            blocks.append(Table(f"settings-{number}", title[:1].upper() + title[1:], columns, tuple(leaves)))
    versions = (
        record.metrics.get("origin", {}).get("versions") if isinstance(record.metrics.get("origin"), dict) else None
    )
    if isinstance(versions, dict):
        columns = (Column("name", "Library", "text"), Column("version", "Version", "text"))
        blocks.append(
            Table("versions", "Versions that made the run", columns, tuple((k, str(v)) for k, v in versions.items()))
        )
    blocks += [Listing(title, text) for title, text in record.listings.items()]
    return Section(
        "provenance",
        "Configuration, seeds, data and versions",
        tuple(blocks),
        "" if blocks else "the run kept none of it",
    )


def _cell(value: object) -> Value:
    return value if isinstance(value, str | int | float | bool) else "" if value is None else str(value)
