"""Demonstrations, behaviour cloning and DAgger."""

from synthetic.import_paths import lazy_names

_HOMES = {
    "CloningConfig": "agents.cloning.behaviour_cloning",
    "clone": "agents.cloning.behaviour_cloning",
    "cloning_of": "agents.cloning.behaviour_cloning",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
