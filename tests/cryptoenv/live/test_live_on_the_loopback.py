"""The live environment on an exchange that trades and fails, hour after simulated hour: no order twice, books equal."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoenv.exchange.client_thread import ClientThread
from cryptoenv.live.broker import BrokerError, Order, OrderReport
from cryptoenv.live.ccxt_broker import CcxtBroker
from cryptoenv.live.ccxt_feed import CcxtFeed
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.executor import Executor, Patience, Policies
from cryptoenv.live.feed import FeedError
from cryptoenv.live.journal import DOUBT, Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.price_policy import LimitOrders
from cryptoenv.live.reconciliation import UnreconciledError
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from cryptoenv.trading.account import CASH, QUANTITY, OrderStatus
from cryptoenv.trading.config import RiskLimits
from tests.loopback.clock import START, Clock
from tests.loopback.exchange import MINUTE, Market
from tests.loopback.trading_exchange import FEE, KEY, LOST, SECRET, TradingExchange

POLICIES = Policies(
    SanityLimits(), TradeLimits(orders_per_hour=None, daily_loss=None, drawdown=None), patience=Patience(10.0, 0.5)
)


class Stand:
    """An exchange on simulated time, and environments in front of it that follow each other, as after restarts."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock, self.folder = Clock(), folder
        self.exchange = TradingExchange(Market(now=self.clock), limits_rate=False, late=3.0, **options)
        self.exchange.__enter__()
        self.env: CryptoLiveEnv | None = None
        self.policies, self.limits = POLICIES, RiskLimits()
        self._open: list[Any] = []

    def begin(self, *, adopt: bool = False) -> CryptoLiveEnv:
        """Another process, as it were: all but the journal is new."""
        self.end()
        self.folder.mkdir(exist_ok=True)
        symbol = "BTC/USDT:USDT" if self.exchange.perpetual else "BTC/USDT"
        keys = {"apiKey": KEY, "secret": SECRET}
        broker = CcxtBroker("binance", symbol, keys=keys, client=self.exchange.client, timeout=2.0, leverage=2.0)
        self._open.append(broker)
        broker.connect()
        public = ClientThread(lambda: self.exchange.client(keys=False), 2.0)
        self._open.append(public)
        feed = CcxtFeed(public, symbol, "1m", 60, streams=False, clock=self.clock, sleep=self.clock.sleep)
        journal = Journal(self.folder, durable=False, clock=feed.now_ms)
        self._open.append(journal)
        executor = Executor(
            broker, journal, KillSwitch(self.folder), MINUTE, self.policies, sleep=self.clock.sleep, clock=self.clock
        )
        self.env = CryptoLiveEnv(
            broker, feed, executor, timeframes=("1m",), window=(4,), observation="index", actions="continuous",
            instrument="perpetual" if self.exchange.perpetual else "spot", adopt=adopt,
            rules=replace(broker.rules), limits=self.limits,
        )  # fmt: skip
        return self.env

    def end(self) -> None:
        while self._open:
            self._open.pop().close()
        self.env = None

    def close(self) -> None:
        self.end()
        self.exchange.__exit__()

    def agrees(self) -> bool:
        """Whether the book is the exchange's."""
        assert self.env is not None
        held, cash = self.exchange.account.coins, self.exchange.account.cash
        if self.exchange.perpetual:
            cash -= held * self.exchange.account.entry
        account = self.env.account
        return bool(abs(account[QUANTITY] - held) < 1e-5 and abs(account[CASH] - cash) < 0.05)

    def counts(self) -> tuple[int, int]:
        """Orders at the exchange, and of them those with a client id that another has, too."""
        ids = [order["clientOrderId"] for order in self.exchange.orders.values()]
        return len(ids), len(ids) - len(set(ids))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Callable[..., Stand]]:
    made: list[Stand] = []

    def make(**options: Any) -> Stand:
        made.append(Stand(tmp_path / "state", **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def begin(stand: Stand) -> CryptoLiveEnv:
    """Begin, however often it takes while answers fail."""
    while True:
        try:
            stand.begin().reset()
        except (BrokerError, FeedError):
            stand.clock.sleep(2.0)
        else:
            assert stand.env is not None
            return stand.env


def trade(stand: Stand, bars: int, draws: np.random.Generator, *, low: float = 0.0, high: float = 1.0) -> int:
    """So many decisions; how many of them were late or held."""
    env, odd = stand.env, 0
    assert env is not None
    for _ in range(bars):
        execution = env.ask(float(np.round(draws.uniform(low, high), 2)))
        while True:
            try:
                _, reward, _, _, info = env.wait()
                break
            except FeedError:
                stand.clock.sleep(5.0)
        assert np.isfinite(reward)
        odd += bool(execution.objection) or info["live"]["late_bars"] > 0
        journal = env.executor.journal  # an order in doubt may have filled; one that rests is known
        known = all(one.state != DOUBT and one.order.kind != "market" for one in journal.undone())
        if env.executor.reconciled and known and not journal.uncharged():
            assert stand.agrees(), (env.account[[CASH, QUANTITY]], stand.exchange.account)
    return odd


@pytest.mark.parametrize("perpetual", [False, True])
def test_an_hour_without_faults(stand: Callable[..., Stand], perpetual: bool) -> None:
    made = stand(perpetual=perpetual)
    env = made.begin()
    _, info = env.reset()
    assert info["equity"] == 10_000.0 and made.exchange.posts == 0
    assert trade(made, 6, np.random.default_rng(0), low=-1.0 if perpetual else 0.0) == 0
    assert made.counts()[0] > 3 and made.counts()[1] == 0
    info = env.step(np.array([0.5], np.float32))[-1]
    assert info["fill_price"] > 0.0 and abs(info["live"]["slippage_against_open"]) < 0.01
    held = made.exchange.account.coins
    again = made.begin()  # a restart: the position is found, agrees with the journal, and nothing is traded
    posts = made.exchange.posts
    again.reset()
    assert again.account[QUANTITY] == pytest.approx(held) and made.exchange.posts == posts and made.agrees()


def test_a_position_that_the_journal_does_not_know_is_refused(stand: Callable[..., Stand]) -> None:
    made = stand()
    made.exchange.account.coins = 0.1
    env = made.begin()
    with pytest.raises(UnreconciledError, match=r"holds 0\.1, and the journal knows of nothing"):
        env.reset()
    with pytest.raises(RuntimeError, match="call reset"):
        env.ask(0.5)
    made.begin(adopt=True).reset()
    assert made.agrees() and made.exchange.posts == 0


def test_an_order_under_way_when_the_process_died_is_found(stand: Callable[..., Stand]) -> None:
    """The reply is lost, the process dies, the next one begins: one order, and the position is the exchange's."""
    made = stand(order_fault=lambda number: "503")
    made.begin().reset()
    assert made.env is not None
    made.env.ask(0.5)
    env = made.begin()
    env.reset()
    assert made.agrees() and env.account[QUANTITY] > 0.0 and made.exchange.posts == 1


def test_what_has_ended_is_let_go_without_a_collection_of_garbage(
    stand: Callable[..., Stand], caplog: pytest.LogCaptureFixture
) -> None:
    """Requests that failed hold nothing of the process that made them: a large one collects garbage seldom."""
    made, draws = stand(order_fault=lambda number: LOST[1:][number % 6]), np.random.default_rng(4)
    made.exchange.state_fault = lambda what: "503" if draws.random() < 0.1 else None
    gc.collect()
    gc.disable()
    try:
        begin(made)
        assert made.env is not None
        trade(made, 12, draws)
        env, kept = made.env, []
        for one in (env, env.executor, env.broker, env.feed, env.feed._thread):  # type: ignore[attr-defined]
            kept.append(weakref.ref(one))
        del one, env
        made.end()
        assert [one() for one in kept] == [None] * 5
    finally:
        gc.enable()
    said = [one for record in caplog.records for one in (record.args or ())]
    assert len(said) > 12 and not any(isinstance(one, BaseException) for one in said)


class Killed(BaseException):
    """The process is gone at this point, as by SIGKILL: nothing after it happens."""


def test_killed_at_every_write_and_between_sending_and_hearing(stand: Callable[..., Stand]) -> None:
    """Of an account for real: the journal and the exchange are what is left, and the next process goes on from them."""
    made, draws, kills = stand(), np.random.default_rng(3), 0
    made.begin().reset()
    for point in range(7):  # 0: the order is at the exchange, its answer was never heard
        env = made.env
        assert env is not None
        left = [point]

        def written(what: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

        def placed(order: Order, place: Any = env.broker.place) -> OrderReport:
            place(order)
            raise Killed

        env.executor.journal._persisted = written
        if point == 0:
            env.broker.place = placed  # type: ignore[method-assign]
        try:
            trade(made, 2, draws)
        except Killed:
            kills += 1
        posts = made.exchange.posts
        env = made.begin()
        env.reset()
        assert made.exchange.posts == posts and made.agrees(), point
        assert made.counts()[1] == 0 and not env.executor.journal.undone()
    assert kills >= 6
    trade(made, 2, draws)
    assert made.agrees() and not made.env.executor.journal.latched()  # type: ignore[union-attr]


def test_what_the_exchange_did_not_fill_has_its_status(stand: Callable[..., Stand]) -> None:
    made = stand(fills=0.5)
    env = made.begin()
    env.reset()
    assert env.step(np.array([0.8], np.float32))[-1]["order_status"] is OrderStatus.PARTIAL
    made.exchange.order_fault = lambda number: "dropped"
    info = env.step(np.array([0.0], np.float32))[-1]
    assert info["order_status"] is OrderStatus.NO_VOLUME and info["fill_quantity"] == 0.0 and made.agrees()
    made.exchange.order_fault, made.exchange.fills = (lambda number: None), 1.0
    info = env.step(np.array([0.0], np.float32))[-1]
    assert info["order_status"] is OrderStatus.FILLED and made.exchange.account.coins == pytest.approx(0.0, abs=1e-9)


def test_an_outage_sends_nothing_and_is_over_within_two_bars(stand: Callable[..., Stand]) -> None:
    made = stand()
    env = made.begin()
    env.reset()
    env.ask(0.5)
    made.exchange.down = True
    posts = made.exchange.posts
    with pytest.raises(FeedError, match="since"):
        env.wait()
    made.clock.sleep(3600.0)
    assert made.exchange.posts == posts
    made.exchange.down = False
    _, _, _, _, info = env.wait()
    assert info["live"]["late_bars"] > 50
    assert info["fill_quantity"] > 0.0 and info["order_status"] is OrderStatus.FILLED
    assert info["step_fees"] == pytest.approx(info["fill_quantity"] * info["fill_price"] * FEE, rel=1e-6)
    assert info["live"]["slippage_against_open"] == pytest.approx(1e-4, abs=2e-4)  # by its own bar, not the newest
    trade(made, 2, np.random.default_rng(0))
    assert env.ask(1.0).client_id and made.counts()[1] == 0
    env.wait()
    assert made.agrees()


def faults(made: Stand, draws: np.random.Generator) -> None:
    """Random failures of orders, of answers about the account and of bars."""
    kinds = (*LOST, "late", "hidden", "dropped")
    made.exchange.order_fault = lambda number: str(draws.choice(kinds)) if draws.random() < 0.2 else None
    made.exchange.state_fault = lambda what: (
        str(draws.choice(("503", "html", "empty", "reset"))) if "order" not in what and draws.random() < 0.03 else None
    )
    made.exchange.fault = lambda *_: (503, {}, b"x") if draws.random() < 0.03 else None


def days() -> Iterator[Any]:
    """Minutes, how orders go out, and whether on a perpetual with stops: a few minutes, and whole days."""
    yield 13, None, False
    for limit, perpetual in ((None, False), (LimitOrders(-0.0001, 2.0), False), (None, True)):
        yield pytest.param(1_440, limit, perpetual, marks=pytest.mark.slow)


@pytest.mark.parametrize(("minutes", "limit", "perpetual"), list(days()))
def test_a_day_with_random_faults(
    stand: Callable[..., Stand], minutes: int, limit: LimitOrders | None, perpetual: bool,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    made, draws = stand(fee_in_coins=not perpetual, perpetual=perpetual, resting=0.6), np.random.default_rng(7)
    made.policies = replace(POLICIES, limit=limit)
    if perpetual:
        made.limits = RiskLimits(stop_loss=0.0004, take_profit=0.0005)  # minutes move by a ten-thousandth or so
    env = made.begin()
    env.reset()
    faults(made, draws)
    decided, memory = 0, []
    while decided < minutes:
        short = perpetual and draws.random() < 0.5
        trade(made, 12, draws, low=-float(short), high=float(not short))
        decided += 12
        if decided % 120 == 0:
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        if draws.random() < 0.2:  # a restart in the middle of all that
            env = begin(made)
    made.exchange.order_fault = lambda number: None
    made.exchange.state_fault = lambda what: None
    made.exchange.fault = lambda *_: None
    trade(made, 3, draws)
    env.executor.settle_all()
    counts, (orders, twice) = env.executor.journal.counts(), made.counts()
    assert twice == 0 and made.agrees()
    assert not env.executor.journal.latched(), env.executor.journal.latched()
    assert counts.get("filled", 0) + counts.get("canceled", 0) <= made.exchange.posts
    filled = env.executor.journal._rows("SELECT COUNT(*), kind IN ('stop_loss', 'take_profit') FROM intents "
                                        "WHERE filled > 0 GROUP BY 2 ORDER BY 2")  # fmt: skip
    at_venue = sum(float(order["executedQty"]) > 0.0 for order in made.exchange.orders.values())
    assert sum(count for count, _ in filled) == at_venue
    exits = sum(count for count, is_exit in filled if is_exit)
    assert not perpetual or exits > minutes // 100  # stops and profits were among them
    assert env.bar_time > START and orders > minutes // 3
    if memory:
        record_property("grown", memory[-1] - memory[1])
        assert memory[-1] - memory[1] < 25_000_000, memory  # what the exchange keeps of its orders is in it
