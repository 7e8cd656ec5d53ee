"""Figures of backtests as the terminal shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from agents.reports.table import WIDTH_OF_A_FILE

#: Column of a table of figures -> heading, scale, format.
SHOWN: Mapping[str, tuple[str, float, str]] = {
    "total_return": ("return", 100.0, "+.1f%"),
    "annualised_return": ("a year", 100.0, "+.1f%"),
    "sharpe": ("Sharpe", 1.0, "+.2f"),
    "max_drawdown": ("drawdown", 100.0, ".1f%"),
    "trades": ("trades", 1.0, ",.0f"),
    "win_rate": ("won", 100.0, ".0f%"),
    "turnover_per_day": ("turnover / day", 1.0, ".2f"),
    "time_in_market": ("in market", 100.0, ".0f%"),
    "cost_share": ("costs", 100.0, ".1f%"),
}


def print_figures(
    table: pd.DataFrame,
    title: str,
    *,
    columns: Mapping[str, tuple[str, float, str]] = SHOWN,
    lines: Sequence[str] = (),
    first: str = "method",
) -> None:
    """Print a row per method, and lines below.

    Args:
        table: a row per method; a cell is a number, or a word that says why there is none.
        title: above it.
        columns: of the table that are shown: heading, scale and format.
        lines: below it.
        first: heading of the methods' names.
    """
    shown = Table(title=title, title_justify="left")
    shown.add_column(first, no_wrap=True)
    present = [name for name in columns if name in table.columns]
    for name in present:
        shown.add_column(columns[name][0], justify="right", no_wrap=True)
    for label, row in table.iterrows():
        shown.add_row(str(label), *(_cell(row[name], *columns[name][1:]) for name in present))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    console.print(shown)
    for line in lines:
        print(line)


def _cell(value: Any, scale: float, form: str) -> str:
    if isinstance(value, str):
        return value
    return f"{scale * float(value):{form.removesuffix('%')}}" + ("%" if form.endswith("%") else "")
