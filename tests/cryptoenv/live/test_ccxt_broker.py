"""Orders through the real ccxt client against an exchange on the loopback interface that fails as exchanges do."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoenv.live.broker import BrokerError, Order, OrderKind, OrderPhase, OrderRefusedError, UnknownStateError
from cryptoenv.live.ccxt_broker import CcxtBroker
from cryptoenv.live.execution import Execution, Seen
from cryptoenv.live.executor import Executor, Patience, Policies
from cryptoenv.live.journal import Journal
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.reconciliation import check_book
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from cryptoenv.trading.account import ACCOUNT_WIDTH, CASH, EQUITY, QUANTITY
from cryptoenv.trading.config import TradingConfig
from cryptoenv.trading.venue_account import adopt_account, settle
from tests.loopback.exchange import Market
from tests.loopback.trading_exchange import KEY, LOST, SECRET, Account, TradingExchange

MINUTE = 60_000
POLICIES = Policies(
    SanityLimits(), TradeLimits(orders_per_hour=None, daily_loss=None, drawdown=None),
    patience=Patience(settle=0.5, first=0.05),
)  # fmt: skip


@dataclass
class Desk:
    """An executor in front of the exchange, with an account that is carried bar by bar."""

    exchange: TradingExchange
    broker: CcxtBroker
    executor: Executor
    account: np.ndarray
    parameters: np.ndarray

    def see(self) -> None:
        now = int(time.time() * 1000)
        self.executor.see(Seen(self.account, 0.001, self.parameters, now - MINUTE, now, now))

    def ask(self, target: float, **about: Any) -> Execution:
        self.see()
        return self.executor.execute_signal(target, **about)

    def carry(self) -> None:
        """To the next close, by what has filled."""
        self.executor.follow_up()
        fills, reports = self.executor.fills()
        price = self.exchange.price()
        bar = np.array([price, price, price, price, 1.0, 0.001, 0.0, 0.0])
        settle(self.account, bar, math.nan, fills, 1, self.parameters)
        self.executor.journal.keep_book(int(time.time() * 1000), self.account, self.account[EQUITY], reports)

    def agrees(self) -> bool:
        """Whether the books are the exchange's, to a step and a cent."""
        held, cash = self.exchange.account.coins, self.exchange.account.cash
        if self.exchange.perpetual:
            cash -= held * self.exchange.account.entry
        return bool(abs(self.account[QUANTITY] - held) < 1e-5 and abs(self.account[CASH] - cash) < 0.01)


Opened = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Opened]:
    """Makes an exchange and a desk that is reconciled with it."""
    opened: list[Any] = []

    def make(policies: Policies = POLICIES, **options: Any) -> Desk:
        exchange = TradingExchange(limits_rate=False, market=Market(), **options)
        opened.append(exchange.__enter__())
        symbol = "BTC/USDT:USDT" if exchange.perpetual else "BTC/USDT"
        keys = {"apiKey": KEY, "secret": SECRET}
        broker = CcxtBroker("binance", symbol, keys=keys, client=exchange.client, timeout=2.0, leverage=3.0)
        opened.insert(0, broker)
        broker.connect()
        folder = tmp_path / f"state-{len(opened)}"
        folder.mkdir()
        executor = Executor(broker, Journal(folder, durable=False), KillSwitch(folder), MINUTE, policies)
        instrument: Any = "perpetual" if exchange.perpetual else "spot"
        config = TradingConfig(instrument=instrument, rules=replace(broker.rules))
        account, book = np.zeros(ACCOUNT_WIDTH), broker.book()
        adopt_account(account, book.cash, book.quantity, book.entry, exchange.price())
        executor.reconciled = True
        return Desk(exchange, broker, executor, account, config.parameters(60.0))

    yield make
    for one in opened:
        one.__exit__(None, None, None) if isinstance(one, TradingExchange) else one.close()


@pytest.mark.parametrize("perpetual", [False, True])
def test_orders_fill_and_the_books_agree(desk: Opened, perpetual: bool) -> None:
    made = desk(perpetual=perpetual)
    assert made.broker.rules.step_size == 0.00001
    assert made.broker.rules.min_notional == 5.0
    for target in (1.0, 0.0, 0.5, -1.0 if perpetual else 0.25, 0.0):
        done = made.ask(target)
        assert done.client_id and not done.objection
        made.carry()
        assert made.agrees()
        check_book(made.executor, made.account)
        assert made.executor.reconciled
    assert made.account[QUANTITY] == 0.0 and made.exchange.posts == 5
    assert made.account[EQUITY] == pytest.approx(10_000.0, rel=0.02)
    if perpetual:
        assert (made.exchange.account.leverage, made.exchange.account.margin) == (3, "isolated")


