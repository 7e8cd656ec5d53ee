"""Forecasts of several steps as one table: from sampled paths, or from the heads at their horizons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain.data.windows import WindowSource
from pretrain.forecaster.model import ForecasterModel
from pretrain.forecaster.paths import Origin, sample_paths, spread_at, widened

PATHS, DIRECT = "paths", "direct"
Floats = NDArray[np.float64]


class ForecastRows(NamedTuple):
    """One origin: `mean` (steps,) and `quantiles` (steps, Q) log-returns, `growth` (steps,) mean ratio of prices."""

    mean: Floats
    quantiles: Floats
    growth: Floats


def path_rows(
    model: ForecasterModel, market: Market, windows: WindowSource, row: int, draws: tuple[int, int, int]
) -> ForecastRows:
    """From calibrated sampled paths; `draws`: steps, paths, seed."""
    drawn = drawn_paths(model, market, windows, row, draws)
    quantiles = np.quantile(drawn, model.config.quantiles, axis=0).T
    return ForecastRows(drawn.mean(axis=0), quantiles, np.exp(drawn).mean(axis=0))


def drawn_paths(
    model: ForecasterModel, market: Market, windows: WindowSource, row: int, draws: tuple[int, int, int]
) -> Floats:
    """(P, steps) calibrated log-returns since bar `row`; `draws`: steps, paths, seed."""
    steps, paths, seed = draws
    origin = Origin.of(market, row)
    rng = np.random.default_rng((seed, origin.close_ms))
    return widened(sample_paths(model, windows, [origin], steps, paths, [rng])[0], spread_at(model, steps))


def direct_rows(
    model: ForecasterModel, market: Market, windows: WindowSource, row: int, steps: int
) -> ForecastRows:
    """From the heads; between two horizons, what they say in units of sigma * sqrt(horizon) is joined by a line."""
    device = model.get_buffer("trust").device
    window = [part.to(device) for part in windows.gather(np.zeros(1, np.int64), np.array([row]))]
    close_ms = market.start_ms + (row + 1) * timeframe_ms(market.timeframes[0])
    said = model.last(window, torch.tensor([close_ms], device=device))
    mean, quantiles = (part[0].double().cpu().numpy() for part in model.calibrated(said))
    ahead, horizons = np.arange(1, steps + 1), np.array(model.config.horizons)
    unit = market.prices[row, SIGMA] * np.sqrt(ahead)
    means = np.interp(ahead, horizons, mean) * unit
    levels = [np.interp(ahead, horizons, column) * unit for column in quantiles.T]
    return ForecastRows(means, np.column_stack(levels), np.exp(means))


def forecast_table(
    market: Market, rows: Sequence[int], found: Sequence[ForecastRows], quantiles: tuple[float, ...]
) -> pd.DataFrame:
    """One row per origin and step, as `Forecaster.forecast` says."""
    step = pd.Timedelta(timeframe_ms(market.timeframes[0]), unit="ms")
    names = [f"q{100.0 * q:g}" for q in quantiles]
    tables = []
    for row, one in zip(rows, found, strict=True):
        close, origin = market.prices[row, CLOSE], market.bars.index[row]
        steps = np.arange(1, len(one.mean) + 1)
        columns = {"origin": origin, "step": steps, "time": origin + step * steps, "return_mean": one.mean}
        columns |= {f"return_{name}": one.quantiles[:, k] for k, name in enumerate(names)}
        columns |= {"price_mean": close * one.growth}
        columns |= {f"price_{name}": close * np.exp(one.quantiles[:, k]) for k, name in enumerate(names)}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)
