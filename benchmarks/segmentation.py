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
import io
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
from benchmarks.support.segmentation_figures import (
    AT_RATE,
    difference,
    figures,
    share_of_ceiling,
    statistics,
    with_intervals,
)
from benchmarks.support.segmentation_rivals import absent, labels_of, rivals, rows_of
from benchmarks.support.segmentation_worlds import DAYS, FILES, Parts, World
from cryptoenv.files.durable_files import make_folder, write_file
from pretrain import FitOptions
from pretrain.data.labelled_market import LabelledMarket
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.beginning import loaded_start
from pretrain.segmenter.classes import BARS, class_beliefs
from pretrain.segmenter.config import MachineChoice, SegmenterFeatures
from pretrain.segmenter.judging import Said
from pretrain.segmenter.machine_tuning import machine_of, quickest_machine
from pretrain.segmenter.recipe import SegmenterRecipe
from pretrain.segmenter.scores import MARGIN, change_scores, changes_of
from pretrain.segmenter.training import fit_segmenter
from synthetic import EVERYTHING, OBSERVABLE, TASKS, Information, filter_beliefs, regime_market

SEEDS = 3
#: CPU seconds of what begins anew: parts taken away, each way of joining, the founding design.
ANEW_SECONDS, JOIN_SECONDS, DESIGN_SECONDS = 30.0, 8.0, 60.0
STEPS = {"easy": 60, "real": 60}  #: of each training that does not, where they are not the recipe's
FALSE_SHARE = 0.25  #: false changes per bar of the fixed rate, in units of the labels' own changes
FULL, NO_PURSUIT, NO_MACHINE = "segmenter", "without pursuit", "without machine"
ANEW, ONE_SCALE, SEED_DESIGN = "begun anew", "one timescale, begun anew", "founding design"
FILTER = "exact filter"
#: What nobody can beat; where markets have a latent level of volatility, the filter is given it, and no trader is.
FILTERS = {
    FILTER: EVERYTHING, "exact filter, the volatility level estimated": OBSERVABLE,
    "exact filter without volume": Information(volume=False), "exact filter of 256 bars": Information(memory=256),
    "exact filter of 64 bars": Information(memory=64),
}  # fmt: skip
CEILINGS = {"standard": tuple(FILTERS), "easy": (FILTER,), "joins": (FILTER,), "real": ()}
_BEGAN = (time.monotonic(), time.process_time())
NAMED_SAYS = Callable[[LabelledMarket, int], tuple[NDArray[Any], NDArray[Any] | None]]


def variants(recipe: SegmenterRecipe, part: str) -> dict[str, SegmenterRecipe]:
    """The segmenter with parts taken away; of all parts but "standard", the pursuit alone."""
    plain = replace(recipe.reads, pursuit=False)
    anew = SegmenterRecipe.read("segmenter_anew")
    config = anew.architecture
    alone = replace(config, timeframes=config.timeframes[:1], window=config.window[:1], patches=config.patches[:1])
    single = SegmenterFeatures(pursuit_window=anew.reads.pursuit_window[:1])
    both = {FULL: recipe, NO_PURSUIT: replace(recipe, reads=plain)}
    if part != "standard":
        return both
    return both | {
        ANEW: anew,
        ONE_SCALE: replace(anew, architecture=alone, reads=single),
    }


def joins() -> dict[str, SegmenterRecipe]:
    """Ways of joining timeframes, and bodies, of one size, begun anew and without a memory; and the founding design."""
    plain = SegmenterRecipe.read("segmenter_anew")
    small = replace(plain.architecture, window=(32, 32, 32), patches=(4, 4, 4))
    changes = {
        "tokens": {}, "separate": {"join": "separate"}, "concatenation": {"join": "concatenation"},
        "tokens, GPT body": {"encoder": "gpt"},
    }  # fmt: skip
    named = {
        name: replace(plain, architecture=replace(small, **changed))  # type: ignore[arg-type]
        for name, changed in changes.items()
    }
    return named | {SEED_DESIGN: SegmenterRecipe.read("segmenter_seed")}


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
        todo = [seed for seed in seeds if not _path(keep, world.part, f"{name}, {NO_MACHINE}", seed).exists()]
        parts = None
        for seed in todo:
            parts = parts or world.parts(recipe)
            began = time.monotonic()
            if began + longest > until:
                return False
            segmenter = trained(recipe, parts, world.part, seed)
            _keep(keep, world.part, name, seed, judged(parts, says_of(segmenter, machine=True), tune=False))
            plain = f"{name}, {NO_MACHINE}"
            _keep(keep, world.part, plain, seed, judged(parts, says_of(segmenter, machine=False)))
            print(f"{world.part}: {name}, seed {seed}: {segmenter.provenance.metrics}", flush=True)
            longest = max(longest, time.monotonic() - began)
            if name == FULL:
                segmenter.save(keep / f"{world.part}-{seed}")
    return rivals_too and _run_rivals(world, keep, until)


