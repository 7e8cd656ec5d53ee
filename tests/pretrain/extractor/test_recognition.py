"""The teacher "patterns", and how recognition is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pretrain import ExtractorConfig, FitOptions, PretrainingConfig, Recipe
from pretrain.data.teachers import PATTERN_LABELS, RECOGNISED, bar_labels, labelled_patterns, labelled_samples
from pretrain.extractor.recipe_runs import pretrain_extractor
from pretrain.extractor.recognition import WITHIN, recognised, recognition
from synthetic import PATTERN_KINDS, pattern_market, pattern_seeds

TIMEFRAMES, WINDOW = ("15m", "4h", "1d"), (32, 8, 4)


def test_the_teacher_says_what_was_confirmed_and_holds_what_the_truth_holds() -> None:
    sample = pattern_market(20, 3)
    found = labelled_patterns(sample, TIMEFRAMES, WINDOW)
    assert found.beliefs is not None and found.label_kind == PATTERN_LABELS and found.regimes == 21
    np.testing.assert_array_equal(found.beliefs.argmax(axis=1), sample.truth["recognised"] + 1)
    np.testing.assert_array_equal(found.labels, np.repeat(sample.actions[:, None] + 1, 3, axis=1))
    spot = labelled_patterns(sample, TIMEFRAMES, WINDOW, positions=(0.0, 1.0))
    np.testing.assert_array_equal(spot.labels[:, 0], np.maximum(sample.actions, 0))


def test_its_markets_are_of_disjoint_families_whatever_the_task() -> None:
    for family in ("extractor", "validation"):
        (item,) = labelled_samples("easy", family, 1, 2, TIMEFRAMES, WINDOW, teacher="patterns", progress=False)
        assert item.market.origin is not None
        assert (item.market.origin.seed, item.market.origin.family) == (pattern_seeds(family, 1)[0], family)


def test_it_needs_a_pattern_market() -> None:
    with pytest.raises(ValueError, match="needs a synthetic market's truth"):
        bar_labels("patterns", pattern_market(1, 0).bars, 0.0011, (-1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="the first must be that of the"):
        labelled_patterns(pattern_market(1, 0), ("1h", "4h", "1d"), WINDOW)


def test_who_says_the_truth_is_always_right_and_who_is_late_or_mistaken_is_not() -> None:
    samples = [pattern_market(200, seed) for seed in (1, 2)]
    truth = [sample.truth["recognised"].to_numpy(np.int64) + 1 for sample in samples]
    first = 56 * 96
    perfect = recognition(truth, samples, first)
    assert list(perfect.index) == list(PATTERN_KINDS) and (perfect["patterns"] > 0).all()
    assert (perfect["recall"] == 1.0).all() and (perfect["precision"] == 1.0).all()
    confirmed = sum((s.spans["confirmation"] >= first + WITHIN).sum() for s in samples)
    assert perfect["patterns"].sum() == confirmed
    late = recognition([np.roll(one, WITHIN + 1) for one in truth], samples, first)
    assert (late["recall"] == 0.0).all() and late["precision"].mean() > 0.9
    other = recognition([np.where(one > 0, one % 20 + 1, 0) for one in truth], samples, first)
    assert (other["recall"] == 0.0).all() and other["precision"].mean() < 0.1
    assert recognition([np.zeros_like(one) for one in truth], samples, first)["calls"].sum() == 0


def test_a_recipe_of_patterns_trains_and_its_extractor_names_them(tmp_path: Path) -> None:
    layout = ExtractorConfig(window=WINDOW, regimes=len(RECOGNISED), width=8, feedforward=16)
    training = PretrainingConfig(steps=6, batch=64, validate_every=3, validation_windows=256)
    recipe = Recipe(markets=1, validation_markets=1, days=6, teacher="patterns", architecture=layout, training=training)
    extractor = pretrain_extractor(recipe, FitOptions(progress=False))
    assert extractor.provenance.label_kind == PATTERN_LABELS
    sample = pattern_market(6, pattern_seeds("test", 1)[0])
    item = labelled_patterns(sample, TIMEFRAMES, WINDOW)
    said = recognised(extractor, item.market)
    assert said.shape == (len(sample.bars),) and set(np.unique(said)) <= set(range(21))
    assert (said[: item.start] == 0).all()
    assert Recipe.read("patterns").architecture.regimes >= len(RECOGNISED)
