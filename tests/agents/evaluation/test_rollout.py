from __future__ import annotations

import math

import numpy as np
import pytest

from agents.evaluation import baselines
from agents.evaluation.rollout import RolloutRows, blocks, roll, whole_markets
from agents.evaluation.scoring import score
from agents.markets.expert_market import ExpertMarket
from agents.policies.trading_policy import RandomPolicy, TablePolicy, held_position
from agents.settings import TradingSettings
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.trading.config import Costs

Labelled = tuple[ExpertMarket, ...]


def test_the_oracle_scores_one_against_itself_and_flat_zero(labelled: Labelled, settings: TradingSettings) -> None:
    rows = whole_markets(labelled)
    oracle = roll(baselines.oracle(labelled, settings), labelled, rows, settings)
    flat = roll(baselines.constant(labelled, settings, 0.0), labelled, rows, settings)
    assert (flat.equity == flat.equity[0]).all()
    assert (flat.exposure == 0.0).all()
    assert (flat.expected(labelled) == 0.0).all()
    assert score(oracle.expected(labelled), oracle.expected(labelled)).value == 1.0
    assert score(flat.expected(labelled), oracle.expected(labelled)).value == 0.0


def test_the_oracle_beats_every_baseline(many: Labelled, settings: TradingSettings) -> None:
    rows = whole_markets(many)
    policies = {
        "hold": baselines.constant(many, settings, 1.0),
        "short": baselines.constant(many, settings, -1.0),
        "random": baselines.random(settings, 0),
        "cross": baselines.CrossRule(16, 64, 0.1, True).policy(many, settings),
    }
    optimum = roll(baselines.oracle(many, settings), many, rows, settings).expected(many).sum()
    for name, policy in policies.items():
        assert roll(policy, many, rows, settings).expected(many).sum() < 0.9 * optimum, name


def test_expected_is_realised_in_the_mean(many: Labelled, settings: TradingSettings) -> None:
    """For causal policies the two differ by noise alone: their mean difference is within 4 standard errors of 0."""
    rows = blocks(many, 96)
    policies = {
        "oracle": baselines.oracle(many, settings),
        "hold": baselines.constant(many, settings, 1.0),
        "short": baselines.constant(many, settings, -1.0),
        "random": baselines.random(settings, 1),
    }
    for name, policy in policies.items():
        rollout = roll(policy, many, rows, settings)
        difference = rollout.realised - rollout.expected(many)
        error = difference.std() / math.sqrt(len(difference))
        assert abs(difference.mean()) < 4.0 * error, name
        assert difference.std() > 0.005, f"{name}: the expected score took no noise out"


def test_a_policy_that_looks_ahead_gains_nothing_in_expectation(many: Labelled, settings: TradingSettings) -> None:
    """Leaked signs of the next bar's return look splendid realised; the noise they exploit has no expected value."""
    tables = []
    for t in many:
        close = t.market.prices[:, CLOSE]
        sign = np.append(np.sign(np.diff(np.log(close))), 0.0).astype(np.int8) + 1
        tables.append(np.tile(sign[:, None], (1, 3)))
    free = TradingSettings(costs=Costs(fee=0.0, half_spread=0.0, impact=0.0))
    leaked = roll(TablePolicy(tables, settings.positions), many, whole_markets(many), free)
    assert leaked.realised.mean() > 2.0
    assert abs(leaked.expected(many).mean()) < 0.2 * leaked.realised.mean()


def test_rollout_matches_a_plain_calculation(labelled: Labelled, settings: TradingSettings) -> None:
    """Buy and hold: one fill at the first open, then the close, with fee and half spread paid once."""
    t = labelled[0]
    rows = RolloutRows(np.array([0]), np.array([t.first]), 50)
    rollout = roll(baselines.constant(labelled, settings, 1.0), labelled, rows, settings)
    close = t.market.prices[:, CLOSE]
    price = close[t.first] * 1.0001  # open = previous close, worsened by the half spread
    quantity = 10_000.0 / close[t.first]
    cash = 10_000.0 - quantity * price * 1.001
    for step in (1, 17, 50):
        assert rollout.equity[step, 0] == pytest.approx(cash + quantity * close[t.first + step], rel=1e-12)
    assert rollout.turnover[0, 0] == pytest.approx(1.0001)
    assert rollout.turnover[1:].sum() == 0.0
    assert rollout.exposure[0, 0] == pytest.approx(quantity * close[t.first] / (cash + quantity * close[t.first]))


def test_blocks_cover_markets_without_overlap(labelled: Labelled) -> None:
    rows = blocks(labelled, 100)
    assert rows.steps == 100
    for m, t in enumerate(labelled):
        starts = np.sort(rows.start[rows.market == m])
        assert starts[0] == t.first
        assert (np.diff(starts) == 100).all()
        assert starts[-1] + 100 <= len(t.market) - 1


def test_held_position_does_not_drift() -> None:
    account = np.array([[-1.07, -1.0, 0, 0, 0], [0.9, 1.0, 0, 0, 0], [0.0, 0.0, 0, 0, 0]], dtype=np.float32)
    assert held_position(account, (-1.0, 0.0, 1.0)).tolist() == [0, 2, 1]


def test_missing_labels_hold() -> None:
    policy = TablePolicy([np.full((5, 3), -1, dtype=np.int8)], (-1.0, 0.0, 1.0))
    account = np.array([[0, 1.0, 0, 0, 0], [0, -1.0, 0, 0, 0]], dtype=np.float32)
    assert policy.act(np.array([[0, 1], [0, 2]]), account).tolist() == [2, 0]


def test_random_policy_is_seeded() -> None:
    index, account = np.zeros((64, 2), np.int64), np.zeros((64, 5), np.float32)
    first, again, other = (RandomPolicy(3, seed).act(index, account) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_tuned_cross_is_the_best_of_its_grid(labelled: Labelled, settings: TradingSettings) -> None:
    rule = baselines.tuned_cross(labelled, settings)
    rows = whole_markets(labelled)
    best = roll(rule.policy(labelled, settings), labelled, rows, settings).realised.sum()
    for other in list(baselines.cross_rules())[::17]:
        assert roll(other.policy(labelled, settings), labelled, rows, settings).realised.sum() <= best + 1e-12


def test_ruin_is_final(labelled: Labelled) -> None:
    """Switching at every bar at a high cost ruins; afterwards nothing is earned or traded."""
    settings = TradingSettings(costs=Costs(fee=0.05, half_spread=0.0, impact=0.0))
    rows = RolloutRows(np.array([0, 1]), np.array([labelled[0].first, labelled[1].first]), 300)
    rollout = roll(baselines.random(settings, 0), labelled, rows, settings)
    assert (rollout.equity[-1] <= 10.0).all()
    assert (rollout.equity[-1] == rollout.equity[-50]).all()
    assert (rollout.turnover[-50:] == 0.0).all()
    assert (rollout.exposure[-50:] == 0.0).all()
