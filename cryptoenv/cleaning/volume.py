"""Cleaning of volumes: base and quote swapped, cut off at a ceiling, in a unit that changes; bars without trades."""

import numpy as np
import pandas as pd

from cryptoenv.bars.volume_identity import volume_identity
from cryptoenv.cleaning.report import KEPT, NOTED, Finding, stretches
from cryptoenv.cleaning.rows import Cleaned, utc_index

QUOTE_VOLUME = "quote_volume"
_LEVEL_BARS = 1000
_LEVEL_JUMP = np.log(20.0)
_CEILING_REPEATS = 5


def _columns(bars: pd.DataFrame) -> tuple[np.ndarray, ...]:
    return tuple(bars[c].to_numpy(dtype=np.float64) for c in ("volume", QUOTE_VOLUME, "low", "high"))


def with_base_volume(bars: pd.DataFrame) -> Cleaned:
    """Base and quote volume in their own columns again, wherever the price proves that they were swapped.

    A stretch begins and ends with bars that prove it and holds none that disproves it; bars within it that cannot be
    told (no trades, a price near 1, a volume cut off) go with it. The report counts bars whose volumes changed.
    """
    if QUOTE_VOLUME not in bars.columns:
        return bars, []
    identity = volume_identity(*_columns(bars))
    swapped = _between(identity.swapped, identity.right)
    changed = swapped & (bars["volume"] != bars[QUOTE_VOLUME]).to_numpy()
    if not swapped.any():
        return bars, []
    fixed, index = bars.copy(), utc_index(bars)
    fixed.loc[swapped, ["volume", QUOTE_VOLUME]] = bars.loc[swapped, [QUOTE_VOLUME, "volume"]].to_numpy()
    findings = []
    for a, b in stretches(swapped):
        proved, rows = int(identity.swapped[a : b + 1].sum()), int(changed[a : b + 1].sum())
        detail = f"volume was in the quote currency, proved by the price in {proved} bars"
        findings.append(Finding("swapped volumes", index[a], index[b], rows, "swapped back", detail))
    return fixed, findings


def _between(proved: np.ndarray, disproved: np.ndarray) -> np.ndarray:
    # Proved rows, and rows between two of them without a disproved one between.
    verdict = pd.Series(np.where(proved, 1.0, np.where(disproved, 0.0, np.nan)))
    return ((verdict.ffill() == 1.0) & (verdict.bfill() == 1.0)).to_numpy()


def volume_mismatches(bars: pd.DataFrame) -> list[Finding]:
    """Bars whose volumes fit the price in neither reading; those that share one value are cut off at it."""
    if QUOTE_VOLUME not in bars.columns:
        return []
    index, findings = utc_index(bars), []
    volume, quote, low, high = _columns(bars)
    neither = volume_identity(volume, quote, low, high).neither
    for name, values in (("volume", volume), (QUOTE_VOLUME, quote)):
        found, counts = np.unique(values[neither], return_counts=True)
        if counts.max(initial=0) < _CEILING_REPEATS:
            continue
        top = found[counts.argmax()]
        capped = (values == top) & neither
        times = index[capped]
        detail = f"{name} is {float(top)!r} in each: cut off there"
        findings.append(Finding("capped volume", times[0], times[-1], len(times), KEPT, detail))
        neither = neither & ~capped
    for a, b in stretches(neither):
        detail = f"{quote[a]:g} / {volume[a]:g} is not within [{low[a]:g}, {high[a]:g}], nor is its inverse"
        findings.append(Finding("volume mismatch", index[a], index[b], b - a + 1, KEPT, detail))
    return findings


def zero_volume(bars: pd.DataFrame) -> list[Finding]:
    """Runs of bars without a trade; an alarm where no bar has any."""
    index = utc_index(bars)
    empty = bars["volume"].to_numpy(dtype=np.float64) == 0.0
    if len(empty) and empty.all():
        return [Finding("zero volume", index[0], index[-1], len(empty), KEPT, "no bar has any: no order ever fills")]
    return [
        Finding("zero volume", index[a], index[b], b - a + 1, NOTED, "no trade, cannot be traded")
        for a, b in stretches(empty)
    ]


def volume_level(bars: pd.DataFrame) -> list[Finding]:
    """Places where the usual volume jumps by about the price: there its unit may change between coins and money.

    Medians of the 1000 bars (or a quarter of them all, if fewer) before and after; without a quote volume nothing can
    prove it.
    """
    window = min(_LEVEL_BARS, len(bars) // 4)
    if window < 24 or QUOTE_VOLUME in bars.columns:
        return []
    volume, price = (bars[c].to_numpy(dtype=np.float64) for c in ("volume", "close"))
    known = (volume > 0.0) & np.isfinite(volume) & (price > 0.0) & np.isfinite(price)
    rows = np.flatnonzero(known)
    if len(rows) < 4 * 24:
        return []
    level, log_price = np.log(volume[known]), np.log(price[known])
    jump = _median_after(level, window) - _median_before(level, window)
    near = _median_after(level, 24) - _median_before(level, 24)
    like_price = np.abs(np.abs(jump) - np.abs(log_price)) < 1.0
    sudden = (np.abs(near) > 0.7 * np.abs(jump)) & (np.sign(near) == np.sign(jump))
    suspect = np.nan_to_num(np.abs(jump)) > _LEVEL_JUMP
    suspect &= like_price & sudden
    index, findings = utc_index(bars), []
    for a, b in stretches(suspect):
        best = a + int(np.abs(near[a : b + 1]).argmax())
        time = index[rows[best]]
        detail = f"volumes are {np.exp(jump[best]):.3g} times those before, at a price of {price[rows[best]]:g}"
        findings.append(Finding("volume unit", time, time, 1, KEPT, detail))
    return findings


def _median_before(values: np.ndarray, window: int) -> np.ndarray:
    return pd.Series(values).rolling(window).median().shift(1).to_numpy()


def _median_after(values: np.ndarray, window: int) -> np.ndarray:
    return pd.Series(values[::-1]).rolling(window).median().to_numpy()[::-1]
