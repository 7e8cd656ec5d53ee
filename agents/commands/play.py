"""`cryptoenv play`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import (
    Bars,
    Exogenous,
    Features,
    Funding,
    Reference,
    RunFolder,
    Seed,
    Task,
    Timeframes,
    hidden,
    market_inputs,
    of_earlier,
    one_source,
)


def play(
    run: RunFolder,
    render: Annotated[str, typer.Option(help="human, ansi, or rgb_array, which is saved.")] = "ansi",
    task: Task = None,
    bars: Bars = None,
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    funding: Funding = None,
    steps: Annotated[int, typer.Option(help="Bars to play.", min=1)] = 96,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Of rgb_array: a film (.gif) or its last frame (.png).")] = Path("play.gif"),
    market: Annotated[str | None, hidden("--market")] = None,
) -> None:
    """Watch a trained agent trade; without --task and --bars, on the task standard."""
    from agents.evaluation.tables import run_maker
    from agents.reports.playing import play_run
    from agents.run_folders.run_folder import Run
    from synthetic import TASKS

    task, bars = of_earlier(market, "--market", task, bars)
    source = one_source(task, bars) or "standard"
    assert isinstance(source, str)
    trained = Run.load(run)
    inputs = market_inputs(timeframes, features, reference, exogenous, funding=funding)
    if source in TASKS:
        inputs.require_own(f"{source} is a task")
    maker = run_maker(trained, inputs, source)
    play_run(trained.agent, source, render, steps=steps, seed=seed, out=out, maker=maker)
