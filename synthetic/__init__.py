"""Synthetic markets whose best causal policy is known, and the labels that follow from it.

Plain arrays and DataFrames on numpy, pandas and numba; nothing here knows an environment. Importing a generator alone,
as the environment does, goes through its module: `from synthetic.regime_market import regime_market`.
"""

from pathlib import Path

from synthetic.jit_cache import drop_stale_cache  # first: it guards the cache of what is imported below

# isort: split

from synthetic.chart_patterns import PATTERN_KINDS, PatternParams, PatternTruth, generate_pattern
from synthetic.filter_oracle import GROWTH, Objective, filter_oracle
from synthetic.hindsight import hindsight_oracle
from synthetic.label_barriers import Barriers, BarrierTouches, triple_barrier, triple_barrier_labels
from synthetic.label_horizon import horizon_labels
from synthetic.label_regimes import REGIME_NAMES, Segmentation, regime_labels
from synthetic.labels import NO_LABEL, oracle_labels, path_labels
from synthetic.macro_filter import EVERYTHING, OBSERVABLE, Information
from synthetic.macro_task import MacroTask, VarianceAverages, VolumeLaw
from synthetic.oracle import Cost, Oracle
from synthetic.origin import Origin
from synthetic.regime_filter import filter_beliefs
from synthetic.regime_market import regime_market
from synthetic.regime_sample import RegimeSample
from synthetic.regime_task import (
    BARS_PER_DAY,
    SEED_FAMILIES,
    TASKS,
    WARMUP_DAYS,
    RegimeTask,
    VarianceRecursion,
    family_of,
    find_task,
    task_seeds,
)
from synthetic.token_events import EVENT_KINDS, EventCounts
from synthetic.token_market import TokenConfig, TokenSample, token_market

__all__ = [
    "BARS_PER_DAY",
    "EVENT_KINDS",
    "EVERYTHING",
    "GROWTH",
    "NO_LABEL",
    "OBSERVABLE",
    "PATTERN_KINDS",
    "REGIME_NAMES",
    "SEED_FAMILIES",
    "TASKS",
    "WARMUP_DAYS",
    "BarrierTouches",
    "Barriers",
    "Cost",
    "EventCounts",
    "Information",
    "MacroTask",
    "Objective",
    "Oracle",
    "Origin",
    "PatternParams",
    "PatternTruth",
    "RegimeSample",
    "RegimeTask",
    "Segmentation",
    "TokenConfig",
    "TokenSample",
    "VarianceAverages",
    "VarianceRecursion",
    "VolumeLaw",
    "family_of",
    "filter_beliefs",
    "filter_oracle",
    "find_task",
    "generate_pattern",
    "hindsight_oracle",
    "horizon_labels",
    "oracle_labels",
    "path_labels",
    "regime_labels",
    "regime_market",
    "task_seeds",
    "token_market",
    "triple_barrier",
    "triple_barrier_labels",
]

drop_stale_cache(Path(__file__).parent)
