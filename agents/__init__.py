"""Behaviour cloning, reinforcement learning, evaluation, reports and the `cryptoenv` command line.

Names are imported when they are first used, so that the command line starts without torch and numba.

>>> import agents
>>> sorted(name for name in dir(agents) if name in agents.__all__ and name.islower())
['adapt', 'evaluate', 'fit_limits', 'reptile', 'score', 'train', 'tune_ensemble']
>>> agents.TradingSettings().positions
(-1.0, 0.0, 1.0)
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from agents.evaluation.composed_tuning import tune_ensemble
    from agents.evaluation.judging import score
    from agents.evaluation.tables import evaluate
    from agents.live.serving.client import Client
    from agents.policies.agent import Agent
    from agents.policies.composed.ensemble import EnsembleAgent
    from agents.policies.composed.exposure_limiter import ExposureLimiter
    from agents.policies.pretrained_extractor import PretrainedExtractor
    from agents.run_folders.run_folder import Run
    from agents.settings import TradingSettings
    from agents.training.config import AgentTrainingConfig, TrainingConfig
    from agents.training.limits_training import fit_limits
    from agents.training.meta_learning import adapt, reptile
    from agents.training.pipeline import train

_HOMES = {
    "Agent": "agents.policies.agent",
    "AgentTrainingConfig": "agents.training.config",
    "Client": "agents.live.serving.client",
    "EnsembleAgent": "agents.policies.composed.ensemble",
    "ExposureLimiter": "agents.policies.composed.exposure_limiter",
    "PretrainedExtractor": "agents.policies.pretrained_extractor",
    "Run": "agents.run_folders.run_folder",
    "TradingSettings": "agents.settings",
    "TrainingConfig": "agents.training.config",
    "adapt": "agents.training.meta_learning",
    "evaluate": "agents.evaluation.tables",
    "fit_limits": "agents.training.limits_training",
    "reptile": "agents.training.meta_learning",
    "score": "agents.evaluation.judging",
    "train": "agents.training.pipeline",
    "tune_ensemble": "agents.evaluation.composed_tuning",
}

__distribution__ = "cryptoenv-rl"

__all__ = [
    "Agent",
    "AgentTrainingConfig",
    "Client",
    "EnsembleAgent",
    "ExposureLimiter",
    "PretrainedExtractor",
    "Run",
    "TradingSettings",
    "TrainingConfig",
    "adapt",
    "evaluate",
    "fit_limits",
    "reptile",
    "score",
    "train",
    "tune_ensemble",
]


class _EarlierPaths(importlib.abc.MetaPathFinder):
    """Modules of the package under the paths of version 0.1: `synthetic` knows them, and brings numba."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """What `synthetic` finds for a module of this package that nothing else has found."""
        if not fullname.startswith(f"{__name__}."):
            return None
        sys.meta_path.remove(self)
        importlib.import_module("synthetic.earlier_paths")
        return importlib.util.find_spec(fullname)


sys.meta_path.append(_EarlierPaths())


def __getattr__(name: str) -> Any:
    from synthetic.import_paths import lazy_names  # here, since it brings numba, which `cryptoenv --help` does without

    return lazy_names(__name__, _HOMES)[0](name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
