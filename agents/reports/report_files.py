"""Reports as files: read the runs, make the report, write it whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from agents.run_folders.new_outputs import require_new_file, require_new_folder, write_new_file, write_new_folder
from cryptoenv.files.durable_files import write_file
from cryptoenv.progress import tqdm

if TYPE_CHECKING:
    from agents.reports.document.blocks import Report
    from agents.reports.records.judged_agent import JudgeOn

Format = Literal["html", "markdown", "json", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
ENDINGS: dict[Format, str] = {"html": ".html", "markdown": ".md", "json": ".json", "png": ""}


def report_path(runs: Sequence[Path], form: Format) -> Path:
    """Where a report goes if nothing is said: beside the first run, so that no run's folder is touched."""
    first = runs[0].absolute()
    name = first.stem if first.is_file() else first.name
    return first.parent / f"{name}-{'report' if len(runs) == 1 else 'comparison'}{ENDINGS[form]}"


def require_place(out: Path, form: Format) -> None:
    """Check, before any work, that a report may be written there.

    Raises:
        FileExistsError: something stands there. ValueError: another ending. OSError: it cannot be written.
    """
    if form == "png":
        require_new_folder(out)
    else:
        require_new_file(out, ENDINGS[form])


def require_libraries(form: Format) -> None:
    """Check, before any work, that what a format needs is installed.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if form in ("html", "markdown", "json"):
        import jinja2  # noqa: F401
    if form == "html":
        import plotly  # noqa: F401
    if form == "png":
        import matplotlib  # noqa: F401


def make_report(runs: Sequence[Path], on: JudgeOn | None = None, *, progress: bool = True) -> Report:
    """Read runs and make the report on them.

    Args:
        runs: folders and tables; a folder of seeds stands for all of its runs.
        on: what trainings' agents are judged on; None judges none.
        progress: show progress bars.

    Raises:
        FileNotFoundError, ValueError: nothing that a report can be made of.
    """
    from agents.reports.records.reading import kind_of_record, read_record, run_folders
    from agents.reports.sections.contents import report_of

    folders = list(dict.fromkeys(folder for run in runs for folder in run_folders(run)))
    for folder in folders:
        kind_of_record(folder)
    records = [read_record(folder, on) for folder in tqdm(folders, desc="reading", unit="run", disable=not progress)]
    return report_of(records, progress=progress)


def write_report(report: Report, out: Path, form: Format, *, progress: bool = True) -> None:
    """Write a report in one format.

    Args:
        report: what it says.
        out: a new file; of "png" a new folder, one picture per chart.
        form: "html", "markdown", "json" or "png".
        progress: show a progress bar.

    Raises:
        FileExistsError: something stands there. OSError: it cannot be written.
    """
    require_place(out, form)
    sections = sum(len(chapter.sections) for chapter in report.chapters)
    with tqdm(total=sections, desc=f"writing {form}", unit="section", disable=not progress) as bar:
        if form == "png":
            from agents.reports.formats.pictures import draw_charts

            write_new_folder(out, lambda folder: draw_charts(report, folder, bar.update))
            return
        text = _text(report, form, bar.update)
        write_new_file(out, lambda path: write_file(path, text))


def _text(report: Report, form: Format, progress: Callable[[], object]) -> str:
    if form == "html":
        from agents.reports.formats.html_page import html_page

        return html_page(report, progress)
    if form == "json":
        from agents.reports.formats.plain_json import report_json

        return report_json(report)
    from agents.reports.formats.markdown import markdown

    return markdown(report)
