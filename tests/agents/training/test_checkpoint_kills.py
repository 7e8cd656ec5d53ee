"""Kills: while a checkpoint is being saved, and again and again during one training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from agents.algorithms.dqn import DQNConfig, new_dqn
from agents.algorithms.threads import use_one_thread
from agents.command_line import main
from agents.markets.embedded import EmbeddedMarkets
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.training.checkpoint import Checkpoints
from agents.training.selection import Schedule, Selection
from pretrain import Extractor
from tests.agents.algorithms.test_sanity_worlds import COSTLY, WIDTH, markets
from tests.agents.commands.test_train_commands import same, start, written


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_a_kill_while_saving_leaves_a_checkpoint_that_loads(kills: int, extractor: Extractor, tmp_path: Path) -> None:
    use_one_thread()
    world = markets("noise", 0, 2)
    shape = PolicyShape(WIDTH, 3, (64, 64))
    fresh = Agent(extractor, new_policy(shape, 0), shape, COSTLY)
    config = DQNConfig(num_envs=16, prefill=20_000, buffer_size=60_000, labelled=256)  # two megabytes a checkpoint
    algorithm = new_dqn(fresh, world, config, seed=0)
    selection = Selection(fresh, ("dqn", "value"), EmbeddedMarkets(world.labelled, world.table), Schedule(10, 5))
    algorithm.learn(16, callback=selection)
    kept = Checkpoints(tmp_path, {})
    kept.save(algorithm, selection)
    rng, cut_short = np.random.default_rng(kills), 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:  # saves and saves
            while True:
                algorithm.num_timesteps += 1
                kept.save(algorithm, selection)
        time.sleep(rng.uniform(0.02, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut_short += bool(list(tmp_path.glob(".tmp-*")))
        before = algorithm.num_timesteps
        after = Checkpoints(tmp_path, {}).restore(algorithm, selection)
        assert after >= before
        assert not list(tmp_path.glob(".tmp-*"))
    assert cut_short > 0, "no kill fell into a save"


@pytest.mark.slow
def test_twenty_kills_change_nothing(extractor: Extractor, tmp_path: Path) -> None:
    extractor.save(tmp_path / "extractor")
    recipe = written(tmp_path, 131_072)
    run, rng = tmp_path / "killed", np.random.default_rng(7)
    kills = 0
    while kills < 20 and not (run / "metrics.json").exists():
        goes_on = (run / "recipe.yaml").exists()
        begun = ["--resume", str(run)] if goes_on else ["--recipe", str(recipe), "--out", str(run)]
        seen = set((run / "checkpoints").glob("step-*"))
        process = start(["train", *begun])
        while process.poll() is None and set((run / "checkpoints").glob("step-*")) <= seen:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills >= 10
    if not (run / "metrics.json").exists():
        assert main(["train", "--resume", str(run)]) == 0
    assert main(["train", "--recipe", str(recipe), "--out", str(tmp_path / "whole")]) == 0
    assert same(run, tmp_path / "whole")
