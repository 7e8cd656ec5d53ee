"""The journal: what was meant, sent, acknowledged and filled, written before and after each call, and never lost.

SQLite in WAL mode, every transaction synced to disk. An intent is there before its order is sent, with the client id by
which the order is found again; so that after a kill at any point what is at the venue is known or can be asked for.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.exchange.asking import wall_ms
from cryptoenv.live.broker import Order, OrderKind, OrderPhase, OrderReport
from cryptoenv.trading.account import ACCOUNT_WIDTH

JOURNAL = "journal.sqlite"
FORMAT = 1
BOOKS_KEPT, EVENTS_KEPT = 2_000, 20_000  #: rows; older ones go, so that the file does not grow for ever
BUSY_SECONDS = 2.0  #: to wait for another reader or writer
SENT, DOUBT, DONE = "sent", "doubt", "done"
FILL = "fill"  #: event: what a bar's order has filled, and what the model would have paid
PEAK = "peak_equity"  #: what the highest equity that was written down is kept under
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS intents (
    id INTEGER PRIMARY KEY, client_id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL, bar_ms INTEGER NOT NULL,
    quantity REAL NOT NULL, kind TEXT NOT NULL, price REAL, target REAL NOT NULL, confidence REAL NOT NULL,
    state TEXT NOT NULL, venue_id TEXT NOT NULL DEFAULT '', filled REAL NOT NULL DEFAULT 0, average REAL,
    fee_quote REAL NOT NULL DEFAULT 0, fee_base REAL NOT NULL DEFAULT 0, phase TEXT NOT NULL DEFAULT '',
    booked REAL NOT NULL DEFAULT 0, booked_cost REAL NOT NULL DEFAULT 0, booked_quote REAL NOT NULL DEFAULT 0,
    booked_base REAL NOT NULL DEFAULT 0, fees_open INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS undone ON intents (state) WHERE state <> 'done';
CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, what TEXT NOT NULL,
    detail TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS books (bar_ms INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, equity REAL NOT NULL,
    account BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS latches (name TEXT PRIMARY KEY, since_ms INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
"""


class JournalError(OSError):
    """The journal cannot be read or written: nothing is sent."""


@dataclass(frozen=True)
class Intent:
    """An order as it was meant, and what is known of it.

    Attributes:
        order: as it is sent. bar_ms: open of the bar it was decided at. target, confidence: of the signal.
        state: "sent" (or about to be), "doubt" (its fate is asked for) or "done".
        report: the last that was heard of it; None before anything was.
        booked: of what filled, how much is in the account already (unsigned base quantity, its cost, fees).
    """

    order: Order
    bar_ms: int
    target: float
    confidence: float
    state: str
    report: OrderReport | None
    booked: tuple[float, float, float, float]


