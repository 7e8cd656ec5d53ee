"""Paper accounts over replays, for the tests of live trading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryptoenv.live.broker import Broker
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.executor import Executor, Policies
from cryptoenv.live.feed import Feed, ReplayFeed
from cryptoenv.live.journal import Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from tests.naive.random_bars import random_bars

BASE = "15m"
STEP = 900_000
#: Limits that never bind, for comparisons with the simulator.
OPEN = Policies(
    SanityLimits(lowest=-5.0, highest=5.0),
    TradeLimits(exposure=100.0, orders_per_hour=None, daily_loss=None, drawdown=None),
)


def executor_of(folder: Path, broker: Broker, feed: Feed, policies: Policies = OPEN, **options: Any) -> Executor:
    folder.mkdir(exist_ok=True)
    journal = Journal(folder, durable=False, clock=feed.now_ms)
    return Executor(broker, journal, KillSwitch(folder), STEP, policies, **options)


@pytest.fixture
def paper(tmp_path: Path) -> Callable[..., CryptoLiveEnv]:
    """Makes an environment on paper over a replay of 400 random bars; one timeframe, little history."""

    def make(policies: Policies = OPEN, first: int = 300, days: float = 4.5, **arguments: Any) -> CryptoLiveEnv:
        feed = ReplayFeed(random_bars(days, seed=3), BASE, first)
        broker = PaperBroker(arguments.get("initial_cash", 10_000.0))
        executor = executor_of(tmp_path / "state", broker, feed, policies)
        arguments = {"timeframes": (BASE,), "window": (4,), "observation": "index"} | arguments
        return CryptoLiveEnv(broker, feed, executor, **arguments)

    return make
