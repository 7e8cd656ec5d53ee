"""Each check of a signal, a limit, a breaker or the state of things: an order without it, none with it."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptoenv.live.broker import (
    Order,
    OrderDoubtError,
    OrderKind,
    OrderPhase,
    OrderRefusedError,
    OrderReport,
    UnknownStateError,
)
from cryptoenv.live.deployment import Stage
from cryptoenv.live.environment import CryptoLiveEnv
from cryptoenv.live.execution import Execution
from cryptoenv.live.executor import Executor, Patience, Policies
from cryptoenv.live.journal import DOUBT, Journal, JournalError
from cryptoenv.live.kill_switch import KillSwitch
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from cryptoenv.trading.account import EQUITY, QUANTITY
from tests.cryptoenv.live.conftest import OPEN, STEP

Paper = Callable[..., CryptoLiveEnv]
GOOD = (0.1, 0.2, 0.7)


def limited(**limits: Any) -> Policies:
    return replace(OPEN, limits=replace(OPEN.limits, **limits))


def sane(**limits: Any) -> Policies:
    return replace(OPEN, sanity=replace(OPEN.sanity, **limits))


def first_order(env: CryptoLiveEnv, target: float = 1.0, confidence: float = 1.0, **about: Any) -> Execution:
    env.reset()
    return env.ask(target, confidence, **about)


@pytest.mark.parametrize(
    ("without", "with_it", "asked", "words"),
    [
        (OPEN, sane(highest=0.5), {"target": 1.0}, "seen in validation"),
        (sane(sum_error=1.0), OPEN, {"target": 1.0, "probabilities": (0.5, 0.2, 0.2)}, "add up to 0.9"),
        (sane(strain=1.0), OPEN, {"target": 1.0, "strain": 0.75}, "75% of the features"),
        (sane(age_bars=9.0), OPEN, {"target": 1.0, "decided_ms": -3 * STEP}, "it was decided 2700 s ago"),
        (OPEN, limited(exposure=0.5), {"target": 1.0}, "exposure would be 1.000"),
        (OPEN, limited(order_value=5_000.0), {"target": 1.0}, "the order is worth 10000.00"),
    ],
)  # fmt: skip
def test_a_limit_stops_an_order_that_goes_out_without_it(
    paper: Paper, tmp_path: Path, without: Policies, with_it: Policies, asked: dict[str, Any], words: str
) -> None:
    for policies in (without, with_it):
        env = paper(policies)
        given = dict(asked)
        if "decided_ms" in given:
            given["decided_ms"] += env.close_time
        done = first_order(env, **given)
        env.wait()
        sent, held = env.executor.journal.counts(), env.account[QUANTITY]
        if policies is without:
            assert done.objection == "" and sent == {"filled": 1} and held > 0.0
        else:
            assert words in done.objection and sent == {} and held == 0.0
            assert [what for _, what, _ in env.executor.journal.events()].count("alarm") == 1
        env.executor.journal.close()
        for file in (tmp_path / "state").iterdir():
            file.unlink()


@pytest.mark.parametrize(
    "asked",
    [
        {"target": math.nan}, {"target": math.inf}, {"target": 1.0, "confidence": math.nan},
        {"target": 1.0, "confidence": 1.5}, {"target": 1.0, "probabilities": (math.nan, 0.5, 0.5)},
        {"target": 1.0, "probabilities": (-0.5, 0.5, 1.0)}, {"target": 1.0, "strain": math.nan},
        {"target": 1.0, "decided_ms": 2**45},
    ],
)  # fmt: skip
def test_what_is_no_number_or_from_the_future_is_no_order(paper: Paper, asked: dict[str, Any]) -> None:
    env = paper()
    assert first_order(env, **asked).objection
    assert env.wait()[-1]["equity"] == 10_000.0
    assert env.ask(1.0, probabilities=GOOD).objection == ""  # the same environment trades on


@pytest.mark.parametrize("name", ["probabilities", "prediction"])
def test_a_frozen_model_is_no_order(paper: Paper, name: str) -> None:
    said: dict[str, list[Any]] = {"probabilities": [GOOD, (0.2, 0.2, 0.6)], "prediction": [b"one", b"two"]}
    env = paper(sane(constant_bars=3))
    env.reset()
    objections = []
    for number in range(6):
        objections.append(env.ask(1.0 if number % 2 else -1.0, **{name: said[name][number > 3]}).objection)
        env.wait()
    assert [bool(words) for words in objections] == [False, False, True, True, False, False]
    assert "frozen" in objections[2]


@pytest.mark.parametrize("allowed", [None, 2])
def test_too_many_orders_an_hour_are_no_order(paper: Paper, allowed: int | None) -> None:
    env = paper(limited(orders_per_hour=allowed))
    env.reset()
    held = []
    for number in range(10):  # four bars an hour
        held.append(bool(env.ask(1.0 if number % 2 else -1.0).objection))
        env.wait()
    filled = env.executor.journal.counts()["filled"]
    if allowed is None:
        assert not any(held) and filled == 10
    else:
        assert held[:3] == [False, False, True] and not all(held[3:])  # (at the fourth bar nothing is due)
        assert filled <= 6


@pytest.mark.parametrize(("limits", "name"), [({"daily_loss": 0.01}, "daily_loss"), ({"drawdown": 0.02}, "drawdown")])
def test_a_breaker_trips_latches_and_outlives_a_restart(
    paper: Paper, tmp_path: Path, limits: dict[str, float], name: str
) -> None:
    env = paper(limited(**limits))
    env.reset()
    env.ask(1.0)
    env.wait()
    env.account[EQUITY] *= 0.97  # the account as a loss would leave it
    env.executor.see(env.executor._seen._replace(account=env.account))  # type: ignore[union-attr]
    assert env.executor._breakers.tripped(env.account, env.close_time) is not None
    without = Executor(env.broker, Journal(tmp_path, durable=False), KillSwitch(tmp_path), STEP, OPEN)
    without.reconciled = True
    without.see(env.executor._seen)  # type: ignore[arg-type]
    assert without.execute_signal(-1.0).objection == ""  # who has no such breaker trades on in the same account
    without.settle_all()
    assert name in env.ask(-1.0).objection
    env.wait()
    assert env.ask(-1.0).objection.startswith("breaker")  # the account is well again: the breaker stays
    assert env.executor.journal.counts() == {"filled": 1}
    again = Executor(env.broker, env.executor.journal, KillSwitch(env.executor.switch.path.parent), STEP, OPEN)
    again.reconciled = True
    assert env.executor._seen is not None
    again.see(env.executor._seen)
    assert again.execute_signal(-1.0).objection.startswith("breaker")
    env.executor.journal.release()
    assert again.execute_signal(-1.0).objection == ""


@pytest.mark.parametrize("column", [EQUITY, QUANTITY, 2])
def test_an_account_that_is_no_number_trips(paper: Paper, column: int) -> None:
    env = paper()
    env.reset()
    env.account[column] = math.nan
    assert env.ask(1.0).objection.startswith("breaker")
    assert env.executor.journal.counts() == {}


def test_a_breaker_that_cannot_be_computed_trips(paper: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    env = paper()
    env.reset()
    monkeypatch.setattr(env.executor._breakers, "_tripped", lambda *_: 1 / 0)
    assert "ZeroDivisionError" in env.ask(1.0).objection
    assert "calculation" in env.executor.journal.latched()


def test_flatten_closes_and_only_closes(paper: Paper) -> None:
    env = paper(limited(flatten=True))
    env.reset()
    env.ask(1.0)
    env.wait()
    env.executor.journal.latch("drawdown", "planted")
    closing = env.ask(1.0)
    assert closing.target == 0.0 and closing.client_id and closing.objection
    env.wait()
    assert env.account[QUANTITY] == 0.0
    assert env.ask(1.0).client_id == ""


def test_the_kill_switch_by_file_command_and_signal(paper: Paper) -> None:
    env = paper()
    env.reset()
    switch = env.executor.switch
    switch.path.mkdir()  # whatever is there halts
    assert "HALT" in env.ask(1.0).objection
    env.wait()
    switch.path.rmdir()
    assert env.ask(1.0).objection == ""
    env.wait()
    switch.halt("by hand")
    assert "by hand" in env.ask(-1.0).objection
    env.wait()
    assert "by hand" in (KillSwitch(switch.path.parent).reason or "")  # of another process
    switch.lift()
    with switch.on_signals():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert env.ask(-1.0).objection == "signal SIGUSR1"
    env.wait()
    assert env.executor.journal.counts() == {"filled": 1}


def test_nothing_is_traded_unreconciled(paper: Paper) -> None:
    env = paper()
    with pytest.raises(RuntimeError, match="call reset"):
        env.ask(1.0)
    env.reset()
    env.executor.reconciled = False
    assert "not reconciled" in env.ask(1.0).objection
    env.wait()
    env.executor.reconciled = True
    assert env.ask(1.0).objection == ""


class ClockBroker(PaperBroker):
    """On paper, with a clock of its own."""

    skew = 60_000

    def now_ms(self) -> int | None:
        import time

        return int(1000 * time.time()) - self.skew


def test_clocks_that_differ_are_no_order(paper: Paper) -> None:
    env = paper()
    env.reset()
    env.executor.broker = ClockBroker()
    assert "differs from the venue's by +60.0 s" in env.ask(1.0).objection
    env.wait()
    ClockBroker.skew = 100
    assert env.ask(1.0).objection == ""


@pytest.mark.parametrize("why", ["is locked", "disk is full"])
def test_a_journal_that_takes_nothing_is_no_order(paper: Paper, why: str) -> None:
    env = paper()
    env.reset()
    file, other = env.executor.journal._file, sqlite3.connect(env.executor.journal.path, isolation_level=None)
    if why == "is locked":
        other.execute("BEGIN IMMEDIATE")  # another process that writes and does not end
    else:
        file.execute("PRAGMA max_page_count = 1")  # not one page more than there are
        names, values = "quantity, kind, target, confidence, state", "0, '', 0, 0, 'done'"
        row = f"(client_id, at_ms, bar_ms, {names}) VALUES (?, 0, 0, {values})"
        with pytest.raises(sqlite3.OperationalError, match="full"):
            for number in range(1_000):
                file.execute(f"INSERT INTO intents {row}", (f"{number}",))
    placed: list[Order] = []
    env.broker.place = lambda order: placed.append(order)  # type: ignore[assignment,return-value,method-assign]
    file.execute("PRAGMA busy_timeout = 1")
    objection = env.ask(1.0).objection
    assert "the journal takes nothing" in objection and why in objection
    assert placed == []
    if why == "is locked":
        with pytest.raises(JournalError):
            env.wait()
        other.execute("ROLLBACK")
        env.reset()
    else:
        file.execute("PRAGMA max_page_count = 100000")
        env.wait()
    del env.broker.place  # type: ignore[method-assign]
    assert env.ask(1.0).objection == ""


class FaultyBroker(PaperBroker):
    """On paper, with a venue that loses answers."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.arrives_after = 0, 0
        self.finds, self.refuses, self.answers = 0, False, True

    def place(self, order: Order) -> OrderReport:
        self.places += 1
        if self.refuses:
            raise OrderRefusedError("smaller than the venue takes")
        super().place(order)
        raise OrderDoubtError("the answer did not come")

    def find(self, client_id: str, kind: OrderKind = OrderKind.MARKET) -> OrderReport:
        self.finds += 1
        if not self.answers:
            raise UnknownStateError("no plain answer")
        if self.finds <= self.arrives_after:
            return OrderReport(client_id, "", OrderPhase.ABSENT, 0.0)
        return super().find(client_id)


