"""The methods that `benchmarks.learning` compares: each is trained with one seed and trades the test markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.registry import ALGORITHMS, new_config
from agents.algorithms.threads import use_one_thread
from agents.cloning.dagger import DaggerConfig
from agents.evaluation.rollout import roll, whole_markets
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.agent import Agent
from agents.policies.heads import bind, copy_of
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from agents.training.learning_loop import improve
from agents.training.pipeline import cloned
from agents.training.selection import Schedule, difference_from_clone, states_of_comparison
from benchmarks.support.end_to_end import end_to_end
from pretrain import Extractor
from pretrain.data.teachers import bar_labels
from synthetic import regime_market

DAYS = 60
#: Env steps (bar updates for fitted Q) of each algorithm.
STEPS = {"ppo": 800_000, "dqn": 150_000, "sac": 160_000, "fitted_q": 6_000_000}
ALONE = 24_000_000  #: bar updates of fitted Q that learns from rewards alone
BARS = "labels of bars"
NO_LABELS = "fitted_q alone (no clone, no labels)"
CURRICULUM = "ppo from scratch, curriculum"
END_TO_END = "ppo from scratch, Transformer in the loop"
#: CPU seconds of cloning and of PPO, which follow pretraining where there is any.
AFTER_PRETRAINING = 100.0


@dataclass(frozen=True)
class Counts:
    """How much is run; `end_to_end` seeds train the Transformer by PPO alone, for `budget` of what pretraining took."""

    seeds: int
    end_to_end: int
    budget: float
    test_markets: int
    train_markets: int
    validation_markets: int


QUICK, FULL = Counts(1, 1, 0.1, 16, 96, 16), Counts(5, 1, 1.0, 64, 256, 24)


def relabelled(labelled: Sequence[ExpertMarket], task: str, settings: TradingSettings) -> tuple[ExpertMarket, ...]:
    """The same markets with labels that need no truth; scores still use it."""
    found = []
    for t in labelled:
        assert t.market.origin is not None
        bars = regime_market(task, DAYS, t.market.origin.seed).bars
        labels, kind = bar_labels("horizon", bars, settings.turnover_cost, settings.positions)
        found.append(replace(t, labels=labels, label_kind=kind))
    return tuple(found)


def task_markets(task: str, settings: TradingSettings, counts: Counts) -> tuple[tuple[ExpertMarket, ...], ...]:
    """Markets to learn on, to choose by, and to be judged on."""
    families = {
        "train": counts.train_markets, "validation": counts.validation_markets, "test": counts.test_markets
    }  # fmt: skip
    return tuple(
        synthetic_markets(task, family, count, DAYS, settings, progress=False) for family, count in families.items()
    )


@lru_cache(maxsize=1)
def training_markets(
    task: str, folder: str, counts: Counts
) -> tuple[Extractor, TrainingMarkets, TrainingMarkets, EmbeddedMarkets]:
    """Extractor, training and validation markets with the oracle's labels and with labels of bars, test markets."""
    extractor = Extractor.load(folder)
    settings = AgentTrainingConfig().settings_for(extractor)
    train, validation, test = task_markets(task, settings, counts)
    oracle = TrainingMarkets(*(EmbeddedMarkets.of(extractor, part, progress=False) for part in (train, validation)))
    bars = replace(oracle, train=replace(oracle.train, labelled=relabelled(train, task, settings)))
    return extractor, oracle, bars, EmbeddedMarkets.of(extractor, test, progress=False)


