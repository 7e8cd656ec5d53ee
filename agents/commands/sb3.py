"""`cryptoenv export` and `import`: agents as Stable-Baselines3's models, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agents.run_folders.new_outputs import (
    require_new_file,
    require_new_folder,
    write_new_folder,
)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, or a forecaster's.", exists=True, file_okay=False)],
    file: Annotated[Path, typer.Argument(help="File to write: an agent's .zip, a forecaster's .onnx.", dir_okay=False)],
) -> None:
    """Write a run's agent as a model of Stable-Baselines3, which observes windows, or a forecaster as ONNX."""
    if file.suffix == ".onnx":
        _export_onnx(run, file)
        return
    from agents.run_folders.run_folder import Run
    from agents.run_folders.sb3_zip import export_zip

    agent = Run.load(run).agent
    file = export_zip(agent, file)
    kept = f"; the hysteresis of {agent.margin:g} is not part of it" if agent.margin else ""
    print(f"{file}: {agent.algorithm} for Stable-Baselines3{kept}")


def _export_onnx(run: Path, file: Path) -> None:
    import pretrain
    from pretrain.fitting.artifact_folder import ArtifactError

    require_new_file(file)
    if (run / "agent").is_dir():
        raise ArtifactError(f"{run} holds an agent: only forecasters are written as ONNX; an agent goes into a .zip")
    model = pretrain.load(run)
    from pretrain.forecaster.artifact import Forecaster

    if not isinstance(model, Forecaster):
        raise ArtifactError(f"{run} holds a model of {type(model).__name__}: only forecasters are written as ONNX")
    from pretrain.forecaster.onnx_file import export_onnx

    print(f"{export_onnx(model, file)}: forecaster {model.hash[:16]}, {file.stat().st_size:,} bytes")


def import_model(
    file: Annotated[Path, typer.Argument(help="PPO or DQN of Stable-Baselines3.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/imported"),
    extractor: Annotated[str, typer.Option(help="default, or the folder of an artifact.")] = "default",
    trust: Annotated[bool, typer.Option(help="The file holds pickles: read it although it could run code.")] = False,
) -> None:
    """Make a run folder from a model of Stable-Baselines3 that was trained on one of our extractors."""
    from agents.run_folders.run_folder import Run
    from agents.run_folders.sb3_zip import import_zip
    from pretrain import Extractor

    require_new_folder(out)
    agent = import_zip(file, Extractor.load(extractor), trust=trust)
    told = {"algorithm": agent.algorithm, "imported": file.name}
    write_new_folder(out, lambda folder: Run(folder, agent, agent).save(told, {}))
    print(f"{out}: {agent.algorithm}")
