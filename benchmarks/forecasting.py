"""Forecasters beside what they must beat: on synthetic markets with a known ceiling, and on held-out time of real bars.

    python -m benchmarks.forecasting real FILE [FILE ...] --contender gpt --seeds 0 1 2 --seconds 60
    python -m benchmarks.forecasting synthetic --contender hybrid --seeds 0
    python -m benchmarks.forecasting planted
    python -m benchmarks.forecasting report            merges what the runs left into one file

Each call trains and judges some contenders and leaves a file per contender and seed under `--work`, so that long runs
can be made in pieces. A network is trained for `--seconds` CPU seconds of one thread. Real bars are resampled to 15m,
4h and 1d; the borders of train, validation and test are the same moments for all files (shares 0.74, 0.12, 0.14); the
bands of networks are put right on validation rows. Every test row whose return is known is counted. Intervals are by
paired block bootstrap. What was trained stays
under `--keep`, so that a run that ended early goes on. Sampled paths are judged at every `PATH_EVERY`-th row.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.algorithms.threads import use_one_thread
from benchmarks.support.filter_forecast import log_scores
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.analysis.forecast_scores import log_density
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import SIGMA_BARS, Market
from pretrain import FitOptions
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.data.scaler import RobustScaler
from pretrain.data.splits import Span, split_markets
from pretrain.data.windows import WindowSource
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.evaluation import (
    HISTORICAL,
    PERSISTENCE,
    Forecasts,
    Truth,
    forecasts_of,
    held_out_rows,
    historical_forecasts,
    judge,
    persistence_forecasts,
    truth_of,
)
from pretrain.forecaster.external import CONTEXT, External
from pretrain.forecaster.forecast_table import drawn_paths
from pretrain.forecaster.peers import LEVELS, peers
from pretrain.forecaster.recipe import ForecasterRecipe
from pretrain.forecaster.training import fit_forecaster
from synthetic import regime_market, task_seeds
from synthetic.oracles.macro_filter import EVERYTHING

FRACTIONS = (0.74, 0.12, 0.14)
TIMEFRAMES = ("15m", "4h", "1d")
SYNTHETIC_MARKETS = {"extractor": 24, "validation": 6, "test": 6}
DAYS = 60
PATH_EVERY, PATHS, PATH_STEPS = 384, 256, 96
CLASSICAL = "classical"
#: Networks: what differs from the recipe "forecaster" (or "hybrid").
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt": ("forecaster", {}),
    "gpt, channels": ("forecaster", {"timescales": "channels", "window": (60, 1, 1)}),
    "gpt, bins": ("forecaster", {"tokens": "bins"}),
    "attention only": ("forecaster", {"network": "attention", "steps": 0}),
    "lstm": ("forecaster", {"network": "lstm", "steps": 0}),
    "tcn": ("forecaster", {"network": "convolution", "steps": 0}),
    "patch transformer": ("forecaster", {"network": "transformer", "steps": 0}),
    "hybrid": ("hybrid", {}),
    **{f"hybrid, no {part}": ("hybrid", {"ablate": (part,)})
       for part in ("attention", "gate", "indicators", "convolution")},
}  # fmt: skip


def _real_market(file: Path, kept: Path) -> Market:
    """The market of a file, from `kept` where an earlier piece of the run left it."""
    folder = kept / file.name.split(".")[0]
    if not folder.is_dir():
        make_folder(kept)
        Market.from_bars(read_bars(file), TIMEFRAMES, name=_short(file)).save(folder)
    return Market.load(folder)


@lru_cache(maxsize=1)
def real_markets(files: tuple[Path, ...], kept: Path) -> tuple[tuple[Market, ...], dict[str, tuple[Span, ...]]]:
    """The files' markets and the spans of each part, by moments that all share."""
    markets = tuple(_real_market(file, kept) for file in files)
    window = ForecasterRecipe.read("forecaster").architecture.layout_window
    window = tuple(np.maximum(window, ForecasterRecipe.read("hybrid").architecture.layout_window).tolist())
    splits = split_markets(markets, window, fractions=FRACTIONS, look_ahead=0, embargo=96)
    return markets, {name: splits.part(name) for name in ("train", "validation", "test")}


