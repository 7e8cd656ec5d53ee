"""Stresses do what they say: the same decisions, and only what is stressed changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.evaluation.backtest.backtesting import Desk, backtest, traded_again
from agents.evaluation.stress import AS_IT_IS, StressConfig, delayed, stress_table, stressed
from cryptoenv import Market
from cryptoenv.features import FeatureSpec
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from tests.naive.random_bars import random_bars


@pytest.fixture(scope="module")
def runs() -> list:
    bars = random_bars(60, 1, "1h")
    bars["volume"] *= 1e4
    market = Market.from_bars(bars, ("1h",), features=FeatureSpec.none())
    rng = np.random.default_rng(0)
    targets = np.where(rng.random(len(market)) < 0.1, rng.choice([-1.0, 0.0, 1.0], len(market)), np.nan)
    desk = Desk(TradingConfig(costs=Costs(funding=1e-4), limits=RiskLimits(exposure=3.0, stop_loss=0.2)))
    return list(stressed(backtest(market, 3.0 * targets, desk)))


def test_costs_are_multiplied_and_nothing_else(runs: list) -> None:
    by_name = {run.name: run for run in runs}
    base = by_name[AS_IT_IS]
    assert list(by_name) == [
        AS_IT_IS, "fees x2", "slippage x5", "1 bar late", "2 bars late", "3 bars late", "4 bars late",
        "5% bars missing", "3 crashes of 30%", "funding x5",
    ]  # fmt: skip
    fees = by_name["fees x2"]
    first = int(np.flatnonzero(base.trace.column("fees"))[0])
    assert fees.trace.column("fees")[first] == pytest.approx(2.0 * base.trace.column("fees")[first])
    for name, run in by_name.items():
        if name.startswith(("fees", "slippage")):
            assert run.equity[-1] < base.equity[-1], name
        if "late" not in name:
            np.testing.assert_array_equal(run.targets, base.targets)
    paid = [by_name[name].trace.column("funding") for name in (AS_IT_IS, "funding x5")]
    at = int(np.flatnonzero(paid[0])[0])
    assert paid[1][at] == pytest.approx(5.0 * paid[0][at])


def test_decisions_come_late(runs: list) -> None:
    base, late = runs[0], next(run for run in runs if run.name == "2 bars late")
    np.testing.assert_array_equal(late.targets[2:], base.targets[:-2])
    assert (late.targets[:2] == 0.0).all()
    assert (delayed(base.targets, len(base.targets) + 1) == 0.0)[~np.isnan(base.targets)].all()


def test_an_edge_of_one_bar_is_gone_one_bar_later() -> None:
    market = Market.from_bars(random_bars(40, 3, "1h"), ("1h",), features=FeatureSpec.none())
    knows = np.sign(np.diff(market.prices[:, 3], append=market.prices[-1, 3]))
    free = Desk(TradingConfig(costs=Costs(fee=0.0, half_spread=0.0, impact=0.0)))
    told = stress_table(list(stressed(backtest(market, knows, free))))
    assert told.loc[AS_IT_IS, "total_return"] > 10.0 * abs(told.loc["1 bar late", "total_return"])
    assert told.loc[AS_IT_IS, "change"] == 0.0 and told.loc["1 bar late", "change"] < 0.0


def test_outages_and_crashes(runs: list) -> None:
    by_name = {run.name: run for run in runs}
    out, crash, base = by_name["5% bars missing"], by_name["3 crashes of 30%"], by_name[AS_IT_IS]
    silent = out.market.prices[1:, 4] == 0.0
    assert silent.sum() == round(0.05 * len(base.targets))
    assert (out.trace.column("fill_quantity")[silent] == 0.0).all()
    assert (crash.trace.column("exit_kind") != 0).sum() > (base.trace.column("exit_kind") != 0).sum()
    assert base.market.prices is not crash.market.prices and base.market.hash != crash.market.hash


def test_no_funding_where_none_is_paid() -> None:
    market = Market.from_bars(random_bars(10, 3, "1h"), ("1h",), features=FeatureSpec.none())
    spot = backtest(market, np.full(len(market), 1.0), Desk(TradingConfig(instrument="spot")))
    assert "funding x5" not in [run.name for run in stressed(spot)]
    same = traded_again(spot, spot.targets, "again")
    np.testing.assert_array_equal(same.equity, spot.equity)
    quiet = replace(StressConfig(), delays=(), crashes=0, missing=0.0)
    assert next(run.equity[-1] for run in stressed(spot, quiet)) == spot.equity[-1]
