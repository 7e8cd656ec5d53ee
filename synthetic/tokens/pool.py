"""A constant-product pool and the order flow that moves it. Jitted; all randomness is drawn beforehand.

With reserves `x` of the quote currency and `y` of the token, the price is `x / y` and a trade leaves `x y = k` (Adams
et al., "Uniswap v2 Core", 2020). The fee is paid in quote and leaves the pool, so `k` moves only when liquidity is
added or withdrawn. Shape legend: `T` bars, `n` trades.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from synthetic.price_columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME

Floats: TypeAlias = NDArray[np.float64]

POOL_COLUMNS: Final = (*BAR_COLUMNS, "liquidity", "buys", "sells", "trades", "token_reserve")
LIQUIDITY, BUYS, SELLS, TRADES, TOKEN_RESERVE = 5, 6, 7, 8, 9  # columns after those of bars
LOG_VALUE, INVARIANT = 0, 1  # columns of the truth


class Flow(NamedTuple):
    """What drives the pool.

    Attributes:
        trades: (T,) int64, trades of each bar.
        size: (T,) scale of the quote value of a trade.
        pressure: (T,) log-odds of a buy, before the pull of value.
        log_value: (T,) natural log of the price that the crowd thinks fair.
        liquidity: (T,) factor on both reserves at the bar's open, above 0; 1 where nobody adds or withdraws.
        side: (n,) uniform draws that settle the side of each trade.
        spread: (n,) log of each trade's size over the bar's scale.
    """

    trades: NDArray[np.int64]
    size: Floats
    pressure: Floats
    log_value: Floats
    liquidity: Floats
    side: Floats
    spread: Floats


class PoolNumbers(NamedTuple):
    """The pool at the start, and how its crowd reacts.

    Attributes:
        quote_reserve: `x`, in quote units.
        token_reserve: `y`, in tokens.
        outside: tokens outside the pool that may be sold into it.
        fee: share of a trade's quote value.
        pull: log-odds of a buy per log distance of the price below its value.
        value_memory: how much of its distance to the price the value keeps from bar to bar.
    """

    quote_reserve: float
    token_reserve: float
    outside: float
    fee: float
    pull: float
    value_memory: float


@njit(cache=True)
def buy_tokens(x: float, y: float, paid: float, fee: float) -> tuple[float, float]:
    """Reserves `x`, `y` after a buy that pays `paid` quote, fee included."""
    after = x + paid * (1.0 - fee)
    return after, x * y / after


@njit(cache=True)
def sell_tokens(x: float, y: float, tokens: float) -> tuple[float, float]:
    """Reserves `x`, `y` after a sale of `tokens`; the seller gets the quote that leaves, less the fee."""
    after = y + tokens
    return x * y / after, after


@njit(cache=True)
def trade_bars(flow: Flow, pool: PoolNumbers) -> tuple[Floats, Floats]:
    """Run the order flow through the pool: bars (T, 10) of `POOL_COLUMNS`, and log value and `k`, (T, 2).

    A trade is a buy with probability `logistic(pressure + pull (log_value + adapted - log(price)))`, where `adapted`
    follows the price with `value_memory`: what was an extreme price becomes the usual one. A sale is cut to the tokens
    that are outside. Prices are quote per token, `volume` in tokens, `buys` and `sells` in quote, fee included.
    """
    length = flow.trades.shape[0]
    bars = np.zeros((length, len(POOL_COLUMNS)))
    truth = np.empty((length, 2))
    x, y, outside = pool.quote_reserve, pool.token_reserve, pool.outside
    start = math.log(x / y)
    adapted = 0.0
    k = x * y
    place = 0
    price = x / y
    for t in range(length):
        if flow.liquidity[t] != 1.0:
            x, y = x * flow.liquidity[t], y * flow.liquidity[t]  # the price does not move
            k = x * y
        bars[t, OPEN] = bars[t, HIGH] = bars[t, LOW] = price
        value = start + flow.log_value[t] + adapted
        for _ in range(flow.trades[t]):
            odds = flow.pressure[t] + pool.pull * (value - math.log(x / y))
            worth = flow.size[t] * math.exp(flow.spread[place])
            if flow.side[place] < 1.0 / (1.0 + math.exp(-odds)):
                after = buy_tokens(x, y, worth, pool.fee)
                bars[t, VOLUME] += y - after[1]
                outside += y - after[1]
                bars[t, BUYS] += worth
            else:
                tokens = min(worth * y / x, outside)
                after = sell_tokens(x, y, tokens)
                bars[t, VOLUME] += tokens
                outside -= tokens
                bars[t, SELLS] += x - after[0]
            x, y = after
            bars[t, HIGH] = max(bars[t, HIGH], x / y)
            bars[t, LOW] = min(bars[t, LOW], x / y)
            place += 1
        if flow.trades[t] > 0:
            price = x / y
        bars[t, HIGH] = max(bars[t, HIGH], price)
        bars[t, LOW] = min(bars[t, LOW], price)
        bars[t, CLOSE] = price
        bars[t, LIQUIDITY] = x
        bars[t, TRADES] = flow.trades[t]
        bars[t, TOKEN_RESERVE] = y
        truth[t, LOG_VALUE] = value
        truth[t, INVARIANT] = k
        adapted += (1.0 - pool.value_memory) * (math.log(price) - value)
    return bars, truth
