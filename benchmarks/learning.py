"""What is learned, as a share of the causal optimum, on test markets that nothing else reads.

    python -m benchmarks.learning --quick      1 seed x 16 markets
    python -m benchmarks.learning              5 training seeds x 64 markets of 60 days, each task

One frozen extractor per task: the one that ships for "standard", and one made by the recipe `easy` for "easy" (or the
first of `--standard` and `--easy`; where more are given, clones on all of them are compared). Every other random number
of a training differs between seeds; the test markets are the same. Before anything is trained the ruler is checked: the
oracle must score exactly 1 and flat exactly 0. Intervals are a paired bootstrap over seeds and markets. Seeds run side
by side in processes of one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation import baselines
from agents.evaluation.rollout import Rollout
from agents.evaluation.scoring import score
from agents.evaluation.tables import ORACLE, baseline_policies, rollouts
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.trading_policy import TablePolicy, TradingPolicy
from agents.settings import TradingSettings
from agents.training.config import AgentTrainingConfig
from benchmarks.support.learning_methods import (
    BARS,
    CURRICULUM,
    DAYS,
    END_TO_END,
    FULL,
    NO_LABELS,
    QUICK,
    STEPS,
    Counts,
    clone_on,
    run_end_to_end,
    run_seed,
)
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.rules import exposures, grid, rule_returns
from cryptoenv.files.durable_files import write_figure
from pretrain import Extractor
from synthetic import regime_market, task_seeds

RULE_MARKETS = 32  #: training markets that the best of the rules is chosen on
TARGETS = {
    "easy": {"BC": 0.80, "BC (labels of bars)": 0.65, "BC -> ppo": 0.78, "BC -> dqn": 0.82, "BC -> sac": 0.72,
             "BC -> fitted_q": 0.82},
    "standard": {"BC": 0.58, "BC -> ppo": 0.60, "BC -> dqn": 0.60, "BC -> sac": 0.50, "BC -> fitted_q": 0.62},
}  # fmt: skip


def references(task: str, settings: TradingSettings, test: tuple[ExpertMarket, ...]) -> dict[str, Rollout]:
    """What needs no training: oracle, flat, random, buy and hold, tuned rules."""
    rule = baselines.tuned_cross(synthetic_markets(task, "validation", 16, DAYS, settings, progress=False), settings)
    policies = baseline_policies(test, settings, rule, 0)
    policies[f"best of {len(grid())} rules (tuned)"] = best_rule(task, settings, len(test))
    return rollouts(policies, test, settings, progress=False)


def best_rule(task: str, settings: TradingSettings, count: int) -> TradingPolicy:
    """The rule of the grid that earns most on training markets, on the task's first `count` test markets."""
    rules = grid()
    train = [regime_market(task, DAYS, seed) for seed in task_seeds(task, "train", RULE_MARKETS)]
    best = rules[int(rule_returns(train, rules, settings.turnover_cost).sum(axis=1).argmax())]
    tables = []
    for seed in task_seeds(task, "test", count):
        (exposure,) = exposures(regime_market(task, DAYS, seed).bars, [best])
        place = np.searchsorted(settings.positions, exposure)
        tables.append(np.repeat(place[:, None], len(settings.positions), axis=1))
    return TablePolicy(tables, settings.positions)


def check_ruler(results: dict[str, Rollout], test: tuple[ExpertMarket, ...]) -> None:
    """Raise RuntimeError unless the oracle scores exactly 1 and flat exactly 0."""
    optimum = results[ORACLE]
    for name, expected in ((ORACLE, 1.0), ("flat", 0.0)):
        value = score(results[name].expected(test), optimum.expected(test)).value
        if value != expected:
            raise RuntimeError(f"{name} scores {value}, not {expected}: no figure of this run can be trusted")


