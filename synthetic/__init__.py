"""Synthetic markets whose best causal policy is known, and the labels that follow from it.

Plain arrays and DataFrames on numpy, pandas and numba; nothing here knows an environment. Importing a generator alone,
as the environment does, goes through its module: `from synthetic.regimes.market import regime_market`.

>>> import synthetic
>>> sample = synthetic.regime_market("easy", days=2, seed=1)
>>> sample.bars.shape, list(sample.truth.columns)
((5568, 5), ['regime', 'drift', 'second_moment', 'volatility'])
>>> labels = synthetic.oracle_labels(sample)  # what the best causal policy does, given the position held
>>> labels.shape
(5568, 3)
"""

from pathlib import Path

from synthetic.earlier_paths import EARLIER_PATHS
from synthetic.import_paths import keep_earlier_paths
from synthetic.jit_cache import drop_stale_cache  # first: it guards the cache of what is imported below

# isort: split

from synthetic.labels.barriers import Barriers, BarrierTouches, triple_barrier, triple_barrier_labels
from synthetic.labels.horizon import horizon_labels
from synthetic.labels.oracle import oracle_labels
from synthetic.labels.path import path_labels
from synthetic.labels.regimes import REGIME_NAMES, Segmentation, regime_labels
from synthetic.labels.targets import NO_LABEL
from synthetic.oracles.chain_filter import filter_beliefs
from synthetic.oracles.filter_oracle import GROWTH, Objective, filter_oracle
from synthetic.oracles.hindsight_oracle import hindsight_oracle
from synthetic.oracles.macro_filter import EVERYTHING, OBSERVABLE, Information
from synthetic.oracles.plan import Cost, Oracle
from synthetic.patterns.market import PatternSample, pattern_market, pattern_seeds
from synthetic.patterns.patterns import PATTERN_KINDS, PatternParams, PatternTruth, generate_pattern
from synthetic.patterns.planting import BACKGROUNDS
from synthetic.regimes.chain_task import BARS_PER_DAY, WARMUP_DAYS, RegimeTask, VarianceRecursion
from synthetic.regimes.macro_task import MacroTask, VarianceAverages, VolumeLaw
from synthetic.regimes.market import regime_market
from synthetic.regimes.origin import Origin
from synthetic.regimes.sample import RegimeSample
from synthetic.regimes.tasks import SEED_FAMILIES, TASKS, family_of, find_task, task_seeds
from synthetic.tokens.events import EVENT_KINDS, EventCounts
from synthetic.tokens.market import TokenConfig, TokenSample, token_market

__distribution__ = "cryptoenv-rl"

__all__ = [
    "BACKGROUNDS",
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
    "PatternSample",
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
    "pattern_market",
    "pattern_seeds",
    "regime_labels",
    "regime_market",
    "task_seeds",
    "token_market",
    "triple_barrier",
    "triple_barrier_labels",
]

drop_stale_cache(Path(__file__).parent)
keep_earlier_paths(EARLIER_PATHS)
