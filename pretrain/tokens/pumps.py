"""How well pumps are foreseen: precision and recall, alarms a day, lead time; and detectors to compare with.

A detector gives every row a score. The label of a row is whether a pump starts (or the price rises) within the next H
rows. As an alarm, a score above a threshold counts once in H rows; it is right from H rows before a pump's start until
its peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pretrain.tokens.channels import channels
from pretrain.tokens.series import BUYS, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME, TokenSeries
from synthetic.installation import install_hint

Floats = NDArray[np.float64]

DAY_MS: Final = 86_400_000
THRESHOLDS: Final = 200
RULE_ROWS: Final = 120  #: rows that the rule compares the present with


def average_precision(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """Area under precision over recall, in steps (as scikit-learn's); equal scores count together. NaN without a label.

    Args:
        scores: (R,) higher is surer.
        labels: (R,) what came.
    """
    if not labels.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of each group of equal scores
    hits = np.cumsum(labels[order])[last]
    recall = hits / hits[-1]
    return float((np.diff(recall, prepend=0.0) * hits / (last + 1)).sum())


@dataclass(frozen=True)
class Judged:
    """One token's rows `start <= t < stop` with their scores: `scores` (stop - start,), `pumps` as in `TokenSeries`."""

    scores: Floats
    start: int
    pumps: tuple[tuple[int, int, int], ...]

    @property
    def stop(self) -> int:
        """The first row after them."""
        return self.start + len(self.scores)


@dataclass(frozen=True)
class Alarms:
    """At a threshold: `recall` of pumps, false alarms a token and day, and the median lead in rows: from the first
    right alarm to the pump's start (below 0: after it) and to its peak. `pumps` are how many there were."""

    threshold: float
    recall: float
    false_a_day: float
    lead: float
    lead_to_peak: float
    pumps: int


def alarms_at(judged: Sequence[Judged], threshold: float, ahead: int, step_ms: int) -> Alarms:
    """What the alarms at a threshold are worth. Pumps count that lie, with the `ahead` rows before, in judged rows."""
    false, caught, leads, to_peak, rows = 0, 0, [], [], 0
    pumps = 0
    for token in judged:
        rows += len(token.scores)
        mine = [p for p in token.pumps if token.start <= p[0] - ahead and p[1] < token.stop]
        excused = [(p[0] - ahead, p[1]) for p in token.pumps]
        pumps += len(mine)
        at = [token.start + row for row in _alarms(token.scores >= threshold, ahead)]
        false += sum(not any(low <= row <= high for low, high in excused) for row in at)
        for first, peak, _ in mine:
            right = [row for row in at if first - ahead <= row <= peak]
            if right:
                caught += 1
                leads.append(first - right[0])
                to_peak.append(peak - right[0])
    lead, before_peak = (float(np.median(part)) if part else float("nan") for part in (leads, to_peak))
    days = rows * step_ms / DAY_MS
    recall, false_a_day = caught / pumps if pumps else float("nan"), false / days if days else 0.0
    return Alarms(threshold, recall, false_a_day, lead, before_peak, pumps)


def _alarms(over: NDArray[np.bool_], silence: int) -> list[int]:
    """Rows of alarms: the first over the threshold, then none for `silence` rows."""
    found: list[int] = []
    for row in np.flatnonzero(over).tolist():
        if not found or row >= found[-1] + silence:
            found.append(row)
    return found


def alarms_a_day(judged: Sequence[Judged], ahead: int, step_ms: int, *, false_a_day: float = 1.0) -> Alarms:
    """The alarms with the best recall among thresholds of at most so many false ones a token and day."""
    every = np.concatenate([token.scores for token in judged])
    levels = 1.0 - np.geomspace(1.0 / len(every), 1.0, min(THRESHOLDS, len(every)))
    never = alarms_at(judged, np.inf, ahead, step_ms)
    kept = [alarms_at(judged, float(t), ahead, step_ms) for t in np.unique(np.quantile(every, levels))]
    allowed = [one for one in kept if one.false_a_day <= false_a_day]
    return max([never, *allowed], key=lambda one: (one.recall, -one.false_a_day))


def rule_scores(token: TokenSeries) -> Floats:
    """(T,) the anomaly rule of Kamps and Kleinberg (2018, "To the moon"): price and volume both far above their usual.

    The lesser of the two z-scores, against the mean and deviation of the 120 rows before (the present not among them).
    """
    price = pd.Series(np.log(token.values[:, PRICE]))
    volume = pd.Series(channels(token.values)[:, VOLUME])
    scores = []
    for series in (price, volume):
        before = series.shift(1).rolling(RULE_ROWS, min_periods=10)
        scores.append(((series - before.mean()) / (before.std() + 1e-6)).fillna(0.0).to_numpy())
    return np.minimum(*scores)


def summaries(token: TokenSeries) -> Floats:
    """(T, K) what logistic regression and gradient boosting see of the past: returns, trades, their means and moves."""
    read = channels(token.values)
    frame = pd.DataFrame({"return": read[:, PRICE], "volume": read[:, VOLUME], "buys": read[:, BUYS],
                          "sells": read[:, SELLS], "depth": read[:, LIQUIDITY], "cap": read[:, MARKET_CAP],
                          "surplus": read[:, BUYS] - read[:, SELLS]})  # fmt: skip
    parts = [frame.to_numpy(), rule_scores(token)[:, None]]
    for rows in (5, 15, 60, 120):
        rolling = frame[["return", "volume", "buys", "sells", "surplus"]].rolling(rows, min_periods=1)
        parts += [rolling.mean().to_numpy(), rolling.std().fillna(0.0).to_numpy()]
    price = pd.Series(np.log(token.values[:, PRICE]))
    parts += [(price - price.rolling(rows, min_periods=1).max()).to_numpy()[:, None] for rows in (60, 240)]
    return np.column_stack(parts)


def fitted_detectors(x: Floats, y: NDArray[np.bool_], seed: int = 0) -> dict[str, Any]:
    """Logistic regression and gradient boosting of rows `x` (R, K) with labels `y` (R,): `predict_proba` says more.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ModuleNotFoundError as error:
        raise ImportError(f"the detectors to compare with need {error.name}: {install_hint('report')}") from error
    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500)).fit(x, y),
        "boosting": HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.05, max_leaf_nodes=15, l2_regularization=1.0, random_state=seed
        ).fit(x, y),
    }
