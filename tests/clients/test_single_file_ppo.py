"""A single-file PPO loop on `gym.make_vec` learns what there is to learn: in a rising market, hold."""

import numpy as np
import pandas as pd
import pytest
import torch

import cryptoenv
from examples import single_file_ppo


@pytest.fixture(scope="module")
def rising() -> cryptoenv.Market:
    """70 days of 15m bars that rise by 0.1% a bar on average, with 0.2% noise."""
    rng = np.random.default_rng(0)
    index = pd.date_range("2021-01-01", periods=70 * 96, freq="15min", tz="UTC", name="timestamp")
    close = 100.0 * np.exp(np.cumsum(0.001 + 0.002 * rng.standard_normal(len(index))))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    volume = np.full(len(index), 1e6)
    columns = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return cryptoenv.Market.from_bars(pd.DataFrame(columns, index=index))


def test_it_learns_to_hold_in_a_rising_market(rising: cryptoenv.Market) -> None:
    episode = 30
    agent, returns = single_file_ppo.train(
        num_envs=16, horizon=32, iterations=25, seed=1, market=rising, window=(4, 2, 2), episode_bars=episode
    )
    held = 0.001 * episode - 0.0015  # the mean drift of an episode less what opening the position costs
    assert len(returns) == 16 * (25 * 32 // (episode + 1))  # one step in each episode resets
    assert np.mean(returns[:32]) < -0.25 * held  # fees of trading at random, less what the first updates teach
    assert np.mean(returns[-64:]) > 0.6 * held
    assert all(torch.isfinite(p).all() for p in agent.parameters())
