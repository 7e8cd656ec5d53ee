"""Chart patterns: how well an extractor recognises them, and what they add to pretraining.

    python -m benchmarks.patterns --quick                1 seed, 20 CPU seconds of each training
    python -m benchmarks.patterns --real FILE            3 seeds, 90 CPU seconds; real bars too

Single runs are kept (`--keep`): what is interrupted goes on with the same command.

Verified first: a recogniser that says the truth has precision and recall 1, one that says another kind has recall 0.
Then measured, on seeds that nothing else reads:

- recognition: an extractor pretrained with the teacher "patterns"; precision and recall at confirmation by kind.
- worth: two extractors at equal CPU time and of the same architecture, one taught by the oracle of "standard" all
  along, one by patterns for the first third. Both are scored on "test" markets of "standard". With `--real`, both go on
  for equal CPU time on the first three fifths of real bars (labels of bars) and trade the last fifth.

Intervals are over seeds and markets, and over weeks of the real bars. Trainings run in processes of one thread.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from agents.evaluation import baselines
from agents.evaluation.extractor_trader import ExtractorTrader
from agents.evaluation.rollout import roll, whole_markets
from agents.evaluation.scoring import mean, score
from agents.evaluation.tables import with_impact
from agents.markets.expert_market import ExpertMarket, split_bars, synthetic_markets
from agents.settings import TradingSettings
from benchmarks.support.kept import kept
from benchmarks.support.machine import header
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.files.durable_files import make_folder, write_file
from pretrain import Extractor, FitOptions, LabelledMarket, Recipe, fit_extractor
from pretrain.data.teachers import Teacher, labelled_patterns, labelled_samples
from pretrain.extractor.recognition import recognised, recognition
from synthetic import WARMUP_DAYS, pattern_market, pattern_seeds

TASK, DAYS = "standard", 60
SHARE = 1.0 / 3.0  #: of the time that patterns get
MEMORY, BATCH = 64, 384
WEEK = 7 * 96


@dataclass(frozen=True)
class Counts:
    """Training seeds, CPU seconds of each training, markets to learn from, to choose by and to test on."""

    seeds: int
    seconds: float
    markets: int
    validation_markets: int
    test_markets: int
    pattern_tests: int


QUICK, FULL = Counts(1, 20.0, 24, 4, 8, 8), Counts(3, 90.0, 96, 12, 48, 24)


def verify() -> None:
    """A recogniser that is right has precision and recall 1, one that names another kind has recall 0."""
    sample = pattern_market(120, 0)
    told = sample.truth["recognised"].to_numpy(np.int64) + 1
    right = recognition([told], [sample], WARMUP_DAYS * 96)
    wrong = recognition([np.where(told > 0, told % 20 + 1, 0)], [sample], WARMUP_DAYS * 96)
    shown = right["patterns"] > 0
    if not ((right["recall"][shown] == 1).all() and (right["precision"][shown] == 1).all()):
        raise SystemExit(f"the truth is not recognised:\n{right}")
    if wrong["recall"][shown].any():
        raise SystemExit(f"another kind is recognised:\n{wrong}")


@lru_cache(maxsize=4)
def training_data(teacher: str, counts: Counts) -> tuple[tuple[LabelledMarket, ...], tuple[LabelledMarket, ...]]:
    """Markets to learn from and to choose weights by."""
    layout = Recipe.read("default").architecture
    train, held_out = (
        labelled_samples(
            TASK, family, count, DAYS, layout.timeframes, layout.window, teacher=cast(Teacher, teacher), progress=False
        )
        for family, count in (("extractor", counts.markets), ("validation", counts.validation_markets))
    )
    return train, held_out


def trained(teacher: str, seconds: float, counts: Counts, seed: int, start: Extractor | None = None) -> Extractor:
    """An extractor of the shipped recipe's layout, after so many CPU seconds."""
    recipe = Recipe.read("default")
    train, held_out = training_data(teacher, counts)
    training = replace(
        recipe.training, steps=10**6, max_seconds=seconds, patience=10**6, batch=BATCH, validate_every=50
    )
    layout = replace(recipe.architecture, memory=MEMORY) if start is None else None
    return fit_extractor(train, held_out, layout, training, seed=seed, start=start, options=FitOptions(progress=False))


