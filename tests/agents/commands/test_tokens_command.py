"""`cryptoenv tokens`: trains, tests, goes on, tunes; the outputs have the design's names; errors are one line."""

from __future__ import annotations

import functools
import inspect
import json
import shutil
from pathlib import Path

import pytest

import pretrain
from agents.command_line import main
from agents.commands import tokens as command
from pretrain.tokens import run as module
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.hdf5_store import TokenStore
from pretrain.tokens.recipe import TokenRecipe

SMALL = [
    "--timesteps", "240", "--num-tokens", "4", "--seq-length", "16", "--embed-size", "8", "--nhead", "2",
    "--dim-feedforward", "8", "--epochs", "1", "--batch-size", "8", "--learning-rate", "1e-3", "--device", "cpu",
]  # fmt: skip
FORECAST = ["--forecast", "20", "--forecast-extended", "40", "--paths", "4"]


def failed(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    assert main(["tokens", *arguments]) == 2
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 1 and error[0].startswith("cryptoenv: ")
    return error[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens") / "run"
    assert main(["tokens", *SMALL, "--split-strategy", "mixed", "--out", str(folder)]) == 0
    return folder


def test_training_leaves_what_the_design_names(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {"recipe.yaml", "data", "splits.png", "checkpoints", "artifact"}
    store = TokenStore(run / "data")
    assert len(store) == 4 and store.split()[1].how == "mixed" and store.normalization().shape == (2, 6)
    assert TokenRecipe.read(run / "recipe.yaml").architecture.seq_length == 16
    assert isinstance(pretrain.load(run / "artifact"), TokenForecaster)


def test_test_mode_forecasts_and_draws(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["tokens", "--test-mode", "--out", str(run), "--test-token-range", "1-2", *FORECAST]) == 0
    assert "log_error" in capfd.readouterr().out
    for folder, names in (("img", "features correlations"), ("predictions", "prediction_short prediction_extended")):
        for name in names.split():
            assert (run / folder / "token_1" / f"{name}.png").stat().st_size > 5_000
    assert not (run / "img" / "token_0").exists() and (run / "reliability.png").is_file()
    found = json.loads((run / "metrics.json").read_text())
    assert set(found["tokens"]) == {"1"} and set(found["forecast"]["mae"]) == {"1", "10"}
    assert found["pumps"]["rows_ahead"] == 30


def test_it_goes_on_from_a_model_and_can_leave_none(run: Path, tmp_path: Path) -> None:
    further = ["tokens", *SMALL, "--load-model", str(run / "artifact"), "--no-save-model", "--seed", "3"]
    assert main([*further, "--out", str(tmp_path / "further")]) == 0
    assert not (tmp_path / "further" / "artifact").exists()


def test_the_split_is_shown_without_training(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shown = ["--split-strategy", "token", "--split-fractions", "0.5,0.25,0.25", "--show-data-splits"]
    stored = ["--data", str(run / "data")]
    assert main(["tokens", *SMALL, *shown, *stored, "--out", str(tmp_path / "s")]) == 0
    said = capfd.readouterr().out
    assert "validation" in said and (tmp_path / "s" / "splits.png").is_file()
    assert not (tmp_path / "s" / "checkpoints").exists()
    ratio = [*SMALL, "--split-strategy", "token", "--train-token-ratio", "0.75", "--show-data-splits"]
    few = [*ratio, "--num-tokens", "2", "--out", str(tmp_path / "t")]
    assert "how='token' needs at least three markets, got 2" in failed(few, capfd)


def test_it_is_tuned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = TokenRecipe.read("tokens_trained")
    small = recipe.changed(num_tokens=4, timesteps=200, split_strategy="time", split_fractions=(0.4, 0.2, 0.4))
    text = small.text().replace("seq_length: 256", "seq_length: 16").replace("steps: 1500", "steps: 4")
    (tmp_path / "r.yaml").write_text(text.replace("validate_every: 250", "validate_every: 2"))
    tune = ["tokens", "tune", "--recipe", str(tmp_path / "r.yaml"), "--trials", "2", "--out", str(tmp_path / "study")]
    assert main(tune) == 0
    assert "winner: trial" in capfd.readouterr().out
    assert TokenRecipe.read(tmp_path / "study" / "best_recipe.yaml").num_tokens == 4


def test_flags_have_the_designs_names_and_defaults() -> None:
    defaults = {
        "num_tokens": 5, "timesteps": 4000, "seq_length": 500, "embed_size": 64, "nhead": 4, "dim_feedforward": 256,
        "dropout": 0.0, "epochs": 30.0, "batch_size": 1, "learning_rate": 2.2e-6, "split_strategy": "time",
        "split_fractions": (0.4, 0.2, 0.4), "embedding": "conv",
    }  # fmt: skip
    taken = inspect.signature(command.tokens).parameters
    recipe = TokenRecipe.read(taken["recipe"].default)
    values = {**vars(recipe), **vars(recipe.architecture), **vars(recipe.training), "batch_size": recipe.training.batch}
    assert {name: values[name] for name in defaults} == defaults
    assert set(defaults) < set(taken)
    own = {"forecast": 1000, "forecast_extended": 3000, "device": "auto"}
    assert {name: taken[name].default for name in own} == own
    assert {"save_model", "load_model", "test_mode", "test_token_id", "test_token_range", "train_token_ratio",
            "show_data_splits", "seed", "data"} < set(taken)  # fmt: skip


def test_bad_input_is_told_in_one_line(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    test = ["--test-mode", "--out", str(run)]
    for arguments, message in (
        ([*test, "--test-token-id", "9"], "--test-token-id 9 is unknown; allowed: ids from 0 to 3"),
        ([*test, "--test-token-range", "3-1"], "3-1 runs backwards; allowed: A-B with 0 <= A < B <= 4"),
        ([*test, "--test-token-range", "0-9"], "goes beyond the 4 tokens there are"),
        ([*test, "--test-token-range", "all"], "'all' is no range"),
        ([*test, "--test-token-id", "1", "--test-token-range", "0-1"], "give one of them"),
        (["--test-token-id", "1"], "go with --test-mode"),
        ([*test, "--resume"], "--resume and --test-mode: give one of them"),
        ([*test, "--embed-size", "16"], "--embed-size 16 does not fit the model in"),
        ([*SMALL, "--load-model", str(run), "--seq-length", "8", "--out", str(tmp_path / "x")], "which has 16"),
        ([*SMALL, "--nhead", "3", "--out", str(tmp_path / "x")], "nhead=3 is not allowed: a divisor of embed_size=8"),
        ([*SMALL, "--dropout", "1.5", "--out", str(tmp_path / "x")], "dropout=1.5 is not allowed"),
        ([*SMALL, "--seq-length", "240", "--out", str(tmp_path / "x")], "seq_length=240 is not allowed here"),
        ([*SMALL, "--split-fractions", "0.4,0.6", "--out", str(tmp_path / "x")], "three numbers that add up to 1"),
        ([*SMALL, "--train-token-ratio", "0.5", "--out", str(tmp_path / "x")], "train_share goes with"),
        ([*SMALL, "--out", str(run)], "holds an earlier run"),
        ([*SMALL, "--data", str(tmp_path), "--out", str(tmp_path / "x")], "is no store of tokens"),
        (["--test-mode", "--out", str(tmp_path / "none")], "is no artifact"),
        (["--num-tokens", "0"], "should be greater than or equal to 1"),
        (["--device", "tpu"], "--device"),
    ):  # fmt: skip
        assert message in failed(arguments, capfd), arguments
    assert not (tmp_path / "x").exists()
    store = TokenStore(run / "data")
    whole = store.file(2).read_bytes()
    store.file(2).unlink()
    try:
        assert "token_2.h5 is missing: the store is not whole" in failed([*test, "--test-token-id", "1"], capfd)
    finally:
        store.file(2).write_bytes(whole)
    bars = ["predict", str(run / "artifact"), "--bars", str(run / "recipe.yaml"), "--out", str(tmp_path / "p")]
    assert main(bars) == 2
    assert "holds a token forecaster" in capfd.readouterr().err


def test_evaluate_tests_a_run_of_tokens(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    plan = functools.partial(module.JudgingPlan, 8, 16, 4)
    monkeypatch.setattr(module, "JudgingPlan", plan)
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "log_error" in capfd.readouterr().out
    assert main(["evaluate", str(run), "--task", "easy"]) == 2
    assert "judged on its own tokens" in capfd.readouterr().err
