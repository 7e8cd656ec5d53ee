"""Tables as the terminal shows them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

WIDTH_OF_A_FILE = 140


def print_table(table: pd.DataFrame, title: str, console: Console | None = None, *, charged: str = "") -> None:
    """Print a table of `score_table` or `plain_table`, figures with their 95% intervals.

    `charged`: what they are net of (`agents.evaluation.charged_in_words`).
    """
    scored = "score" in table
    caption = "\n".join(filter(None, (_caption(scored), charged, _flat_in_words(table))))
    shown = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    shown.add_column("method", no_wrap=True)
    headings = ["score [95%]", "realised [95%]"] if scored else ["log-return % / day [95%]"]
    for heading in [*headings, "log-return % / day", "Sharpe", "drawdown", "turnover / day", "exposure"]:
        if scored or heading != "log-return % / day":
            shown.add_column(heading, justify="right", no_wrap=True)
    for name, line in table.iterrows():
        cells = [_interval(line, "score", 1.0, 3), _interval(line, "realised_score", 1.0, 2)] if scored else []
        cells += [f"{100 * line['return_per_day']:+.3f}"] if scored else [_interval(line, "daily_log_return", 100.0, 3)]
        cells += [f"{line['sharpe']:+.2f}", f"{100 * line['max_drawdown']:.1f}%"]
        cells += [f"{line['turnover_per_day']:.2f}", f"{line['mean_exposure']:.2f}"]
        shown.add_row(str(name), *cells)
    console = console or Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_FILE
    console.print(shown)


def _caption(scored: bool) -> str:
    if scored:
        return (
            "score: net log-return as a share of the filter oracle's (the causal optimum), expected given the truth;\n"
            "realised: the same from the realised returns. Intervals: bootstrap over markets."
        )
    return "Net log-returns. Intervals: bootstrap over weeks."


def _flat_in_words(table: pd.DataFrame) -> str:
    """Which methods, but the one that is called so, took no position at all."""
    flat = [str(name) for name in table.index[table["mean_exposure"] == 0.0] if name != "flat"]
    return f"Stayed flat, by their own choice: {', '.join(flat)}." if flat else ""


def _interval(line: pd.Series, name: str, scale: float, digits: int) -> str:
    value, low, high = (scale * line[f"{name}{end}"] for end in ("", "_low", "_high"))
    if np.isnan(value):
        return "-"  # the optimum lost on these markets
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
