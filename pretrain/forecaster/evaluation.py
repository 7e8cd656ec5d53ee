"""How good a forecaster is on rows that it has not learned from, beside what it must beat.

Shapes: `n` rows, `H` horizons, `Q` levels. All returns are log-returns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import (
    block_bootstrap,
    coverage,
    crps,
    diebold_mariano,
    pesaran_timmermann,
    pinball,
    point_errors,
    quantile_function,
    skill,
)
from cryptoenv.bars.price_columns import CLOSE, SIGMA
from pretrain.data.forecast_windows import ForecastDataset, Part
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.calibration import forecasts
from pretrain.forecaster.config import ForecasterConfig
from pretrain.forecaster.model import normal_quantiles
from pretrain.forecaster.tracking import needed_widths, tracked_factors, widened_quantiles

Floats = NDArray[np.float64]
BANDS = (0.5, 0.8, 0.9)
FORECASTER, TRACKED = "forecaster", "forecaster, tracked"
PERSISTENCE, HISTORICAL = "persistence", "historical volatility"
HISTORICAL_BARS = 20  #: of the historical volatility that bands must beat
DRAWS, INTERVAL = 500, 0.9
COLUMNS = (
    "rows", "mae", "mse", "rmse", "mape_price", "mase", "skill", "direction", "direction_low", "direction_high",
    "direction_p", "pinball", "crps", "crps_of_historical", "crps_low", "crps_high", "dm", "dm_p", "cover_50",
    "cover_80", "cover_90", "amplitude",
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """What came: `returns` (n, H), NaN where not known; `close` (n,) at the origin; `market` (n,) number of the part;
    `sigma` (n,) of the last 96 log-returns, `historical` (n,) of the last 20; `row` (n,) of the market."""

    horizons: tuple[int, ...]
    returns: Floats
    close: Floats
    market: NDArray[np.int64]
    row: NDArray[np.int64]
    sigma: Floats
    historical: Floats


@dataclass(frozen=True)
class Forecasts:
    """What was said: `mean` (n, H), and `quantiles` (n, H, Q) at `levels` (Q,)."""

    levels: Floats
    mean: Floats
    quantiles: Floats


def truth_of(dataset: ForecastDataset, rows: NDArray[np.int64]) -> Truth:
    """What came after rows (n,) of a dataset."""
    units: Floats = np.sqrt(np.array(dataset.horizons, np.float64))
    returns: Floats = dataset.returns(rows)[0][:, -1].astype(np.float64)
    sigma = np.empty(len(rows))
    market, t = dataset.market[rows], dataset.t[rows]
    close, historical = np.empty(len(rows)), np.empty(len(rows))
    for number, part in enumerate(dataset.parts):
        mine = market == number
        close[mine] = part.market.prices[t[mine], CLOSE]
        logs = np.log(part.market.prices[:, CLOSE])
        steps = np.diff(logs, prepend=logs[0])
        moving = np.lib.stride_tricks.sliding_window_view(steps, HISTORICAL_BARS).std(axis=1)
        historical[mine] = moving[np.maximum(t[mine] - HISTORICAL_BARS + 1, 0)]
        sigma[mine] = part.market.prices[t[mine], SIGMA]
    return Truth(dataset.horizons, returns * sigma[:, None] * units, close, market, t, sigma, historical)


def historical_forecasts(truth: Truth, levels: Floats) -> Forecasts:
    """No drift, and normal bands of the standard deviation of the last 20 log-returns."""
    units = truth.historical[:, None] * np.sqrt(np.array(truth.horizons, np.float64))
    return Forecasts(levels, np.zeros_like(truth.returns), units[..., None] * normal_quantiles(tuple(levels)))


def persistence_forecasts(truth: Truth, levels: Floats) -> Forecasts:
    """The price stays; it has no bands."""
    return Forecasts(levels, np.zeros_like(truth.returns), np.zeros((*truth.returns.shape, len(levels))))


def forecasts_of(
    forecaster: Forecaster, dataset: ForecastDataset, rows: NDArray[np.int64], batch: int = 1024
) -> Forecasts:
    """What a forecaster's heads say at rows (n,) of a dataset, in log-returns; `batch` rows at a time."""
    mean, quantiles, _ = forecasts(forecaster.model, dataset, rows, batch)
    units = truth_of(dataset, rows).sigma[:, None] * np.sqrt(np.array(dataset.horizons, np.float64))
    return Forecasts(np.array(forecaster.config.quantiles), mean * units, quantiles * units[..., None])


