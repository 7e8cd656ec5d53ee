"""Cloning and PPO on embeddings that say outright what to do: a world where success is certain, failure a defect."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.algorithms.ppo import PPOConfig, new_ppo
from agents.cloning.behaviour_cloning import CloningConfig, clone
from agents.cloning.demonstrations import Batches, Demonstrations, collect
from agents.evaluation.hysteresis import VALIDATION_BLOCK
from agents.evaluation.rollout import blocks, roll
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import bind, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import held_position
from agents.settings import TradingSettings
from agents.training.learning_loop import improve
from agents.training.pipeline import learn
from agents.training.selection import Schedule
from pretrain import Extractor

Labelled = tuple[ExpertMarket, ...]
CLONING = CloningConfig(samples=40_000, epochs=6, batch_size=512)
PPO = PPOConfig(steps=16_384, num_envs=64, rollout_steps=64, batch_size=1024, warm_up=1, episode_bars=96)


@pytest.fixture(scope="module")
def telling(labelled: Labelled) -> EmbeddingTable:
    """Embeddings that hold the teacher's answer for each held position, one-hot: (T, 9)."""
    return EmbeddingTable([np.eye(3, dtype=np.float32)[t.labels.clip(0)].reshape(len(t.market), 9) for t in labelled])


@pytest.fixture(scope="module")
def cloned(labelled: Labelled, telling: EmbeddingTable, settings: TradingSettings, extractor: Extractor) -> Agent:
    demonstrations = collect(labelled, settings, samples=CLONING.samples, seed=0, num_envs=64, progress=False)
    shape = PolicyShape(9, 3)
    policy = new_policy(shape, seed=0)
    bind(policy, telling)
    clone(policy, demonstrations, CLONING, seed=0, progress=False)
    return Agent(extractor, policy, shape, settings)


def test_demonstrations_visit_every_position_and_tell_what_the_teacher_does(
    labelled: Labelled, settings: TradingSettings
) -> None:
    found = collect(labelled, settings, samples=20_000, seed=3, num_envs=64, progress=False)
    held = held_position(found.account, settings.positions)
    assert np.bincount(held, minlength=3).min() > 300
    for row in range(0, len(found), 997):
        m, t = found.index[row]
        assert found.actions[row] == labelled[m].labels[t, held[row]]
        assert t >= labelled[m].first


def test_demonstrations_are_seeded(labelled: Labelled, settings: TradingSettings) -> None:
    first, again, other = (
        collect(labelled, settings, samples=2_000, seed=s, num_envs=32, progress=False) for s in (1, 1, 2)
    )
    assert (first.index == again.index).all()
    assert (first.actions == again.actions).all()
    assert (first.index != other.index).any()


def test_states_without_label_are_left_out(labelled: Labelled, settings: TradingSettings) -> None:
    half = replace(labelled[0], labels=labelled[0].labels.copy())
    half.labels[::2] = -1
    found = collect((half,), settings, samples=2_000, seed=0, num_envs=32, progress=False)
    assert (found.index[:, 1] % 2 == 1).all()
    nothing = replace(half, labels=np.full_like(half.labels, -1))
    with pytest.raises(ValueError, match="none of the visited states"):
        collect((nothing,), settings, samples=2_000, seed=0, num_envs=32, progress=False)


def test_batches_are_permutations(settings: TradingSettings) -> None:
    n = 1000
    numbers = np.arange(n)
    all_of_them = Demonstrations(np.column_stack([numbers, numbers]), np.zeros((n, 5), np.float32), numbers)
    batches = Batches(all_of_them, 100, np.random.default_rng(0))
    first, second = (np.concatenate([b.actions for b in batches]) for _ in range(2))
    assert len(batches) == 10
    assert (np.sort(first) == numbers).all()
    assert (first != second).any()
    with pytest.raises(ValueError, match="do not fill one batch"):
        Batches(all_of_them, 1001, np.random.default_rng(0))


