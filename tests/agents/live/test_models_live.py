"""Segmenters, forecasters, agents that read states or a reference market ask live for what they ask in a backtest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from agents.command_line import main
from agents.evaluation.backtest.backtesting import backtest
from agents.evaluation.backtest.deciders import agent_desk, agent_targets
from agents.evaluation.charges import with_impact
from agents.live.deciders import AgentDecider, EmbeddingReader, ForecastDecider, StateDecider
from agents.live.desk import Named, live_environment
from agents.live.trading_loop import TradingLoop
from agents.live.venues import _require_columns
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.segmented_extractor import SegmentedExtractor
from agents.settings import TradingSettings
from cryptoenv import Market
from cryptoenv.features import FeatureSpec, Reference, TimeframeFeatures, Volatility
from cryptoenv.live.feed import Feed, FeedError, ReplayFeed
from cryptoenv.live.journal import Journal
from cryptoenv.live.paper_broker import PaperBroker
from cryptoenv.live.referenced_feed import ReferencedFeed, with_reference
from cryptoenv.trading.account import TARGET
from pretrain import Extractor
from pretrain.data.forecast_windows import Part
from pretrain.fitting.blocks import market_blocks
from pretrain.fitting.predicting import on_one_thread
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.training import fit_forecaster
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.training import fit_segmenter
from synthetic import regime_market
from tests.agents.live.test_trading import LOOSE
from tests.pretrain.conftest import TIMEFRAMES, random_bars
from tests.pretrain.extractor.test_predictions import untrained
from tests.pretrain.forecaster.conftest import QUIET, tiny_config, tiny_training
from tests.pretrain.segmenter.conftest import planted_classes, pursued_market, quick_training, small_segmenter_config

HOURS, STEPS = 24 * 60, 32
SETTINGS = with_impact(TradingSettings(TIMEFRAMES, (16, 8, 4)))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    parts = [planted_classes(pursued_market(seed, HOURS)) for seed in range(2)]
    training = quick_training(steps=4, validate_every=4, batch=32)
    return fit_segmenter(parts[:1], parts[1:], small_segmenter_config(), training, seed=1, options=QUIET)


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    parts = [Part(Market.from_bars(random_bars(seed, HOURS), TIMEFRAMES)) for seed in range(2)]
    training = tiny_training(steps=4, validate_every=4)
    return fit_forecaster(parts[:1], parts[1:], tiny_config(), training, seed=3, options=QUIET)


def opinionated(extractor: Extractor, width: int) -> Agent:
    """An agent with an opinion about every bar."""
    shape = PolicyShape(width, 3)
    policy = new_policy(shape, 3)
    torch.manual_seed(4)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.normal_(0.0, 3.0)
    return Agent(extractor, policy, shape, SETTINGS)


def traded_equity(agent: Agent, bars: pd.DataFrame, first: int, folder: Path) -> list[float]:
    decider = AgentDecider(agent)
    feed = ReplayFeed(bars, TIMEFRAMES[0], first + 1, columns=decider.columns)
    folder.joinpath("state").mkdir()
    named = Named("agent", decider, SETTINGS)
    env = live_environment(named, PaperBroker(), feed, folder / "state", LOOSE, cash=10_000.0, durable=False)
    return [equity for _, equity, _ in TradingLoop(env, decider).run(STEPS).equity]


@pytest.mark.parametrize("reads", ["states", "reference"])
def test_an_agent_that_reads_more_trades_as_it_is_backtested(
    segmenter: Segmenter, tmp_path: Path, reads: str
) -> None:
    bars, other = random_bars(5, HOURS), random_bars(6, HOURS)
    against = Reference(bars=30) if reads == "reference" else None
    # with this warm-up the extractor can decide a day before the segmenter: it reads no states until then
    role = TimeframeFeatures(volatility_bars=8, warm_up_bars=39, volatility=Volatility(), reference=against)
    spec = FeatureSpec(role, role, role, role)
    market = Market.from_bars(bars, TIMEFRAMES, features=spec, reference=other if against else None)
    extractor = untrained(market)
    given = with_reference(bars, other, TIMEFRAMES[0]) if against else bars
    if reads == "states":
        extractor = SegmentedExtractor(extractor, segmenter)
        ready = segmenter.layout.decidable_ms(market.start_ms) // 3_600_000 - market.start_ms // 3_600_000
        assert 0 < ready - 1 - market.first_decision(SETTINGS.window) < STEPS
    agent = opinionated(extractor, extractor.width)
    first = market.first_decision(SETTINGS.window)
    told = backtest(market, agent_targets(agent, market), agent_desk(SETTINGS), first=first)
    expected = told.equity[: STEPS + 1].tolist()
    assert traded_equity(agent, given, first, tmp_path) == expected
    if against:  # what is read matters: against another reference it is another equity
        (tmp_path / "other").mkdir()
        wrong = with_reference(bars, random_bars(8, HOURS), TIMEFRAMES[0])
        assert traded_equity(agent, wrong, first, tmp_path / "other") != expected


def asked_by_command(folder: Path, *arguments: str) -> tuple[list[float], list[int]]:
    """Targets that stand after each bar of a replay traded by the command, with the bars that they were asked at."""
    trade = ["trade", str(folder), "--paper", "--replay", "bars.csv", "--times", "20", "--state", "s"]
    assert main([*trade, *arguments]) == 0
    journal = Journal(Path("s"))
    rows = journal._rows("SELECT bar_ms, account FROM books ORDER BY bar_ms")
    journal.close()
    return [float(np.frombuffer(row, "<f8")[TARGET]) for _, row in rows[1:]], [int(at) for at, _ in rows[:-1]]


def test_the_command_trades_a_segmenter_and_a_forecaster(
    segmenter: Segmenter, forecaster: Forecaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bars = random_bars(7, HOURS)
    bars.to_csv("bars.csv")
    segmenter.save("segmenter")
    forecaster.save("forecaster")
    read = pd.read_csv("bars.csv", index_col=0, parse_dates=True)
    targets, opens = asked_by_command(tmp_path / "segmenter", "--states", "4h", "--short")
    rows = segmenter.predict(read).loc[pd.to_datetime(opens, unit="ms", utc=True)]
    expected, held = [], 0.0
    for _, row in rows.iterrows():
        best = max(("bear", "consolidation", "bull"), key=lambda name: row[f"{name}_4h"])
        held = {"bull": 1.0, "bear": -1.0}.get(best, held)
        expected.append(held)
    assert targets == expected and len(targets) == 20
    for name in ("s/trade.json", "s/trade.png"):
        assert Path(name).is_file()
    Path("s").rename("segmenter-state")
    targets, opens = asked_by_command(tmp_path / "forecaster")
    rows = forecaster.predict(read).loc[pd.to_datetime(opens, unit="ms", utc=True)]
    up, down = rows["direction_1_up"], rows["direction_1_down"]
    assert targets == [float(u >= max(0.5, d)) for u, d in zip(up, down, strict=True)]
    capsys.readouterr()
    trade = ["trade", "forecaster", "--paper", "--replay", "bars.csv", "--state", "t"]
    assert main([*trade, "--reference", "bars.csv"]) == 2 and "leave it out" in capsys.readouterr().err
    assert not Path("t").exists()


def test_what_asks_for_too_much_is_refused(segmenter: Segmenter, forecaster: Forecaster) -> None:
    assert StateDecider(segmenter, "4h").columns == () and ForecastDecider(forecaster).columns == ()
    named = Named("model", ForecastDecider(forecaster), SETTINGS)
    with pytest.raises(ValueError, match="leave it out"):
        _require_columns(named, "BTC/USDT")
    named.decider.columns = ("mood",)
    with pytest.raises(ValueError, match="mood beside the bars"):
        _require_columns(named, None)
    named.decider.columns = ("reference",)
    with pytest.raises(ValueError, match="give --reference"):
        _require_columns(named, None)
    _require_columns(named, "BTC/USDT")


class Silent(ReplayFeed):
    """A replay that is silent for a while."""

    fails = 0

    def next_bars(self, after_ms: int) -> list:  # type: ignore[type-arg]
        if self.fails:
            self.fails -= 1
            raise FeedError("it is silent")
        return super().next_bars(after_ms)


def test_a_bar_waits_for_the_close_of_its_reference() -> None:
    bars, other = random_bars(1, 40), random_bars(2, 40)
    silent = Silent(other, "1h", 20)
    feed: Feed = ReferencedFeed(ReplayFeed(bars, "1h", 20), silent)
    history = feed.history()
    assert history["reference"].tolist() == other["close"].iloc[:20].tolist()
    at = int(bars.index[19].value // 1_000_000)
    silent.fails = 2
    for _ in range(2):
        with pytest.raises(FeedError, match="reference: it is silent"):
            feed.next_bars(at)
    for row in range(20, 25):
        (bar,) = feed.next_bars(at)
        assert bar.ohlcv[3] == bars["close"].iloc[row] and bar.columns == {"reference": other["close"].iloc[row]}
        at = bar.open_ms
    with pytest.raises(FeedError, match="lacks 10 bars of the history"):
        ReferencedFeed(ReplayFeed(bars, "1h", 20), ReplayFeed(other.iloc[10:], "1h", 10)).history()
    with pytest.raises(ValueError, match="bring reference bars"):
        with_reference(bars, other.iloc[10:], "1h")


@pytest.mark.parametrize("name", ["default", "bars"])
def test_one_decision_read_alone_has_the_bits_of_its_block(name: str) -> None:
    """Of a few rows instead of 512, with a memory that stops at the decision."""
    reader = EmbeddingReader(Extractor.load(name))
    market = reader.market(regime_market("standard", days=2, seed=7).bars)
    *_, (_, places, block) = market_blocks(market, reader.layout)
    with on_one_thread(), torch.inference_mode():
        whole = reader.read(block)
        for place in map(int, places[:: max(len(places) // 9, 1)]):
            alone = reader.read_at(block, place)
            assert alone.tobytes() == whole[place].tobytes(), place
