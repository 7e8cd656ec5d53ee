"""What a trading loop tells whoever watches it: one frozen event per bar, per failed wait for one, and at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from agents.live.deciders import Asked
from cryptoenv.live.feed import FeedBar


@dataclass(frozen=True)
class Book:
    """The account at the newest close, in quote currency where not said otherwise.

    Attributes:
        equity, cash, drawdown: as of `CryptoTrade-v0` (drawdown: fraction below the peak).
        exposure, target: signed fractions of equity: held, and last asked for.
        quantity: signed, base. entry: average price, 0.0 when flat.
        fees, slippage, funding: paid since the episode began.
    """

    equity: float
    cash: float
    exposure: float
    target: float
    quantity: float
    entry: float
    drawdown: float
    fees: float
    slippage: float
    funding: float


@dataclass(frozen=True)
class Fill:
    """What the step's order has filled: price, signed base quantity, and by how much worse than the bar's open.

    `modelled`: by how much worse the simulator would have filled it; NaN where that is not known.
    """

    price: float
    quantity: float
    slippage: float
    modelled: float = math.nan


@dataclass(frozen=True)
class Latencies:
    """Seconds: waiting for the bar, from a bar being known to its order being answered, and of that sending it; NaN
    where there was none."""

    wait: float
    decision: float
    execution: float


@dataclass(frozen=True)
class Health:
    """Whether trading may go on.

    Attributes:
        reconciled: book and venue are known to agree.
        halted: why it is halted by hand; "" where it is not.
        breakers: that have tripped, and why.
        undone: orders whose last word has not been heard.
        outages: times that no bar could be had.
        objection: why the last signal became no order; "" where nothing stood against it.
    """

    reconciled: bool
    halted: str
    breakers: dict[str, str]
    undone: int
    outages: int
    objection: str


@dataclass(frozen=True)
class Watched:
    """One event.

    Attributes:
        what: "bar" (the first is of the history's last bar), "outage" or "stopped".
        bar: the newest closed one; None at the first event.
        bar_time, close_time: its open and close, ms since the epoch.
        close: its close price.
        book, latencies, health: at that moment. fills: of the step.
        asked: the last decision; None before there was one.
        order_status: of the step, by name. client_id: of its order, "" where none went out.
        bars, orders: decided at and sent until now.
        words: of an outage or of the end.
    """

    what: Literal["bar", "outage", "stopped"]
    bar: FeedBar | None
    bar_time: int
    close_time: int
    close: float
    book: Book
    latencies: Latencies
    health: Health
    fills: tuple[Fill, ...] = ()
    asked: Asked | None = None
    order_status: str = "NONE"
    client_id: str = ""
    bars: int = 0
    orders: int = 0
    words: str = field(default="")


Watcher = Callable[[Watched], None]