def measured_recognition(counts: Counts, seed: int) -> dict[str, Any]:
    """Precision and recall by kind on unseen markets."""
    use_one_thread()
    extractor = trained("patterns", counts.seconds, counts, seed)
    samples = [pattern_market(DAYS, each) for each in pattern_seeds("test", counts.pattern_tests)]
    layout = extractor.config
    markets = [labelled_patterns(sample, layout.timeframes, layout.window).market for sample in samples]
    first = markets[0].first_decision(layout.window)
    table = recognition([recognised(extractor, market) for market in markets], samples, first)
    return {"seed": seed, "kinds": table.to_dict(orient="index"), **extractor.provenance.metrics}


def measured_worth(counts: Counts, seed: int, with_patterns: bool, real: Path | None) -> dict[str, Any]:
    """What one extractor earns: `standard` (M,) expected on its test markets, `real` (weeks,) realised log-returns."""
    use_one_thread()
    first = trained("patterns", SHARE * counts.seconds, counts, seed) if with_patterns else None
    left = (1.0 - SHARE) * counts.seconds if with_patterns else counts.seconds
    extractor = trained("oracle", left, counts, seed, first)
    settings = _settings(extractor)
    validation, test = _judging_markets(counts, settings)
    trader = ExtractorTrader(extractor, settings).tuned(validation)
    earned = roll(trader.on(test), test, whole_markets(test), settings).expected(test)
    print(f"patterns={with_patterns} seed {seed}: {earned.mean():.4f} a market", flush=True)
    return {"standard": earned.tolist(), "real": None if real is None else _on_real(extractor, real, counts, seed)}


def _on_real(extractor: Extractor, file: Path, counts: Counts, seed: int) -> list[float]:
    """Log-returns of the weeks of the last fifth, after as long a training on the first three."""
    settings = with_impact(_settings(extractor))
    split = split_bars(read_bars(file), settings)
    train, held_out = split.train.labelled, split.validation.labelled
    tuning = Recipe.read("finetune").training
    training = replace(tuning, steps=10**6, max_seconds=SHARE * counts.seconds, patience=10**6)
    own = fit_extractor(
        [train], [held_out], None, training, seed=seed, start=extractor, options=FitOptions(progress=False)
    )
    trader = ExtractorTrader(own, settings).tuned((split.validation,))
    test = (split.test,)
    rollout = roll(trader.on(test), test, whole_markets(test), settings)
    growth = np.diff(np.log(rollout.equity[:, 0]))
    weeks = len(growth) // WEEK
    return [float(week.sum()) for week in growth[: weeks * WEEK].reshape(weeks, WEEK)]


def _settings(extractor: Extractor) -> TradingSettings:
    return TradingSettings(timeframes=extractor.config.timeframes, window=extractor.config.window)


def _judging_markets(
    counts: Counts, settings: TradingSettings
) -> tuple[Sequence[ExpertMarket], Sequence[ExpertMarket]]:
    """Of "standard": what hysteresis is tuned on, and what is judged on."""
    validation, test = (
        synthetic_markets(TASK, family, count, DAYS, settings, progress=False)
        for family, count in (("validation", counts.validation_markets), ("test", counts.test_markets))
    )
    return validation, test


def optimum(counts: Counts) -> NDArray[np.float64]:
    """(M,) what the filter oracle is expected to earn on the test markets."""
    layout = Recipe.read("default").architecture
    settings = TradingSettings(timeframes=layout.timeframes, window=layout.window)
    test = synthetic_markets(TASK, "test", counts.test_markets, DAYS, settings, progress=False)
    return roll(baselines.oracle(test, settings), test, whole_markets(test), settings).expected(test)


