"""`cryptoenv pretrain`: a recipe becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def pretrain(
    recipe: Annotated[str, typer.Option(help="One that ships (default), or a YAML file.")] = "default",
    out: Annotated[Path, typer.Option(help="Run folder: log, checkpoints, artifact.")] = Path("runs/pretrain"),
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.", min=0)] = None,
    task: Annotated[str | None, typer.Option(help="Synthetic task, instead of the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of the recipe's.", min=1)] = None,
    devices: Annotated[int | None, typer.Option(help="Processes that share each batch.", min=1)] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted run.")] = False,
    mlflow: Annotated[str | None, typer.Option(help="Also log to this MLflow experiment.")] = None,
) -> None:
    """Pretrain an extractor on synthetic markets; the same recipe gives the same artifact on the same machine."""
    from dataclasses import replace

    from pretrain import FitOptions, Recipe, pretrain_extractor

    chosen = Recipe.read(recipe).changed(seed=seed, task=task)
    budget: dict[str, Any] = {"steps": steps, "devices": devices}
    given = {name: value for name, value in budget.items() if value is not None}
    chosen = chosen.changed(training=replace(chosen.training, **given))
    extractor = pretrain_extractor(chosen, FitOptions(out, resume=resume, mlflow=mlflow))
    for name, value in sorted(extractor.provenance.metrics.items()):
        print(f"{name:24s} {value:10.4f}")
    print(f"artifact {extractor.hash[:16]} in {out / 'artifact'}")
