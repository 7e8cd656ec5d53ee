"""One path from a signal to an order, for agents, segmenters, forecasters and files of signals.

Checks, sizing by the kernel, the journal's intent, the broker's order, in this order. Whatever fails is no order, and
what is not known is asked for by client id, never sent again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Self

from cryptoenv.exchange.asking import wall_ms
from cryptoenv.live.broker import (
    Broker,
    BrokerError,
    Order,
    OrderDoubtError,
    OrderKind,
    OrderPhase,
    OrderRefusedError,
    OrderReport,
)
from cryptoenv.live.deployment import Deployment
from cryptoenv.live.execution import Execution, Seen
from cryptoenv.live.journal import PEAK, Intent, Journal, JournalError
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.policies import Patience as Patience
from cryptoenv.live.policies import Policies as Policies
from cryptoenv.live.resting_orders import RestingOrders, same_target
from cryptoenv.live.safeguards import Breakers, SanityCheck, Signal
from cryptoenv.trading.account import CLOSE_PRICE, EQUITY, QUANTITY
from cryptoenv.trading.config import MIN_NOTIONAL, SIZING_FRACTION
from cryptoenv.trading.limit_orders import left_of
from cryptoenv.trading.venue_account import account_with, live_order, quantity_after

log = logging.getLogger(__name__)
HOUR_MS = 3_600_000
SKEW_CHECK_SECONDS = 300.0  #: between two looks at the venue's clock


class Executor(RestingOrders):
    """Turns signals into orders.

    Args:
        broker: of the account.
        journal: of the account.
        switch: the kill switch.
        step_ms: length of a bar.
        policies: what it is held to.
        sleep: waits some seconds.
        clock: of this machine, ms since the epoch.

    Attributes:
        reconciled: whether book and venue are known to agree; nothing is sent while they are not.
        skew_ms: this machine's clock less the venue's, when it was last looked at; None where it was not.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        switch: KillSwitch,
        step_ms: int,
        policies: Policies | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        super().__init__(broker, journal, Policies() if policies is None else policies, sleep, step_ms)
        if self.policies.limit is not None and self.policies.limit.lifetime < 1.0 and not broker.is_live:
            raise ValueError("on paper a bar is one piece: a limit order lives for whole bars there")
        self._clock = clock
        self.switch = switch
        self.reconciled = False
        self.skew_ms: int | None = None
        self._sent_ms = 0
        self._sanity = SanityCheck(self.policies.sanity, step_ms)
        self._breakers = Breakers(self.policies.limits, float(journal.told(PEAK) or 0.0), *_day_of(journal))
        self._deployment = Deployment(journal, self.policies.stages)
        self._prefix = _prefix(broker.account_id)
        self._seen: Seen | None = None
        self._skew_seen = -math.inf

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

    @property
    def day_equity(self) -> float:
        """First equity of the UTC day, that the daily loss is counted from; NaN before the first bar."""
        return self._breakers.day_equity

    def see(self, seen: Seen) -> None:
        """Take the newest closed bar and the account for what signals are executed on."""
        self._seen = seen

    def execute_signal(
        self,
        target: float,
        confidence: float = 1.0,
        *,
        probabilities: tuple[float, ...] | None = None,
        decided_ms: int | None = None,
        strain: float = 0.0,
        prediction: bytes | None = None,
    ) -> Execution:
        """Send the order that a target asks for, if nothing stands against it.

        Args:
            target: signed exposure, a fraction of equity.
            confidence: 0 to 1.
            probabilities, decided_ms, strain, prediction: as of `Signal`.

        Returns:
            What became of it. An order whose fate is not known yet is in it as one that was sent.

        Raises:
            RuntimeError: no bar was seen yet.
        """
        if self._seen is None:
            raise RuntimeError("no bar was seen yet: call see() first (the environment does)")
        signal, seen = Signal(target, confidence, probabilities, decided_ms, strain, prediction), self._seen
        try:
            return self._executed(signal, seen)
        except JournalError as error:  # nothing was sent: what cannot be written down does not happen
            log.error("no order: %s", str(error))
            return self._held(seen, f"the journal takes nothing: {error}")

    def _executed(self, signal: Signal, seen: Seen) -> Execution:
        objection = self._halted(seen)
        closing = objection is not None
        if objection is not None:
            self._withdraw()
            if not (objection.startswith("breaker") and self.policies.limits.flatten and self.reconciled):
                return self._held(seen, objection)
            signal = Signal(0.0)
        elif (objection := self._sanity.objection(signal, seen.close_ms, seen.now_ms)) is not None:
            self.journal.note("alarm", reason=objection, target=repr(signal.target))
            self._withdraw()
            return self._held(seen, objection)
        if self._spent is not None and not same_target(self._spent, signal.target, seen):
            self._spend(None)
        limit = None if closing else self.policies.limit
        try:
            resting = self._left_open(signal, seen, closing=closing)
        except BrokerError as error:
            return self._held(seen, str(error))
        parameters = seen.parameters
        share = self._deployment.fraction * (signal.confidence if self.policies.sized else 1.0)
        if share != 1.0:
            parameters = parameters.copy()
            parameters[SIZING_FRACTION] *= share
        if words := self.unknown_coins():
            return self._held(seen, words)
        if resting is not None:
            left = left_of(resting.order.quantity, resting.booked[0], self.broker.step_size)
            return Execution(signal.target, parameters, left, resting.order.client_id, rests=True, limited=True)
        fills, reports = self.fills()
        account = seen.account
        if reports:  # they came after the bar's close, or were in doubt until now
            account = account_with(account, fills, reports[-1].phase is OrderPhase.FILLED, parameters)
        quantity, status = live_order(account, signal.target, seen.sigma, parameters)
        if quantity == 0.0:
            self._spend(None)
            return Execution(signal.target, parameters, status=status, objection=objection or "",
                             limited=limit is not None)  # fmt: skip
        spent = self._spent is not None
        if limit is not None and spent and limit.remainder == "nothing":
            return Execution(signal.target, parameters, limited=True)
        seen = seen._replace(account=account)
        if (against := self._beyond_limits(quantity, seen, closing=closing)) is not None:
            self.journal.note("alarm", reason=against, quantity=quantity)
            return self._held(seen, against)
        price, kind = None, OrderKind.MARKET
        if limit is not None and not spent:
            try:
                price, kind = self._price(quantity, seen), OrderKind.LIMIT
            except (BrokerError, ValueError) as error:
                self.journal.note("alarm", reason=str(error), quantity=quantity)
                return self._held(seen, f"no price for a limit order: {error}")
        reduces = closing or _reduces(float(account[QUANTITY]), quantity)
        order = Order(self.new_id(), quantity, kind, price, reduce_only=reduces)
        if quantity < 0.0 and not self.broker.is_perpetual and not self.drop_exits():
            return self._held(seen, "the coins are locked by a stop that could not be taken back, or it has filled")
        sent = self.send(order, seen.open_ms, signal.target, signal.confidence)
        if sent is not None:
            return self._held(seen, sent)
        return Execution(signal.target, parameters, quantity, order.client_id, status, objection or "",
                         limited=kind is OrderKind.LIMIT)  # fmt: skip

    def tend(self) -> None:
        """Wait for the end of a limit order that lives for less than a bar; what is left of it then goes on or not."""
        limit, seen = self.policies.limit, self._seen
        if limit is None or limit.lifetime >= 1.0 or seen is None:
            return
        end = self._sent_ms + limit.lifetime * self._step
        for intent in self.journal.undone():
            if intent.order.kind is not OrderKind.LIMIT:
                continue
            try:
                while self.take_in(intent).phase is OrderPhase.OPEN:
                    left = (end - self._clock()) / 1000.0
                    if left <= 0.0 or self.switch.reason is not None:
                        break
                    self._sleep(min(left, self.policies.patience.rest))
                report = self.settle(intent)
            except BrokerError as error:
                log.warning("order %s: %s", intent.order.client_id, str(error))
                continue
            rest = left_of(intent.order.quantity, report.filled, self.broker.step_size)
            if rest != 0.0 and limit.remainder == "nothing":
                self._spend(intent.target)
            elif rest != 0.0:
                self._send_rest(rest, intent, seen)

    def _send_rest(self, rest: float, intent: Intent, seen: Seen) -> None:
        """Send to the market what a limit order has not filled, if nothing stands against it now."""
        against = self.switch.reason or ", ".join(self.journal.latched())
        if not self.reconciled:
            against = against or "not reconciled"
        if abs(rest) * float(seen.account[CLOSE_PRICE]) < float(seen.parameters[MIN_NOTIONAL]):
            against = against or "smaller than the venue takes"
        against = against or self._too_many() or ""
        if against:
            log.warning("what is left of %s is not sent: %s", intent.order.client_id, against)
            return
        reduces = _reduces(quantity_after(seen.account, self.fills()[0]), rest)
        order = Order(self.new_id(), rest, reduce_only=reduces)
        self.send(order, seen.open_ms, intent.target, intent.confidence)

    def _held(self, seen: Seen, objection: str) -> Execution:
        log.warning("no order at %d: %s", seen.close_ms, objection)
        return Execution(math.nan, seen.parameters, objection=objection)

    def _halted(self, seen: Seen) -> str | None:
        """Why nothing may be traded at all, in words; a breaker that trips now is latched."""
        if (reason := self.switch.reason) is not None:
            return reason
        if not self.reconciled:
            return "not reconciled: book and venue are not known to agree"
        tripped = self._breakers.tripped(seen.account, seen.close_ms)
        if tripped is not None:
            self._trip(*tripped, seen)
        self._keep_day()
        if latched := self.journal.latched():
            return "breaker " + "; ".join(f"{name}: {reason}" for name, reason in latched.items())
        if (skew := self._skewed()) is not None:
            return skew
        self._deployment.update(seen.close_ms, float(seen.account[EQUITY]))
        return None

    def _trip(self, name: str, reason: str, seen: Seen) -> None:
        if name in self.journal.latched():
            return
        log.error("breaker %s trips: %s", name, reason)
        self.journal.latch(name, reason)
        equity = float(seen.account[EQUITY])
        self._deployment.fall_back(seen.close_ms, equity if math.isfinite(equity) else 0.0)

    def _keep_day(self) -> None:
        told = f"{self._breakers.day} {self._breakers.day_equity!r}"
        if self.journal.told("day") != told:
            self.journal.tell("day", told)

    def _skewed(self) -> str | None:
        """Why the clocks forbid trading; the venue's is looked at now and then."""
        if time.monotonic() - self._skew_seen < SKEW_CHECK_SECONDS:
            return None
        try:
            theirs = self.broker.now_ms()
        except BrokerError as error:
            return f"the venue's clock is not known: {error}"
        if theirs is not None:
            self.skew_ms = skew = self._clock() - theirs
            if abs(skew) > self.policies.limits.clock_skew_ms:
                return (
                    f"this machine's clock differs from the venue's by {skew / 1000.0:+.1f} s (allowed: "
                    f"{self.policies.limits.clock_skew_ms / 1000.0:g} s): set it, then trade"
                )
        self._skew_seen = time.monotonic()
        return None

    def _beyond_limits(self, quantity: float, seen: Seen, *, closing: bool) -> str | None:
        """Which limit an order would break, in words. Closing is refused by the rate of orders alone."""
        limits, account = self.policies.limits, seen.account
        if (many := self._too_many()) is not None:
            return many
        price, equity, held = (float(account[column]) for column in (CLOSE_PRICE, EQUITY, QUANTITY))
        if closing or (abs(held + quantity) <= abs(held) and (held + quantity) * held >= 0.0):
            return None
        after = abs(held + quantity) * price / equity
        if not after <= limits.exposure * (1.0 + 1e-9):
            return f"exposure would be {after:.3f}, allowed is {limits.exposure:g}"
        if limits.order_value is not None and not abs(quantity) * price <= limits.order_value:
            return f"the order is worth {abs(quantity) * price:.2f}, allowed is {limits.order_value:g}"
        return None

    def _too_many(self) -> str | None:
        """Why the rate of orders forbids another one."""
        allowed = self.policies.limits.orders_per_hour
        if allowed is None:
            return None
        count = self.journal.orders_since(self.journal.now_ms() - HOUR_MS)
        return f"{count} orders in the last hour, allowed are {allowed}" if count >= allowed else None

    def new_id(self) -> str:
        """A client id that no order of this account had."""
        return self.journal.next_client_id(self._prefix)

    def send(self, order: Order, bar_ms: int, target: float = 0.0, confidence: float = 1.0) -> str | None:
        """Write down the intent, send it once, write down what was heard. Nothing is checked here.

        Args:
            order: with a new client id.
            bar_ms: open of the bar that it was decided at.
            target, confidence: of the signal behind it.

        Returns:
            Why nothing was sent; None where it was.
        """
        self.journal.intend(order, bar_ms, target, confidence)
        self._sent_ms = self._clock()
        try:
            report = self.broker.place(order)
        except OrderRefusedError as error:
            self.journal.hear(OrderReport(order.client_id, "", OrderPhase.CANCELED, order.quantity))
            self.journal.note("refused", client_id=order.client_id, reason=str(error))
            return str(error)
        except OrderDoubtError as error:
            log.error("order %s: fate unknown: %s", order.client_id, str(error))
            self.journal.doubt(order.client_id, str(error))
            return None
        self.journal.hear(report)
        log.info("order %s: %s, %g", order.client_id, report.phase.value, order.quantity)
        return None


def _reduces(held: float, quantity: float) -> bool:
    """Whether an order can only make a position smaller."""
    return held * quantity < 0.0 and abs(quantity) <= abs(held)


def _prefix(account_id: str) -> str:
    """Of client ids: letters and digits that tell accounts apart."""
    return "ce" + "".join(c for c in account_id if c.isalnum())[:8] + "x"


def _day_of(journal: Journal) -> tuple[int, float]:
    told = (journal.told("day") or "").split()
    try:
        return (int(told[0]), float(told[1])) if len(told) == 2 else (-1, math.nan)
    except ValueError:
        return -1, math.nan
