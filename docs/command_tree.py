"""The reference of commands, made from the command line itself while the site is built."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.cli import get_docs_for_click

from agents.command_line import app

INTRODUCTION = """# Commands

`cryptoenv COMMAND --help` prints the same. Exit codes: 0 done; 2 something given was wrong, one line says what;
130 interrupted.

## Every option, and the commands that take it

| option | commands | meaning |
|---|---|---|
"""


def leaves(command: Any, context: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name as it is typed after `cryptoenv`."""
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    if command.invoke_without_command:
        yield name, command
    for part in command.list_commands(context):
        yield from leaves(command.get_command(context, part), context, f"{name} {part}".strip())


def option_table(command: Any, context: Any) -> str:
    """One row per option: who takes it, and what it means where the commands agree."""
    takers: dict[str, list[str]] = {}
    meanings: dict[str, dict[str, None]] = {}
    for name, leaf in leaves(command, context):
        for option in leaf.params:
            if option.param_type_name != "option" or option.opts == ["--help"] or getattr(option, "hidden", False):
                continue
            key = ", ".join(f"`{part}`" for part in option.opts)
            takers.setdefault(key, []).append(f"`{name}`")
            meanings.setdefault(key, {})[(option.help or "").rstrip(".")] = None
    rows = (f"| {key} | {', '.join(takers[key])} | {'; '.join(meanings[key])} |" for key in sorted(takers))
    return "\n".join(row.replace("\n", " ") for row in rows)


def write_command_reference(page: Path) -> None:
    """Write the page, unless it says the same already (Sphinx rebuilds what is newer)."""
    command = typer.main.get_command(app)
    context = typer.Context(command)
    described = html.unescape(get_docs_for_click(obj=command, ctx=context, name="cryptoenv", indent=1))
    text = f"{INTRODUCTION}{option_table(command, context)}\n\n{described}"
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")
