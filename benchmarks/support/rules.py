"""A grid of causal trading rules, to see how far a market gives in to simple ones.

Every rule turns bars into signals (1 buy, -1 sell, 0 nothing new) that are followed until another comes, until the
exit or until a number of bars has passed; each is tried both ways round. `python -m benchmarks.oracle` tunes and
scores them.
Shape legend: `T` bars.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.support.market_scores import earned
from synthetic import RegimeSample

Floats = NDArray[np.float64]
FOREVER = 1 << 30


class Signals(NamedTuple):
    """`entries` (T,): 1, -1 or 0; `leave` (T,): 1 where a long is closed, -1 where a short is, 0 elsewhere."""

    entries: Floats
    leave: Floats


@dataclass(frozen=True)
class Rule:
    """One rule: its family, its numbers, how long a position is kept and which way round it trades."""

    family: str
    numbers: tuple[float, ...]
    bars: int
    side: int

    @property
    def name(self) -> str:
        """What the rule does, for a table."""
        kept = "" if self.bars == FOREVER else f", {self.bars} bars"
        return f"{'' if self.side > 0 else 'against '}{self.family} {self.numbers}{kept}"


@njit(cache=True)
def follow(entries: Floats, leave: Floats, bars: int, side: int) -> Floats:
    """(T,) exposures that follow the signals."""
    exposure = np.empty(entries.shape[0])
    held, age = 0.0, 0
    for t in range(entries.shape[0]):
        age += 1
        if held != 0.0 and (leave[t] == held or age >= bars):
            held = 0.0
        if entries[t] != 0.0:
            held, age = entries[t], 0
        exposure[t] = side * held
    return exposure


def _beyond(values: Floats, band: float) -> Floats:
    return np.where(np.abs(values) > band, np.sign(values), 0.0)


def _volatility(returns: pd.Series) -> Floats:
    return np.sqrt((returns**2).ewm(span=192).mean()).to_numpy() + 1e-12


def _average_cross(bars: pd.DataFrame, fast: float, slow: float, band: float) -> Signals:
    log_price = np.log(bars["close"])
    spread = (log_price.ewm(span=fast).mean() - log_price.ewm(span=slow).mean()).to_numpy()
    entries = _beyond(spread / (_volatility(log_price.diff().fillna(0.0)) * np.sqrt(slow)), band)
    return Signals(entries, np.zeros(len(bars)))


def _momentum(bars: pd.DataFrame, span: float, band: float) -> Signals:
    log_price = np.log(bars["close"])
    move = log_price.diff(int(span)).fillna(0.0).to_numpy()
    entries = _beyond(move / (_volatility(log_price.diff().fillna(0.0)) * np.sqrt(span)), band)
    return Signals(entries, np.zeros(len(bars)))


def _relative_strength(bars: pd.DataFrame, span: float, band: float, to_middle: float) -> Signals:
    """Wilder's RSI: below 50 - band is a purchase."""
    moves = bars["close"].diff().fillna(0.0)
    gain, loss = (part.ewm(alpha=1 / span).mean().to_numpy() for part in (moves.clip(lower=0), -moves.clip(upper=0)))
    strength = 100.0 * gain / (gain + loss + 1e-12) - 50.0
    return Signals(-_beyond(strength, band), np.sign(strength) if to_middle else np.zeros(len(bars)))


def _channel(bars: pd.DataFrame, span: float) -> Floats:
    """(T,) 1 where the close is above all highs of the `span` bars before, -1 where it is below all lows."""
    close = bars["close"].to_numpy()
    upper = bars["high"].rolling(int(span)).max().shift(1).to_numpy()
    lower = bars["low"].rolling(int(span)).min().shift(1).to_numpy()
    return (close > upper).astype(float) - (close < lower).astype(float)


def _donchian(bars: pd.DataFrame, span: float, exit_span: float) -> Signals:
    leave = -_channel(bars, exit_span) if exit_span else np.zeros(len(bars))
    return Signals(_channel(bars, span), leave)


def _volume_breakout(bars: pd.DataFrame, span: float, multiple: float, loud: float) -> Signals:
    """A break of the channel on volume above (loud) or below (quiet) a multiple of its daily mean."""
    mean = bars["volume"].rolling(96, min_periods=1).mean().shift(1).bfill()
    above = (bars["volume"] > multiple * mean).to_numpy()
    return Signals(_channel(bars, span) * (above if loud else ~above), np.zeros(len(bars)))


FAMILIES: dict[str, Callable[..., Signals]] = {
    "EMA cross": _average_cross,
    "momentum": _momentum,
    "RSI": _relative_strength,
    "Donchian": _donchian,
    "volume breakout": _volume_breakout,
}


def _grids() -> Iterator[tuple[str, tuple[float, ...], int]]:
    for fast, ratio, band in itertools.product((2, 4, 8, 16, 32, 64), (3, 6, 12), (0.0, 0.1, 0.2, 0.4)):
        yield "EMA cross", (fast, fast * ratio, band), FOREVER
    for span, band in itertools.product((2, 4, 8, 16, 32, 64, 128, 256, 512), (0.0, 0.5, 1.0, 1.5, 2.0)):
        yield "momentum", (span, band), FOREVER
    for span, band, to_middle in itertools.product((4, 8, 14, 28, 56, 112), (5, 10, 15, 20, 25, 30), (0, 1)):
        yield "RSI", (span, band, to_middle), FOREVER
    for span, part in itertools.product((8, 16, 32, 64, 96, 192, 384), (0, 2, 4)):
        yield "Donchian", (span, span // part if part else 0), FOREVER
    spans, multiples = (8, 16, 32, 64, 96), (1.0, 1.5, 2.0, 3.0)
    for span, multiple, loud, bars in itertools.product(spans, multiples, (0, 1), (16, 48, FOREVER)):
        yield "volume breakout", (span, multiple, loud), bars


def grid() -> list[Rule]:
    """All rules, each both ways round."""
    return [Rule(*one, side) for one in _grids() for side in (1, -1)]


def exposures(bars: pd.DataFrame, rules: list[Rule]) -> Iterator[Floats]:
    """(T,) exposures of each rule, in order; signals that rules share in a row are computed once."""
    last: tuple[str, tuple[float, ...]] | None = None
    for rule in rules:
        if last != (rule.family, rule.numbers):
            signals = FAMILIES[rule.family](bars, *rule.numbers)
            last = (rule.family, rule.numbers)
        yield follow(signals.entries, signals.leave, rule.bars, rule.side)


def rule_returns(samples: Sequence[RegimeSample], rules: list[Rule], cost: float) -> Floats:
    """(R, M) expected net log-return of each rule on each market, less `cost` per unit of turnover."""
    columns = []
    for sample in tqdm(samples, desc="rules", unit="market", leave=False):
        columns.append([earned(sample, exposure, cost).expected.sum() for exposure in exposures(sample.bars, rules)])
    return np.array(columns).T
