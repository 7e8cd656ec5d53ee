"""An extractor with a segmenter: its rows are those of both, none knows the future, and runs keep both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from agents.policies.agent import Agent
from agents.policies.agent_predictor import AgentPredictor
from agents.policies.policy_shape import PolicyShape
from agents.policies.segmented_extractor import SegmentedExtractor, load_extractor
from agents.policies.segmented_predictor import predictor_of
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import train
from agents.training.recipe import AgentRecipe, write_agent_recipe
from cryptoenv import Market
from pretrain import ArtifactError, ConfigError, Extractor, ExtractorConfig, FitOptions, PretrainingConfig
from pretrain.data.teachers import labelled_sample
from pretrain.extractor.training import fit_extractor
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.classes import labelled_task
from pretrain.segmenter.config import SegmenterConfig
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.training import fit_segmenter
from synthetic import regime_market, task_seeds

QUIET = FitOptions(progress=False)
FEW = PretrainingConfig(steps=6, batch=64, validate_every=6, validation_windows=256)


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    seeds = task_seeds("easy", "extractor", 2)
    items = [labelled_sample(regime_market("easy", 4, seed), ("15m", "4h", "1d"), (32, 16, 8)) for seed in seeds]
    config = ExtractorConfig(width=8, layers=1, heads=1, feedforward=8)
    return fit_extractor(items[:1], items[1:], config, FEW, options=QUIET)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    recipe = SegmenterRecipe.read("segmenter_seed")
    config = SegmenterConfig(window=(8, 4, 4), width=8, layers=1, heads=1, feedforward=8)
    layout = recipe.changed(architecture=config).layout
    items = labelled_task(
        "easy", "extractor", 2, 30, timescales=recipe.timescales, layout=layout, teacher="regimes", progress=False
    )
    return fit_segmenter(items[:1], items[1:], config, FEW, options=QUIET)


def test_rows_are_those_of_both_and_none_knows_the_future(extractor: Extractor, segmenter: Segmenter) -> None:
    both = SegmentedExtractor(extractor, segmenter)
    sample = regime_market("easy", 3, 11)
    market = Market.from_bars(sample.bars, extractor.config.timeframes)
    rows = both.embed(market)
    assert rows.shape == (len(market), both.width) and both.width == extractor.width + 9 + 12
    assert (rows[:, : extractor.width] == extractor.embed(market)).all()
    table = segmenter.predict(sample.bars)
    told = market.bars.index.get_indexer(table.index)
    assert (rows[told, extractor.width : extractor.width + 9] == table.iloc[:, :9].to_numpy()).all()
    states = rows[told, extractor.width + 9 :].reshape(len(told), 4, 3)
    assert (states.sum(axis=2) == 1.0).all()
    assert (states.argmax(axis=2) == segmenter.machines.numbers(segmenter.machines.probabilities(table))).all()
    rng = np.random.default_rng(0)
    for cut in rng.integers(5_400, len(market) - 1, 4):
        poisoned = sample.bars.copy()
        poisoned.iloc[cut + 1 :, :4] *= rng.lognormal(0.0, 0.3)
        poisoned.iloc[cut + 1 :, 4] *= 7.0
        other = both.embed(Market.from_bars(poisoned, extractor.config.timeframes))
        assert (other[: cut + 1] == rows[: cut + 1]).all()
        assert not (other[cut + 1 :] == rows[cut + 1 :]).all()


def test_a_run_keeps_both_and_decides_with_them(extractor: Extractor, segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save(tmp_path / "segments" / "artifact")
    extractor.save(tmp_path / "extractor")
    config = AgentTrainingConfig(train_markets=1, validation_markets=1, days=2)
    run = train(
        "bc", market="easy", extractor=str(tmp_path / "extractor"), segments=str(tmp_path / "segments"), config=config,
        out=tmp_path / "run", progress=False,
    )  # fmt: skip
    loaded = Run.load(tmp_path / "run")
    assert isinstance(loaded.agent.extractor, SegmentedExtractor)
    assert loaded.agent.extractor.hash == run.agent.extractor.hash != extractor.hash
    assert loaded.agent.shape.embedding_width == extractor.width + 21
    bars = regime_market("easy", 2, 3).bars
    decided = loaded.agent.decide(bars)
    assert decided.target in loaded.agent.actions
    predictor = predictor_of(loaded.agent)
    table = predictor.predict(bars)
    assert table["agent_target"].iloc[-1] == decided.target
    names = [f"agent_{name}" for name in ("-1", "0", "+1")]
    assert table[names].iloc[-1].tolist() == pytest.approx(list(decided.probabilities.values()), abs=1e-5)
    stream = predictor.stream(bars.iloc[:-20])
    rows = pd.concat([stream.append(bars.iloc[t : t + 1]) for t in range(len(bars) - 20, len(bars))])
    pd.testing.assert_frame_equal(rows, table.iloc[-20:], check_exact=True, check_freq=False)
    assert AgentRecipe.read(tmp_path / "run" / "recipe.yaml").segments == str(tmp_path / "segments")


def test_a_recipe_says_segments_among_its_features(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"algorithm": "bc", "features": {"segments": "runs/segmenter"}}))
    recipe = AgentRecipe.read(path)
    assert recipe.segments == "runs/segmenter" and recipe.inputs.features is None
    write_agent_recipe(recipe, tmp_path / "again.yaml")
    assert AgentRecipe.read(tmp_path / "again.yaml").segments == "runs/segmenter"
    path.write_text(yaml.safe_dump({"algorithm": "bc", "features": {"segments": 3}}))
    with pytest.raises(ConfigError, match="segments=3"):
        AgentRecipe.read(path)


def test_what_does_not_fit_is_refused(extractor: Extractor, segmenter: Segmenter, tmp_path: Path) -> None:
    place = extractor.save(tmp_path / "extractor")
    with pytest.raises(ArtifactError, match="holds a Extractor"):
        load_extractor(place, place)
    agent = Agent(SegmentedExtractor(extractor, segmenter), None, PolicyShape(1, 3), TradingSettings())
    with pytest.raises(ArtifactError, match="use predictor_of"):
        AgentPredictor(agent)
