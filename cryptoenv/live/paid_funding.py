"""Funding as a venue has charged it, each payment once, in place of what its rates would come to."""

from __future__ import annotations

import logging
import math

from cryptoenv.live.broker import Broker, BrokerError, Payment

log = logging.getLogger(__name__)
HOUR_MS = 3_600_000
LATE_MS = 900_000  #: a payment is looked for until so long after the hour at which it may have fallen due


class PaidFunding:
    """Which payments are in the account.

    Args:
        broker: of the account.
        step_ms: length of a bar.
    """

    def __init__(self, broker: Broker, step_ms: int) -> None:
        self._broker, self._step = broker, step_ms
        self._booked: set[tuple[int, str]] = set()
        self._told = False
        self._due_from = math.inf

    def begin(self, now_ms: int) -> bool:
        """Take what was charged until now as paid: the venue's cash that the account begins with is without it.

        Returns:
            Whether that was known already: nothing was charged since the last call.

        Raises:
            BrokerError: it is not known.
        """
        found = self._broker.funding_since(now_ms - self._step - 2 * HOUR_MS)
        self._told = found is not None
        booked, before = {(payment.at_ms, payment.ident) for payment in found or ()}, self._booked
        self._booked, self._due_from = booked, math.inf
        return booked <= before

    def paid(self, close_ms: int) -> float:
        """What was charged and is not in the account yet, as of a bar's close (negative: received), quote.

        NaN where the venue does not say: then the model's rates count. What cannot be asked for now is booked later.
        """
        if not self._told:
            return math.nan
        hour = close_ms // HOUR_MS * HOUR_MS
        if hour > close_ms - max(self._step, LATE_MS):
            self._due_from = min(self._due_from, hour)
        if math.isinf(self._due_from):
            return 0.0
        since = int(self._due_from) - self._step - HOUR_MS
        try:
            found = self._broker.funding_since(since) or []
        except BrokerError as error:
            log.error("funding that was paid is not known, and is booked later: %s", str(error))
            return 0.0
        new: list[Payment] = [payment for payment in found if (payment.at_ms, payment.ident) not in self._booked]
        self._booked = {one for one in self._booked if one[0] >= since} | {(one.at_ms, one.ident) for one in new}
        self._due_from = math.inf
        for payment in new:
            log.info("funding of %d: %g paid", payment.at_ms, payment.paid)
        return math.fsum(payment.paid for payment in new)
