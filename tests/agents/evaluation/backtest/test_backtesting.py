"""Backtests equal the environment and hand-made figures; chance, sweeps and signals do what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agents.evaluation import baselines
from agents.evaluation.backtest import backtesting as module
from agents.evaluation.backtest.backtesting import Desk, against_chance, backtest, buy_and_hold, decision_rows
from agents.evaluation.backtest.deciders import agent_desk, agent_targets, decisions_of, unlabelled
from agents.evaluation.backtest.judgement import judge, share_of
from agents.evaluation.backtest.rule import Rule, grid_of, parse_rules
from agents.evaluation.backtest.signals import (
    SignalsError,
    by_rise_confidence,
    by_state_confidence,
    read_signals,
    signal_targets,
    state_targets,
)
from agents.evaluation.backtest.sweeping import sweep_rules
from agents.evaluation.backtest.traded import TRUE_DRIFT, TRUE_STATES, Traded, optimum_targets, true_state_targets
from agents.evaluation.rollout import whole_markets
from agents.markets.expert_market import ExpertMarket, synthetic_market
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import RandomPolicy
from agents.settings import TradingSettings
from cryptoenv import Market
from cryptoenv.analysis.trial_ledger import tried
from cryptoenv.features import FeatureSpec
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from pretrain import Extractor
from synthetic import task_seeds
from tests.naive.random_bars import random_bars

FREE = Desk(TradingConfig(costs=Costs(fee=0.0, half_spread=0.0, impact=0.0), limits=RiskLimits(participation=1.0)))


def plain(days: float = 60, seed: int = 0, timeframe: str = "1h") -> Market:
    bars = random_bars(days, seed, "1h")
    bars["volume"] = 1e9
    return Market.from_bars(bars, (timeframe,), features=FeatureSpec.none(), name="drawn")


def test_a_rollout_replayed_is_the_rollout(
    labelled: tuple[ExpertMarket, ...], settings: TradingSettings
) -> None:
    """Decisions through the environment, and the same targets through a backtest: every equity, bit for bit."""
    limits = RiskLimits(stop_loss=0.002, take_profit=0.004)
    settings = replace(settings, costs=Costs(), limits=limits)
    rows = whole_markets(labelled)
    found = decisions_of(RandomPolicy(3, 1), list(labelled), rows, settings)
    for n, one in enumerate(labelled):
        targets = np.full(len(one.market), np.nan)
        targets[one.first : one.first + rows.steps] = found.targets[:, n]
        told = backtest(one.market, targets, agent_desk(settings), first=one.first)
        np.testing.assert_array_equal(told.equity, found.rollout.equity[:, n])
        assert told.trace.column("exit_kind").any()
        np.testing.assert_allclose(told.trace.column("turnover"), found.rollout.turnover[:, n], rtol=1e-9, atol=1e-12)


def test_an_agent_is_backtested_as_it_trades(extractor: Extractor, labelled: tuple[ExpertMarket, ...]) -> None:
    settings = TradingSettings()
    shape = PolicyShape(extractor.embed(labelled[0].market).shape[1], 3)
    agent = Agent(extractor, new_policy(shape, 3), shape, settings)
    market = labelled[0].market
    targets = agent_targets(agent, market)
    one = unlabelled(market, settings)
    assert np.isnan(targets[: one.first]).all() and not np.isnan(targets[one.first : -1]).any()
    rows = whole_markets([one])
    found = decisions_of(agent.on([one]), [one], rows, settings)
    told = backtest(market, targets, agent_desk(settings), first=one.first)
    np.testing.assert_array_equal(told.equity, found.rollout.equity[:, 0])


def test_buy_and_hold_without_costs_earns_the_market() -> None:
    market = plain()
    targets = np.full(len(market), 1.0)
    told = backtest(market, targets, FREE)
    close, opened = market.prices[:, 3], market.prices[1, 0]
    assert told.equity[-1] / 10_000.0 == pytest.approx(1.0 + (close[-1] - opened) / close[0], rel=1e-9)
    stopped = backtest(market, targets, replace(FREE, trading=replace(
        FREE.trading, limits=replace(FREE.trading.limits, stop_loss=0.01))))  # fmt: skip
    assert buy_and_hold(stopped).equity[-1] == told.equity[-1]  # what is compared with has no stops
    assert stopped.equity[-1] != told.equity[-1]


def test_what_was_asked_for_before_is_asked_for_at_the_start() -> None:
    market = plain(20)
    targets = np.full(len(market), np.nan)
    targets[3] = 1.0
    assert backtest(market, targets, first=50).targets[0] == 1.0
    assert backtest(market, targets, first=2).targets[0] == 0.0
    first, last = decision_rows(market, "2021-01-03", "2021-01-05T12:00")
    index = market.bars.index
    assert index[first] == pd.Timestamp("2021-01-02T23:00", tz="UTC")  # it closes at midnight
    assert index[last + 1] == pd.Timestamp("2021-01-05T11:00", tz="UTC")  # the last bar that is traded
    with pytest.raises(ValueError, match="no bar to trade in"):
        decision_rows(market, "2031-01-01", None)


def test_shorts_are_refused_on_spot() -> None:
    desk = Desk(TradingConfig(instrument="spot"))
    with pytest.raises(ValueError, match="target -1 at bar 4 is short"):
        backtest(plain(5), np.array([np.nan] * 4 + [-1.0] + [np.nan] * 115), desk)


def test_a_grid_in_words() -> None:
    rules = parse_rules("cross fast=4,8,64 slow=8,64 band=0,0.5 short=0")
    assert len(rules) == 2 * 3 and all(rule.short == 0.0 for rule in rules)
    assert parse_rules("hold")[0].words == "hold"
    assert [parse_rules(rule.words)[0] for rule in rules] == rules
    for text, message in (
        ("crossing", "is unknown"), ("cross fats=3", "'fats=3' is not allowed"), ("cross fast=1.5", "whole number"),
        ("cross fast=x", "is no number"), ("threshold", "column=... is missing"),
        ("cross fast=99 slow=9", "below slow"),
        ("cross band=inf", "is not finite"), ("threshold column=a above=0 below=1", "is above"),
        ("cross fast=" + ",".join(map(str, range(2, 1000))) + " slow=" + ",".join(map(str, range(2, 1000))), "at most"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            parse_rules(text)


def test_lines_know_no_later_bar() -> None:
    """Every kind of rule on the first half of the bars says what it says on all of them."""
    bars = random_bars(30, 2, "1h")
    rules = [rule for text in ("cross", "momentum", "breakout", "reversion", "hold") for rule in parse_rules(text)]
    whole = Market.from_bars(bars, ("1h",), features=FeatureSpec.none())
    half = Market.from_bars(bars.iloc[:400], ("1h",), features=FeatureSpec.none())
    for number in range(len(rules)):
        np.testing.assert_array_equal(grid_of(rules, whole).targets(number)[:400], grid_of(rules, half).targets(number))


def test_the_cross_is_the_baseline_that_tables_have(
    labelled: tuple[ExpertMarket, ...], settings: TradingSettings
) -> None:
    theirs = baselines.CrossRule(8, 64, 0.2, True)
    signal = theirs.signal(labelled[0])
    (rule,) = parse_rules("cross fast=8 slow=64 band=0.2")
    targets = grid_of([rule], labelled[0].market).targets(0)
    clear = ~np.isnan(signal) & (np.abs(np.abs(signal) - 0.2) > 1e-9)
    wanted = np.where(signal > 0.2, 1.0, np.where(signal < -0.2, -1.0, np.nan))
    np.testing.assert_array_equal(targets[clear], wanted[clear])


def test_breakouts_by_hand() -> None:
    market = plain(4)
    targets = grid_of(parse_rules("breakout bars=5"), market).targets(0)
    high, low, close = (market.prices[:, k] for k in (1, 2, 3))
    for t in range(5, len(market)):
        above, below = high[t - 5 : t].max(), low[t - 5 : t].min()
        assert (targets[t] == 1.0) == (close[t] > above) or abs(close[t] / above - 1.0) < 1e-12
        assert (targets[t] == -1.0) == (close[t] < below) or abs(close[t] / below - 1.0) < 1e-12


def test_a_sweep_finds_what_backtests_find() -> None:
    market = plain(60)
    rules = parse_rules("cross fast=4,8,16 slow=32,64 band=0,0.5")
    desk = Desk(TradingConfig(limits=RiskLimits(stop_loss=0.03)))
    swept = sweep_rules(rules, market, desk, first=30)
    assert swept.days.shape == ((len(market) - 31) // 24, len(rules))
    for number in range(len(rules)):
        told = swept.backtest(number)
        assert told.equity[-1] == swept.swept.column("equity")[number]
        np.testing.assert_allclose(swept.days[:, number], told.equity[24::24] / told.equity[:-24:24] - 1.0)
    table = swept.table()
    assert table["rule"].iloc[0] == rules[swept.best].words and table["log_return"].is_monotonic_decreasing
    assert 0.0 <= swept.luck()["probability_of_overfitting"] <= 1.0


def test_chance_by_construction() -> None:
    """Positions that know the next bar are no luck; random ones are; turnover and dwell are the strategy's own."""
    market = plain(40)
    ahead = np.sign(np.diff(market.prices[:, 3], append=market.prices[-1, 3]))
    knowing = backtest(market, ahead, FREE)
    told = against_chance(knowing, 99)
    assert told.p_value == 0.01 and told.turnover == pytest.approx(1.0, rel=0.2)
    values = []
    for seed in range(40):
        random = np.random.default_rng(seed).choice([-1.0, 1.0, np.nan], size=len(market), p=[0.05, 0.05, 0.9])
        values.append(against_chance(backtest(market, random, FREE), 19, seed).p_value)
    assert 0.3 < np.mean(values) < 0.72 and min(values) < 0.35 and max(values) > 0.65
    assert against_chance(backtest(market, np.full(len(market), 1.0), FREE)).p_value == 1.0
    assert against_chance(knowing, 9, seed=1).earned.tolist() == against_chance(knowing, 9, seed=1).earned.tolist()


