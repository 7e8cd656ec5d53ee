"""A venue on paper: the kernel's own fill on live or replayed bars, the same as in the simulator, bit for bit."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cryptoenv.live.broker import Book, Order, OrderKind, OrderPhase, OrderRefusedError, OrderReport, Payment, Step
from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    CASH,
    ENTRY_PRICE,
    EXIT_KIND,
    EXIT_PRICE,
    FILL_PRICE,
    FILL_QUANTITY,
    ORDER_STATUS,
    QUANTITY,
    RUINED,
    STEP_FEES,
    OrderStatus,
)
from cryptoenv.trading.config import FEE, STEP_SIZE
from cryptoenv.trading.kernel import hold, transition
from cryptoenv.trading.limit_orders import filled_in_all, left_of, limit_transition

NO_LIMIT = np.zeros(3)  #: of `limit_transition`: no order rests
NOTHING = (0.0, math.nan, 0.0, 0.0)


class PaperBroker:
    """Fills market orders at the next open, as `cryptoenv.trading.kernel` does; it does no arithmetic of its own.

    A limit order rests until it is taken back, and is filled only by a bar that trades through its price, by the rule
    of `cryptoenv.trading.limit_orders`.

    Args:
        cash: quote currency at the start.
        account: (36,) float64, an account to go on with (of the journal) instead.
        limit_fee: per notional of a limit order; None: `Costs.fee`.

    Attributes:
        account: (36,) float64, the venue's side of the account, as of the last close.
    """

    name = "paper"
    is_live = False
    step_size = 0.0
    is_perpetual = False

    def __init__(
        self, cash: float = 10_000.0, *, account: NDArray[np.float64] | None = None, limit_fee: float | None = None
    ) -> None:
        if not (math.isfinite(cash) and cash > 0.0):
            raise ValueError(f"cash={cash} is not allowed: > 0")
        self.account_id = "paper"
        self.account = np.zeros(ACCOUNT_WIDTH) if account is None else np.array(account, dtype=np.float64)
        if account is None:
            self.account[CASH] = cash
        self._limit_fee = limit_fee
        self._pending: Order | None = None
        self._heard = np.zeros(4)  # of a limit order: what has filled, its average price, fees in quote and in base
        self._done: dict[str, OrderReport] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    def connect(self) -> None:
        """See `Broker`: nothing to do."""

    def now_ms(self) -> int | None:
        """See `Broker`: the feed's clock counts."""
        return None

    def touch(self) -> tuple[float, float] | None:
        """See `Broker`: the model's."""
        return None

    def funding_since(self, at_ms: int) -> list[Payment] | None:
        """See `Broker`: the kernel charges it."""
        return None

    def restore(self, order: Order, report: OrderReport) -> None:
        """Go on with a limit order of the journal that rested when an earlier process ended."""
        self._pending = order
        self._heard = np.array([report.filled, report.average, report.fee_quote, report.fee_base])

    def begin_again(self, cash: float) -> None:
        """Forget what was traded: `cash` of quote currency and nothing else."""
        self._heard = np.zeros(4)
        self.account[:] = 0.0
        self.account[CASH] = cash
        self._pending = None

    def book(self) -> Book:
        """See `Broker`."""
        waiting = () if self._pending is None else (self._report(self._pending, OrderPhase.OPEN),)
        return Book(
            float(self.account[CASH]), float(self.account[QUANTITY]), float(self.account[ENTRY_PRICE]), waiting
        )

    def place(self, order: Order) -> OrderReport:
        """See `Broker`: it fills when the next bar has closed, at that bar's open."""
        if self._pending is not None:
            raise OrderRefusedError(f"{self._pending.client_id} is still to be filled: one order a bar")
        if order.kind not in (OrderKind.MARKET, OrderKind.LIMIT):
            raise OrderRefusedError(f"{order.kind.value} orders are the kernel's on paper: set RiskLimits")
        self._pending, self._heard = order, np.zeros(4)
        return self._report(order, OrderPhase.OPEN)

    def find(self, client_id: str, kind: OrderKind = OrderKind.MARKET) -> OrderReport:
        """See `Broker`; what was waiting when an earlier process ended was never filled."""
        if self._pending is not None and self._pending.client_id == client_id:
            return self._report(self._pending, OrderPhase.OPEN)
        return self._done.get(client_id, OrderReport(client_id, "", OrderPhase.CANCELED, 0.0))

    def cancel(self, report: OrderReport) -> None:
        """See `Broker`."""
        if self._pending is not None and self._pending.client_id == report.client_id:
            self._done = {report.client_id: self._report(self._pending, OrderPhase.CANCELED)}
            self._pending = None

    def carry(self, account: NDArray[np.float64], step: Step) -> tuple[OrderReport, ...]:
        """See `Broker`; `account` (36,) is carried by the kernel's `transition`.

        The kernel sizes the order anew from the same account, price and target that sized the one that was placed.
        What the venue would refuse (NO_VOLUME, and so on) it refuses here.
        """
        pending = self._pending
        if pending is not None and pending.kind is OrderKind.LIMIT:
            return self._carry_limit(account, step, pending)
        cancelled = bool(step.client_id) and pending is None
        if step.holds or cancelled:
            hold(account, step.prices, 0, step.parameters)
        elif step.limited:
            limit_transition(account, step.prices, 0, NO_LIMIT, step.target, step.status, step.parameters)
        else:
            transition(account, step.prices, 0, step.target, step.parameters)
        self.account[:] = account
        reports = []
        if step.client_id:
            filled = float(account[FILL_QUANTITY])
            phase = OrderPhase.FILLED if filled else OrderPhase.CANCELED
            reports.append(OrderReport(
                step.client_id, step.client_id, phase, self._pending.quantity if self._pending else 0.0, abs(filled),
                float(account[FILL_PRICE]), float(account[STEP_FEES]),
            ))  # fmt: skip
            self._done = {step.client_id: reports[-1]}
        elif account[EXIT_KIND]:
            reports.append(OrderReport("", "exit", OrderPhase.FILLED, 0.0, 0.0, float(account[EXIT_PRICE])))
        self._pending = None
        return tuple(reports)

    def _carry_limit(self, account: NDArray[np.float64], step: Step, order: Order) -> tuple[OrderReport, ...]:
        """Carry `account` (36,) over a bar in which a limit order rests; it stays where something is left of it."""
        assert order.price is not None
        fee = float(step.parameters[FEE]) if self._limit_fee is None else self._limit_fee
        size = float(step.parameters[STEP_SIZE])
        left = left_of(order.quantity, float(self._heard[0]), size)
        target = math.nan if step.holds else step.target
        limit_transition(
            account, step.prices, 0, np.array([left, order.price, fee]), target, step.status, step.parameters
        )
        self.account[:] = account
        filled = float(account[FILL_QUANTITY])
        filled_in_all(self._heard, filled, float(account[FILL_PRICE]), fee)
        whole = left_of(left, abs(filled), size) == 0.0 or account[ORDER_STATUS] == OrderStatus.CASH_CAPPED
        gone = bool(account[EXIT_KIND] or account[RUINED])  # what it was to do is no more
        phase = OrderPhase.FILLED if whole else OrderPhase.CANCELED if gone else OrderPhase.OPEN
        report = self._report(order, phase)
        if phase is not OrderPhase.OPEN:
            self._pending, self._done = None, {order.client_id: report}
        return (report,)

    def _report(self, order: Order, phase: OrderPhase) -> OrderReport:
        filled, average, quote, base = self._heard.tolist() if order.kind is OrderKind.LIMIT else NOTHING
        return OrderReport(order.client_id, order.client_id, phase, order.quantity, filled,
                           average if filled else math.nan, quote, base, order.kind)  # fmt: skip

    def close(self) -> None:
        """See `Broker`."""
