"""Bars of a websocket, through the real ccxt pro client; where it breaks across a close the bar comes from REST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.live.ccxt_feed import CcxtFeed
from tests.cryptoenv.live.test_ccxt_feed import true
from tests.loopback.clock import START, Clock
from tests.loopback.exchange import MINUTE, Market, bar
from tests.loopback.streams import BarStream
from tests.loopback.trading_exchange import TradingExchange


@pytest.fixture
def streamed() -> Iterator[tuple[CcxtFeed, BarStream, Clock, TradingExchange]]:
    clock, server = Clock(), BarStream()
    with TradingExchange(Market(now=clock), limits_rate=False) as exchange:

        def client() -> object:
            made = exchange.client(keys=False, streams=True)
            made.urls["api"]["ws"] = {"spot": server.url}
            return made

        thread = ClientThread(client, 2.0)
        feed = CcxtFeed(thread, "BTC/USDT", "1m", 20, clock=clock, sleep=clock.sleep)
        feed.history()
        until(lambda: server.listeners)
        yield feed, server, clock, exchange
        feed.close()
        thread.close()
    server.close()


def until(there: Callable[[], object]) -> None:
    for _ in range(500):
        if there():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come")


def half(opened: int) -> list[float]:
    """A bar before it is whole."""
    values = bar("BTCUSDT", opened, MINUTE)
    return [values[0], max(values[0], values[3]), min(values[0], values[3]), values[3], 0.5]


def test_bars_of_the_stream_and_of_rest_where_it_breaks(
    streamed: tuple[CcxtFeed, BarStream, Clock, TradingExchange],
) -> None:
    feed, server, clock, exchange = streamed
    asked = len(exchange.requests)
    for opened in (START, START + MINUTE):  # whole bars, each known once the next has begun
        server.push(opened, half(opened))
        server.push(opened, bar("BTCUSDT", opened, MINUTE), closed=True)
        clock.now = opened + MINUTE + 20
        server.push(opened + MINUTE, half(opened + MINUTE))
        until(lambda: feed._stream.alive)  # type: ignore[union-attr]  # (until then REST may be asked)
        (one,) = feed.next_bars(opened - MINUTE)
        assert one.source == "stream" and true(one)
    assert len(exchange.requests) == asked  # nothing was asked for
    opened = START + 2 * MINUTE
    server.push(opened, half(opened))  # the last that is heard of it: not whole
    assert feed._stream is not None
    until(lambda: feed._stream._current == (opened, tuple(half(opened))))  # type: ignore[union-attr]
    server.refuses = True
    server.drop()
    until(lambda: not feed._stream.alive)  # type: ignore[union-attr]
    clock.now = opened + MINUTE + 90_000  # down across the close, for 90 seconds
    bars = feed.next_bars(opened - MINUTE)
    assert [one.open_ms for one in bars] == [opened, opened + MINUTE]
    assert all(one.source == "poll" and true(one) for one in bars)
    server.refuses = False
    until(lambda: server.listeners)
    opened += 2 * MINUTE
    clock.now = opened + 30_000
    server.push(opened, half(opened))
    until(lambda: feed._stream.alive)  # type: ignore[union-attr]
    server.push(opened, bar("BTCUSDT", opened, MINUTE), closed=True)
    server.push(opened + MINUTE, half(opened + MINUTE))
    clock.now = opened + MINUTE + 10
    (one,) = feed.next_bars(opened - MINUTE)
    assert true(one) and one.source == "stream"