def test_a_judgement_counts_its_trials(tmp_path: Path) -> None:
    market = plain(90)
    swept = sweep_rules(parse_rules("cross fast=4,8 slow=32,64"), market)
    ledger = tmp_path / "trials.jsonl"
    judged = judge(swept.backtest(), ledger, "drawn", sweep=swept, chances=19)
    assert judged.search.trials == 4 and judged.search.variance is not None
    again = judge(backtest(market, np.full(len(market), 1.0), name="hold"), ledger, "drawn", chances=19)
    assert again.search.kinds == {"sweep": 4, "backtest": 1} == tried(ledger, "drawn").kinds
    told = judged.metrics()
    assert told["figures"]["benchmark_return"] == judged.held.figures()["total_return"]
    assert "trials:  5 on this data" in again.lines()[1]


def _signals(path: Path, text: str) -> pd.DataFrame:
    path.write_text(text)
    return read_signals(path)


def test_signals_are_acted_on_once_they_are_known(tmp_path: Path) -> None:
    market = plain(3)  # hours from 2021-01-01
    lines = ("2021-01-01T05:00:00Z,1,0.5", "2021-01-01T06:00:01Z,-1,1", "2021-01-01T06:59:00Z,0.5,0.5",
             "2020-12-31T10:00:00Z,0.25,1")  # fmt: skip
    table = _signals(tmp_path / "s.csv", "\n".join(("time,target,confidence", *lines)))
    targets = signal_targets(table, market)
    assert targets[0] == 0.25  # known before the first bar
    assert targets[4] == 1.0  # the bar that opens at 4 closes at 5
    assert targets[6] == 0.5  # of two within a bar the last
    assert np.isnan(np.delete(targets, [0, 4, 6])).all()
    assert signal_targets(table, market, sized=True)[[0, 4, 6]].tolist() == [0.25, 0.5, 0.25]
    told = backtest(market, targets, FREE)
    assert told.trades["entry_time"].iloc[0] == pd.Timestamp("2021-01-01T01:00", tz="UTC")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,target\n2021-01-01,x\n", "row 0, column 'target': 'x' is no finite number"),
        ("time,target,confidence\n2021-01-01,1,2\n", "row 0, column 'confidence': 2 is not allowed"),
        ("time,aim\n2021-01-01,1\n", "no column 'target'"),
        ("when_,target\n2021-01-01,1\n", "no column of times"),
        ("time,target\n2021-01-01,1\n2021-01-01,0\n", "is there twice"),
    ],
)
def test_signals_that_cannot_be_traded(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SignalsError, match=message):
        _signals(tmp_path / "s.csv", text)
    with pytest.raises(SignalsError, match="no signal from"):
        signal_targets(_signals(tmp_path / "late.csv", "time,target\n2031-01-01,1\n"), plain(3))


