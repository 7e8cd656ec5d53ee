"""What a walk-forward does: which parts of which markets are learned from, chosen by, and judged on once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from agents.markets.expert_market import LEAST_DAYS, ExpertMarket, market_part
from agents.settings import TradingSettings
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.typed_values import ConfigError, Range, require_numbers
from cryptoenv.market.market import Market
from pretrain.data.folds import Border, bar_borders, calendar_borders

MOST_FOLDS = 1000


@dataclass(frozen=True)
class WalkForwardPlan:
    """How time is cut, and how often is trained.

    Attributes:
        folds: judged parts of equal length, where `test` is None.
        seeds: trainings of each fold.
        train: share of the time before the first judged part, where `test` is None.
        test: length of a judged part on the calendar, such as "3M"; `train_length` goes with it.
        train_length: what is learned from before each judged part on the calendar, such as "12M".
        anchored: each fold learns from all that came before it; else from as much as the first one does.
        frozen: only the first fold is trained, and its agent is judged on all.
        validation: share of what is learned from, at its end, by which weights and hysteresis are chosen.
        embargo_days: days left out before each border.

    Raises:
        ConfigError: a number outside its range.
    """

    folds: int = 6
    seeds: int = 3
    train: float = 0.5
    test: str | None = None
    train_length: str = "12M"
    anchored: bool = True
    frozen: bool = False
    validation: float = 0.25
    embargo_days: float = 0.0

    def __post_init__(self) -> None:
        ranges = {"folds": Range(1, MOST_FOLDS), "seeds": Range(1, 1000), "embargo_days": Range(0.0, 3650.0)}
        shares = {"train": Range(0.05, 0.95), "validation": Range(0.05, 0.9)}
        require_numbers(self, ranges | shares)

    @property
    def digest(self) -> str:
        """sha256 (hex) over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def borders(self, markets: Sequence[Market], settings: TradingSettings) -> list[Border]:
        """Borders in milliseconds, the same moments for all markets, on bars of the base timeframe.

        They run from the first moment at which every market can be decided to the earliest end of one of them.

        Raises:
            ValueError: the markets have too little time in common, or folds would be too short.
        """
        step = timeframe_ms(settings.timeframes[0])
        first = max(m.start_ms + (m.first_decision(settings.window) + 1) * step for m in markets)
        last = min(m.start_ms + len(m) * step for m in markets)
        if last - first < LEAST_DAYS * DAY_MS:
            days = max(last - first, 0) / DAY_MS
            raise ValueError(f"the markets have {days:.1f} decidable days in common; {LEAST_DAYS} are the least")
        if self.test is None:
            found = bar_borders(first, last, self.folds, train=self.train, anchored=self.anchored, step=step)
        else:
            moments = (pd.Timestamp(at, unit="ms", tz="UTC") for at in (first, last))
            found = calendar_borders(*moments, train=self.train_length, test=self.test, anchored=self.anchored)
        if len(found) > MOST_FOLDS:
            raise ConfigError(f"{len(found)} folds; at most {MOST_FOLDS}")
        return found


@dataclass(frozen=True)
class FoldMarkets:
    """What a fold learns from and chooses by: a part of each market."""

    train: tuple[ExpertMarket, ...]
    validation: tuple[ExpertMarket, ...]


def fold_markets(
    markets: Sequence[Market], border: Border, settings: TradingSettings, plan: WalkForwardPlan
) -> FoldMarkets:
    """The parts of a fold; labels of each are made from it alone, and none sees the next part.

    Raises:
        ValueError: a part without a decision.
    """
    embargo = round(plan.embargo_days * DAY_MS)
    chosen_from = border.test_start - round((border.test_start - border.train_start) * plan.validation)
    train, validation = [], []
    for market in markets:
        warm_up = market.first_decision(settings.window)
        begin = max(row_of(market, border.train_start), warm_up)
        middle, end = row_of(market, chosen_from), row_of(market, border.test_start)
        gap = embargo // timeframe_ms(market.timeframes[0])
        if not begin < middle - gap <= middle < end - gap:
            raise ValueError(
                f"{market.name or 'the market'} has too few bars before {pd.Timestamp(border.test_start, unit='ms')} "
                "to learn from and to choose by"
            )
        train.append(market_part(market, warm_up, begin, middle - gap, settings))
        validation.append(market_part(market, warm_up, middle, end - gap, settings))
    return FoldMarkets(tuple(train), tuple(validation))


def row_of(market: Market, moment: int) -> int:
    """The row of the first bar that closes at or after a moment (milliseconds): the first decision from it on."""
    step = timeframe_ms(market.timeframes[0])
    return int(-(-(moment - market.start_ms) // step)) - 1


def judged_rows(market: Market, borders: Sequence[Border]) -> np.ndarray:
    """(folds + 1,) int64: rows at which each fold's decisions begin, and the row after the last decision."""
    rows = [row_of(market, border.test_start) for border in borders]
    return np.array([*rows, min(row_of(market, borders[-1].test_stop), len(market) - 1)], dtype=np.int64)
