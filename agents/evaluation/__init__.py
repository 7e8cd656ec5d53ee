"""Rollouts, scores against the optimum, baselines, hysteresis, tables."""

from synthetic.import_paths import lazy_names

_HOMES = {
    "DEFAULT_SPLIT": "agents.evaluation.tables",
    "DEFAULT_TASK": "agents.evaluation.tables",
    "EVALUATED": "agents.evaluation.tables",
    "FLAT": "agents.evaluation.tables",
    "MARGINS": "agents.evaluation.hysteresis",
    "NO_SHARE": "agents.evaluation.tables",
    "ORACLE": "agents.evaluation.tables",
    "VALIDATION_BLOCK": "agents.evaluation.hysteresis",
    "YEAR_MS": "agents.evaluation.tables",
    "MarginRollouts": "agents.evaluation.hysteresis",
    "agent_policies": "agents.evaluation.tables",
    "baseline_policies": "agents.evaluation.tables",
    "charged_in_words": "agents.evaluation.tables",
    "evaluate": "agents.evaluation.tables",
    "evaluate_on_bars": "agents.evaluation.tables",
    "evaluate_runs": "agents.evaluation.tables",
    "judging_markets": "agents.evaluation.tables",
    "margin_rollouts": "agents.evaluation.hysteresis",
    "named_agents": "agents.evaluation.tables",
    "net_figures": "agents.evaluation.tables",
    "plain_table": "agents.evaluation.tables",
    "require_judged": "agents.evaluation.tables",
    "rollouts": "agents.evaluation.tables",
    "score_table": "agents.evaluation.tables",
    "tune_margin": "agents.evaluation.hysteresis",
    "with_impact": "agents.evaluation.tables",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
