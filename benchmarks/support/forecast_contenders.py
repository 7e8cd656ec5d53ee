"""Contenders of the forecasting benchmark: networks of one budget, baselines, foundation models of others."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.filter_forecast import law_quantiles
from benchmarks.support.forecast_data import (
    DAYS,
    PLANTED,
    REAL,
    Parts,
    ceiling_of,
    names_of,
    planted_bars,
    real_parts,
    synthetic_parts,
)
from benchmarks.support.forecast_figures import by_market, ceiling_figures, path_coverage, plain
from cryptoenv.market.market import Market
from pretrain import FitOptions
from pretrain.data.forecast_windows import ForecastDataset, Part, divided
from pretrain.data.scaler import RobustScaler
from pretrain.fitting.config import PretrainingConfig
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.calibration import calibrate
from pretrain.forecaster.evaluation import (
    HISTORICAL,
    PERSISTENCE,
    Forecasts,
    beside_baselines,
    forecasts_of,
    held_out_rows,
    historical_forecasts,
    judge,
    persistence_forecasts,
    tracked,
    truth_of,
)
from pretrain.forecaster.external import CONTEXT, External
from pretrain.forecaster.peers import LEVELS, NO_DRIFT, NoDrift, peers
from pretrain.forecaster.recipe import ForecasterRecipe
from pretrain.forecaster.training import CHOOSING, fit_forecaster
from synthetic import regime_market, task_seeds

CLASSICAL, FRACAST, PEERS_ROWS = "classical", "Fracast-0", 1_500
LAW = "exact law"  #: of the next bar of a synthetic market, said as forecasters say theirs: in quantiles
CHOSEN_BY = 1_536  #: validation windows that weights are chosen by
#: Networks: what differs from the recipe "forecaster" (or "hybrid").
_PLAIN: dict[str, Any] = {"steps": 0}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt": ("forecaster", {}),
    "gpt, channels": ("forecaster", {"timescales": "channels", "window": (60, 1, 1)}),
    "gpt, bins": ("forecaster", {"tokens": "bins"}),
    "gpt, the founding design's numbers": ("forecaster_seed", {}),
    "attention only": ("forecaster", {"network": "attention"} | _PLAIN),
    "mlp": ("forecaster", {"network": "flat"} | _PLAIN),
    "lstm": ("forecaster", {"network": "lstm"} | _PLAIN),
    "tcn": ("forecaster", {"network": "convolution"} | _PLAIN),
    "patch transformer": ("forecaster", {"network": "transformer"} | _PLAIN),
    "PatchTST": ("forecaster", {"network": "patchtst", "patch": 6} | _PLAIN),
    "Informer": ("forecaster", {"network": "informer"} | _PLAIN),
    "Time Series Transformer": ("forecaster", {"network": "series_transformer"} | _PLAIN),
    "hybrid": ("hybrid", {}),
    **{f"hybrid, no {part}": ("hybrid", {"ablate": (part,)})
       for part in ("attention", "gate", "indicators", "convolution")},
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What is run on, and how long: `seconds` CPU seconds of each training, rows of the test at every `every`-th."""

    what: str
    files: tuple[Path, ...]
    task: str
    seconds: float
    every: int
    validate_every: int
    work: Path

    @property
    def place(self) -> str:
        """Name of the folder of its results."""
        return self.what if self.what in (REAL, PLANTED) else f"{self.what}-{self.task}"

    def parts(self) -> Parts:
        """Train, validation and test."""
        kept = self.work / "markets"
        return real_parts(self.files, kept) if self.what == REAL else synthetic_parts(self.task, kept)

    def training(self, recipe: ForecasterRecipe) -> PretrainingConfig:
        """That of a recipe, ended by time alone."""
        return replace(
            recipe.training, max_seconds=self.seconds, steps=100_000, patience=10**6,
            validate_every=self.validate_every, validation_windows=CHOSEN_BY,
        )  # fmt: skip

    def kept(self, name: str, seed: int) -> Path:
        """Where a trained network stays."""
        return self.work / "kept" / self.place / f"{file_name(name)}-{seed}"


def file_name(name: str) -> str:
    """A contender as its files are called."""
    return name.replace(", ", "-").replace(" ", "_").replace("'", "")


