"""Agents and signals trade on paper as they are backtested; the command, its journal and halts; no key in a log."""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from agents.command_line import main
from agents.evaluation.backtest.backtesting import backtest
from agents.evaluation.backtest.deciders import agent_desk, agent_targets
from agents.evaluation.charges import with_impact
from agents.live import desk
from agents.live.deciders import AgentDecider, SignalDecider
from agents.live.desk import Named, live_environment, own_folder
from agents.live.trading_loop import Traded, TradingLoop
from agents.live.venues import account_keys, one_instance
from agents.live.watching import Watched
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.reports.records.live_record import live_record
from agents.settings import TradingSettings
from cryptoenv.files.folder_lock import FolderLockedError
from cryptoenv.files.json_log import json_log
from cryptoenv.live.broker import BrokerError
from cryptoenv.live.executor import Policies
from cryptoenv.live.feed import FeedError, ReplayFeed
from cryptoenv.live.journal import Journal
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.safeguards import SanityLimits, TradeLimits
from pretrain import Extractor
from tests.naive.random_bars import random_bars

LOOSE = Policies(
    SanityLimits(constant_bars=None), TradeLimits(exposure=9.0, orders_per_hour=None, daily_loss=None, drawdown=None)
)


def test_an_agent_trades_on_paper_as_it_is_backtested(
    extractor: Extractor, labelled: tuple[ExpertMarket, ...], tmp_path: Path
) -> None:
    settings = with_impact(TradingSettings())
    market = labelled[0].market
    shape = PolicyShape(extractor.embed(market).shape[1], 3)
    policy = new_policy(shape, 3)
    torch.manual_seed(3)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.normal_(0.0, 3.0)  # an opinion about every bar
    agent = Agent(extractor, policy, shape, settings)
    told = backtest(market, agent_targets(agent, market), agent_desk(settings), first=labelled[0].first)
    bars, steps = market.bars, 60
    assert len(set(told.targets[:steps].tolist())) > 1
    decider = AgentDecider(agent)
    feed = ReplayFeed(bars, "15m", labelled[0].first + 1)
    tmp_path.joinpath("state").mkdir()
    env = live_environment(
        Named("agent", decider, settings), PaperBroker(), feed, tmp_path / "state", LOOSE, cash=10_000.0, durable=False
    )
    traded = TradingLoop(env, decider).run(steps)
    np.testing.assert_array_equal([equity for _, equity, _ in traded.equity], told.equity[: steps + 1])
    assert not traded.held and traded.bars == steps


def test_a_continuous_agent_says_what_it_has_read(extractor: Extractor) -> None:
    """Its target may stand for long: whether the model is frozen is seen by its embeddings, whatever the account."""
    settings = replace(TradingSettings(), continuous=True)
    shape = PolicyShape(extractor.width, 1)
    policy = new_policy(shape, 3, "gaussian", settings)
    decider = AgentDecider(Agent(extractor, policy, shape, settings, head="gaussian"))
    row = pd.Series(np.linspace(-1.0, 1.0, extractor.width + 1, dtype=np.float32))
    said = [decider.decide_from(change * row, np.full(5, held, np.float32)).prediction
            for change, held in ((1.0, 0.0), (1.0, 0.5), (0.9, 0.0))]  # fmt: skip
    assert said[0] is not None and said[0] == said[1] != said[2]


def signals_file(folder: Path, bars: pd.DataFrame) -> Path:
    times = bars.index[150::7] + pd.Timedelta("1h")
    table = pd.DataFrame({"time": times, "target": np.arange(len(times)) % 2, "confidence": 0.5})
    table.to_csv(folder / "signals.csv", index=False)
    return folder / "signals.csv"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bars = random_bars(15, seed=4, timeframe="1h")
    bars.to_csv("bars.csv")
    signals_file(tmp_path, bars)
    return tmp_path


TRADE = ["trade", "--signals", "signals.csv", "--paper", "--replay", "bars.csv", "--timeframe", "1h"]


