"""Run folders: one writer, nothing of a run that failed at once, words on what an interrupt leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch

import agents
from agents.algorithms.dqn import DQNConfig
from agents.algorithms.ppo import PPOConfig
from agents.cloning.behaviour_cloning import CloningConfig
from agents.cloning.demonstrations import Demonstrations, collect
from agents.command_line import main
from agents.commands.demo import DemoConfig, run_demo
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.run_folders.run_folder import Run, kept_of_run, load_runs, write_json, writing_run
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import learn
from cryptoenv.files.folder_lock import FolderLockedError, folder_lock
from pretrain import Extractor
from tests.agents.commands.test_train_commands import start, written

CLONING = CloningConfig(samples=1_024, epochs=1, batch_size=256)
SMALL_PPO = PPOConfig(steps=256, num_envs=16, rollout_steps=16, batch_size=128, warm_up=1, episode_bars=96)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_a_mistyped_market_leaves_no_folder(
    seeds: str, extractor: Extractor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extractor.save(tmp_path / "extractor")
    recipe, run = written(tmp_path, 512), tmp_path / "runs" / "run"
    short = tmp_path / "short.csv"
    short.write_text("timestamp,open,high,low,close,volume\n", encoding="utf-8")
    wrong = (["--task", "eazy"], ["--bars", str(short)], ["--extractor", "nowhere"])
    for options in wrong:
        assert main(["train", "--recipe", str(recipe), *options, "--seeds", seeds, "--out", str(run)]) == 2
        assert capsys.readouterr().err.count("cryptoenv: ") == 1
        assert not run.exists(), options


def test_a_run_that_fails_before_its_first_checkpoint_leaves_nothing(extractor: Extractor, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    config = AgentTrainingConfig(
        cloning=CloningConfig(samples=300, batch_size=2_048), learning=SMALL_PPO, train_markets=1,
        validation_markets=1, days=3,
    )  # fmt: skip
    extractor.save(tmp_path / "theirs")
    with pytest.raises(ValueError, match="do not fill one batch"):
        agents.train("ppo", extractor=tmp_path / "theirs", out=tmp_path, config=config, progress=False)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.txt", "theirs", ".lock"}


def test_an_interrupted_run_keeps_its_recipe_and_one_with_checkpoints_all(tmp_path: Path) -> None:
    for error, kept in ((ValueError, False), (KeyboardInterrupt, True)):
        run = tmp_path / error.__name__
        with pytest.raises(error), writing_run(run):
            (run / "recipe.yaml").touch()
            raise error
        assert run.exists() is kept
    with pytest.raises(ValueError), writing_run(tmp_path / "long"):
        (tmp_path / "long" / "checkpoints" / "step-000000000512").mkdir(parents=True)
        raise ValueError
    assert (tmp_path / "long" / "checkpoints" / "step-000000000512").is_dir()
    with pytest.raises(FileExistsError, match="holds an earlier run"), writing_run(tmp_path / "long"):
        pass
    with pytest.raises(KeyboardInterrupt), writing_run(tmp_path / "nothing"):
        raise KeyboardInterrupt
    assert not (tmp_path / "nothing").exists()


def test_two_resumptions_at_once_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("algorithm: bc\nmarket: easy\n", encoding="utf-8")
    write_json(run / "seeds.json", {"seeds": 1})
    before = files(run)
    with folder_lock(run, "the run"):
        holder = (run / ".lock").read_bytes()
        assert main(["train", "--resume", str(run)]) == 2
        assert "is being written by process" in capsys.readouterr().err
        with pytest.raises(FolderLockedError), writing_run(run, resume=True):
            pass
        assert files(run) == before | {".lock": holder}


def test_what_is_kept_is_said(tmp_path: Path) -> None:
    assert "nothing was kept" in kept_of_run(tmp_path / "none")
    run = tmp_path / "a run"
    run.mkdir()
    (run / "recipe.yaml").touch()
    assert "its recipe; no checkpoint yet" in kept_of_run(run)
    (run / "checkpoints" / "step-000000001536").mkdir(parents=True)
    assert "as of 1,536 env steps" in kept_of_run(run)
    assert kept_of_run(run).endswith(f"cryptoenv train --resume '{run}'")
    (run / "seed-10").mkdir()
    (run / "seed-9").mkdir()
    (run / "seed-9" / "metrics.json").touch()
    assert "seed-9 (finished), seed-10 (its recipe; no checkpoint yet)" in kept_of_run(run)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seeds": "2"}', '{"seeds": 0}', '{"seeds": 1.5}', "\xff", None])
def test_a_broken_number_of_seeds_is_one_line(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("algorithm: bc\n", encoding="utf-8")
    if content is not None:
        (tmp_path / "seeds.json").write_text(content, encoding="latin-1")
    assert main(["train", "--resume", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "seeds.json" in error


def test_a_run_is_printed_in_a_line(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    shape = PolicyShape(extractor.width, 3, (8,))
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    shown = repr(Run(tmp_path, agent, agent))
    assert "\n" not in shown and len(shown) < 400
    assert str(tmp_path) in shown and "'bc'" in shown


def test_a_folder_beside_the_seeds_is_no_seed(extractor: Extractor, settings: TradingSettings, tmp_path: Path) -> None:
    shape = PolicyShape(extractor.width, 3, (8,))
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    for name in ("seed-10", "seed-9", "seed-old"):
        Run(tmp_path / name, agent, agent).save({}, {"not finite": float("nan")})
    assert [run.folder.name for run in load_runs(tmp_path)] == ["seed-9", "seed-10"]


def test_demo_touches_no_run_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-000000000512").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-000000000512" / "state.json").write_text("mine", encoding="utf-8")
    before = files(tmp_path)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        run_demo(out=tmp_path, config=DemoConfig())
    with pytest.raises(FileNotFoundError):
        run_demo(out=tmp_path / "new", bars_file=tmp_path / "none.csv")
    assert files(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_ctrl_c_says_how_to_go_on(extractor: Extractor, tmp_path: Path) -> None:
    extractor.save(tmp_path / "extractor")
    run = tmp_path / "run"
    command = ["train", "--recipe", str(written(tmp_path, 1_000_000_000)), "--out", str(run)]
    process = start(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240.0
    while not list((run / "checkpoints").glob("step-*")):
        assert process.poll() is None, "it ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = process.stderr.read().decode()
    assert process.wait() == 130
    assert "Traceback" not in told
    assert "env steps" in told and f"cryptoenv train --resume {run}" in told.splitlines()[-1]


def test_each_part_of_a_training_has_a_seed_of_its_own(
    extractor: Extractor, labelled: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DQN's labelled states were the clone's demonstrations; batches and `imitation` drew from one seed."""
    drawn: dict[str, list[int]] = {"numpy": [], "torch": []}
    numpys, torchs = np.random.default_rng, torch.manual_seed

    def of_numpy(seed: object = None) -> np.random.Generator:
        caller = sys._getframe(1).f_globals["__name__"]
        if caller.startswith("agents.") and isinstance(seed, int):
            drawn["numpy"].append(seed)
        return numpys(seed)  # type: ignore[arg-type]

    def of_torch(seed: int) -> torch.Generator:
        drawn["torch"].append(int(seed))
        return torchs(seed)

    monkeypatch.setattr(np.random, "default_rng", of_numpy)
    monkeypatch.setattr(torch, "manual_seed", of_torch)
    from agents.algorithms import off_policy as off_policy_guidance
    from agents.training import pipeline as training

    states: list[Demonstrations] = []

    def kept(*args: Any, **named: Any) -> Demonstrations:
        states.append(collect(*args, **named))
        return states[-1]

    for module in (training, off_policy_guidance):
        monkeypatch.setattr(module, "collect", kept)
    learning = DQNConfig(steps=64, num_envs=16, batch_size=64, buffer_size=2_048, prefill=64, labelled=1_024)
    config = AgentTrainingConfig(cloning=CLONING, learning=learning)
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(2)
    numba.set_num_threads(min(2, os.cpu_count() or 1))
    expected = torch.get_num_threads(), numba.get_num_threads()
    try:
        learn("dqn", extractor, (labelled[:2], labelled[2:]), config, seed=7, progress=False)
        assert (torch.get_num_threads(), numba.get_num_threads()) == expected
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
    assert 7 not in drawn["numpy"] + drawn["torch"], "the raw seed is drawn from"
    assert len(drawn["numpy"]) >= 5
    assert len(set(drawn["numpy"])) == len(drawn["numpy"])
    clones, labelled = states
    same = min(len(clones), len(labelled))
    assert (clones.index[:same] == labelled.index[:same]).all(axis=1).mean() < 0.05