def _short(file: Path) -> str:
    return next((word for word in file.name.split("_") if word.isupper()), file.stem).removesuffix("USDT")


@lru_cache(maxsize=1)
def synthetic_parts(task: str) -> tuple[dict[str, list[Part]], dict[str, Any]]:
    """Parts of markets by seed family, and the exact filter's log score and expectation of the test markets."""
    parts: dict[str, list[Part]] = {}
    exact: dict[str, Any] = {"scores": [], "means": [], "told": []}
    for family, count in SYNTHETIC_MARKETS.items():
        parts[family] = []
        for seed in task_seeds(task, family, count):
            sample = regime_market(task, DAYS, seed)
            parts[family].append(Part(Market.from_bars(sample.bars, TIMEFRAMES, name=sample.name)))
            if family == "test":
                scores, means = log_scores(sample)
                exact["scores"].append(scores)
                exact["means"].append(means)
                exact["told"].append(log_scores(sample, EVERYTHING)[0])
    return parts, exact


def parts_of(arguments: argparse.Namespace) -> tuple[list[Part], list[Part], list[Part]]:
    """Train, validation and test parts."""
    if arguments.what == "real":
        markets, spans = real_markets(tuple(arguments.files), arguments.work / "markets")
        train, validation, test = (
            [Part(markets[s.market], s.start, s.stop) for s in spans[name]] for name in ("train", "validation", "test")
        )
        return train, validation, test
    parts, _ = synthetic_parts(arguments.task)
    return parts["extractor"], parts["validation"], parts["test"]


def trained(name: str, arguments: argparse.Namespace, seed: int) -> Forecaster:
    """A network of NETWORKS, trained for the seconds that were asked for."""
    kept = None if arguments.keep is None else arguments.keep / arguments.what / f"{_file(name)}-{seed}"
    if kept is not None and kept.is_dir():
        import pretrain

        found = pretrain.load(kept)
        assert isinstance(found, Forecaster)
        return found
    recipe_name, changes = NETWORKS[name]
    recipe = ForecasterRecipe.read(recipe_name)
    config = replace(recipe.architecture, **changes)
    training = replace(
        recipe.training, max_seconds=arguments.seconds, steps=100_000, validate_every=arguments.validate_every
    )
    train, validation, _ = parts_of(arguments)
    model = fit_forecaster(train, validation, config, training, seed=seed, options=FitOptions(progress=False))
    if kept is not None:
        model.save(kept)
    return model


def by_market(truth: Truth, said: Mapping[str, Forecasts], names: Sequence[str]) -> dict[str, Any]:
    """Scores over all rows together ("all") and in each market alone."""
    found = {"all": _plain(judge(truth, said))}
    for number, name in enumerate(names):
        mine = truth.market == number
        one = replace(
            truth, returns=truth.returns[mine], close=truth.close[mine], market=truth.market[mine],
            row=truth.row[mine], sigma=truth.sigma[mine], historical=truth.historical[mine],
        )  # fmt: skip
        kept = {key: Forecasts(f.levels, f.mean[mine], f.quantiles[mine]) for key, f in said.items()}
        found[name] = _plain(judge(one, kept))
    return found


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, row in table.iterrows():
        name, horizon = key if isinstance(key, tuple) else (key, "")
        values = {k: None if not np.isfinite(v) else round(float(v), 6) for k, v in row.items()}
        out.setdefault(str(name), {})[str(horizon)] = values
    return out


def names_of(parts: Sequence[Part], real: bool) -> list[str]:
    """Names of markets that are also judged alone."""
    return [part.market.name for part in parts] if real else []


