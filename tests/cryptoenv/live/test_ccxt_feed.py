"""Bars as they close, through the real ccxt client: closed ones only, each once, none made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.live.ccxt_feed import CcxtFeed
from cryptoenv.live.feed import FeedBar, FeedError
from tests.loopback.clock import START, Clock
from tests.loopback.exchange import MINUTE, Loopback, Market, bar

Opened = Callable[..., tuple[CcxtFeed, Loopback, Clock]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    made: list[object] = []

    def make(**options: object) -> tuple[CcxtFeed, Loopback, Clock]:
        clock = Clock()
        exchange = Loopback(Market(now=clock, **options), limits_rate=False)  # type: ignore[arg-type]
        exchange.__enter__()
        thread = ClientThread(lambda: exchange.client("binance"), 2.0)
        feed = CcxtFeed(thread, "BTC/USDT", "1m", 50, streams=False, clock=clock, sleep=clock.sleep)
        made.extend((thread, exchange))
        return feed, exchange, clock

    yield make
    for one in made:
        one.close() if isinstance(one, ClientThread) else one.__exit__()  # type: ignore[attr-defined]


def true(one: FeedBar) -> bool:
    return one.ohlcv == tuple(bar("BTCUSDT", one.open_ms, MINUTE))


def test_closed_bars_come_once_in_order_and_right(opened: Opened) -> None:
    feed, _, clock = opened()
    history = feed.history()
    assert len(history) == 50 and int(history.index[-1].value // 1_000_000) == START - MINUTE
    assert history.iloc[-1].tolist() == bar("BTCUSDT", START - MINUTE, MINUTE)
    after = START - MINUTE
    for _ in range(12):
        (one,) = feed.next_bars(after)
        assert one.open_ms == after + MINUTE and true(one) and one.source == "poll"
        assert clock.now >= one.open_ms + MINUTE  # it had closed
        after = one.open_ms
    assert len(feed.history()) == 50


def test_an_open_candle_is_never_taken(opened: Opened) -> None:
    """The exchange serves the bar that is open, with other values: 300 looks around its close."""
    feed, exchange, clock = opened()
    feed.history()
    after = START - MINUTE
    for look in range(30):
        clock.now = after + 2 * MINUTE - 1_500 + 100 * look
        (one,) = feed.next_bars(after)
        assert true(one)
        after = one.open_ms
    assert len(exchange.requests) < 200


def test_a_gap_of_the_exchange_is_flat_and_without_volume(opened: Opened) -> None:
    feed, _, clock = opened(gaps=frozenset((START + MINUTE, START + 2 * MINUTE)))
    feed.history()
    (first,) = feed.next_bars(START - MINUTE)
    clock.now = START + 4 * MINUTE + 300
    bars = feed.next_bars(START)
    assert [one.source for one in bars] == ["gap", "gap", "poll"]
    assert all(one.ohlcv == (first.ohlcv[3],) * 4 + (0.0,) for one in bars[:2]) and true(bars[2])


def test_a_dead_feed_raises_and_says_since_when(opened: Opened) -> None:
    feed, exchange, clock = opened()
    feed.history()
    exchange.fault = lambda number, path, query: "close"
    with pytest.raises(FeedError, match=r"no bar of BTC/USDT 1m since 2023-11-14T22:1"):
        feed.next_bars(START - MINUTE)
    assert clock.now - START > 2 * MINUTE
    exchange.fault = lambda number, path, query: None
    clock.now += 60 * MINUTE  # an hour later
    bars = feed.next_bars(START - MINUTE)
    assert len(bars) > 60 and all(true(one) for one in bars)
    assert np.diff([one.open_ms for one in bars]).tolist() == [MINUTE] * (len(bars) - 1)


@pytest.mark.parametrize(
    "fault", [(200, {}, b"<html>"), (200, {}, b""), (200, {}, b"[]"), (503, {}, b"x"), (200, {}, b"[[1,2")]
)
def test_answers_that_are_none_are_asked_for_again(opened: Opened, fault: object) -> None:
    feed, exchange, _ = opened()
    feed.history()
    served = len(exchange.requests)
    exchange.fault = lambda number, path, query: fault if number < served + 3 else None  # type: ignore[return-value]
    (one,) = feed.next_bars(START - MINUTE)
    assert true(one)


def test_a_market_that_stands_still_is_refused(opened: Opened) -> None:
    feed, _, _ = opened(gaps=frozenset(START - k * MINUTE for k in range(1, 5)))
    with pytest.raises(FeedError, match="is due"):
        feed.history()
