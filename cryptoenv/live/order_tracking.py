"""What became of orders: asked for by client id until the last word is heard, never sent again."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cryptoenv.live.broker import Broker, BrokerError, OrderKind, OrderPhase, OrderReport, UnknownStateError
from cryptoenv.live.journal import DONE, DOUBT, Intent, Journal, JournalError
from cryptoenv.live.policies import Policies
from cryptoenv.trading.account import ExitKind
from cryptoenv.trading.venue_account import fill_since

log = logging.getLogger(__name__)
FEES_WITHIN_MS = 86_400_000  #: after an order was meant, in which it is asked for what it was charged
#: Orders that protect a position, and stay while it is held, with their `ExitKind`.
EXITS = {OrderKind.STOP_LOSS: float(ExitKind.STOP_LOSS), OrderKind.TAKE_PROFIT: float(ExitKind.TAKE_PROFIT)}


class OrderTracking:
    """The orders of a journal and what the venue says of them.

    Args:
        broker, journal: of the account.
        policies: whose patience counts.
        sleep: waits some seconds.
    """

    def __init__(
        self, broker: Broker, journal: Journal, policies: Policies, sleep: Callable[[float], None]
    ) -> None:
        self.broker, self.journal, self.policies = broker, journal, policies
        self._sleep = sleep

    def settle(self, intent: Intent) -> OrderReport:
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

    def take_in(self, intent: Intent) -> OrderReport:
        """Hear of an order and write it down; what is open of it stays open.

        Raises:
            BrokerError: there is no plain answer.
        """
        report = self.heard(intent)
        if intent.state == DOUBT or not _same(report, intent.report):
            self.journal.hear(report)
        return report

    def settle_all(self, left: Sequence[str] = ()) -> None:
        """Hear the last word of every order of the journal; of stops and take-profits what is known now: those stay.

        Args:
            left: client ids of orders that are left as they are.

        Raises:
            BrokerError: of one it cannot be had.
        """
        for intent in self.journal.undone():
            if intent.order.client_id in left:
                continue
            self.take_in(intent) if intent.order.kind in EXITS else self.settle(intent)

    def drop_exits(self) -> bool:
        """Take back stops and take-profits; whether all of them are gone and none has filled meanwhile."""
        gone = True
        for intent in self.journal.undone():
            if intent.order.kind in EXITS:
                try:
                    gone &= self.settle(intent).filled == 0.0
                except BrokerError as error:
                    gone = False
                    log.error("order %s could not be taken back: %s", intent.order.client_id, str(error))
        return gone

    def follow_up(self) -> None:
        """Hear of orders that are under way, between bars; what cannot be heard now is asked for again later."""
        for intent in self.journal.undone():
            try:
                doubtful = intent.state == DOUBT and intent.order.kind is OrderKind.MARKET
                self.settle(intent) if doubtful else self.take_in(intent)
            except BrokerError as error:
                log.warning("order %s: %s", intent.order.client_id, str(error))
        self.ask_fees()

    def ask_fees(self) -> list[Intent]:
        """Ask what was charged for orders that are done and whose fees are not known; those of which it still is not.

        It is asked for a day; then the order counts as free of them until the next start, which takes the cash that
        the venue says.
        """
        left = []
        for intent in self.journal.uncharged():
            order, known = intent.order, intent.report
            if intent.state != DONE or known is None:
                left.append(intent)
                continue
            try:
                report = self.broker.find(order.client_id, order.kind)
            except BrokerError as error:
                log.warning("fees of order %s: %s", order.client_id, str(error))
                report = known
            if report.fees_known and report.filled >= known.filled:
                self.journal.hear(report)
            elif self.journal.now_ms() - intent.bar_ms > FEES_WITHIN_MS:
                log.error("order %s: what it was charged is not to be known", order.client_id)
                self.journal.end_fees(order.client_id, "what it was charged was not said for a day, and is not booked")
            else:
                left.append(intent)
        return left

    def unknown_coins(self) -> str:
        """Why it is not known how many coins are held, in words: a purchase on spot may be charged in coins; "" where
        nothing is against it. What is not known is asked for."""
        if self.broker.is_perpetual or not self.journal.uncharged():
            return ""
        bought = [intent.order.client_id for intent in self.ask_fees() if intent.order.quantity > 0.0]
        return f"what order {bought[0]} was charged is not known: how many coins are held is not" if bought else ""

    def fills(self) -> tuple[NDArray[np.float64], tuple[OrderReport, ...]]:
        """(F, 5) float64 fills that are not in the account yet, rows for `venue_account.settle`, and their orders."""
        rows, reports = [], []
        for intent in self.journal.unbooked():
            report = intent.report
            if report is None:
                continue
            heard = np.array([report.filled, report.average, report.fee_quote, report.fee_base])
            side = math.copysign(1.0, intent.order.quantity)
            rows.append(fill_since(side, heard, np.array(intent.booked), EXITS.get(report.kind, 0.0)))
            reports.append(report)
        return np.array(rows, dtype=np.float64).reshape(len(rows), 5), tuple(reports)

    def take_back(self) -> list[str]:
        """Try to cancel what is open at the venue; what could not be, in words. Halting does not stop it.

        Stops and take-profits of this journal stay: what they protect is still held.
        """
        failed = []
        try:
            reports = self.broker.book().open_orders
        except BrokerError as error:
            return [f"open orders are not known: {error}"]
        for report in reports:
            known = self.journal.intent(report.client_id) if report.client_id else None
            if known is not None and known.order.kind in EXITS:
                continue
            try:
                self.broker.cancel(report) if known is None else self.settle(known)
            except (BrokerError, JournalError) as error:
                failed.append(f"{report.client_id or report.venue_id}: {error}")
        return failed


def _same(report: OrderReport, before: OrderReport | None) -> bool:
    """Whether a report says nothing new."""
    if before is None:
        return False
    if (report.venue_id, report.phase, report.filled) != (before.venue_id, before.phase, before.filled):
        return False
    charged = (report.fee_quote, report.fee_base, True) == (before.fee_quote, before.fee_base, before.fees_known)
    return charged or not report.fees_known
