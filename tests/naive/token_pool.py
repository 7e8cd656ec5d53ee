"""The constant-product pool in rational arithmetic: each trade is exact, then reserves are cut to 400 binary places.

Uncut, a sale sized in quote doubles the digits of the reserves: two hundred trades would never end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class ExactPool:
    x: Fraction
    y: Fraction
    outside: Fraction
    fee: Fraction

    @property
    def price(self) -> Fraction:
        return self.x / self.y

    def buy(self, paid: float) -> Fraction:
        """Tokens that the buyer gets."""
        k = self.x * self.y
        self.x += Fraction(paid) * (1 - self.fee)
        got = self.y - k / self.x
        self.y -= got
        self.outside += got
        self.cut()
        return got

    def sell(self, tokens: Fraction) -> Fraction:
        """Quote that leaves the pool; the seller gets it less the fee."""
        k = self.x * self.y
        self.y += tokens
        left = self.x - k / self.y
        self.x -= left
        self.outside -= tokens
        self.cut()
        return left

    def cut(self) -> None:
        self.x, self.y, self.outside = (Fraction(round(v * 2**400), 2**400) for v in (self.x, self.y, self.outside))

    def scale(self, factor: float) -> None:
        self.x *= Fraction(factor)
        self.y *= Fraction(factor)


def exact_bars(
    pool: ExactPool, bars: Sequence[dict[str, float]], draws: Sequence[tuple[float, float]], pull: float, memory: float
) -> list[dict[str, Fraction]]:
    """Bars of a flow: each of `bars` has trades, size, pressure, log_value, liquidity; `draws` are (side, log size)."""
    rows = []
    start, adapted = math.log(pool.price), 0.0
    left = list(draws)
    for bar in bars:
        pool.scale(bar["liquidity"])
        value = start + bar["log_value"] + adapted
        prices = [pool.price]
        row = {"volume": Fraction(0), "buys": Fraction(0), "sells": Fraction(0)}
        for _ in range(int(bar["trades"])):
            side, log_size = left.pop(0)
            worth = bar["size"] * math.exp(log_size)
            odds = bar["pressure"] + pull * (value - math.log(pool.price))
            if side < 1 / (1 + math.exp(-odds)):
                row["volume"] += pool.buy(worth)
                row["buys"] += Fraction(worth)
            else:
                tokens = min(Fraction(worth) / pool.price, pool.outside)
                row["volume"] += tokens
                row["sells"] += pool.sell(tokens)
            prices.append(pool.price)
        row |= {"open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1]}
        rows.append({**row, "liquidity": pool.x, "token_reserve": pool.y})
        adapted += (1 - memory) * (math.log(pool.price) - value)
    return rows