def summary(
    fixed: dict[str, Rollout],
    test: tuple[ExpertMarket, ...],
    seeds: list[dict[str, dict[str, Any]]],
    end_to_end: list[dict[str, Any]],
    clones: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """Scores with intervals of all methods on a task, and paired differences.

    Args:
        fixed: what needs no training.
        test: the markets.
        seeds: what `run_seed` gave.
        end_to_end: what `run_end_to_end` gave, of the first seeds.
        clones: (E, M) expected log-returns of clones on E extractors, or None.
    """
    best = {"expected": fixed[ORACLE].expected(test), "realised": fixed[ORACLE].realised}
    earned = {
        name: {"expected": rollout.expected(test)[None], "realised": rollout.realised[None]}
        for name, rollout in fixed.items()
    }
    trained: dict[str, list[dict[str, Any]]] = {name: [run[name] for run in seeds] for name in seeds[0]}
    trained[END_TO_END] = end_to_end
    for name, runs in trained.items():
        earned[name] = {kind: np.stack([run[kind] for run in runs]) for kind in ("expected", "realised")}
    methods: dict[str, Any] = {}
    for name, values in earned.items():
        methods[name] = {kind: asdict(score(values[kind], best[kind])) for kind in ("expected", "realised")}
        methods[name]["per_seed"] = [score(row, best["expected"]).value for row in values["expected"]]
        own = trained.get(name, [])
        plain = [key for key in own[0] if key not in ("expected", "realised")] if own else []
        methods[name] |= {key: [run[key] for run in own] for key in plain}
    if clones is not None:
        methods[f"BC ({len(clones)} extractors)"] = {
            "expected": asdict(score(clones, best["expected"])),
            "per_seed": [score(row, best["expected"]).value for row in clones],
        }
    pairs = [("BC + DAgger", "BC"), *((f"BC -> {a}", "BC") for a in ("ppo", "dqn", "sac", "fitted_q"))]
    pairs += [(f"BC ({BARS}) -> {a}", f"BC ({BARS})") for a in ("ppo", "dqn", "sac")]
    pairs += [(NO_LABELS, f"BC ({BARS})")]
    pairs += [("BC -> ppo", CURRICULUM), ("BC -> ppo", END_TO_END)]
    differences = {}
    for one, other in pairs:
        count = min(len(earned[one]["expected"]), len(earned[other]["expected"]))  # seeds that both have
        gained = earned[one]["expected"][:count] - earned[other]["expected"][:count]
        differences[f"{one} minus {other}"] = asdict(score(gained, best["expected"]))
    return {"methods": methods, "differences": differences, "oracle_per_day": float(best["expected"].mean() / DAYS)}


def report(task: str, results: dict[str, Any]) -> list[str]:
    """Print a task's table; returns what misses its target."""
    missed = []
    for name, line in results["methods"].items():
        expected = line["expected"]
        seeds = " ".join(f"{value:.3f}" for value in line["per_seed"])
        interval = f"{expected['value']:+.3f} [{expected['low']:+.3f}, {expected['high']:+.3f}]"
        kept = line.get("kept_step", [])  # the weights that did best on validation markets may be the clone's own
        same = f"  the clone itself in {kept.count(0)} of {len(kept)}" if kept.count(0) else ""
        print(f"{task:9s} {name:40s} {interval}  seeds {seeds}{same}")
        target = TARGETS[task].get(name)
        if target is not None and expected["value"] < target:
            missed.append(f"{task}: {name} scores {expected['value']:.3f}, its target is {target}")
    for name, value in results["differences"].items():
        print(f"{task:9s} {name:44s} {value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}]")
    return missed


def draw(result: dict[str, Any], path: Path) -> None:
    """Scores of all methods on both tasks as bars with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tasks = list(result["tasks"])
    figure, axes = pyplot.subplots(1, len(tasks), figsize=(5.6 * len(tasks), 4.2), layout="constrained", squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        methods = {k: v for k, v in result["tasks"][task]["methods"].items() if k not in (ORACLE, "flat", "random")}
        for row, line in enumerate(methods.values()):
            found = line["expected"]
            axis.barh(row, found["value"], color="#1f4e9c" if "cpu_seconds" in line else "#999999", height=0.65)
            axis.plot([found["low"], found["high"]], [row, row], color="black", linewidth=1.2)
        axis.set_yticks(range(len(methods)), methods)
        axis.invert_yaxis()
        axis.axvline(1.0, color="#2a9d5c", linewidth=1.2)
        axis.set_xlim(-0.1, 1.05)
        axis.set_title(f"{task}: share of the causal optimum", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    write_figure(figure, path, dpi=110)
    pyplot.close(figure)


def measured(pool: ProcessPoolExecutor, task: str, folders: Sequence[str], counts: Counts) -> dict[str, Any]:
    """All methods on a task: references and the ruler's check first, then trainings side by side."""
    extractors = [Extractor.load(folder) for folder in folders]
    settings = AgentTrainingConfig().settings_for(extractors[0])
    test = synthetic_markets(task, "test", counts.test_markets, DAYS, settings, progress=False)
    fixed = references(task, settings, test)
    check_ruler(fixed, test)
    seeds = [pool.submit(run_seed, task, folders[0], counts, seed) for seed in range(counts.seeds)]
    scratch = [pool.submit(run_end_to_end, task, folders[0], counts, seed) for seed in range(counts.end_to_end)]
    more = [pool.submit(clone_on, task, folder, counts) for folder in folders] if len(folders) > 1 else []
    clones = np.stack([job.result() for job in more]) if more else None
    found = summary(fixed, test, [job.result() for job in seeds], [job.result() for job in scratch], clones)
    kept = {"cpu_seconds": [extractor.provenance.metrics.get("cpu_seconds") for extractor in extractors]}
    return found | {"extractors": [extractor.hash for extractor in extractors], "pretraining": kept}


def main() -> int:
    """Run, print, write JSON and picture; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 seed x 16 markets instead of 5 x 64")
    parser.add_argument("--seeds", type=int, help="instead of 5")
    parser.add_argument("--tasks", nargs="+", default=["standard", "easy"])
    parser.add_argument("--standard", nargs="+", default=["default"], help="extractors for that task")
    parser.add_argument("--easy", nargs="+", default=["runs/pretrain-easy/artifact"], help="extractors for that task")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/learning.json"))
    arguments = parser.parse_args()
    counts = QUICK if arguments.quick else FULL
    counts = counts if arguments.seeds is None else replace(counts, seeds=arguments.seeds)
    folders = {"standard": arguments.standard, "easy": arguments.easy}
    began = perf_counter()
    result: dict[str, Any] = {"benchmark": "learning", **header(), "counts": asdict(counts), "steps": STEPS}
    result["tasks"] = {}
    missed = []
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        for task in arguments.tasks:
            result["tasks"][task] = measured(pool, task, folders[task], counts)
            missed += report(task, result["tasks"][task])
            result["seconds"] = perf_counter() - began
            write_result(arguments.out, result)
    draw(result, arguments.out.with_suffix(".png"))
    print(f"{result['seconds']:.0f} s, {arguments.out}")
    print("\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