@pytest.mark.parametrize("orders", [[], ["--limit", "0.001", "--limit-bars", "2", "--limit-fee", "0.0002"]])
def test_the_command_trades_halts_resumes_and_goes_on(
    files: Path, capsys: pytest.CaptureFixture[str], orders: list[str]
) -> None:
    trade = [*TRADE, *orders]
    assert main([*trade, "--state", "a"]) == 0
    whole = capsys.readouterr().out
    assert "stopped: the bars are at their end" in whole
    assert main([*trade, "--state", "b", "--times", "175"]) == 0
    assert "175 bars, as asked" in capsys.readouterr().out
    assert main(["trade", "status", "b"]) == 0
    assert "not halted by hand" in capsys.readouterr().out
    assert main(["trade", "halt", "b", "--reason", "looking"]) == 0
    assert main([*trade, "--state", "b"]) == 0
    assert "0 bars, 0 orders" in capsys.readouterr().out
    assert main(["trade", "status", "b"]) == 0 and "looking" in capsys.readouterr().out
    assert main(["trade", "reconcile", "b"]) == 0
    assert main(["trade", "resume", "b"]) == 0
    assert main([*trade, "--state", "b"]) == 0
    books = []
    for name in ("a", "b"):
        journal = Journal(Path(name))
        kept = journal.last_book()
        assert kept is not None
        bars = journal._rows("SELECT bar_ms, equity FROM books ORDER BY bar_ms")
        books.append((kept[0], kept[1].tobytes(), bars))
        journal.close()
    assert books[0] == books[1]  # in two parts, with a halt between: the same account at every bar, bit for bit
    kinds = {kind for (kind,) in Journal(Path("a"))._rows("SELECT kind FROM intents WHERE filled > 0")}
    assert kinds == ({"limit", "market"} if orders else {"market"})
    lines = [json.loads(line) for line in Path("a/log.jsonl").read_text("utf-8").splitlines()]
    assert lines and {"time", "level", "logger", "run", "message"} <= set(lines[0])
    assert Path("a/trade.png").is_file()
    assert not orders or main(["report", "a", "--format", "json", "--out", "report.json"]) == 0
    record = live_record(Path("a"))
    figures, track = record.metrics, record.tracks[0]
    np.testing.assert_array_equal(track.own, [equity for _, equity in books[0][2]])
    assert figures["fills"] > 10 and track.costs is not None
    assert 2.0 <= figures["fees_bp"] < 10.0 if orders else figures["fees_bp"] == pytest.approx(10.0)
    assert (abs(figures["slippage_against_model_bp"]) < 1e-9) == (not orders)  # on paper market orders are the model's
    assert "against_model_bp" in next(iter(record.listings.values()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trade", "--signals", "signals.csv", "--replay", "bars.csv"], "--paper or --live"),
        ([*TRADE, "--live"], "--paper or --live"),
        (["trade", "--signals", "signals.csv", "--live", "--replay", "bars.csv"], "nothing can be bought in the past"),
        (["trade", "--signals", "signals.csv", "--paper"], "say where bars come from"),
        (["trade", "--paper", "--replay", "bars.csv"], "say what decides"),
        (["trade", "--signals", "signals.csv", "--paper", "--exchange", "binance"], "--exchange needs --symbol"),
        (["trade", "--signals", "signals.csv", "--live", "--exchange", "binance", "--symbol", "BTC/USDT"], "no keys"),
        (["trade", "status", "nowhere"], "nowhere"),
        (["trade", "halt", "."], "holds no journal"),
        ([*TRADE, "--limit", "0.6"], "offset=0.6"),
        ([*TRADE, "--limit", "0", "--limit-bars", "0.5"], "on paper a bar is one piece"),
        ([*TRADE, "--limit", "0", "--limit-rest", "hope"], "market or nothing"),
        (["trade", "run", "--paper", "--replay", "bars.csv"], "run"),
        ([*TRADE, "--state", "bars.csv"], "is no folder"),
        ([*TRADE, "--state", "."], "holds something else"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_and_trades_nothing(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.delenv("BINANCE_API_KEY", raising=False)
    before = sorted(path.name for path in files.iterdir())
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.strip().splitlines()) == 1
    assert sorted(path.name for path in files.iterdir()) == before


def test_a_replay_goes_on_where_the_journal_stands_or_says_why_not(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = pd.read_csv("bars.csv", index_col=0)

    def traded(rows: slice, code: int = 0, state: str = "s") -> str:
        bars.iloc[rows].to_csv("bars.csv")
        assert main([*TRADE, "--state", state]) == code
        return str(capsys.readouterr()[1 if code else 0])

    assert "none is left" in traded(slice(0, 2), 2, "none") and not Path("none").exists()
    assert "at their end" in traded(slice(0, 30))
    assert "the replay's last: nothing is left to trade" in traded(slice(0, 30), 2)
    assert "none of the replay's" in traded(slice(0, 25), 2)
    assert "none of the replay's" in traded(slice(40, 60), 2)
    assert "too little before it" in traded(slice(29, 60), 2)
    assert "10 bars, 0 orders" in traded(slice(0, 40))


def test_a_signal_while_a_model_loads_halts_and_lasts(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = desk.named_decider

    def slow(*arguments: Any, **named: Any) -> Named:
        os.kill(os.getpid(), signal.SIGUSR1)
        return loads(*arguments, **named)

    monkeypatch.setattr(desk, "named_decider", slow)
    assert main([*TRADE, "--state", "s"]) == 0
    assert "0 bars, 0 orders" in capsys.readouterr().out and "SIGUSR1" in Path("s/HALT").read_text("utf-8")
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.SIGUSR1 not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_second_instance_and_another_account_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTOENV_STATE", str(tmp_path))
    with own_folder(tmp_path / "s", {"broker": "paper"}), pytest.raises(FolderLockedError):
        own_folder(tmp_path / "s", {"broker": "paper"}).__enter__()
    with own_folder(tmp_path / "s", {"broker": "kraken"}):  # nothing was traded: the folder is nobody's yet
        Journal(tmp_path / "s").close()
    with pytest.raises(FileExistsError, match="another account"), own_folder(tmp_path / "s", {"broker": "binance"}):
        pass
    with one_instance("abc"):
        with pytest.raises(BrokerError, match="this account"), one_instance("abc"):
            pass
        with one_instance("other"):
            pass


def test_keys_come_of_the_environment_or_of_a_file_that_nobody_else_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"apiKey": "k", "secret": "s"}))
    file.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        account_keys("binance", file)
    file.chmod(0o600)
    assert account_keys("binance", file) == {"apiKey": "k", "secret": "s"}
    monkeypatch.setenv("KRAKEN_API_KEY", "a")
    monkeypatch.setenv("KRAKEN_API_SECRET", "b")
    assert account_keys("kraken", None) == {"apiKey": "a", "secret": "b"}
    file.write_text(json.dumps({"apiKey": "k", "url": "s"}))
    with pytest.raises(ValueError, match="must hold"):
        account_keys("binance", file)


def test_logs_are_json_and_hold_no_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    canary = "canary-7f3a9c"
    with json_log("debug", "run-1", secrets=[canary], file=tmp_path / "log.jsonl"):
        for name in ("cryptoenv.live", "agents", "pretrain.fitting", "synthetic", "ccxt.base"):
            logging.getLogger(name).warning("key %s and signature=abcdef0123&x=1 and apiKey: %s", canary, canary)
        try:
            raise ValueError(f"GET https://host/order?apiKey={canary}&signature=00ff")
        except ValueError:
            logging.getLogger("cryptoenv.live").exception("lost")
        logging.getLogger("ccxt.base").debug("X-MBX-APIKEY: something")
    text = (tmp_path / "log.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert len(lines) == 6 and {line["run"] for line in lines} == {"run-1"}
    assert canary not in text and "abcdef0123" not in text and "00ff" not in text and "something" not in text
    assert "ValueError" in lines[-1]["exception"]
    logging.getLogger("cryptoenv.live").debug("afterwards nothing is written")
    assert (tmp_path / "log.jsonl").read_text("utf-8") == text
    with pytest.raises(ValueError, match="choose one of"), json_log("loud"):
        pass


def test_any_command_logs_by_its_level(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bars = pd.read_csv("bars.csv").iloc[:160]
    bars.to_csv("few.csv", index=False)
    few = [*TRADE[:4], "--replay", "few.csv", "--timeframe", "1h"]
    assert main(["--log-level", "loud", *few, "--state", "x"]) == 2 and not Path("x").exists()
    assert "choose one of" in capsys.readouterr().err
    assert main(["--log-level", "info", *few, "--state", "y"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert lines and lines[-1]["message"].startswith("stopped: ") and lines[-1]["level"] == "info"
    assert not logging.getLogger("agents").handlers


class OutageFeed(ReplayFeed):
    """A replay whose exchange is down for a while."""

    fails = 0

    def next_bars(self, after_ms: int) -> Any:
        if self.fails:
            self.fails -= 1
            raise FeedError("the exchange is down")
        return super().next_bars(after_ms)


def test_the_loop_outlives_an_outage_without_orders(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = random_bars(15, seed=4, timeframe="1h")
    decider = SignalDecider(pd.read_csv("signals.csv"), "1h")
    feed, broker = OutageFeed(bars, "1h", 160), PaperBroker()
    (files / "state").mkdir()
    settings = TradingSettings(("1h",), (2,), "spot", (0.0, 1.0), continuous=True)
    named = Named("signals", decider, settings)
    env = live_environment(named, broker, feed, files / "state", LOOSE, cash=10_000.0, durable=False)
    feed.fails = 30
    tried: list[int] = []
    monkeypatch.setattr(env.executor, "take_back", lambda: tried.append(feed.fails) or [])
    slept: list[float] = []
    seen: list[Watched] = []
    broken: list[Watched] = []

    def fails(event: Watched) -> None:
        broken.append(event)
        raise RuntimeError("the screen is gone")

    traded = TradingLoop(env, decider, sleep=slept.append, watchers=(fails, seen.append)).run(40)
    assert len(broken) == 1  # a watcher that fails is left out, and trading goes on
    assert [sum(event.what == what for event in seen) for what in ("bar", "outage", "stopped")] == [41, 30, 1]
    told = [event for event in seen if event.what == "bar"]
    assert [event.book.equity for event in told] == [equity for _, equity, _ in traded.equity]
    fills = [(event.bar_time, fill.price, fill.quantity) for event in told for fill in event.fills]
    assert fills == list(traded.fills) and len(fills) > 3
    assert seen[-1].words == traded.stopped and seen[-1].health.outages == 30 and told[1].bar is not None
    assert traded.outages == 30 == len(slept) == len(tried) and max(slept) == 60.0  # cancels are tried each time
    assert traded.bars == 40 and sum(env.executor.journal.counts().values()) == traded.orders


def test_a_decider_that_fails_asks_for_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = random_bars(15, seed=4, timeframe="1h")
    decider = SignalDecider(pd.read_csv("signals.csv"), "1h")
    monkeypatch.setattr(decider, "decide", lambda account: 1 / 0)
    (files / "state").mkdir()
    settings = replace(TradingSettings(("1h",), (2,), "spot", (0.0, 1.0)), continuous=True)
    feed = ReplayFeed(bars, "1h", 160)
    env = live_environment(Named("x", decider, settings), PaperBroker(), feed, files / "state", LOOSE, cash=1e4)
    traded = TradingLoop(env, decider).run(10)
    assert traded.orders == 0 and sum(traded.held.values()) == 10 and traded.last_equity == 10_000.0


def test_a_loop_that_stays_watches_while_halted_and_trades_again_after(files: Path) -> None:
    bars = random_bars(15, seed=4, timeframe="1h")
    decider = SignalDecider(pd.read_csv("signals.csv"), "1h")
    (files / "state").mkdir()
    settings = TradingSettings(("1h",), (2,), "spot", (0.0, 1.0), continuous=True)
    feed = ReplayFeed(bars, "1h", 160)
    env = live_environment(Named("x", decider, settings), PaperBroker(), feed, files / "state", LOOSE, cash=1e4)
    switch, seen = env.executor.switch, list[Watched]()

    def watch(event: Watched) -> None:
        seen.append(event)
        if event.bars == 20 and event.what == "bar":
            switch.halt("to look at it")
        if event.bars == 60 and event.what == "bar":
            switch.lift()

    traded = TradingLoop(env, decider, watchers=(watch,), stays=True).run(100)
    assert traded.bars == 100 and traded.stopped == "100 bars, as asked"
    filled = [event.bars for event in seen if event.fills]
    assert not [at for at in filled if 20 < at <= 60] and min(filled) < 20 and max(filled) > 60
    assert sum(traded.held.values()) == 40 and seen[30].health.halted.endswith("to look at it")
    fills = [fill for event in seen for fill in event.fills]
    assert fills and all(fill.modelled == fill.slippage > 0.0 for fill in fills)  # on paper they are one
    assert env.executor.journal.equities(5)[-1] == (seen[-1].bar_time, seen[-1].book.equity)
    orders = env.executor.journal.last_intents(3)
    assert len(orders) == 3 and [one.order.client_id for _, one in orders] == sorted(
        one.order.client_id for _, one in orders
    )


def test_reasons_that_differ_in_numbers_are_one_and_their_number_is_bounded() -> None:
    traded = Traded()
    for number in range(200):
        traded.hold(f"order cebf21fe8bx{number:08d}: fate unknown: no answer within {number} s")
        traded.hold(f"exposure would be {1.0 + number / 100:.3f}, allowed is 1")
    assert traded.held == {"order #: fate unknown": 200, "exposure would be #, allowed is #": 200}
    for number in range(200):
        traded.hold("reason " + "a" * number)
    assert len(traded.held) == 51 and sum(traded.held.values()) == 600
