"""Limit orders that rest: at which price, how long one stands for its target, when it is taken back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from cryptoenv.live.broker import Broker, BrokerError, OrderKind, OrderPhase
from cryptoenv.live.execution import Seen
from cryptoenv.live.journal import Intent, Journal
from cryptoenv.live.order_tracking import EXITS, OrderTracking
from cryptoenv.live.policies import Policies
from cryptoenv.live.safeguards import Signal
from cryptoenv.trading.account import CLOSE_PRICE
from cryptoenv.trading.config import TICK_SIZE, TOLERANCE
from cryptoenv.trading.limit_orders import touch_of
from cryptoenv.trading.venue_account import quantity_after

log = logging.getLogger(__name__)
SPENT = "spent"  #: what the target whose limit order has come to its end is kept under


class RestingOrders(OrderTracking):
    """What becomes of limit orders between signals.

    Args:
        broker, journal, policies, sleep: as of `Executor`.
        step_ms: length of a bar.
    """

    def __init__(
        self, broker: Broker, journal: Journal, policies: Policies, sleep: Callable[[float], None], step_ms: int
    ) -> None:
        super().__init__(broker, journal, policies, sleep)
        self._step = step_ms
        said = journal.told(SPENT)
        self._spent = float(said) if said else None

    def _price(self, quantity: float, seen: Seen) -> float:
        """Of a limit order.

        Raises:
            BrokerError, ValueError: there is none to go by.
        """
        assert self.policies.limit is not None
        close, tick = float(seen.account[CLOSE_PRICE]), float(seen.parameters[TICK_SIZE])
        touch = self.broker.touch()
        if touch is None:
            touch = touch_of(close, seen.parameters)
        return self.policies.limit.price(math.copysign(1.0, quantity), touch, close, tick)

    def _spend(self, target: float | None) -> None:
        """Write down whose limit order has come to its end: what is left of that target is not sent at a limit."""
        if target != self._spent:
            self.journal.tell(SPENT, "" if target is None else repr(target))
            self._spent = target

    def _left_open(self, signal: Signal, seen: Seen, *, closing: bool) -> Intent | None:
        """The limit order that stays for this signal; every other one is settled, before anything else is sent.

        Raises:
            BrokerError: the fate of one is not known, which forbids another one.
        """
        resting, exits = None, False
        for intent in self.journal.undone():
            try:
                if intent.order.kind in EXITS:
                    exits |= self.take_in(intent).filled > intent.booked[0]
                elif self._may_rest(intent, signal, seen) and not closing:
                    if self.take_in(intent).phase is OrderPhase.OPEN:
                        resting = self.journal.intent(intent.order.client_id)
                else:
                    self.settle(intent)
            except BrokerError as error:
                raise BrokerError(f"order {intent.order.client_id}: fate unknown: {error}") from None
        if exits and abs(quantity_after(seen.account, self.fills()[0])) < max(self.broker.step_size, 1e-12):
            self.drop_exits()  # no exit outlives its position
        return resting

    def _may_rest(self, intent: Intent, signal: Signal, seen: Seen) -> bool:
        """Whether a limit order is of the target that is asked for, and not at its end; its end is written down."""
        limit, same = self.policies.limit, same_target(intent.target, signal.target, seen)
        if limit is None or intent.order.kind is not OrderKind.LIMIT or not same:
            return False
        if not limit.is_over((seen.open_ms - intent.bar_ms) // self._step):
            return True
        self._spend(intent.target)
        return False

    def _withdraw(self) -> None:
        """Take limit orders back, since nothing stands behind them any more; what fails is tried at the next bar."""
        for intent in self.journal.undone():
            if intent.order.kind is OrderKind.LIMIT:
                try:
                    self.settle(intent)
                except BrokerError as error:
                    log.error("order %s could not be taken back: %s", intent.order.client_id, str(error))


def same_target(target: float, other: float, seen: Seen) -> bool:
    """Whether two targets are one to a limit order: within the tolerance that the kernel leaves alone."""
    return abs(target - other) <= float(seen.parameters[TOLERANCE])
