"""`cryptoenv signal`: what a trained agent would hold now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from agents.commands.options import BARS_HELP, RunFolder
from agents.run_folders.new_outputs import require_new_file, write_new_file


def signal(
    run: RunFolder,
    bars: Annotated[Path, typer.Option("--bars", help=BARS_HELP)],
    held: Annotated[float, typer.Option(help="Exposure held now, a fraction of equity; negative is short.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Also write it as JSON.")] = None,
) -> None:
    """Print the target exposure after the last closed bar, with its probabilities; it trades nothing."""
    from agents.run_folders.run_folder import Run

    if out is not None:
        require_new_file(out)
    decision = Run.load(run).agent.decide(bars, held=held)
    print(decision)
    if out is not None:
        write_new_file(out, lambda path: path.write_text(json.dumps(decision.as_dict(), indent=2) + "\n", "utf-8"))
        print(f"signal: {out}")
