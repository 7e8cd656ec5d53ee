"""A walk-forward from bars to verdict; what is trained stays trained, whatever kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import agents.training.walk_forward as module
from agents.cloning.behaviour_cloning import CloningConfig
from agents.command_line import main
from agents.commands.walk_forward import short_names
from agents.evaluation.walk_forward.plan import WalkForwardPlan
from agents.run_folders.run_folder import Run
from agents.training.config import AgentTrainingConfig
from agents.training.recipe import AgentRecipe, write_agent_recipe
from agents.training.walk_forward import FILES, TRAINED, WalkForward, walk_forward
from cryptoenv.analysis.trial_ledger import tried
from pretrain import Extractor, FitOptions
from pretrain.segmenter.training import fit_segmenter
from tests.naive.random_bars import random_bars
from tests.pretrain.segmenter.conftest import planted_classes, pursued_market, quick_training, small_segmenter_config

PLAN = WalkForwardPlan(folds=2, seeds=1)
KILLS = 4  #: of a part of the slow test


def in_this_process(job: Callable[..., Any], jobs: list[Any], *_: Any, **__: Any) -> Iterator[tuple[int, Any]]:
    """As `side_by_side`, without processes."""
    for number, given in enumerate(jobs):
        yield number, job(*given)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, extractor: Extractor) -> tuple[AgentRecipe, tuple[str, ...]]:
    """A small recipe, and a file of bars."""
    place = tmp_path_factory.mktemp("walk")
    extractor.save(place / "extractor")
    path = place / "drawn.csv"
    random_bars(115, 1).to_csv(path)
    training = AgentTrainingConfig(cloning=CloningConfig(samples=2048, epochs=1, batch_size=256))
    return AgentRecipe("bc", "standard", str(place / "extractor"), 0, training), (str(path),)


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(made: tuple[AgentRecipe, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A walk-forward that was never interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "side_by_side", in_this_process)
        walk_forward(WalkForward(folder, made[0], PLAN, made[1]), progress=False)
    return folder


def test_what_it_writes(whole: Path) -> None:
    folds = pd.read_parquet(whole / "folds.parquet")
    assert len(folds) == 2 and set(folds["market"]) == {"drawn"}
    for _, row in folds.iterrows():
        trained = pd.Timestamp(row["trained_to"]), pd.Timestamp(row["chosen_to"]), pd.Timestamp(row["test_from"])
        assert trained[0] < trained[1] < trained[2]
        told = json.loads((whole / f"fold-{row['fold']}" / f"seed-{row['seed']}" / TRAINED).read_text())
        assert told["weights"] == row["weights"]
    assert folds["weights"].nunique() == 2  # every fold has weights of its own
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["verdict"]["word"] in ("shown", "not shown", "refuted")
    assert metrics["search"]["trials"] == 1 == tried(whole.parent / "trials.jsonl", "drawn").trials
    equity = pd.read_parquet(whole / "equity.parquet")
    assert list(equity.columns) == ["drawn, seed 0", "drawn, buy and hold"]
    assert len(pd.read_parquet(whole / "accounts.parquet")) == len(equity)
    days = np.diff(pd.to_datetime([*folds["test_from"], folds["test_to"].iloc[-1]])) / pd.Timedelta(1, "D")
    earned = np.log(equity["drawn, seed 0"].iloc[-1] / equity["drawn, seed 0"].iloc[0])
    assert (folds["test_per_day"].to_numpy() * days).sum() == pytest.approx(earned, abs=1e-3)
    assert Run.load(whole / "fold-1" / "seed-0").agent.algorithm == "bc"
    assert not (whole / "cache").exists() and (whole / "walk_forward.png").stat().st_size > 10_000


def test_it_goes_on_where_it_was_interrupted(
    made: tuple[AgentRecipe, tuple[str, ...]], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = WalkForward(tmp_path / "cut", made[0], PLAN, made[1])
    calls: list[tuple[int, tuple[int, ...]]] = []

    def dies_in_the_second(job: Callable[..., Any], jobs: list[Any], *_: Any, **__: Any) -> Iterator[tuple[int, Any]]:
        for number, (of, fold, border, seeds) in enumerate(jobs):
            if len(calls) == 1:
                (of.run_folder(fold, seeds[0]) / "agent").mkdir(parents=True)  # half of a training
                raise KeyboardInterrupt
            calls.append((fold, seeds))
            yield number, job(of, fold, border, seeds)

    monkeypatch.setattr(module, "side_by_side", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        walk_forward(walk, progress=False)
    before = {path: path.stat().st_mtime_ns for path in walk.folder.rglob(TRAINED)}
    assert len(before) == 1 and not (walk.folder / "metrics.json").exists()
    again: list[Any] = []

    def noted(job: Callable[..., Any], jobs: list[Any], *_: Any, **__: Any) -> Iterator[tuple[int, Any]]:
        again.extend((fold, seeds) for _, fold, _, seeds in jobs)
        return in_this_process(job, jobs)

    monkeypatch.setattr(module, "side_by_side", noted)
    walk_forward(walk, progress=False)
    assert again == [(0, (0,))]
    assert all(path.stat().st_mtime_ns == moment for path, moment in before.items())
    assert results(walk.folder) == results(whole)
    monkeypatch.setattr(module, "side_by_side", lambda *_, **__: pytest.fail("nothing is left to train"))
    walk_forward(walk, progress=False)
    assert results(walk.folder) == results(whole)


def test_what_stands_there_is_not_mixed_with(
    made: tuple[AgentRecipe, tuple[str, ...]], whole: Path, tmp_path: Path
) -> None:
    recipe, bars = made
    with pytest.raises(FileExistsError, match="another recipe, plan or bars"):
        walk_forward(WalkForward(whole, recipe, WalkForwardPlan(folds=3, seeds=1), bars), progress=False)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else"):
        walk_forward(WalkForward(tmp_path, recipe, PLAN, bars), progress=False)
    with pytest.raises(ValueError, match="folds=20000 is not allowed"):
        walk_forward(WalkForward(tmp_path / "new", recipe, WalkForwardPlan(folds=20_000), bars), progress=False)
    assert not (tmp_path / "new").exists()


def test_the_command_says_the_same(
    made: tuple[AgentRecipe, tuple[str, ...]], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a folder that is finished it trains nothing, and prints tables and verdict."""
    recipe = whole.parent / "recipe.yaml"
    write_agent_recipe(made[0], recipe)
    bars = [word for path in made[1] for word in ("--bars", path)]
    before = results(whole)
    assert main(["walk-forward", str(recipe), *bars, "--folds", "2", "--seeds", "1", "--out", str(whole)]) == 0
    assert results(whole) == before
    said = capsys.readouterr().out
    for words in ("efficiency", "regimes, mean over seeds", "buy and hold", "verdict: ", "1 on this data"):
        assert words in said, words
    assert main(["walk-forward", str(recipe), *bars, "--train", "12M", "--out", str(whole)]) == 2
    assert "give --test, too" in capsys.readouterr().err


