"""What is learned, as a share of the causal optimum, on test markets that nothing else reads.

    python -m benchmarks.learning --quick      3 training seeds x 32 markets, one extractor per seed
    python -m benchmarks.learning              5 training seeds x 64 markets

Each seed pretrains its own extractor, clones, and goes on with PPO; every random number in training differs between
seeds, the test markets are the same. Before anything is trained the ruler is checked: the oracle must score exactly 1
and flat exactly 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from agents import baselines
from agents.demo import DemoConfig, pretrained
from agents.evaluation import ORACLE, agent_policies, baseline_policies, rollouts
from agents.rollout import Rollout
from agents.scoring import score
from agents.taught_market import TaughtMarket, synthetic_markets
from agents.training import learn
from benchmarks.machine import header

TASK = "easy"
TARGETS = {"BC": 0.70, "BC -> PPO": 0.75}


@dataclass(frozen=True)
class Counts:
    """How much is run."""

    seeds: int
    markets: int


QUICK, FULL = Counts(seeds=3, markets=32), Counts(seeds=5, markets=64)


def measure(counts: Counts, config: DemoConfig) -> dict[str, Any]:
    """Train `counts.seeds` times, and score every method on the same test markets.

    Returns:
        `methods`: name -> expected and realised score with intervals, per-seed scores; `seconds` per seed.

    Raises:
        RuntimeError: the ruler is off: the oracle does not score 1, or flat does not score 0.
    """
    settings, training = config.settings, config.training
    extractor_markets = synthetic_markets(TASK, "extractor", config.extractor_markets, config.days, settings)
    train = synthetic_markets(TASK, "train", training.train_markets, config.days, settings)
    validation = synthetic_markets(TASK, "validation", training.validation_markets, config.days, settings)
    test = synthetic_markets(TASK, "test", counts.markets, config.days, settings)
    rule = baselines.tuned_cross(validation, settings)
    found = {
        name: [rollout]
        for name, rollout in rollouts(baseline_policies(test, settings, rule, 0), test, settings).items()
    }
    check_ruler(found, test)
    seconds = []
    for seed in range(counts.seeds):
        began = perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            extractor = pretrained(extractor_markets, validation, config, seed=seed, out=Path(folder))
            trained = learn("ppo", extractor, (train, validation), training, seed=seed)
        seconds.append(perf_counter() - began)
        policies = agent_policies({"BC": trained.clone, "BC -> PPO": trained.agent}, test)
        for name, rollout in rollouts(policies, test, settings).items():
            found.setdefault(name, []).append(rollout)
    optimum = found[ORACLE][0]
    methods = {name: _scores(runs, optimum, test) for name, runs in found.items()}
    return {"methods": methods, "seconds_per_seed": seconds, "ema_cross": asdict(rule)}


def check_ruler(found: dict[str, list[Rollout]], test: tuple[TaughtMarket, ...]) -> None:
    """Raise RuntimeError unless the oracle scores exactly 1 and flat exactly 0."""
    optimum = found[ORACLE][0]
    for name, expected in ((ORACLE, 1.0), ("flat", 0.0)):
        value = score(found[name][0].expected(test), optimum.expected(test)).value
        if value != expected:
            raise RuntimeError(f"{name} scores {value}, not {expected}: no figure of this run can be trusted")


def _scores(runs: list[Rollout], optimum: Rollout, test: tuple[TaughtMarket, ...]) -> dict[str, Any]:
    """Expected and realised score with intervals over seeds and markets, and each seed's expected score."""
    expected = np.stack([run.expected(test) for run in runs])
    realised = np.stack([run.realised for run in runs])
    return {
        "expected": asdict(score(expected, optimum.expected(test))),
        "realised": asdict(score(realised, optimum.realised)),
        "per_seed": [score(row, optimum.expected(test)).value for row in expected],
    }


def main() -> int:
    """Run, print, write JSON; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 seeds x 32 markets instead of 5 x 64")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/learning.json"))
    arguments = parser.parse_args()
    counts = QUICK if arguments.quick else FULL
    config = DemoConfig()
    result = {"benchmark": "learning", **header(), "counts": asdict(counts), "config": asdict(config)}
    began = perf_counter()
    result |= measure(counts, config)
    result["seconds"] = perf_counter() - began
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    missed = []
    for name, line in result["methods"].items():
        expected, realised = line["expected"], line["realised"]
        seeds = ", ".join(f"{value:.3f}" for value in line["per_seed"])
        print(
            f"{name:20s} expected {expected['value']:+.3f} [{expected['low']:+.3f}, {expected['high']:+.3f}]   "
            f"realised {realised['value']:+.3f} [{realised['low']:+.3f}, {realised['high']:+.3f}]   seeds {seeds}"
        )
        if expected["value"] < TARGETS.get(name, -np.inf):
            missed.append(f"{name} scores {expected['value']:.3f}, its target is {TARGETS[name]}")
    print(f"{result['seconds']:.0f} s, {arguments.out}")
    print("\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
