"""What stands between the environment and a venue: orders, what became of them, what is held; one small protocol."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class BrokerError(OSError):
    """A venue that cannot be asked, or whose answer cannot be used."""


class UnknownStateError(BrokerError):
    """What is held, or what became of an order, is not known: nothing may be traded until it is."""


class OrderRefusedError(BrokerError):
    """The order breaks a rule that is known here: nothing was sent, and sending it again is of no use."""


class OrderDoubtError(BrokerError):
    """An order was sent and its fate is not known: it is looked for by its client id, never sent again."""


class OrderKind(StrEnum):
    """What is asked of the venue."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


class OrderPhase(StrEnum):
    """What is known of an order."""

    OPEN = "open"  #: at the venue, perhaps filled in part
    FILLED = "filled"  #: all of it
    CANCELED = "canceled"  #: what was not filled is gone: cancelled, expired or rejected by the venue
    ABSENT = "absent"  #: the venue does not know it


@dataclass(frozen=True)
class Order:
    """An order to be sent.

    Attributes:
        client_id: chosen here, unique: by it the order is found again.
        quantity: signed base quantity.
        kind: of `OrderKind`.
        price: of a limit order, or the trigger of a stop or take-profit.
        reduce_only: it may only make the position smaller.
    """

    client_id: str
    quantity: float
    kind: OrderKind = OrderKind.MARKET
    price: float | None = None
    reduce_only: bool = False


@dataclass(frozen=True)
class OrderReport:
    """What a venue says of an order.

    Attributes:
        client_id: as it was sent; "" of an order from elsewhere.
        venue_id: the venue's own.
        phase: of `OrderPhase`.
        quantity: signed, as ordered. filled: of it, unsigned.
        average: price of what filled; NaN where nothing did.
        fee_quote, fee_base: what was charged, by currency.
        kind: of the order.
        fees_known: whether the venue has said what was charged for all that filled; fees are 0.0 where not.
    """

    client_id: str
    venue_id: str
    phase: OrderPhase
    quantity: float
    filled: float = 0.0
    average: float = float("nan")
    fee_quote: float = 0.0
    fee_base: float = 0.0
    kind: OrderKind = OrderKind.MARKET
    fees_known: bool = True


@dataclass(frozen=True)
class Book:
    """What a venue says is held.

    Attributes:
        cash: quote currency. quantity: signed base quantity. entry: its average price; NaN where the venue has none.
        open_orders: that are at the venue.
    """

    cash: float
    quantity: float
    entry: float = float("nan")
    open_orders: tuple[OrderReport, ...] = ()


class Step(NamedTuple):
    """A step of the account that is to be carried over the bar that has just closed.

    Attributes:
        prices: (2, 8) float64, the bar of the decision and the one after it.
        target: asked for. parameters: (22,) float64, of the kernel.
        fills: (F, 5) float64, what a venue has filled since the step before, rows as for `venue_account.settle`.
        holds: no order may fill in it.
        client_id: of the order that the target asked for; "" where none was due or none was sent.
        status: `OrderStatus` that it was sent with.
        limited: orders go out at a limit: nothing else fills.
        funding: that the venue says was paid since the step before (negative: received), quote; NaN: as the model says.
    """

    prices: NDArray[np.float64]
    target: float
    parameters: NDArray[np.float64]
    fills: NDArray[np.float64]
    holds: bool
    client_id: str
    status: int
    limited: bool = False
    funding: float = float("nan")


@dataclass(frozen=True)
class Payment:
    """Funding that a venue has charged: its id, when it fell due (ms), how much was paid (negative: got), in quote."""

    ident: str
    at_ms: int
    paid: float


class Broker(Protocol):
    """A venue, or what stands in for one.

    Attributes:
        name: for people, such as "paper" or "binance".
        account_id: tells accounts apart, without naming a key.
        is_live: whether money is at stake.
        step_size: smallest difference of a position; 0.0 where there is none.
        is_perpetual: whether the market is a perpetual; on spot a resting sale locks the coins that it sells.
    """

    name: str
    account_id: str
    is_live: bool
    step_size: float

    @property
    def is_perpetual(self) -> bool:
        """See above."""
        ...

    def connect(self) -> None:
        """Get ready: markets and rules known, leverage and margin mode as they have to be.

        Raises:
            BrokerError: they are not.
        """
        ...

    def now_ms(self) -> int | None:
        """The venue's clock; None where it has none of its own."""
        ...

    def touch(self) -> tuple[float, float] | None:
        """Best bid and ask; None where the model's are to be taken.

        Raises:
            UnknownStateError: an answer that does not plainly say so.
        """
        ...

    def book(self) -> Book:
        """What is held, and which orders are open.

        Raises:
            UnknownStateError: an answer that does not plainly say so.
        """
        ...

    def funding_since(self, at_ms: int) -> list[Payment] | None:
        """Funding that was charged since then, oldest first; None where the venue does not say.

        Raises:
            BrokerError: it cannot be asked now.
        """
        ...

    def place(self, order: Order) -> OrderReport:
        """Send an order, once.

        Raises:
            OrderRefusedError: nothing was sent. OrderDoubtError: anything else but a plain answer.
        """
        ...

    def find(self, client_id: str, kind: OrderKind = OrderKind.MARKET) -> OrderReport:
        """What became of an order; `OrderPhase.ABSENT` where the venue plainly does not know it.

        Raises:
            UnknownStateError: no plain answer.
        """
        ...

    def cancel(self, report: OrderReport) -> None:
        """Take back what is open of an order. Cancelling what is done changes nothing.

        Raises:
            BrokerError: it is not known whether it was taken back.
        """
        ...

    def carry(self, account: NDArray[np.float64], step: Step) -> tuple[OrderReport, ...]:
        """Carry `account` (36,) to the close of the step's second bar, by the kernel; what it filled by itself."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
