"""`cryptoenv play`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def play(
    run: Annotated[Path, typer.Argument(help="Run folder.", exists=True, file_okay=False)],
    render: Annotated[str, typer.Option(help="human, ansi, or rgb_array, which is saved.")] = "ansi",
    market: Annotated[str, typer.Option(help="Synthetic task, or a file of bars.")] = "standard",
    steps: Annotated[int, typer.Option(help="Bars to play.", min=1)] = 96,
    seed: Annotated[int, typer.Option(help="Of the episode.", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Of rgb_array: a film (.gif) or its last frame (.png).")] = Path("play.gif"),
) -> None:
    """Watch a trained agent trade."""
    from agents.reports.playing import play_run
    from agents.run_folders.run_folder import Run

    play_run(Run.load(run).agent, market, render, steps=steps, seed=seed, out=out)