def _run_rivals(world: World, keep: Path, until: float) -> bool:
    methods = {} if world.part == "joins" else rivals()
    todo = [name for name in methods if not _path(keep, world.part, name, 0).exists()]
    ceilings = [name for name in CEILINGS[world.part] if not _path(keep, world.part, name, 0).exists()]
    if not todo and not ceilings:
        return True
    recipe = joins()["tokens"] if world.part == "joins" else world.recipe
    parts = world.parts(replace(recipe, teacher=BARS if world.part == "real" else "regimes"))
    for name in ceilings:
        _keep(keep, world.part, name, 0, judged(parts, _believed(world, FILTERS[name]), tune=name == FILTER))
    for name in todo:
        began = time.monotonic()
        if began + 15.0 * _wall_per_cpu() > until:
            return False
        fitted = [methods[name].fit(parts.train, parts.validation, s) for s in range(len(parts.test[0].columns))]
        say = _remembered(fitted, shared=name.startswith("FLOSS"))
        _keep(keep, world.part, name, 0, judged(parts, say, named=methods[name].named, bars=methods[name].bars))
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


def _path(keep: Path, part: str, name: str, seed: int) -> Path:
    plain = "".join(c if c.isalnum() else "-" for c in name)
    return keep / f"{part}--{plain}--{seed}.npz"


def _keep(keep: Path, part: str, name: str, seed: int, found: dict[str, NDArray[np.float64]]) -> None:
    make_folder(keep)
    content = io.BytesIO()
    np.savez(content, **found)  # type: ignore[arg-type]
    write_file(_path(keep, part, name, seed), content.getvalue())


def _kept(keep: Path, part: str, name: str) -> dict[str, NDArray[np.float64]] | None:
    """By timescale (R, M, L) of all kept seeds."""
    found = [np.load(path) for seed in range(SEEDS) if (path := _path(keep, part, name, seed)).exists()]
    return {key: np.stack([one[key] for one in found]) for key in found[0].files} if found else None


def collected(keep: Path, part: str, recipe: SegmenterRecipe) -> dict[str, Any]:
    """What the kept runs of a part say."""
    named = {name: rival.named for name, rival in rivals().items()}
    chosen = joins() if part == "joins" else variants(recipe, part)
    methods = [m for name in chosen for m in (name, f"{name}, {NO_MACHINE}")] + ([] if part == "joins" else list(named))
    methods += CEILINGS[part]
    classes = ("bear", "consolidation", "bull")
    runs = {name: found for name in methods if (found := _kept(keep, part, name)) is not None}
    table, worth = [], []
    for name, by_scale in runs.items():
        for scale in (scale.name for scale in recipe.timescales):
            row = with_intervals(by_scale[scale], classes, named=named.get(name, True))
            quick = by_scale.get(f"{scale} {AT_RATE}")
            if quick is not None:
                at = with_intervals(quick, classes)
                row |= {AT_RATE: at["delay"], "false_changes_at_fixed_rate": at["false_changes_per_1000"]}
            row |= {"seeds": len(by_scale[scale]), "markets": by_scale[scale].shape[1]}
            table.append({"timescale": scale, "method": name, **row})
    for scale in (scale.name for scale in recipe.timescales):
        worth += _worth(runs, scale, classes)
    return {"methods": table, "differences": worth}


def _worth(runs: dict[str, Any], scale: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Paired differences, and the share of the filter's accuracy above chance."""
    out: list[dict[str, Any]] = []
    plain = f"{FULL}, {NO_MACHINE}"
    pairs = [
        ("pursuit's worth", plain, f"{NO_PURSUIT}, {NO_MACHINE}", "macro_f1"),
        ("start's worth", plain, f"{ANEW}, {NO_MACHINE}", "macro_f1"),
        ("several timescales' worth", f"{ANEW}, {NO_MACHINE}", f"{ONE_SCALE}, {NO_MACHINE}", "macro_f1"),
        ("machine's worth", FULL, plain, "macro_f1"), ("machine's worth", FULL, plain, "false_changes_per_1000"),
        ("machine's worth", FULL, plain, "delay"),
        ("against boosting", plain, "histogram gradient boosting", "macro_f1"),
    ]  # fmt: skip
    for what, a, b, name in pairs:
        if a in runs and b in runs:
            told = difference(runs[a][scale], runs[b][scale], classes, name)
            out.append({"timescale": scale, "what": what, "figure": name, **told})
    if FILTER in runs:
        chance = _most_common(runs[FILTER][scale], len(classes))
        ways = [] if SEED_DESIGN not in runs else [f"{name}, {NO_MACHINE}" for name in joins()]
        rest = (f"{ANEW}, {NO_MACHINE}", "histogram gradient boosting", "logistic regression")
        for name in (plain, FULL, *list(FILTERS)[1:], *rest, *ways):
            if name not in runs:
                continue
            told = share_of_ceiling(runs[name][scale], runs[FILTER][scale], chance, classes)
            out.append({"timescale": scale, "what": f"share of the filter's accuracy above chance: {name}", **told})
    return out


def _most_common(stats: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    """Statistics whose confusion says the most common label of all markets at every bar."""
    counts = stats[..., : classes * classes].reshape(*stats.shape[:2], classes, classes).sum(axis=3)
    best = int(counts.sum(axis=(0, 1)).argmax())
    out = np.zeros_like(stats)
    for label in range(classes):
        out[..., label * classes + best] = counts[..., label]
    return out


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
        "tasks": sorted(TASKS), "absent": absent(), **parts,
        "agents": agents_collected(keep, SEEDS),
        "causality": {name: value for one in told for name, value in one.items()},
    }  # fmt: skip
    write_result(out, result)
    print(f"written: {out}")


if __name__ == "__main__":
    main()
