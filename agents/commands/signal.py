"""`cryptoenv signal`: what a trained agent would hold now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import BARS_HELP, Exogenous, Features, Reference, RunFolder, Timeframes, market_inputs
from agents.run_folders.new_outputs import require_new_file, write_new_file


def signal(
    run: RunFolder,
    bars: Annotated[Path, typer.Option("--bars", help=BARS_HELP)],
    timeframes: Timeframes = None,
    features: Features = None,
    reference: Reference = None,
    exogenous: Exogenous = None,
    held: Annotated[float, typer.Option(help="Exposure held now, a fraction of equity; negative is short.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Also write it as JSON.")] = None,
) -> None:
    """Print the target exposure after the last closed bar, with its probabilities; it trades nothing."""
    from agents.run_folders.run_folder import Run
    from agents.run_folders.run_origin import own_inputs

    if out is not None:
        require_new_file(out)
    trained = Run.load(run)
    inputs = market_inputs(timeframes, features, reference, exogenous).over(own_inputs(trained))
    decision = trained.agent.decide(bars, held=held, inputs=inputs)
    print(decision)
    if out is not None:
        write_new_file(out, lambda path: path.write_text(json.dumps(decision.as_dict(), indent=2) + "\n", "utf-8"))
        print(f"signal: {out}")
