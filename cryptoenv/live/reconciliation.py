"""Book and venue: brought together before anything is traded, and compared after every bar."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.live.broker import Book, Broker, BrokerError
from cryptoenv.live.executor import Executor
from cryptoenv.live.growing_market import GrowingMarket
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.trading.account import EQUITY, QUANTITY
from cryptoenv.trading.kernel import open_account
from cryptoenv.trading.venue_account import adopt_account, quantity_after

log = logging.getLogger(__name__)
LEAST_DIFFERENCE = 1e-9  #: of a position, where the venue has no step size
EXTERNAL = "external"


class UnreconciledError(BrokerError):
    """The journal and the venue contradict each other: nothing is traded until a person has looked."""


@dataclass(frozen=True)
class Reconciliation:
    """What was found when book and venue were brought together.

    Attributes:
        book: the venue's. expected: quantity that the journal knows of, None where it knows of none.
        words: for people.
        goes_on: the account is the journal's, to the bit; else one that begins with what is held.
    """

    book: Book
    expected: float | None
    words: str
    goes_on: bool = False


def reconcile(
    executor: Executor,
    account: NDArray[np.float64],
    growing: GrowingMarket,
    cash: float,
    *,
    adopt: bool = False,
    anew: bool = False,
) -> Reconciliation:
    """Hear the last word of every order, compare position and journal, and open the account with what is held.

    Args:
        executor: with broker and journal.
        account: (36,) float64, overwritten.
        growing: the market, as of its newest bar.
        cash: of a paper account that begins.
        adopt: take a position that the journal does not know for one's own.
        anew: begin an episode from what is held; else a paper account goes on as the journal has it.

    Raises:
        UnreconciledError: position and journal contradict each other, or orders are open that are not ours.
        BrokerError: the venue gives no plain answer.
    """
    executor.reconciled = False
    broker, journal = executor.broker, executor.journal
    broker.connect()
    executor.settle_all()
    close = float(growing.prices[1, CLOSE])
    kept = journal.last_book()
    if isinstance(broker, PaperBroker):
        if anew:
            book = broker.book()
            adopt_account(account, book.cash, book.quantity, book.entry, close)
        elif kept is not None:
            account[:] = kept[1]
        else:
            open_account(account, cash, close, 0.0)
        broker.account[:] = account
        return Reconciliation(broker.book(), float(account[QUANTITY]), "paper", kept is not None and not anew)
    book = broker.book()
    expected = None
    if kept is not None:
        fills, reports = executor.fills()
        expected = quantity_after(kept[1], fills)
        journal.keep_book(kept[0], kept[1], float(kept[1][EQUITY]), reports)
    words = _against(book, expected, executor)
    if words and not adopt:
        journal.note("unreconciled", words=words)
        raise UnreconciledError(f"{words}; look at the venue, then begin with --adopt to take it as it is")
    entry = book.entry if np.isfinite(book.entry) else close
    adopt_account(account, book.cash, book.quantity, entry, close)
    journal.note("reconciled", quantity=book.quantity, cash=book.cash, words=words)
    return Reconciliation(book, expected, words or "book and venue agree")


def _against(book: Book, expected: float | None, executor: Executor) -> str:
    """What is against trading on: an unknown position or unknown orders, in words; "" where nothing is."""
    foreign = [order for order in book.open_orders if executor.journal.intent(order.client_id) is None]
    if foreign:
        return f"{len(foreign)} open order(s) at the venue are not of this journal, the first is {foreign[0].venue_id}"
    if agree(executor.broker, book.quantity, 0.0 if expected is None else expected):
        return ""
    told = "and the journal knows of nothing" if expected is None else f"the journal says {expected:g}"
    return f"the account holds {book.quantity:g}, {told}"


def agree(broker: Broker, held: float, expected: float) -> bool:
    """Whether two base quantities are one at a venue: within its step."""
    return abs(held - expected) <= max(broker.step_size, LEAST_DIFFERENCE)


def check_book(executor: Executor, account: NDArray[np.float64]) -> None:
    """Compare the account, (36,) float64, with the venue; a difference, or an answer that is none, stops trading."""
    try:
        book = executor.broker.book()
    except BrokerError as error:
        executor.reconciled = False
        log.error("what is held is not known: %s", error)
        return
    if executor.journal.undone():
        return  # an order is under way: compared when it is done
    if (words := _against(book, quantity_after(account, executor.fills()[0]), executor)) != "":
        executor.reconciled = False
        log.error("not reconciled: %s", words)
        executor.journal.latch(EXTERNAL, words)
    else:
        executor.reconciled = True
