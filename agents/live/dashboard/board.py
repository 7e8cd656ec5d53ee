"""What the page shows, beside trading: filled from any thread without waiting, read by the server's thread alone.

The inbox and everything behind it is bounded: whatever trading does, and however long, the memory does not grow.
"""

from __future__ import annotations

import itertools
import json
import math
import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from agents.live.watching import Watched

BARS, FILLS, ORDERS, LINES = 1_500, 500, 200, 500  #: kept, and shown
INBOX = 20_000  #: items that wait for the server's thread; beyond it the oldest are lost, and counted
NEWS_BYTES = 2_000_000  #: of what is new, kept for pages that come back
LONGEST_LINE = 2_000  #: characters of a line of the log
DECISIONS = 1_000  #: whose latencies are kept

Kind = Literal["history", "event", "line"]


class Seen(NamedTuple):
    """An event of the loop and what else was known at that moment.

    Attributes:
        at_ms: of this machine's clock.
        event: of the loop.
        offset_ms: clock of the bars' source less this machine's; 0 in a replay.
        skew_ms: this machine's clock less the venue's; None where nobody looked.
        borrow: interest paid since the account began, quote currency.
        day_equity: first equity of the UTC day; NaN where it is not known.
    """

    at_ms: int
    event: Watched
    offset_ms: int = 0
    skew_ms: int | None = None
    borrow: float = 0.0
    day_equity: float = math.nan


class Line(NamedTuple):
    """A line of the log: when (ms since the epoch), level, who says it, and what."""

    at_ms: int
    level: str
    source: str
    text: str


@dataclass
class Slippage:
    """Sums over fills whose modelled price is known too: how many, their notional, and what was paid (quote)."""

    fills: int = 0
    notional: float = 0.0
    live: float = 0.0
    modelled: float = 0.0


@dataclass
class Latest:
    """The newest of everything that has one value.

    Attributes:
        seen: the last event. bar: the last of a bar. heard_ms: when that was known here.
        outage: why no bar comes; "" where one came since.
        stopped: why the loop has ended; "" while it runs.
        first_equity: of the page.
        latencies: seconds from a bar known to its order answered, of the last orders.
        slippage: over the fills since the page began.
    """

    seen: Seen | None = None
    bar: Seen | None = None
    heard_ms: int = 0
    outage: str = ""
    stopped: str = ""
    first_equity: float = math.nan
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=DECISIONS))
    slippage: Slippage = field(default_factory=Slippage)


