"""What a training logs, in MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stable_baselines3.common.logger import KVWriter

from pretrain.fitting.mlflow_tracking import flattened, log_folder, mlflow_is_missing, tracking_uri


class MLflowRun(KVWriter):
    """One run of an experiment, and a writer for Stable-Baselines3's logger; ends as FAILED where the body raises,
    and as KILLED where it is interrupted.

    Args:
        experiment: its name; made where it does not exist.
        name: of the run.
        config: logged as parameters.

    Raises:
        ImportError: MLflow is not installed.
    """

    def __init__(self, experiment: str, name: str, config: dict[str, Any]) -> None:
        try:
            from mlflow.tracking import MlflowClient
        except ModuleNotFoundError as error:
            raise mlflow_is_missing(error) from error
        self._client = MlflowClient(tracking_uri())
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if found is None else found.experiment_id
        self._run = self._client.create_run(number, run_name=name).info.run_id
        for key, value in flattened(config).items():
            self._client.log_param(self._run, key, value)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Called by the logger."""
        self.log({name: v for name, v in key_values.items() if "mlflow" not in (key_excluded[name] or ())}, step)

    def log(self, metrics: Mapping[str, Any], step: int = 0) -> None:
        """Log what is a finite number."""
        for name, value in metrics.items():
            if isinstance(value, Real) and math.isfinite(value):
                self._client.log_metric(self._run, name, float(value), step=step)

    def keep(self, folder: Path) -> None:
        """Keep the agent, pictures, settings and figures of a run folder."""
        log_folder(self._client, self._run, folder)

    def close(self) -> None:
        """The logger closes its writers; the run ends with the `with` statement."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        ended = "FINISHED" if kind is None else "KILLED" if interrupted else "FAILED"
        self._client.set_terminated(self._run, ended)
