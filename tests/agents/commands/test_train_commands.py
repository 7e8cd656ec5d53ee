"""`cryptoenv train`, `evaluate`, `play`, `export` and `import`, and what survives a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import safetensors.torch
import torch

from agents.algorithms.registry import NAMES, new_config
from agents.command_line import main
from agents.run_folders.run_folder import Run
from agents.settings import TradingChoice
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import learning_device
from agents.training.recipe import RECIPES, AgentRecipe
from pretrain import ConfigError, Extractor
from synthetic import regime_market, task_seeds

TINY = """
algorithm: {algorithm}
market: easy
extractor: {extractor}
training: {{train_markets: 2, validation_markets: 2, days: 3, checkpoint_every: 512}}
cloning: {{samples: 4096, epochs: 1, batch_size: 256}}
learning: {{steps: {steps}, num_envs: 16, rollout_steps: 32, batch_size: 128, warm_up: 1, episode_bars: 96}}
"""


@pytest.fixture
def recipe(extractor: Extractor, tmp_path: Path) -> Path:
    """A training of seconds, as a file."""
    extractor.save(tmp_path / "extractor")
    return written(tmp_path, 2_048)


def written(folder: Path, steps: int) -> Path:
    path = folder / f"recipe-{steps}.yaml"
    path.write_text(TINY.format(algorithm="ppo", extractor=folder / "extractor", steps=steps), encoding="utf-8")
    return path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run / "agent" / "policy.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", NAMES)
def test_every_algorithm_has_a_recipe_that_survives_its_file(name: str, tmp_path: Path) -> None:
    from agents.training.recipe import write_agent_recipe

    shipped = AgentRecipe.read(name)
    assert shipped.algorithm == name
    assert type(shipped.training.learning) is type(new_config(name))
    write_agent_recipe(shipped, tmp_path / "again.yaml")
    assert AgentRecipe.read(tmp_path / "again.yaml") == shipped


def test_all_shipped_recipes_are_read() -> None:
    found = [AgentRecipe.read(path) for path in RECIPES.glob("*.yaml")]
    assert {recipe.algorithm for recipe in found} == set(NAMES)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("algo: ppo", "unknown key 'algo'"),
        ("algorithm: ppoo", "algorithm='ppoo' is unknown"),
        ("algorithm: ppo\nlearning: {pul: 1}", "learning: unknown key 'pul'"),
        ("algorithm: dqn\nlearning: {clip: 0.2}", "unknown key 'clip'"),
        ("algorithm: bc\nlearning: {steps: 3}", "'bc' learns nothing"),
        ("training: {learning: {}}", "'learning' does not belong"),
        ("training: {day: 3}", "training: unknown key 'day'"),
        ("dagger: {round: 3}", "dagger: unknown key 'round'"),
        ("dagger: {rounds: -1}", "rounds=-1"),
        ("cloning: 3", "cloning: expected keys"),
        ("seed: one", "seed='one' is not allowed: it must be int"),
        ("learning: {learning_rate: 3e-4}", "learning_rate='3e-4' is not allowed"),
        ("learning: {learning_rate: .inf}", "not a finite number"),
        ("learning: {learning_rate: -0.1}", "learning: learning_rate=-0.1 is not allowed: numbers > 0"),
        ("learning: {learning_rate: true}", "learning_rate=True is not allowed"),
        ("learning: {learning_rate: 30}", "learning_rate=30"),
        ("learning: {steps: -5}", "learning: steps=-5"),
        ("learning: {steps: 2.5}", "steps=2.5"),
        ("learning: {batch_size: 100000000000}", "batch_size=100000000000"),
        ("learning: {num_envs: 100000000}", "num_envs=100000000"),
        ("learning: {gamma: 1.5}", "gamma=1.5"),
        ("learning: {clip: 0}", "clip=0"),
        ("algorithm: dqn\nlearning: {buffer_size: 0}", "buffer_size=0"),
        ("algorithm: dqn\nlearning: {exploration: [0.5, -0.1]}", "exploration="),
        ("algorithm: dqn\nlearning: {exploration: [0.5]}", "exploration=.* it must be tuple"),
        ("algorithm: dqn\nlearning: {exploration: [a, b]}", "exploration="),
        ("algorithm: sac\nlearning: {temperature: -1}", "temperature=-1"),
        ("algorithm: fitted_q\nlearning: {gamma: 2}", "learning: gamma=2"),
        ("cloning: {samples: 100000000000}", "cloning: samples="),
        ("cloning: {learning_rate: 0}", "cloning: learning_rate=0"),
        ("dagger: {rounds: 1000000}", "dagger: rounds="),
        ("training: {days: 0}", "training: days=0"),
        ("training: {train_markets: -1}", "training: train_markets=-1"),
        ("training: {patience: true}", "patience=True"),
        ("seed: -1", "seed=-1"),
        ("market: 5", "market=5"),
        ("cloning: []", "cloning: expected keys"),
        ("", "the file says nothing"),
        ("# only a comment", "the file says nothing"),
        ("algo: ppo", "known are .*'training', 'cloning', 'dagger', 'learning'"),
        ("training: {day: 3}", r"known are \['train_markets', 'validation_markets', 'days'"),
        ("seed: 1\nseed: 2", "key 'seed' is given twice"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1]\n"
            + "\n".join(f"{x}: &{x} [{','.join([f'*{y}'] * 9)}]" for x, y in pairwise("abcdefgh"[::-1])),
            "bad.yaml",
        ),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_by_name(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text, encoding="utf-8")
    with pytest.raises((ConfigError, ValueError), match=named):
        AgentRecipe.read(tmp_path / "bad.yaml")


def check_report_of_training(found: dict[str, Any], table: pd.DataFrame) -> None:
    """The agent of a report is judged as `evaluate` judges it, and every section stands."""
    (chapter,) = found["chapters"]
    assert chapter["kind"] == "training" and "too short" in chapter["verdict"]
    sections = {one["key"]: one for one in chapter["sections"]}
    full = ("headline", "equity", "candles", "exposure", "trades", "regimes", "stress", "curves", "looked")
    assert {key for key in (*full, "provenance") if sections[key]["empty"]} <= {"trades"}  # of who stays flat
    (methods,) = [one for one in sections["headline"]["blocks"] if one["kind"] == "table"]
    for row in methods["rows"]:
        told = dict(zip(methods["columns"], row, strict=True))
        assert told["score"] == table.loc[told["method"], "score"]
        assert told["log_return"] == table.loc[told["method"], "log_return"]
    importance = sections["looked"]["blocks"][0]
    (shares,) = importance["series"].values()
    assert importance["key"] == "importance" and all(0.0 <= share <= 1.0 for share in shares)


def test_train_evaluate_play_export_import(
    recipe: Path, extractor: Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clone = tmp_path / "run", tmp_path / "clone"
    assert main(["train", "--recipe", str(recipe), "--dagger", "1", "--out", str(run)]) == 0
    said = capsys.readouterr().out
    assert "BC -> PPO; " in said and "kept_step" not in said and "kl_to_clone" not in said
    assert AgentRecipe.read(run / "recipe.yaml").training.dagger.rounds == 1
    description = json.loads((run / "agent" / "agent.json").read_text("utf-8"))
    assert description["config"]["training"]["learning"]["steps"] == 2_048
    assert "kept_step" in description["metrics"]

    table = tmp_path / "table.csv"
    evaluate = ["evaluate", str(run), "--task", "easy", "--split", "validation", "--markets", "2", "--days", "3"]
    assert main([*evaluate, "--ensemble", "--out", str(table)]) == 0
    assert {"BC clone", "flat", "ensemble of 1"} <= set(pd.read_csv(table, index_col=0).index)
    assert main(["evaluate", str(run), "--task", "easy", "--market-seed", "7", "--days", "3"]) == 0
    report = tmp_path / "report.json"
    judged = ["--task", "easy", "--markets", "2", "--days", "3"]
    assert main(["report", str(run), *judged, "--format", "json", "--out", str(report)]) == 0
    check_report_of_training(json.loads(report.read_text("utf-8")), pd.read_csv(table, index_col=0))
    (labelled,) = task_seeds("easy", "train", 1)
    assert main(["evaluate", str(run), "--task", "easy", "--market-seed", str(labelled)]) == 2
    assert "of the family 'train', which teaches" in capsys.readouterr().err
    assert main(["train", "--algo", "dqn", "--out", str(run)]) == 2
    assert "holds an earlier run" in capsys.readouterr().err
    assert AgentRecipe.read(run / "recipe.yaml").algorithm == "ppo"

    capsys.readouterr()
    assert main(["play", str(run), "--task", "easy", "--steps", "3"]) == 0
    assert capsys.readouterr().out.count("(1 since the start)") == 1
    film = tmp_path / "film.png"
    drawn = ["--render", "rgb_array", "--out", str(film)]
    assert main(["play", str(run), "--task", "easy", "--steps", "2", *drawn]) == 0
    assert film.stat().st_size > 1_000
    assert main(["play", str(run), "--render", "opera"]) == 2

    file = tmp_path / "agent.zip"
    assert main(["export", str(run), str(file)]) == 0
    again = ["import", str(file), "--extractor", str(tmp_path / "extractor"), "--out", str(clone)]
    assert main(again) == 2
    assert "--trust" in capsys.readouterr().err
    assert main([*again, "--trust"]) == 0
    assert same(run, clone)
    with pytest.raises(FileExistsError, match="holds an earlier run"):
        from agents.training.multi_seed import train_one

        train_one(AgentRecipe.read(recipe), run, False, False)


def test_bars_of_ones_own(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = tmp_path / "bars.csv"
    regime_market("easy", days=70, seed=11).bars.reset_index().to_csv(bars, index=False)
    run = tmp_path / "run"
    assert main(["train", "--recipe", str(recipe), "--bars", str(bars), "--out", str(run)]) == 0
    table = tmp_path / "table.csv"
    assert main(["evaluate", str(run), "--bars", str(bars), "--split", "test", "--out", str(table)]) == 0
    found = pd.read_csv(table, index_col=0)
    assert found.loc["flat", "log_return"] == 0.0
    assert {"buy and hold", "EMA cross (tuned)", "BC clone"} <= set(found.index)
    shorter = tmp_path / "shorter.csv"  # its last fifth lies within what was learned from
    regime_market("easy", days=70, seed=11).bars.iloc[:-3_000].reset_index().to_csv(shorter, index=False)
    assert main(["evaluate", str(run), "--bars", str(shorter), "--split", "test"]) == 2
    assert "the agent has learned from bars until" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--bars", str(bars), "--ensemble"]) == 2
    assert "an ensemble is tuned on validation markets of a task" in capsys.readouterr().err


def test_two_seeds_side_by_side_equal_one_after_the_other(recipe: Path, tmp_path: Path) -> None:
    assert main(["train", "--recipe", str(recipe), "--seeds", "2", "--out", str(tmp_path / "two")]) == 0
    assert main(["train", "--recipe", str(recipe), "--seed", "1", "--out", str(tmp_path / "one")]) == 0
    assert same(tmp_path / "two" / "seed-1", tmp_path / "one")
    assert not same(tmp_path / "two" / "seed-0", tmp_path / "one")
    done = (tmp_path / "two" / "seed-0" / "metrics.json").stat().st_mtime_ns
    assert main(["train", "--resume", str(tmp_path / "two")]) == 0  # nothing is left to do
    assert (tmp_path / "two" / "seed-0" / "metrics.json").stat().st_mtime_ns == done


@pytest.mark.slow
def test_seeds_over_ray(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason='Ray is not installed: pip install "cryptoenv-rl[distributed]"')
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    assert main(["train", "--recipe", str(recipe), "--seeds", "2", "--ray", "--out", str(tmp_path / "ray")]) == 0
    assert main(["train", "--recipe", str(recipe), "--seed", "1", "--out", str(tmp_path / "one")]) == 0
    assert same(tmp_path / "ray" / "seed-1", tmp_path / "one")


def start(arguments: list[str], stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    root = str(Path(__file__).parents[3])
    return subprocess.Popen(
        [sys.executable, "-m", "agents.command_line", *arguments],
        env=os.environ | {"PYTHONPATH": root}, stdout=subprocess.DEVNULL, stderr=stderr,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore Ctrl-C
    )  # fmt: skip


@pytest.mark.parametrize("after", [0.05, pytest.param(0.4, marks=pytest.mark.slow)])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(after: float, recipe: Path, tmp_path: Path) -> None:
    long = written(tmp_path, 16_384)
    process = start(["train", "--recipe", str(long), "--out", str(tmp_path / "killed")])
    deadline = time.monotonic() + 120.0
    while not list((tmp_path / "killed" / "checkpoints").glob("step-*")):
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "metrics.json").exists()
    assert main(["train", "--resume", str(tmp_path / "killed")]) == 0
    assert main(["train", "--recipe", str(long), "--out", str(tmp_path / "whole")]) == 0
    assert same(tmp_path / "killed", tmp_path / "whole")


def test_a_resume_whose_checkpoints_are_gone_is_refused_unless_asked(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "--recipe", str(recipe), "--out", str(run)]) == 0
    (run / "metrics.json").unlink()
    for lost in ("checkpoints/step-*", "checkpoints", "nothing more"):  # looking makes no folder
        for folder in run.glob(lost):
            shutil.rmtree(folder)
        capsys.readouterr()
        assert main(["train", "--resume", str(run)]) == 2
        assert "had checkpoints, and they are gone" in capsys.readouterr().err
    assert main(["train", "--resume", str(run), "--force"]) == 0
    assert "begins anew" in capsys.readouterr().err


def test_options_that_contradict_a_resume_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(tmp_path), "--steps", "3"]) == 2
    assert "leave the other options out" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "no run to resume" in capsys.readouterr().err
    assert main(["train", "--recipe", "dqn", "--algo", "ppo", "--out", str(tmp_path / "x")]) == 2
    assert "does not fit the recipe" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path), "--seeds", "3"]) == 2
    assert main(["train", "--ray", "--out", str(tmp_path / "x")]) == 2
    assert "give --seeds, too" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--device", "cuda", "--task", "easy", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert "device='cuda' cannot be used here" in said and len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_who_learns_on_the_processor_alone_says_so() -> None:
    positions, exposures = AgentTrainingConfig(device="auto"), TradingChoice(actions="continuous")
    assert learning_device("tqc", positions) == "cpu" or torch.cuda.is_available()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.training.pipeline.chosen_device", torch.device)
        assert learning_device("ppo", replace(positions, device="cuda")) == "cuda"
        with pytest.raises(ValueError, match="tqc learns on the cpu"):
            learning_device("tqc", replace(positions, device="cuda"))
        with pytest.raises(ValueError, match="ppo over exposures learns on the cpu"):
            learning_device("ppo", replace(positions, device="cuda", trading=exposures))


def test_mlflow_has_the_figures_of_the_run(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason='not installed: pip install "cryptoenv-rl[tracking]"')
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    recipe = recipe.resolve()
    monkeypatch.chdir(tmp_path)  # where MLflow keeps files by default
    run = tmp_path / "run"
    assert main(["train", "--recipe", str(recipe), "--mlflow", "agents", "--out", str(run)]) == 0
    client = tracking.MlflowClient(place)
    (found,) = client.search_runs([client.get_experiment_by_name("agents").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["training/learning/steps"] == "2048"
    kept = json.loads((run / "metrics.json").read_text("utf-8"))["kept_step"]
    assert found.data.metrics["kept/kept_step"] == kept
    held = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert {"agent", "metrics.json"} <= held
    history = client.get_metric_history(found.info.run_id, "validation/log_return")
    assert [point.step for point in history] == sorted(point.step for point in history)
    assert len(history) >= 2
    assert Run.load(run).agent.algorithm == "ppo"