def tracked(truth: Truth, said: Forecasts) -> Forecasts:
    """The same forecasts with bands that follow what they missed before each row (`tracking`), in every market anew."""
    factors = np.ones(truth.returns.shape)
    needed = needed_widths(said.levels, said.quantiles, truth.returns)
    for number in np.unique(truth.market):
        mine = np.flatnonzero(truth.market == number)
        factors[mine] = tracked_factors(truth.row[mine], needed[mine], truth.horizons)
    return Forecasts(said.levels, said.mean, widened_quantiles(said.levels, said.quantiles, factors))


def held_out_rows(parts: Sequence[Part], config: ForecasterConfig) -> ForecastDataset:
    """The dataset of parts that are judged on."""
    return ForecastDataset(parts, config.layout_window, config.horizons)


def judge(truth: Truth, said: Mapping[str, Forecasts], *, seed: int = 0) -> pd.DataFrame:
    """Every score of every contender, at every horizon, over all rows whose return is known.

    Args:
        truth: what came.
        said: forecasts by contender.
        seed: of the block bootstrap.

    Returns:
        One row per (contender, horizon), columns COLUMNS: errors of the mean in log-returns, `mape_price` of the
        price, `mase` the MAE over the mean size of returns that do not overlap (the naive forecast's error); `skill`
        1 - MSE / persistence's; `direction` the share of right signs of non-zero means (of medians, where a
        contender's mean is persistence's throughout) with its interval, and Pesaran and Timmermann's p-value on
        non-overlapping rows; mean `pinball` and `crps`; `crps_of_historical` the ratio to
        historical volatility's with a 90% interval by paired block bootstrap; `dm` Diebold and Mariano's statistic of
        the CRPS against it (negative: better) and its p-value; `cover_80` and so
        on; `amplitude` std(forecast) / std(target). NaN where a contender has no bands, or says no direction.
    """
    found = {}
    for h, horizon in enumerate(truth.horizons):
        known = np.isfinite(truth.returns[:, h]) & (truth.historical > 0.0)
        levels = next(iter(said.values())).levels
        reference = historical_forecasts(truth, levels).quantiles[known, h]
        of_reference = crps(levels, reference, truth.returns[known, h])
        for name, one in said.items():
            found[name, horizon] = _scores(truth, one, h, known, (of_reference, seed))
    index = pd.MultiIndex.from_tuples(found, names=["contender", "horizon"])
    return pd.DataFrame(list(found.values()), index=index, columns=list(COLUMNS))


def _scores(
    truth: Truth, said: Forecasts, h: int, known: NDArray[np.bool_], against: tuple[Floats, int]
) -> dict[str, float]:
    """One contender at one horizon; `against`: the CRPS of historical volatility at the known rows, and a seed."""
    horizon, returns = truth.horizons[h], truth.returns[known, h]
    mean, quantiles = said.mean[known, h], said.quantiles[known, h]
    errors = point_errors(mean, returns)
    price = point_errors(truth.close[known] * np.exp(mean), truth.close[known] * np.exp(returns))
    out: dict[str, float] = {
        "rows": float(len(returns)), "mae": errors["mae"], "mse": errors["mse"], "rmse": errors["rmse"],
        "mape_price": price["mape"], "mase": errors["mae"] / float(np.abs(returns[::horizon]).mean()),
        "skill": skill((mean - returns) ** 2, returns**2),
        "amplitude": float(mean.std() / returns.std()) if returns.std() > 0.0 else math.nan,
    }  # fmt: skip
    medians = quantile_function(said.levels, quantiles, np.array([0.5]))[:, 0]
    out |= _direction(truth, known, h, mean if mean.any() else medians)
    has_bands = bool(np.ptp(quantiles, axis=1).any())
    scores = crps(said.levels, quantiles, returns)
    out |= {"pinball": float(pinball(said.levels, quantiles, returns).mean()), "crps": float(scores.mean())}
    of_reference, seed = against
    block = max(2 * horizon, 96)
    means = block_bootstrap(np.column_stack([scores, of_reference]), block, DRAWS, np.random.default_rng(seed))
    low, high = np.quantile(means[:, 0] / means[:, 1], ((1.0 - INTERVAL) / 2.0, (1.0 + INTERVAL) / 2.0))
    test = diebold_mariano(scores, of_reference, horizon)
    out |= {
        "crps_of_historical": float(scores.mean() / of_reference.mean()), "crps_low": float(low),
        "crps_high": float(high), "dm": test.statistic, "dm_p": test.p_value,
    }  # fmt: skip
    for band in BANDS:
        edges = quantile_function(said.levels, quantiles, np.array([(1.0 - band) / 2.0, (1.0 + band) / 2.0]))
        out[f"cover_{100 * band:g}"] = coverage(edges[:, 0], edges[:, 1], returns) if has_bands else math.nan
    return out


