"""What pretraining gives: scores of the extractor's own decisions, and encoders compared at equal CPU time.

    python -m benchmarks.pretraining --quick      1 seed, 45 CPU seconds of training each, 16 test markets
    python -m benchmarks.pretraining              3 seeds, 90 CPU seconds of training each, 48 test markets
    python -m benchmarks.pretraining --hybrid --seeds 0 --contenders hybrid LSTM
                                                  the hybrid, its parts taken away, and what it is compared with, 45
                                                  CPU seconds each, 4 test markets: it reads few windows a second
    python -m benchmarks.pretraining --stream     the time of a bar of these as bars close
    python -m benchmarks.pretraining --full-only --full "three seeds" default runs/1/artifact runs/2/artifact
                                                  only what extractors that whole recipes made are worth

Every extractor is trained on labels of "extractor" seeds, its weights and hysteresis are chosen on "validation" seeds,
and it is scored through the env on "test" seeds, which nothing else reads. Intervals are over seeds and markets. A
learning curve that still falls by more than 1% over its last third is marked unconverged. Trainings run side by side
in processes of one thread; their budget is CPU time, so that neighbours do not matter. What single runs of the same
code gave is kept, so that long ones can be made in pieces.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import roll, whole_markets
from agents.evaluation.scoring import score
from agents.evaluation.tables import ORACLE
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.settings import TradingSettings
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.files.durable_files import make_folder, write_file
from cryptoenv.market.market import Market
from pretrain import Extractor, ExtractorConfig, FitOptions, LabelledMarket, Recipe, fit_extractor
from pretrain.data.scaler import RobustScaler
from pretrain.data.teachers import Teacher, labelled_samples
from pretrain.extractor.model import ExtractorModel
from pretrain.fitting.provenance import Provenance, versions
from pretrain.forecaster.recipe import ForecasterRecipe
from pretrain.networks.encoder_config import HYBRID_PARTS

UNCONVERGED = 0.01  #: relative gain of the validation loss over the last third that counts as still improving
BATCH = 512  #: windows per step of encoders without a memory
#: The memory and batch of ninety seconds' training; the recipe's own are for forty minutes.
SMALL_MEMORY, SMALL_BATCH = 64, 384
#: Learning rate of encoders without a memory, which the recipe's is too high for.
RATE = 0.003
FIRST, FLAT, LSTM, HYBRID = "Transformer with memory", "MLP on flattened windows", "LSTM", "hybrid"
#: Of which differences are scored, paired, where both were run with the same seeds.
PAIRS = (
    (FIRST, FLAT), *((HYBRID, name) for name in (FIRST, LSTM, FLAT, *(f"{HYBRID}, no {part}" for part in HYBRID_PARTS)))
)  # fmt: skip
STREAMED = 30  #: bars of which the time of each is taken


@dataclass(frozen=True)
class Counts:
    """How much is run: training seeds, CPU seconds of each training, markets to learn from and to test on."""

    seeds: int
    seconds: float
    markets: int
    test_markets: int


QUICK, FULL = Counts(1, 45.0, 128, 16), Counts(3, 90.0, 192, 48)
#: Of the part about the hybrid, which takes a minute to read eight markets.
OF_HYBRID, HYBRID_VALIDATION = Counts(3, 45.0, 48, 4), 2


@dataclass(frozen=True)
class Contender:
    """An architecture, the labels it is cloned from, and how much it reads at once and to validate."""

    architecture: ExtractorConfig
    teacher: str = "oracle"
    batch: int = BATCH
    validate_every: int = 500
    validation_windows: int | None = None


def contenders(recipe: Recipe, task: str) -> dict[str, Contender]:
    """The recipe's Transformer, and what it is compared with on a task."""
    layout, batch = replace(recipe.architecture, memory=SMALL_MEMORY), SMALL_BATCH
    plain = replace(layout, memory=0, window=(64, *layout.window[1:]), patches=(8, *layout.patches[1:]))
    found = {FIRST: Contender(layout, batch=batch, validate_every=100)}
    if task != recipe.task:
        return found
    one: dict[str, Any] = {"timeframes": layout.timeframes[:1], "window": layout.window[:1]}
    narrow = replace(layout, patches=layout.patches[:1], **one)
    return found | {
        "Transformer without memory": Contender(plain),
        FLAT: Contender(replace(plain, encoder="flat", feedforward=256)),
        LSTM: Contender(replace(plain, encoder="lstm")),
        "temporal convolution": Contender(replace(plain, encoder="convolution")),
        "Transformer with memory, base timeframe only": Contender(narrow, batch=batch, validate_every=100),
        "Transformer with memory, labels of bars alone": Contender(layout, "horizon", batch, 100),
    }


