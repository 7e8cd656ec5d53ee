"""One generated regime market, and what all of them have in common. Shape legend: `T` bars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from synthetic.price_columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME
from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.macro_task import MacroTask
from synthetic.regimes.origin import Origin

Floats: TypeAlias = NDArray[np.float64]

START: Final = pd.Timestamp("2020-01-01", tz="UTC")

TYPICAL_NOTIONAL: Final = 1e7
"""Traded value of a bar (quote units) at activity 1. Base volume is this over the price, so that an account of 10,000
stays far below any participation cap wherever the price wanders."""

TYPICAL_PRICE: Final = 100.0
START_PRICE_SPREAD: Final = 0.1


@dataclass(frozen=True)
class RegimeSample:
    """One generated market.

    Attributes:
        bars: (T,) rows of `open high low close volume` (float64) on a UTC index named `timestamp`, 15 minutes apart;
            each open is the previous close. The first `WARMUP_DAYS` days are warm-up. They carry their `origin`.
        truth: on the same index, `regime` (int8, place in `task.regimes`), `drift` = E[r_t | regime_t, past],
            `second_moment` = E[r_t**2 | regime_t, past], and `volatility`, the scale known before the bar. `r_t` is
            the log-return from open to close. With a macro state also `macro` (int8, place in `task.macros`) and
            `level`, the latent log volatility level, which drift, second moment and scale are given too.
        task: its parameters.
        seed: what it was drawn with.
    """

    bars: pd.DataFrame
    truth: pd.DataFrame
    task: RegimeTask | MacroTask
    seed: int

    @property
    def name(self) -> str:
        """What its market is called: task and seed."""
        return f"{self.task.name}-{self.seed}"


@njit(cache=True)
def price_bars(
    log_returns: Floats,
    upper_wick: Floats,
    lower_wick: Floats,
    log_activity: Floats,
    price: float,
    notional: float = TYPICAL_NOTIONAL,
) -> Floats:
    """(T, 5) open, high, low, close, volume from a first price; wicks are log distances beyond the body.

    `notional` is the traded value of a bar at activity 1.
    """
    bars = np.empty((log_returns.shape[0], len(BAR_COLUMNS)))
    log_price = math.log(price)
    for t in range(log_returns.shape[0]):
        log_price += log_returns[t]
        close = math.exp(log_price)
        bars[t, OPEN] = price
        bars[t, HIGH] = max(price, close) * math.exp(upper_wick[t])
        bars[t, LOW] = min(price, close) * math.exp(-lower_wick[t])
        bars[t, CLOSE] = close
        bars[t, VOLUME] = notional * math.exp(log_activity[t]) / price
        price = close
    return bars


def first_price(rng: np.random.Generator) -> float:
    """The price that a market opens at."""
    return TYPICAL_PRICE * math.exp(START_PRICE_SPREAD * rng.standard_normal())


def sample_of(
    prices: Floats, truth: Mapping[str, NDArray[Any]], task: RegimeTask | MacroTask, seed: int
) -> RegimeSample:
    """Put prices (T, 5) and truth (T,) on the index that all markets share."""
    index = pd.date_range(START, periods=len(prices), freq="15min", name="timestamp")
    bars = pd.DataFrame(prices, index=index, columns=list(BAR_COLUMNS))
    Origin(task.name, int(seed)).mark(bars)
    return RegimeSample(
        bars=bars,
        truth=pd.DataFrame(truth, index=index),
        task=task,
        seed=seed,
    )