def _direction(truth: Truth, known: NDArray[np.bool_], h: int, said: Floats) -> dict[str, float]:
    returns, horizon = truth.returns[known, h], truth.horizons[h]
    told = (said != 0.0) & (returns != 0.0)
    if told.sum() < 10:
        return dict.fromkeys(("direction", "direction_low", "direction_high", "direction_p"), math.nan)
    hits = ((said > 0.0) == (returns > 0.0))[told].astype(np.float64)
    draws = block_bootstrap(hits[:, None], max(2 * horizon, 96), DRAWS, np.random.default_rng(0))[:, 0]
    apart = told & (truth.row[known] % horizon == 0)
    tested = pesaran_timmermann(said[apart], returns[apart]) if apart.sum() >= 10 else None
    return {
        "direction": float(hits.mean()),
        "direction_low": float(np.quantile(draws, (1.0 - INTERVAL) / 2.0)),
        "direction_high": float(np.quantile(draws, (1.0 + INTERVAL) / 2.0)),
        "direction_p": math.nan if tested is None else tested.p_value,
    }


def evaluate_forecaster(
    forecaster: Forecaster, parts: Sequence[Part], further: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """A forecaster, alone and with tracked bands, persistence and historical volatility on parts, as `judge` says.

    Args:
        forecaster: whose windows and horizons are judged.
        parts: rows that it has not learned from.
        further: other contenders: functions of (dataset, rows) to `Forecasts`.

    Raises:
        ArtifactError: a market does not fit. ValueError: no row with a known return.
    """
    for part in parts:
        forecaster.require(part.market)
    dataset = held_out_rows(parts, forecaster.config)
    rows = np.arange(len(dataset))
    truth = truth_of(dataset, rows)
    said = beside_baselines(FORECASTER, truth, forecasts_of(forecaster, dataset, rows))
    said |= {name: make(dataset, rows) for name, make in (further or {}).items()}
    return judge(truth, said)


def beside_baselines(name: str, truth: Truth, said: Forecasts) -> dict[str, Forecasts]:
    """A contender by its name, alone and with tracked bands, persistence and historical volatility."""
    return {
        name: said, f"{name}, tracked": tracked(truth, said),
        PERSISTENCE: persistence_forecasts(truth, said.levels), HISTORICAL: historical_forecasts(truth, said.levels),
    }  # fmt: skip


def judge_beside_baselines(
    name: str,
    contender: Callable[[ForecastDataset, NDArray[np.int64]], Forecasts],
    dataset: ForecastDataset,
    rows: NDArray[np.int64],
) -> pd.DataFrame:
    """A contender, alone and with tracked bands, persistence and historical volatility at rows (n,), as `judge` says.

    Args:
        name: of the contender.
        contender: what it says at rows of a dataset.
        dataset: of parts that it has not learned from.
        rows: (n,) of the dataset.
    """
    truth = truth_of(dataset, rows)
    return judge(truth, beside_baselines(name, truth, contender(dataset, rows)))