def hybrids(recipe: Recipe) -> dict[str, Contender]:
    """The hybrid with the numbers of its own recipe, without each of its parts, and what it is compared with."""
    numbers = ForecasterRecipe.read("hybrid")
    own, training = numbers.architecture, numbers.training
    window: tuple[int, ...] = (own.window[0], *(1 for _ in recipe.architecture.window[1:]))
    whole = replace(
        recipe.architecture, encoder=HYBRID, memory=0, window=window, patches=window, width=own.width,
        layers=own.layers, heads=own.heads, feedforward=own.feedforward, dropout=own.dropout,
    )  # fmt: skip
    ablated = {f"{HYBRID}, no {part}": replace(whole, ablate=(part,)) for part in HYBRID_PARTS}
    others = contenders(recipe, recipe.task)
    return {name: others[name] for name in (FIRST, LSTM, FLAT)} | {
        name: Contender(one, batch=training.batch, validate_every=100, validation_windows=2_048)
        for name, one in ({HYBRID: whole} | ablated).items()
    }


def all_contenders(recipe: Recipe, task: str) -> dict[str, Contender]:
    """Of the benchmark and of its part about the hybrid."""
    found = contenders(recipe, task)
    return hybrids(recipe) | found if task == recipe.task else found


def one_timeframe(items: Sequence[LabelledMarket]) -> list[LabelledMarket]:
    """The same labelled markets without the windows of the higher timeframes."""
    return [replace(item, market=base_only(item.market)) for item in items]


