"""What orders were charged, where the venue does not say it at once: unknown is not none, each fee is booked once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cryptoenv.live import order_tracking
from cryptoenv.live.ccxt_answers import fees_of_trades
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.trading.account import CASH, FEES, QUANTITY
from tests.cryptoenv.live.test_live_on_the_loopback import Stand, stand
from tests.loopback.trading_exchange import FEE

__all__ = ["stand"]  # the fixture


def stepped(env: CryptoLiveEnv, target: float) -> dict[str, Any]:
    return env.step(np.array([target], np.float32))[-1]


@pytest.mark.parametrize("fault", ["503", []])
def test_a_fee_that_is_not_said_is_asked_for_until_it_is(stand: Callable[..., Stand], fault: Any) -> None:
    """The trades of an order cannot be had, or are not there yet: its fee is booked when they are, and once."""
    made = stand(perpetual=True)
    env = made.begin()
    env.reset()
    made.exchange.state_fault = lambda what: fault if what.endswith("userTrades") else None
    filled = stepped(env, 0.5)
    journal = env.executor.journal
    due = abs(filled["fill_quantity"]) * filled["fill_price"] * FEE
    assert due > 4.0 and filled["fees"] == 0.0 and len(journal.uncharged()) == 1
    assert env.account[CASH] + env.account[QUANTITY] * filled["fill_price"] == pytest.approx(10_000.0)
    assert stepped(env, 0.5)["fees"] == 0.0
    made.exchange.state_fault = lambda what: None
    info = stepped(env, 0.5)
    assert info["fees"] == info["step_fees"] == pytest.approx(due, rel=1e-6) and info["fill_quantity"] == 0.0
    assert made.agrees() and not journal.uncharged() and env.executor.reconciled
    assert stepped(env, 0.5)["fees"] == pytest.approx(due, rel=1e-6)


def test_a_fee_that_the_next_process_finds_charged_is_not_booked_again(stand: Callable[..., Stand]) -> None:
    made = stand(perpetual=True)
    env = made.begin()
    env.reset()
    made.exchange.state_fault = lambda what: "503" if what.endswith("userTrades") else None
    stepped(env, 0.5)
    env = made.begin()
    env.reset()
    made.exchange.state_fault = lambda what: None
    for _ in range(2):
        stepped(env, 0.5)
        assert made.agrees() and env.account[FEES] == 0.0


def test_on_spot_nothing_is_sent_while_it_is_not_known_how_many_coins_a_purchase_cost(
    stand: Callable[..., Stand],
) -> None:
    made = stand(fee_in_coins=True, order_fault=lambda number: "503")  # the answer, that says the fee, is lost
    env = made.begin()
    env.reset()
    made.exchange.state_fault = lambda what: "503" if what.endswith("myTrades") else None
    stepped(env, 0.5)
    made.exchange.order_fault, posts = (lambda number: None), made.exchange.posts
    assert "how many coins are held is not" in stepped(env, 0.0)["live"]["objection"]
    assert made.exchange.posts == posts and not env.executor.journal.latched()
    made.exchange.state_fault = lambda what: None
    stepped(env, 0.0)
    assert abs(made.exchange.account.coins) < 1e-5 and made.agrees()  # less than a step: a fee in coins leaves it
    assert not env.executor.journal.latched()


def test_what_is_never_said_is_not_asked_for_ever(stand: Callable[..., Stand], monkeypatch: Any) -> None:
    monkeypatch.setattr(order_tracking, "FEES_WITHIN_MS", 150_000)
    made = stand(perpetual=True)
    env = made.begin()
    env.reset()
    made.exchange.state_fault = lambda what: [] if what.endswith("userTrades") else None
    stepped(env, 0.5)
    assert env.executor.journal.uncharged()
    stepped(env, 0.5)
    assert not env.executor.journal.uncharged()
    assert any("is not booked" in str(detail) for _, what, detail in env.executor.journal.events() if what == "alarm")


def test_fees_of_trades_say_how_much_they_cover() -> None:
    market = {"quote": "USDT", "settle": "USDT", "base": "BTC", "swap": True}
    trades = [
        {"order": "7", "amount": 2.0, "fee": {"cost": 0.2, "currency": "USDT"}},
        {"order": "7", "amount": 1.0, "fee": {"cost": 0.1, "currency": "USDT"}},
        {"order": "8", "amount": 9.0, "fee": {"cost": 9.0, "currency": "USDT"}},
    ]
    assert fees_of_trades(trades, "7", market, 0.1) == (pytest.approx(0.3), 0.0, pytest.approx(0.3), True)
    assert fees_of_trades([{"order": "7", "amount": 2.0, "fee": None}], "7", market, 1.0) == (0.0, 0.0, 2.0, False)
    assert fees_of_trades(None, "7", market, 1.0) == (0.0, 0.0, 0.0, False)
