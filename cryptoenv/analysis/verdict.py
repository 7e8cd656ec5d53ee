"""The verdict on a record of returns in one line: shown, not shown or refuted, and the figure that decided."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from cryptoenv.analysis.resampling import LEVEL, Interval, block_interval
from cryptoenv.analysis.returns import deviation
from cryptoenv.analysis.statistics import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    probabilistic_sharpe,
    reverse_odds,
    sharpe_p_value,
)

LEAST_DAYS = 60  #: observations of a day each that a verdict needs
Word = Literal["shown", "not shown", "refuted"]


@dataclass(frozen=True)
class Verdict:
    """What is known of a record.

    Attributes:
        word: "shown" (it earns more than nothing, and more than a search of that size finds by luck), "refuted" (it
            loses: the whole interval is below 0), or "not shown".
        because: the figure that decided, in words.
        figures: all that was looked at, by name, JSON-ready.
    """

    word: Word
    because: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The verdict as one line."""
        return f"verdict: {self.word}: {self.because}"


def verdict(
    returns: ArrayLike,
    trials: int = 1,
    *,
    variance: float | None = None,
    p_values: Mapping[str, float] | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Verdict:
    """Judge net returns, one a day: has it been shown that the strategy earns?

    In this order: fewer than `LEAST_DAYS` returns show nothing; an interval of the mean that lies below 0 refutes it;
    then the interval must lie above 0, the deflated Sharpe ratio be at least `level`, and every p-value at most
    `1 - level`. The first that fails decides.

    Args:
        returns: (n,) net returns of days, in their order.
        trials: how many strategies were tried on this data, this one among them (`trial_ledger.tried`).
        variance: of their Sharpe ratios per day, where known.
        p_values: of further tests by name, such as "random positions of equal turnover".
        level: of the interval and the deflated Sharpe ratio.
        seed: of the resampling.
    """
    values = np.asarray(returns, dtype=np.float64)
    count = len(values)
    told: dict[str, Any] = {"days": count, "trials": trials}
    if count < LEAST_DAYS:
        return Verdict("not shown", f"too short: {count} days, and {LEAST_DAYS} are the least", told)
    if deviation(values) == 0.0:
        mean = float(values.mean())
        word: Word = "refuted" if mean < -1e-12 else "not shown"
        return Verdict(word, f"the same return every day, {100.0 * mean:+.4f}%", told)
    moments = Moments.of(values)
    interval = block_interval(values, "mean", level=level, seed=seed)
    deflated = deflated_sharpe(moments, trials, variance)
    single = probabilistic_sharpe(moments)
    needed = minimum_track_record(moments)
    told |= {
        "mean_per_day": interval.value, "mean_low": interval.low, "mean_high": interval.high,
        "sharpe_per_day": moments.sharpe, "probabilistic_sharpe": single, "deflated_sharpe": deflated,
        "minimum_track_record_days": needed if math.isfinite(needed) else "never",
        "reverse_odds": reverse_odds(sharpe_p_value(moments), trials).needed, **(p_values or {}),
    }  # fmt: skip
    return _judged(interval, deflated, (trials, moments, variance), dict(p_values or {}), level, told)


def _judged(
    interval: Interval,
    deflated: float,
    search: tuple[int, Moments, float | None],
    p_values: dict[str, float],
    level: float,
    told: dict[str, Any],
) -> Verdict:
    span = (
        f"mean net return {100.0 * interval.value:+.4f}% a day, {100.0 * level:g}% interval "
        f"{100.0 * interval.low:+.4f}% to {100.0 * interval.high:+.4f}%"
    )
    if interval.high < 0.0:
        return Verdict("refuted", span, told)
    if interval.low <= 0.0:
        return Verdict("not shown", span, told)
    if deflated < level:
        trials, moments, variance = search
        best = expected_best_sharpe(trials, 1.0 / (moments.count - 1) if variance is None else variance)
        by = f"the best of {trials} trials without skill would show {best:.4f}" if trials > 1 else "one trial"
        reason = f"deflated Sharpe ratio {deflated:.3f} < {level:g} (Sharpe {moments.sharpe:.4f} a day; {by})"
        return Verdict("not shown", reason, told)
    for name, p_value in p_values.items():
        if p_value > 1.0 - level + 1e-12:
            return Verdict("not shown", f"{name}: p = {p_value:.3f} > {1.0 - level:.2f}", told)
    return Verdict("shown", f"deflated Sharpe ratio {deflated:.3f} over {search[0]} trial(s); {span}", told)
