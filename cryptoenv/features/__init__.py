"""Causal features of bars: stationary, of order one, never fitted to data, and the same whatever history came before.

Every feature of a bar is a function of a fixed slice of bars (see `view`), so a feature computed live from the last
weeks equals the one computed from all of history, bit for bit. `FeatureSpec` says which there are.
"""

from cryptoenv.features.causality import check_causal
from cryptoenv.features.custom import FEATURE_BOUND, FeatureBars, FeatureFunction, feature
from cryptoenv.features.custom_causality import LookAheadError, check_functions
from cryptoenv.features.families.across import AcrossTimeframes
from cryptoenv.features.families.breakouts import Breakouts
from cryptoenv.features.families.calendar import Calendar
from cryptoenv.features.families.columns import Exogenous, Reference
from cryptoenv.features.families.indicators import Momentum, Trend, Volatility
from cryptoenv.features.families.slow import SlowLevels
from cryptoenv.features.families.windowed import Candles, Returns, Volume
from cryptoenv.features.plans import TimeframePlan, feature_plans
from cryptoenv.features.pursuit.family import Pursuit
from cryptoenv.features.spec import FeatureSpec, TimeframeFeatures
from cryptoenv.features.stream import FeatureStream

__all__ = [
    "FEATURE_BOUND",
    "AcrossTimeframes",
    "Breakouts",
    "Calendar",
    "Candles",
    "Exogenous",
    "FeatureBars",
    "FeatureFunction",
    "FeatureSpec",
    "FeatureStream",
    "LookAheadError",
    "Momentum",
    "Pursuit",
    "Reference",
    "Returns",
    "SlowLevels",
    "TimeframeFeatures",
    "TimeframePlan",
    "Trend",
    "Volatility",
    "Volume",
    "check_causal",
    "check_functions",
    "feature",
    "feature_plans",
]
