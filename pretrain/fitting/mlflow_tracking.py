"""MLflow beside TensorBoard, for every training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthetic.installation import install_hint

DEFAULT_URI = "sqlite:///mlflow.db"
FOLDER_TAG = "cryptoenv.folder"
KEPT_FOLDERS = ("artifact", "agent", "clone", "pictures", "img", "predictions")
PARENT_TAG, TRIAL_TAG = "mlflow.parentRunId", "cryptoenv.trial"
KEPT_FILES = (".yaml", ".json", ".png", ".csv")


@dataclass(frozen=True)
class LoggedTrial:
    """A trial of a study: what was tried, what was measured at which step, and its value (None: pruned or failed).

    `ended`: it runs no longer.
    """

    number: int
    parameters: Mapping[str, Any]
    measured: Mapping[int, float]
    value: float | None
    ended: bool


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or a database file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def mlflow_is_missing(error: ModuleNotFoundError) -> ImportError:
    """The error to raise where MLflow cannot be imported."""
    return ImportError(f"logging to MLflow needs {error.name or 'mlflow'!r}: {install_hint('tracking')}")


def folder_tag(folder: Path) -> dict[str, str]:
    """The tag by which `log_run` finds the MLflow run of a run folder."""
    return {FOLDER_TAG: str(folder.resolve())}


def log_run(experiment: str, folder: Path, parameters: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """Add to the run that a training began in MLflow what it was made of and what it left.

    Args:
        experiment: its name.
        folder: of the run; what `log_folder` names is kept.
        parameters: of any depth.
        metrics: of the weights that were kept, logged as "kept/NAME".

    Raises:
        ImportError: MLflow is not installed.
    """
    try:
        from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise mlflow_is_missing(error) from error
    client = MlflowClient(tracking_uri())
    found = client.get_experiment_by_name(experiment)
    runs = [] if found is None else client.search_runs([found.experiment_id], order_by=["start_time DESC"])
    tagged = [run.info.run_id for run in runs if run.data.tags.get(FOLDER_TAG) == folder_tag(folder)[FOLDER_TAG]]
    for run in tagged[:1]:  # the newest: a run that went on has one for each time
        for name, value in flattened(dict(parameters)).items():
            client.log_param(run, name, value)
        for name, metric in metrics.items():
            client.log_metric(run, f"kept/{name}", metric)
        log_folder(client, run, folder)


def log_study(experiment: str, folder: Path, parameters: Mapping[str, Any], trials: Sequence[LoggedTrial]) -> None:
    """A study as a run with its table, best recipe and pictures, and each finished trial as a run inside it.

    A study that goes on keeps its run; trials that are there already are left as they are.

    Args:
        experiment: its name, made where it does not exist.
        folder: of the study.
        parameters: what is tuned, of any depth.
        trials: all of them.

    Raises:
        ImportError: MLflow is not installed.
    """
    try:
        from mlflow.tracking import MlflowClient
    except ModuleNotFoundError as error:
        raise mlflow_is_missing(error) from error
    client = MlflowClient(tracking_uri())
    found = client.get_experiment_by_name(experiment)
    number = client.create_experiment(experiment) if found is None else found.experiment_id
    tags = folder_tag(folder)
    runs = client.search_runs([number], f"tags.`{FOLDER_TAG}` = '{tags[FOLDER_TAG]}'", max_results=1)
    run = runs[0].info.run_id if runs else client.create_run(number, run_name=str(folder), tags=tags).info.run_id
    for name, value in flattened(dict(parameters)).items():
        client.log_param(run, name, value)
    inside = client.search_runs([number], f"tags.`{PARENT_TAG}` = '{run}'", max_results=10_000)
    logged = {one.data.tags.get(TRIAL_TAG) for one in inside}
    for trial in trials:
        if str(trial.number) not in logged and trial.ended:
            _log_trial(client, number, run, trial)
    values = [trial.value for trial in trials if trial.value is not None]
    if values:
        client.log_metric(run, "best_value", min(values))
    client.log_metric(run, "trials", len(values))
    log_folder(client, run, folder)
    client.set_terminated(run)


def _log_trial(client: Any, experiment: str, study: str, trial: LoggedTrial) -> None:
    """A trial as a run: what was tried, each measurement on the way, and its value where it came to an end."""
    tags = {PARENT_TAG: study, TRIAL_TAG: str(trial.number)}
    run = client.create_run(experiment, run_name=f"trial {trial.number}", tags=tags).info.run_id
    for name, value in trial.parameters.items():
        client.log_param(run, name, value)
    for step, measured in sorted(trial.measured.items()):
        client.log_metric(run, "measured", measured, step=step)
    if trial.value is not None:
        client.log_metric(run, "value", trial.value)
    client.set_terminated(run, "FINISHED" if trial.value is not None else "KILLED")


def log_folder(client: Any, run: str, folder: Path) -> None:
    """Keep what is made to last of a run folder: models, pictures, settings and figures; no checkpoints.

    Args:
        client: an `MlflowClient`.
        run: its id.
        folder: of a pretraining or of an agent.
    """
    for name in KEPT_FOLDERS:
        if (folder / name).is_dir():
            client.log_artifacts(run, str(folder / name), name)
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in KEPT_FILES:
            client.log_artifact(run, str(file))


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration with one level: `{"a": {"b": 1}}` becomes `{"a/b": 1}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value
    return found
