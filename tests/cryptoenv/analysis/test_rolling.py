"""Figures over a moving window, and the levels of stops."""

from __future__ import annotations

import numpy as np
import pytest

from agents.evaluation.backtest.backtesting import Desk, backtest
from cryptoenv import Market
from cryptoenv.analysis.returns import sharpe_ratio
from cryptoenv.analysis.rolling import rolling_sharpe
from cryptoenv.analysis.trades import exit_levels
from cryptoenv.features import FeatureSpec
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from tests.naive.random_bars import random_bars


def test_each_window_has_its_own_sharpe_ratio() -> None:
    returns = np.random.default_rng(0).normal(0.001, 0.01, 100)
    returns[40:60] = 0.002  # nothing varies there
    found = rolling_sharpe(returns, 10, 365.0)
    naive = [sharpe_ratio(returns[i : i + 10], 365.0) for i in range(91)]
    assert found == pytest.approx(naive, rel=1e-9) and found[45] == 0.0
    assert len(rolling_sharpe(returns[:5], 10)) == 0
    with pytest.raises(ValueError, match="window=1"):
        rolling_sharpe(returns, 1)


def test_levels_are_those_at_which_the_kernel_closes() -> None:
    market = Market.from_bars(random_bars(60, 4, "1h"), ("1h",), features=FeatureSpec.none())
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.choice([-1.0, 1.0], len(market) // 24 + 1), 24)[: len(market)]
    costs = Costs(fee=0.0, half_spread=0.0, impact=0.0)
    limits = RiskLimits(stop_loss=0.005, take_profit=0.012, rebalance_tolerance=125.0)
    trades = backtest(market, targets, Desk(TradingConfig(costs=costs, limits=limits))).trades
    stop, profit = exit_levels(trades["entry_price"], trades["side"], 0.005, 0.012)
    opens = market.prices[trades["exit_bar"].to_numpy(), 0]
    for kind, level in (("stop_loss", stop), ("take_profit", profit)):
        mine = (trades["exit_kind"] == kind).to_numpy()
        at_level = np.isclose(trades["exit_price"], level, rtol=1e-12)
        gapped = np.isclose(trades["exit_price"], opens, rtol=1e-12)
        assert mine.sum() > 5 and (at_level | gapped)[mine].all() and at_level[mine].sum() > 3
    assert np.isnan(exit_levels([100.0], [1], None, None)).all() and np.isnan(exit_levels([1.0], [-1], None, 2.0)[1][0])
