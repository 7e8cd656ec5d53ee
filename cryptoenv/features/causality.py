"""Does a feature know the future? All bars after a decision are replaced, and nothing it sees may change by a bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptoenv.bars.alignment import ending_rows
from cryptoenv.bars.price_columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptoenv.bars.series import Series, base_series, series_of
from cryptoenv.bars.timeframe import validate_timeframes
from cryptoenv.features.custom_causality import LookAheadError
from cryptoenv.features.families.columns import REFERENCE
from cryptoenv.features.plans import TimeframePlan, feature_plans
from cryptoenv.features.spec import FeatureSpec


def check_causal(
    spec: FeatureSpec,
    bars: pd.DataFrame,
    timeframes: Sequence[str] = ("15m", "4h", "1d"),
    *,
    reference: pd.DataFrame | None = None,
    decisions: int | None = 1000,
    seed: int = 0,
) -> int:
    """Checks that no feature of a spec, a user's own among them, depends on bars after its own or before its memory.

    A leak at a single bar is found only if that bar is looked at: `decisions=None` looks at all of them.

    Args:
        spec: the features.
        bars: with at least the warm-up of the longest timeframe; further columns and `reference` as the spec needs.
        timeframes: names, base first.
        reference: bars of the reference market.
        decisions: how many base bars, drawn at random, to look at; None for all that have features.
        seed: of the draw and of the bars put after each decision.

    Returns:
        How many bars, of all timeframes together, were looked at.

    Raises:
        LookAheadError: a feature that depends on what it may not; it names feature, timeframe and bar.
        BarsError, ValueError: bars or spec that cannot be used, or too few bars for any feature.
    """
    names = validate_timeframes(timeframes)
    columns = spec.columns + (() if reference is None else (REFERENCE,))
    plans = feature_plans(spec, names, columns)
    series = series_of(names, base_series(bars, names[0], spec.columns, reference))
    history = _History(names, plans, series, tuple(p.matrix(s, series[k + 1 :]) for k, (p, s) in _pairs(plans, series)))
    rows = np.arange(history.first_decision(), len(series[0].ohlcv))
    if len(rows) == 0:
        raise ValueError(
            f"{len(series[0].ohlcv)} bars of {names[0]} are too few to check: no timeframe has a bar with features"
        )
    rng = np.random.default_rng(seed)
    if decisions is not None and decisions < len(rows):
        rows = np.sort(rng.choice(rows, decisions, replace=False))
    return sum(history.check(int(t), rng) for t in rows)


def _pairs(
    plans: tuple[TimeframePlan, ...], series: tuple[Series, ...]
) -> Iterator[tuple[int, tuple[TimeframePlan, Series]]]:
    return enumerate(zip(plans, series, strict=True))


@dataclass(frozen=True)
class _History:
    """Bars of all timeframes and their features, as computed from all of history."""

    names: tuple[str, ...]
    plans: tuple[TimeframePlan, ...]
    series: tuple[Series, ...]
    features: tuple[np.ndarray, ...]

    def first_decision(self) -> int:
        """First base bar at whose close some timeframe has a bar with features."""
        base, step = self.series[0], self.plans[0].setting.duration_ms
        ends = [
            ending_rows(plan.first_valid_row(s.start_ms), s.start_ms, plan.setting.duration_ms, base.start_ms, step)
            for plan, s in zip(self.plans, self.series, strict=True)
            if plan.names
        ]
        return min(ends, default=len(base.ohlcv))

    def check(self, t: int, rng: np.random.Generator) -> int:
        """Compares the bars that end with base bar t; returns how many there were."""
        close = self.series[0].start_ms + (t + 1) * self.plans[0].setting.duration_ms
        ending = [k for k, (plan, s) in _pairs(self.plans, self.series) if self._ends(plan, s, close)]
        known, longest = self._known(t), self.plans[-1].setting.duration_ms // self.plans[0].setting.duration_ms
        if not ending:
            return 0
        other = series_of(self.names, _with_future(known, _poison(known, 2 * longest, self.plans[0], rng)))
        for k in ending:
            row = (close - self.series[k].start_ms) // self.plans[k].setting.duration_ms - 1
            wrong = np.flatnonzero(_bits(self._at(k, close, other)) != _bits(self.features[k][row]))
            if len(wrong):
                start, ohlcv, columns = self.series[0]
                rows = slice(t + 1, t + 1 + 2 * longest)
                true = series_of(self.names, _with_future(known, Series(start, ohlcv[rows], columns[rows])))
                future = bool((_bits(self._at(k, close, true)) == _bits(self.features[k][row]))[wrong[0]])
                bar = pd.Timestamp(close - self.plans[k].setting.duration_ms, unit="ms", tz="UTC")
                raise LookAheadError(self.plans[k].names[int(wrong[0])], self.names[k], bar, future)
        return len(ending)

    def _ends(self, plan: TimeframePlan, s: Series, close: int) -> bool:
        row, into = divmod(close - s.start_ms, plan.setting.duration_ms)
        return bool(plan.names) and into == 0 and row - 1 >= plan.first_valid_row(s.start_ms)

    def _known(self, t: int) -> Series:
        # What any timeframe may use for the bar that ends with base bar t, in base bars.
        start, ohlcv, columns = self.series[0]
        step = self.plans[0].setting.duration_ms
        depth = max((plan.memory + plan.setting.block + 2) * (plan.setting.duration_ms // step) for plan in self.plans)
        first = max(t + 1 - depth, 0)
        return Series(start + first * step, ohlcv[first : t + 1], columns[first : t + 1])

    def _at(self, k: int, close: int, series: tuple[Series, ...]) -> np.ndarray:
        row = (close - series[k].start_ms) // self.plans[k].setting.duration_ms - 1
        return self.plans[k].rows(series[k], series[k + 1 :], row)[0]


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint32)


def _with_future(known: Series, later: Series) -> Series:
    ohlcv, columns = (np.concatenate([a, b]) for a, b in ((known.ohlcv, later.ohlcv), (known.columns, later.columns)))
    return Series(known.start_ms, ohlcv, columns)


def _poison(known: Series, bars: int, plan: TimeframePlan, rng: np.random.Generator) -> Series:
    # Bars that have nothing to do with those before them; prices and the reference's close stay positive.
    prices = known.ohlcv[-1, CLOSE] * rng.lognormal(0.0, 1.0, (bars, 4))
    ohlcv = np.empty((bars, len(BAR_COLUMNS)))
    ohlcv[:, OPEN], ohlcv[:, CLOSE] = prices[:, 0], prices[:, 1]
    ohlcv[:, HIGH], ohlcv[:, LOW] = prices.max(axis=1), prices.min(axis=1)
    ohlcv[:, VOLUME] = (known.ohlcv[:, VOLUME].mean() + 1.0) * rng.lognormal(0.0, 2.0, bars)
    columns = known.columns[-1] * rng.lognormal(0.0, 1.0, (bars, known.columns.shape[1]))
    for k, name in enumerate(plan.setting.columns):
        if name != REFERENCE:
            columns[:, k] += rng.standard_normal(bars)
    return Series(0, ohlcv, columns)
