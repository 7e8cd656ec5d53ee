"""The algorithms by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Algorithm:
    """Where an algorithm is: `module` has the builder and the config class; its result has a policy of kind `head`.

    `continuous`: builder and head for actions that are exposures; None where it chooses among positions.
    `on_values`: head of a policy that begins exactly with what the extractor says that positions are worth, where it
    does; None: the policy begins with a clone of what those values decide.
    """

    module: str
    builder: str
    config: str
    head: str
    continuous: tuple[str, str] | None = None
    on_values: str | None = None

    def for_actions(self, continuous: bool) -> tuple[str, str]:
        """Builder and head for actions that are exposures, or positions."""
        return self.continuous if continuous and self.continuous is not None else (self.builder, self.head)


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm("agents.algorithms.ppo", "new_ppo", "PPOConfig", "actor", ("new_exposure_ppo", "gaussian")),
    "maskable_ppo": Algorithm("agents.algorithms.contrib_ppo", "new_maskable_ppo", "MaskableConfig", "actor"),
    "recurrent_ppo": Algorithm("agents.algorithms.contrib_ppo", "new_recurrent_ppo", "RecurrentConfig", "recurrent"),
    "dqn": Algorithm("agents.algorithms.dqn", "new_dqn", "DQNConfig", "value"),
    "qrdqn": Algorithm("agents.algorithms.dqn", "new_qrdqn", "DQNConfig", "quantile"),
    "sac": Algorithm("agents.algorithms.sac", "new_sac", "SACConfig", "actor", ("new_exposure_sac", "sac_exposure")),
    "tqc": Algorithm("agents.algorithms.tqc", "new_tqc", "TQCConfig", "exposure", ("new_tqc", "exposure")),
    "fitted_q": Algorithm(
        "agents.algorithms.fitted_q", "new_fitted_q", "FittedQConfig", "utility", on_values="utility_on_values"
    ),
}
ON_DEVICES = ("ppo", "dqn", "qrdqn", "sac", "fitted_q")  #: that can learn on a GPU, among positions
NAMES = ("bc", *ALGORITHMS)


def require_actions(algorithm: str, continuous: bool) -> None:
    """Refuse continuous actions for an algorithm that chooses among positions.

    Raises:
        ValueError: it does.
    """
    if continuous and (algorithm == "bc" or ALGORITHMS[algorithm].continuous is None):
        raise ValueError(
            f"actions: continuous is for {', '.join(name for name, one in ALGORITHMS.items() if one.continuous)}; "
            f"{algorithm} chooses among positions: name them, such as actions: [-1, 0, 1]"
        )


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
