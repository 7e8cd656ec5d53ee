"""The fate of recent breakouts: did they hold or fail, by side and by volume?

A breakout at bar j: the close leaves the range of the `channel` bars before it, and no close of the `quiet` bars before
it had left the range before itself on that side. Its outcome is known `horizon` bars later:

    x = log(close[j + horizon] / close[j]) / (v[j] sqrt(horizon)), within +-3

It counts in part as confirmed by volume, with weight g = (mean log volume of the last 4 bars - that of the 96 before)
cut to [0, 1], and in part, 1 - g, as unconfirmed. A bar's feature is the mean outcome of the breakouts of a kind that
are known by then and not older than `days` UTC days before the bar's own (from one day on: bars), weighted by g and by
exp(-age / `decay` days), and pulled to 0 by one imaginary breakout with outcome 0:

| feature | value |
|---|---|
| breakout_up_confirmed, breakout_up_unconfirmed | 2 x mean of x: above 0 breakouts up held, below 0 they failed |
| breakout_down_confirmed, breakout_down_unconfirmed | 2 x mean of x: below 0 breakouts down held |
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import talib
from numba import njit

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW
from cryptoenv.features.families.windowed import log_volumes, mean_log
from cryptoenv.features.view import Setting, View
from cryptoenv.files.typed_values import require_counts

_NAMES: Final = (
    "breakout_up_confirmed", "breakout_up_unconfirmed", "breakout_down_confirmed", "breakout_down_unconfirmed",
)  # fmt: skip
_FRESH_BARS: Final = 4
_USUAL_BARS: Final = 96
_LARGEST: Final = 3.0


@dataclass(frozen=True)
class Breakouts:
    """Outcomes of breakouts; `channel`, `horizon` and `quiet` in bars, `days` and `decay` in UTC days."""

    channel: int = 16
    horizon: int = 24
    quiet: int = 4
    days: int = 20
    decay: float = 3.0

    def __post_init__(self) -> None:
        require_counts(self, channel=self.channel, horizon=self.horizon, quiet=self.quiet, days=self.days)
        if not 0.0 < self.decay < math.inf:
            raise ValueError(f"Breakouts.decay is {self.decay!r}; allowed: a number of days > 0")

    def names(self, setting: Setting) -> tuple[str, ...]:
        """As `Family.names`."""
        return _NAMES

    def memory(self, setting: Setting) -> int:
        """As `Family.memory`."""
        event = max(self.channel + self.quiet, setting.volatility_bars, _USUAL_BARS + _FRESH_BARS)
        return self.days * setting.block + self.horizon + event

    def values(self, view: View) -> np.ndarray:
        """As `Family.values`: (wanted, F) float64."""
        ohlcv, block = view.bars.ohlcv, view.setting.block
        start = view.anchor(view.first, self.days * block)
        ceiling, floor = _extremes(ohlcv, self.channel)
        kept = _outcomes(ohlcv, view.volatility, (ceiling, floor), (start, self.horizon, self.quiet))
        fade = math.exp(-1.0 / (self.decay * block))
        return _decayed_means(kept, (view.first - start, (start + view.offset) % block, block), self.days, fade)


def _extremes(ohlcv: np.ndarray, bars: int) -> tuple[np.ndarray, np.ndarray]:
    # (T,) highest high and lowest low of the last `bars` rows; TA-Lib counts from 2 on.
    high, low = np.ascontiguousarray(ohlcv[:, HIGH]), np.ascontiguousarray(ohlcv[:, LOW])
    return (high, low) if bars == 1 else (talib.MAX(high, bars), talib.MIN(low, bars))


@njit(cache=True)
def _outcomes(
    ohlcv: np.ndarray, volatility: np.ndarray, extremes: tuple[np.ndarray, np.ndarray], spans: tuple[int, int, int]
) -> np.ndarray:
    # (T - start, 2, 4): per row at which outcomes become known, weight x outcome and weight, by side and confirmation.
    start, horizon, quiet = spans
    ceiling, floor = extremes
    out = np.zeros((ohlcv.shape[0] - start, 2, 4))
    logs, counts = log_volumes(ohlcv)
    last = np.full(2, start - horizon - quiet - 1)
    for j in range(start - horizon - quiet, ohlcv.shape[0] - horizon):
        close = ohlcv[j, CLOSE]
        side = 0 if close > ceiling[j - 1] else 1 if close < floor[j - 1] else -1
        if side < 0:
            continue
        fresh = j - last[side] > quiet
        last[side] = j
        if j < start - horizon or not fresh or volatility[j] == 0.0:
            continue
        x = math.log(ohlcv[j + horizon, CLOSE] / close) / (volatility[j] * math.sqrt(horizon))
        x = min(max(x, -_LARGEST), _LARGEST)
        now, found = mean_log(logs, counts, j - _FRESH_BARS + 1, j)
        usual, known = mean_log(logs, counts, j - _FRESH_BARS - _USUAL_BARS + 1, j - _FRESH_BARS)
        confirmed = min(max(now - usual, 0.0), 1.0) if found and known else 0.0
        for part in range(2):
            weight = confirmed if part == 0 else 1.0 - confirmed
            out[j + horizon - start, 0, 2 * side + part] = weight * x
            out[j + horizon - start, 1, 2 * side + part] = weight
    return out


@njit(cache=True)
def _fade_in(sums: np.ndarray, new: np.ndarray, fade: float) -> None:
    for part in range(sums.shape[0]):
        for q in range(sums.shape[1]):
            sums[part, q] = sums[part, q] * fade + new[part, q]


@njit(cache=True)
def _decayed_means(kept: np.ndarray, where: tuple[int, int, int], days: int, fade: float) -> np.ndarray:
    # Day by day from each row's own anchor on, so that the sums are the same bits whatever came before it.
    first, offset, block = where
    by_day = _day_sums(kept, offset, block, fade)
    day_fade = math.pow(fade, block)
    out = np.zeros((kept.shape[0] - first, kept.shape[2]))
    sums = np.zeros(kept.shape[1:])
    for t in range(first, kept.shape[0]):
        into = (t + offset) % block
        if t == first or into == 0:
            sums[:] = 0.0
            day = (t + offset) // block
            for before in range(day - days, day):
                _fade_in(sums, by_day[before], day_fade)
            for i in range(t - into, t):
                _fade_in(sums, kept[i], fade)
        _fade_in(sums, kept[t], fade)
        for q in range(kept.shape[2]):
            out[t - first, q] = 2.0 * sums[0, q] / (sums[1, q] + 1.0)
    return out


@njit(cache=True)
def _day_sums(kept: np.ndarray, offset: int, block: int, fade: float) -> np.ndarray:
    # (days, 2, 4): what each day leaves at its end; days that are not whole are not read.
    out = np.zeros(((kept.shape[0] + offset) // block + 1, *kept.shape[1:]))
    for i in range(kept.shape[0]):
        _fade_in(out[(i + offset) // block], kept[i], fade)
    return out
