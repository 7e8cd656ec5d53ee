"""Bands that follow what they have missed lately: adaptive conformal prediction, causal, beside any forecaster.

Calibration puts bands right once, on rows of the past. Where a market's volatility behaves differently from then on,
an 80% band covers 76% for months. A tracker looks at every forecast whose outcome is known by now, and widens all bands
of that horizon a little when the 80% band has missed, or narrows them when it has held, so that over time it holds for
80% (Gibbs and Candes 2021, "Adaptive conformal inference under distribution shift", NeurIPS; on the logarithm of a
factor, as Angelopoulos, Candes and Tibshirani 2023 track a score's quantile). What a row is told depends on earlier
rows and their outcomes alone. Shapes: `n` rows, `H` horizons, `Q` levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import quantile_function
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.market.market import Market

Floats = NDArray[np.float64]
BAND = 0.8  #: the band whose holding is tracked
#: Of the logarithm of the factor, per bar and miss, at a horizon of one bar, and how it falls with the horizon, whose
#: overlapping outcomes say less each: chosen on earlier time than any test.
RATE, FALL = 0.002, 0.25
WIDEST = 3.0  #: times as wide, or narrow, as forecast


def tracked_factors(
    rows: NDArray[np.int64], missed: Floats, horizons: Sequence[int], *, rate: float = RATE
) -> Floats:
    """How many times wider bands should be, by row and horizon, each from outcomes known at its row.

    Args:
        rows: (n,) numbers of base bars, strictly increasing, of one market.
        missed: (n, H) how many times as wide as forecast the band had to be for what came to be inside; NaN where it is
            not known. The outcome of row i at horizon h counts from row `rows[i] + h` on.
        horizons: (H,) base bars.
        rate: of the logarithm, per bar, at a horizon of one bar; falls as horizon^-0.25.

    Returns:
        (n, H) float64 factors.

    Raises:
        ValueError: rows that do not increase.
    """
    if (np.diff(rows) <= 0).any():
        raise ValueError("rows must increase: give those of one market, in the order of time")
    out = np.ones(missed.shape)
    apart = np.minimum(np.diff(rows, prepend=rows[:1] - 1), 96).astype(np.float64)
    bound = float(np.log(WIDEST))
    for h, horizon in enumerate(horizons):
        log_factor, known, step = 0.0, 0, rate * horizon**-FALL
        for i, row in enumerate(rows):
            while rows[known] + horizon <= row:
                needed = missed[known, h]
                if np.isfinite(needed):
                    outside = float(needed > out[known, h])
                    log_factor += step * apart[known] * (outside - (1.0 - BAND))
                    log_factor = min(max(log_factor, -bound), bound)
                known += 1
            out[i, h] = np.exp(log_factor)
    return out


def needed_widths(levels: Floats, quantiles: Floats, returns: Floats) -> Floats:
    """(n, H) how many times as wide the 80% band of quantiles (n, H, Q) had to be to hold returns (n, H).

    Each side is measured from the median.
    """
    edges = quantile_function(levels, quantiles, np.array([0.5 - BAND / 2.0, 0.5, 0.5 + BAND / 2.0]))
    away = returns - edges[..., 1]
    side = np.where(away > 0.0, edges[..., 2] - edges[..., 1], edges[..., 1] - edges[..., 0])
    return np.abs(away) / np.maximum(side, 1e-12)


def widened_quantiles(levels: Floats, quantiles: Floats, factors: Floats) -> Floats:
    """(n, H, Q) quantiles whose distance from their median is `factors` (n, H) times as large."""
    medians = quantile_function(levels, quantiles, np.array([0.5]))
    return np.asarray(medians + (quantiles - medians) * factors[..., None], np.float64)


def quantile_name(level: float) -> str:
    """A level as a column is called: 0.1 is "q10"."""
    return f"q{100.0 * level:g}"


def tracked_table(
    market: Market, table: pd.DataFrame, horizons: Sequence[int], levels: Sequence[float]
) -> pd.DataFrame:
    """A table of `Forecaster.predict` of a market with tracked bands; other columns stay (`Forecaster.track`)."""
    names = [[f"return_{h}_{quantile_name(level)}" for level in levels] for h in horizons]
    flat = [name for part in names for name in part]
    if not set(flat) <= set(table.columns):
        raise ValueError(f"no columns {[name for name in flat if name not in table.columns][:3]} in the table")
    rows = market.bars.index.get_indexer(table.index)
    if (rows < 0).any():
        raise ValueError(f"{table.index[int(np.argmax(rows < 0))]} is no bar of the market")
    logs = np.log(market.prices[:, CLOSE])
    returns = np.full((len(rows), len(horizons)), np.nan)
    for h, horizon in enumerate(horizons):
        known = rows + horizon < len(logs)
        returns[known, h] = logs[rows[known] + horizon] - logs[rows[known]]
    given = np.asarray(levels, np.float64)
    quantiles = table[flat].to_numpy(np.float64).reshape(len(rows), len(horizons), len(given))
    factors = tracked_factors(rows, needed_widths(given, quantiles, returns), horizons)
    moved = widened_quantiles(given, quantiles, factors)
    out = table.copy()
    out[flat] = moved.reshape(len(rows), -1).astype(np.float32)
    return out
