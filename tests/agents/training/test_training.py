from __future__ import annotations

import json
from pathlib import Path

import pytest

import agents
from agents.algorithms.ppo import PPOConfig
from agents.cloning.behaviour_cloning import CloningConfig
from agents.training.config import AgentTrainingConfig
from pretrain import Extractor

TINY = AgentTrainingConfig(
    cloning=CloningConfig(samples=4_096, epochs=1, batch_size=256),
    learning=PPOConfig(steps=2_048, num_envs=32, rollout_steps=32, batch_size=512, warm_up=1, episode_bars=96),
    train_markets=2,
    validation_markets=2,
    days=3,
)


def test_train_then_evaluate(extractor: Extractor, tmp_path: Path) -> None:
    extractor.save(tmp_path / "extractor")
    run = agents.train("ppo", market="easy", extractor=tmp_path / "extractor", out=tmp_path / "run", config=TINY)
    assert json.loads((run.folder / "config.json").read_text("utf-8"))["training"]["learning"]["steps"] == 2_048
    table = agents.evaluate(agents.Run.load(run.folder), split="validation", markets=3, days=3)
    assert list(table.index[:2]) in (["BC -> PPO", "BC clone"], ["BC -> PPO (= clone)", "BC clone"])
    assert {"flat", "filter oracle"} <= set(table.index)
    assert table.loc["filter oracle", "score"] == 1.0


def test_a_clone_alone_is_its_own_agent(extractor: Extractor, tmp_path: Path) -> None:
    run = agents.train("bc", extractor=extractor, out=tmp_path, config=TINY, progress=False)
    assert run.agent is run.clone
    assert run.agent.algorithm == "bc"


def test_unknown_tasks_and_splits_are_named(extractor: Extractor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'hardest'"):
        agents.train("bc", market="hardest", extractor=extractor, out=tmp_path, config=TINY, progress=False)
    run = agents.train("bc", extractor=extractor, out=tmp_path, config=TINY, progress=False)
    with pytest.raises(ValueError, match="'exam'"):
        agents.evaluate(run, split="exam", markets=2, days=3)
    with pytest.raises(ValueError, match="split='train' is not allowed"):
        agents.evaluate(run, split="train", markets=2, days=3)


def test_an_unknown_algorithm_is_named_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="algorithm='ppoo'"):
        agents.train("ppoo", extractor=tmp_path / "none", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_names_of_the_package_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        _ = agents.walk
