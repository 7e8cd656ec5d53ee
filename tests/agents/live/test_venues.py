"""`cryptoenv trade --live` by the real client on a loopback exchange: asked first, no key anywhere, one instance."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from agents.command_line import main
from agents.live import venues
from agents.live.venues import one_instance
from cryptoenv.live import ccxt_broker
from cryptoenv.live.ccxt_feed import CcxtFeed
from tests.loopback.clock import Clock
from tests.loopback.exchange import Market
from tests.loopback.trading_exchange import KEY, SECRET, TradingExchange

LIVE = [
    "trade", "--signals", "signals.csv", "--timeframe", "1m", "--live", "--exchange", "binance", "--symbol", "BTC/USDT",
    "--keys", "keys.json", "--state", "st", "--times", "3",
]  # fmt: skip


@pytest.fixture
def exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TradingExchange]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYPTOENV_STATE", str(tmp_path / "locks"))
    clock = Clock()
    clock.now = int(time.time() * 1000)
    with TradingExchange(Market(now=clock), limits_rate=False) as made:
        monkeypatch.setattr(ccxt_broker, "new_client", lambda *_, **__: made.client(streams=True))
        monkeypatch.setattr(venues, "CcxtFeed", partial(CcxtFeed, streams=False, clock=clock, sleep=clock.sleep))
        times = pd.date_range(pd.Timestamp(clock.now, unit="ms", tz="UTC").floor("1min") - pd.Timedelta("5min"),
                              periods=20, freq="1min")  # fmt: skip
        pd.DataFrame({"time": times, "target": [0.5, 0.0] * 10}).to_csv("signals.csv", index=False)
        Path("keys.json").write_text(json.dumps({"apiKey": KEY, "secret": SECRET}))
        Path("keys.json").chmod(0o600)
        yield made


def test_nothing_is_sent_before_somebody_says_so(
    exchange: TradingExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(LIVE) == 2
    told = capsys.readouterr()
    assert "FOR REAL" in told.out and "10,000.00 of quote currency" in told.out and '"daily_loss": 0.1' in told.out
    assert "orders: at the market; resting at the venue: no stop" in told.out
    assert "the symbol was not typed" in told.err and exchange.posts == 0


def test_it_trades_and_no_key_is_seen_anywhere(
    exchange: TradingExchange, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exchange.order_fault = lambda number: "503" if number == 1 else None
    assert main(["--log-level", "debug", *LIVE, "--yes"]) == 0
    told = capsys.readouterr()
    assert 2 <= exchange.posts == len(exchange.orders)  # one of the replies was lost
    assert main(["trade", "reconcile", "st", "--keys", "keys.json"]) == 0
    again = capsys.readouterr()
    assert "they agree" in again.out
    exchange.down = True
    assert main([*LIVE, "--yes"]) == 2
    broken = capsys.readouterr()
    assert "binance cannot be reached" in broken.err
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "keys.json"]
    assert {"journal.sqlite", "log.jsonl"} <= {path.name for path in files}
    texts = [told.out, told.err, again.out, again.err, broken.out, broken.err]
    texts += [path.read_bytes().decode("latin-1") for path in files]
    for secret in (KEY, SECRET):
        assert not [text for text in texts if secret in text]
    assert not [text for text in texts if "signature=" in text.replace("signature=***", "")]


def test_a_second_instance_of_the_account_is_refused(
    exchange: TradingExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    broker = ccxt_broker.CcxtBroker("binance", "BTC/USDT", keys={"apiKey": KEY, "secret": SECRET})
    with one_instance(broker.account_id):
        assert main([*LIVE, "--yes", "--state", "elsewhere"]) == 2
    broker.close()
    assert "this account is being written by process" in capsys.readouterr().err and exchange.posts == 0


def test_what_was_made_for_a_perpetual_is_not_traded_on_spot(
    exchange: TradingExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    pd.read_csv("signals.csv").assign(target=-0.5).to_csv("signals.csv", index=False)
    assert main([*LIVE, "--yes"]) == 2
    assert "BTC/USDT is a spot market" in capsys.readouterr().err and exchange.posts == 0
