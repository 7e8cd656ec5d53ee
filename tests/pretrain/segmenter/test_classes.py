"""Classes from a generator's regimes, from bars and from the user's labels; the exact filter knows them best."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptoenv.market.market import Market
from pretrain import ConfigError
from pretrain.data.own_labels import labelled_market
from pretrain.data.splits import Span
from pretrain.loading import read_recipe
from pretrain.segmenter.classes import (
    Timescale,
    class_beliefs,
    class_truth,
    classes_of,
    labelled_parts,
    labelled_regimes,
    with_certain_labels,
)
from pretrain.segmenter.config import SegmenterFeatures
from pretrain.segmenter.recipe import SegmenterRecipe
from synthetic import TASKS, regime_labels, regime_market
from tests.pretrain.conftest import random_market

PLAIN = SegmenterFeatures(pursuit=False)


def recipe() -> SegmenterRecipe:
    found = read_recipe("segmenter_seed")
    assert isinstance(found, SegmenterRecipe)
    return found


def test_shipped_mappings_cover_every_task_and_say_the_sign_of_the_drift() -> None:
    for name in ("segmenter", "segmenter_seed"):
        scales = read_recipe(name).timescales  # type: ignore[attr-defined]
        classes = classes_of(scales, "regimes")
        for task in TASKS.values():
            for scale in scales:
                scale.of_regimes(task.regimes, classes)
        sample = regime_market("standard", days=4, seed=3)
        fast, drift = class_truth(sample, scales)[0], sample.truth["drift"].to_numpy()
        assert drift[fast == classes.index("bull")].mean() > 0 > drift[fast == classes.index("bear")].mean()


def test_beliefs_of_classes_are_sums_of_beliefs_of_regimes_and_call_the_truth_best() -> None:
    sample = regime_market("easy", days=20, seed=5)
    scales = recipe().timescales
    beliefs, truth = class_beliefs(sample, scales), class_truth(sample, scales)
    assert beliefs.shape == (len(sample.bars), 3, 3) and beliefs.sum(axis=2) == pytest.approx(1.0)
    hits = [(beliefs[2000:, s].argmax(axis=1) == truth[s][2000:]).mean() for s in range(3)]
    assert min(hits) > 0.7
    calls = beliefs[2000:, 0].max(axis=1)
    assert abs(calls.mean() - hits[0]) < 0.03  # what the filter believes is how often it is right


def test_teachers_give_one_column_per_timescale() -> None:
    sample = regime_market("easy", days=3, seed=1)
    market = Market.from_bars(sample.bars, ("15m", "1h", "4h"), features=PLAIN.spec(("15m", "1h", "4h")))
    for teacher in ("beliefs", "regimes", "bars"):
        item = labelled_regimes(sample, market, recipe().timescales, (8, 4, 4), teacher)
        assert [column.name for column in item.columns] == ["15m", "1h", "4h"] and item.regimes == 9
        assert item.beliefs is not None
        sums = item.beliefs[item.start :].reshape(-1, 3, 3).astype(np.float64).sum(axis=2)
        assert sums == pytest.approx(1.0, abs=3e-3)
        assert (np.isin(item.beliefs[item.start :], (0.0, 1.0)).all()) == (teacher != "beliefs")
    with pytest.raises(ConfigError, match="unknown for a segmenter"):
        labelled_regimes(sample, market, recipe().timescales, (8, 4, 4), "path")


def test_hindsight_of_a_span_sees_its_own_bars_alone() -> None:
    market = random_market(0)
    scale = Timescale("1h", minimum=24, drift=0.001, penalty=0.01)
    span = Span(0, 1300, 1600)
    (item,) = labelled_parts([market], [span], [scale])
    own = regime_labels(market.bars.iloc[1300:1600], scale.segmentation)
    assert (item.columns[0].values[1300:1600] == own).all() and np.isnan(item.columns[0].values[1600:]).all()
    assert item.decisions((8, 4, 4)).tolist() == list(range(1300, 1600))


def test_own_labels_are_learned_where_they_are_known() -> None:
    market = random_market(0)
    index = market.bars.index[1200:1500]
    table = pd.DataFrame({"1h": np.where(np.arange(300) % 40 < 20, "up", "down")}, index=index)
    table.iloc[::7] = None
    item = with_certain_labels(labelled_market(market, table))
    known = table["1h"].notna().to_numpy()
    assert item.beliefs is not None and (item.beliefs[1200:1500].sum(axis=1) == known).all()
    assert item.beliefs[1200:1500][known].argmax(axis=1).tolist() == (table["1h"][known] == "up").astype(int).tolist()
    numbers = pd.DataFrame({"1h": np.random.default_rng(0).normal(size=300)}, index=index)
    with pytest.raises(ConfigError, match="holds numbers"):
        with_certain_labels(labelled_market(market, numbers))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "15m", "regimes": {"bull": ["bull"], "bear": ["bear"]}}, "belongs to none of"),
        ({"name": "15m", "regimes": {"bull": ["*"], "bear": ["bear"]}}, "class 'bear' has no regime"),
    ],
)
def test_mappings_that_leave_something_out_are_refused(values: dict[str, object], words: str) -> None:
    scale = Timescale.read(values, "here")
    with pytest.raises(ConfigError, match=words):
        scale.of_regimes(TASKS["easy"].regimes, scale.classes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("teacher: oracle", "teacher"),
        ("timescales: []", "timescales"),
        ("timescales: fast", "a list of them"),
        ("timescales: [{name: 15m, regime: {}}]", "unknown key 'regime'"),
        ("timescales: [{name: 15m, minimum: 0}]", "minimum"),
        ("balance: 2", "balance"),
        ("machine: {enter: 0.3, leave: 0.4}", "must not cross"),
        ("reads: {indicators: false, pursuit: false}", "indicators, pursuit, or both"),
        ("architecture: {width: 30, heads: 4}", "heads"),
        ("task: nowhere", "task"),
        ("model: hybrid-9", "unknown"),
    ],
)
def test_recipes_that_cannot_be_meant_are_refused(text: str, words: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lines = recipe().text().splitlines()
    key = text.partition(":")[0]
    at = next(i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
    end = next((i for i in range(at + 1, len(lines)) if not lines[i].startswith((" ", "-"))), len(lines))
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join([*lines[:at], text, *lines[end:]]) + "\n")
    with pytest.raises(ConfigError, match=words):
        read_recipe(path)


def test_a_recipe_is_read_as_it_was_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("segmenter", "segmenter_seed"):
        found = read_recipe(name)
        found.write(tmp_path / "again.yaml")
        assert read_recipe(tmp_path / "again.yaml") == found


def test_timeframes_finer_than_the_base_are_refused() -> None:
    with pytest.raises(ConfigError, match="the base '1h' or longer"):
        PLAIN.spec(("1h", "15m"))
    with pytest.raises(ConfigError, match="one number per timeframe"):
        SegmenterFeatures(pursuit_window=(64,)).spec(("15m", "1h"))
