"""Docstrings as Sphinx reads them: in the source they use Markdown's backticks and tables."""

import re
from collections.abc import Iterable
from typing import Any

_CODE = re.compile(r"(?<![`:])`([^`]+)`(?!`)")
_RULE = re.compile(r"\|[\s|:-]+\|$")


def _list_table(rows: list[str]) -> list[str]:
    """A Markdown table as a list-table directive."""
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip()[1:-1])] for row in rows]
    lines = ["", ".. list-table::", "   :header-rows: 1", ""]
    for row in cells:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]


def to_restructured_text(lines: Iterable[str]) -> list[str]:
    """The lines of a docstring, with single backticks doubled and tables turned into directives."""
    result: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.lstrip().startswith("|") and line.rstrip().endswith("|"):
            if not _RULE.fullmatch(line.strip()):
                table.append(_CODE.sub(r"``\1``", line))
            continue
        if table:
            result += _list_table(table)
            table = []
        result.append(_CODE.sub(r"``\1``", line))
    return result


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's hook `autodoc-process-docstring`, before napoleon reads the sections."""
    lines[:] = to_restructured_text(lines)


def setup(app: Any) -> dict[str, Any]:
    """Register the hook."""
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True}
