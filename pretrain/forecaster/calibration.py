"""Calibration: what validation shows of the bands is put right, so that an 80% band covers 80% of what comes.

Each quantile is moved by the same quantile of what validation rows missed it by (conformalised quantile regression,
Romano, Patterson and Candes 2019, one-sided and per level). Of sampled paths, the distance from the median is made
wider or narrower at each horizon.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.market.market import SIGMA_BARS
from pretrain.data.forecast_windows import ForecastDataset
from pretrain.data.windows import WindowSource
from pretrain.forecaster.model import ForecasterModel
from pretrain.forecaster.paths import Origin, sample_paths

CALIBRATION_ROWS = 20_000
PATH_ORIGINS, PATHS, AT_ONCE = 160, 100, 32
BAND = 0.8  #: of the paths, whose coverage is put right
BATCH = 1024


def forecasts(
    model: ForecasterModel, dataset: ForecastDataset, rows: NDArray[np.int64], batch: int = BATCH
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What is said at rows (n,) of a dataset, and what came: means (n, H), calibrated quantiles (n, H, Q), returns
    (n, H), all in units of sigma * sqrt(horizon), returns NaN where not known."""
    device = model.get_buffer("shift").device
    means, quantiles, returns = [], [], []
    model.eval()
    with torch.inference_mode():
        for part in np.array_split(rows, max(1, -(-len(rows) // batch))):
            given = dataset.batch(part)
            said = model.last([window.to(device) for window in given.windows], given.closes_ms.to(device))
            means.append(said.mean.double().cpu().numpy())
            quantiles.append(model.calibrated(said.quantiles).double().cpu().numpy())
            returns.append(given.returns[:, -1].double().numpy())
    return np.concatenate(means), np.concatenate(quantiles), np.concatenate(returns)


def calibrate(model: ForecasterModel, held_out: ForecastDataset, *, seed: int = 0) -> None:
    """Set what is added to quantiles, and how wide paths are, by rows that nothing was learned from.

    Args:
        model: trained; its calibration is replaced.
        held_out: rows to calibrate on.
        seed: of the paths.
    """
    config = model.config
    model.get_buffer("shift").zero_()
    model.get_buffer("spread").fill_(1.0)
    rows = np.unique(np.linspace(0, len(held_out) - 1, min(CALIBRATION_ROWS, len(held_out))).round().astype(np.int64))
    _, quantiles, returns = forecasts(model, held_out, rows)
    shift = np.zeros((len(config.horizons), len(config.quantiles)))
    for h in range(len(config.horizons)):
        known = np.isfinite(returns[:, h])
        if known.any():
            missed = returns[known, h, None] - quantiles[known, h]
            shift[h] = [np.quantile(missed[:, k], level) for k, level in enumerate(config.quantiles)]
    model.get_buffer("shift").copy_(torch.from_numpy(shift))
    if config.steps:
        model.get_buffer("spread").copy_(torch.from_numpy(path_spread(model, held_out, seed)))


def path_spread(model: ForecasterModel, held_out: ForecastDataset, seed: int) -> NDArray[np.float64]:
    """(H,) factors by which the distance of paths from their median must grow for their `BAND` to cover that share."""
    config = model.config
    steps = min(config.steps, config.horizons[-1])
    rows = np.unique(np.linspace(0, len(held_out) - 1, min(PATH_ORIGINS, len(held_out))).round().astype(np.int64))
    ratios: list[list[float]] = [[] for _ in config.horizons]
    rows = rows[held_out.t[rows] >= SIGMA_BARS]
    source = WindowSource([part.market for part in held_out.parts], config.layout_window)
    for some in np.array_split(rows, max(1, -(-len(rows) // AT_ONCE))):
        numbers = held_out.market[some].tolist()
        origins = [
            Origin.of(held_out.parts[m].market, int(t), m) for m, t in zip(numbers, held_out.t[some], strict=True)
        ]
        rngs = [np.random.default_rng((seed, int(row))) for row in some]
        with torch.inference_mode():
            found = sample_paths(model, source, origins, steps, PATHS, rngs)
        for origin, drawn in zip(origins, found, strict=True):
            part, t = held_out.parts[origin.market], origin.row
            close = np.log(part.market.prices[:, CLOSE])
            for h, horizon in enumerate(config.horizons):
                if horizon <= steps and t + horizon < part.end:
                    levels = ((1.0 - BAND) / 2.0, 0.5, (1.0 + BAND) / 2.0)
                    low, middle, high = np.quantile(drawn[:, horizon - 1], levels)
                    missed = close[t + horizon] - close[t] - middle
                    half = high - middle if missed > 0.0 else middle - low
                    ratios[h].append(abs(missed) / max(half, 1e-12))
    needed = np.array([np.quantile(part, BAND) if len(part) >= 20 else np.nan for part in ratios])
    known = np.isfinite(needed)
    if not known.any():
        return np.ones(len(needed))
    logs = np.log(np.array(config.horizons, np.float64))
    return np.clip(np.interp(logs, logs[known], needed[known]), 0.25, 4.0)