def faulty(tmp_path: Path, **set_to: Any) -> tuple[Executor, FaultyBroker, CryptoLiveEnv]:
    from cryptoenv.live.feed import ReplayFeed
    from tests.cryptoenv.live.conftest import BASE, executor_of
    from tests.naive.random_bars import random_bars

    feed, broker = ReplayFeed(random_bars(4.5, seed=3), BASE, 300), FaultyBroker()
    policies = replace(OPEN, patience=Patience(settle=1.0, first=0.5))
    executor = executor_of(tmp_path / "state", broker, feed, policies, sleep=lambda seconds: None)
    env = CryptoLiveEnv(broker, feed, executor, timeframes=(BASE,), window=(4,), observation="index")
    env.reset()
    for name, value in set_to.items():
        setattr(broker, name, value)
    return executor, broker, env


def test_doubt_is_resolved_by_client_id_and_never_by_sending_again(tmp_path: Path) -> None:
    executor, broker, env = faulty(tmp_path)
    done = env.ask(1.0)
    assert done.client_id and executor.journal.undone()[0].state == DOUBT
    assert executor.execute_signal(-1.0).objection == ""  # the first was taken back before the second went out
    assert broker.places == 2
    assert executor.journal.intent(done.client_id).report.phase is OrderPhase.CANCELED  # type: ignore[union-attr]


