"""The training of an agent: recipe, pipeline, learning loop, checkpoints, several seeds, tuning."""

from synthetic.import_paths import lazy_names

_HOMES = {
    "ALGORITHMS": "agents.algorithms.registry",
    "NAMES": "agents.algorithms.registry",
    "Algorithm": "agents.algorithms.registry",
    "Trained": "agents.training.pipeline",
    "TrainingConfig": "agents.training.config",
    "cloned": "agents.training.pipeline",
    "identity": "agents.training.pipeline",
    "learn": "agents.training.pipeline",
    "new_config": "agents.algorithms.registry",
    "require_market": "agents.markets.own_markets",
    "expert_markets_for": "agents.training.pipeline",
    "train": "agents.training.pipeline",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
