"""Figures of the segmentation benchmark: they add up, find a planted difference, and the ceiling has a share of one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import segmentation
from benchmarks.support.segmentation_collected import collected, keep_run
from benchmarks.support.segmentation_figures import difference, figures, share_of_ceiling, statistics, with_intervals
from benchmarks.support.segmentation_rivals import absent
from pretrain.segmenter.judging import Said
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.scores import change_scores

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


def _worse(found: dict[str, float], name: str) -> dict[str, float]:
    return found | {name: found[name] - 0.01}


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "mcc", "boundary_f1", "covering", "delay"])
def test_the_verification_refuses_a_figure_that_is_off(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    segmentation.verify()
    monkeypatch.setattr(segmentation, "figures", lambda *given: _worse(figures(*given), name))
    with pytest.raises(RuntimeError, match=f"the truth does not score best.*'{name}'"):
        segmentation.verify()


@pytest.mark.parametrize("name", ["boundary_f1", "covering", "delay", "false_changes_per_1000"])
def test_the_verification_refuses_sums_that_give_other_scores(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(segmentation, "change_scores", lambda moves: _worse(change_scores(moves), name))
    with pytest.raises(RuntimeError, match=f"{name} of the sums"):
        segmentation.verify()


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


def test_what_is_kept_is_collected_whatever_can_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rival that ran where its package was is told; of one regime for all timescales, one timescale is."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "hmmlearn" in absent()
    name, recipe = "Gaussian HMM, forward pass (hmmlearn)", SegmenterRecipe.read("segmenter")
    for part in ("standard", "easy"):
        keep_run(tmp_path, part, name, 0, {scale.name: stats(0.3, 1)[0] for scale in recipe.timescales})
    told = {part: collected(tmp_path, part, recipe)["methods"] for part in ("standard", "easy")}
    assert [row["timescale"] for row in told["standard"]] == ["15m", "1h", "4h"]
    assert [row["timescale"] for row in told["easy"]] == ["15m"]
    assert told["easy"][0]["method"] == name and told["easy"][0]["markets"] == 6
