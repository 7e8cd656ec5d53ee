"""Studies: seeded, shared, resumable, pruned; a killed worker's trial fails and the total count is right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agents.command_line import main
from cryptoenv.analysis.trial_ledger import tried
from pretrain import ConfigError, Recipe
from pretrain.fitting.study import BEST_RECIPE, JOURNAL, Study, fail_orphans, finished, open_study, optimise

optuna = pytest.importorskip("optuna")


def bowl(trial: Any) -> float:
    x, y = trial.suggest_float("x", -1.0, 1.0), trial.suggest_float("y", -1.0, 1.0)
    return (x - 0.3) ** 2 + 0.01 * y


def failing(trial: Any) -> float:
    if trial.number == 1:
        raise RuntimeError("diverged")
    return bowl(trial)


def test_the_seed_decides_the_trials(tmp_path: Path) -> None:
    def values(name: str, seed: int) -> list[float]:
        found = optimise(Study(tmp_path / name, 10, seed=seed), bowl, progress=False)
        return [trial.value for trial in found.get_trials()]

    assert values("a", 1) == values("b", 1)
    assert values("a2", 1) != values("c", 2)


def test_a_study_goes_on_until_it_has_enough(tmp_path: Path) -> None:
    optimise(Study(tmp_path, 3), bowl, progress=False)
    found = optimise(Study(tmp_path, 7), failing, progress=False)
    assert finished(found) == 7
    optimise(Study(tmp_path, 7), pytest.fail, progress=False)  # nothing is left to do


def test_a_failed_trial_does_not_count(tmp_path: Path) -> None:
    found = optimise(Study(tmp_path, 4), failing, progress=False)
    states = [trial.state.name for trial in found.get_trials()]
    assert states == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


@dataclass(frozen=True)
class CountedBowl:
    """The bowl, judged on data that has a name."""

    data: str = "here"

    def __call__(self, trial: Any) -> float:
        if trial.number == 2:
            raise RuntimeError("diverged")
        return bowl(trial)


def test_trials_are_counted_once_over_all_calls(tmp_path: Path) -> None:
    for count in (2, 5, 5):
        optimise(Study(tmp_path / "study", count), CountedBowl(), progress=False)
        assert tried(tmp_path / "trials.jsonl", "here").trials == count
    optimise(Study(tmp_path / "other", 3, seed=9), CountedBowl("there"), progress=False)
    assert tried(tmp_path / "trials.jsonl", "there").kinds == {"tune": 3}
    assert tried(tmp_path / "trials.jsonl", "here").trials == 5


@dataclass(frozen=True)
class Bowl:
    """The bowl, somewhere else, or a wall."""

    x: float
    wall: bool = False

    def __call__(self, trial: Any) -> float:
        if self.wall:
            raise RuntimeError("no memory")
        return (trial.suggest_float("x", -1.0, 1.0) - self.x) ** 2


def test_a_study_keeps_to_its_objective(tmp_path: Path) -> None:
    optimise(Study(tmp_path, 2), Bowl(0.1), progress=False)
    assert finished(optimise(Study(tmp_path, 3), Bowl(0.1), progress=False)) == 3
    with pytest.raises(ConfigError, match="a study of another recipe or budget"):
        optimise(Study(tmp_path, 4), Bowl(0.2), progress=False)


def test_a_study_that_goes_on_draws_anew(tmp_path: Path) -> None:
    for trials in (3, 6):
        found = optimise(Study(tmp_path, trials), bowl, progress=False)
    drawn = [trial.params["x"] for trial in found.get_trials()]
    assert len(set(drawn)) == 6


def test_an_objective_that_always_fails_ends(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="3 trials in a row failed, the last: no memory"):
        optimise(Study(tmp_path, 9), Bowl(0.0, wall=True), progress=False)


@dataclass(frozen=True)
class Meeting:
    """The bowl, once as many processes as asked for have begun a trial; else the first to start could do all."""

    folder: Path
    processes: int

    def __call__(self, trial: Any) -> float:
        (self.folder / f"{os.getpid()}.here").touch()
        until = time.monotonic() + 120.0
        while len(list(self.folder.glob("*.here"))) < self.processes and time.monotonic() < until:
            time.sleep(0.02)
        return bowl(trial)


def test_workers_share_a_study(tmp_path: Path) -> None:
    found = optimise(Study(tmp_path, 6, workers=2), Meeting(tmp_path, 2), progress=False)
    assert 6 <= finished(found) <= 7  # both may have begun the last one
    owners = {tuple(trial.user_attrs["owner"]) for trial in found.get_trials()}
    assert len(owners) == 2


def test_a_killed_workers_trial_fails_and_the_count_is_right(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pretrain.fitting.study import Study, work\n"
        "def slow(trial):\n"
        "    trial.suggest_float('x', 0, 1)\n"
        "    print('running', flush=True)\n"
        "    time.sleep(600)\n"
        f"work(Study(Path({str(tmp_path)!r}), 3), slow)\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline().strip() == "running"
    study = open_study(Study(tmp_path, 3))
    assert fail_orphans(study) == 0  # it lives
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    time.sleep(0.1)
    found = optimise(Study(tmp_path, 3), bowl, progress=False)
    states = [trial.state.name for trial in found.get_trials()]
    assert states.count("FAIL") == 1
    assert states.count("COMPLETE") == 3
    assert "RUNNING" not in states


def test_counts_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trials=0"):
        Study(tmp_path, 0)


@contextmanager
def logged_to(folder: Path) -> Iterator[None]:
    """MLflow keeps what is logged in a folder."""
    pytest.importorskip("mlflow.tracking", reason='not installed: pip install "cryptoenv-rl[tracking]"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)  # where files are kept by default
        yield


def study_in_mlflow(folder: Path, experiment: str) -> tuple[Any, dict[int, Any]]:
    """The one run of a study, and those of its trials by number."""
    client = mlflow_client(folder)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (whole,) = (run for run in runs if "cryptoenv.trial" not in run.data.tags)
    inside = [run for run in runs if run is not whole]
    assert {run.data.tags["mlflow.parentRunId"] for run in inside} == {whole.info.run_id}
    assert whole.info.status == "FINISHED"
    return whole, {int(run.data.tags["cryptoenv.trial"]): run for run in inside}


def kept_in_mlflow(folder: Path, run: Any) -> set[str]:
    return {item.path for item in mlflow_client(folder).list_artifacts(run.info.run_id)}


def mlflow_client(folder: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


SMALL = """
task: easy
markets: 2
validation_markets: 1
days: 12
architecture: {window: [64, 4, 2], patches: [16, 4, 2], memory: 8, regimes: 16}
training: {steps: 4, batch: 64, validate_every: 2, validation_windows: 64}
"""


def test_the_command_leaves_a_recipe_tables_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = tmp_path / "small.yaml", tmp_path / "study"
    recipe.write_text(SMALL, encoding="utf-8")
    tune = ["tune", "--recipe", str(recipe), "--trials", "3", "--out", str(out), "--mlflow", "searches"]
    with logged_to(tmp_path):
        assert main(tune) == 0
        assert main([*tune[:4], "4", *tune[5:]]) == 0  # goes on: the study's run is the same, with one trial more
    assert {BEST_RECIPE, JOURNAL, "trials.csv", "history.png", "importance.png"} <= {p.name for p in out.iterdir()}
    best = Recipe.read(out / BEST_RECIPE)
    assert best.task == "easy"
    assert best.architecture.memory in (32, 64, 96)
    assert replace(best, architecture=best.architecture, training=best.training) == best
    assert "params_learning_rate" in capsys.readouterr().out
    whole, trials = study_in_mlflow(tmp_path, "searches")
    assert whole.data.params["task"] == "easy" and whole.data.params["training/validate_every"] == "2"
    table = pd.read_csv(out / "trials.csv").set_index("number")
    assert sorted(trials) == sorted(table.index) and len(table) == 4
    for number, trial in trials.items():
        row = table.loc[number]
        assert float(trial.data.params["learning_rate"]) == row["params_learning_rate"]
        assert trial.data.metrics.get("value") == (row["value"] if row["state"] == "COMPLETE" else None)
        assert "measured" in trial.data.metrics
    assert whole.data.metrics["best_value"] == table.loc[table["state"] == "COMPLETE", "value"].min()
    assert {BEST_RECIPE, "trials.csv", "history.png", "importance.png"} <= kept_in_mlflow(tmp_path, whole)


def test_an_agents_trial_that_falls_behind_is_pruned(tmp_path: Path) -> None:
    from agents.training.tuning import ReportsToTrial

    def evaluated(trial: Any) -> float:
        worth = -1.0 if trial.number == 6 else 1.0
        writer = ReportsToTrial(trial)
        for step in range(8):
            writer.write({"validation/log_return": worth}, {}, step)
        return -worth

    study = open_study(Study(tmp_path, 7))
    study.optimize(evaluated, n_trials=7)
    assert [trial.state.name for trial in study.get_trials()] == 6 * ["COMPLETE"] + ["PRUNED"]


def test_an_agents_recipe_is_tuned_likewise(tmp_path: Path) -> None:
    from agents.training.recipe import AgentRecipe

    recipe, out = tmp_path / "agent.yaml", tmp_path / "study"
    recipe.write_text(
        "algorithm: fitted_q\nmarket: easy\n"
        "training: {train_markets: 1, validation_markets: 1, days: 4}\n"
        "cloning: {samples: 4096, epochs: 1, batch_size: 512}\n"
        "learning: {steps: 8192, batch_size: 512, evaluate_every: 4096}\n",
        encoding="utf-8",
    )
    tune = ["tune", "--agent", "--recipe", str(recipe), "--trials", "2", "--out", str(out), "--mlflow", "agents"]
    with logged_to(tmp_path):
        assert main(tune) == 0
    whole, trials = study_in_mlflow(tmp_path, "agents")
    assert whole.data.params["algorithm"] == "fitted_q" and whole.data.params["training/learning/steps"] == "8192"
    assert len(trials) == 2 and {BEST_RECIPE, "history.png"} <= kept_in_mlflow(tmp_path, whole)
    best = AgentRecipe.read(out / BEST_RECIPE)
    assert best.algorithm == "fitted_q"
    assert 3e-5 <= best.training.learning.learning_rate <= 3e-3


def test_the_search_covers_what_an_extractor_is_made_of() -> None:
    from pretrain.extractor.tuning import ExtractorObjective

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for start in (Recipe.read("default"), Recipe.read("easy")):
        seen: dict[str, set[object]] = {"heads": set(), "window": set(), "feedforward": set(), "batch": set()}
        for _ in range(20):
            recipe = ExtractorObjective(start).suggested(study.ask())
            values = vars(recipe.architecture) | vars(recipe.training)
            for name, found in seen.items():
                found.add(values[name])
            longest = start.architecture.window
            assert all(a <= b for a, b in zip(recipe.architecture.window, longest, strict=True))
        assert min(len(found) for found in seen.values()) >= 2
