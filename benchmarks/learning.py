"""What is learned, as a share of the causal optimum, on test markets that nothing else reads.

    python -m benchmarks.learning --quick      1 seed x 16 markets
    python -m benchmarks.learning              5 training seeds x 64 markets of 60 days, each task

One frozen extractor per task: the one that ships for "standard", and one made by the recipe `easy` (or given by
`--easy-extractor`) for "easy". Every other random number of a training differs between seeds; the test markets are the
same. Before anything is trained the ruler is checked: the oracle must score exactly 1 and flat exactly 0. Intervals are
a paired bootstrap over seeds and markets. Seeds run side by side in processes of one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents import baselines
from agents.agent import Agent
from agents.dagger import DaggerConfig
from agents.demonstrations import collect
from agents.evaluation import ORACLE, baseline_policies, rollouts
from agents.heads import HEADS, bind, copy_of
from agents.improvement import Schedule, improve
from agents.material import EmbeddedMarkets, Material
from agents.rollout import Rollout, roll, whole_markets
from agents.scoring import score
from agents.settings import TradingSettings
from agents.taught_market import TaughtMarket, synthetic_markets
from agents.threads import use_one_thread
from agents.training import ALGORITHMS, TrainingConfig, cloned, new_config
from benchmarks.machine import header
from pretrain import Extractor
from pretrain.lessons import bar_labels
from synthetic import regime_market

DAYS = 60
TARGETS = {
    "easy": {"BC": 0.80, "BC (labels of bars)": 0.65, "BC -> ppo": 0.78, "BC -> dqn": 0.82, "BC -> sac": 0.72,
             "BC -> fitted_q": 0.82},
    "standard": {"BC": 0.58, "BC -> ppo": 0.60, "BC -> dqn": 0.60, "BC -> sac": 0.50, "BC -> fitted_q": 0.62},
}  # fmt: skip
#: Env steps (bar updates for fitted Q) of each algorithm.
STEPS = {"ppo": 800_000, "dqn": 150_000, "sac": 240_000, "fitted_q": 6_000_000}
ALONE = 24_000_000  #: bar updates of fitted Q that learns from rewards alone
BARS = "labels of bars"
NO_LABELS = "fitted_q alone (no clone, no labels)"


@dataclass(frozen=True)
class Counts:
    """How much is run."""

    seeds: int
    test_markets: int
    train_markets: int
    validation_markets: int


QUICK, FULL = Counts(1, 16, 96, 16), Counts(5, 64, 256, 24)


def relabelled(taught: Sequence[TaughtMarket], task: str, settings: TradingSettings) -> tuple[TaughtMarket, ...]:
    """The same markets with labels that need no truth; scores still use it."""
    found = []
    for t in taught:
        bars = regime_market(task, DAYS, int(t.market.name.rsplit("-", 1)[1])).bars
        labels, kind = bar_labels("horizon", bars, settings.turnover_cost, settings.positions)
        found.append(replace(t, labels=labels, label_kind=kind))
    return tuple(found)


@lru_cache(maxsize=1)
def material(task: str, folder: str, counts: Counts) -> tuple[Extractor, Material, Material, EmbeddedMarkets]:
    """Extractor, training and validation markets with the oracle's labels and with labels of bars, test markets."""
    extractor = Extractor.load(folder)
    settings = TrainingConfig().settings_for(extractor)
    train, validation, test = (
        synthetic_markets(task, family, count, DAYS, settings, progress=False)
        for family, count in (
            ("train", counts.train_markets), ("validation", counts.validation_markets), ("test", counts.test_markets)
        )
    )  # fmt: skip
    oracle = Material(*(EmbeddedMarkets.of(extractor, part, progress=False) for part in (train, validation)))
    bars = replace(oracle, train=replace(oracle.train, taught=relabelled(train, task, settings)))
    return extractor, oracle, bars, EmbeddedMarkets.of(extractor, test, progress=False)