def submits(desk: Opened, count: int, faults: tuple[str | None, ...], **options: Any) -> Desk:
    """So many orders, each with the next fault; one order at the exchange for each intent, and books that agree."""
    cycle = itertools.cycle(faults)
    made = desk(order_fault=lambda number: next(cycle), **options)
    for number in range(count):
        made.ask(0.1 if made.account[QUANTITY] > 0.1 else 0.5)  # of about 0.36 coins: an order is due each time
        made.executor.settle_all()
        made.carry()
        assert made.agrees(), (number, made.account[QUANTITY], made.exchange.account)
        assert made.exchange.posts == number + 1
    ids = [order["clientOrderId"] for order in made.exchange.orders.values()]
    assert len(ids) == len(set(ids))
    return made


def test_a_lost_reply_is_one_order_and_tells_no_key(
    desk: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    made = submits(desk, len(LOST), LOST)
    assert made.executor.journal.counts() == {"filled": len(LOST)}
    made.exchange.down = True
    told = []
    for call in (made.broker.book, made.broker.now_ms, lambda: made.broker.find("x")):
        with pytest.raises(BrokerError) as raised:
            call()
        told.append(str(raised.value))
        assert raised.value.__cause__ is None
    texts = [*told, *(str(detail) for _, _, detail in made.executor.journal.events(100)), caplog.text]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (KEY, SECRET):
        assert not any(secret in text for text in texts)
        assert secret.encode() not in files
    assert any("signature=***" in text for text in texts)
    assert not any("signature=" in text.replace("signature=***", "") for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("perpetual", [False, True])
def test_two_hundred_lost_replies_are_two_hundred_orders(desk: Opened, perpetual: bool) -> None:
    made = submits(desk, 200, (*LOST, None, "hidden", "late", "dropped"), perpetual=perpetual)
    counts = made.executor.journal.counts()
    assert counts["filled"] == len(made.exchange.orders)
    assert counts["filled"] + counts["absent"] == 200


def test_an_order_that_never_arrived_is_absent_and_not_sent_again(desk: Opened) -> None:
    made = submits(desk, 1, ("dropped",))
    assert made.executor.journal.counts() == {"absent": 1} and not made.exchange.orders
    assert made.ask(0.5).client_id  # a decision of its own, with an id of its own


@pytest.mark.parametrize("fault", ["late", "hidden"])
def test_an_order_that_failed_and_fills_later_is_one_position(desk: Opened, fault: str) -> None:
    made = submits(desk, 1, (fault, None))
    assert made.executor.journal.counts() == {"filled": 1}
    assert made.ask(0.5).client_id == ""  # it is held already: nothing is due


def test_nothing_is_sent_while_an_order_is_in_doubt(desk: Opened) -> None:
    made = desk(order_fault=lambda number: "503")
    made.ask(0.5)
    made.exchange.down = True
    for _ in range(3):
        assert "fate unknown" in made.ask(-0.5 if made.exchange.perpetual else 0.0).objection
    made.exchange.down = False
    made.carry()
    assert made.exchange.posts == 1 and made.agrees()


@pytest.mark.parametrize("coins", [False, True])
def test_partial_fills_and_fees_in_coins_leave_books_that_agree(desk: Opened, coins: bool) -> None:
    made = desk(fills=0.4, fee_in_coins=coins)
    for target in (0.6, 0.6, 0.0):
        made.ask(target)
        made.carry()
        assert made.agrees()
    made.exchange.fills = 1.0
    made.ask(0.0)
    made.carry()
    assert made.agrees() and made.account[QUANTITY] < 2e-5
    sent = made.exchange.posts
    for _ in range(3):  # dust: smaller than the exchange takes, and nothing is sent for it
        assert made.ask(0.0).client_id == ""
        made.carry()
    assert made.exchange.posts == sent


@pytest.mark.parametrize(
    "answer", [{}, {"balances": []}, {"balances": [{"asset": "USDT", "free": "", "locked": "0"}]}, "html", "empty"]
)
def test_a_balance_that_is_not_plain_is_unknown_and_stops_trading(desk: Opened, answer: Any) -> None:
    made = desk()
    made.exchange.state_fault = lambda what: answer if what == "GET account" else None
    with pytest.raises(UnknownStateError):
        made.broker.book()
    check_book(made.executor, made.account)
    assert "not reconciled" in made.ask(0.5).objection and made.exchange.posts == 0
    made.exchange.state_fault = lambda what: None
    check_book(made.executor, made.account)
    assert made.ask(0.5).objection == ""


def test_a_clock_that_is_off_by_a_minute_stops_trading(desk: Opened) -> None:
    made = desk()
    made.exchange.market = Market(now=lambda: int(time.time() * 1000) - 60_000)
    made.see()
    assert "differs from the venue's by +60" in made.executor.execute_signal(0.5).objection
    assert made.exchange.posts == 0


@pytest.mark.parametrize("quantity", [0.000001, 1e-9, math.nan, math.inf, 1e6])
def test_what_the_venue_would_refuse_is_refused_here(desk: Opened, quantity: float) -> None:
    made = desk()
    before = made.exchange.posts
    with pytest.raises(OrderRefusedError):
        made.broker.place(Order("x1", quantity))
    with pytest.raises(OrderRefusedError):
        made.broker.place(Order("x2", 0.0001, OrderKind.LIMIT, 100.0))  # worth a cent
    assert made.exchange.posts == before


def test_an_order_from_elsewhere_is_seen_and_latches(desk: Opened) -> None:
    made = desk()
    made.exchange.account.coins += 0.01
    check_book(made.executor, made.account)
    assert "external" in made.executor.journal.latched()
    assert made.ask(0.5).objection and made.exchange.posts == 0


def test_an_open_order_from_elsewhere_is_seen_and_latches(desk: Opened) -> None:
    made = desk()
    made.broker.place(Order("elsewhere", 0.01, OrderKind.LIMIT, 0.8 * made.exchange.price()))
    check_book(made.executor, made.account)
    assert "not of this journal" in made.executor.journal.latched()["external"]
    assert made.ask(0.5).objection and made.exchange.posts == 1


def test_leverage_that_is_capped_is_no_account_to_trade(desk: Opened) -> None:
    with pytest.raises(BrokerError, match=r"leverage 3 was asked for and 2\.0 stands"):
        desk(perpetual=True, caps_leverage=2)


def test_a_margin_mode_that_does_not_stand_is_no_account_to_trade(desk: Opened) -> None:
    with pytest.raises(BrokerError, match=r"isolated was asked for and 'cross' stands; set_margin_mode: .*-4048"):
        desk(perpetual=True, account=Account(coins=0.1, entry=30_000.0))
    desk(perpetual=True, account=Account(coins=0.1, entry=30_000.0, margin="isolated"))  # refused to set, but it stands


def test_limit_stop_and_take_profit_are_placed_found_and_taken_back(desk: Opened) -> None:
    made = desk()
    made.broker.place(Order("buy", 0.1))
    price = made.exchange.price()
    for number, (kind, at) in enumerate([
        (OrderKind.LIMIT, 1.2 * price), (OrderKind.STOP_LOSS, 0.8 * price), (OrderKind.TAKE_PROFIT, 1.3 * price)
    ]):  # fmt: skip
        report = made.broker.place(Order(f"rest{number}", -0.03, kind, at))
        assert report.phase is OrderPhase.OPEN and report.quantity == -0.03
        assert made.broker.find(f"rest{number}", kind).phase is OrderPhase.OPEN
    assert len(made.broker.book().open_orders) == 3
    assert made.executor.take_back() == [] and made.broker.book().open_orders == ()
    assert made.broker.find("rest1", OrderKind.STOP_LOSS).phase is OrderPhase.CANCELED
    made.broker.cancel(replace(made.broker.find("buy"), venue_id="1"))  # it is done: nothing changes


def test_a_stop_that_is_crossed_already_is_one_exit(desk: Opened) -> None:
    made = desk()
    for number in range(4):
        made.broker.place(Order(f"in{number}", 0.05))
        above = 1.05 * made.exchange.price()
        report = made.broker.place(Order(f"out{number}", -0.05, OrderKind.STOP_LOSS, above))
        assert report.phase is OrderPhase.FILLED
        assert made.exchange.account.coins == pytest.approx(0.0, abs=1e-9)
