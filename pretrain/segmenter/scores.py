"""How good class probabilities and states are: per class, by probability, and by the times at which states change.

Shape legend: `n` rows, `C` classes. Labels are places of classes, -1 where nothing is known: such rows are left out,
and a change across them counts as none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

MARGIN = 8  #: bars that a change may be off and still be the true one
BINS = 15  #: of the calibration error


def confusion_counts(labels: NDArray[np.integer], said: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """(C, C) int64: rows labelled i that were said to be j."""
    known = labels >= 0
    flat = np.bincount(labels[known].astype(np.int64) * classes + said[known], minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def class_scores(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """(C,) precision, recall and F1 of each class of a confusion table; 0 where nothing was said, or labelled, so."""
    right = np.diag(counts).astype(np.float64)
    said, labelled = counts.sum(axis=0), counts.sum(axis=1)
    precision, recall = right / np.maximum(said, 1), right / np.maximum(labelled, 1)
    return {"precision": precision, "recall": recall, "f1": 2.0 * right / np.maximum(said + labelled, 1)}


def summary_scores(counts: NDArray[np.int64]) -> dict[str, float]:
    """Of a confusion table (C, C): accuracy, balanced accuracy and macro-F1 over the classes that are labelled, and
    Matthews' correlation (the multi-class form of Gorodkin 2004)."""
    there = counts.sum(axis=1) > 0
    total, right = float(counts.sum()), float(np.trace(counts))
    said, labelled = counts.sum(axis=0).astype(np.float64), counts.sum(axis=1).astype(np.float64)
    spread = np.sqrt(max(total**2 - said @ said, 0.0)) * np.sqrt(max(total**2 - labelled @ labelled, 0.0))
    each = class_scores(counts)
    return {
        "accuracy": right / max(total, 1.0),
        "balanced_accuracy": float(each["recall"][there].mean()) if there.any() else float("nan"),
        "macro_f1": float(each["f1"][there].mean()) if there.any() else float("nan"),
        "mcc": float((right * total - said @ labelled) / spread) if spread > 0.0 else 0.0,
    }


def probability_scores(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Log loss (nats) and expected calibration error of the likeliest class (Guo et al. 2017), BINS of equal width.

    Args:
        labels: (n,), -1 unknown.
        probabilities: (n, C).
    """
    known = labels >= 0
    own, chances = labels[known].astype(np.int64), probabilities[known].astype(np.float64)
    of_label = np.clip(chances[np.arange(len(own)), own], 1e-15, 1.0)
    sure, hit = chances.max(axis=1), chances.argmax(axis=1) == own
    place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gap = np.bincount(place, weights=sure - hit, minlength=BINS)
    return {"log_loss": float(-np.log(of_label).mean()), "calibration_error": float(np.abs(gap).sum() / len(own))}


@dataclass(frozen=True)
class Changes:
    """What the changes of a sequence of states are worth.

    Attributes:
        true: changes of the labels; `said`: of the states.
        found: true changes with a said one within MARGIN bars, matched one to one.
        false: said changes into a state that is not the label's at that bar.
        delays: (true,) int64, per true change, bars until the new label is said, at most until it ends.
        missed: true changes whose new label was never said while it lasted.
        covered: sum over true segments of their length times the best overlap with a said one.
        bars: known rows.
    """

    true: int
    said: int
    found: int
    false: int
    delays: NDArray[np.int64]
    missed: int
    covered: float
    bars: int


def changes_of(labels: NDArray[np.integer], states: NDArray[np.integer], margin: int = MARGIN) -> Changes:
    """Compares the changes of states (n,) with those of labels (n,), both in time order."""
    own, said = labels.astype(np.int64), states.astype(np.int64)
    delays, missed = _delays(own, said)
    true, told = _places(own), _places(said)
    told = told[(own[told] >= 0) & (own[told - 1] >= 0)]
    covered, bars = _covering(own, said)
    false = int((said[told] != own[told]).sum())
    return Changes(len(true), len(told), _matched(true, told, margin), false, delays, missed, covered, bars)


def change_scores(changes: Sequence[Changes]) -> dict[str, float]:
    """Over several markets: boundary F1, covering (van den Burg and Williams 2020), mean and median delay in bars of
    detection, share of changes missed, changes and false changes per 1,000 bars."""
    true, said, found, false, missed, bars = (
        sum(getattr(one, name) for one in changes) for name in ("true", "said", "found", "false", "missed", "bars")
    )
    delays = np.concatenate([one.delays for one in changes]) if changes else np.zeros(0)
    return {
        "boundary_f1": 2.0 * found / max(true + said, 1),
        "covering": sum(one.covered for one in changes) / max(bars, 1),
        "delay": float(delays.mean()) if len(delays) else float("nan"),
        "delay_median": float(np.median(delays)) if len(delays) else float("nan"),
        "missed": missed / max(true, 1),
        "changes_per_1000": 1000.0 * said / max(bars, 1),
        "false_changes_per_1000": 1000.0 * false / max(bars, 1),
    }


def _places(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows at which a known value begins after another known one."""
    return np.flatnonzero((values[1:] != values[:-1]) & (values[1:] >= 0) & (values[:-1] >= 0)) + 1


@njit(cache=True)
def _matched(true: NDArray[np.int64], said: NDArray[np.int64], margin: int) -> int:
    """Most pairs of a true and a said change at most `margin` apart; in order, each used once."""
    found, j = 0, 0
    for i in range(true.shape[0]):
        while j < said.shape[0] and said[j] < true[i] - margin:
            j += 1
        if j < said.shape[0] and said[j] <= true[i] + margin:
            found += 1
            j += 1
    return found


@njit(cache=True)
def _delays(own: NDArray[np.int64], said: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    delays = np.empty(own.shape[0], np.int64)
    count, missed, t = 0, 0, 1
    while t < own.shape[0]:
        if own[t] == own[t - 1] or own[t] < 0 or own[t - 1] < 0:
            t += 1
            continue
        end = t
        while end < own.shape[0] and own[end] == own[t] and said[end] != own[t]:
            end += 1
        seen = end < own.shape[0] and own[end] == own[t]
        missed += not seen
        delays[count] = end - t
        count += 1
        t += 1
    return delays[:count].copy(), missed


@njit(cache=True)
def _covering(own: NDArray[np.int64], said: NDArray[np.int64]) -> tuple[float, int]:
    """Sum over true segments of length times best intersection over union with a said segment; known rows."""
    total, bars, start = 0.0, 0, 0
    length = own.shape[0]
    while start < length:
        end = start
        while end < length and own[end] == own[start]:
            end += 1
        if own[start] >= 0:
            bars += end - start
            best, a = 0.0, start
            while a > 0 and said[a - 1] == said[start]:
                a -= 1
            while a < end:
                b = a
                while b < length and said[b] == said[a]:
                    b += 1
                both = min(b, end) - max(a, start)
                best = max(best, both / (max(b, end) - min(a, start)))
                a = b
            total += (end - start) * best
        start = end
    return total, bars
