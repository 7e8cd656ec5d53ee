"""Stops and take-profits that rest at the venue, and funding as the venue charged it: books that stay equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cryptoenv.live.broker import UnknownStateError
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.trading.account import FUNDING_PAID, QUANTITY, ExitKind
from cryptoenv.trading.config import RiskLimits
from tests.cryptoenv.live.test_limit_orders import moved
from tests.cryptoenv.live.test_live_on_the_loopback import Stand, stand

__all__ = ["stand"]  # the fixture
LIMITS = RiskLimits(stop_loss=0.02, take_profit=0.05)


def begun(made: Stand, limits: RiskLimits = LIMITS, price: float = 28_690.0) -> CryptoLiveEnv:
    made.limits = limits
    made.exchange.price = lambda: price  # type: ignore[method-assign]
    env = made.begin()
    env.reset()
    return env


def resting(made: Stand) -> dict[str, tuple[str, float, float]]:
    """Side, quantity and price of what rests, by type."""
    return {one["orderType"]: (one["side"], float(one["quantity"]), float(one["triggerPrice"]))
            for one in made.exchange.triggers.values() if one["algoStatus"] == "NEW"}  # fmt: skip


def go(env: CryptoLiveEnv, target: float) -> dict[str, Any]:
    env.ask(target)
    return env.wait()[-1]


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_they_follow_the_position_and_the_other_goes_when_one_fills(stand: Callable[..., Stand], side: float) -> None:
    made = stand(perpetual=True)
    env = begun(made)
    go(env, 0.5 * side)
    entry, held = made.exchange.account.entry, abs(made.exchange.account.coins)
    there = resting(made)
    assert {kind: row[0] for kind, row in there.items()} == dict.fromkeys(there, "SELL" if side > 0 else "BUY")
    assert there["STOP_MARKET"][1:] == pytest.approx((held, entry * (1.0 - 0.02 * side)), abs=0.02)
    assert there["TAKE_PROFIT_MARKET"][1:] == pytest.approx((held, entry * (1.0 + 0.05 * side)), abs=0.02)
    posts = made.exchange.posts
    go(env, 0.5 * side)
    assert made.exchange.posts == posts and resting(made) == there  # nothing changed, nothing is sent
    go(env, 0.8 * side)
    assert len(resting(made)) == 2
    assert resting(made)["STOP_MARKET"][1] == pytest.approx(abs(made.exchange.account.coins))
    env.ask(0.8 * side)
    moved(made, 1.0 - 0.03 * side)
    info = env.wait()[-1]
    assert info["exit_kind"] is ExitKind.STOP_LOSS and made.exchange.account.coins == 0.0
    assert made.agrees() and env.executor.reconciled
    go(env, 0.0)
    assert resting(made) == {} and made.counts()[1] == 0 and made.agrees()
    assert not env.executor.journal.latched()


def test_a_profit_is_taken_and_the_stop_does_not_outlive_it(stand: Callable[..., Stand]) -> None:
    made = stand(perpetual=True)
    env = begun(made)
    go(env, 0.5)
    env.ask(0.5)
    moved(made, 1.06)
    assert env.wait()[-1]["exit_kind"] is ExitKind.TAKE_PROFIT
    env.ask(0.5)  # enters again; by then the old stop is gone
    assert resting(made) == {}
    env.wait()
    assert len(resting(made)) == 2 and made.agrees()


def test_after_a_restart_they_are_found_by_their_client_ids(stand: Callable[..., Stand]) -> None:
    made = stand(perpetual=True)
    env = begun(made)
    go(env, 0.5)
    there, posts = resting(made), made.exchange.posts
    env = made.begin()
    env.reset()
    assert env.executor.take_back() == []  # a halt takes back what opens positions, not what protects them
    go(env, 0.5)
    assert resting(made) == there and made.exchange.posts == posts
    moved(made, 0.97)  # while no process is there
    env = made.begin()
    env.reset()
    assert env.account[QUANTITY] == 0.0 and made.agrees()
    assert made.exchange.posts == posts
    go(env, 0.0)
    assert resting(made) == {}


@pytest.mark.parametrize("cycles", [2, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("refused", [False, True])
def test_a_stop_that_is_passed_when_it_is_placed_is_one_exit(
    stand: Callable[..., Stand], cycles: int, refused: bool
) -> None:
    made = stand(perpetual=True)
    env = begun(made)
    for number in range(cycles):
        moved(made, 28_690.0 / made.exchange.price())
        posts = made.exchange.posts
        env.ask(0.5)
        if refused:  # it is passed in the moment between looking and placing
            made.exchange.refuses_triggers = True
            original, calls = made.exchange.price, [0]

            def falls(original: Any = original, calls: list[int] = calls) -> float:
                calls[0] += 1
                return float(original()) * (1.0 if not made.exchange.triggers_refused else 0.97)

            made.exchange.price = falls  # type: ignore[method-assign]
        else:
            moved(made, 0.97)
        env.wait()
        made.exchange.refuses_triggers = False
        exits = made.exchange.posts - posts - 1
        assert made.exchange.account.coins == 0.0 and made.agrees(), number
        assert exits == (2 if refused else 1) and resting(made) == {}  # refused: the stop that was tried, then one exit
        made.exchange.triggers_refused = 0
    assert made.counts()[1] == 0


def test_what_a_triggered_stop_has_filled_is_not_guessed(stand: Callable[..., Stand]) -> None:
    made = stand(perpetual=True)
    env = begun(made)
    go(env, 0.5)
    stop = next(intent for intent in env.executor.journal.undone() if intent.order.kind.value == "stop_loss")
    one = next(one for one in made.exchange.triggers.values() if one["orderType"] == "STOP_MARKET")
    one["algoStatus"] = "FINISHED"  # and it names no order
    with pytest.raises(UnknownStateError, match="was triggered, and what it has filled is not said"):
        env.broker.find(stop.order.client_id, stop.order.kind)
    assert "fate unknown" in env.ask(0.0).objection


def test_on_spot_one_resting_exit_locks_the_coins_and_gives_way(stand: Callable[..., Stand]) -> None:
    made = stand()
    with pytest.raises(ValueError, match="one resting order alone"):
        begun(made)
    env = begun(made, RiskLimits(stop_loss=0.02))
    go(env, 0.5)
    stops = [one for one in made.exchange.orders.values() if one["type"] == "STOP_LOSS"]
    assert [one["status"] for one in stops] == ["NEW"]
    assert float(stops[0]["stopPrice"]) == pytest.approx(28_690.0 * 1.0001 * 0.98, abs=0.02)
    go(env, 0.0)
    assert stops[0]["status"] == "CANCELED" and made.exchange.account.coins == pytest.approx(0.0, abs=1e-9)
    assert made.agrees() and env.executor.reconciled


def test_funding_is_what_the_venue_charged_once(stand: Callable[..., Stand]) -> None:
    made = stand(perpetual=True)
    made.clock.sleep((3_600_000 - made.clock() % 3_600_000) / 1000.0 - 150.0)  # shortly before a full hour
    env = begun(made, RiskLimits())
    paid = 0.0
    for number in range(8):
        if number in (3, 5):  # at the hour; and one more that the venue charges minutes later
            paid += made.exchange.charge_funding(0.0003)
        go(env, 0.5)
        assert made.agrees(), number
    assert len(made.exchange.income) == 2 and paid > 2.0
    assert env.account[FUNDING_PAID] == pytest.approx(paid, rel=1e-6)
    env = made.begin()  # what was charged before a start is in the venue's cash already
    env.reset()
    go(env, 0.5)
    assert made.agrees() and env.account[FUNDING_PAID] == 0.0
    made.exchange.state_fault = lambda what: "503" if what.endswith("income") else None
    paid = made.exchange.charge_funding(0.0003)
    go(env, 0.5)
    assert env.account[FUNDING_PAID] == 0.0  # it cannot be asked for now, and is booked when it can
    made.exchange.state_fault = lambda what: None
    go(env, 0.5)
    assert env.account[FUNDING_PAID] == pytest.approx(paid, rel=1e-6) and made.agrees()