def trained(name: str, setting: Setting, seed: int) -> Forecaster:
    """A network of NETWORKS after `setting.seconds` of training, weights chosen by the first third of validation time,
    and its bands and means put right on the rest, as `fit_forecaster` does (sampled paths excepted)."""
    import pretrain

    kept, (train, validation, _) = setting.kept(name, seed), setting.parts()
    recipe_name, changes = NETWORKS[name]
    recipe = ForecasterRecipe.read(recipe_name)
    config = replace(recipe.architecture, **changes)
    choosing = divided(validation, config.layout_window, CHOOSING, config.horizons[-1])[0]
    if kept.is_dir():
        model = pretrain.load(kept)
        assert isinstance(model, Forecaster)
    else:
        model = fit_forecaster(
            train, choosing, config, setting.training(recipe), seed=seed, options=FitOptions(progress=False),
            calibrated=False,
        )  # fmt: skip
        model.save(kept)
    return model


def calibrated(model: Forecaster, setting: Setting, *, paths: bool = False) -> Forecaster:
    """The model itself, put right on the later part of validation time."""
    config = model.config
    apart = divided(setting.parts().validation, config.layout_window, CHOOSING, config.horizons[-1])[1]
    calibrate(model.model, ForecastDataset(apart, config.layout_window, config.horizons), paths=paths)
    return model


def run_network(name: str, setting: Setting, seed: int) -> dict[str, Any]:
    """Train, calibrate and judge one network: as it is, with tracked bands, and as it was before calibration."""
    model = trained(name, setting, seed)
    train, _, test = setting.parts()
    dataset = held_out_rows(test, model.config)
    rows = np.arange(0, len(dataset), setting.every)
    truth = truth_of(dataset, rows)
    for buffer in ("stretch", "trust"):
        model.model.get_buffer(buffer).fill_(1.0)
    raw = forecasts_of(model, dataset, rows)
    calibrated(model, setting)
    said = forecasts_of(model, dataset, rows)
    scores = by_market(truth, beside_baselines(name, truth, said), names_of(test, setting.what))
    scores["all"] |= plain(judge(truth, {f"{name}, as learned": raw}))
    metrics = model.provenance.metrics
    batches = [forecasts_of(model, dataset, rows[:64], size).quantiles for size in (1, 7, 1024)]
    result: dict[str, Any] = {
        "contender": name, "seed": seed, "every": setting.every, "seconds": setting.seconds,
        "architecture": asdict(model.config) | {"feature_names": None},
        "weights": sum(p.numel() for p in model.model.parameters()), "training": metrics,
        "training_windows_per_cpu_second":
            round(metrics["steps"] * ForecasterRecipe.read(NETWORKS[name][0]).training.batch / metrics["cpu_seconds"]),
        "learned_from": [asdict(one) for one in model.provenance.data],
        "trust": model.model.get_buffer("trust").tolist(), "scores": scores,
        "largest_difference_between_batches_1_7_1024":
            float(max(np.abs(batches[0] - other).max() for other in batches[1:])),
    }  # fmt: skip
    if setting.what != REAL and setting.task != "easy":
        fitted_on = ForecastDataset(train, model.config.layout_window, model.config.horizons)
        reference = NoDrift().fit(fitted_on)(dataset, rows)
        result["ceiling"] = ceiling_figures(said, reference, (dataset, rows), ceiling_of(setting.task), truth)
    return result


def run_paths(name: str, setting: Setting, seed: int) -> dict[str, Any]:
    """Judge the sampled paths of a network that an earlier run kept."""
    model = calibrated(trained(name, setting, seed), setting, paths=True)
    spread = model.model.get_buffer("spread").tolist()
    found = path_coverage(model, setting.parts().test, seed)
    return {"contender": f"{name}, paths", "seed": seed, "spread": spread, "paths": found}


def run_classical(setting: Setting) -> dict[str, Any]:
    """Fit and judge everything without a network."""
    train, _, test = setting.parts()
    config, fitted_on, dataset, rows = _plain_rows(train, test, setting)
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, fitted_on.feature_rows())
    truth = truth_of(dataset, rows)
    said = {PERSISTENCE: persistence_forecasts(truth, LEVELS), HISTORICAL: historical_forecasts(truth, LEVELS)}
    seconds = {}
    for name, peer in peers(scaler).items():
        began = time.process_time()
        said[name] = peer.fit(fitted_on)(dataset, rows)
        seconds[name] = round(time.process_time() - began, 1)
        print(f"{name}: {seconds[name]} s", flush=True)
    for name in (HISTORICAL, "HAR"):
        said[f"{name}, tracked"] = tracked(truth, said[name])
    result: dict[str, Any] = {"contender": CLASSICAL, "seed": 0, "every": setting.every, "cpu_seconds": seconds}
    result["scores"] = by_market(truth, said, names_of(test, setting.what))
    if setting.what != REAL and setting.task != "easy":
        reference = said[NO_DRIFT]
        result["ceiling"] = {
            name: ceiling_figures(said[name], reference, (dataset, rows), ceiling_of(setting.task), truth)
            for name in said
            if name not in (PERSISTENCE, NO_DRIFT, "HAR, tracked", f"{HISTORICAL}, tracked")
        }
    return result


