"""Whatever comes after t, what the environment showed and paid up to t stays the same, bit for bit."""

import numpy as np
import pandas as pd
import pytest

import cryptoenv
from tests.cryptoenv.env.test_env import same
from tests.naive.random_bars import random_bars

STEPS = 40


def poisoned(bars: pd.DataFrame, last_known: int, seed: int) -> pd.DataFrame:
    """The same bars up to `last_known`, other ones after it."""
    other = random_bars(len(bars) / 96, seed=seed)
    return pd.concat([bars.iloc[: last_known + 1], other.iloc[last_known + 1 :]])


def trajectory(bars: pd.DataFrame, start: int) -> list[object]:
    env = cryptoenv.CryptoTradeEnv(bars, window=(8, 4, 2))
    actions = np.random.default_rng(0).integers(3, size=STEPS)
    return [env.reset(seed=0, options={"start": start}), *[env.step(action) for action in actions]]


@pytest.mark.parametrize("seed", range(6))
def test_observations_and_rewards_do_not_know_the_future(seed: int) -> None:
    bars = random_bars(60, seed=7)
    start = int(np.random.default_rng(seed).integers(4700, 5600))
    clean = trajectory(bars, start)
    dirty = trajectory(poisoned(bars, start + STEPS, seed=100 + seed), start)
    assert same(clean, dirty)
    one_bar_early = trajectory(poisoned(bars, start + STEPS - 1, seed=100 + seed), start)
    assert same(clean[:-1], one_bar_early[:-1])
    assert not same(clean[-1], one_bar_early[-1]), "the poison must reach what it touches"
