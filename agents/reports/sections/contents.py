"""A report's contents: the sections in their order, each made from a record alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from agents.reports.document.blocks import Chapter, Report, Section
from agents.reports.records.record import Record
from agents.reports.sections import headline, learning, provenance, returns, robustness, trading
from agents.reports.sections.comparison import compared
from agents.run_folders.run_origin import versions_now
from cryptoenv.progress import tqdm

#: Key of a section -> what makes it. The order is the report's.
SECTIONS: dict[str, Callable[[Record], Section]] = {
    "headline": headline.headline,
    "equity": returns.equity,
    "drawdown": returns.drawdown,
    "months": returns.months,
    "rolling": returns.rolling,
    "distribution": returns.distribution,
    "candles": trading.candles,
    "exposure": trading.exposure,
    "costs": trading.costs,
    "trades": trading.trades,
    "regimes": robustness.regimes,
    "folds": robustness.folds,
    "stress": robustness.stress,
    "sweep": robustness.sweep,
    "curves": learning.curves,
    "looked": learning.looked,
    "figures": headline.all_figures,
    "provenance": provenance.provenance,
}
NO_VERDICT = {
    "model": "none: a model predicts, and is judged by what trades on it",
    "live": "none: what was traded is counted, and a few days judge nothing",
    "stress": "none: a table of stresses compares, and judges nothing",
    "evaluation": "none: a table of methods has intervals, and no record of days",
}


def chapter_of(record: Record, key: str, title: str, *, progress: bool = False) -> Chapter:
    """All sections on one run. What cannot be made says why, and the others stand."""
    made = []
    for name, make in tqdm(SECTIONS.items(), desc=f"sections of {title}", unit="section", disable=not progress):
        try:
            made.append(make(record))
        except (ValueError, KeyError, TypeError, ArithmeticError, IndexError) as error:
            said = " ".join(str(error).split()) or type(error).__name__
            made.append(Section(name, name.capitalize(), (), f"what the run holds cannot be shown: {said}"))
    if record.verdict is not None:
        word, because = record.verdict
        return Chapter(key, title, record.kind, f"{word}: {because}", word, tuple(made))
    why = NO_VERDICT.get(record.kind) or f"none: {record.missing.get('equity') or 'nothing was judged'}"
    return Chapter(key, title, record.kind, why, "none", tuple(made))


def report_of(records: Sequence[Record], *, progress: bool = False) -> Report:
    """The report on one run, or on several side by side.

    Raises:
        ValueError: no record.
    """
    if not records:
        raise ValueError("a report needs a run")
    names = distinct_names([record.path for record in records])
    chapters = [chapter_of(record, f"run{i}", name, progress=progress)
                for i, (record, name) in enumerate(zip(records, names, strict=True))]  # fmt: skip
    if len(records) == 1:
        title = f"{records[0].name}: {records[0].kind} in {names[0]}"
        return Report(title, tuple(chapters), versions_now())
    words = ", ".join(f"{name} {chapter.word}" for name, chapter in zip(names, chapters, strict=True))
    first = Chapter("compared", "Comparison", "comparison", words, "compared", compared(records, names))
    return Report(f"{len(records)} runs side by side", (first, *chapters), versions_now())


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many parts before it as tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({i + 1})" for i, path in enumerate(paths)]
