"""A trading session over a replay, whose bars come when a test lets them, with the board of its page."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from agents.live.dashboard.board import Board, Seen
from agents.live.dashboard.controls import Account, Controls, Drift
from agents.live.dashboard.watcher import board_watcher
from agents.live.deciders import SignalDecider
from agents.live.desk import Named, live_environment
from agents.live.trading_loop import Traded, TradingLoop
from agents.live.watching import Book, Fill, Health, Latencies, Watched
from agents.settings import TradingSettings
from cryptoenv.live.executor import Policies
from cryptoenv.live.feed import FeedBar, ReplayFeed
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from tests.naive.random_bars import random_bars

LOOSE = Policies(
    SanityLimits(constant_bars=None), TradeLimits(exposure=9.0, orders_per_hour=None, daily_loss=0.9, drawdown=0.9)
)


class Session:
    """Signals that are traded on paper, a bar for each that is let through.

    Args:
        folder: where it keeps its journal, in a folder `state`.
        days, timeframe: of the bars.
        first: bars of history.
    """

    def __init__(self, folder: Path, days: int = 15, timeframe: str = "1h", first: int = 160) -> None:
        self.folder = folder / "state"
        self.folder.mkdir()
        self.bars = random_bars(days, seed=4, timeframe=timeframe.replace("m", "min"))
        times = self.bars.index[first - 10 :: 7] + (self.bars.index[1] - self.bars.index[0])
        self.signals = pd.DataFrame({"time": times, "target": np.arange(len(times)) % 2, "confidence": 0.5})
        self._gate, self._over = threading.Semaphore(0), False
        decider = SignalDecider(self.signals, timeframe)
        settings = TradingSettings((timeframe,), (2,), "spot", (0.0, 1.0), continuous=True)
        feed = ReplayFeed(self.bars, timeframe, first, speed=1.0, sleep=self._wait)
        self.env = live_environment(Named("signals", decider, settings), PaperBroker(), feed, self.folder, LOOSE,
                                    cash=10_000.0, durable=False)  # fmt: skip
        self.board = Board(int((self.bars.index[1] - self.bars.index[0]).total_seconds() * 1000))
        account = Account("signals", f"random, {timeframe}", "paper", True, LOOSE.limits, self.folder,
                          self.env.executor.switch)  # fmt: skip
        self.controls = Controls(account, self.board)
        self.seen: list[Watched] = []
        watchers = (board_watcher(self.env, self.board), self.seen.append)
        self.loop = TradingLoop(self.env, decider, watchers=watchers, stays=True)
        self._thread: threading.Thread | None = None
        self.guard: Any = None

    def _wait(self, seconds: float) -> None:
        while not self._gate.acquire(timeout=0.2):
            if self._over:
                raise KeyboardInterrupt

    def let(self, bars: int) -> None:
        """Let so many bars through."""
        self._gate.release(bars)

    def start(self) -> None:
        """Trade in a thread."""
        self._thread = threading.Thread(target=self.loop.run, daemon=True)
        self._thread.start()

    def run(self, bars: int) -> Traded:
        """Trade over so many bars, here."""
        self.let(bars)
        return self.loop.run(bars)

    def with_drift(self, said: Mapping[str, Mapping[str, Any]] | Drift) -> Account:
        """The account with a drift monitor."""
        return replace(self.controls.account, drift=said if callable(said) else lambda: said)

    def live_controls(self) -> Controls:
        """As if bars came from an exchange; minutes."""
        self.board.step_ms = 60_000
        return Controls(replace(self.controls.account, replay=False), self.board)

    def write_files(self) -> None:
        """Bars and signals as files beside the journal's folder."""
        self.bars.to_csv(self.folder.parent / "bars.csv")
        self.signals.to_csv(self.folder.parent / "signals.csv", index=False)

    def close(self) -> None:
        """End the thread, let go of the journal."""
        self._over = True
        if self._thread is not None:
            self._thread.join(10.0)
        self.controls.close()
        self.env.close()


def seen_event(
    open_ms: int, close: float, *, equity: float = 1e4, at_ms: int = 0, fill: Fill | None = None,
    what: Literal["bar", "outage", "stopped"] = "bar", words: str = "", step_ms: int = 60_000, **more: Any,
) -> Seen:  # fmt: skip
    """An event of a loop that nothing trades in."""
    bar = FeedBar(open_ms, (close, close * 1.001, close * 0.999, close, 5.0), heard_ms=at_ms, source="poll")
    book = Book(equity, equity, 0.5, 0.5, 1.0, close, 0.01, 1.0, 2.0, 0.0)
    event = Watched(what, bar, open_ms, open_ms + step_ms, close, book, Latencies(0.1, 0.02, 0.01),
                    Health(True, "", {}, 0, 0, ""), () if fill is None else (fill,), words=words, **more)  # fmt: skip
    return Seen(at_ms, event)
