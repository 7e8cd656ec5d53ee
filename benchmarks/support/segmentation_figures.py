"""Figures of segmentation as sums over markets, so that intervals can draw markets and seeds anew.

Everything that is scored follows from counts: a confusion table, the log loss, gaps of calibration, and what the
changes of the states are worth. One vector of them per seed and market; a figure is a function of their sum.
Shape legend: `R` seeds, `M` markets, `L` length of a vector, `C` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretrain.segmenter.judging import Said
from pretrain.segmenter.scores import BINS, changes_of, class_scores, confusion_counts, summary_scores

DRAWS = 400  #: of the bootstrap
AT_RATE = "delay_at_fixed_false_alarms"
_CHANGES = 8


def statistics(said: Said, classes: int, *, named: bool = True) -> NDArray[np.float64]:
    """(L,) sums over one market. `named`: the states are classes; else only their borders count."""
    counts = confusion_counts(said.labels, said.states, classes) if named else np.zeros((classes, classes))
    chances = np.zeros(2 + BINS)
    if said.probabilities is not None:
        known = said.labels >= 0
        own, found = said.labels[known], said.probabilities[known].astype(np.float64)
        chances[0] = len(own)
        chances[1] = -np.log(np.clip(found[np.arange(len(own)), own], 1e-15, 1.0)).sum()
        sure, hit = found.max(axis=1), found.argmax(axis=1) == own
        place = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
        chances[2:] = np.bincount(place, weights=sure - hit, minlength=BINS)
    moves = changes_of(said.labels, said.states)
    told = [moves.true, moves.said, moves.found, moves.false, moves.delays.sum(), moves.missed, moves.covered]
    if not named:
        told[3:6] = [0, 0, 0]
    return np.concatenate([counts.ravel(), chances, told, [moves.bars]]).astype(np.float64)


def figures(total: NDArray[np.float64], classes: Sequence[str], *, named: bool = True) -> dict[str, float]:
    """What a sum of statistics says."""
    count = len(classes)
    counts = total[: count * count].reshape(count, count).astype(np.int64)
    chances = total[count * count : count * count + 2 + BINS]
    true, said, found, false, delays, missed, covered, bars = total[-_CHANGES:]
    out: dict[str, float] = {}
    if named:
        out |= summary_scores(counts)
        for name, values in class_scores(counts).items():
            out |= {f"{name}_{kind}": float(value) for kind, value in zip(classes, values, strict=True)}
        out["delay"] = delays / max(true, 1.0)
        out["missed"] = missed / max(true, 1.0)
        out["false_changes_per_1000"] = 1000.0 * false / max(bars, 1.0)
    if chances[0] > 0:
        out["log_loss"] = chances[1] / chances[0]
        out["calibration_error"] = float(np.abs(chances[2:]).sum() / chances[0])
    out["boundary_f1"] = 2.0 * found / max(true + said, 1.0)
    out["covering"] = covered / max(bars, 1.0)
    out["changes_per_1000"] = 1000.0 * said / max(bars, 1.0)
    return {name: float(value) for name, value in out.items()}


def _draws(shape: tuple[int, int], seed: int = 0) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Seeds and markets, drawn with replacement: the same for whatever is compared."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, shape[0], shape[0]), rng.integers(0, shape[1], shape[1])) for _ in range(DRAWS)]


def with_intervals(stats: NDArray[np.float64], classes: Sequence[str], *, named: bool = True) -> dict[str, Any]:
    """Each figure of (R, M, L) statistics: value, and the 95% interval of the bootstrap over seeds and markets."""
    value = figures(stats.sum(axis=(0, 1)), classes, named=named)
    drawn = [figures(stats[np.ix_(r, m)].sum(axis=(0, 1)), classes, named=named) for r, m in _draws(stats.shape[:2])]
    return {name: _told(one, [found[name] for found in drawn]) for name, one in value.items()}


def difference(a: NDArray[np.float64], b: NDArray[np.float64], classes: Sequence[str], name: str) -> dict[str, float]:
    """a less b in one figure, with the 95% interval over the same draws of seeds and markets; (R, M, L) each, one of
    them may have one seed."""
    seeds = max(len(a), len(b)) if 1 in (len(a), len(b)) else min(len(a), len(b))  # those that both have
    a, b = (np.broadcast_to(x[:seeds], (seeds, *x.shape[1:])) for x in (a, b))

    def gap(r: Any, m: Any) -> float:
        one, two = (figures(x[np.ix_(r, m)].sum(axis=(0, 1)), classes)[name] for x in (a, b))
        return one - two

    whole = gap(np.arange(seeds), np.arange(a.shape[1]))
    return _told(whole, [gap(r, m) for r, m in _draws((seeds, a.shape[1]))])


def share_of_ceiling(
    own: NDArray[np.float64], ceiling: NDArray[np.float64], chance: NDArray[np.float64], classes: Sequence[str],
    name: str = "accuracy",
) -> dict[str, float]:  # fmt: skip
    """(own - chance) / (ceiling - chance) in one figure, with the 95% interval over seeds and markets."""

    def share(r: Any, m: Any) -> float:
        value = [
            figures(x[np.ix_(r if len(x) > 1 else [0], m)].sum(axis=(0, 1)), classes)[name]
            for x in (own, ceiling, chance)
        ]
        return (value[0] - value[2]) / max(value[1] - value[2], 1e-9)

    whole = share(np.arange(len(own)), np.arange(own.shape[1]))
    return _told(whole, [share(r, m) for r, m in _draws((len(own), own.shape[1]))])


def _told(value: float, drawn: Sequence[float]) -> dict[str, float]:
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return {"value": round(value, 5), "low": round(float(low), 5), "high": round(float(high), 5)}
