"""Segmentation: the segmenter, its parts taken away, rivals, and the exact filter that nobody can beat.

    python -m benchmarks.segmentation --part standard --minutes 9      again and again until all runs are kept
    python -m benchmarks.segmentation --part real --real DIR
    python -m benchmarks.segmentation --collect                        the kept runs as one JSON

Single runs (a part, a method, a seed) are kept in `--keep`; what is there is not run again. Parts: standard and easy
(synthetic, "test" seeds), real (the last fifth of bars, labels by hindsight within each part), joins (ways of joining
timeframes, and a GPT body), causality (on real bars), agents (a clone with and without its states).

Verified first: the truth as prediction has every score at its best, and statistics of a market add up to its scores.
Then measured, per timescale: classes (balanced accuracy, macro-F1, MCC, each class), probabilities (log loss, expected
calibration error), changes (boundary F1 within MARGIN bars, covering, delay, false changes per 1,000 bars), and the
delay at a fixed rate of false changes: each method with the state machine that, on validation markets, detects soonest
at no more than FALSE_SHARE of the labels' own changes. Trainings have the steps of the recipe (or of STEPS), one
thread; those that begin anew have equal CPU seconds. Intervals: 95%, bootstrap over seeds and markets, paired where two
are compared.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from benchmarks.support.segmentation_checks import agents, agents_collected, causality
from benchmarks.support.segmentation_collected import collected, keep_run, place_of
from benchmarks.support.segmentation_figures import AT_RATE, figures, statistics
from benchmarks.support.segmentation_rivals import absent, labels_of, rivals, rows_of
from benchmarks.support.segmentation_variants import (
    ANEW_SECONDS,
    CEILINGS,
    DESIGN_SECONDS,
    FALSE_SHARE,
    FILTER,
    FILTERS,
    FULL,
    JOIN_SECONDS,
    NO_MACHINE,
    SEED_DESIGN,
    SEEDS,
    STEPS,
    joins,
    variants,
)
from benchmarks.support.segmentation_worlds import DAYS, FILES, Parts, World
from pretrain import FitOptions
from pretrain.data.labelled_market import LabelledMarket
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.beginning import loaded_start
from pretrain.segmenter.classes import BARS, class_beliefs
from pretrain.segmenter.config import MachineChoice
from pretrain.segmenter.judging import Said
from pretrain.segmenter.machine_tuning import machine_of, quickest_machine
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.scores import MARGIN, change_scores, changes_of
from pretrain.segmenter.training import fit_segmenter
from synthetic import Information, filter_beliefs, regime_market

_BEGAN = (time.monotonic(), time.process_time())
NAMED_SAYS = Callable[[LabelledMarket, int], tuple[NDArray[Any], NDArray[Any] | None]]


def trained(recipe: SegmenterRecipe, parts: Parts, part: str, seed: int) -> Segmenter:
    """A segmenter by its recipe; those that begin anew in equal CPU time."""
    training = recipe.training
    if recipe.start is None:
        design = recipe == SegmenterRecipe.read("segmenter_seed")
        seconds = DESIGN_SECONDS if design else JOIN_SECONDS if part == "joins" else ANEW_SECONDS
        training = replace(training, max_seconds=seconds, steps=100_000, validate_every=25, patience=1_000)
    elif part in STEPS:
        training = replace(training, steps=STEPS[part], validate_every=20)
    start = None if recipe.start is None else loaded_start(recipe.start)
    return fit_segmenter(
        parts.train, parts.validation, recipe.architecture, training, choice=recipe.machine, balance=recipe.balance,
        seed=seed, options=FitOptions(progress=False), start=start,
    )  # fmt: skip


def judged(
    parts: Parts, say: NAMED_SAYS, *, named: bool = True, tune: bool = True, bars: int | None = None
) -> dict[str, NDArray[np.float64]]:
    """Per timescale, (M, L) statistics; and, where `tune`, those at the fixed rate of false changes beside them.

    `bars`: of each test market, the first so many alone.
    """
    out = {}
    test = parts.test if bars is None else [replace(item, stop=min(item.start + bars, item.end)) for item in parts.test]
    for s, column in enumerate(test[0].columns):
        classes = len(column.classes)
        said = [Said(*say(item, s), labels_of(item, s)) for item in test]
        out[column.name] = np.stack([statistics(one, classes, named=named) for one in said])
        if not (tune and named):
            continue
        held = []
        for item in parts.validation:
            states, chances = say(item, s)
            held.append((np.eye(classes)[states] if chances is None else chances, labels_of(item, s)))
        true = sum(changes_of(labels, labels).true for _, labels in held)
        rate = 1000.0 * FALSE_SHARE * true / sum(len(labels) for _, labels in held)
        machine = quickest_machine(machine_of(column.classes, MachineChoice()), held, rate)
        quick = []
        for one in said:
            chances = np.eye(classes)[one.states] if one.probabilities is None else one.probabilities
            quick.append(Said(machine.states_of(chances), None, one.labels))
        out[f"{column.name} {AT_RATE}"] = np.stack([statistics(one, classes) for one in quick])
    return out


def says_of(segmenter: Segmenter, *, machine: bool) -> NAMED_SAYS:
    """What a segmenter says of a market's rows: its states, or its likeliest classes with their probabilities."""
    kept: dict[int, NDArray[np.float64]] = {}

    def say(item: LabelledMarket, s: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if id(item) not in kept:
            table = segmenter.predict(item.market)
            first = len(item.market) - len(table)
            kept[id(item)] = segmenter.machines.probabilities(table)[item.start - first : item.end - first]
        chances = kept[id(item)][:, s]
        return (segmenter.machines.each[s].states_of(chances), None) if machine else (chances.argmax(axis=1), chances)

    return say


def run_part(world: World, keep: Path, until: float, *, rivals_too: bool = True) -> bool:
    """Run what is not kept yet; whether all is."""
    chosen = joins() if world.part == "joins" else variants(world.recipe, world.part)
    longest = 30.0
    for name, recipe in chosen.items():
        seeds = range(1 if name == SEED_DESIGN else SEEDS)
        todo = [seed for seed in seeds if not place_of(keep, world.part, f"{name}, {NO_MACHINE}", seed).exists()]
        parts = None
        for seed in todo:
            parts = parts or world.parts(recipe)
            began = time.monotonic()
            if began + longest > until:
                return False
            segmenter = trained(recipe, parts, world.part, seed)
            keep_run(keep, world.part, name, seed, judged(parts, says_of(segmenter, machine=True), tune=False))
            plain = f"{name}, {NO_MACHINE}"
            keep_run(keep, world.part, plain, seed, judged(parts, says_of(segmenter, machine=False)))
            print(f"{world.part}: {name}, seed {seed}: {segmenter.provenance.metrics}", flush=True)
            longest = max(longest, time.monotonic() - began)
            if name == FULL:
                segmenter.save(keep / f"{world.part}-{seed}")
    return rivals_too and _run_rivals(world, keep, until)


def _run_rivals(world: World, keep: Path, until: float) -> bool:
    gone = absent()
    methods = {} if world.part == "joins" else {n: one for n, one in rivals().items() if one.package not in gone}
    todo = [name for name in methods if not place_of(keep, world.part, name, 0).exists()]
    ceilings = [name for name in CEILINGS[world.part] if not place_of(keep, world.part, name, 0).exists()]
    if not todo and not ceilings:
        return True
    recipe = joins()["tokens"] if world.part == "joins" else world.recipe
    parts = world.parts(replace(recipe, teacher=BARS if world.part == "real" else "regimes"))
    for name in ceilings:
        keep_run(keep, world.part, name, 0, judged(parts, _believed(world, FILTERS[name]), tune=name == FILTER))
    for name in todo:
        began = time.monotonic()
        if began + 15.0 * _wall_per_cpu() > until:
            return False
        fitted = [methods[name].fit(parts.train, parts.validation, s) for s in range(len(parts.test[0].columns))]
        say = _remembered(fitted, shared=name.startswith("FLOSS"))
        keep_run(keep, world.part, name, 0, judged(parts, say, named=methods[name].named, bars=methods[name].bars))
        print(f"{world.part}: {name}: {time.monotonic() - began:.0f} s", flush=True)
    return True


def _believed(world: World, information: Information) -> NAMED_SAYS:
    """What a filter that knows the generator says of a synthetic market, told `information`."""
    kept: dict[int, NDArray[np.float64]] = {}

    def say(item: LabelledMarket, s: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if id(item) not in kept:
            task, seed = (item.market.origin.task, item.market.origin.seed)  # type: ignore[union-attr]
            sample = regime_market(task, DAYS, seed)
            scales = world.recipe.timescales
            kept[id(item)] = class_beliefs(sample, scales, lambda one: filter_beliefs(one, information))
        found = kept[id(item)][rows_of(item), s]
        return found.argmax(axis=1), found

    return say


def _wall_per_cpu() -> float:
    """Seconds of the clock that a second of work takes here, so far: other processes may want the cores, too."""
    return max(1.0, (time.monotonic() - _BEGAN[0]) / max(time.process_time() - _BEGAN[1], 1.0))


def _remembered(fitted: Sequence[Any], *, shared: bool) -> NAMED_SAYS:
    """What fitted rivals say, one per timescale; `shared`: the same for all of them."""
    kept: dict[tuple[int, int], Any] = {}

    def say(item: LabelledMarket, s: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        place = (id(item), 0 if shared else s)
        if place not in kept:
            kept[place] = fitted[s](item)
        found: tuple[NDArray[Any], NDArray[Any] | None] = kept[place]
        return found

    return say


def verify() -> None:
    """The truth said at every bar scores best, and the sums of markets give the scores of all."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 3, 200), rng.integers(5, 40, 200)).astype(np.int64)
    best = figures(statistics(Said(labels, np.eye(3)[labels], labels), 3), ("a", "b", "c"))
    right = ("accuracy", "balanced_accuracy", "macro_f1", "mcc", "boundary_f1", "covering")
    if any(abs(best[name] - 1.0) > 1e-9 for name in right) or best["delay"] or best["false_changes_per_1000"]:
        raise RuntimeError(f"the truth does not score best: {best}")
    states = np.where(rng.random(len(labels)) < 0.2, rng.integers(0, 3, len(labels)), labels)
    halves = [slice(0, 1_000), slice(1_000, None)]
    total = sum(statistics(Said(states[h], None, labels[h]), 3) for h in halves)
    told = figures(np.asarray(total), ("a", "b", "c"))
    scored = change_scores([changes_of(labels[h], states[h]) for h in halves])
    for name in ("boundary_f1", "covering", "delay", "false_changes_per_1000"):
        if abs(told[name] - scored[name]) > 1e-9:
            raise RuntimeError(f"{name} of the sums is {told[name]}, of the scores {scored[name]}")


def main() -> None:
    """Run a part, or collect what is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("standard", "easy", "real", "joins", "causality", "agents"))
    parser.add_argument("--minutes", type=float, default=9.0, help="nothing is begun that would end later")
    parser.add_argument("--no-rivals", action="store_true", help="the segmenters alone; the rivals another time")
    parser.add_argument("--real", type=Path, help="folder of the two files of real bars")
    parser.add_argument("--keep", type=Path, default=Path("runs/segmentation-kept"))
    parser.add_argument("--decisions", type=int, default=1_000)
    parser.add_argument("--streamed", type=int, default=10_000)
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/segmentation.json"))
    given = parser.parse_args()
    use_one_thread()
    verify()
    recipe = SegmenterRecipe.read("segmenter")
    if given.collect:
        _collect(given.keep, recipe, given.out)
        return
    until = time.monotonic() + 60.0 * given.minutes
    if given.part == "causality":
        artifact = given.keep / "standard-0"
        found = causality(given.real / FILES[0], artifact, given.decisions, given.streamed)
        for name, value in found.items():
            write_result(given.keep / f"causality-{name}.json", {name: value})
        print(found)
        return
    if given.part == "agents":
        print(
            "all is kept" if agents(given.keep, SEEDS, until) else "not all is kept yet: again, with the same command"
        )
        return
    real = given.part == "real"
    chosen = replace(recipe, teacher=BARS) if real else recipe
    done = run_part(World(given.part, chosen, given.real), given.keep, until, rivals_too=not given.no_rivals)
    print("all is kept" if done else "not all is kept yet: again, with the same command", flush=True)


def _collect(keep: Path, recipe: SegmenterRecipe, out: Path) -> None:
    parts = {part: collected(keep, part, recipe) for part in ("standard", "easy", "real", "joins")}
    told = [json.loads(path.read_text()) for path in sorted(keep.glob("causality-*.json"))]
    result = header() | {
        "margin_bars": MARGIN, "false_share": FALSE_SHARE, "seeds": SEEDS,
        "steps": STEPS, "cpu_seconds": {"begun anew": ANEW_SECONDS, "joins": JOIN_SECONDS, SEED_DESIGN: DESIGN_SECONDS},
        "rivals not run": [name for name in rivals() if not place_of(keep, "standard", name, 0).exists()], **parts,
        "agents": agents_collected(keep, SEEDS),
        "causality": {name: value for one in told for name, value in one.items()},
    }  # fmt: skip
    write_result(out, result)
    print(f"written: {out}")


if __name__ == "__main__":
    main()
