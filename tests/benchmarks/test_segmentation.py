"""Figures of the segmentation benchmark: they add up, find a planted difference, and the ceiling has a share of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.segmentation import verify
from benchmarks.support.segmentation_figures import difference, share_of_ceiling, statistics, with_intervals
from pretrain.segmenter.judging import Said

CLASSES = ("bear", "consolidation", "bull")


def stats(wrong: float, seeds: int = 3, markets: int = 6) -> NDArray[np.float64]:
    """(R, M, L) of what errs at a share of the bars, on labels that are the same for all."""
    out = []
    for seed in range(seeds):
        rows = []
        for market in range(markets):
            rng = np.random.default_rng(market)
            labels = np.repeat(rng.integers(0, 3, 80), rng.integers(5, 40, 80)).astype(np.int64)
            noise = np.random.default_rng((seed, market, 7))
            states = np.where(noise.random(len(labels)) < wrong, (labels + 1) % 3, labels)
            chances = np.full((len(labels), 3), 0.05)
            chances[np.arange(len(labels)), states] = 0.9
            rows.append(statistics(Said(states, chances, labels), 3))
        out.append(np.stack(rows))
    return np.stack(out)


def test_the_benchmark_verifies_itself() -> None:
    verify()


def test_a_planted_difference_is_found_and_none_where_there_is_none() -> None:
    better, worse = stats(0.2), stats(0.3)
    found = difference(better, worse, CLASSES, "macro_f1")
    assert 0.05 < found["low"] < found["value"] < found["high"] < 0.15
    same = difference(better, better, CLASSES, "macro_f1")
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0}
    told = with_intervals(better, CLASSES)
    assert told["accuracy"]["low"] < 0.8 < told["accuracy"]["high"]
    assert told["log_loss"]["low"] < told["log_loss"]["value"] < told["log_loss"]["high"]


def test_the_ceiling_has_a_share_of_one_and_chance_of_none() -> None:
    ceiling, chance, between = stats(0.1, 1), stats(0.6, 1), stats(0.35)
    assert share_of_ceiling(ceiling, ceiling, chance, CLASSES)["value"] == 1.0
    assert share_of_ceiling(chance, ceiling, chance, CLASSES)["value"] == 0.0
    assert 0.4 < share_of_ceiling(between, ceiling, chance, CLASSES)["value"] < 0.6