def test_states_of_a_table() -> None:
    market = plain(1)
    index = market.bars.index
    table = pd.DataFrame(
        {"bull_4h": [0.8, 0.2, 0.1, 0.6], "bear_4h": [0.1, 0.2, 0.8, 0.3], "consolidation_4h": [0.1, 0.6, 0.1, 0.1],
         "bull_1d": 0.0}, index=index[[2, 5, 8, 9]],
    )  # fmt: skip
    targets = state_targets(table, market, "4h")
    assert targets[[2, 8, 9]].tolist() == [1.0, 0.0, 1.0] and np.isnan(targets[5])
    assert state_targets(table, market, "4h", below=-1.0)[8] == -1.0
    with pytest.raises(SignalsError, match="'bull_1h' and 'bear_1h'"):
        state_targets(table, market, "1h")
    kept = pd.Categorical(["bull", "bull", "consolidation", "bear"], ["bear", "consolidation", "bull"])
    other = kept.rename_categories(["up", "flat", "down"])
    states = pd.DataFrame({"state_4h": kept, "state": other}, index=table.index)
    held = state_targets(table.join(states), market, "4h")
    assert held[[2, 5, 9]].tolist() == [1.0, 1.0, 0.0] and np.isnan(held[8]), "its machine says it, not the likeliest"
    with pytest.raises(SignalsError, match="'bull' and 'bear' in 'state'"):
        state_targets(states, market, "all")


