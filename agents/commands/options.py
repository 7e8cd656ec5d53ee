"""Options that several commands have: one word for one thing, declared once; and the words of the version before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

TASK_HELP = "Synthetic task: easy, standard or hard."
BARS_HELP = "Your own bars: a file, a saved market's folder, or a store's series (STORE/EXCHANGE/SYMBOL/TIMEFRAME)."

Task = Annotated[str | None, typer.Option("--task", help=TASK_HELP)]
Bars = Annotated[Path | None, typer.Option("--bars", help=BARS_HELP)]
SeveralBars = Annotated[list[Path] | None, typer.Option("--bars", help=f"{BARS_HELP} Once per market.")]
Seed = Annotated[
    int, typer.Option("--seed", help="Of everything that is drawn: the same seed, the same result.", min=0)
]
RecipeSeed = Annotated[int | None, typer.Option("--seed", help="Instead of the recipe's seed.", min=0)]
Steps = Annotated[int | None, typer.Option("--steps", help="Steps of the training, instead of the recipe's.", min=1)]
Days = Annotated[int, typer.Option("--days", help="Tradable days of each synthetic market.", min=1)]
Extractor = Annotated[str | None, typer.Option("--extractor", help="default, or the folder of an artifact.")]
RunFolder = Annotated[Path, typer.Argument(help="Run folder.", exists=True, file_okay=False)]
MLflow = Annotated[str | None, typer.Option("--mlflow", help="Also log to this MLflow experiment.")]


def earlier(old: str, new: str) -> None:
    """Tell in one line that an option's name is of the version before, and which it is now."""
    warnings.warn(f"{old} is {new} now; the old name works in this version only", FutureWarning, stacklevel=3)


def hidden(*names: str) -> Any:
    """An option of the version before: it works, and no help shows it."""
    return typer.Option(*names, hidden=True)


def one_source(task: str | None, bars: Path | Sequence[Path] | None) -> str | tuple[str, ...] | None:
    """The task or the paths of own bars that a command was given; None where neither.

    Raises:
        ValueError: both.
    """
    paths = [bars] if isinstance(bars, Path) else list(bars or ())
    if task is not None and paths:
        raise ValueError("--task and --bars: name one of them at a time")
    if not paths:
        return task
    named = tuple(_as_path(path) for path in paths)
    return named[0] if len(named) == 1 else named


def _as_path(path: Path) -> str:
    # A file called like a task is the file here: "easy" alone would be the task.
    from synthetic import TASKS

    return f"./{path}" if str(path) in TASKS else str(path)


def of_earlier(market: str | None, old: str, task: str | None, bars: Any) -> tuple[str | None, Any]:
    """`--task` and `--bars`, where an option of the version before named either.

    Args:
        market: what was given to the old option, or None.
        old: its name.
        task, bars: what was given to the new ones; a list where the command takes several bars, or a path.
    """
    if market is None:
        return task, bars
    from synthetic import TASKS

    is_task = market in TASKS and not Path(market).is_file()
    earlier(old, "--task" if is_task else "--bars")
    if is_task:
        return market, bars
    return task, [*bars, Path(market)] if isinstance(bars, list) else bars or Path(market)
