"""The recipe in full: what it knows of markets it never saw, beside the exact filter; and ten thousand real bars, of
which each is said as it closes what all bars together say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptoenv.bar_files.reading import read_bars
from pretrain.segmenter.classes import labelled_task
from pretrain.segmenter.judging import FILTER, LIKELIEST, MAJORITY, judged_task, score_table
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.recipe_runs import start_of
from pretrain.segmenter.stream import SegmentStream
from pretrain.segmenter.training import fit_segmenter
from synthetic import task_seeds
from tests.pretrain.segmenter.conftest import QUIET

STREAMED, HISTORY = 10_000, 8_000  #: bars of 15 minutes


@pytest.mark.slow
def test_the_recipe_has_four_fifths_of_what_the_exact_filter_knows_beyond_chance() -> None:
    recipe = SegmenterRecipe.read("segmenter")
    train, validation = (
        labelled_task(
            recipe.task, family, count, recipe.days, timescales=recipe.timescales, layout=recipe.layout,
            teacher=recipe.teacher, progress=False,
        )
        for family, count in (("extractor", 16), ("validation", 3))
    )  # fmt: skip
    segmenter = fit_segmenter(
        train, validation, recipe.architecture, recipe.training, choice=recipe.machine, options=QUIET,
        start=start_of(recipe),
    )  # fmt: skip
    unseen = task_seeds(recipe.task, "validation", 11)[3:]
    judged = judged_task(segmenter, recipe.timescales, recipe.task, unseen, recipe.days, progress=False)
    accuracy = score_table(segmenter, judged)["accuracy"]
    for scale in segmenter.config.timescales:
        own, best, chance = (accuracy[scale, method] for method in (LIKELIEST, FILTER, MAJORITY))
        assert (own - chance) / (best - chance) > 0.8, (scale, own, best, chance)


@pytest.mark.slow
def test_ten_thousand_real_bars_one_at_a_time_have_the_bits_of_all_at_once(real_data: Path) -> None:
    """Whoever sees the bars until now alone says what is said with all bars at hand: at every one of them."""
    recipe = SegmenterRecipe.read("segmenter")
    items = labelled_task(
        "standard", "extractor", 2, 20, timescales=recipe.timescales, layout=recipe.layout, teacher=recipe.teacher,
        progress=False,
    )  # fmt: skip
    few = replace(recipe.training, steps=4, validate_every=4)
    segmenter = fit_segmenter(
        items[:1], items[1:], recipe.architecture, few, choice=recipe.machine, options=QUIET, start=start_of(recipe)
    )
    raw = read_bars(real_data / "binance_spot_BTCUSDT_5m_20230101_20240906.csv.gz")
    bars = segmenter.market(raw.iloc[-3 * (STREAMED + HISTORY) :]).bars[["open", "high", "low", "close", "volume"]]
    table = segmenter.predict(bars)
    whole = table.join(segmenter.states(table)).iloc[-STREAMED:]
    stream = SegmentStream(segmenter, bars.iloc[:-STREAMED])
    rows = pd.concat([stream.append(bars.iloc[t : t + 1]) for t in range(len(bars) - STREAMED, len(bars))])
    assert len(rows) == STREAMED and whole["state_15m"].nunique() > 1
    numbers = list(segmenter.columns)
    assert (rows[numbers].to_numpy().view(np.int32) == whole[numbers].to_numpy().view(np.int32)).all()
    pd.testing.assert_frame_equal(rows, whole, check_exact=True, check_freq=False)
