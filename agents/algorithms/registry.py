"""The algorithms by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Algorithm:
    """Where an algorithm is: `module` has the builder and the config class; its result has a policy of kind `head`."""

    module: str
    builder: str
    config: str
    head: str


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm("agents.algorithms.ppo", "new_ppo", "PPOConfig", "actor"),
    "maskable_ppo": Algorithm("agents.algorithms.contrib_ppo", "new_maskable_ppo", "MaskableConfig", "actor"),
    "recurrent_ppo": Algorithm("agents.algorithms.contrib_ppo", "new_recurrent_ppo", "RecurrentConfig", "recurrent"),
    "dqn": Algorithm("agents.algorithms.dqn", "new_dqn", "DQNConfig", "value"),
    "qrdqn": Algorithm("agents.algorithms.dqn", "new_qrdqn", "DQNConfig", "quantile"),
    "sac": Algorithm("agents.algorithms.sac", "new_sac", "SACConfig", "actor"),
    "tqc": Algorithm("agents.algorithms.tqc", "new_tqc", "TQCConfig", "exposure"),
    "fitted_q": Algorithm("agents.algorithms.fitted_q", "new_fitted_q", "FittedQConfig", "utility"),
}
NAMES = ("bc", *ALGORITHMS)


def new_config(algorithm: str) -> Any:
    """The default configuration of an algorithm; None for "bc".

    Raises:
        ValueError: an unknown algorithm.
    """
    if algorithm not in NAMES:
        raise ValueError(f"algorithm={algorithm!r} is unknown; choose one of {NAMES}")
    if algorithm == "bc":
        return None
    found = ALGORITHMS[algorithm]
    return getattr(import_module(found.module), found.config)()
