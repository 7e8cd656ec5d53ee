"""Paths: the next bar is drawn from its forecast, becomes a token, and so on; the network's past is kept in a cache.

A drawn bar has a return and a time and nothing else: its other features are marked unseen. Shapes: `P` paths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import quantile_function
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import DAY_MS, MONDAY_MS, WEEK_MS, timeframe_ms
from cryptoenv.market.market import SIGMA_BARS, Market
from pretrain.data.windows import WindowSource
from pretrain.forecaster.config import CALENDAR, RETURN, ForecasterConfig
from pretrain.forecaster.model import ForecasterModel, Said
from pretrain.forecaster.sequence_networks import SequenceNetwork

FEATURE_BOUND = 8.0  #: of a market's features
Floats = NDArray[np.float64]


class Origin(NamedTuple):
    """Where paths begin: the row and close of a market's bar, its last 96 log-returns, and the market's number."""

    row: int
    close_ms: int
    returns: Floats
    market: int = 0

    @classmethod
    def of(cls, market: Market, row: int, number: int = 0) -> Origin:
        """Row `row` of a market, which has as many bars before it; `number` of the market among those of a source."""
        closes = np.log(market.prices[row - SIGMA_BARS : row + 1, CLOSE])
        return cls(row, market.start_ms + (row + 1) * timeframe_ms(market.timeframes[0]), np.diff(closes), number)


def path_features(config: ForecasterConfig, past: Floats, closes_ms: NDArray[np.int64]) -> NDArray[np.float32]:
    """(P, F_0) float32 unscaled features of bars of which only the return and the time are known, others 0.

    Args:
        config: names the features.
        past: (P, 96) log-returns, the bars' own last.
        closes_ms: (P,) int64, when they close.
    """
    names, out = config.feature_names[0], np.zeros((len(past), len(config.feature_names[0])), np.float32)
    volatility = np.sqrt((past**2).mean(axis=1))
    own = np.divide(past[:, -1], volatility, out=np.zeros(len(past)), where=volatility > 0.0)
    out[:, names.index(RETURN)] = np.clip(own, -FEATURE_BOUND, FEATURE_BOUND)
    for name in CALENDAR:
        if name in names:
            period = DAY_MS if name.startswith("hour") else WEEK_MS
            angle = 2.0 * math.pi * (((closes_ms - MONDAY_MS) % period) / period)
            out[:, names.index(name)] = np.sin(angle) if name.endswith("sin") else np.cos(angle)
    return out


def sample_paths(
    model: ForecasterModel,
    source: WindowSource,
    origins: Sequence[Origin],
    steps: int,
    paths: int,
    rngs: Sequence[np.random.Generator],
) -> Floats:
    """(O, P, steps) log-returns since each of O origins, uncalibrated in their spread.

    Args:
        model: in evaluation mode, that samples paths.
        source: windows of the origins' markets.
        origins: where to begin; one alone has the same bits wherever it is asked for.
        steps: base bars, at most `config.steps`.
        paths: how many of each.
        rngs: one draws the paths of each origin; the levels of a step's draws are stratified over them.
    """
    config, network = model.config, model.network
    assert isinstance(network, SequenceNetwork)
    device = model.get_buffer("trust").device
    markets, rows = (np.array([getattr(one, name) for one in origins], np.int64) for name in ("market", "row"))
    windows = [part.to(device) for part in source.gather(markets, rows)]
    closes = torch.tensor([one.close_ms for one in origins], device=device)
    hidden, cache = network.begin(model.scaled(windows), closes, model.window_bins(windows[0]))
    cache.batch_repeat_interleave(paths)
    hidden = hidden.repeat_interleave(paths, dim=0)
    last_higher = [part[:, -1:].repeat_interleave(paths, dim=0) for part in windows]
    past = np.repeat(np.stack([one.returns for one in origins]), paths, axis=0)
    closes_ms = np.repeat(closes.cpu().numpy(), paths)
    out = np.empty((len(past), steps))
    base = timeframe_ms(config.timeframes[0])
    for step in range(steps):
        levels = np.concatenate([(rng.permutation(paths) + rng.random(paths)) / paths for rng in rngs])
        drawn = next_returns(model, model.say(hidden), levels) * past.std(axis=1)
        out[:, step] = drawn
        if step + 1 == steps:
            break
        past = np.concatenate([past[:, 1:], drawn[:, None]], axis=1)
        bars = torch.from_numpy(path_features(config, past, closes_ms + (step + 1) * base)).to(device)[:, None]
        unseen = torch.ones(len(past), 1, dtype=torch.bool, device=device)
        token = network.embed_bars(model.scaled_one(0, bars), unseen, model.window_bins(bars))
        hidden = network.go_on(_with_channels(token, network, model, last_higher)[:, 0], cache, step)
    return out.cumsum(axis=1).reshape(len(origins), paths, steps)


def _with_channels(
    token: torch.Tensor, network: SequenceNetwork, model: ForecasterModel, last: list[torch.Tensor]
) -> torch.Tensor:
    """Where higher timeframes are channels: the last bars that had ended at the origin stay as they are."""
    if model.config.timescales == "channels":
        for k in range(1, len(last)):
            token = token + network.higher(k, model.scaled_one(k, last[k]))
    return token


def next_returns(model: ForecasterModel, said: Said, levels: Floats) -> Floats:
    """(P,) the next bar's returns in units of sigma at levels (P,) of what is said of it."""
    if said.next_bin is None:
        values = model.calibrated(said)[1][..., 0, :].double().cpu().numpy()
        return quantile_function(np.array(model.config.quantiles), values, levels[:, None])[:, 0]
    shares = torch.softmax(said.next_bin, dim=-1).double().cpu().numpy()
    edges = model.get_buffer("bin_edges").double().cpu().numpy()
    edges = np.concatenate([[2.0 * edges[0] - edges[1]], edges, [2.0 * edges[-1] - edges[-2]]])
    below = np.concatenate([np.zeros((len(shares), 1)), shares.cumsum(axis=1)], axis=1)
    below /= below[:, -1:]
    # uniform within a bin; the outermost ones are as wide as those beside them
    place = np.clip((below <= levels[:, None]).sum(axis=1) - 1, 0, shares.shape[1] - 1)
    rows = np.arange(len(levels))
    share = (levels - below[rows, place]) / np.maximum(below[rows, place + 1] - below[rows, place], 1e-12)
    return np.asarray(edges[place] + share * (edges[place + 1] - edges[place]), np.float64)


def spread_at(model: ForecasterModel, steps: int) -> Floats:
    """(steps,) how much wider a path's distance from the median is made, from calibration at the horizons."""
    horizons = np.log(np.array(model.config.horizons, np.float64))
    return np.interp(np.log(np.arange(1, steps + 1)), horizons, model.get_buffer("spread").double().cpu().numpy())


def widened(paths: Floats, spread: Floats) -> Floats:
    """Paths (P, steps) with the distance from each step's median times `spread` (steps,)."""
    middle = np.median(paths, axis=0)
    return np.asarray(middle + (paths - middle) * spread, np.float64)
