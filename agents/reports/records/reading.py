"""A run's folder or a table's file -> its record, by what lies there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agents.reports.records.live_record import ACCOUNT, live_record
from agents.reports.records.record import Record
from agents.reports.records.tables import backtest_record, table_record
from agents.reports.records.training_record import model_record, training_record
from agents.reports.records.walk_record import walk_record
from agents.run_folders.run_folder import AGENT, CHECKPOINTS, CLONE, CONFIG, METRICS, PLAN, RECIPE, SEEDS, seed_folders
from cryptoenv.live.journal import JOURNAL

if TYPE_CHECKING:
    from agents.reports.records.judged_agent import JudgeOn

ALLOWED = (
    "allowed: the folder of a training, a walk-forward, a backtest, a model or of trade, or a table of `evaluate "
    "--out` or `stress --out`"
)


def run_folders(path: Path) -> list[Path]:
    """The folder or file itself, or those of its seeds where it holds several.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {ALLOWED}")
    if path.is_dir() and not (path / PLAN).is_file() and seed_folders(path):
        return seed_folders(path)
    return [path]


def kind_of_record(path: Path) -> str:
    """What lies there: "table", "walk-forward", "backtest", "training", "live" or "model".

    Raises:
        ValueError: nothing of these.
    """
    if path.is_file():
        return "table"
    has = {one.name for one in path.iterdir()}
    if {JOURNAL, ACCOUNT} <= has:
        return "live"
    if PLAN in has:
        return "walk-forward"
    if {AGENT, CLONE, SEEDS} & has or (RECIPE in has and _names_algorithm(path)):
        return "training"
    if {"equity.parquet", "trades.parquet"} & has:
        return "backtest"
    if {"artifact", "model.safetensors", "tensorboard", CHECKPOINTS, RECIPE} & has or {CONFIG, METRICS} <= has:
        return "model"
    if METRICS in has:
        return "backtest" if '"strategy"' in (path / METRICS).read_text("utf-8", "replace") else "model"
    raise ValueError(f"{path} holds no run; {ALLOWED}")


def _names_algorithm(path: Path) -> bool:
    try:
        return any(line.startswith("algorithm:") for line in (path / RECIPE).read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return False


def read_record(path: Path, on: JudgeOn | None = None) -> Record:
    """The record of one run.

    Args:
        path: of a folder or a table.
        on: what a training's agent is judged on; None judges none.

    Raises:
        ValueError: nothing that a report can be made of.
    """
    readers: dict[str, Callable[[Path], Record]] = {
        "table": table_record, "walk-forward": walk_record, "backtest": backtest_record, "model": model_record,
        "live": live_record, "training": lambda folder: training_record(folder, on),
    }  # fmt: skip
    return readers[kind_of_record(path)](path)
