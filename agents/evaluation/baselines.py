"""Policies to be compared with: flat, buy and hold, random, and a moving-average cross tuned on other markets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import talib
from numpy.typing import NDArray

from agents.evaluation.rollout import RolloutRows, roll, rows_by_length
from agents.markets.expert_market import ExpertMarket
from agents.policies.trading_policy import RandomPolicy, TablePolicy, TradingPolicy
from agents.settings import TradingSettings
from cryptoenv.bars.price_columns import CLOSE, SIGMA


def constant(labelled: Sequence[ExpertMarket], settings: TradingSettings, target: float) -> TradingPolicy:
    """Asks for the position nearest to `target` at every bar: 0 is flat, 1 is buy and hold."""
    positions = np.asarray(settings.positions)
    choice = int(np.abs(positions - target).argmin())
    tables = [np.full((len(t.market), len(positions)), choice, dtype=np.int8) for t in labelled]
    return TablePolicy(tables, settings.positions)


def random(settings: TradingSettings, seed: int) -> TradingPolicy:
    """Draws every action uniformly."""
    return RandomPolicy(len(settings.positions), seed)


def oracle(labelled: Sequence[ExpertMarket], settings: TradingSettings) -> TradingPolicy:
    """The causal optimum of synthetic markets.

    Raises:
        ValueError: a market without truth.
    """
    tables = []
    for i, t in enumerate(labelled):
        if t.truth is None:
            raise ValueError(f"market {i} has no truth, so no oracle: only synthetic markets do")
        tables.append(t.truth.oracle_actions)
    return TablePolicy(tables, settings.positions)


@dataclass(frozen=True)
class CrossRule:
    """A moving-average cross with hysteresis.

    The signal is `(EMA_fast - EMA_slow) / (close * sigma * sqrt(slow))`. Above `band` it asks for the largest
    position, below `-band` for the smallest (or flat, with `shorts` off); between them it holds.

    Attributes:
        fast: span of the fast average, bars.
        slow: span of the slow average, bars.
        band: half-width of the band in which the position is held.
        shorts: whether it goes short or flat below the band.
    """

    fast: int
    slow: int
    band: float
    shorts: bool

    def signal(self, t: ExpertMarket) -> NDArray[np.float64]:
        """(T,) float64, known at each close; NaN until the slow average has enough bars."""
        close = np.ascontiguousarray(t.market.prices[:, CLOSE])
        scale = close * np.maximum(t.market.prices[:, SIGMA], 1e-6) * np.sqrt(self.slow)
        return (talib.EMA(close, self.fast) - talib.EMA(close, self.slow)) / scale

    def table(self, t: ExpertMarket, settings: TradingSettings) -> NDArray[np.int8]:
        """(T, P) int8, the rule's action for every bar and held position."""
        positions = np.asarray(settings.positions)
        signal = self.signal(t)
        table = np.tile(np.arange(len(positions), dtype=np.int8), (len(signal), 1))
        table[signal > self.band] = positions.argmax()
        table[signal < -self.band] = positions.argmin() if self.shorts else settings.flat
        return table

    def policy(self, labelled: Sequence[ExpertMarket], settings: TradingSettings) -> TradingPolicy:
        """The rule's decisions on these markets."""
        return TablePolicy([self.table(t, settings) for t in labelled], settings.positions)


def cross_rules() -> Iterator[CrossRule]:
    """The grid that is searched."""
    for fast, slow, band, shorts in product(
        (4, 8, 16, 32), (16, 32, 64, 128, 256), (0.0, 0.1, 0.2, 0.4), (True, False)
    ):
        if fast * 2 <= slow:
            yield CrossRule(fast, slow, band, shorts)


def tuned_cross(labelled: Sequence[ExpertMarket], settings: TradingSettings) -> CrossRule:
    """The rule of the grid with the largest net return over these markets (never the ones it is judged on).

    All rules run through the env at once, a row per rule and market.
    """
    rules = list(cross_rules())
    earned = np.zeros(len(rules))
    for rows in rows_by_length(labelled):
        every = RolloutRows(np.tile(rows.market, len(rules)), np.tile(rows.start, len(rules)), rows.steps)
        tables = [rule.table(labelled[number], settings) for rule in rules for number in rows.market]
        policy = TablePolicy(tables, settings.positions, by_row=True)
        earned += roll(policy, labelled, every, settings).realised.reshape(len(rules), -1).sum(axis=1)
    return rules[int(earned.argmax())]
