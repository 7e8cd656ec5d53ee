"""The run folder: what MLflow keeps of it, what goes on and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cryptoenv.files.typed_values import ConfigError
from pretrain.fitting.fitting import FitOptions
from pretrain.tokens.hdf5_store import StoreError
from pretrain.tokens.recipe import TokenRecipe
from pretrain.tokens.run import JudgingPlan, judge_tokens, prepared, train_tokens
from pretrain.tokens.series import TokenSeries
from tests.pretrain.tokens.test_training import small_recipe as recipe_of


def small_recipe(**changes: object) -> TokenRecipe:
    """One that trains for hardly any time."""
    recipe = recipe_of(**changes)
    return recipe.changed(training=replace(recipe.training, steps=4, validate_every=2))


def test_a_run_is_kept_in_mlflow_and_goes_on(
    tokens: tuple[TokenSeries, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason='not installed: pip install "cryptoenv-rl[tracking]"')
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    made = train_tokens(tokens, small_recipe(), FitOptions(out, progress=False, mlflow="tokens"))
    client = tracking.MlflowClient(place)
    (run,) = client.search_runs([client.get_experiment_by_name("tokens").experiment_id])
    assert run.data.params["architecture/seq_length"] == "16" and run.data.params["split_strategy"] == "mixed"
    assert {"train/loss", "validation/return", "kept/validation/loss"} <= set(run.data.metrics)
    assert {"artifact", "splits.png", "recipe.yaml"} <= {item.path for item in client.list_artifacts(run.info.run_id)}
    again = train_tokens(tokens, small_recipe(), FitOptions(out, resume=True, progress=False))
    assert again.hash == made.hash
    with pytest.raises(FileExistsError, match="holds checkpoints of an earlier run"):
        train_tokens(tokens, small_recipe(), FitOptions(out, progress=False))
    with pytest.raises(StoreError, match="holds other tokens than these"):
        prepared(out, tokens[:3], small_recipe())


def test_figures_are_of_the_tokens_that_were_asked_for(tokens: tuple[TokenSeries, ...], tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = small_recipe(split_strategy="token")
    made = train_tokens(tokens, recipe, FitOptions(out, progress=False))
    plan = JudgingPlan(forecast=10, extended=20, paths=3, origins=2)
    found = judge_tokens(made, tokens, [4], None, plan, out)
    assert list(found["tokens"]) == ["4"] and found["steps"] == [1, 10]
    assert found["tokens"]["4"]["forecast"] == found["forecast"]
    assert 0.0 <= found["pumps"]["rise"]["brier"] <= 1.0
    with pytest.raises(ConfigError, match="paths=0 is not allowed"):
        JudgingPlan(paths=0)
