"""The loop: decide at each close, execute, wait for the next bar; it outlives what exchanges do and stops when told."""

from __future__ import annotations

import logging
import math
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from agents.live.deciders import Asked, Decider
from agents.live.watching import Book, Fill, Health, Latencies, Watched, Watcher
from cryptoenv.live.broker import BrokerError
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.feed import FeedError
from cryptoenv.live.journal import JournalError
from cryptoenv.trading.account import CASH, DRAWDOWN, ENTRY_PRICE, FEES, FUNDING_PAID, QUANTITY, SLIPPAGE, TARGET

log = logging.getLogger(__name__)
RECENT = 5_000  #: bars whose latencies and equities are kept
REASONS = 50  #: of signals that became no order, that are told apart
RETRY_SECONDS, LONGEST_RETRY = 1.0, 60.0


@dataclass
class Traded:
    """What a loop did.

    Attributes:
        bars: that were decided at. orders: that went out. held: signals that became no order, by reason.
        outages: times that no bar could be had.
        equity: of the last bars, with their times (ms).
        fills: of the last bars: time (ms), price, signed quantity.
        latencies: seconds from a bar being known to its order being answered, of the last orders.
        stopped: why it ended.
    """

    bars: int = 0
    orders: int = 0
    held: dict[str, int] = field(default_factory=dict)
    outages: int = 0
    equity: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    fills: deque[tuple[int, float, float]] = field(default_factory=lambda: deque(maxlen=RECENT))
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    stopped: str = ""

    def hold(self, objection: str) -> None:
        """Count a signal that became no order. Reasons that differ in numbers and ids alone are one reason."""
        words = re.sub(r"[-+]?\w*\d[\w.%+-]*", "#", objection).split(": ")
        reason = ": ".join(words[: 2 if words[0].startswith("order ") else 1])
        if reason not in self.held and len(self.held) >= REASONS:
            reason = "other"
        self.held[reason] = self.held.get(reason, 0) + 1

    @property
    def first_equity(self) -> float:
        """The first that is kept."""
        return self.equity[0][1] if self.equity else math.nan

    @property
    def last_equity(self) -> float:
        """The newest."""
        return self.equity[-1][1] if self.equity else math.nan


