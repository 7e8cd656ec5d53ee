"""Markets of young tokens: bars that come from a constant-product pool and its order flow, and labelled events.

Prices are quote currency per token (SOL, say). Shape legend: `T` bars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from synthetic.regimes.chain_task import WARMUP_DAYS
from synthetic.tokens.events import EventCounts, Forces, PlannedEvent, plan_events
from synthetic.tokens.pool import INVARIANT, LOG_VALUE, POOL_COLUMNS, Flow, PoolNumbers, trade_bars

START: Final = pd.Timestamp("2024-01-01", tz="UTC")

DEFAULT_BARS: Final = (WARMUP_DAYS + 60) * 1440
"""60 tradable days of minutes after the warm-up: what the environment's default timeframes and windows need."""

BARS_PER_EVENTS: Final = 14_400
"""Bars for which a token has the events of `EventCounts()` once, unless it is told how many."""

_EXTREME_KINDS: Final = ("pump_and_dump", "sentiment_drift", "news_shock")


@dataclass(frozen=True)
class TokenConfig:
    """A market of several tokens, each with a pool of its own. The defaults are those of a token that has just left
    pump.fun's bonding curve: 85 SOL against 206.9 million of 1 billion tokens.

    Attributes:
        tokens: how many, at least 1.
        bars: `T`, at least 20. The default is a warm-up of 56 days and 60 tradable ones, in minutes.
        bar_seconds: duration of a bar, at least 1; the events' durations are in bars.
        quote_reserve: liquidity of the pool in quote currency, above 0.
        token_reserve: tokens in the pool, above 0.
        supply: tokens in all, above `token_reserve`; what is not in the pool may be sold into it.
        fee: share of a trade's quote value, in [0, 1).
        trades_per_bar: mean number of trades where nothing happens, above 0.
        trade_size: median quote value of a trade, above 0.
        size_spread: deviation of its logarithm, at least 0.
        pull: log-odds of a buy per log distance of the price below its fair value, at least 0.
        value_memory: share of its distance to the price that the fair value keeps from bar to bar, in [0, 1].
        mood: deviation of the stationary mood, an AR(1) in the log-odds of a buy; at least 0.
        mood_memory: how much of it a bar keeps, in [0, 1).
        activity_spread: deviation of the stationary AR(1) in the logarithm of the rate of trades, at least 0; its
            memory is `mood_memory`.
        events: how many of each kind a token has; None: `EventCounts()` for every ten days of minutes (14400 bars),
            at least once. It is filled in: the config says the numbers.

    Raises:
        ValueError: a field is out of range; the message names it.
    """

    tokens: int = 4
    bars: int = DEFAULT_BARS
    bar_seconds: int = 60
    quote_reserve: float = 85.0
    token_reserve: float = 206_900_000.0
    supply: float = 1e9
    fee: float = 0.003
    trades_per_bar: float = 3.0
    trade_size: float = 0.25
    size_spread: float = 1.5
    pull: float = 1.0
    value_memory: float = 0.99
    mood: float = 0.3
    mood_memory: float = 0.9
    activity_spread: float = 1.0
    events: EventCounts | None = None

    def __post_init__(self) -> None:
        for name, least in (("tokens", 1), ("bars", 20), ("bar_seconds", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least {least}")
        for name in ("quote_reserve", "token_reserve", "trades_per_bar", "trade_size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}: it must be finite and above 0")
        for name in ("size_spread", "pull", "mood", "activity_spread"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}: it must be finite and >= 0")
        if not (math.isfinite(self.supply) and self.supply > self.token_reserve):
            raise ValueError(f"supply is {self.supply!r}: it must be above token_reserve {self.token_reserve!r}")
        if not 0 <= self.value_memory <= 1:
            raise ValueError(f"value_memory is {self.value_memory!r}: it must lie in [0, 1]")
        for name in ("fee", "mood_memory"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must lie in [0, 1)")
        if self.events is None:
            object.__setattr__(self, "events", EventCounts().times(max(1, self.bars // BARS_PER_EVENTS)))


@dataclass(frozen=True)
class TokenSample:
    """One generated market.

    Attributes:
        bars: by token, (T,) rows of `open high low close volume` (volume in tokens) and of further columns:
            `liquidity` (quote reserve at the close), `buys` and `sells` (traded quote value, fee included), `trades`,
            and `market_cap` (close times supply, in quote). All float64, on a UTC index named `timestamp`; each open is
            the previous close.
        truth: by token, on the same index: `pressure` (log-odds of a buy before the pull of value), `log_value` (log of
            the fair value), `token_reserve` (at the close), `invariant` (`x y`, changed only by liquidity), `gathering`
            (1 while insiders gather).
        events: a row for each: `kind`, `token`, `first`, `peak`, `last` (bars, from 0; first and last inclusive),
            `gathering` (bars before a pump's first in which insiders gather), by token and first bar. `peak` is the
            extreme price within the event for `pump_and_dump` (the highest),
            `sentiment_drift` and `news_shock` (the furthest from the open of `first`), else the greatest force.
        config: its parameters.
        seed: what it was drawn with.
    """

    bars: dict[str, pd.DataFrame]
    truth: dict[str, pd.DataFrame]
    events: pd.DataFrame
    config: TokenConfig
    seed: int


def token_market(config: TokenConfig | None = None, seed: int = 0) -> TokenSample:
    """Draw a market of tokens. Same arguments, same bytes; a token does not depend on how many there are.

    Args:
        config: its parameters; `TokenConfig()` where None.
        seed: any integer >= 0.

    Raises:
        ValueError: `seed` is negative.
    """
    chosen = config or TokenConfig()
    if seed < 0:
        raise ValueError(f"seed is {seed}: it must be >= 0")
    index = pd.date_range(START, periods=chosen.bars, freq=f"{chosen.bar_seconds}s", name="timestamp")
    bars, truth, rows = {}, {}, []
    for number in range(chosen.tokens):
        rng = np.random.default_rng([seed, number])
        token = f"TOKEN{number}"
        assert chosen.events is not None
        forces, planned = plan_events(chosen.events, chosen.bars, rng)
        flow = _draw_flow(chosen, forces, rng)
        bars[token], truth[token] = _trade(chosen, flow, index)
        truth[token]["gathering"] = forces.gathering
        for event in planned:
            peak = _peak(event, bars[token])
            rows.append((event.kind, token, event.first, peak, event.last, event.gathering))
    numbers = ("first", "peak", "last", "gathering")
    events = pd.DataFrame(rows, columns=["kind", "token", *numbers])
    return TokenSample(bars, truth, events.astype(dict.fromkeys(numbers, int)), chosen, seed)


def _draw_flow(config: TokenConfig, forces: Forces, rng: np.random.Generator) -> Flow:
    """The order flow of one token."""
    mood = config.mood * autoregression(rng.standard_normal(config.bars), config.mood_memory)
    restless = config.activity_spread * autoregression(rng.standard_normal(config.bars), config.mood_memory)
    rate = [config.trades_per_bar * math.exp(r) * a for r, a in zip(restless, forces.activity, strict=True)]
    trades = rng.poisson(rate)
    total = int(trades.sum())
    return Flow(
        trades=trades.astype(np.int64),
        size=config.trade_size * forces.size,
        pressure=mood + forces.pressure,
        log_value=forces.log_value,
        liquidity=forces.liquidity,
        side=rng.random(total),
        spread=config.size_spread * rng.standard_normal(total),
    )


def autoregression(shocks: np.ndarray, memory: float) -> np.ndarray:
    """(T,) stationary AR(1) of unit deviation."""
    values = np.empty_like(shocks)
    value = shocks[0]
    for t, shock in enumerate(shocks):
        value = memory * value + math.sqrt(1.0 - memory * memory) * shock if t else value
        values[t] = value
    return values


def _trade(config: TokenConfig, flow: Flow, index: pd.DatetimeIndex) -> tuple[pd.DataFrame, pd.DataFrame]:
    outside = config.supply - config.token_reserve
    numbers = (config.quote_reserve, config.token_reserve, outside, config.fee, config.pull, config.value_memory)
    rows, latent = trade_bars(flow, PoolNumbers(*map(float, numbers)))
    bars = pd.DataFrame(rows, index=index, columns=list(POOL_COLUMNS))
    reserve = bars.pop("token_reserve")
    bars["market_cap"] = bars["close"] * config.supply
    truth = {"pressure": flow.pressure, "log_value": latent[:, LOG_VALUE], "token_reserve": reserve}
    return bars, pd.DataFrame({**truth, "invariant": latent[:, INVARIANT]}, index=index)


def _peak(event: PlannedEvent, bars: pd.DataFrame) -> int:
    """The bar of an event's peak: see `TokenSample.events`."""
    if event.kind not in _EXTREME_KINDS:
        return event.peak
    span = bars.iloc[event.first : event.last + 1]
    if event.kind == "pump_and_dump":
        return event.first + int(span["high"].to_numpy().argmax())
    return event.first + int(np.abs(span["close"].to_numpy() / span["open"].iloc[0] - 1.0).argmax())
