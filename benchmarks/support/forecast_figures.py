"""Figures of forecasters: scores by market, coverage of sampled paths, the share of what the exact filter gains."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.support.forecast_data import Ceiling
from cryptoenv.analysis.forecast_scores import block_bootstrap, log_density, quantile_function
from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.market.market import SIGMA_BARS, Market
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.data.windows import WindowSource
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.evaluation import HISTORICAL, PERSISTENCE, Forecasts, Truth, judge
from pretrain.forecaster.forecast_table import drawn_paths
from pretrain.forecaster.paths import Origin

ALL = "all"  #: rows of all markets together
PATH_EVERY, PATHS, PATH_STEPS = 96, 256, 96
BANDS = (0.5, 0.8, 0.9)  #: of paths, that are judged
SHOWN = ("crps_of_historical", "crps_low", "crps_high", "cover_50", "cover_80", "cover_90", "skill", "direction",
         "direction_low", "direction_high", "direction_p", "amplitude", "dm", "dm_p")  # fmt: skip


def by_market(truth: Truth, said: Mapping[str, Forecasts], names: Sequence[str]) -> dict[str, Any]:
    """Scores over all rows together (ALL) and in each market alone."""
    found = {ALL: plain(judge(truth, said))}
    for number, name in enumerate(names):
        mine = truth.market == number
        one = replace(
            truth, returns=truth.returns[mine], close=truth.close[mine], market=truth.market[mine],
            row=truth.row[mine], sigma=truth.sigma[mine], historical=truth.historical[mine],
        )  # fmt: skip
        kept = {key: Forecasts(f.levels, f.mean[mine], f.quantiles[mine]) for key, f in said.items()}
        found[name] = plain(judge(one, kept))
    return found


def plain(table: pd.DataFrame) -> dict[str, Any]:
    """A table of `judge` as values by contender and horizon; None where there is no number."""
    out: dict[str, Any] = {}
    for key, row in table.iterrows():
        name, horizon = key if isinstance(key, tuple) else (key, "")
        values = {k: None if not np.isfinite(v) else float(f"{float(v):.6g}") for k, v in row.items()}
        out.setdefault(str(name), {})[str(horizon)] = values
    return out


def path_coverage(model: Forecaster, test: Sequence[Part], seed: int) -> dict[str, Any]:
    """Coverage of 50, 80 and 90% bands of sampled paths at the horizons, and of the heads' own bands at the same rows.

    Judged at every `PATH_EVERY`-th row: a path begins when the one before has ended. By horizon and band the share that
    was covered and its 90% interval, by bootstrap over moments, as markets move together.
    """
    held, closes, began = [], [], time.process_time()
    for part in test:
        source = WindowSource([part.market], model.config.layout_window)
        first = max(part.start, part.market.first_decision(model.config.layout_window), SIGMA_BARS)
        for row in range(first, part.end - PATH_STEPS, PATH_EVERY):
            origin = Origin.of(part.market, row)
            with torch.inference_mode():
                held.append(_held_at(model, part.market, source, origin, seed))
            closes.append(origin.close_ms)
    shares = shares_over_moments(np.array(held, np.float64), np.array(closes))
    cover: dict[str, Any] = {}
    for n, name in enumerate(("cover", "cover_of_heads")):
        for k, horizon in enumerate(_path_horizons(model)):
            told = {f"{100 * band:g}": shares[n, k, j].round(4).tolist() for j, band in enumerate(BANDS)}
            cover.setdefault(name, {})[str(horizon)] = told
    seconds = round(time.process_time() - began, 1)
    return {"origins": len(held), "moments": len(set(closes)), "paths": PATHS, "cpu_seconds": seconds} | cover


def _path_horizons(model: Forecaster) -> list[int]:
    return [horizon for horizon in model.config.horizons if horizon <= PATH_STEPS]


def _held_at(model: Forecaster, market: Market, source: WindowSource, origin: Origin, seed: int) -> NDArray[np.bool_]:
    """(2, H, 3) whether what came after an origin lies in the bands of paths, and in those of the heads."""
    horizons = np.array(_path_horizons(model))
    close = np.log(market.prices[:, CLOSE])
    came = (close[origin.row + horizons] - close[origin.row])[None, :, None]
    tails = np.array([[(1.0 - band) / 2.0, (1.0 + band) / 2.0] for band in BANDS])
    drawn = drawn_paths(model.model, market, source, origin.row, (PATH_STEPS, PATHS, seed))
    of_paths = np.quantile(drawn[:, horizons - 1], tails, axis=0).transpose(2, 0, 1)
    said = model.model.last(
        source.gather(np.zeros(1, np.int64), np.array([origin.row])), torch.tensor([origin.close_ms])
    )
    bands = model.model.calibrated(said)[1][0, : len(horizons)].double().numpy()
    units = market.prices[origin.row, SIGMA] * np.sqrt(horizons)[:, None]
    of_heads = quantile_function(np.array(model.config.quantiles), bands * units, tails.ravel()).reshape(of_paths.shape)
    edges = np.stack([of_paths, of_heads])
    return np.asarray((edges[..., 0] <= came) & (came <= edges[..., 1]))


def shares_over_moments(held: NDArray[np.float64], closes: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., 3) mean of `held` (n, ...) and its 90% interval by bootstrap of the moments (n,) `closes`."""
    which = np.unique(closes, return_inverse=True)[1]
    sums = np.stack([[held[which == k].sum(axis=0), np.full(held.shape[1:], (which == k).sum())]
                     for k in range(which.max() + 1)])  # fmt: skip
    draws = block_bootstrap(sums, 1, 1000, np.random.default_rng(0))
    low, high = np.quantile(draws[:, 0] / draws[:, 1], (0.05, 0.95), axis=0)
    return np.stack([held.mean(axis=0), low, high], axis=-1)


