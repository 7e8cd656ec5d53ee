"""`cryptoenv pretrain` by rewards: on several files of bars, anew and from an artifact; the one that ships."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import pretrain
from agents.command_line import main
from pretrain import ConfigError, Extractor, PretrainingConfig, Recipe
from pretrain.data.rewards import REWARDS_OF_POSITIONS, RewardsConfig
from pretrain.extractor.tuning import ExtractorObjective
from tests.pretrain.conftest import TIMEFRAMES, random_bars
from tests.pretrain.extractor.test_rewards_training import CONFIG

SMALL = Recipe(
    teacher="rewards", architecture=replace(CONFIG, memory=8, width=8), rewards=RewardsConfig(lanes=2, stretch=24),
    training=PretrainingConfig(steps=4, validate_every=2, learning_rate=1e-3),
)  # fmt: skip


def test_bars_of_ones_own_teach_anew_and_go_on_from_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for seed, hours in ((0, 24 * 90), (1, 24 * 110)):
        files += ["--bars", str(tmp_path / f"coin{seed}.csv")]
        random_bars(seed, hours).to_csv(files[-1])
    SMALL.write(tmp_path / "small.yaml")
    common = ["pretrain", "--recipe", str(tmp_path / "small.yaml"), *files]
    assert main([*common, "--from", "none", "--out", str(tmp_path / "anew")]) == 0
    first = Extractor.load(tmp_path / "anew" / "artifact")
    (told,) = first.provenance.data
    assert first.config.values == "alone" and first.layout.timeframes == TIMEFRAMES
    assert (told.teacher, told.markets) == (REWARDS_OF_POSITIONS, 2)
    assert Recipe.read(tmp_path / "anew" / "recipe.yaml") == SMALL
    again = ["--from", str(tmp_path / "anew" / "artifact"), "--out", str(tmp_path / "on")]
    assert main([*common, *again]) == 0
    second = Extractor.load(tmp_path / "on" / "artifact")
    assert second.hash != first.hash and len(second.provenance.data) == 2
    assert "validation/earned" in capsys.readouterr().out
    assert main([*common, "--from", "default", "--out", str(tmp_path / "no")]) == 2
    assert "cannot be made of 1h bars" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_a_search_by_losses_of_labels_refuses_a_recipe_without_any() -> None:
    with pytest.raises(ConfigError, match="teacher='rewards' is not allowed"):
        ExtractorObjective(SMALL)


def test_the_shipped_values_are_made_by_the_shipped_recipe() -> None:
    extractor, recipe = Extractor.load("bars"), Recipe.read("bars")
    assert recipe.teacher == "rewards" and extractor.config.values == "alone"
    assert extractor.provenance.recipe == recipe.digest
    (told,) = extractor.provenance.data
    bars = recipe.training.steps * recipe.rewards.lanes * recipe.rewards.stretch
    assert extractor.provenance.metrics["bars"] <= bars and told.markets < recipe.markets
    assert sum(path.stat().st_size for path in (Path(pretrain.__file__).parent / "artifacts" / "bars").iterdir()) < 1e6
    assert pretrain.load("bars").columns[-3:] == ("value_-1", "value_0", "value_+1")
