"""Portfolio rules against what defines them."""

import gymnasium as gym
import numpy as np
import pytest

from agents.evaluation.portfolio_baselines import equal_risk, equal_weights, olmar, on_simplex, oracle_weights
from cryptoenv import Costs, PortfolioMarket
from synthetic import filter_oracle
from synthetic.regimes.correlated_market import correlated_market


def walks(assets: int, scale: list[float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    common = rng.standard_normal((200, 1))
    moves = (rng.standard_normal((200, assets)) + common) * np.array(scale)
    return np.asarray(100.0 * np.exp(np.cumsum(moves, axis=0)))


def test_equal_risk_shares_the_variance_equally() -> None:
    closes = walks(3, [0.01, 0.02, 0.04])
    weights = equal_risk(closes)
    covariance = np.cov(np.diff(np.log(closes[-97:]), axis=0), rowvar=False)
    shares = weights * (covariance @ weights)
    np.testing.assert_allclose(shares / shares.sum(), 1 / 3, rtol=1e-6)
    assert weights.sum() == 1.0 or abs(weights.sum() - 1.0) < 1e-12
    assert abs(equal_risk(closes[:3]) - equal_weights(closes)).max() == 0.0


def test_the_projection_is_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.default_rng(1)
    others = rng.dirichlet(np.ones(4), 2000)
    for values in rng.normal(0, 2, (20, 4)):
        nearest = on_simplex(values)
        assert (nearest >= 0.0).all() and abs(nearest.sum() - 1.0) < 1e-12
        assert np.linalg.norm(nearest - values) <= np.linalg.norm(others - values, axis=1).min() + 1e-12


def test_olmar_buys_what_fell_below_its_average() -> None:
    closes = np.full((5, 2), 100.0)
    assert olmar(closes, np.array([0.3, 0.7])).tolist() == [0.3, 0.7]
    closes[-1, 0] = 90.0
    assert olmar(closes, np.array([0.5, 0.5])).tolist() == [1.0, 0.0]


@pytest.mark.slow
def test_each_assets_oracle_earns_on_the_account_what_holding_does_not() -> None:
    drawn = list(correlated_market(assets=2, days=12, seed=3).assets.items())
    market = PortfolioMarket.from_bars({name: sample.bars for name, sample in drawn})
    env = gym.make("CryptoPortfolio-v0", market=market, observation="index", random_start=False, episode_bars=1100,
                   costs=Costs(impact=0.0))  # fmt: skip
    _, info = env.reset(seed=0)
    start = info["bar"]
    weights = oracle_weights([sample for _, sample in drawn], start)
    assert not weights[:start].any() and set(np.unique(weights)) == {-0.5, 0.0, 0.5}
    own = filter_oracle(drawn[1][1])
    held = 1 + (2 * weights[:, 1]).astype(int)
    assert (own.actions[np.arange(start, len(held)), held[start - 1 : -1]] == held[start:]).all()
    for t in range(1100):
        info = env.step(weights[start + t])[4]
    assert info["equity"] > 10_500.0
    env.reset(seed=0)
    for _ in range(1100):
        info = env.step(equal_weights(np.zeros((1, 2))))[4]
    assert info["equity"] < 10_500.0
