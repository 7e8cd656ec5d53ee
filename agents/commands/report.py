"""`cryptoenv report`: what runs did, whether it is any good, and why to believe it, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from agents.commands.options import Days, SeveralBars, Task, one_source

RUNS_HELP = (
    "Folders of trainings, walk-forwards, backtests, models or of trade, or tables of evaluate and stress; several are "
    "compared."
)


def report(
    runs: Annotated[list[Path], typer.Argument(help=RUNS_HELP)],
    form: Annotated[
        Literal["html", "markdown", "json", "png"],
        typer.Option("--format", help="html is one page; png a folder of charts."),
    ] = "html",
    out: Annotated[Path | None, typer.Option(help="New file, of png a new folder; RUN-report beside the run.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="Judge a training's agent for the report.")] = True,
    task: Task = None,
    bars: SeveralBars = None,
    split: Annotated[
        Literal["validation", "test"], typer.Option(help="What trainings are judged on; test once, for final figures.")
    ] = "validation",
    markets: Annotated[int, typer.Option(help="How many markets of the task.", min=1)] = 8,
    days: Days = 60,
) -> None:
    """Make a report on one run, or on several side by side: one page that holds everything, and loads nothing.

    A training's agent is judged first, on what it was trained on, or on --task or --bars.
    """
    from agents.reports.report_files import make_report, report_path, require_libraries, require_place, write_report

    place = out or report_path(runs, form)
    require_place(place, form)
    require_libraries(form)
    on = None
    source = one_source(task, bars)
    if judge:
        from agents.reports.records.judged_agent import JudgeOn

        on = JudgeOn(source, split, markets, days)
    elif source is not None:
        raise ValueError("--no-judge judges nothing: leave --task and --bars out")
    made = make_report(runs, on)
    write_report(made, place, form)
    for chapter in made.chapters:
        if chapter.kind != "comparison":
            print(f"{chapter.title}: verdict: {chapter.verdict}")
    print(f"report: {place}")
    if open_page:
        import webbrowser

        webbrowser.open(place.absolute().as_uri())