class Board:
    """The picture.

    Args:
        step_ms: length of a bar.

    Attributes:
        boot: names this board; what another one numbered means nothing to it.
        latest: of the server's thread.
        lost: items that came faster than they could be taken.
    """

    def __init__(self, step_ms: int) -> None:
        self.step_ms = step_ms
        self.boot = secrets.token_hex(4)
        self.latest = Latest()
        self.lost = 0
        self._inbox: deque[tuple[int, Kind, Any]] = deque(maxlen=INBOX)
        self._numbers, self._taken = itertools.count(), 0
        self._bars: dict[int, list[float | None]] = {}
        self._fills: deque[list[float | None]] = deque(maxlen=FILLS)
        self._lines: deque[list[Any]] = deque(maxlen=LINES)
        self._orders: dict[str, list[Any]] = {}
        self._fresh: dict[str, list[Any]] = {}
        self._news: deque[tuple[int, bytes]] = deque()
        self._news_bytes, self._number = 0, 0

    def put(self, kind: Kind, value: Any) -> None:
        """Leave something for the server's thread; from any thread, without waiting and without fail.

        Args:
            kind: "history" (rows of open time, open, high, low, close, volume), "event" (`Seen`) or "line" (`Line`).
            value: as its kind says.
        """
        self._inbox.append((next(self._numbers), kind, value))

    # --- of the server's thread

    def take(self) -> bool:
        """Take in what has come; whether anything is new."""
        for _ in range(len(self._inbox)):
            number, kind, value = self._inbox.popleft()
            self.lost += max(number - self._taken, 0)
            self._taken = number + 1
            if kind == "event":
                self._event(value)
            elif kind == "line":
                self.add_line(value)
            else:
                for row in value:
                    self._bar([*row, None, None, None, None])
        return self._tell()

    def _event(self, seen: Seen) -> None:
        latest, event = self.latest, seen.event
        latest.seen = seen
        latest.outage = event.words if event.what == "outage" else latest.outage
        latest.stopped = event.words if event.what == "stopped" else ""
        if event.what != "bar":
            return
        latest.bar, latest.heard_ms, latest.outage = seen, seen.at_ms, ""
        book = event.book
        if not math.isfinite(latest.first_equity):
            latest.first_equity = book.equity
        if event.client_id and math.isfinite(event.latencies.decision):
            latest.latencies.append(event.latencies.decision)
        prices: Sequence[float] = event.bar.ohlcv if event.bar is not None else ()
        known = self._bars.get(event.bar_time, [event.bar_time, None, None, None, event.close, None])
        self._bar([*(known[:6] if not prices else (event.bar_time, *prices)),
                   book.equity, book.exposure, book.quantity, book.target])  # fmt: skip
        for fill in event.fills:
            self._fill(event.bar_time, fill.price, fill.quantity, fill.slippage, fill.modelled)

    def _bar(self, row: list[Any]) -> None:
        at, newest = int(row[0]), next(reversed(self._bars), -1)
        if at < newest:  # a replay that began again
            for later in [one for one in self._bars if one >= at]:
                del self._bars[later]
            self._begin_again()
        self._bars[at] = [plain(value) for value in row]
        while len(self._bars) > BARS:
            del self._bars[next(iter(self._bars))]
        self._fresh.setdefault("bars", []).append(self._bars[at])

    def _fill(self, at: int, price: float, quantity: float, live: float, modelled: float) -> None:
        if math.isfinite(live) and math.isfinite(modelled):
            sums, notional = self.latest.slippage, abs(quantity) * price
            sums.fills, sums.notional = sums.fills + 1, sums.notional + notional
            sums.live, sums.modelled = sums.live + live * notional, sums.modelled + modelled * notional
        row = [plain(value) for value in (at, price, quantity, live, modelled)]
        self._fills.append(row)
        self._fresh.setdefault("fills", []).append(row)

    def _begin_again(self) -> None:
        """What pages know no longer holds: they get everything anew."""
        self.boot = secrets.token_hex(4)
        self._news.clear()
        self._news_bytes, self._fresh = 0, {}
        self._fills.clear()

    def add_line(self, line: Line) -> None:
        """Take in a line of the log or of the journal."""
        text = line.text if len(line.text) <= LONGEST_LINE else line.text[:LONGEST_LINE] + " ..."
        row = [line.at_ms, line.level, line.source, text]
        self._lines.append(row)
        self._fresh.setdefault("lines", []).append(row)

    def set_equities(self, known: Iterable[tuple[int, float]]) -> None:
        """Give bars of the history the equity that was written down at their close."""
        for at, equity in known:
            if at in self._bars and self._bars[at][6] is None:
                self._bars[at][6] = plain(equity)

    def set_orders(self, rows: Mapping[str, list[Any]]) -> None:
        """Take in the last orders, oldest first, by client id; what has changed of them is new."""
        changed = [row for key, row in rows.items() if self._orders.get(key) != row]
        self._orders = dict(list({**self._orders, **rows}.items())[-ORDERS:])
        if changed:
            self._fresh.setdefault("orders", []).extend(changed)

    def _tell(self) -> bool:
        if not self._fresh:
            return False
        most = {"bars": BARS, "fills": FILLS, "orders": ORDERS, "lines": LINES}
        told = packed({name: rows[-most[name] :] for name, rows in self._fresh.items()})
        self._fresh = {}
        self._number += 1
        self._news.append((self._number, told))
        self._news_bytes += len(told)
        while self._news_bytes > NEWS_BYTES and len(self._news) > 1:
            self._news_bytes -= len(self._news.popleft()[1])
        return True

    @property
    def place(self) -> tuple[str, int]:
        """Up to where the news go: the board's name and the number of the last."""
        return self.boot, self._number

    def news_after(self, boot: str, number: int) -> list[tuple[int, bytes]] | None:
        """What came after a place, each with its number; None where that is not known any more: `whole` is sent."""
        if boot != self.boot or number > self._number:
            return None
        if number == self._number:
            return []
        if not self._news or self._news[0][0] > number + 1:
            return None
        return [(key, told) for key, told in self._news if key > number]

    def whole(self) -> bytes:
        """Everything, as JSON."""
        return packed({
            "stepMs": self.step_ms, "bars": list(self._bars.values()), "fills": list(self._fills),
            "orders": list(self._orders.values()), "lines": list(self._lines),
        })  # fmt: skip


def plain(value: float | int | None) -> float | int | None:
    """A number as JSON has it: none that is not finite."""
    return value if value is not None and math.isfinite(value) else None


def packed(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def wall_now() -> int:
    """This machine's clock, ms since the epoch."""
    return time.time_ns() // 1_000_000