def base_only(market: Market) -> Market:
    """The same market without its higher timeframes; what base features say of them stays."""
    return Market(
        market.timeframes[:1], market.start_ms, market.prices, market.features[:1], market.feature_names[:1],
        np.ascontiguousarray(market.align[:, :1]), market.valid_from[:1], market.funding_series, market.name,
        origin=market.origin,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _labelled_samples(recipe: Recipe, task: str, teacher: str, count: int) -> tuple[Any, Any]:
    layout = recipe.architecture
    chosen = cast(Teacher, teacher)
    return tuple(  # type: ignore[return-value]
        labelled_samples(task, family, n, recipe.days, layout.timeframes, layout.window, teacher=chosen, progress=False)
        for family, n in (("extractor", count), ("validation", recipe.validation_markets))
    )


def kept_or_run(folder: Path, recipe: Recipe, task: str, name: str, counts: Counts, seed: int) -> dict[str, Any]:
    """What `run_one` gives, from `folder` where a run of the same code, recipe and counts left it there."""
    same = repr((header()["commit"], recipe, all_contenders(recipe, task)[name], replace(counts, seeds=0), RATE))
    digest = hashlib.sha256(same.encode()).hexdigest()[:12]
    place = folder / f"{task}-{name}-{seed}-{digest}.json".replace(" ", "_")
    if place.is_file():
        kept: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        return kept | {"earned": np.array(kept["earned"])}
    found = run_one(recipe, task, name, counts, seed)
    make_folder(folder)
    write_file(place, json.dumps(found | {"earned": found["earned"].tolist()}))
    return found


def run_one(recipe: Recipe, task: str, name: str, counts: Counts, seed: int) -> dict[str, Any]:
    """Train one contender with one seed and trade the test markets: `earned` (M,) expected, and its learning curve."""
    use_one_thread()
    contender = all_contenders(recipe, task)[name]
    layout = contender.architecture
    narrow = len(layout.timeframes) < len(recipe.architecture.timeframes)
    train, held_out = _labelled_samples(recipe, task, contender.teacher, counts.markets)
    if narrow:
        train, held_out = one_timeframe(train), one_timeframe(held_out)
    budget = {"steps": 10**6, "max_seconds": counts.seconds, "patience": 10**6, "batch": contender.batch}
    if not layout.memory:
        budget["learning_rate"] = RATE
    if contender.validation_windows is not None:
        budget["validation_windows"] = contender.validation_windows
    training = replace(recipe.training, validate_every=contender.validate_every, **budget)  # type: ignore[arg-type]
    curve: list[float] = []
    options = FitOptions(progress=False, on_validation=lambda figures: curve.append(figures["validation/action"]))
    extractor = fit_extractor(train, held_out, layout, training, seed=seed, options=options)
    settings = _settings(recipe)
    validation, test = _judging_markets(recipe, task, counts)
    seen = (_narrow(validation), _narrow(test)) if narrow else (validation, test)
    own = replace(settings, timeframes=layout.timeframes, window=layout.window)
    trader = ExtractorTrader(extractor, own).tuned(seen[0])
    earned = roll(trader.on(seen[1]), test, whole_markets(test), settings).expected(test)
    print(f"{task} {name} seed {seed}: mean {earned.mean():.4f}", flush=True)
    metrics = extractor.provenance.metrics
    earlier = min(curve[: max(1, 2 * len(curve) // 3)])
    return {
        "earned": earned,
        "curve": curve,
        "unconverged": (earlier - min(curve)) / earlier > UNCONVERGED,
        "margin": trader.margin,
        "parameters": sum(weight.numel() for weight in extractor.model.parameters()),
        "training_windows_per_cpu_second": round(metrics["steps"] * contender.batch / metrics["cpu_seconds"]),
        **metrics,
    }


def stream_times(recipe: Recipe, names: Sequence[str]) -> dict[str, float]:
    """CPU milliseconds a bar as bars close, features and all, by contender; untrained: weights cost the same."""
    use_one_thread()
    layout = recipe.architecture
    (item,) = labelled_samples(
        recipe.task, "validation", 1, recipe.days, layout.timeframes, layout.window, progress=False
    )
    market, found = item.market, {}
    for name in names:
        config = all_contenders(recipe, recipe.task)[name].architecture.for_market(market)
        scaler = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
        provenance = Provenance("", "", "", versions(), {}, ())
        extractor = Extractor(ExtractorModel(config, scaler), scaler, provenance, market.feature_spec)
        stream, taken = extractor.stream(market.bars.iloc[:-STREAMED]), []
        for row in range(len(market) - STREAMED, len(market)):
            began = time.process_time()
            stream.append(market.bars.iloc[[row]])
            taken.append(1000.0 * (time.process_time() - began))
        found[name] = round(float(np.median(taken)), 2)
        print(f"{name}: {found[name]} CPU ms a bar", flush=True)
    return found


def _settings(recipe: Recipe) -> TradingSettings:
    """Of the recipe's widest windows, so that all contenders decide at the same bars."""
    return TradingSettings(timeframes=recipe.architecture.timeframes, window=recipe.architecture.window)


@lru_cache(maxsize=1)
def _judging_markets(recipe: Recipe, task: str, counts: Counts) -> tuple[tuple[ExpertMarket, ...], ...]:
    """The markets that hysteresis is tuned on, and those that are judged on."""
    families = (("validation", recipe.validation_markets), ("test", counts.test_markets))
    return tuple(
        tuple(synthetic_markets(task, family, count, recipe.days, _settings(recipe), progress=False))
        for family, count in families
    )


def _narrow(labelled: Sequence[ExpertMarket]) -> tuple[ExpertMarket, ...]:
    return tuple(replace(t, market=base_only(t.market)) for t in labelled)


def trained_in_full(recipe: Recipe, counts: Counts, folders: Sequence[str]) -> list[dict[str, Any]]:
    """What extractors that are trained already (artifacts; "default" ships) earn on the test markets of their task."""
    settings = _settings(recipe)
    validation, test = _judging_markets(recipe, recipe.task, counts)
    found = []
    for folder in folders:
        extractor = Extractor.load(folder)
        trader = ExtractorTrader(extractor, settings).tuned(validation)
        earned = roll(trader.on(test), test, whole_markets(test), settings).expected(test)
        provenance = extractor.provenance
        run = {"earned": earned, "hash": extractor.hash, "labels": provenance.label_kind, "margin": trader.margin}
        found.append(run | dict(provenance.metrics))
    return found


def optimum(recipe: Recipe, task: str, counts: Counts) -> NDArray[np.float64]:
    """(M,) expected net log-return of the filter oracle on the test markets."""
    settings = _settings(recipe)
    test = _judging_markets(recipe, task, counts)[1]
    return roll(baselines.oracle(test, settings), test, whole_markets(test), settings).expected(test)


def summary(runs: list[dict[str, Any]], best: NDArray[np.float64]) -> dict[str, Any]:
    """Score with its interval, scores by seed, and the runs without what they earned."""
    earned = np.stack([run["earned"] for run in runs])
    return {
        "score": asdict(score(earned, best)),
        "per_seed": [score(row, best).value for row in earned],
        "runs": [{name: value for name, value in run.items() if name != "earned"} for run in runs],
    }


def comparison(task: str, runs: dict[str, list[dict[str, Any]]], best: NDArray[np.float64]) -> dict[str, Any]:
    """Summaries of all contenders, printed with their learning curves, and the differences of PAIRS."""
    found: dict[str, Any] = {name: summary(those, best) for name, those in runs.items()}
    for name, line in found.items():
        for run in line["runs"]:
            print(f"  {name}, loss of actions: " + " ".join(f"{loss:.3f}" for loss in run["curve"]))
        late = " (unconverged)" if any(run["unconverged"] for run in line["runs"]) else ""
        print(f"{task} {name:46s} {line['score']}{late}", flush=True)
    for one, other in PAIRS:
        if len(runs.get(one, ())) == len(runs.get(other, ())) > 0:
            first, second = (np.stack([run["earned"] for run in runs[name]]) for name in (one, other))
            found[f"{one} minus {other}"] = asdict(score(first - second, best))
            print(f"{task} {one} minus {other} {found[f'{one} minus {other}']}", flush=True)
    return found


def in_full(recipe: Recipe, counts: Counts, rows: Sequence[Sequence[str]], best: NDArray[np.float64]) -> dict[str, Any]:
    """Summaries of extractors that are trained already; a row is a name and the artifacts of its seeds."""
    found: dict[str, Any] = {}
    for name, *folders in rows:
        found[name] = summary(trained_in_full(recipe, counts, folders), best)
        print(f"{recipe.task} {name:46s} {found[name]['score']} {found[name]['per_seed']}", flush=True)
    return found


def main() -> None:
    """Run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--tasks", nargs="+", default=["standard", "easy"])
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side")
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/pretraining"), help="results of single runs")
    parser.add_argument(
        "--full", nargs="+", action="append", default=[], metavar="NAME ARTIFACT",
        help="a further row of the recipe's task: its name, then one artifact per seed",
    )  # fmt: skip
    parser.add_argument("--hybrid", action="store_true", help="the hybrid beside what it is compared with")
    parser.add_argument("--stream", action="store_true", help="of --hybrid: only the time of a bar, of all of them")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="these alone")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="these alone")
    parser.add_argument("--full-only", action="store_true", help="train nothing: the rows of --full alone")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/pretraining.json"))
    arguments = parser.parse_args()
    if incomplete := [row[0] for row in arguments.full if len(row) < 2]:
        parser.error(f"--full {incomplete[0]!r} names no artifact: give its name, then one artifact per seed")
    counts, recipe = QUICK if arguments.quick else FULL, Recipe.read(arguments.recipe)
    if arguments.hybrid:
        counts, recipe = OF_HYBRID, replace(recipe, validation_markets=HYBRID_VALIDATION)
    plain = arguments.recipe == "default" and not arguments.hybrid
    rows = arguments.full or ([["the extractor that ships", "default"]] if plain else [])
    tasks = [recipe.task] if arguments.full_only or arguments.hybrid else arguments.tasks
    seeds = range(counts.seeds) if arguments.seeds is None else arguments.seeds
    known = hybrids(recipe) if arguments.hybrid else contenders(recipe, recipe.task)
    if unknown := [name for name in arguments.contenders or () if name not in known]:
        parser.error(f"--contenders {unknown[0]!r} is none of {', '.join(map(repr, known))}")
    if arguments.stream:
        write_result(arguments.out, {**header(), "stream_cpu_ms_per_bar": stream_times(recipe, list(hybrids(recipe)))})
        return
    result: dict[str, Any] = {**header(), "counts": asdict(counts), "recipe": asdict(recipe), "tasks": {}}
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        jobs = {
            task: {
                name: [pool.submit(kept_or_run, arguments.keep, recipe, task, name, counts, seed) for seed in seeds]
                for name in ([] if arguments.full_only else known if arguments.hybrid else contenders(recipe, task))
                if name in (arguments.contenders or all_contenders(recipe, task))
            }
            for task in tasks
        }
        for task, started in jobs.items():
            best = optimum(recipe, task, counts)
            runs = {name: [job.result() for job in waiting] for name, waiting in started.items()}
            found = comparison(task, runs, best)
            if task == recipe.task:
                found |= in_full(recipe, counts, rows, best)
            result["tasks"][task] = {"contenders": found, ORACLE: float(best.mean())}
    write_result(arguments.out, result)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
