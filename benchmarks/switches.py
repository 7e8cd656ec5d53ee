"""What each step from the clone to reinforcement learning is worth: every switch turned off alone.

    python -m benchmarks.switches --quick      1 seed
    python -m benchmarks.switches              2 seeds

On "standard", with the extractor that ships. Figures are shares of the optimum on validation markets at the end of
learning (the last weights, the best hysteresis), and the lowest on the way, which says how much of the clone was lost.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from agents.algorithms.registry import ALGORITHMS, new_config
from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.hysteresis import VALIDATION_BLOCK
from agents.evaluation.rollout import blocks, roll
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import synthetic_markets
from agents.training.config import AgentTrainingConfig
from agents.training.learning_loop import improve
from agents.training.pipeline import cloned
from agents.training.selection import Schedule
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from pretrain import Extractor

TASK = "standard"
FAMILIES = (("train", 64), ("validation", 24))
FRESH = {"from_clone": False}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "ppo": {
        "all on": {}, "no critic warm-up": {"warm_up": 0}, "no pull": {"pull": 0.0},
        "critic at the actor's rate": {"critic_rate": 1e-4},
        "no warm-up, no pull": {"warm_up": 0, "pull": 0.0},
        "from scratch": {**FRESH, "learning_rate": 3e-4, "entropy_weight": 0.003},
        "from scratch, cost curriculum": {
            **FRESH, "learning_rate": 3e-4, "entropy_weight": 0.003, "curriculum": 0.5
        },
    },
    "dqn": {
        "all on": {}, "no pull": {"pull": 0.0}, "no margin loss": {"margin_weight": 0.0}, "no prefill": {"prefill": 0},
        "mixed replay, 25% prefilled": {"demonstration_share": 0.25},
        "no guidance at all": {"pull": 0.0, "margin_weight": 0.0, "prefill": 0}, "from scratch": FRESH,
    },
    "sac": {
        "all on": {}, "no pull": {"pull": 0.0}, "no prefill": {"prefill": 0}, "no critic warm-up": {"warm_up": 0},
        "mixed replay, 25% prefilled": {"demonstration_share": 0.25},
        "no guidance at all": {"pull": 0.0, "warm_up": 0, "prefill": 0}, "from scratch": FRESH,
    },
    "fitted_q": {"all on": {}, "no pull": {"pull": 0.0}},
}  # fmt: skip
STEPS = {"ppo": 400_000, "dqn": 150_000, "sac": 120_000, "fitted_q": 4_000_000}


@lru_cache(maxsize=1)
def _training_markets(seed: int) -> tuple[Any, TrainingMarkets, float]:
    extractor = Extractor.load("default")
    settings = AgentTrainingConfig().settings_for(extractor)
    parts = [synthetic_markets(TASK, family, count, 60, settings, progress=False) for family, count in FAMILIES]
    training_markets = TrainingMarkets(*(EmbeddedMarkets.of(extractor, part, progress=False) for part in parts))
    labelled = training_markets.validation.labelled
    best = roll(baselines.oracle(labelled, settings), labelled, blocks(labelled, VALIDATION_BLOCK), settings)
    clone = cloned(extractor, training_markets, settings, seed=seed, progress=False)
    return clone, training_markets, float(best.expected(labelled).mean())


def run_one(algorithm: str, variant: str, seed: int) -> dict[str, float]:
    """One training: its validation curve, as shares of the optimum."""
    use_one_thread()
    clone, training_markets, best = _training_markets(seed)
    config = replace(new_config(algorithm), steps=STEPS[algorithm], **VARIANTS[algorithm][variant])
    entry = ALGORITHMS[algorithm]
    learner = getattr(import_module(entry.module), entry.builder)(clone, training_markets.train, config, seed=seed)
    schedule = Schedule(config.steps, config.steps // 8, curriculum=getattr(config, "curriculum", 0.0))
    result = improve(learner, clone, (algorithm, entry.head), training_markets.validation, schedule, progress=False)
    curve = [value / best for _, value in result.validation]
    return {"start": curve[0], "lowest": min(curve), "end": curve[-1], "kept": max(curve)}


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/switches.json"))
    arguments = parser.parse_args()
    seeds = range(1 if arguments.quick else 2)
    result: dict[str, Any] = header() | {"task": TASK, "steps": STEPS, "algorithms": {}}
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            (algorithm, variant): [pool.submit(run_one, algorithm, variant, seed) for seed in seeds]
            for algorithm, variants in VARIANTS.items()
            for variant in variants
        }
        for (algorithm, variant), waiting in jobs.items():
            runs = [job.result() for job in waiting]
            line = {name: [run[name] for run in runs] for name in runs[0]}
            result["algorithms"].setdefault(algorithm, {})[variant] = line
            told = "  ".join(f"{name} {np.mean(values):+.3f}" for name, values in line.items())
            print(f"{algorithm:9s} {variant:30s} {told}", flush=True)
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