def run_law(setting: Setting) -> dict[str, Any]:
    """How much of its own log score the exact law keeps when all that is known of it is its quantiles; and when its
    median is 0 besides, as that of a forecaster whose medians calibration does not believe."""
    train, _, test = setting.parts()
    _, fitted_on, dataset, rows = _plain_rows(train, test, setting)
    quantiles = np.empty((len(rows), 1, len(LEVELS)))
    for number, seed in enumerate(task_seeds(setting.task, "test", len(test))):
        mine = dataset.market[rows] == number
        sample = regime_market(setting.task, DAYS, seed)
        quantiles[mine, 0] = law_quantiles(sample, dataset.t[rows[mine]], LEVELS)
    truth, reference = truth_of(dataset, rows), NoDrift().fit(fitted_on)(dataset, rows)
    middle = quantiles[..., [int(np.argmin(np.abs(LEVELS - 0.5)))]]
    said = {LAW: quantiles, f"{LAW}, medians of 0": quantiles - middle}
    place, exact = (dataset, rows), ceiling_of(setting.task)
    ceiling = {}
    for name, found in said.items():
        kept = ceiling_figures(Forecasts(LEVELS, np.zeros(found.shape[:2]), found), reference, place, exact, truth)
        ceiling[name] = {key: value for key, value in kept.items() if not key.startswith("r2")}
    return {"contender": LAW, "seed": 0, "every": setting.every, "ceiling": ceiling}


def _plain_rows(
    train: tuple[Part, ...], test: tuple[Part, ...], setting: Setting
) -> tuple[Any, ForecastDataset, ForecastDataset, NDArray[np.int64]]:
    """The recipe's architecture, training and test datasets, and the test rows that are judged."""
    config = ForecasterRecipe.read("forecaster").architecture.for_market(train[0].market)
    dataset = held_out_rows(test, config)
    rows = np.arange(0, len(dataset), setting.every)
    return config, ForecastDataset(train, config.layout_window, config.horizons), dataset, rows


def run_external(name: str, folder: Path | None, setting: Setting) -> dict[str, Any]:
    """A foundation model of others at evenly spread test rows, beside the baselines at the same rows.

    Its own nine quantiles are judged as they are.
    """
    train, _, test = setting.parts()
    _, _, dataset, _ = _plain_rows(train, test, setting)
    rows = np.unique(np.linspace(0, len(dataset) - 1, PEERS_ROWS).round().astype(np.int64))
    rows = rows[dataset.t[rows] >= CONTEXT]
    truth = truth_of(dataset, rows)
    began = time.process_time()
    said = External(name, folder)(dataset, rows)
    shown = FRACAST if name == "fracast" else name
    return {
        "contender": shown, "seed": 0, "rows": len(rows), "cpu_seconds": round(time.process_time() - began, 1),
        "learned_from": "unknown here: series of its makers (see its package)",
        "scores": by_market(truth, beside_baselines(shown, truth, said), names_of(test, setting.what)),
    }  # fmt: skip


def run_planted(setting: Setting, law: str, seed: int) -> dict[str, Any]:
    """A sine, an AR(1) of returns or white noise: the share of squared error that is forecast, beside the optimum."""
    bars, optimum = planted_bars()[law]
    recipe = ForecasterRecipe.read("forecaster")
    config = replace(recipe.architecture, timeframes=("1h",), window=(60,), horizons=(1, 4, 16), steps=16)
    market = Market.from_bars(bars, ("1h",))
    parts = [Part(market, 0, 5500), Part(market, 5500, 7500), Part(market, 7500)]
    model = fit_forecaster(
        parts[:1], parts[1:2], config, setting.training(recipe), seed=seed, options=FitOptions(progress=False)
    )
    dataset = held_out_rows(parts[2:], config.for_market(market))
    rows = np.arange(len(dataset))
    truth, said = truth_of(dataset, rows), forecasts_of(model, dataset, rows)
    table = plain(judge(truth, {law: said, HISTORICAL: historical_forecasts(truth, said.levels)}))
    trust = model.model.get_buffer("trust").tolist()
    return {
        "contender": law, "seed": seed, "seconds": setting.seconds, "optimal_skill": optimum, "trust": trust,
        "training": model.provenance.metrics, "scores": {"all": table},
    }  # fmt: skip
