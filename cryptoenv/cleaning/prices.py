"""Cleaning of prices: stretches in another unit (times 1000), flash bars, and what is only unusual."""

import numpy as np
import pandas as pd

from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.price_order import closes_precede
from cryptoenv.bars.timeframe import HOUR_MS
from cryptoenv.bars.volume_identity import volume_identity
from cryptoenv.cleaning.report import KEPT, NOTED, Finding, stretches
from cryptoenv.cleaning.rows import Cleaned, utc_index
from cryptoenv.cleaning.volume import QUOTE_VOLUME

WIDE = 1.3
"""A bar is wide above this ratio of high to low, up to an hour; see `wide_limit`."""
LARGE_RETURN = 0.2
JUMP, JUMP_OVER_A_GAP = 10.0, 5.0
"""An open that many times the close before it (or that part of it) is no market's: another asset, or another unit."""
_DECADE_TOLERANCE = 0.05
_PRICES = list(BAR_COLUMNS[:4])


def _price_arrays(bars: pd.DataFrame) -> list[np.ndarray]:
    return [bars[c].to_numpy(dtype=np.float64) for c in _PRICES]


def with_one_price_unit(bars: pd.DataFrame) -> Cleaned:
    """Stretches of prices ten, hundred, ... times the others: set right where the quote volume proves it, else kept.

    A stretch begins where the open is a power of ten (within 12%) away from the close before. The unit of most bars is
    taken for the right one.
    """
    open_, _, _, close = _price_arrays(bars)
    with np.errstate(divide="ignore", invalid="ignore"):
        jump = np.log10(open_[1:] / close[:-1])
    decade = np.where(np.isfinite(jump), np.round(jump), 0.0)
    decade[~(np.abs(jump - decade) < _DECADE_TOLERANCE)] = 0.0
    if not decade.any():
        return bars, []
    level = np.concatenate([[0], np.cumsum(decade)]).astype(np.int64)
    levels, counts = np.unique(level, return_counts=True)
    exponent = level - levels[counts.argmax()]
    fixed, index, findings = bars.copy(), utc_index(bars), []
    edges = np.flatnonzero(np.diff(exponent)) + 1
    for part in np.split(np.arange(len(bars)), edges):
        a, b, power = int(part[0]), int(part[-1]), int(exponent[part[0]])
        if power == 0:
            continue
        right = _rescaled(bars.iloc[a : b + 1], power)
        proved = _proves_scale(right)
        detail = f"prices are 1e{power} times those of the other bars"
        action = "rescaled" if proved else KEPT
        if proved:
            fixed.iloc[a : b + 1] = right
            detail += f", proved by the volumes of {proved} bars"
        findings.append(Finding("price unit", index[a], index[b], b - a + 1, action, detail))
    return fixed, findings


def _rescaled(bars: pd.DataFrame, power: int) -> pd.DataFrame:
    # Division by a power of ten rounds once: to the very float of the decimal that was meant.
    right = bars.copy()
    right[_PRICES] = bars[_PRICES] / 10.0**power if power > 0 else bars[_PRICES] * 10.0**-power
    return right


def _proves_scale(right: pd.DataFrame) -> int:
    # Number of bars that prove it; 0 where one does not fit.
    if QUOTE_VOLUME not in right.columns:
        return 0
    columns = (right[c].to_numpy(dtype=np.float64) for c in ("volume", QUOTE_VOLUME, "low", "high"))
    identity = volume_identity(*columns)
    return 0 if identity.neither.any() or identity.swapped.any() else int(identity.right.sum())


def wide_limit(step_ms: int) -> float:
    """Ratio of prices beyond which a bar is wide: 1.3 up to hourly bars; its log grows by the root of the duration."""
    return float(WIDE ** np.sqrt(max(1.0, step_ms / HOUR_MS)))


def flash_bars(bars: pd.DataFrame, step_ms: int) -> list[Finding]:
    """Bars with a high or low more than `wide_limit` beyond all opens and closes of the bar and its neighbours."""
    open_, high, low, close = _price_arrays(bars)
    before = np.concatenate([open_[:1], close[:-1]])
    after = np.concatenate([open_[1:], close[-1:]])
    around = np.stack([open_, close, before, after])
    with np.errstate(divide="ignore", invalid="ignore"):
        up, down = high / around.max(axis=0), around.min(axis=0) / low
    bad = np.isfinite(up) & np.isfinite(down) & (np.maximum(up, down) > wide_limit(step_ms))
    index = utc_index(bars)
    return [
        Finding("flash bar", index[i], index[i], 1, KEPT, f"low {low[i]:g}, high {high[i]:g}, close {close[i]:g}")
        for i in np.flatnonzero(bad).tolist()
    ]


def unusual_bars(bars: pd.DataFrame, step_ms: int) -> list[Finding]:
    """Bars that are unusual but may be real: wide ones (`wide_limit`); closes a fifth away from the close before."""
    _, high, low, close = _price_arrays(bars)
    with np.errstate(divide="ignore", invalid="ignore"):
        width, change = high / low, close[1:] / close[:-1] - 1.0
        change[np.minimum(close[1:], close[:-1]) <= 0.0] = np.nan
    large = np.concatenate([[False], np.abs(np.nan_to_num(change)) > LARGE_RETURN])
    index, returns = utc_index(bars), np.concatenate([[0.0], change])
    wide = [
        Finding("wide bar", index[a], index[b], b - a + 1, NOTED, f"high / low {width[a]:.3g}")
        for a, b in stretches(np.nan_to_num(width) > wide_limit(step_ms))
    ]
    return wide + [
        Finding("large return", index[a], index[b], b - a + 1, NOTED, f"{returns[a]:+.1%}") for a, b in stretches(large)
    ]


def jumps(bars: pd.DataFrame, step_ms: int) -> list[Finding]:
    """Opens that are orders of magnitude from the close before, most of all over a gap: a symbol that is used again."""
    open_, _, _, close = _price_arrays(bars)
    index = utc_index(bars)
    missing = np.diff(index.as_unit("ms").asi8) // step_ms - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = open_[1:] / close[:-1]
        size = np.abs(np.log(ratio))
    limit = np.log(np.where(missing > 0, JUMP_OVER_A_GAP, JUMP))
    return [
        Finding(
            "price jump", index[i + 1], index[i + 1], 1, KEPT,
            f"open is {ratio[i]:.3g} times the close before, {missing[i]} bars missing between: another asset?",
        )
        for i in np.flatnonzero(np.isfinite(size) & (size >= limit)).tolist()
    ]  # fmt: skip


def swapped_open_and_close(bars: pd.DataFrame) -> list[Finding]:
    """Opens and closes in each other's place, all along: see `closes_precede`."""
    open_, _, _, close = _price_arrays(bars)
    if not closes_precede(open_, close):
        return []
    index = utc_index(bars)
    detail = "each close is near the open before it, no open is near the close before it"
    return [Finding("open and close swapped", index[0], index[-1], len(index), KEPT, detail)]