def path_coverage(model: Forecaster, test: Sequence[Part], seed: int) -> dict[str, Any]:
    """Coverage of 50, 80 and 90% bands of sampled paths at the horizons, at every `PATH_EVERY`-th row."""
    horizons = [h for h in model.config.horizons if h <= PATH_STEPS]
    inside: dict[int, dict[float, list[bool]]] = {h: {0.5: [], 0.8: [], 0.9: []} for h in horizons}
    began, origins = time.process_time(), 0
    with torch.inference_mode():
        for part in test:
            source = WindowSource([part.market], model.config.layout_window)
            close = np.log(part.market.prices[:, CLOSE])
            first = max(part.start, part.market.first_decision(model.config.layout_window), SIGMA_BARS)
            for row in range(first, part.end - PATH_STEPS, PATH_EVERY):
                drawn = drawn_paths(model.model, part.market, source, row, (PATH_STEPS, PATHS, seed))
                origins += 1
                for h in horizons:
                    came = close[row + h] - close[row]
                    for band, hits in inside[h].items():
                        low, high = np.quantile(drawn[:, h - 1], ((1.0 - band) / 2.0, (1.0 + band) / 2.0))
                        hits.append(bool(low <= came <= high))
    shares = {str(h): {f"{100 * b:g}": round(float(np.mean(v)), 4) for b, v in inside[h].items()} for h in horizons}
    return {"origins": origins, "paths": PATHS, "cpu_seconds": round(time.process_time() - began, 1), "cover": shares}


def ceiling(
    model_said: Forecasts, dataset: ForecastDataset, rows: NDArray[np.int64], exact: dict[str, Any], truth: Truth
) -> dict[str, float]:
    """At one bar ahead: gain in log score over the learned quantiles of sigma, ours and the exact filter's; and R2."""
    scores, means, told = (_at_rows(exact[key], dataset, rows) for key in ("scores", "means", "told"))
    returns = truth.returns[:, 0]
    known = np.isfinite(returns) & np.isfinite(scores) & (truth.sigma > 0.0)
    reference = _REFERENCE["no drift"](dataset, rows)
    own = log_density(model_said.levels, model_said.quantiles[known, 0], returns[known])
    base = log_density(reference.levels, reference.quantiles[known, 0], returns[known])
    gain, most = float((own - base).mean()), float((scores[known] - base).mean())
    of_told = float((told[known] - base).mean())
    residual = float(((returns - model_said.mean[:, 0])[known] ** 2).mean())
    exact_residual = float(((returns - means)[known] ** 2).mean())
    total = float((returns[known] ** 2).mean())
    return {
        "gain": gain, "gain_of_the_exact_filter": most, "share": gain / most,
        "gain_when_told_the_level": of_told, "share_of_it": gain / of_told, "r2": 1.0 - residual / total,
        "r2_of_the_exact_filter": 1.0 - exact_residual / total,
    }  # fmt: skip


_REFERENCE: dict[str, Any] = {}


def _at_rows(values: Sequence[NDArray[np.float64]], dataset: ForecastDataset, rows: NDArray[np.int64]) -> Any:
    """(n,) values of each market's bars at rows of a dataset."""
    return np.array([values[m][t] for m, t in zip(dataset.market[rows], dataset.t[rows], strict=True)])


def fit_reference(train: Sequence[Part], window: tuple[int, ...], horizons: tuple[int, ...]) -> None:
    """Fit it once per process."""
    from pretrain.forecaster.peers import NoDrift

    _REFERENCE["no drift"] = NoDrift().fit(ForecastDataset(train, window, horizons))