@pytest.mark.slow
def test_on_markets_of_a_task_with_the_states_of_a_segmenter(
    made: tuple[AgentRecipe, tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught = [planted_classes(pursued_market(seed)) for seed in range(2)]
    write_agent_recipe(made[0], tmp_path / "recipe.yaml")
    place = tmp_path / "segmenter"
    fit_segmenter(
        taught[:1], taught[1:], small_segmenter_config(), quick_training(), seed=1, options=FitOptions(progress=False)
    ).save(place)
    task = ["--task", "easy", "--days", "60", "--markets", "1", "--folds", "2", "--seeds", "1"]
    arguments = ["walk-forward", str(tmp_path / "recipe.yaml"), *task, "--out", str(tmp_path / "run")]
    assert main([*arguments, "--segmenter", str(place), "--states", "9h"]) == 2
    assert "has no states of '9h'" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert main([*arguments, "--segmenter", str(place)]) == 0
    regimes = pd.read_parquet(tmp_path / "run" / "regimes.parquet")
    assert set(regimes["market"]) == {"easy, validation 0, 60 days"}
    states = regimes[regimes["regime"].str.startswith("state ")]
    whole = regimes[regimes["regime"] == "all"]["bars"].astype(float).iloc[0]
    assert 0 < states["bars"].astype(float).sum() <= whole
    assert "market: easy" in (tmp_path / "run" / "recipe.yaml").read_text()


def _command(recipe: Path, bars: tuple[str, ...], out: Path) -> list[str]:
    words = [word for path in bars for word in ("--bars", path)]
    plan = ["--folds", "2", "--seeds", "1", "--workers", "2", "--out", str(out)]
    code = "import sys; from agents.command_line import main; sys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", code, "walk-forward", str(recipe), *words, *plan]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_twenty_kills_change_nothing(
    made: tuple[AgentRecipe, tuple[str, ...]], whole: Path, tmp_path: Path, part: int
) -> None:
    """Four kills a part, at any moment from the first import to the last file; a finished one begins anew."""
    recipe = tmp_path / "recipe.yaml"
    write_agent_recipe(made[0], recipe)
    began = time.monotonic()
    _finish(_command(recipe, made[1], tmp_path / "first" / "run"), tmp_path / "first" / "run", whole)
    lasts = time.monotonic() - began
    rng, kills, number, finished = np.random.default_rng(part), 0, 0, {}
    while kills < KILLS:
        out = tmp_path / f"killed-{number}" / "run"
        process = subprocess.Popen(
            _command(recipe, made[1], out), start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(0.0, lasts))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
        now = {path: path.stat().st_mtime_ns for path in out.rglob(TRAINED)}
        assert all(now[path] == moment for path, moment in finished.items()), "a fold was trained twice"
        finished = now
        if process.returncode == 0 or kills == KILLS:
            _finish(_command(recipe, made[1], out), out, whole)
            assert all(path.stat().st_mtime_ns == moment for path, moment in finished.items())
            number, finished = number + 1, {}


def test_long_names_of_markets_are_told_apart_in_tables() -> None:
    long = ["exchange_spot_BTCUSDT_5m_20230101", "exchange_spot_ETHUSDT_5m_20230101"]
    assert list(short_names(long).values()) == ["BTCUSDT", "ETHUSDT"]
    assert short_names(["a", "b"]) == {"a": "a", "b": "b"}
    assert len(short_names(long[:1])[long[0]]) == 24


def _finish(command: list[str], out: Path, whole: Path) -> None:
    """Run it to its end; its results are those that were never interrupted, and it is one trial."""
    out.parent.mkdir(exist_ok=True)
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == 0
    assert results(out) == results(whole)
    assert tried(out.parent / "trials.jsonl", "drawn").trials == 1


@pytest.mark.slow
def test_over_ray_it_is_the_same(
    made: tuple[AgentRecipe, tuple[str, ...]], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason='Ray is not installed: pip install "cryptoenv-rl[distributed]"')
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    walk_forward(WalkForward(tmp_path / "ray" / "run", made[0], PLAN, made[1]), ray=True, progress=False)
    assert results(tmp_path / "ray" / "run") == results(whole)
    for trained in (tmp_path / "ray" / "run").rglob(TRAINED):
        other = whole / trained.relative_to(tmp_path / "ray" / "run")
        assert trained.read_bytes() == other.read_bytes()
