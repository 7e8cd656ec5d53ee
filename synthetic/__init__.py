"""Synthetic markets whose best causal policy is known, and the labels that follow from it.

Plain arrays and DataFrames on numpy, pandas and numba; nothing here knows an environment. Importing a generator alone,
as the environment does, goes through its module: `from synthetic.regime_market import regime_market`.
"""

from pathlib import Path

from synthetic.filter_oracle import GROWTH, Objective, filter_oracle
from synthetic.hindsight import hindsight_oracle
from synthetic.jit_cache import drop_stale_cache
from synthetic.label_barriers import Barriers, BarrierTouches, triple_barrier, triple_barrier_labels
from synthetic.label_horizon import horizon_labels
from synthetic.label_regimes import REGIME_NAMES, Segmentation, regime_labels
from synthetic.labels import NO_LABEL, oracle_labels, path_labels
from synthetic.macro_filter import EVERYTHING, OBSERVABLE, Information
from synthetic.macro_task import MacroTask, VarianceAverages, VolumeLaw
from synthetic.oracle import Cost, Oracle
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
    task_seeds,
)

__all__ = [
    "BARS_PER_DAY",
    "EVERYTHING",
    "GROWTH",
    "NO_LABEL",
    "OBSERVABLE",
    "REGIME_NAMES",
    "SEED_FAMILIES",
    "TASKS",
    "WARMUP_DAYS",
    "BarrierTouches",
    "Barriers",
    "Cost",
    "Information",
    "MacroTask",
    "Objective",
    "Oracle",
    "RegimeSample",
    "RegimeTask",
    "Segmentation",
    "VarianceAverages",
    "VarianceRecursion",
    "VolumeLaw",
    "filter_beliefs",
    "filter_oracle",
    "hindsight_oracle",
    "horizon_labels",
    "oracle_labels",
    "path_labels",
    "regime_labels",
    "regime_market",
    "task_seeds",
    "triple_barrier",
    "triple_barrier_labels",
]

drop_stale_cache(Path(__file__).parent)
