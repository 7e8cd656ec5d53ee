"""One path from a signal to an order, for agents, segmenters, forecasters and files of signals.

Checks, sizing by the kernel, the journal's intent, the broker's order, in this order. Whatever fails is no order, and
what is not known is asked for by client id, never sent again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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
    UnknownStateError,
)
from cryptoenv.live.deployment import WHOLE, Deployment, Stage
from cryptoenv.live.execution import Execution, Seen
from cryptoenv.live.journal import DOUBT, PEAK, Intent, Journal, JournalError
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.safeguards import Breakers, SanityCheck, SanityLimits, Signal, TradeLimits
from cryptoenv.trading.account import CLOSE_PRICE, EQUITY, QUANTITY
from cryptoenv.trading.config import SIZING_FRACTION
from cryptoenv.trading.venue_account import fill_since, live_order

log = logging.getLogger(__name__)
HOUR_MS = 3_600_000
SKEW_CHECK_SECONDS = 300.0  #: between two looks at the venue's clock


@dataclass(frozen=True)
class Patience:
    """How an order whose fate is not known is looked for.

    Attributes:
        settle: seconds for which it has to stay unknown to the venue before it counts as never arrived.
        first: seconds until the second look; each later wait is half as long again.
    """

    settle: float = 10.0
    first: float = 0.25


@dataclass(frozen=True)
class Policies:
    """What an executor is held to: sanity of signals, limits of risk, stages of deployment, patience with doubt.

    `sized`: orders are sized by the signal's confidence.
    """

    sanity: SanityLimits = field(default_factory=SanityLimits)
    limits: TradeLimits = field(default_factory=TradeLimits)
    stages: tuple[Stage, ...] = WHOLE
    patience: Patience = field(default_factory=Patience)
    sized: bool = False


class Executor:
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
        self._clock = clock
        self.broker, self.journal, self.switch = broker, journal, switch
        self.policies = Policies() if policies is None else policies
        self.reconciled = False
        self._step, self._sleep = step_ms, sleep
        self._sanity = SanityCheck(self.policies.sanity, step_ms)
        self._breakers = Breakers(self.policies.limits, float(journal.told(PEAK) or 0.0), *_day_of(journal))
        self._deployment = Deployment(journal, self.policies.stages)
        self._prefix = _prefix(broker.account_id)
        self._seen: Seen | None = None
        self._skew_seen = -math.inf

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # `gymnasium.make` copies what an environment is made with

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
    ) -> Execution:
        """Send the order that a target asks for, if nothing stands against it.

        Args:
            target: signed exposure, a fraction of equity.
            confidence: 0 to 1.
            probabilities, decided_ms, strain: as of `Signal`.

        Returns:
            What became of it. An order whose fate is not known yet is in it as one that was sent.

        Raises:
            RuntimeError: no bar was seen yet.
        """
        if self._seen is None:
            raise RuntimeError("no bar was seen yet: call see() first (the environment does)")
        signal, seen = Signal(target, confidence, probabilities, decided_ms, strain), self._seen
        try:
            return self._executed(signal, seen)
        except JournalError as error:  # nothing was sent: what cannot be written down does not happen
            log.error("no order: %s", error)
            return self._held(seen, f"the journal takes nothing: {error}")

    def _executed(self, signal: Signal, seen: Seen) -> Execution:
        objection = self._halted(seen)
        if objection is not None:
            if not (objection.startswith("breaker") and self.policies.limits.flatten and self.reconciled):
                return self._held(seen, objection)
            signal = Signal(0.0)
        elif (objection := self._sanity.objection(signal, seen.close_ms, seen.now_ms)) is not None:
            self.journal.note("alarm", reason=objection, target=repr(signal.target))
            return self._held(seen, objection)
        if (unknown := self._unknown()) is not None:
            return self._held(seen, unknown)
        parameters = seen.parameters
        share = self._deployment.fraction * (signal.confidence if self.policies.sized else 1.0)
        if share != 1.0:
            parameters = parameters.copy()
            parameters[SIZING_FRACTION] *= share
        quantity, status = live_order(seen.account, signal.target, seen.sigma, parameters)
        if quantity == 0.0:
            return Execution(signal.target, parameters, status=status, objection=objection or "")
        if (against := self._beyond_limits(quantity, seen, closing=objection is not None)) is not None:
            self.journal.note("alarm", reason=against, quantity=quantity)
            return self._held(seen, against)
        order = Order(self.journal.next_client_id(self._prefix), quantity, reduce_only=objection is not None)
        sent = self._sent(order, signal, seen)
        if sent is not None:
            return self._held(seen, sent)
        return Execution(signal.target, parameters, quantity, order.client_id, status, objection or "")

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
            skew = self._clock() - theirs
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
        if limits.orders_per_hour is not None:
            count = self.journal.orders_since(self.journal.now_ms() - HOUR_MS)
            if count >= limits.orders_per_hour:
                return f"{count} orders in the last hour, allowed are {limits.orders_per_hour}"
        price, equity, held = (float(account[column]) for column in (CLOSE_PRICE, EQUITY, QUANTITY))
        if closing or (abs(held + quantity) <= abs(held) and (held + quantity) * held >= 0.0):
            return None
        after = abs(held + quantity) * price / equity
        if not after <= limits.exposure * (1.0 + 1e-9):
            return f"exposure would be {after:.3f}, allowed is {limits.exposure:g}"
        if limits.order_value is not None and not abs(quantity) * price <= limits.order_value:
            return f"the order is worth {abs(quantity) * price:.2f}, allowed is {limits.order_value:g}"
        return None

    def _sent(self, order: Order, signal: Signal, seen: Seen) -> str | None:
        """Write down the intent, send it once, write down what was heard. Why nothing was sent; None where it was."""
        self.journal.intend(order, seen.open_ms, signal.target, signal.confidence)
        try:
            report = self.broker.place(order)
        except OrderRefusedError as error:
            self.journal.hear(OrderReport(order.client_id, "", OrderPhase.CANCELED, order.quantity))
            self.journal.note("refused", client_id=order.client_id, reason=str(error))
            return str(error)
        except OrderDoubtError as error:
            log.error("order %s: fate unknown: %s", order.client_id, error)
            self.journal.doubt(order.client_id, str(error))
            return None
        self.journal.hear(report)
        log.info("order %s: %s, %g", order.client_id, report.phase.value, order.quantity)
        return None

    def _unknown(self) -> str | None:
        """Why the fate of an earlier order forbids another one; orders are asked for, and open ones taken back."""
        for intent in self.journal.undone():
            try:
                self._settle(intent)
            except BrokerError as error:
                return f"order {intent.order.client_id}: fate unknown: {error}"
        return None

    def _settle(self, intent: Intent) -> OrderReport:
        """Hear the last word of an order; what is still open of it is taken back.

        Raises:
            BrokerError: it cannot be had.
        """
        report = self.heard(intent)
        if report.phase is OrderPhase.OPEN:
            self.broker.cancel(report)
            report = self.broker.find(intent.order.client_id, intent.order.kind)
            if report.phase is OrderPhase.OPEN:
                raise UnknownStateError("it is still open after it was taken back")
        self.journal.hear(report)
        return report

    def heard(self, intent: Intent) -> OrderReport:
        """What the venue says of an order; one that it does not know must stay unknown for a while.

        Raises:
            UnknownStateError: no plain answer.
        """
        waited, pause = 0.0, self.policies.patience.first
        while True:
            report = self.broker.find(intent.order.client_id, intent.order.kind)
            doubtful = intent.state == DOUBT or intent.report is None
            if report.phase is not OrderPhase.ABSENT or (doubtful and waited >= self.policies.patience.settle):
                return report
            if not doubtful:
                raise UnknownStateError(f"the venue acknowledged {intent.order.client_id} and now does not know it")
            self._sleep(pause)
            waited, pause = waited + pause, 1.5 * pause

    def settle_all(self) -> None:
        """Hear the last word of every order of the journal, before anything is traded.

        Raises:
            BrokerError: of one it cannot be had.
        """
        for intent in self.journal.undone():
            self._settle(intent)

    def follow_up(self) -> None:
        """Hear of orders that are under way, between bars; what cannot be heard now is asked for again later."""
        for intent in self.journal.undone():
            try:
                if intent.state != DOUBT:
                    self.journal.hear(self.broker.find(intent.order.client_id, intent.order.kind))
                else:
                    self._settle(intent)
            except BrokerError as error:
                log.warning("order %s: %s", intent.order.client_id, error)

    def fills(self) -> tuple[NDArray[np.float64], tuple[OrderReport, ...]]:
        """(F, 5) float64 fills that are not in the account yet, rows for `venue_account.settle`, and their orders."""
        rows, reports = [], []
        for intent in self.journal.unbooked():
            report = intent.report
            if report is None:
                continue
            heard = np.array([report.filled, report.average, report.fee_quote, report.fee_base])
            resting = report.kind in (OrderKind.STOP_LOSS, OrderKind.TAKE_PROFIT)
            side = math.copysign(1.0, intent.order.quantity)
            rows.append(fill_since(side, heard, np.array(intent.booked), float(resting)))
            reports.append(report)
        return np.array(rows, dtype=np.float64).reshape(len(rows), 5), tuple(reports)

    def take_back(self) -> list[str]:
        """Try to cancel all that is open at the venue; what could not be, in words. Halting does not stop it."""
        failed = []
        try:
            reports = self.broker.book().open_orders
        except BrokerError as error:
            return [f"open orders are not known: {error}"]
        for report in reports:
            try:
                self.broker.cancel(report)
            except BrokerError as error:
                failed.append(f"{report.client_id or report.venue_id}: {error}")
        return failed


def _prefix(account_id: str) -> str:
    """Of client ids: letters and digits that tell accounts apart."""
    return "ce" + "".join(c for c in account_id if c.isalnum())[:8] + "x"


def _day_of(journal: Journal) -> tuple[int, float]:
    told = (journal.told("day") or "").split()
    try:
        return (int(told[0]), float(told[1])) if len(told) == 2 else (-1, math.nan)
    except ValueError:
        return -1, math.nan
