"""`python -m tests.cryptoenv.live.paper_process FOLDER ORDERS POINT...`: trades on paper, process after process.

ORDERS is "market", or "limit" for orders at the touch that live for two bars. Each process is forked from this one,
which has imported everything, and kills itself at its point, counted in writes; the last has none. Prints how many were
killed and the final equity.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.executor import Executor
from cryptoenv.live.feed import ReplayFeed
from cryptoenv.live.journal import JOURNAL, Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.price_policy import LimitOrders
from tests.cryptoenv.live.conftest import BASE, OPEN, STEP
from tests.naive.random_bars import random_bars

FIRST, BARS = 300, 40


POLICIES = {"market": OPEN, "limit": replace(OPEN, limit=LimitOrders(0.001, 2.0, fee=0.0002))}


def trade(folder: Path, orders: str = "market", killed_at: int | None = None) -> float:
    """Trade 40 bars of a replay, targets a function of the bar; the final equity. Goes on where a journal stands."""
    bars = random_bars(4.5, seed=3)
    first, start = FIRST, int(bars.index[0].value // 1_000_000)
    if (folder / JOURNAL).exists():
        before = Journal(folder)
        kept = before.last_book()
        before.close()
        if kept is not None:
            first = (kept[0] - start) // STEP + 1
    writes = [0]

    def persisted(what: str) -> None:
        writes[0] += 1
        if writes[0] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    feed, broker = ReplayFeed(bars, BASE, first), PaperBroker(10_000.0)
    journal = Journal(folder, durable=False, clock=feed.now_ms, persisted=persisted)
    executor = Executor(broker, journal, KillSwitch(folder), STEP, POLICIES[orders], sleep=lambda seconds: None)
    env = CryptoLiveEnv(broker, feed, executor, timeframes=(BASE,), window=(4,), observation="index")
    env.reset()
    while (number := (env.bar_time - start) // STEP) < FIRST + BARS:
        env.ask(float(number // (3 if orders == "limit" else 1) * 7 % 5 - 2) / 2.0)
        env.wait()
    return float(env.account[0])


def killed(folder: Path, orders: str, point: int) -> bool:
    """Trade in a process of its own; whether it was killed before it came to the end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            trade(folder, orders, point)
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


if __name__ == "__main__":
    place, how, kills = Path(sys.argv[1]), sys.argv[2], 0
    for number in map(int, sys.argv[3:]):
        if not killed(place, how, number):
            break
        kills += 1
    print(kills, repr(trade(place, how)))
