"""What the page can do, and what it reads beside the board: kill switch, journal, what the drift monitor says."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from agents.live.dashboard.board import ORDERS, Board, Line, plain
from cryptoenv.live.journal import Intent, Journal, JournalError
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.safeguards import TradeLimits

log = logging.getLogger(__name__)
TOLD_BY_THE_LOG = frozenset(("order",))  #: events of the journal that the table of orders shows
ALARMING = frozenset(("alarm", "latch", "unreconciled", "doubt", "refused", "drift"))
COUNT_SHARE = 100.0  #: a look at all orders takes a hundredth of the time, at most
MS_OF_1973 = 100_000_000_000  #: an earlier number of milliseconds is how long something took
EARLIER_EVENTS = 100  #: of the journal, that the log begins with

State = Literal["ok", "watch", "bad", "off"]


class Status(NamedTuple):
    """How something stands: "ok", "watch", "bad" or "off" (not known, or not watched), and in words."""

    state: State
    words: str


#: What a drift monitor says, by what it looks at: "state" ("ok", "watch", "alarm" or "unknown") and "words"; where it
#: has them "statistic" and "threshold".
Drift = Callable[[], Mapping[str, Mapping[str, Any]]]
DRIFT_STATES: dict[str, State] = {"ok": "ok", "watch": "watch", "alarm": "bad", "unknown": "off"}
MOST_DRIFT = 200  #: things that a monitor may look at; of more the first are shown


@dataclass(frozen=True)
class Account:
    """What the page is about.

    Attributes:
        name: what decides. place: the market, or the bars of a replay.
        mode: "paper" or "live".
        replay: bars come from a file.
        limits: of risk.
        folder: of the journal.
        switch: that is thrown; the loop's own.
        take_back: cancels what is open at the venue, at once; in words what could not be. None on paper.
        drift: what a drift monitor says; None where there is none.
    """

    name: str
    place: str
    mode: str
    replay: bool
    limits: TradeLimits
    folder: Path
    switch: KillSwitch
    take_back: Callable[[], list[str]] | None = None
    drift: Drift | None = None


@dataclass
class Controls:
    """The server's hands: its own connection to the journal, and the loop's kill switch.

    Args:
        account: what the page is about.
        board: what the page shows.

    Attributes:
        latched: breakers that have tripped, and why. counts: orders by what became of them. drift: how it stands.
    """

    account: Account
    board: Board
    latched: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    drift: dict[str, Status] = field(default_factory=dict)
    _journal: Journal | None = None
    _event: int | None = None
    _count_next: float = -math.inf

    def read(self) -> None:
        """Take in what the journal and the drift monitor say; where they cannot be read the last word stands."""
        try:
            journal = self._opened()
            if self._event is None:
                self.board.take()
                self.board.set_equities(journal.equities())
                self._event = max([0, *(event[0] for event in journal.events_after(0, 1))]) - EARLIER_EVENTS
            self.latched = journal.latched()
            self._count(journal)
            self.board.set_orders({one.order.client_id: order_row(at, one) for at, one in journal.last_intents(ORDERS)})
            for number, at, what, detail in journal.events_after(self._event):
                self._event = number
                level = "warning" if what in ALARMING else "info"
                if what not in TOLD_BY_THE_LOG:
                    self.board.add_line(Line(at, level, "journal", told(what, detail)))
        except JournalError as error:
            log.warning("the page cannot read the journal: %s", error)
        if self.account.drift is not None:
            try:
                self.drift = statuses(self.account.drift())
            except Exception as error:  # a monitor that fails says nothing; the page goes on
                self.drift = {"monitor": Status("bad", f"it failed: {type(error).__name__}: {error}"[:300])}

    def _count(self, journal: Journal) -> None:
        """Count the orders; less often where that takes long, in a journal of years."""
        began = time.monotonic()
        if began < self._count_next:
            return
        self.counts = journal.counts()
        ended = time.monotonic()
        self._count_next = ended + COUNT_SHARE * (ended - began)

    def halt(self, reason: str) -> None:
        """Throw the kill switch, and note it.

        Raises:
            OSError: trading is halted while this process lasts, and the file `HALT` could not be written.
        """
        words = f"from the page: {reason}" if reason else "from the page"
        log.warning("halted %s", words)
        try:
            self.account.switch.halt(words)
        finally:
            self._note("halt", reason=reason)

    def take_back(self) -> list[str]:
        """Cancel what is open at the venue; what could not be, in words. From any thread."""
        failed = self.account.take_back() if self.account.take_back is not None else []
        for one in failed:
            log.error("could not be taken back: %s", one)
        return failed

    def resume(self) -> dict[str, str]:
        """Release the breakers and lift the halt; the breakers that had tripped.

        Raises:
            JournalError: the breakers could not be released; the halt stands. OSError: the file `HALT` is still there.
        """
        journal = self._opened()
        latched = journal.latched()
        journal.note("resume", by="page", released=sorted(latched))
        if latched:
            journal.release()
        self.account.switch.lift()
        log.warning("resumed from the page; released: %s", ", ".join(latched) or "no breaker had tripped")
        self.latched = {}
        return latched

    def _opened(self) -> Journal:
        if self._journal is None:
            self._journal = Journal(self.account.folder, durable=self.account.mode == "live")
        return self._journal

    def _note(self, what: str, **detail: Any) -> None:
        try:
            self._opened().note(what, by="page", **detail)
        except JournalError as error:
            log.error("not in the journal: %s", error)

    def close(self) -> None:
        """Let go of the journal."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None


def statuses(said: Mapping[str, Mapping[str, Any]]) -> dict[str, Status]:
    """What a drift monitor says, as the page has it: what is wrong first."""
    found = {}
    for name, one in list(said.items())[:MOST_DRIFT]:
        words, statistic, threshold = str(one.get("words", "")), one.get("statistic"), one.get("threshold")
        if statistic is not None:
            words += f": {statistic:.3g}" + ("" if threshold is None else f", alarm beyond {threshold:.3g}")
        found[str(name)] = Status(DRIFT_STATES.get(str(one.get("state")), "off"), words[:300])
    order = ("bad", "watch", "ok", "off")
    return dict(sorted(found.items(), key=lambda item: order.index(item[1].state)))


def order_row(at_ms: int, intent: Intent) -> list[Any]:
    """An order as the page has it: client id, when, bar, quantity, kind, target, state, phase, filled, average, fees
    in quote and in base."""
    order, report = intent.order, intent.report
    heard: list[Any] = ["", 0.0, None, 0.0, 0.0]
    if report is not None:
        heard = [report.phase.value, report.filled, plain(report.average), report.fee_quote, report.fee_base]
    return [order.client_id, at_ms, intent.bar_ms, plain(order.quantity), order.kind.value, plain(intent.target),
            intent.state, *heard]  # fmt: skip


def told(what: str, detail: Mapping[str, Any]) -> str:
    """An event of the journal as a line, for people: times as times, numbers of eight digits."""
    return " ".join([what, *(_short(key, value) for key, value in detail.items())])


def _short(key: str, value: Any) -> str:
    if key.endswith("_ms") and isinstance(value, int) and value > MS_OF_1973:
        return f"{key.removesuffix('_ms')}={datetime.fromtimestamp(value / 1000.0, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{key}={value:.8g}" if isinstance(value, float) else f"{key}={value}"
