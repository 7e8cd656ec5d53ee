"""Folds of markets see nothing of what comes after, one account goes on over borders, regimes are numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from agents.evaluation.backtest.backtesting import backtest
from agents.evaluation.backtest.deciders import agent_desk
from agents.evaluation.walk_forward import findings
from agents.evaluation.walk_forward.findings import NO_GAIN, efficiency
from agents.evaluation.walk_forward.plan import WalkForwardPlan, fold_markets, judged_rows
from agents.evaluation.walk_forward.regimes import TOO_FEW, RegimeRules, by_regime, regime_table, regimes_of
from agents.evaluation.walk_forward.stitched import stitch
from agents.markets.embedded import EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from agents.training.walk_forward import known_at_closes
from cryptoenv import Costs, Market
from cryptoenv.features import FeatureSpec
from pretrain import Extractor
from pretrain.data.folds import Border
from pretrain.extractor.embedding_cache import cached_embeddings, keep_part
from tests.naive.random_bars import random_bars

DAY = 96


@pytest.fixture(scope="module")
def markets() -> tuple[Market, ...]:
    return tuple(Market.from_bars(random_bars(120, seed), name=f"drawn {seed}") for seed in (1, 2))


@pytest.mark.parametrize(
    "plan",
    [WalkForwardPlan(3), WalkForwardPlan(2, anchored=False, embargo_days=2.0),
     WalkForwardPlan(test="2W", train_length="20D"), WalkForwardPlan(4, train=0.3, validation=0.5)],
)  # fmt: skip
def test_a_fold_sees_nothing_of_what_comes_after(markets: tuple[Market, ...], plan: WalkForwardPlan) -> None:
    settings = TradingSettings()
    borders = plan.borders(markets, settings)
    gap = pd.Timedelta(plan.embargo_days, "D")
    for border in borders:
        parts = fold_markets(markets, border, settings, plan)
        test = pd.Timestamp(border.test_start, unit="ms", tz="UTC")
        for train, chosen, whole in zip(parts.train, parts.validation, markets, strict=True):
            bar = pd.Timedelta(15, "min")
            last_learned, first_chosen = train.market.bars.index[-1] + bar, chosen.market.bars.index[chosen.first] + bar
            assert last_learned + gap <= first_chosen  # closes: the last bar that a label looks at, the first decision
            last_chosen = chosen.market.bars.index[-1] + bar
            assert last_chosen + gap <= test and last_chosen + gap > test - 2 * bar
            rows = judged_rows(whole, borders)
            assert whole.bars.index[rows[borders.index(border)]] + bar >= test
            assert train.market.bars.index[train.first] + bar >= pd.Timestamp(border.train_start, unit="ms", tz="UTC")
            assert train.label_kind == chosen.label_kind != "none"


@pytest.mark.parametrize(("said_at", "traded_at"), [("1h", "15min"), ("15min", "1h"), ("1h", "1h")])
def test_a_state_is_known_from_its_close_on(said_at: str, traded_at: str) -> None:
    start, end = pd.Timestamp("2024-01-01", tz="UTC"), pd.Timestamp("2024-01-02", tz="UTC")
    opens = pd.date_range(start, end, freq=said_at, inclusive="left")
    traded = pd.date_range(start, end, freq=traded_at, inclusive="left")
    names = {"15min": "15m", "1h": "1h"}
    market = SimpleNamespace(bars=pd.DataFrame(index=traded), timeframes=(names[traded_at],))
    said = pd.Series([f"s{i}" for i in range(len(opens))], opens, dtype=object)
    found = known_at_closes(said, names[said_at], market)  # type: ignore[arg-type]
    for at, state in found.items():
        ended = [i for i, one in enumerate(opens) if one + pd.Timedelta(said_at) <= at + pd.Timedelta(traded_at)]
        assert state == f"s{ended[-1]}" if ended else pd.isna(state)


def test_chance_of_a_market_is_the_middle_one_of_its_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "against_chance", lambda one, seed: SimpleNamespace(p_value=one.p))
    stitched = [SimpleNamespace(backtests=[SimpleNamespace(name="a", p=p), SimpleNamespace(name="b", p=1.0 - p)])
                for p in (0.01, 0.2, 0.9)]  # fmt: skip
    assert findings._chance(stitched, 0) == {"a": 0.2, "b": 0.8}  # type: ignore[arg-type]


def test_judged_parts_follow_each_other_to_the_end(markets: tuple[Market, ...]) -> None:
    borders = WalkForwardPlan(4).borders(markets, TradingSettings())
    for market in markets:
        rows = judged_rows(market, borders)
        assert (np.diff(rows) > 0).all() and rows[-1] == len(market) - 1
    with pytest.raises(ValueError, match="decidable days in common"):
        late = Market.from_bars(random_bars(80, 3, start="2021-04-01"))
        WalkForwardPlan(4).borders((markets[0], late), TradingSettings())


def test_embeddings_of_a_part_are_cut_out(extractor: Extractor, markets: tuple[Market, ...]) -> None:
    whole = markets[0]
    embeddings = extractor.embed(whole)
    for begin, end in ((0, 9000), (20 * DAY, len(whole))):
        part = whole.part(begin, end)
        keep_part(extractor, whole, embeddings, part)
        np.testing.assert_array_equal(cached_embeddings(extractor, part), extractor.embed(part))


def _agent(extractor: Extractor, seed: int, settings: TradingSettings) -> Agent:
    shape = PolicyShape(extractor.width, 3)
    return Agent(extractor, new_policy(shape, seed), shape, settings)


def test_one_account_goes_on_over_the_borders(extractor: Extractor, markets: tuple[Market, ...]) -> None:
    """The same agent in every fold is one backtest without borders; another agent changes what follows alone."""
    settings = TradingSettings(costs=Costs())
    table = EmbeddingTable([extractor.embed(market) for market in markets])
    borders = WalkForwardPlan(3).borders(markets, settings)
    whole = [Border(borders[0].train_start, borders[0].test_start, borders[-1].test_stop)]
    first, other = _agent(extractor, 1, settings), _agent(extractor, 5, settings)
    cut = stitch(0, [first] * 3, markets, table, borders, settings)
    once = stitch(0, [first], markets, table, whole, settings)
    mixed = stitch(0, [first, first, other], markets, table, borders, settings)
    change = int(cut.steps[2])
    for one, two, three in zip(cut.backtests, once.backtests, mixed.backtests, strict=True):
        np.testing.assert_array_equal(one.equity, two.equity)
        np.testing.assert_array_equal(one.equity[: change + 1], three.equity[: change + 1])
        targets = np.full(len(one.market), np.nan)
        targets[one.trace.first : one.trace.first + len(one.targets)] = three.targets
        again = backtest(one.market, targets, agent_desk(settings), first=one.trace.first)
        np.testing.assert_array_equal(again.equity, three.equity)
        held = three.trace.column("quantity")[change - 1]
        assert one.trace.column("quantity")[change - 1] == held
    assert any((one.equity != three.equity).any() for one, three in zip(cut.backtests, mixed.backtests, strict=True))
    assert cut.log_returns().sum() == pytest.approx(sum(one.log_return for one in cut.backtests))


def test_a_position_over_a_border_costs_nothing_there(extractor: Extractor, markets: tuple[Market, ...]) -> None:
    settings = TradingSettings(costs=Costs(), positions=(0.0, 1.0))
    market = markets[:1]
    table = EmbeddingTable([extractor.embed(market[0])])
    shape = PolicyShape(extractor.width, 2)
    agents = []
    for seed in (1, 2, 3):
        policy = new_policy(shape, seed)
        policy.action_net.weight.data.zero_()
        policy.action_net.bias.data[:] = policy.action_net.bias.data.new_tensor([-5.0, 5.0])  # always long
        agents.append(Agent(extractor, policy, shape, settings))
    borders = WalkForwardPlan(3).borders(market, settings)
    (found,) = stitch(0, agents, market, table, borders, settings).backtests
    assert (found.trace.column("fill_quantity")[1:] == 0.0).all() and found.trace.column("fees")[1:].sum() == 0.0
    assert len(found.trades) == 1 and found.trades["open"].all()


def test_efficiency_where_training_lost() -> None:
    """A loss of 10% where it learned and of 50% where it is judged is no efficiency of 5."""
    assert efficiency(-0.1, -0.5) == NO_GAIN and efficiency(0.0, 0.1) == NO_GAIN
    assert efficiency(0.2, 0.1) == pytest.approx(0.5) and efficiency(0.2, -0.1) == pytest.approx(-0.5)


def _market_of(closes: np.ndarray) -> Market:
    bars = pd.DataFrame(
        {"open": closes, "high": closes, "low": closes, "close": closes, "volume": 1.0},
        index=pd.date_range("2021-01-01", periods=len(closes), freq="1h", tz="UTC", name="timestamp"),
    )
    return Market.from_bars(bars, ("1h",), features=FeatureSpec.none())


def test_regimes_by_hand() -> None:
    closes = np.array([100.0, 110.0, 119.0, 120.0, 150.0, 130.0, 119.0, 100.0, 110.0, 121.0])
    rules = RegimeRules(swing=0.2, days=2 / 24, band=0.05, share=0.5)
    found = regimes_of(_market_of(closes), 8, rules)
    assert found["bull"].tolist() == [False] * 3 + [True] * 3 + [False] * 3 + [True]
    assert found["bear"].tolist() == [False] * 6 + [True] * 3 + [False]
    drift = np.abs(np.log(closes[2:] / closes[:-2])) < 0.05
    assert found["sideways"].tolist() == [False, False, *drift]
    returns = np.diff(np.log(closes))
    deviation = np.array([returns[t - 2 : t].std() for t in range(2, 10)])
    limit = np.quantile(deviation[:6], 0.5)  # of the bars before the first judged one
    assert found["high volatility"].tolist() == [False, False, *(deviation > limit)]


def test_regimes_know_no_later_bar() -> None:
    closes = 100.0 * np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.02, 1500)))
    whole, half = (regimes_of(_market_of(part), 700) for part in (closes, closes[:1000]))
    for name in whole:
        np.testing.assert_array_equal(whole[name][:1000], half[name])


def test_states_are_regimes_too() -> None:
    market = _market_of(100.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0.0, 0.01, 1500))))
    states = pd.Series([None] * 100 + ["bull"] * 800 + ["bear"] * 600, index=market.bars.index, dtype=object)
    gains = np.full(1400, 0.001)
    table = regime_table(market, 99, gains, gains, None, states).set_index("regime")
    assert table.loc["state bull", "bars"] == 800 and table.loc["state bear", "bars"] == 599
    assert table.loc["state bull", "log_return"] == pytest.approx(0.8)


def test_a_rare_regime_is_too_few() -> None:
    rare = np.zeros(2000, dtype=np.bool_)
    rare[:499] = True
    table = by_regime(np.full(2000, 0.001), {"rare": rare, "often": ~rare}, 96.0)
    assert table.loc["rare", "log_return_per_day"] == TOO_FEW and table.loc["rare", "bars"] == 499
    assert table.loc["often", "log_return_per_day"] == pytest.approx(0.096)
    assert table.loc["all", "log_return"] == pytest.approx(2.0)
