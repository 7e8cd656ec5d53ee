"""MLflow beside TensorBoard, for every training."""

from __future__ import annotations

import os
from typing import Any

from synthetic.installation import install_hint

DEFAULT_URI = "sqlite:///mlflow.db"


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or a database file in the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def mlflow_is_missing(error: ModuleNotFoundError) -> ImportError:
    """The error to raise where MLflow cannot be imported."""
    return ImportError(f"logging to MLflow needs {error.name or 'mlflow'!r}: {install_hint('tracking')}")


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration with one level: `{"a": {"b": 1}}` becomes `{"a/b": 1}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{name}/")
        else:
            found[f"{prefix}{name}"] = value
    return found