class Journal:
    """The journal of one account and symbol, in a folder.

    Args:
        folder: it exists.
        durable: every commit outlasts a power cut; False (a replay on paper) outlasts a kill of the process alone.
        clock: ms since the epoch, for the times of entries.
        persisted: called after each commit with what was written; tests kill the process there.

    Raises:
        JournalError: no journal, one of another version, or one that cannot be opened.
    """

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool = True,
        clock: Callable[[], int] = wall_ms,
        persisted: Callable[[str], None] = lambda what: None,
    ) -> None:
        self.path = folder / JOURNAL
        self._clock, self._persisted = clock, persisted
        with _told(self.path):
            self._file = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._file.executescript(_TABLES)
            if "fees_open" not in {row[1] for row in self._file.execute("PRAGMA table_info(intents)")}:
                self._file.execute("ALTER TABLE intents ADD COLUMN fees_open INTEGER NOT NULL DEFAULT 0")
            self._file.execute("CREATE INDEX IF NOT EXISTS fees_open ON intents (id) WHERE fees_open <> 0")
        found = self.told("format")
        if found is None:
            self.tell("format", str(FORMAT))
        elif found != str(FORMAT):
            raise JournalError(f"{self.path} has format {found}, this version reads {FORMAT}")

    def now_ms(self) -> int:
        """The clock that entries are dated by."""
        return self._clock()

    @contextmanager
    def _writing(self, what: str) -> Iterator[sqlite3.Connection]:
        with _told(self.path):
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
            except BaseException:
                if self._file.in_transaction:  # a full disk has rolled back already
                    self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
        self._persisted(what)

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with _told(self.path):
            return self._file.execute(query, values).fetchall()

    def told(self, name: str) -> str | None:
        """A value that was kept under a name."""
        rows = self._rows("SELECT value FROM meta WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def tell(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self._writing(f"meta {name}") as file:
            file.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                         (name, value))  # fmt: skip

    def next_client_id(self, prefix: str) -> str:
        """A client id that no order had: the prefix and a number."""
        rows = self._rows("SELECT COALESCE(MAX(id), 0) FROM intents")
        return f"{prefix}{int(rows[0][0]) + 1:08d}"

    def intend(self, order: Order, bar_ms: int, target: float, confidence: float) -> None:
        """Write down what is about to be sent.

        Raises:
            JournalError: it cannot be; the order must not be sent.
        """
        with self._writing("intent") as file:
            file.execute(
                "INSERT INTO intents (client_id, at_ms, bar_ms, quantity, kind, price, target, confidence, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (order.client_id, self._clock(), bar_ms, order.quantity, order.kind.value, order.price, target,
                 confidence, SENT),
            )  # fmt: skip

    def doubt(self, client_id: str, reason: str) -> None:
        """Write down that an order's fate is not known."""
        with self._writing("doubt") as file:
            file.execute("UPDATE intents SET state = ? WHERE client_id = ? AND state <> ?", (DOUBT, client_id, DONE))
            self._event(file, "doubt", {"client_id": client_id, "reason": reason})

    def hear(self, report: OrderReport) -> None:
        """Write down what a venue says of an order; a final word ends it."""
        with self._writing("filled" if report.filled else "acknowledged") as file:
            self._hear(file, report)
            told = {"client_id": report.client_id, "phase": report.phase.value, "filled": report.filled}
            self._event(file, "order", told)

    @staticmethod
    def _hear(file: sqlite3.Connection, report: OrderReport) -> None:
        state = SENT if report.phase is OrderPhase.OPEN else DONE
        average = None if math.isnan(report.average) else report.average
        file.execute(
            "UPDATE intents SET state = ?, venue_id = ?, filled = ?, average = ?, phase = ?, fees_open = ? "
            "WHERE client_id = ?",
            (state, report.venue_id, report.filled, average, report.phase.value, not report.fees_known,
             report.client_id),
        )  # fmt: skip
        if report.fees_known:  # else what was known of them stays
            file.execute("UPDATE intents SET fee_quote = ?, fee_base = ? WHERE client_id = ?",
                         (report.fee_quote, report.fee_base, report.client_id))  # fmt: skip

    def undone(self) -> list[Intent]:
        """Orders whose last word has not been heard, oldest first."""
        return [_intent(row) for row in self._rows(f"SELECT {_COLUMNS} FROM intents WHERE state <> 'done' ORDER BY id")]

    def unbooked(self) -> list[Intent]:
        """Orders of which more has filled, or was charged, than is in the account, oldest first."""
        query = (
            f"SELECT {_COLUMNS} FROM intents WHERE filled > booked OR fee_quote <> booked_quote "
            "OR fee_base <> booked_base ORDER BY id"
        )
        return [_intent(row) for row in self._rows(query)]

    def uncharged(self) -> list[Intent]:
        """Orders that have filled and whose fees are not all known, oldest first."""
        return [_intent(row) for row in self._rows(f"SELECT {_COLUMNS} FROM intents WHERE fees_open <> 0 ORDER BY id")]

    def end_fees(self, client_id: str | None = None, reason: str = "") -> None:
        """Ask no more for the fees of an order, which goes into the events; of all orders where None is named, since
        the cash that the venue says is without them."""
        with self._writing("fees") as file:
            if client_id is None:
                file.execute("UPDATE intents SET fees_open = 0 WHERE fees_open <> 0")
            else:
                file.execute("UPDATE intents SET fees_open = 0 WHERE client_id = ?", (client_id,))
                self._event(file, "alarm", {"client_id": client_id, "reason": reason})

    def intent(self, client_id: str) -> Intent | None:
        """An order of this journal, or None."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM intents WHERE client_id = ?", client_id)
        return _intent(rows[0]) if rows else None

    def orders_since(self, at_ms: int) -> int:
        """How many orders were meant since then; stops and take-profits, which follow them, do not count."""
        query = "SELECT COUNT(*) FROM intents WHERE at_ms >= ? AND kind NOT IN ('stop_loss', 'take_profit')"
        return int(self._rows(query, at_ms)[0][0])

    def filled_since(self, at_ms: int) -> int:
        """How many orders that were meant since then have filled, in part at least."""
        return int(self._rows("SELECT COUNT(*) FROM intents WHERE at_ms >= ? AND filled > 0", at_ms)[0][0])

    def keep_book(
        self, bar_ms: int, account: NDArray[np.float64], equity: float, booked: tuple[OrderReport, ...] = (),
        fill: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Write down the account, (36,) float64, as of a bar's close, and what of each order is in it, in one go.

        `fill`: about what the bar's order has filled, for reports; None where nothing has.
        """
        with self._writing("book") as file:
            file.execute("INSERT OR REPLACE INTO books VALUES (?, ?, ?, ?)",
                         (bar_ms, self._clock(), equity, np.asarray(account, "<f8").tobytes()))  # fmt: skip
            for report in booked:
                cost = 0.0 if math.isnan(report.average) else report.filled * report.average
                self._hear(file, report)
                file.execute(
                    "UPDATE intents SET booked = ?, booked_cost = ?, booked_quote = ?, booked_base = ? "
                    "WHERE client_id = ?",
                    (report.filled, cost, report.fee_quote, report.fee_base, report.client_id),
                )
            if fill is not None:
                self._event(file, FILL, {"bar_ms": bar_ms, **fill})
            file.execute("DELETE FROM books WHERE bar_ms < (SELECT bar_ms FROM books ORDER BY bar_ms DESC LIMIT 1 "
                         "OFFSET ?)", (BOOKS_KEPT,))  # fmt: skip
            file.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value "
                "WHERE CAST(excluded.value AS REAL) > CAST(meta.value AS REAL)",
                (PEAK, repr(equity)),
            )

    def last_book(self) -> tuple[int, NDArray[np.float64]] | None:
        """Open of the bar that the account was last written down at, and the account (36,); None where it never was.

        Raises:
            JournalError: it is not whole.
        """
        rows = self._rows("SELECT bar_ms, account FROM books ORDER BY bar_ms DESC LIMIT 1")
        if not rows:
            return None
        account = np.frombuffer(rows[0][1], "<f8").astype(np.float64)
        if account.shape != (ACCOUNT_WIDTH,):
            raise JournalError(f"{self.path}: the account of bar {rows[0][0]} is not whole")
        return int(rows[0][0]), account

    def books(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The books that are kept, oldest first: (n,) opens of bars, ms; (n, 36) accounts.

        Raises:
            JournalError: one is not whole.
        """
        rows = self._rows("SELECT bar_ms, account FROM books ORDER BY bar_ms")
        if any(len(row[1]) != 8 * ACCOUNT_WIDTH for row in rows):
            raise JournalError(f"{self.path}: a book is not whole")
        accounts = np.frombuffer(b"".join(row[1] for row in rows), "<f8").reshape(len(rows), ACCOUNT_WIDTH)
        return np.array([row[0] for row in rows], dtype=np.int64), accounts.astype(np.float64)

    def fills(self) -> list[dict[str, Any]]:
        """What bars' orders have filled, oldest first, as `keep_book` was told; the last of them that are kept."""
        return [json.loads(row[0]) for row in self._rows("SELECT detail FROM events WHERE what = ? ORDER BY id", FILL)]

    def latch(self, name: str, reason: str) -> None:
        """Trip a circuit breaker; it stays so until it is released by hand, whatever restarts."""
        with self._writing("latch") as file:
            file.execute("INSERT OR IGNORE INTO latches VALUES (?, ?, ?)", (name, self._clock(), reason))
            self._event(file, "latch", {"name": name, "reason": reason})

    def latched(self) -> dict[str, str]:
        """Breakers that have tripped, and why."""
        return {str(name): str(reason) for name, reason in self._rows("SELECT name, reason FROM latches ORDER BY name")}

    def release(self) -> None:
        """Release all breakers."""
        with self._writing("release") as file:
            file.execute("DELETE FROM latches")
            self._event(file, "release", {})

    def note(self, what: str, **detail: Any) -> None:
        """Write down something that happened; `detail` is JSON."""
        with self._writing("event") as file:
            self._event(file, what, detail)
            file.execute("DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - ?", (EVENTS_KEPT,))

    def _event(self, file: sqlite3.Connection, what: str, detail: dict[str, Any]) -> None:
        file.execute("INSERT INTO events (at_ms, what, detail) VALUES (?, ?, ?)",
                     (self._clock(), what, json.dumps(detail)))  # fmt: skip

    def events(self, last: int = 20) -> list[tuple[int, str, dict[str, Any]]]:
        """The newest events, oldest first: when (ms), what, and more about it."""
        rows = self._rows("SELECT at_ms, what, detail FROM events ORDER BY id DESC LIMIT ?", last)
        return [(int(at), str(what), json.loads(detail)) for at, what, detail in reversed(rows)]

    def events_after(self, number: int, most: int = 200) -> list[tuple[int, int, str, dict[str, Any]]]:
        """The last events with a number above `number`, oldest first: number, ms since the epoch, what, detail."""
        query = "SELECT id, at_ms, what, detail FROM events WHERE id > ? ORDER BY id DESC LIMIT ?"
        return [(int(key), int(at), str(what), json.loads(detail))
                for key, at, what, detail in reversed(self._rows(query, number, most))]  # fmt: skip

    def last_intents(self, last: int = 100) -> list[tuple[int, Intent]]:
        """The last orders, oldest first, each with when it was meant (ms since the epoch)."""
        rows = self._rows(f"SELECT {_COLUMNS}, at_ms FROM intents ORDER BY id DESC LIMIT ?", last)
        return [(int(row[-1]), _intent(row[:-1])) for row in reversed(rows)]

    def equities(self, last: int = BOOKS_KEPT) -> list[tuple[int, float]]:
        """Open (ms since the epoch) and equity of the last bars that were written down, oldest first."""
        rows = self._rows("SELECT bar_ms, equity FROM books ORDER BY bar_ms DESC LIMIT ?", last)
        return [(int(bar), float(equity)) for bar, equity in reversed(rows)]

    def counts(self) -> dict[str, int]:
        """Orders by what became of them."""
        query = "SELECT CASE state WHEN 'done' THEN phase ELSE state END, COUNT(*) FROM intents GROUP BY 1 ORDER BY 1"
        return {str(name): int(count) for name, count in self._rows(query)}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


_COLUMNS = (
    "client_id, quantity, kind, price, bar_ms, target, confidence, state, venue_id, filled, average, fee_quote, "
    "fee_base, phase, fees_open, booked, booked_cost, booked_quote, booked_base"
)


def _intent(row: tuple[Any, ...]) -> Intent:
    client_id, quantity, kind, price, bar_ms, target, confidence, state, venue_id = row[:9]
    filled, average, fee_quote, fee_base, phase, fees_open, *booked = row[9:]
    order = Order(client_id, quantity, OrderKind(kind), price)
    report = None
    if phase:
        report = OrderReport(client_id, venue_id, OrderPhase(phase), quantity, filled,
                             math.nan if average is None else average, fee_quote, fee_base, order.kind,
                             not fees_open)  # fmt: skip
    known = (float(booked[0]), float(booked[1]), float(booked[2]), float(booked[3]))
    return Intent(order, int(bar_ms), float(target), float(confidence), str(state), report, known)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """SQLite's errors as `JournalError`, with the file's name."""
    try:
        yield
    except sqlite3.Error as error:
        raise JournalError(f"{path}: {error}") from error
