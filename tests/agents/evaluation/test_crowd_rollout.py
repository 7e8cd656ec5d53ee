from __future__ import annotations

from dataclasses import replace

import numpy as np

from agents.evaluation import baselines
from agents.evaluation.crowd_rollout import roll_crowd
from agents.evaluation.rollout import roll, whole_markets
from agents.markets.expert_market import ExpertMarket
from agents.settings import TradingSettings
from cryptoenv.trading.config import RiskLimits


def test_a_crowd_of_one_is_a_rollout_and_a_larger_one_earns_less(
    labelled: tuple[ExpertMarket, ...], settings: TradingSettings
) -> None:
    costs = replace(settings.costs, impact=1.0, half_spread=0.0)
    settings = replace(settings, costs=costs, limits=RiskLimits(participation=1.0))
    policy = baselines.oracle(labelled, settings)
    alone = roll(policy, labelled, whole_markets(labelled), settings)
    cash = np.full(len(labelled), 10_000.0)
    one = roll_crowd(policy, labelled, settings, 1, cash).rollout
    np.testing.assert_array_equal(one.equity, alone.equity)
    np.testing.assert_array_equal(one.exposure, alone.exposure)
    np.testing.assert_allclose(one.turnover, alone.turnover, rtol=1e-9)
    earned, paid = [], []
    for copies in (1, 4):
        found = roll_crowd(policy, labelled, settings, copies, 100.0 * cash)
        together = found.rollout.expected(labelled).reshape(len(labelled), copies)
        assert (together == together[:, :1]).all()  # each copy has the same account
        earned.append(together[:, 0].sum())
        paid.append(found.slippage.mean())
    assert earned[0] > earned[1] and 1.5 * paid[0] < paid[1] < 2.5 * paid[0]  # the square root of four