class TradingLoop:
    """Trades until the replay ends, the switch is thrown, the account is ruined or so many bars have passed.

    Args:
        env: observation "index": the decider makes its own features.
        decider: what decides.
        sleep: waits some seconds.
        shown: called after each bar with what was done so far and the bar's info.
        watchers: called with an event per bar, per failed wait for one and at the end; one that raises is left out
            from then on, and trading goes on.
        stays: a halt by hand does not end the loop: bars come in and nothing is traded until it is lifted.
    """

    def __init__(
        self,
        env: CryptoLiveEnv,
        decider: Decider,
        *,
        sleep: Callable[[float], None] = time.sleep,
        shown: Callable[[Traded, dict[str, Any]], None] = lambda traded, info: None,
        watchers: Sequence[Watcher] = (),
        stays: bool = False,
    ) -> None:
        self._env, self._decider, self._sleep, self._shown = env, decider, sleep, shown
        self._watchers, self._stays, self._halted = list(watchers), stays, False
        self._asked_last: Asked | None = None
        self._decided = math.nan
        self._info: dict[str, Any] = {}
        self.traded = Traded()

    def run(self, bars: int | None = None) -> Traded:
        """Trade.

        Args:
            bars: that are decided at, at most; None for no end.

        Raises:
            BrokerError: book and venue cannot be brought together at the start.
        """
        try:
            self._trade(bars)
        except KeyboardInterrupt:
            self.traded.stopped = "interrupted"
        if self._env.executor.switch.reason is not None or self.traded.stopped == "interrupted":
            for words in self._env.executor.take_back():
                log.error("could not be taken back: %s", words)
        self._keep_halt()
        self._watch("stopped", self.traded.stopped)
        log.info("stopped: %s", self.traded.stopped)
        return self.traded

    def _trade(self, bars: int | None) -> None:
        env, traded = self._env, self.traded
        observation, info = env.reset()
        self._decider.begin(env.feed.history())
        self._note(info)
        while traded.stopped == "":
            if (reason := self._stop(bars)) is not None:
                traded.stopped = reason
                break
            heard = time.perf_counter()
            asked = self._asked_last = self._asked(observation["account"])
            execution = env.ask(
                asked.target, asked.confidence, probabilities=asked.probabilities, decided_ms=env.close_time,
                strain=asked.strain, prediction=asked.prediction,
            )  # fmt: skip
            traded.bars += 1
            self._decided = time.perf_counter() - heard
            if execution.client_id and not execution.rests:
                traded.orders += 1
                traded.latencies.append(self._decided)
            if execution.objection:
                traded.hold(execution.objection)
            arrived = self._waited()
            if arrived is None:
                continue
            observation, terminated, truncated, info = arrived
            for bar in env.newest:
                self._take(bar)
            self._note(info)
            if terminated or truncated:
                traded.stopped = "the account is ruined" if terminated else "the bars are at their end"

    def _stop(self, bars: int | None) -> str | None:
        if (reason := self._halt()) is not None:
            return reason
        return f"{bars:,} bars, as asked" if bars is not None and self.traded.bars >= bars else None

    def _halt(self) -> str | None:
        """Why a halt by hand ends the loop; one that does not takes back what is open, once."""
        reason = self._env.executor.switch.reason
        if not self._stays:
            return reason
        if reason is not None and not self._halted:
            try:
                self._keep_halt()
            except OSError as error:  # this process stays halted; the next one would not be
                log.error("the halt could not be written down: %s", str(error))
            for words in self._env.executor.take_back():
                log.error("could not be taken back: %s", words)
        self._halted = reason is not None
        return None

    def _asked(self, account: np.ndarray) -> Asked:
        try:
            return self._decider.decide(account)
        except Exception as error:  # a model that fails asks for nothing: the executor refuses what is no number
            log.exception("no decision: %s", error)
            return Asked(math.nan)

    def _take(self, bar: Any) -> None:
        try:
            self._decider.add(bar)
        except Exception as error:  # no prediction of this bar, and none is made up
            log.exception("bar of %d: no prediction: %s", bar.open_ms, error)

    def _waited(self) -> tuple[dict[str, np.ndarray], bool, bool, dict[str, Any]] | None:
        """What `env.wait` gives, without the reward, however long the feed is dead; None where trading is stopped."""
        pause, again = RETRY_SECONDS, False
        while True:
            try:
                if again:  # what happened could not be written down: book and venue are brought together anew
                    observation, info = self._env.reset()
                    return observation, False, False, info
                observation, _, terminated, truncated, info = self._env.wait()
                return observation, terminated, truncated, info
            except (FeedError, BrokerError, JournalError) as error:
                again = again or not isinstance(error, FeedError)
                self.traded.outages += 1
                log.error("no bar: %s", str(error))
                self._watch("outage", str(error))
                for words in self._env.executor.take_back():
                    log.error("could not be taken back: %s", words)
                if (reason := self._halt()) is not None:
                    self.traded.stopped = reason
                    return None
                self._sleep(pause)
                pause = min(2.0 * pause, LONGEST_RETRY)

    def _keep_halt(self) -> None:
        """What halted this process by a signal halts the next one, too."""
        switch = self._env.executor.switch
        if switch.reason is not None and not switch.path.exists():
            switch.halt(switch.reason)

    def _note(self, info: dict[str, Any]) -> None:
        at = self._env.close_time
        self.traded.equity.append((at, info["equity"], info["close"]))
        if info["fill_quantity"]:
            self.traded.fills.append((self._env.bar_time, info["fill_price"], info["fill_quantity"]))
        self._info = info
        self._shown(self.traded, info)
        self._watch("bar")

    def _watch(self, what: Literal["bar", "outage", "stopped"], words: str = "") -> None:
        """Tell the watchers; one that fails is left out, so that no observer stops trading."""
        if not self._watchers or not self._info:
            return
        event = self._event(what, words)
        for watcher in tuple(self._watchers):
            try:
                watcher(event)
            except Exception as error:
                log.exception("a watcher failed and is left out: %s", error)
                self._watchers.remove(watcher)

    def _event(self, what: Literal["bar", "outage", "stopped"], words: str) -> Watched:
        env, info, traded = self._env, self._info, self.traded
        live, executor = info["live"], env.executor
        columns = (CASH, TARGET, QUANTITY, ENTRY_PRICE, DRAWDOWN, FEES, SLIPPAGE, FUNDING_PAID)
        row = env.account[list(columns)].tolist()
        cash, target, quantity, entry, drawdown, fees, slippage, funding = row
        filled = what == "bar" and bool(info["fill_quantity"])
        fills: tuple[Fill, ...] = ()
        if filled:
            worse = live["slippage_against_open"], live["slippage_modelled"]
            fills = (Fill(info["fill_price"], info["fill_quantity"], *worse),)
        try:
            breakers, undone = executor.journal.latched(), len(executor.journal.undone())
        except JournalError as error:
            breakers, undone = {"journal": str(error)}, 0
        return Watched(
            what, env.newest[-1] if env.newest else None, env.bar_time, env.close_time, info["close"],
            Book(info["equity"], cash, info["exposure"], target, quantity, entry, drawdown, fees, slippage, funding),
            Latencies(live.get("wait_seconds", math.nan), self._decided, live.get("execution_seconds", math.nan)),
            Health(executor.reconciled, executor.switch.reason or "", breakers, undone, traded.outages,
                   live.get("objection", "")),
            fills, self._asked_last, info["order_status"].name, live.get("client_id", ""), traded.bars, traded.orders,
            words,
        )  # fmt: skip
