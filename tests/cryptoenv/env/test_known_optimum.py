"""Named tasks through the environment, and a plan that earns there what it claims."""

from __future__ import annotations

import math
import time

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest

from cryptoenv.trading.config import Costs, RiskLimits
from synthetic import hindsight_oracle, regime_market, task_seeds

FEE, HALF_SPREAD = 0.001, 0.0002


def random_bars(length: int, gaps: bool) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    prices = 100.0 * np.exp(np.cumsum(0.004 * rng.standard_t(3, 2 * length))).reshape(length, 2)
    index = pd.date_range("2024-01-01", periods=length, freq="15min", tz="UTC", name="timestamp")
    opens, closes = prices.T
    if not gaps:
        opens = np.concatenate([opens[:1], closes[:-1]])
        prices = np.column_stack([opens, closes])
    high, low = 1.001 * prices.max(axis=1), 0.999 * prices.min(axis=1)
    return pd.DataFrame({"open": opens, "high": high, "low": low, "close": closes, "volume": 1e9}, index=index)


def replayed(bars: pd.DataFrame, targets: np.ndarray, first: int) -> float:
    """Log growth of equity when each bar's target (out or in) is sent from bar `first` on."""
    env = gym.make(
        "CryptoTrade-v0",
        market=bars,
        timeframes=("15m",),
        window=(4,),
        instrument="spot",
        actions=(0.0, 1.0),
        costs=Costs(fee=FEE, half_spread=HALF_SPREAD, impact=0.0),
        limits=RiskLimits(participation=1.0, rebalance_tolerance=10.0),
        random_start=False,
        episode_bars=len(bars),
    )
    _, info = env.reset(seed=0)
    assert info["bar"] == first
    start, ended = info["equity"], False
    while not ended:
        _, _, terminated, truncated, info = env.step(int(targets[info["bar"]]))
        ended = terminated or truncated
    assert info["bar"] == len(bars) - 1
    return math.log(info["equity"] / start)


@pytest.mark.parametrize(("gaps", "error"), [(False, 1e-9), (True, 0.02)])
def test_hindsight_earns_in_the_environment_what_it_claims(gaps: bool, error: float) -> None:
    """Exact on {0, 1} without gaps: with costs as log-returns, being out and being in compound without remainder.

    With gaps it is not: an order is sized at the close, so that a fall to the open leaves cash over.
    """
    bars = random_bars(800, gaps)
    costs = (math.log((1 + HALF_SPREAD) * (1 + FEE)), -math.log((1 - HALF_SPREAD) * (1 - FEE)))
    oracle = hindsight_oracle(bars, costs, (0.0, 1.0))
    first = 195
    path, held = np.zeros(len(bars), int), 0
    for t in range(first, len(bars)):
        held = path[t] = oracle.actions[t, held]
    claimed = oracle.values[first, path[first]] - (costs[0] if path[first] else 0.0)
    assert np.abs(np.diff(path)).sum() > 40 and claimed > 0.1
    assert replayed(bars, path, first) == pytest.approx(claimed, abs=error)
    late = np.concatenate([[0], path[:-1]])
    assert replayed(bars, late, first) < claimed - 0.1


@pytest.mark.parametrize("task", ["easy", "standard", "hard"])
def test_a_named_task_is_its_seed_family_and_quickly_there(task: str) -> None:
    regime_market(task, 1, 0)
    begin = time.perf_counter()
    env = gym.make("CryptoTrade-v0", market=task, split="test", markets=8)
    assert time.perf_counter() - begin < 10.0
    env.reset(seed=0)
    pool = env.unwrapped.setup.pool  # type: ignore[attr-defined]
    seeds = task_seeds(task, "test", len(pool.markets))
    for market, seed in zip(pool.markets, seeds, strict=True):
        assert market.name == f"{task}-{seed}"
    bars = regime_market(task, 60, seeds[3]).bars
    assert (pool.markets[3].prices[:, 3] == bars["close"].to_numpy()).all()
