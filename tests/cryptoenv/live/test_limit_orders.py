"""Orders at a limit: on paper by the rule of the bars, at an exchange with partial fills, races and restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.feed import ReplayFeed
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.price_policy import LimitOrders
from cryptoenv.trading.account import QUANTITY, OrderStatus
from tests.cryptoenv.live.conftest import BASE, OPEN, executor_of
from tests.cryptoenv.live.test_live_on_the_loopback import POLICIES, Stand, stand

__all__ = ["stand"]  # the fixture


def orders_of(env: CryptoLiveEnv) -> list[tuple[str, float, float]]:
    """Kind, quantity and what has filled, of every order of the journal."""
    rows = env.executor.journal._rows("SELECT kind, quantity, filled FROM intents ORDER BY id")
    return [(str(kind), float(quantity), float(filled)) for kind, quantity, filled in rows]


def flat_then(moves: list[tuple[float, float]]) -> pd.DataFrame:
    """Bars of 100 without a move, then bars with these lows and highs."""
    count = 20 + len(moves)
    index = pd.date_range("2024-01-01", periods=count, freq="15min", tz="UTC", name="timestamp")
    bars = pd.DataFrame({"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 1e6}, index=index)
    bars.loc[index[20:], ["low", "high"]] = moves
    return bars


def on_paper(folder: Path, limit: LimitOrders, moves: list[tuple[float, float]], **arguments: Any) -> CryptoLiveEnv:
    feed, broker = ReplayFeed(flat_then(moves), BASE, 20), PaperBroker(limit_fee=limit.fee)
    executor = executor_of(folder / "state", broker, feed, replace(OPEN, limit=limit))
    return CryptoLiveEnv(
        broker, feed, executor, timeframes=(BASE,), window=(4,), observation="index", actions="continuous", **arguments
    )


STILL, DOWN, UP = (100.0, 100.0), (99.0, 100.0), (100.0, 101.0)


def test_on_paper_it_rests_until_a_bar_trades_through(tmp_path: Path) -> None:
    env = on_paper(tmp_path, LimitOrders(0.005, 3.0, fee=0.0), [STILL, STILL, DOWN, STILL, STILL])
    env.reset()
    infos = [env.step(np.array([0.5], np.float32))[-1] for _ in range(4)]
    wanted = [OrderStatus.NO_VOLUME, OrderStatus.NO_VOLUME, OrderStatus.FILLED, OrderStatus.NONE]
    assert [info["order_status"] for info in infos] == wanted
    assert infos[2]["fill_price"] == pytest.approx(100.0 * (1 - 0.0001) * (1 - 0.005)) and infos[2]["fees"] == 0.0
    assert [kind for kind, _, _ in orders_of(env)] == ["limit"] and env.executor.journal.counts() == {"filled": 1}
    assert infos[2]["live"]["slippage_against_open"] == pytest.approx(-0.0051, abs=1e-5)


@pytest.mark.parametrize("remainder", ["market", "nothing"])
def test_at_its_end_the_remainder_goes_to_the_market_or_nowhere(tmp_path: Path, remainder: Any) -> None:
    env = on_paper(tmp_path, LimitOrders(0.005, 2.0, remainder), [STILL] * 5 + [DOWN, STILL, UP])
    env.reset()
    held = []
    for _ in range(5):
        env.step(np.array([0.5], np.float32))
        held.append(float(env.account[QUANTITY]))
    kinds = [kind for kind, _, _ in orders_of(env)]
    if remainder == "market":
        assert kinds == ["limit", "market"] and held[1] == 0.0 < held[2]
        return
    assert kinds == ["limit"] and not any(held)  # nothing more until another target
    env.step(np.array([0.4], np.float32))
    assert env.account[QUANTITY] > 0.0 and [kind for kind, _, _ in orders_of(env)] == ["limit"] * 2


def test_another_target_and_an_objection_take_it_back(tmp_path: Path) -> None:
    env = on_paper(tmp_path, LimitOrders(0.005, 9.0), [STILL, STILL, STILL, DOWN])
    env.reset()
    for target in (0.5, -0.5):
        env.step(np.array([target], np.float32))
    assert [quantity > 0 for _, quantity, _ in orders_of(env)] == [True, False]
    assert env.executor.journal.counts() == {"canceled": 1, "sent": 1}
    env.ask(float("nan"))
    env.wait()
    assert env.executor.journal.counts() == {"canceled": 2} and env.broker.book().open_orders == ()


def test_a_breaker_that_trips_takes_back_what_rests(tmp_path: Path) -> None:
    env = on_paper(tmp_path, LimitOrders(0.005, 9.0), [STILL, DOWN, DOWN])
    env.reset()
    env.step(np.array([0.5], np.float32))
    env.executor.journal.latch("drawdown", "planted")
    env.step(np.array([0.5], np.float32))  # would have filled in this bar
    assert env.account[QUANTITY] == 0.0 and env.executor.journal.counts() == {"canceled": 1}


def test_what_the_policy_allows() -> None:
    for wrong in ({"lifetime": 1.5}, {"lifetime": 0.0}, {"remainder": "hope"}, {"offset": 0.5}, {"band": 0.0}):
        with pytest.raises(ValueError, match=r"allowed"):
            LimitOrders(**wrong)  # type: ignore[arg-type]
    limit = LimitOrders(0.01)
    assert limit.price(1.0, (99.0, 101.0), 100.0, 0.5) == 98.0  # 98.01, to the favourable tick
    assert limit.price(-1.0, (99.0, 101.0), 100.0, 0.5) == 102.5
    for touch in ((101.0, 99.0), (float("nan"), 101.0), (80.0, 101.0), (0.0, 100.0)):
        with pytest.raises(ValueError, match=r"no prices to go by|off the close"):
            limit.price(1.0, touch, 100.0, 0.0)


def test_parts_of_a_bar_are_for_exchanges(paper: Callable[..., CryptoLiveEnv]) -> None:
    with pytest.raises(ValueError, match="on paper a bar is one piece"):
        paper(replace(OPEN, limit=LimitOrders(lifetime=0.5)))


def at_exchange(made: Stand, limit: LimitOrders, price: float = 30_000.0) -> CryptoLiveEnv:
    made.policies = replace(POLICIES, limit=limit)
    made.exchange.price = lambda: price  # type: ignore[method-assign]
    env = made.begin()
    env.reset()
    return env


def moved(made: Stand, factor: float) -> None:
    price = made.exchange.price() * factor
    made.exchange.price = lambda: price  # type: ignore[method-assign]


@pytest.mark.parametrize("perpetual", [False, True])
def test_at_an_exchange_it_fills_in_parts_and_the_books_agree(stand: Callable[..., Stand], perpetual: bool) -> None:
    made = stand(perpetual=perpetual, resting=0.5)
    env = at_exchange(made, LimitOrders(0.0, 4.0, band=0.2))
    first = env.ask(0.6)
    assert first.client_id and not first.rests and made.exchange.orders[1]["type"] == "LIMIT"
    assert float(made.exchange.orders[1]["price"]) == pytest.approx(30_000.0 * 0.9999)
    statuses = [env.wait()[-1]["order_status"]]
    for _ in range(2):
        moved(made, 0.999)
        again = env.ask(0.6)
        assert again.rests and again.client_id == first.client_id
        statuses.append(env.wait()[-1]["order_status"])
        assert made.agrees() and env.executor.reconciled
    assert statuses == [OrderStatus.NO_VOLUME, OrderStatus.PARTIAL, OrderStatus.PARTIAL]
    assert made.exchange.posts == 1 and 0.0 < env.account[QUANTITY] < first.quantity
    moved(made, 1.01)
    for _ in range(2):
        env.ask(0.61)  # within the tolerance it is the same target; at its end: taken back, the rest to the market
        env.wait()
    assert made.agrees() and env.account[QUANTITY] == pytest.approx(first.quantity, rel=0.05)
    assert [kind for kind, _, _ in orders_of(env)] == ["limit", "market"] and made.counts()[1] == 0


def test_a_fill_that_wins_the_race_against_its_cancel_is_not_bought_again(stand: Callable[..., Stand]) -> None:
    made = stand()
    env = at_exchange(made, LimitOrders(0.0, 1.0))
    first = env.ask(0.5)
    env.wait()

    def wins(order: dict[str, Any]) -> None:
        if order["status"] == "NEW":
            made.exchange.fill(order, float(order["origQty"]), float(order["price"]), rests=True)

    made.exchange.before_cancel = wins
    assert env.ask(0.5).client_id == ""  # the order filled while it was taken back: nothing is due
    env.wait()
    assert made.exchange.posts == 1 and made.agrees() and env.account[QUANTITY] == pytest.approx(first.quantity)


def test_it_lives_for_a_part_of_a_bar(stand: Callable[..., Stand]) -> None:
    made = stand(resting=0.25)
    env = at_exchange(made, LimitOrders(0.0, 0.5))
    sent = env.ask(0.5)
    opened = made.clock()
    moved(made, 0.9998)
    env.wait()
    assert made.agrees() and env.account[QUANTITY] == pytest.approx(sent.quantity, abs=2e-5)
    assert [kind for kind, _, _ in orders_of(env)] == ["limit", "market"]
    market = made.exchange.orders[2]
    assert 29_000 <= market["time"] - opened <= 32_000 and market["time"] < env.close_time


def test_a_restart_takes_back_what_rests_and_knows_what_it_filled(stand: Callable[..., Stand]) -> None:
    made = stand(resting=0.5)
    env = at_exchange(made, LimitOrders(0.0, 5.0, band=0.2))
    env.step(np.array([0.6], np.float32))
    moved(made, 0.999)
    env = made.begin()  # killed: half of it has filled since
    env.reset()
    assert made.agrees() and env.account[QUANTITY] > 0.0
    assert made.exchange.orders[1]["status"] == "CANCELED" and made.exchange.posts == 1
    env.step(np.array([0.6], np.float32))
    assert made.exchange.posts == 2 and made.counts()[1] == 0 and made.agrees()


def test_an_order_that_somebody_else_takes_back_is_known_within_a_bar(stand: Callable[..., Stand]) -> None:
    made = stand(resting=0.5)
    env = at_exchange(made, LimitOrders(0.0, 5.0, band=0.2, remainder="nothing"))
    env.ask(0.6)
    moved(made, 0.999)
    made.exchange.match()  # half of it has filled
    made.exchange.orders[1]["status"] = "CANCELED"
    env.wait()
    assert env.executor.journal.counts() == {"canceled": 1} and made.agrees() and env.account[QUANTITY] > 0.0
    assert env.executor.reconciled and not env.executor.journal.latched()
    env.step(np.array([0.6], np.float32))  # what is asked for still is a decision of its own: one order
    assert made.exchange.posts == 2 and made.counts()[1] == 0 and made.agrees()


def test_a_lost_reply_to_a_limit_order_is_one_order_that_rests(stand: Callable[..., Stand]) -> None:
    made = stand(order_fault=lambda number: "503")
    env = at_exchange(made, LimitOrders(0.0, 3.0, band=0.2))
    first = env.ask(0.5)
    env.wait()
    assert env.ask(0.5).rests and made.exchange.posts == 1
    moved(made, 0.99)
    env.wait()
    assert made.agrees() and env.account[QUANTITY] == pytest.approx(first.quantity)


@pytest.mark.parametrize(
    "depth", [{"bids": [], "asks": []}, {"bids": [["1", "1"]], "asks": [["2", "1"]]},
              {"bids": [["30001", "1"]], "asks": [["30000", "1"]]}]
)  # fmt: skip
def test_a_touch_that_is_not_believed_sends_nothing(stand: Callable[..., Stand], depth: Any) -> None:
    made = stand(depth=depth)
    env = at_exchange(made, LimitOrders())
    assert "no price for a limit order" in env.ask(0.5).objection and made.exchange.posts == 0
    env.wait()
    assert any(event == "alarm" for _, event, _ in env.executor.journal.events(20))