def compared(
    without: list[dict[str, Any]], including: list[dict[str, Any]], best: NDArray[np.float64]
) -> dict[str, Any]:
    """Scores, and differences with their intervals: of scores, and of real log-returns a week."""
    plain, with_patterns = (np.array([run["standard"] for run in runs]) for runs in (without, including))
    found: dict[str, Any] = {
        "standard": {
            "without": asdict(score(plain, best)),
            "with": asdict(score(with_patterns, best)),
            "difference": asdict(score(with_patterns - plain, best)),
        }
    }
    if without[0]["real"] is not None:
        weeks = [np.array([run["real"] for run in runs]).mean(axis=0) for runs in (without, including)]
        found["real, log-return a week"] = {
            "weeks": len(weeks[0]),
            "without": asdict(mean(weeks[0])),
            "with": asdict(mean(weeks[1])),
            "difference": asdict(mean(weeks[1] - weeks[0])),
        }
    return found


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Recognition by kind, all seeds together, and the means over kinds."""
    tables = [pd.DataFrame.from_dict(run["kinds"], orient="index") for run in runs]
    counted = [
        table.assign(found=table["recall"] * table["patterns"], right=(table["precision"] * table["calls"])).fillna(0.0)
        for table in tables
    ]
    counts = pd.concat(counted).groupby(level=0, sort=False).sum()
    table = counts.assign(recall=counts["found"] / counts["patterns"], precision=counts["right"] / counts["calls"])
    kinds = table[["patterns", "recall", "calls", "precision"]].astype({"patterns": int, "calls": int})
    patterns, calls = float(counts["patterns"].sum()), float(counts["calls"].sum())
    overall = {
        "recall": float(counts["found"].sum()) / patterns if patterns else None,
        "precision": float(counts["right"].sum()) / calls if calls else None,
    }
    print(kinds.round(2).to_string(), overall)
    named = kinds.astype(object).where(kinds.notna(), None)
    return {"overall": overall, "kinds": named.to_dict(orient="index")}


def main() -> None:
    """Verify, run, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--real", type=Path, help="file of bars, 15m or finer, a year and more")
    parser.add_argument("--seeds", type=int, help="training seeds")
    parser.add_argument("--seconds", type=float, help="CPU seconds of each training")
    parser.add_argument("--recognition-only", action="store_true", help="leave out what patterns add to pretraining")
    parser.add_argument("--workers", type=int, default=2, help="trainings side by side")
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/patterns"), help="results of single runs")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/patterns.json"))
    arguments = parser.parse_args()
    verify()
    counts = QUICK if arguments.quick else FULL
    counts = replace(counts, seeds=arguments.seeds or counts.seeds, seconds=arguments.seconds or counts.seconds)
    result: dict[str, Any] = {**header(), "counts": asdict(counts), "real": arguments.real and arguments.real.name}
    with ProcessPoolExecutor(arguments.workers, multiprocessing.get_context("spawn")) as pool:
        keep = arguments.keep
        telling = [
            pool.submit(kept, keep, "recognition", measured_recognition, counts, seed) for seed in range(counts.seeds)
        ]
        jobs = {
            name: [
                pool.submit(kept, keep, name, measured_worth, counts, seed, name == "with", arguments.real)
                for seed in range(counts.seeds)
            ]
            for name in ([] if arguments.recognition_only else ["without", "with"])
        }
        told = [job.result() for job in telling]
        result |= {"recognition": pooled(told), "runs": {"recognition": told}}
        if jobs:
            best = optimum(counts)
            runs = {name: [job.result() for job in waiting] for name, waiting in jobs.items()}
            result["runs"] |= runs
            result["worth"] = compared(runs["without"], runs["with"], best)
            print(json.dumps(result["worth"], indent=1))
    make_folder(arguments.out.parent)
    write_file(arguments.out, json.dumps(_plain(result), indent=1) + "\n")
    print(f"wrote {arguments.out}")


def _plain(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and np.isnan(value) else value


if __name__ == "__main__":
    main()
