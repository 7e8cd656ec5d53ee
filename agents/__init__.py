"""Behaviour cloning, reinforcement learning, evaluation, reports and the `cryptoenv` command line.

Names are imported when they are first used, so that the command line starts without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Agent": "agents.policies.agent",
    "Run": "agents.run_folders.run_folder",
    "TradingSettings": "agents.settings",
    "AgentTrainingConfig": "agents.training.config",
    "TrainingConfig": "agents.training.config",
    "evaluate": "agents.evaluation.tables",
    "score": "agents.evaluation.judging",
    "train": "agents.training.pipeline",
}

__distribution__ = "cryptoenv-rl"

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agents' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOME[name]), name)