def test_a_column_of_predictions_as_a_rule() -> None:
    market = plain(1)
    table = pd.DataFrame({"return_4_mean": [0.002, 0.0, -0.002]}, index=market.bars.index[[3, 4, 5]])
    (rule,) = parse_rules("threshold column=return_4_mean above=0.001 below=-0.001")
    targets = grid_of([rule], market, table=table).targets(0)
    assert (targets[3], targets[5]) == (1.0, -1.0) and np.isnan(targets[[0, 4, 6]]).all()
    assert grid_of([rule], market, table=table, shorts=False).targets(0)[5] == 0.0
    with pytest.raises(ValueError, match="no column 'x'"):
        grid_of([Rule("threshold", (("column", "x"), ("above", 0.0), ("below", 0.0)))], market, table=table)


def test_a_model_is_sized_by_what_it_is_sure_of_as_a_position_begins() -> None:
    market = plain(1)
    index = market.bars.index
    columns = {"return_4_mean": [0.002, 0.003, 0.0, -0.002], "up_4": [0.75, 0.9, 0.5, 0.3]}
    table = pd.DataFrame(columns, index=index[3:7])
    (rule,) = parse_rules("threshold column=return_4_mean above=0.001 below=-0.001")
    targets = by_rise_confidence(rule, market, table, shorts=True)
    assert targets[[3, 4, 6]].tolist() == pytest.approx([0.5, 0.5, -0.4]) and np.isnan(targets[[2, 5, 7]]).all()
    with pytest.raises(SignalsError, match="no column 'up_4'"):
        by_rise_confidence(rule, market, table[["return_4_mean"]], shorts=True)
    states = pd.DataFrame({"bull_4h": [0.8, 0.9, 0.3], "bear_4h": [0.1, 0.0, 0.6]}, index=index[2:5])
    asked = np.full(len(market), np.nan)
    asked[2:5] = [1.0, 1.0, -1.0]
    assert by_state_confidence(asked, states, market, "4h")[2:5].tolist() == [0.8, 0.8, -0.6]