def ceiling_figures(
    said: Forecasts, reference: Forecasts, place: tuple[ForecastDataset, NDArray[np.int64]], exact: Ceiling,
    truth: Truth,
) -> dict[str, Any]:  # fmt: skip
    """At one bar ahead: gain in log score over `reference`, ours and the exact filter's; R2 of return and of drift.

    `place`: the dataset and its rows that were forecast. The interval of the share is 90%, by paired block bootstrap;
    `r2_of_drift` is that of our mean about the filter's expectation, the part of a return that can be known.
    """
    scores, means, told = (_at_rows(values, *place) for values in exact)
    returns = truth.returns[:, 0]
    known = np.isfinite(returns) & np.isfinite(scores) & (truth.sigma > 0.0)
    own = log_density(said.levels, said.quantiles[known, 0], returns[known])
    base = log_density(reference.levels, reference.quantiles[known, 0], returns[known])
    gains = np.column_stack([own - base, scores[known] - base])
    gain, most = gains.mean(axis=0)
    draws = block_bootstrap(gains, 288, 500, np.random.default_rng(0))
    low, high = np.quantile(draws[:, 0] / draws[:, 1], (0.05, 0.95))
    of_told = float((told[known] - base).mean())
    mean, drift, total = said.mean[known, 0], means[known], float((returns[known] ** 2).mean())
    return {
        "gain": float(gain), "gain_of_the_exact_filter": float(most), "share": float(gain / most),
        "share_low": float(low), "share_high": float(high), "gain_when_told_the_level": of_told,
        "share_of_it": float(gain / of_told),
        "r2": 1.0 - float(((returns[known] - mean) ** 2).mean()) / total,
        "r2_of_the_exact_filter": 1.0 - float(((returns[known] - drift) ** 2).mean()) / total,
        "r2_of_drift": 1.0 - float(((drift - mean) ** 2).mean() / (drift**2).mean()),
    }  # fmt: skip


def _at_rows(
    values: Sequence[NDArray[np.float64]], dataset: ForecastDataset, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(n,) values of each market's bars at rows of a dataset."""
    return np.array([values[m][t] for m, t in zip(dataset.market[rows], dataset.t[rows], strict=True)])


def merged(folder: Path) -> dict[str, Any]:
    """What all runs left, by what they ran on: each without the scores of single markets, and the summary."""
    runs: dict[str, list[Any]] = {}
    for path in sorted(folder.glob("*/*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "contender" in found:
            runs.setdefault(path.parent.name, []).append(found)
    told = {what: summary(found) for what, found in runs.items()}
    for found in runs.values():
        for one in found:
            if ALL in one.get("scores", {}):
                own = {name: rows for name, rows in one["scores"][ALL].items() if _is_own(name, one)}
                one["scores"] = {ALL: own}
    return {"runs": runs, "summary": told}


def _is_own(name: str, run: Mapping[str, Any]) -> bool:
    """Whether a row of a run's scores is not the baselines' again."""
    return name not in (PERSISTENCE, HISTORICAL) or run["contender"] == "classical"


def summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Per contender, market and horizon: mean over seeds of the scores that decide, and how many seeds."""
    rows: dict[str, dict[str, Any]] = {}
    for one in found:
        for market, contenders in one.get("scores", {}).items():
            for name, horizons in contenders.items():
                if not _is_own(name, one) or not isinstance(horizons, dict):
                    continue
                for horizon, values in horizons.items():
                    place = rows.setdefault(f"{name} | {market} | {horizon}", {"seeds": 0})
                    place["seeds"] += 1
                    for column in SHOWN:
                        if values.get(column) is not None:
                            place.setdefault(column, []).append(values[column])
    return {
        key: {c: round(float(np.mean(v)), 4) if isinstance(v, list) else v for c, v in values.items()}
        for key, values in rows.items()
    }