def test_while_nothing_plain_is_heard_nothing_is_sent(tmp_path: Path) -> None:
    executor, broker, env = faulty(tmp_path, answers=False)
    env.ask(1.0)
    for _ in range(5):
        assert "fate unknown" in executor.execute_signal(-1.0).objection
    assert broker.places == 1


def test_an_order_that_arrives_late_is_found(tmp_path: Path) -> None:
    executor, broker, env = faulty(tmp_path, arrives_after=2)
    first = env.ask(1.0)
    executor.settle_all()
    assert broker.places == 1
    assert executor.journal.intent(first.client_id).report.phase is OrderPhase.CANCELED  # type: ignore[union-attr]


def test_a_refusal_is_written_down_and_not_tried_again(tmp_path: Path) -> None:
    executor, broker, env = faulty(tmp_path, refuses=True)
    assert "smaller than the venue takes" in env.ask(1.0).objection
    assert broker.places == 1 and not executor.journal.undone()
    env.wait()
    assert env.account[QUANTITY] == 0.0


def test_capital_grows_by_schedule_and_only_after_a_record(paper: Paper) -> None:
    stages = (Stage(0.1, days=0.1, orders=2, loss=0.5), Stage(0.5, days=0.1, orders=1, loss=0.5), Stage(1.0))
    env = paper(replace(OPEN, stages=stages))
    env.reset()
    exposures = []
    for number in range(60):
        env.ask(1.0 if number // 4 % 2 else -1.0) if number > 12 else env.ask(0.0)
        _, _, _, _, info = env.wait()
        exposures.append(abs(info["exposure"]))
    assert max(exposures[:16]) < 0.12  # time alone does not do: nothing had been traded
    assert 0.4 < max(exposures[:25]) < 0.6
    assert max(exposures) > 0.9
    env.executor.journal.latch("drawdown", "planted")
    env.executor._deployment.fall_back(0, 1.0)
    assert env.executor._deployment.fraction == 0.1


def test_the_policy_sees_its_own_target_whatever_the_share(paper: Paper) -> None:
    env = paper(replace(OPEN, stages=(Stage(0.1), Stage(1.0))))
    env.reset()
    observation, _, _, _, info = env.step(2)
    assert observation["account"][1] == 1.0 and info["exposure"] == pytest.approx(0.1, abs=0.01)


def test_size_by_confidence(paper: Paper) -> None:
    env = paper(replace(OPEN, sized=True))
    env.reset()
    env.ask(1.0, 0.25)
    assert env.wait()[-1]["exposure"] == pytest.approx(0.25, abs=0.02)


def test_limits_are_checked_when_they_are_made() -> None:
    for made in (
        lambda: TradeLimits(daily_loss=0.0), lambda: TradeLimits(exposure=math.nan), lambda: SanityLimits(strain=2.0),
        lambda: Stage(0.0), lambda: TradeLimits(flatten=1),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            made()


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.tell("format", "99")
    journal.close()
    with pytest.raises(JournalError, match="format 99"):
        Journal(tmp_path)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match="not a database"):
        Journal(tmp_path)


def test_the_journal_keeps_accounts_and_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptoenv.live.journal.BOOKS_KEPT", 5)
    journal = Journal(tmp_path, durable=False)
    account = np.random.default_rng(0).standard_normal(36)
    for bar in range(20):
        journal.keep_book(bar, account + bar, 100.0 - bar)
    found = journal.last_book()
    assert found is not None and found[0] == 19 and found[1].tobytes() == (account + 19).tobytes()
    assert journal.told("peak_equity") == "100.0"
    assert journal._rows("SELECT COUNT(*) FROM books") == [(6,)]