def run_seed(task: str, folder: str, counts: Counts, seed: int) -> dict[str, dict[str, Any]]:
    """Every method trained with one seed: what it earned on the test markets, seconds, difference from the clone."""
    use_one_thread()
    extractor, oracle, bars, test = material(task, folder, counts)
    settings = TrainingConfig().settings_for(extractor)
    found: dict[str, dict[str, Any]] = {}

    def judged(name: str, agent: Agent, began: float, further: dict[str, float]) -> None:
        rollout = roll(agent.on(test.taught, test.table), test.taught, whole_markets(test.taught), settings)
        found[name] = {
            "expected": rollout.expected(test.taught), "realised": rollout.realised,
            "turnover": float(rollout.turnover.sum(axis=0).mean() / DAYS), "cpu_seconds": process_time() - began,
            **further,
        }  # fmt: skip
        print(f"{task} seed {seed} {name}: {found[name]['expected'].mean():.4f}", flush=True)

    def improved(name: str, clone: Agent, markets: Material, algorithm: str, **changes: Any) -> None:
        began = process_time()
        config = replace(new_config(algorithm), **({"steps": STEPS[algorithm]} | changes))
        entry = ALGORITHMS[algorithm]
        learner = getattr(import_module(entry.module), entry.builder)(clone, markets.train, config, seed=seed)
        schedule = Schedule(config.steps, config.steps // 8, curriculum=getattr(config, "curriculum", 0.0))
        result = improve(learner, clone, (algorithm, entry.head), markets.validation, schedule, progress=False)
        seconds = process_time() - began
        last = difference_at_end(learner, clone, entry.head, markets.validation)
        held = copy_of(getattr(learner, "policy_to_judge", learner.policy))
        at_end = replace(result.agent, policy=held).on(test.taught, test.table)
        earned = roll(at_end, test.taught, whole_markets(test.taught), settings).expected(test.taught)
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
    for algorithm, changes in (("ppo", {}), ("dqn", {"margin_weight": 0.0}), ("sac", {})):
        improved(f"BC ({BARS}) -> {algorithm}", plain, bars, algorithm, **changes)
    improved(NO_LABELS, plain, bars, "fitted_q", pull=0.0, steps=ALONE)
    improved("ppo from scratch, curriculum", clone, oracle, "ppo", from_clone=False, curriculum=0.5, steps=400_000,
             learning_rate=3e-4, entropy_weight=0.003)  # fmt: skip
    return found


def clone_on(task: str, folder: str, counts: Counts) -> NDArray[np.float64]:
    """(M,) what a clone on another extractor earns: how much hangs on the extractor's own seed."""
    use_one_thread()
    extractor, oracle, _, test = material(task, folder, counts)
    settings = TrainingConfig().settings_for(extractor)
    agent = cloned(extractor, oracle, settings, seed=0, progress=False)
    return roll(agent.on(test.taught, test.table), test.taught, whole_markets(test.taught), settings).expected(
        test.taught
    )


def difference_at_end(learner: Any, clone: Agent, head: str, validation: EmbeddedMarkets) -> dict[str, float]:
    """KL to the clone and share of changed actions of the last weights, not of the ones that were kept."""
    import torch

    states = collect(validation.taught, clone.settings, samples=4096, seed=0, num_envs=64, progress=False)
    observation = {"index": torch.from_numpy(states.index), "account": torch.from_numpy(states.account)}
    policies = [copy_of(getattr(learner, "policy_to_judge", learner.policy)), copy_of(clone.policy)]
    with torch.no_grad():
        for policy in policies:
            bind(policy, validation.table)
        mine, theirs = (
            HEADS[kind].preferences(policy, observation, clone.settings.positions).log_softmax(dim=1)
            for kind, policy in zip((head, clone.head), policies, strict=True)
        )
    return {
        "end_kl_to_clone": float((theirs.exp() * (theirs - mine)).sum(dim=1).mean()),
        "end_changed_actions": float((mine.argmax(dim=1) != theirs.argmax(dim=1)).float().mean()),
    }


def references(task: str, settings: TradingSettings, test: tuple[TaughtMarket, ...]) -> dict[str, Rollout]:
    """What needs no training: oracle, flat, random, buy and hold, the tuned rule."""
    rule = baselines.tuned_cross(synthetic_markets(task, "validation", 16, DAYS, settings, progress=False), settings)
    return rollouts(baseline_policies(test, settings, rule, 0), test, settings, progress=False)


def check_ruler(found: dict[str, Rollout], test: tuple[TaughtMarket, ...]) -> None:
    """Raise RuntimeError unless the oracle scores exactly 1 and flat exactly 0."""
    optimum = found[ORACLE]
    for name, expected in ((ORACLE, 1.0), ("flat", 0.0)):
        value = score(found[name].expected(test), optimum.expected(test)).value
        if value != expected:
            raise RuntimeError(f"{name} scores {value}, not {expected}: no figure of this run can be trusted")


def summary(
    task: str,
    seeds: list[dict[str, dict[str, Any]]],
    settings: TradingSettings,
    count: int,
    clones: NDArray[np.float64] | None,
) -> dict[str, Any]:
    """Scores with intervals of all methods on a task, and paired differences.

    `clones`: (E, M) expected log-returns of clones on E extractors, or None.
    """
    test = synthetic_markets(task, "test", count, DAYS, settings, progress=False)
    fixed = references(task, settings, test)
    check_ruler(fixed, test)
    best = {"expected": fixed[ORACLE].expected(test), "realised": fixed[ORACLE].realised}
    earned = {
        name: {"expected": rollout.expected(test)[None], "realised": rollout.realised[None]}
        for name, rollout in fixed.items()
    }
    for name in seeds[0]:
        earned[name] = {kind: np.stack([run[name][kind] for run in seeds]) for kind in ("expected", "realised")}
    methods: dict[str, Any] = {}
    for name, values in earned.items():
        methods[name] = {kind: asdict(score(values[kind], best[kind])) for kind in ("expected", "realised")}
        methods[name]["per_seed"] = [score(row, best["expected"]).value for row in values["expected"]]
        if name in seeds[0]:
            plain = [key for key in seeds[0][name] if key not in ("expected", "realised")]
            methods[name] |= {key: [run[name][key] for run in seeds] for key in plain}
    if clones is not None:
        methods[f"BC ({len(clones)} extractors)"] = {
            "expected": asdict(score(clones, best["expected"])),
            "per_seed": [score(row, best["expected"]).value for row in clones],
        }
    pairs = [("BC + DAgger", "BC"), *((f"BC -> {a}", "BC") for a in ("ppo", "dqn", "sac", "fitted_q"))]
    pairs += [(f"BC ({BARS}) -> {a}", f"BC ({BARS})") for a in ("ppo", "dqn", "sac")]
    pairs += [(NO_LABELS, f"BC ({BARS})")]
    pairs += [("BC -> ppo", "ppo from scratch, curriculum")]
    differences = {
        f"{one} minus {other}": asdict(score(earned[one]["expected"] - earned[other]["expected"], best["expected"]))
        for one, other in pairs
    }
    return {"methods": methods, "differences": differences, "oracle_per_day": float(best["expected"].mean() / DAYS)}


def report(task: str, found: dict[str, Any]) -> list[str]:
    """Print a task's table; returns what misses its target."""
    missed = []
    for name, line in found["methods"].items():
        expected = line["expected"]
        seeds = " ".join(f"{value:.3f}" for value in line["per_seed"])
        interval = f"{expected['value']:+.3f} [{expected['low']:+.3f}, {expected['high']:+.3f}]"
        print(f"{task:9s} {name:32s} {interval}  seeds {seeds}")
        target = TARGETS[task].get(name)
        if target is not None and expected["value"] < target:
            missed.append(f"{task}: {name} scores {expected['value']:.3f}, its target is {target}")
    for name, value in found["differences"].items():
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
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> int:
    """Run, print, write JSON and picture; the exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 seed x 16 markets instead of 5 x 64")
    parser.add_argument("--seeds", type=int, help="instead of 5")
    parser.add_argument("--tasks", nargs="+", default=["standard", "easy"])
    parser.add_argument(
        "--easy-extractor", nargs="+", default=["runs/pretrain-easy/artifact"],
        help="one for the rows; of all of them the clones are compared, too",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/learning.json"))
    arguments = parser.parse_args()
    counts = QUICK if arguments.quick else FULL
    counts = counts if arguments.seeds is None else replace(counts, seeds=arguments.seeds)
    folders = {"standard": ["default"], "easy": arguments.easy_extractor}
    began = perf_counter()
    result: dict[str, Any] = {"benchmark": "learning", **header(), "counts": asdict(counts), "steps": STEPS}
    result["tasks"] = {}
    missed = []
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            task: [pool.submit(run_seed, task, folders[task][0], counts, seed) for seed in range(counts.seeds)]
            for task in arguments.tasks
        }
        more = {t: [pool.submit(clone_on, t, folder, counts) for folder in folders[t]] for t in arguments.tasks}
        for task, waiting in jobs.items():
            extractor = Extractor.load(folders[task][0])
            settings = TrainingConfig().settings_for(extractor)
            clones = np.stack([job.result() for job in more[task]]) if len(more[task]) > 1 else None
            seeds = [job.result() for job in waiting]
            result["tasks"][task] = summary(task, seeds, settings, counts.test_markets, clones)
            result["tasks"][task]["extractor"] = extractor.hash
            missed += report(task, result["tasks"][task])
            result["seconds"] = perf_counter() - began
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    draw(result, arguments.out.with_suffix(".png"))
    print(f"{result['seconds']:.0f} s, {arguments.out}")
    print("\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
