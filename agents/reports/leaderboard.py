"""Results side by side: their scores, and paired differences from the best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.evaluation.protocol.result_file import ResultError, read_result
from agents.evaluation.protocol.rules import STANDARD_V1
from agents.evaluation.protocol.verification import is_official
from agents.evaluation.scoring import Estimate, difference
from agents.reports.document.blocks import SCORE, Chapter, Column, Report, Section, Style, Table, Value, Words
from cryptoenv.files.package_version import PACKAGE_VERSION

COLUMNS = (
    Column("agent", "Agent", "text"),
    Column("score", "Score", "number", SCORE),
    Column("interval", "95% interval", "text"),
    Column("realised", "Realised", "number", SCORE),
    Column("behind", "Behind the best, paired", "text"),
    Column("seeds", "Seeds", "number", Style(1.0, ",.0f")),
    Column("turnover", "Turnover a day", "number", Style(1.0, ".2f")),
    Column("drawdown", "Max. drawdown", "number", Style(100.0, ".1f", "%")),
    Column("budget", "Budget", "text"),
    Column("kind", "Kind", "text"),
)
ABOUT = (
    "Score: expected net log-return on unseen synthetic markets as a share of the causal optimum's; flat is 0. "
    "Intervals are bootstraps over training seeds and markets. Differences are paired: both agents on the same "
    "resampled markets. Budgets and names are what makers say; `cryptoenv bench verify` checks figures against actions."
)


def read_results(folder: Path) -> dict[Path, dict[str, Any]]:
    """The results in a folder, by file.

    Raises:
        ResultError: none, one that is damaged, or one that may not stand on a leaderboard.
    """
    found = {path: read_result(path) for path in sorted(folder.rglob("*.json"))}
    if not found:
        raise ResultError(f"{folder} holds no result (*.json)")
    for path, values in found.items():
        if not is_official(values):
            raise ResultError(f"{path} has not the size or the seeds of {STANDARD_V1.name}: verify it to see which")
    return found


def leaderboard(results: Sequence[dict[str, Any]]) -> Report:
    """A table per task, the best first."""
    tasks = sorted({values["task"] for values in results}, key=("easy", "standard", "hard").index)
    tables = []
    for task in tasks:
        ranked = sorted(
            (values for values in results if values["task"] == task), key=lambda one: -one["figures"]["score"]["value"]
        )
        rows = tuple(_row(values, ranked[0]) for values in ranked)
        tables.append(Section(task, f"Task {task}", (Table(f"{task}-scores", f"{len(rows)} agents", COLUMNS, rows),)))
    best = max(results, key=lambda one: one["figures"]["score"]["value"])
    verdict = f"{len(results)} results on {len(tasks)} tasks; the highest score is {best['agent']['name']}'s"
    about = Section("about", "What the columns mean", (Words((ABOUT,)),))
    chapter = Chapter("leaderboard", STANDARD_V1.name, "comparison", verdict, "leaderboard", (*tables, about))
    return Report(f"Leaderboard of {STANDARD_V1.name}", (chapter,), {"cryptoenv": PACKAGE_VERSION})


def _row(values: dict[str, Any], best: dict[str, Any]) -> tuple[Value, ...]:
    told, net = values["figures"], values["figures"]["net"]
    interval = f"{told['score']['low']:.3f} to {told['score']['high']:.3f}"
    realised = told["realised_score"]
    behind = "the best" if values is best else _in_words(_behind(values, best))
    return (
        values["agent"]["name"], told["score"]["value"], interval, realised["value"] if realised else None, behind,
        len(values["runs"]), net["turnover_per_day"], net["max_drawdown"], values["budget"]["class"],
        values["agent"]["kind"],
    )  # fmt: skip


def _behind(values: dict[str, Any], best: dict[str, Any]) -> Estimate:
    """How much more of the optimum the best gets, on the same markets."""
    mine, theirs = (np.array(one["figures"]["score_by_market"]) for one in (values, best))
    return difference(theirs, mine, np.array(best["figures"]["optimum_score_by_market"]))


def _in_words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
