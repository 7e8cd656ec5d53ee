"""Policies and their heads, and the agent that is kept as an artifact."""

from synthetic.import_paths import lazy_names

_HOMES = {
    "TARGET_COLUMN": "agents.policies.trading_policy",
    "RandomPolicy": "agents.policies.trading_policy",
    "TablePolicy": "agents.policies.trading_policy",
    "TradingPolicy": "agents.policies.trading_policy",
    "held_position": "agents.policies.trading_policy",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
