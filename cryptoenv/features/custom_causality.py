"""Whether the user's features of a market look ahead: bars after a row are replaced, and no row before may change."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptoenv.bars.series import Series
from cryptoenv.features.custom import FeatureBars, FeatureFunction, feature_slice
from cryptoenv.features.fingerprint import fingerprint
from cryptoenv.features.plans import TimeframePlan
from cryptoenv.features.view import View

LOOKS = 1000  #: rows of a timeframe, drawn at random, after which bars are replaced; all where there are fewer


class LookAheadError(ValueError):
    """A feature that depends on bars it may not use.

    Attributes:
        feature, timeframe: which one.
        bar: open of the bar whose value changed.
        future: whether the bars after its close changed it; else bars before its memory did.
    """

    def __init__(self, feature: str, timeframe: str, bar: pd.Timestamp, future: bool) -> None:
        why = "bars after its close" if future else "bars older than its memory"
        super().__init__(
            f"feature {feature!r} of {timeframe} at the bar of {bar.isoformat()} changes with {why}; allowed: bars "
            "from its memory before the UTC day (from one day on: before itself) up to the bar itself"
        )
        self.feature, self.timeframe, self.bar, self.future = feature, timeframe, bar, future


def check_functions(plans: Sequence[TimeframePlan], series: Sequence[Series]) -> None:
    """Checks the user's features of a market that is being built.

    Raises:
        LookAheadError: one that depends on later bars.
        ValueError: one that gives other values when it is called again, or that reads what has changed since it was
            registered: its values would not be those of the spec's hash.
    """
    for plan, bars in zip(plans, series, strict=True):
        for function in plan.families:
            if isinstance(function, FeatureFunction):
                _check(plan, bars, function)


def _check(plan: TimeframePlan, bars: Series, function: FeatureFunction) -> None:
    first = plan.first_valid_row(bars.start_ms)
    if first >= len(bars.ohlcv) or function.function is None:
        return
    rng = np.random.default_rng(0)
    view = View(plan.setting, bars, (), first, np.empty(0))
    rows = np.arange(first, len(bars.ohlcv))
    chosen = set((rows if len(rows) <= LOOKS else rng.choice(rows, LOOKS, replace=False)).tolist())
    for begin, end in view.blocks():
        looked = sorted(row for row in range(begin, end) if row in chosen)
        if not looked:
            continue
        anchor = view.anchor(begin, function.memory_bars)
        count = function.memory_bars + plan.setting.block
        values = _called(function, feature_slice(view, anchor, count))
        for row in looked:
            at = row - anchor + 1
            again = _called(function, _other_future(feature_slice(view, anchor, count), at, rng))
            wrong = np.flatnonzero(again[begin - anchor : at] != values[begin - anchor : at])
            if len(wrong):
                _refuse(plan, view, function, (anchor, count, begin + int(wrong[0]), at), values)
    if fingerprint(function.function) != function.digest:
        raise ValueError(
            f"feature {function.name!r} reads values that changed since it was registered, or changes them itself; "
            "allowed: constants, and bars.columns for data"
        )


def _refuse(
    plan: TimeframePlan, view: View, function: FeatureFunction, place: tuple[int, int, int, int], values: np.ndarray
) -> None:
    anchor, count, row, _ = place
    bar = pd.Timestamp(view.bars.start_ms + row * plan.setting.duration_ms, unit="ms", tz="UTC")
    again = _called(function, feature_slice(view, anchor, count))
    if again[row - anchor] != values[row - anchor]:
        raise ValueError(
            f"feature {function.name!r} of {plan.timeframe} at the bar of {bar.isoformat()} gives other values when it "
            "is called again; allowed: a function of its bars, without state and without draws"
        )
    raise LookAheadError(function.name, plan.timeframe, bar, True)


def _called(function: FeatureFunction, bars: FeatureBars) -> np.ndarray:
    return np.clip(np.asarray(function(bars), dtype=np.float64), -function.bound, function.bound)


def _other_future(bars: FeatureBars, first: int, rng: np.random.Generator) -> FeatureBars:
    """The slice with rows from `first` on that have nothing to do with it; valid bars all the same."""
    rows = len(bars.close) - first
    prices = bars.close[first - 1] * rng.lognormal(0.0, 1.0, (rows, 4))
    bars.open[first:], bars.close[first:] = prices[:, 0], prices[:, 1]
    bars.high[first:], bars.low[first:] = prices.max(axis=1), prices.min(axis=1)
    bars.volume[first:] = (bars.volume[:first].mean() + 1.0) * rng.lognormal(0.0, 2.0, rows)
    for column in bars.columns.values():
        column[first:] = column[first - 1] * rng.lognormal(0.0, 1.0, rows)
    return bars
