"""Book and venue: brought together before anything is traded, and compared after every bar."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.live.broker import Book, Broker, BrokerError, OrderKind, OrderPhase
from cryptoenv.live.executor import Executor
from cryptoenv.live.growing_market import GrowingMarket
from cryptoenv.live.journal import DOUBT
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.trading.account import EQUITY, QUANTITY
from cryptoenv.trading.kernel import open_account
from cryptoenv.trading.venue_account import adopt_account, quantity_after

log = logging.getLogger(__name__)
LEAST_DIFFERENCE = 1e-9  #: of a position, where the venue has no step size
EXTERNAL = "external"
LOOKS = 3  #: at book and resting orders, which may fill in between


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
    kept = journal.last_book()
    goes_on = isinstance(broker, PaperBroker) and kept is not None and not anew
    executor.settle_all(_left_on_paper(executor, kept[0]) if goes_on and kept is not None else ())
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
    book, expected, words = _compared(executor)
    if words and not adopt:
        journal.note("unreconciled", words=words)
        raise UnreconciledError(f"{words}; look at the venue, then begin with --adopt to take it as it is")
    kept = journal.last_book()
    if kept is not None:
        journal.keep_book(kept[0], kept[1], float(kept[1][EQUITY]), executor.fills()[1])
    journal.end_fees()  # the venue's cash is without them
    entry = book.entry if np.isfinite(book.entry) else close
    adopt_account(account, book.cash, book.quantity, entry, close)
    journal.note("reconciled", quantity=book.quantity, cash=book.cash, words=words)
    return Reconciliation(book, expected, words or "book and venue agree")


def _compared(executor: Executor) -> tuple[Book, float | None, str]:
    """What a venue says is held, the quantity that the journal knows of, and what is against trading on, in words.

    A resting order may fill between the two questions: then both are asked again.
    """
    for look in range(LOOKS):
        uncharged = executor.unknown_coins()
        book, kept = executor.broker.book(), executor.journal.last_book()
        expected = None if kept is None else quantity_after(kept[1], executor.fills()[0])
        words = _against(book, expected, executor)
        if words == "" or look == LOOKS - 1:
            break
        executor.settle_all()
    return book, expected, f"{words}; {uncharged}" if words and uncharged else words


def _left_on_paper(executor: Executor, bar_ms: int) -> list[str]:
    """Client ids of limit orders that rested on paper as of the last book, of the bar that opened at `bar_ms`; the
    broker goes on with them. One that was sent at that very bar is decided anew."""
    broker, left = executor.broker, []
    assert isinstance(broker, PaperBroker)
    for intent in executor.journal.undone():
        if intent.order.kind is OrderKind.LIMIT and intent.bar_ms < bar_ms and intent.report is not None:
            if broker.find(intent.order.client_id).phase is not OrderPhase.OPEN:
                broker.restore(intent.order, intent.report)
            left.append(intent.order.client_id)
    return left


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


def _may_be_filling(executor: Executor, difference: float) -> bool:
    """Whether orders that are open can explain that the venue holds more than the journal, by `difference`."""
    left = [intent.order.quantity for intent in executor.journal.undone()]
    low, high = sum(min(one, 0.0) for one in left), sum(max(one, 0.0) for one in left)
    return low - executor.broker.step_size <= difference <= high + executor.broker.step_size


def check_book(executor: Executor, account: NDArray[np.float64]) -> Book | None:
    """Compare the account, (36,) float64, with the venue; a difference, or an answer that is none, stops trading.

    Returns:
        What the venue says is held; None where it does not say, or an order is under way whose fills are not known.
    """
    for _ in range(LOOKS):
        try:
            book = executor.broker.book()
        except BrokerError as error:
            executor.reconciled = False
            log.error("what is held is not known: %s", str(error))
            return None
        undone = executor.journal.undone()
        if any(intent.order.kind is OrderKind.MARKET or intent.state == DOUBT for intent in undone):
            return None  # an order is under way: compared when it is done
        if words := executor.unknown_coins():
            log.warning("not compared: %s", words)
            return None
        words = _against(book, quantity_after(account, executor.fills()[0]), executor)
        if words == "":
            executor.reconciled = True
            return book
        if not undone:
            break
        executor.follow_up()  # a resting order may have filled between the two questions: both are asked again
    else:
        if _may_be_filling(executor, book.quantity - quantity_after(account, executor.fills()[0])):
            return None  # it fills while it is looked at: compared at the next bar
    executor.reconciled = False
    log.error("not reconciled: %s", words)
    executor.journal.latch(EXTERNAL, words)
    return None
