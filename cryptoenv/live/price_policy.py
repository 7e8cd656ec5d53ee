"""At what price orders go out: at the market, or as limit orders that live for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cryptoenv.files.typed_values import Range, require_numbers
from cryptoenv.trading.limit_orders import limit_price

REMAINDERS = ("market", "nothing")


@dataclass(frozen=True)
class LimitOrders:
    """Orders at a limit, in place of market orders.

    An order is priced at the touch of its own side (a purchase at the best bid), `offset` better than it. It lives for
    `lifetime` bars while the same target is asked for (to within `RiskLimits.rebalance_tolerance`); another target, an
    objection or its end takes it back.

    Attributes:
        offset: fraction of the touch: 0.0 at the touch, 0.001 a tenth of a percent better, negative to fill sooner.
        lifetime: bars. Below 1 (at an exchange alone: a bar on paper is one piece) it ends within the bar.
        remainder: what is not filled by then goes to the "market", or "nothing" more is done until another target is
            asked for.
        fee: per notional of a limit order on paper; None charges `Costs.fee`. An exchange says what it charged.
        band: the touch may be this fraction off the newest close; further off it is not believed, and nothing is sent.
    """

    offset: float = 0.0
    lifetime: float = 1.0
    remainder: Literal["market", "nothing"] = "market"
    fee: float | None = None
    band: float = 0.05

    def __post_init__(self) -> None:
        require_numbers(self, {
            "offset": Range(-0.1, 0.1), "lifetime": Range(0.0, 10_000.0, above=True), "fee": Range(0.0, 0.5),
            "band": Range(0.0, 1.0, above=True),
        })  # fmt: skip
        if self.lifetime > 1.0 and self.lifetime != int(self.lifetime):
            raise ValueError(f"lifetime={self.lifetime} is not allowed: whole bars, or a part of one")
        if self.remainder not in REMAINDERS:
            raise ValueError(f"remainder={self.remainder!r} is not allowed: {' or '.join(REMAINDERS)}")

    def price(self, side: float, touch: tuple[float, float], close: float, tick: float) -> float:
        """Price of an order.

        Args:
            side: 1.0 of a purchase, -1.0 of a sale.
            touch: best bid and ask.
            close: the newest.
            tick: price increment, 0.0 for none.

        Raises:
            ValueError: a touch that is not believed; the message says why.
        """
        bid, ask = touch
        if not (math.isfinite(bid) and math.isfinite(ask) and 0.0 < bid <= ask):
            raise ValueError(f"best bid {bid} and ask {ask} are no prices to go by")
        if not (abs(bid / close - 1.0) <= self.band and abs(ask / close - 1.0) <= self.band):
            raise ValueError(f"best bid {bid:g} and ask {ask:g} are more than {self.band:.0%} off the close, {close:g}")
        return limit_price(side, bid, ask, self.offset, tick)

    def is_over(self, bars: int) -> bool:
        """Whether an order that was sent so many bars ago has come to its end."""
        return bars >= self.lifetime
