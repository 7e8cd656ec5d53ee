"""Calibration: what held-out rows show of bands and means is put right, on rows that chose no weights.

Bands are stretched around their median until they cover what they say: the share of rows that a band of level a holds
is a known function of one factor, whose quantile is taken (conformal prediction with a volatility-normalised score:
Papadopoulos, Gammerman and Vovk 2008; Romano, Patterson and Candes 2019). Both sides get the same factor: which side
the price went to over the weeks of calibration says nothing about the next weeks. Means are believed as far as a
regression on the same rows shows them to be worth, and the medians that bands lie around as far as they make the
pinball loss smaller: not at all where that may be chance, so that the forecast is persistence then. Of sampled paths,
the distance from the median is made wider or narrower at each horizon.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import pinball, quantile_function
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import SIGMA_BARS
from pretrain.data.forecast_windows import ForecastDataset
from pretrain.data.windows import WindowSource
from pretrain.forecaster.model import ForecasterModel, middle
from pretrain.forecaster.paths import Origin, sample_paths

CALIBRATION_ROWS = 4_000
CONFIDENT = 2.326  #: standard errors that a gain must be from chance to be believed: 99%, one-sided
SHARES = (0.25, 0.5, 0.75, 1.0)  #: of a median that may be believed
LEAST_BLOCK, LEAST_BLOCKS = 24, 8  #: base bars of a block of time at least, and blocks for anything to be believed
PATH_ORIGINS, PATHS, AT_ONCE = 96, 50, 32
BAND = 0.8  #: of the paths, whose coverage is put right
BATCH = 1024
Floats = NDArray[np.float64]


def forecasts(
    model: ForecasterModel, dataset: ForecastDataset, rows: NDArray[np.int64], batch: int = BATCH
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What is said at rows (n,) of a dataset, and what came: calibrated means (n, H) and quantiles (n, H, Q), returns
    (n, H), all in units of sigma * sqrt(horizon), returns NaN where not known."""
    device = model.get_buffer("trust").device
    means, quantiles, returns = [], [], []
    model.eval()
    with torch.inference_mode():
        for part in np.array_split(rows, max(1, -(-len(rows) // batch))):
            given = dataset.batch(part)
            said = model.last([window.to(device) for window in given.windows], given.closes_ms.to(device))
            mean, bands = model.calibrated(said)
            means.append(mean.double().cpu().numpy())
            quantiles.append(bands.double().cpu().numpy())
            returns.append(given.returns[:, -1].double().numpy())
    return np.concatenate(means), np.concatenate(quantiles), np.concatenate(returns)


def calibrate(model: ForecasterModel, held_out: ForecastDataset, *, seed: int = 0, paths: bool = True) -> None:
    """Set how far means are believed, how bands are stretched and how wide paths are.

    Args:
        model: trained; its calibration is replaced.
        held_out: rows that nothing was learned from and no weights were chosen by.
        seed: of the paths.
        paths: whether sampled ones are put right too, which takes longest.
    """
    config = model.config
    for name in ("stretch", "trust", "spread"):
        model.get_buffer(name).fill_(1.0)
    rows = np.unique(np.linspace(0, len(held_out) - 1, min(CALIBRATION_ROWS, len(held_out))).round().astype(np.int64))
    means, quantiles, returns = forecasts(model, held_out, rows)
    medians = middle(torch.from_numpy(quantiles), config.quantiles).numpy()
    closes = held_out.closes_ms(rows) // timeframe_ms(config.timeframes[0])
    trust, stretch = np.ones((2, len(config.horizons))), np.ones(quantiles.shape[1:])
    for h, horizon in enumerate(config.horizons):
        known = np.isfinite(returns[:, h])
        if not known.any():
            continue
        blocks = closes[known] // max(2 * horizon, LEAST_BLOCK)
        trust[0, h] = worth(means[known, h], returns[known, h], blocks)
        trust[1, h] = worth_of_median(
            (np.array(config.quantiles), quantiles[known, h], medians[known, h]), returns[known, h], blocks
        )
        centre = trust[1, h] * medians[known, h]
        around = quantiles[known, h] - medians[known, h, None]
        stretch[h] = stretches(returns[known, h] - centre, around, np.array(config.quantiles))
    model.get_buffer("trust").copy_(torch.from_numpy(trust))
    model.get_buffer("stretch").copy_(torch.from_numpy(stretch))
    if config.steps and paths:
        model.get_buffer("spread").copy_(torch.from_numpy(path_spread(model, held_out, seed)))


def worth(said: Floats, came: Floats, blocks: NDArray[np.int64]) -> float:
    """How far means are to be believed, 0 to 1: the shrunken slope of what came (n,) on what was said (n,).

    The slope goes through the origin. Its variance is over sums of blocks of time (`blocks` (n,) their numbers), as
    returns of one time overlap and go together in all markets (cluster-robust: Liang and Zeger 1986). It is 0 where the
    slope may be chance, else shrunk by the share of its square that is error (James and Stein 1961).
    """
    total = float(said @ said)
    if total == 0.0:
        return 0.0
    slope = float(said @ came) / total
    sums = np.bincount(np.unique(blocks, return_inverse=True)[1], said * (came - slope * said))
    count = len(sums)
    if count < LEAST_BLOCKS:
        return 0.0
    error = math.sqrt(float(sums @ sums) * count / (count - 1)) / total
    if slope <= CONFIDENT * error:
        return 0.0
    return float(np.clip(slope * (1.0 - (error / slope) ** 2), 0.0, 1.0))


def worth_of_median(
    said: tuple[Floats, Floats, Floats], came: Floats, blocks: NDArray[np.int64]
) -> float:
    """How far medians are to be believed: of SHARES the one with the lowest pinball loss, 0 if it may be chance.

    Args:
        said: levels (Q,), quantiles (n, Q) and medians (n,).
        came: (n,).
        blocks: (n,) as in `worth`; the gain on bands around 0 is tested by sums over them.
    """
    levels, quantiles, medians = said
    plain = pinball(levels, quantiles - medians[:, None], came).mean(axis=1)
    numbers = np.unique(blocks, return_inverse=True)[1]
    best, gained = 0.0, 0.0
    for share in SHARES:
        moved = quantiles - (1.0 - share) * medians[:, None]
        gain = plain - pinball(levels, moved, came).mean(axis=1)
        sums = np.bincount(numbers, gain - gain.mean())
        error = math.sqrt(float(sums @ sums) / max(len(sums) * (len(sums) - 1), 1)) * len(sums) / len(gain)
        if len(sums) >= LEAST_BLOCKS and gain.mean() > max(CONFIDENT * error, gained):
            best, gained = share, float(gain.mean())
    return best


def stretches(missed: Floats, around: Floats, levels: Floats) -> Floats:
    """(Q,) factors of the distance of each quantile from the median.

    Args:
        missed: (n,) what came, less the median.
        around: (n, Q) quantiles less the median.
        levels: (Q,); those of one band get the same factor.
    """
    out = np.ones(len(levels))
    for k, level in enumerate(levels):
        if level == 0.5:
            continue
        pair = np.array([min(level, 1.0 - level), max(level, 1.0 - level)])
        low, high = quantile_function(levels, around, pair).T
        side = np.where(missed > 0.0, high, -low)
        out[k] = np.quantile(np.abs(missed) / np.maximum(side, 1e-6), pair[1] - pair[0])
    return out


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