def run_seed(task: str, folder: str, counts: Counts, seed: int) -> dict[str, dict[str, Any]]:
    """Every method trained with one seed: what it earned on the test markets, seconds, difference from the clone."""
    use_one_thread()
    extractor, oracle, bars, test = training_markets(task, folder, counts)
    settings = AgentTrainingConfig().settings_for(extractor)
    found: dict[str, dict[str, Any]] = {}

    def judged(name: str, agent: Agent, began: float, further: dict[str, float]) -> None:
        rollout = roll(agent.on(test.labelled, test.table), test.labelled, whole_markets(test.labelled), settings)
        found[name] = {
            "expected": rollout.expected(test.labelled), "realised": rollout.realised,
            "turnover": float(rollout.turnover.sum(axis=0).mean() / DAYS), "cpu_seconds": process_time() - began,
            **further,
        }  # fmt: skip
        print(f"{task} seed {seed} {name}: {found[name]['expected'].mean():.4f}", flush=True)

    def improved(name: str, clone: Agent, markets: TrainingMarkets, algorithm: str, **changes: Any) -> None:
        began = process_time()
        config = replace(new_config(algorithm), **({"steps": STEPS[algorithm]} | changes))
        entry = ALGORITHMS[algorithm]
        learner = getattr(import_module(entry.module), entry.builder)(clone, markets.train, config, seed=seed)
        schedule = Schedule(config.steps, config.steps // 8, curriculum=getattr(config, "curriculum", 0.0))
        result = improve(learner, clone, (algorithm, entry.head), markets.validation, schedule, progress=False)
        seconds = process_time() - began
        last = difference_at_end(learner, result.agent, clone, markets.validation)
        held = copy_of(getattr(learner, "policy_to_judge", learner.policy))
        at_end = replace(result.agent, policy=held).on(test.labelled, test.table)
        earned = roll(at_end, test.labelled, whole_markets(test.labelled), settings).expected(test.labelled)
        further = {"learning_cpu_seconds": seconds, "end_earned": float(earned.mean())}
        judged(name, result.agent, began, {"kept_step": result.kept_step, **result.metrics, **last, **further})

    began = process_time()
    clone = cloned(extractor, oracle, settings, seed=seed, progress=False)
    judged("BC", clone, began, {})
    began = process_time()
    corrected = cloned(
        extractor, oracle, settings, seed=seed, correction=DaggerConfig(rounds=3),
        progress=False,
    )  # fmt: skip
    judged("BC + DAgger", corrected, began, {})
    for algorithm in ("ppo", "dqn", "sac", "fitted_q"):
        improved(f"BC -> {algorithm}", clone, oracle, algorithm)
    began = process_time()
    plain = cloned(extractor, bars, settings, seed=seed, progress=False)
    judged(f"BC ({BARS})", plain, began, {})
    for algorithm in ("ppo", "dqn", "sac"):
        improved(f"BC ({BARS}) -> {algorithm}", plain, bars, algorithm)
    improved(NO_LABELS, plain, bars, "fitted_q", pull=0.0, steps=ALONE)
    improved(CURRICULUM, clone, oracle, "ppo", from_clone=False, curriculum=0.5, steps=400_000,
             learning_rate=3e-4, entropy_weight=0.003)  # fmt: skip
    return found


def clone_on(task: str, folder: str, counts: Counts) -> NDArray[np.float64]:
    """(M,) what a clone on another extractor earns: how much hangs on the extractor's own seed."""
    use_one_thread()
    extractor, oracle, _, test = training_markets(task, folder, counts)
    settings = AgentTrainingConfig().settings_for(extractor)
    agent = cloned(extractor, oracle, settings, seed=0, progress=False)
    return roll(agent.on(test.labelled, test.table), test.labelled, whole_markets(test.labelled), settings).expected(
        test.labelled
    )


def difference_at_end(learner: Any, agent: Agent, clone: Agent, validation: EmbeddedMarkets) -> dict[str, float]:
    """KL to the clone and share of changed actions of the last weights, not of the ones that were kept."""
    policy = copy_of(getattr(learner, "policy_to_judge", learner.policy))
    bind(policy, validation.table)
    found = difference_from_clone(agent, policy, *states_of_comparison(clone, validation))
    return {f"end_{name}": value for name, value in found.items()}


def run_end_to_end(task: str, folder: str, counts: Counts, seed: int) -> dict[str, Any]:
    """As a method of `run_seed`: PPO trains a Transformer from nothing, for as long as pretraining, clone and PPO took.

    The Transformer has no memory: with one, the windows of a rollout would cost it twenty times as much.
    """
    use_one_thread()
    extractor = Extractor.load(folder)
    settings = AgentTrainingConfig().settings_for(extractor)
    train, validation, test = task_markets(task, settings, counts)
    full = extractor.config
    layout = replace(full, memory=0, window=(64, *full.window[1:]), patches=(8, *full.patches[1:]), feature_names=())
    seconds = counts.budget * (extractor.provenance.metrics["cpu_seconds"] + AFTER_PRETRAINING)
    agent, curve = end_to_end(layout, (train, validation), settings, seconds, seed)
    rollout = roll(agent.on(test), test, whole_markets(test), settings)
    print(f"{task} seed {seed} {END_TO_END}: {rollout.expected(test).mean():.4f}", flush=True)
    return {
        "expected": rollout.expected(test), "realised": rollout.realised,
        "turnover": float(rollout.turnover.sum(axis=0).mean() / DAYS), "cpu_seconds": seconds, "curve": curve,
    }  # fmt: skip
