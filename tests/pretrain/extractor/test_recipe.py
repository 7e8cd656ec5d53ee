"""Recipes: what a file says is what is trained, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.command_line import main
from pretrain import (
    ArtifactError,
    ConfigError,
    Extractor,
    ExtractorConfig,
    FitOptions,
    PretrainingConfig,
    Recipe,
    pretrain_extractor,
)
from pretrain.extractor.artifact import SHIPPED
from tests.pretrain.conftest import random_market

SMALL = Recipe(
    task="easy",
    markets=2,
    validation_markets=1,
    days=4,
    architecture=ExtractorConfig(width=8, layers=1, heads=1, feedforward=8, regimes=11),
    training=PretrainingConfig(steps=6, batch=64, validate_every=3, validation_windows=128),
)


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    SMALL.write(tmp_path / "small.yaml")
    assert Recipe.read(tmp_path / "small.yaml") == SMALL
    (tmp_path / "short.yaml").write_text("task: easy\narchitecture:\n  width: 8\n")
    assert Recipe.read(tmp_path / "short.yaml") == Recipe(task="easy", architecture=ExtractorConfig(width=8))


def test_the_shipped_recipe_is_read() -> None:
    recipe = Recipe.read("default")
    assert recipe.task == "standard"
    assert recipe.architecture.window == (256, 16, 8)
    assert recipe.architecture.memory == 96


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tasks: easy", "unknown key 'tasks'"),
        ("training:\n  step: 3", "training: unknown key 'step'"),
        ("architecture: [1]", "architecture: expected keys"),
        ("architecture:\n  width: wide", "architecture: width='wide' is not allowed: it must be int"),
        ("markets: 0", "markets=0"),
        ("markets: 2.5", "markets=2.5 is not allowed: it must be int"),
        ("markets: many", "markets='many' is not allowed"),
        ("teacher: oracel", "teacher='oracel' is unknown"),
        ("task: standrad", "task='standrad' is unknown"),
        ("seed: x", "seed='x' is not allowed"),
        ("training:\n  learning_rate: 3e-4", "learning_rate='3e-4' is not allowed: it must be float; YAML takes"),
        ("a: [", "no YAML"),
        ("!!python/object/apply:os.system [true]", "no YAML"),
    ],
)
def test_what_is_not_a_recipe_is_refused(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        Recipe.read(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="neither a file nor one of those shipped"):
        Recipe.read(tmp_path / "absent.yaml")


def test_the_command_makes_the_same_artifact_as_the_function(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = pretrain_extractor(replace(SMALL, seed=4), FitOptions(progress=False))
    SMALL.write(tmp_path / "small.yaml")
    run = ["pretrain", "--recipe", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "run"), "--seed", "4"]
    assert main(run) == 0
    assert Extractor.load(tmp_path / "run" / "artifact").hash == expected.hash
    assert expected.hash[:16] in capsys.readouterr().out
    assert Recipe.read(tmp_path / "run" / "recipe.yaml") == replace(SMALL, seed=4)
    assert main(run) == 2
    assert "holds an earlier run" in capsys.readouterr().err
    assert main([*run, "--resume"]) == 0


def test_the_shipped_artifact_is_the_shipped_recipe() -> None:
    extractor, recipe = Extractor.load("default"), Recipe.read("default")
    named = replace(recipe.architecture, feature_names=extractor.config.feature_names)
    assert extractor.config == named
    assert extractor.provenance.recipe == recipe.digest
    assert extractor.provenance.metrics["steps"] <= recipe.training.steps
    assert sum(path.stat().st_size for path in (SHIPPED / "default").iterdir()) < 1_000_000
    market = random_market(0)
    with pytest.raises(ArtifactError, match="timeframes differ"):
        extractor.embed(market)