def run_network(name: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train, calibrate and judge one network."""
    model = trained(name, arguments, seed)
    train, _, test = parts_of(arguments)
    dataset = held_out_rows(test, model.config)
    rows = np.arange(0, len(dataset), arguments.every)
    began = time.process_time()
    truth, said = truth_of(dataset, rows), forecasts_of(model, dataset, rows)
    predict_seconds = time.process_time() - began
    levels = said.levels
    contenders = {
        name: said, PERSISTENCE: persistence_forecasts(truth, levels), HISTORICAL: historical_forecasts(truth, levels)
    }  # fmt: skip
    result: dict[str, Any] = {
        "contender": name, "seed": seed, "every": arguments.every,
        "architecture": asdict(model.config) | {"feature_names": None},
        "weights": sum(p.numel() for p in model.model.parameters()),
        "training": model.provenance.metrics, "learned_from": [asdict(one) for one in model.provenance.data],
        "predict_windows_per_second": round(len(rows) / predict_seconds, 1),
        "scores": by_market(truth, contenders, names_of(test, arguments.what == "real")),
    }  # fmt: skip
    batches = [forecasts_of(model, dataset, rows[:64], size).quantiles for size in (1, 7, 1024)]
    result["largest_difference_between_batches_1_7_1024"] = float(
        max(np.abs(batches[0] - other).max() for other in batches[1:])
    )
    if arguments.what == "synthetic" and arguments.task != "easy":
        fit_reference(train, model.config.layout_window, model.config.horizons)
        result["ceiling"] = ceiling(said, dataset, rows, synthetic_parts(arguments.task)[1], truth)
    stream = model.stream(test[0].market.bars.iloc[:-100])
    last = test[0].market.bars.iloc[-100:]
    began = time.process_time()
    for i in range(len(last)):
        stream.append(last.iloc[[i]])
    result["stream_ms_per_bar"] = round(1000.0 * (time.process_time() - began) / len(last), 2)
    return result


def run_paths(name: str, arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Judge the sampled paths of a network that an earlier run kept."""
    import pretrain

    model = pretrain.load(arguments.keep / arguments.what / f"{_file(name)}-{seed}")
    assert isinstance(model, Forecaster)
    return {"contender": f"{name}, paths", "seed": seed, "paths": path_coverage(model, parts_of(arguments)[2], seed)}


def run_classical(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fit and judge everything without a network, and the small foundation model where it is installed."""
    train, _, test = parts_of(arguments)
    config = ForecasterRecipe.read("forecaster").architecture.for_market(train[0].market)
    fitted_on = ForecastDataset(train, config.layout_window, config.horizons)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, fitted_on.feature_rows())
    dataset = held_out_rows(test, config)
    rows = np.arange(0, len(dataset), arguments.every)
    truth = truth_of(dataset, rows)
    said = {PERSISTENCE: persistence_forecasts(truth, LEVELS), HISTORICAL: historical_forecasts(truth, LEVELS)}
    seconds = {}
    for name, peer in peers(scaler).items():
        began = time.process_time()
        said[name] = peer.fit(fitted_on)(dataset, rows)
        seconds[name] = round(time.process_time() - began, 1)
        print(f"{name}: {seconds[name]} s", flush=True)
    result: dict[str, Any] = {"contender": CLASSICAL, "seed": 0, "every": arguments.every, "cpu_seconds": seconds}
    result["scores"] = by_market(truth, said, names_of(test, arguments.what == "real"))
    if arguments.what == "synthetic" and arguments.task != "easy":
        fit_reference(train, config.layout_window, config.horizons)
        exact = synthetic_parts(arguments.task)[1]
        names = ("HAR", "gradient boosting", HISTORICAL)
        result["ceiling"] = {name: ceiling(said[name], dataset, rows, exact, truth) for name in names}
    return result


FRACAST_ROWS = 1_500


def run_fracast(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fracast-0 (85,001 weights, trained by others on general series) at evenly spread test rows, beside the baselines.

    Its own nine quantiles are judged as they are.
    """
    train, _, test = parts_of(arguments)
    config = ForecasterRecipe.read("forecaster").architecture.for_market(train[0].market)
    dataset = held_out_rows(test, config)
    rows = np.unique(np.linspace(0, len(dataset) - 1, FRACAST_ROWS).round().astype(np.int64))
    rows = rows[dataset.t[rows] >= CONTEXT]
    truth = truth_of(dataset, rows)
    began = time.process_time()
    own = External("fracast")(dataset, rows)
    said = {
        "Fracast-0": own,
        PERSISTENCE: persistence_forecasts(truth, own.levels), HISTORICAL: historical_forecasts(truth, own.levels),
    }  # fmt: skip
    return {
        "contender": "Fracast-0", "seed": 0, "cpu_seconds": round(time.process_time() - began, 1),
        "scores": by_market(truth, said, names_of(test, arguments.what == "real")),
    }  # fmt: skip


def run_planted(arguments: argparse.Namespace) -> dict[str, Any]:
    """A sine, an AR(1) of returns and white noise: the share of squared error that is forecast, beside the optimum."""
    found: dict[str, Any] = {"contender": "planted", "seed": 0}
    recipe = ForecasterRecipe.read("forecaster")
    config = replace(recipe.architecture, timeframes=("1h",), window=(60,), horizons=(1, 4, 16), steps=16)
    for name, (bars, optimum) in planted_bars().items():
        market = Market.from_bars(bars, ("1h",))
        parts = [Part(market, 0, 6000), Part(market, 6000, 7500), Part(market, 7500)]
        training = replace(recipe.training, max_seconds=arguments.seconds, steps=100_000, validate_every=100)
        model = fit_forecaster(parts[:1], parts[1:2], config, training, options=FitOptions(progress=False))
        dataset = held_out_rows(parts[2:], config.for_market(market))
        rows = np.arange(len(dataset))
        truth, said = truth_of(dataset, rows), forecasts_of(model, dataset, rows)
        table = judge(truth, {"gpt": said, HISTORICAL: historical_forecasts(truth, said.levels)})
        found[name] = {"scores": _plain(table), "optimal_skill": optimum}
        print(name, _plain(table)["gpt"]["1"]["skill"], "optimum", optimum["1"], flush=True)
    return found


def planted_bars() -> dict[str, tuple[pd.DataFrame, dict[str, float]]]:
    """Bars of an hour, and the skill (1 - MSE / persistence's) of who knows the law, by horizon."""
    count, rng = 9_000, np.random.default_rng(0)
    noise, size = 0.004, 0.02
    wave = size * np.sin(2.0 * np.pi * np.arange(count) / 24.0)
    sine = wave + rng.normal(0.0, noise, count)
    phi, steps = 0.5, np.zeros(count)
    for i in range(1, count):
        steps[i] = phi * steps[i - 1] + rng.normal(0.0, 0.004)
    white = np.cumsum(rng.normal(0.0, 0.004, count))
    best: dict[str, dict[str, float]] = {"sine": {}, "ar1": {}, "white noise": {}}
    for h in (1, 4, 16):
        moved = np.mean((wave[h:] - wave[:-h]) ** 2)
        # the noise of the last bar is known to be noise: of the change, only that of the bar to come is left
        best["sine"][str(h)] = round(float(1.0 - noise**2 / (moved + 2.0 * noise**2)), 3)
        weights = np.cumsum(phi ** np.arange(h))
        left = 0.004**2 * np.sum(weights**2)
        known = (phi * (1.0 - phi**h) / (1.0 - phi)) ** 2 * 0.004**2 / (1.0 - phi**2)
        best["ar1"][str(h)] = round(float(known / (known + left)), 3)
        best["white noise"][str(h)] = 0.0
    logs = {"sine": sine, "ar1": np.cumsum(steps), "white noise": white}
    return {name: (_bars(100.0 * np.exp(found), rng), best[name]) for name, found in logs.items()}


def _bars(close: NDArray[np.float64], rng: np.random.Generator) -> pd.DataFrame:
    open_ = np.concatenate(([close[0]], close[:-1]))
    wick = np.exp(rng.exponential(0.001, (2, len(close))))
    index = pd.date_range("2020-01-01", periods=len(close), freq="h", tz="UTC", name="timestamp")
    columns = {
        "open": open_, "high": np.maximum(open_, close) * wick[0], "low": np.minimum(open_, close) / wick[1],
        "close": close, "volume": rng.lognormal(3.0, 0.5, len(close)),
    }  # fmt: skip
    return pd.DataFrame(columns, index=index)


def _file(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "_")


def merged(folder: Path) -> dict[str, Any]:
    """What all runs left, by what they ran on."""
    runs: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("[!m]*/*.json")):
        runs.setdefault(path.parent.name, []).append(json.loads(path.read_text(encoding="utf-8")))
    return {"runs": runs, "summary": {what: summary(found) for what, found in runs.items()}}


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Per contender, market and horizon: mean over seeds of the scores that decide, and how many seeds."""
    columns = ("crps_of_historical", "crps_low", "crps_high", "cover_50", "cover_80", "cover_90", "skill", "direction",
               "amplitude", "dm", "dm_p")  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        for market, contenders in one.get("scores", {}).items():
            for name, horizons in contenders.items():
                if name in (PERSISTENCE, HISTORICAL) and one["contender"] != CLASSICAL:
                    continue
                for horizon, values in horizons.items():
                    place = rows.setdefault(f"{name} | {market} | {horizon}", {"seeds": 0})
                    place["seeds"] += 1
                    for column in columns:
                        if values.get(column) is not None:
                            place.setdefault(column, []).append(values[column])
    return {
        key: {c: round(float(np.mean(v)), 4) if isinstance(v, list) else v for c, v in values.items()}
        for key, values in rows.items()
    }


def main() -> None:
    """Run some contenders, or merge what was run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("real", "synthetic", "planted", "report"))
    parser.add_argument("files", nargs="*", type=Path, help="of real: bars of 15m or finer")
    parser.add_argument("--contender", nargs="+", choices=(*NETWORKS, CLASSICAL, "fracast"), default=["gpt"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU seconds of each training")
    parser.add_argument("--every", type=int, default=1, help="judge at every so many-th test row")
    parser.add_argument("--validate-every", type=int, default=100)
    parser.add_argument("--task", default="standard")
    parser.add_argument("--keep", type=Path, help="keep artifacts in this folder")
    parser.add_argument("--paths", action="store_true", help="judge sampled paths of what was kept there")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/forecasting"))
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/forecasting.json"))
    arguments = parser.parse_args()
    use_one_thread()
    if arguments.what == "report":
        write_result(arguments.out, header() | merged(arguments.work))
        return
    if arguments.paths and not arguments.keep:
        parser.error("--paths needs --keep, where the networks are")
    if arguments.what == "real" and not arguments.files:
        parser.error("real needs files of bars")
    place = arguments.what if arguments.what != "synthetic" else f"synthetic-{arguments.task}"
    jobs: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    if arguments.what == "planted":
        jobs.append(("planted", lambda: run_planted(arguments)))
    else:
        for name in arguments.contender:
            if name in (CLASSICAL, "fracast"):
                run = run_classical if name == CLASSICAL else run_fracast
                jobs.append((f"{name}-0", lambda run=run: run(arguments)))  # type: ignore[misc]
                continue
            for seed in arguments.seeds:
                one, tail = (run_paths, "-paths") if arguments.paths else (run_network, "")
                jobs.append((
                    f"{_file(name)}-{seed}{tail}",
                    lambda name=name, seed=seed, one=one: one(name, arguments, seed),  # type: ignore[misc]
                ))  # fmt: skip
    for name, job in jobs:
        path = arguments.work / place / f"{name}.json"
        if path.is_file():
            print(f"{path}: there already")
            continue
        began = time.monotonic()
        write_result(path, header() | {"seconds": arguments.seconds} | job())
        print(f"{path}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