def test_the_clone_does_what_the_teacher_does(labelled: Labelled, telling: EmbeddingTable, cloned: Agent) -> None:
    fresh = collect(labelled, cloned.settings, samples=10_000, seed=99, num_envs=64, progress=False)
    acted = cloned.on(labelled, telling).act(fresh.index, fresh.account)
    assert (acted == fresh.actions).mean() > 0.97


def test_the_critic_warms_up_alone(labelled: Labelled, telling: EmbeddingTable, cloned: Agent) -> None:
    config = replace(PPO, steps=2 * 64 * 64, warm_up=2)
    algorithm = new_ppo(cloned, EmbeddedMarkets(labelled, telling), config, seed=0)
    algorithm.learn(config.steps)
    before, after = cloned.policy.state_dict(), algorithm.policy.state_dict()
    for name, weights in before.items():
        assert torch.equal(weights, after[name]) == ("value" not in name), name


def test_the_pull_keeps_ppo_near_the_clone(labelled: Labelled, telling: EmbeddingTable, cloned: Agent) -> None:
    distances = []
    for pull in (0.0, 30.0):
        config = replace(PPO, steps=6 * 64 * 64, warm_up=0, pull=pull, learning_rate=3e-3)
        algorithm = new_ppo(cloned, EmbeddedMarkets(labelled, telling), config, seed=0)
        algorithm.learn(config.steps)
        distances.append(algorithm.logger.name_to_value["train/kl_to_clone"])
    assert distances[1] < 0.5 * distances[0]


def test_ppo_keeps_the_best_and_never_less_than_the_clone(
    labelled: Labelled, telling: EmbeddingTable, cloned: Agent
) -> None:
    destructive = replace(PPO, learning_rate=0.05, pull=0.0, warm_up=0)
    markets = EmbeddedMarkets(labelled, telling)
    algorithm = new_ppo(cloned, markets, destructive, seed=0)
    schedule = Schedule(destructive.steps, evaluate_every=8_192)
    result = improve(algorithm, cloned, ("ppo", "actor"), markets, schedule, progress=False)
    rows = blocks(labelled, VALIDATION_BLOCK)

    def earned(agent: Agent) -> float:
        policy = agent.on(labelled, telling)
        return float(roll(policy, labelled, rows, agent.settings).expected(labelled).mean())

    assert earned(result.agent) >= earned(cloned)
    assert earned(result.agent) == pytest.approx(max(score for _, score in result.validation))


def test_training_is_seeded_and_logs(
    labelled: Labelled, extractor: Extractor, settings: TradingSettings, tmp_path: Path
) -> None:
    from agents.training.config import AgentTrainingConfig

    config = AgentTrainingConfig(
        settings=settings,
        cloning=CloningConfig(samples=4_096, epochs=1, batch_size=256),
        learning=replace(PPO, steps=8_192),
    )
    runs = [
        learn("ppo", extractor, (labelled[:3], labelled[3:]), config, seed=seed, out=tmp_path / str(i), progress=False)
        for i, seed in enumerate((1, 1, 2))
    ]
    first, again, other = (r.agent.policy.state_dict() for r in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert list((tmp_path / "0" / "tensorboard" / "ppo").glob("events*"))
    assert list((tmp_path / "0" / "tensorboard" / "clone").rglob("events*"))


def test_unknown_algorithms_are_named(extractor: Extractor, labelled: Labelled) -> None:
    from agents.training.config import AgentTrainingConfig

    with pytest.raises(ValueError, match="'ddqn' is unknown"):
        learn("ddqn", extractor, (labelled, labelled), AgentTrainingConfig(), seed=0)


def test_torch_keeps_to_one_thread() -> None:
    """numba's thread pool, which a vector env starts, would give torch two threads again: a fresh process shows it."""
    code = (
        "from agents.algorithms.threads import use_one_thread; use_one_thread();"
        "import numba, torch; numba.get_num_threads(); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
