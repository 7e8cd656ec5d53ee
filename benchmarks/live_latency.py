"""`python -m benchmarks.live_latency`: from a bar's close to its order, and where the time goes.

The exchange and its websocket are those of the tests, on the loopback interface and in this process; the client is
ccxt's own, the agent reads the extractor that ships. A bar's close is the moment at which the stream tells of the next
bar; it ends when the order has arrived. Each bar sends an order (verified): what the agent decides is reckoned, and
targets alternate. A result worth quoting is kept as `benchmarks/results/live_latency.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from agents.live.deciders import AgentDecider
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from benchmarks.support.machine import header
from benchmarks.support.results import write_result
from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.live.ccxt_broker import CcxtBroker
from cryptoenv.live.ccxt_feed import CcxtFeed
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.executor import Executor, Policies
from cryptoenv.live.journal import Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from pretrain import Extractor
from tests.loopback.clock import Clock
from tests.loopback.exchange import MINUTE, Market, bar
from tests.loopback.streams import BarStream
from tests.loopback.trading_exchange import KEY, SECRET, TradingExchange

STEP = 15 * MINUTE
PARTS = ("bar heard and booked", "features and network", "checks, journal, order at the exchange")


def measured(bars: int) -> dict[str, Any]:
    """Milliseconds of `bars` decisions, in parts and in all."""
    clock, server = Clock(), BarStream()
    clock.now = clock.now // STEP * STEP + 100
    extractor = Extractor.load("default")
    settings = TradingSettings(instrument="spot", positions=(0.0, 1.0))
    shape = PolicyShape(extractor.width, 2)
    decider = AgentDecider(Agent(extractor, new_policy(shape, 0), shape, settings))
    policies = Policies(SanityLimits(), TradeLimits(orders_per_hour=None, daily_loss=None, drawdown=None))
    with TradingExchange(Market(now=clock), limits_rate=False) as exchange, tempfile.TemporaryDirectory() as folder:

        def client() -> Any:
            made = exchange.client(keys=False, streams=True)
            made.urls["api"]["ws"] = {"spot": server.url}
            made.timeout = 5_000
            return made

        def own() -> Any:
            made = exchange.client()
            made.timeout = 5_000
            return made

        broker = CcxtBroker("binance", "BTC/USDT", keys={"apiKey": KEY, "secret": SECRET}, client=own, timeout=5.0)
        broker.connect()
        thread = ClientThread(client, 5.0)
        feed = CcxtFeed(thread, "BTC/USDT", "15m", 6_200, clock=clock, sleep=clock.sleep)
        journal = Journal(Path(folder), clock=feed.now_ms)  # durable: every commit is synced
        executor = Executor(broker, journal, KillSwitch(Path(folder)), STEP, policies, clock=clock)
        env = CryptoLiveEnv(
            broker, feed, executor, timeframes=settings.timeframes, window=settings.window, instrument="spot",
            observation="index", actions="continuous", rules=broker.rules,
        )  # fmt: skip
        observation, _ = env.reset()
        decider.begin(feed.history())
        rows = []
        with ThreadPoolExecutor(1) as pool:
            env.ask(0.5)
            for number in range(bars):
                waiting = pool.submit(env.wait)
                opened = env.bar_time + STEP
                clock.now = opened + STEP - 1_000
                server.push(opened, bar("BTCUSDT", opened, STEP), closed=True, name="15m")
                time.sleep(0.25)  # the account has been compared with the exchange's by now, and the bar is waited for
                clock.now = opened + STEP
                began = time.perf_counter()
                server.push(opened + STEP, bar("BTCUSDT", opened + STEP, STEP), name="15m")
                observation = waiting.result(30.0)[0]
                heard = time.perf_counter()
                decider.add(env.newest[-1])
                asked = decider.decide(observation["account"])
                decided = time.perf_counter()
                execution = env.ask(0.25 if number % 2 else 0.75, asked.confidence, probabilities=asked.probabilities)
                assert execution.client_id, execution.objection
                arrived = exchange.arrived[-1]
                rows.append((heard - began, decided - heard, arrived - decided, arrived - began))
        feed.close()
        thread.close()
        broker.close()
    server.close()
    times = 1000.0 * np.array(rows[5:])
    told = {
        name: {f"p{share}_ms": round(float(np.percentile(column, share)), 2) for share in (50, 99)}
        for name, column in zip((*PARTS, "bar closed to order at the exchange"), times.T, strict=True)
    }
    return {**header(), "bars": len(times), **told}


def main() -> None:
    """Measure and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=300, help="decisions; the first five warm up")
    parser.add_argument("--out", type=Path, default=Path("runs/live_latency.json"), help="JSON to write")
    given = parser.parse_args()
    if given.bars < 10:
        parser.error(f"--bars {given.bars} is not allowed: 10 at least")
    found = measured(given.bars)
    print(json.dumps(found, indent=1))
    write_result(given.out, found)


if __name__ == "__main__":
    main()