def test_random_states_keep_their_dwell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is drawn are the states themselves, the one in which a position is kept among them."""
    market, drawn = plain(20), []
    asked = np.repeat([1.0, np.nan, -1.0, np.nan, 1.0, -1.0], [30, 50, 90, 10, 200, 99])[: len(market) - 1]
    found = backtest(market, np.append(asked, np.nan), FREE)
    again = module.traded_again
    monkeypatch.setattr(module, "traded_again", lambda like, targets, name: drawn.append(targets) or again(
        like, targets, name))  # fmt: skip
    assert against_chance(found, 5, states=True).p_value > 0.0
    for targets in drawn:
        assert np.isnan(targets).sum() == np.isnan(found.targets).sum()
        assert (targets == 1.0).sum() == (found.targets == 1.0).sum()
    assert len({targets.tobytes() for targets in drawn}) == 5


def test_the_ceiling_is_what_the_environment_says(settings: TradingSettings) -> None:
    """The causal optimum as targets, and the rule on true states: known at each close, after the warm-up."""
    traded = Traded.of_task("easy", "validation", 1, 4)
    assert traded.sample is not None
    labelled = synthetic_market("easy", list(task_seeds("easy", "validation", 2))[1], 4, TradingSettings())
    market = traded.plain_market()
    first = traded.earliest(market)
    assert market.bars.index[first] == labelled.market.bars.index[0] + pd.Timedelta(56, "D") - pd.Timedelta(15, "min")
    labelled = replace(labelled, first=first)
    found = backtest(market, np.full(len(market), 1.0), Desk(TradingConfig(costs=settings.costs)), first=first)
    rows = whole_markets([labelled])
    decided = decisions_of(baselines.oracle([labelled], settings), [labelled], rows, settings)
    optimum = optimum_targets(traded.sample, found)[first:-1]
    # The environment begins flat where the chain of targets already holds something: they meet at the first decision.
    met = int((optimum == decided.targets[:, 0]).argmax())
    np.testing.assert_array_equal(optimum[met:], decided.targets[met:, 0])
    assert met < 48
    by_states, oracle = traded.ceilings(found, "4h", -1.0)
    regimes = np.array(traded.sample.task.regimes)[traded.sample.truth["regime"].to_numpy()]
    asked = true_state_targets(traded.sample, market, "4h", -1.0)
    assert (asked[regimes == "bull"] == 1.0).all() and (asked[regimes == "crash"] == -1.0).all()
    assert np.isnan(asked[regimes == "range"]).all()
    assert oracle.log_return > found.log_return and by_states.name == TRUE_STATES
    assert share_of(found, oracle) == f"{100.0 * found.log_return / oracle.log_return:.0f}%" != share_of(oracle, found)
    flat = backtest(market, np.zeros(len(market)), found.desk, first=first)
    assert share_of(found, flat) == "no share (+0.0% log-return)" and share_of(flat, oracle) == "0%"
    called_so = replace(found, name="threshold of mine")  # a file of signals may be called anything
    assert [one.name for one in traded.ceilings(called_so)] == [oracle.name]
    (rule,) = parse_rules("threshold column=return_4_mean above=0.0012345678 below=-0.001")
    by_drift, _ = traded.ceilings(found, rule=rule)
    drift = 4.0 * traded.sample.truth["drift"].to_numpy()[first:-1]
    wanted = np.select([drift > 0.0012345678, drift < -0.001], [1.0, -1.0], np.nan)
    known = ~np.isnan(wanted)
    assert by_drift.name == TRUE_DRIFT and known.any()
    np.testing.assert_array_equal(by_drift.targets[known], wanted[known])
    hours = traded.plain_market("1h")
    np.testing.assert_array_equal(true_state_targets(traded.sample, hours, "4h", -1.0), asked[3::4])
    again = Traded.named(traded.data)
    assert again.sample is not None and again.sample.bars.equals(traded.sample.bars)
    assert Traded.named("my, bars.csv").source == Path("my, bars.csv")
    with pytest.raises(ValueError, match="train"):
        Traded.of_task("easy", "train", 0, 4)
