"""Stops and take-profits that rest at the venue while a position is held, so that it is protected between bars, too."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from cryptoenv.live.broker import Book, BrokerError, Order, OrderKind, OrderPhase
from cryptoenv.live.executor import Executor
from cryptoenv.live.journal import Intent
from cryptoenv.trading.config import IS_SPOT, STOP_LOSS, TAKE_PROFIT, TICK_SIZE
from cryptoenv.trading.venue_account import exit_levels

log = logging.getLogger(__name__)
SAME_PRICE = 1e-6  #: share of a price within which two triggers are one, where there is no tick


class Protection:
    """Keeps the resting exits of `RiskLimits` in line with what the venue says is held.

    Each is reduce-only on a perpetual and found again by its client id. A new one is placed before the old one is
    cancelled (on spot after, where a resting sale locks its coins); when nothing is held none is left. One whose price
    is passed already is not placed: the position is closed at the market, once.

    Args:
        executor: of the account.
        parameters: (22,) float64, the kernel's, with stop and take-profit in them.

    Raises:
        ValueError: both on spot, where coins stand behind one resting order alone.
    """

    def __init__(self, executor: Executor, parameters: NDArray[np.float64]) -> None:
        self._executor, self._parameters = executor, parameters
        self._set = [kind for kind, at in ((OrderKind.STOP_LOSS, STOP_LOSS), (OrderKind.TAKE_PROFIT, TAKE_PROFIT))
                     if parameters[at] < math.inf]  # fmt: skip
        if len(self._set) == 2 and parameters[IS_SPOT] == 1.0:
            raise ValueError(
                "stop_loss and take_profit: on a spot market coins stand behind one resting order alone; set one of "
                "them, or trade a perpetual"
            )

    def keep(self, book: Book, entry: float, bar_ms: int) -> None:
        """Bring what rests in line with a position.

        Args:
            book: of the venue, with no other order under way.
            entry: average price of the position where the venue does not say.
            bar_ms: open of the newest bar.
        """
        if not self._set:
            return
        executor, held = self._executor, book.quantity
        if abs(held) < max(executor.broker.step_size, 1e-12):
            executor.drop_exits()
            return
        entry = book.entry if math.isfinite(book.entry) else entry
        if not (math.isfinite(entry) and entry > 0.0):
            log.error("what is held has no entry price: its stop cannot be placed")
            return
        stop, profit = exit_levels(held, entry, self._parameters)
        levels = {OrderKind.STOP_LOSS: stop, OrderKind.TAKE_PROFIT: profit}
        for kind in self._set:
            if not self._kept(kind, held, levels[kind], bar_ms):
                return  # the position is being closed

    def _kept(self, kind: OrderKind, held: float, level: float, bar_ms: int) -> bool:
        """Whether the position goes on, with its exit of a kind at a price."""
        executor = self._executor
        there = [intent for intent in executor.journal.undone() if intent.order.kind is kind]
        fitting = [intent for intent in there if not math.isnan(level) and self._fits(intent, -held, level)]
        stale = [intent for intent in there if intent not in fitting[:1]]
        if math.isnan(level) or fitting:
            self._settle(stale)
            return True
        if not executor.broker.is_perpetual:
            self._settle(stale)
        for _ in range(2):
            if self._is_passed(kind, held, level):
                log.warning("%s at %g is passed already: closed at the market", kind.value, level)
                executor.drop_exits()
                self._send(Order(executor.new_id(), -held, reduce_only=True), bar_ms)
                return False
            order = Order(executor.new_id(), -held, kind, level, reduce_only=True)
            self._send(order, bar_ms)
            intent = executor.journal.intent(order.client_id)
            if intent is not None and self._rests(intent):
                break
            log.error("%s of %g at %g does not rest at the venue", kind.value, -held, level)
        if executor.broker.is_perpetual:
            self._settle(stale)
        return True

    def _fits(self, intent: Intent, quantity: float, level: float) -> bool:
        """Whether an exit is of this quantity and price."""
        step = max(0.5 * self._executor.broker.step_size, 1e-12)
        tick = max(float(self._parameters[TICK_SIZE]), SAME_PRICE * level)
        price = intent.order.price
        return price is not None and abs(intent.order.quantity - quantity) <= step and abs(price - level) <= tick

    def _rests(self, intent: Intent) -> bool:
        """Whether an exit that was sent is at the venue, or did its work already."""
        try:
            report = self._executor.take_in(intent)
        except BrokerError as error:
            log.error("order %s: %s", intent.order.client_id, str(error))
            return True  # its fate is not known: it is asked for again, and no other one is sent
        return report.phase in (OrderPhase.OPEN, OrderPhase.FILLED)

    def _is_passed(self, kind: OrderKind, held: float, level: float) -> bool:
        """Whether the market is beyond an exit's price."""
        try:
            touch = self._executor.broker.touch()
        except BrokerError as error:
            log.warning("whether %s is passed is not known: %s", kind.value, str(error))
            return False
        if touch is None:
            return False
        price, side = (touch[0], 1.0) if held > 0.0 else (touch[1], -1.0)
        return (price - level) * side <= 0.0 if kind is OrderKind.STOP_LOSS else (price - level) * side >= 0.0

    def _send(self, order: Order, bar_ms: int) -> None:
        against = self._executor.send(order, bar_ms)
        if against is not None:
            self._executor.journal.note("alarm", reason=against, kind=order.kind.value, quantity=order.quantity)
            log.error("%s of %g was not sent: %s", order.kind.value, order.quantity, against)

    def _settle(self, intents: list[Intent]) -> None:
        for intent in intents:
            try:
                self._executor.settle(intent)
            except BrokerError as error:
                log.error("order %s could not be taken back: %s", intent.order.client_id, str(error))

