"""Named rewards against plain formulas, and callables in both environments."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray

import cryptoenv
from cryptoenv.trading.account import ACCOUNT_WIDTH, EQUITY, PREVIOUS_EQUITY, TURNOVER
from cryptoenv.trading.rewards import REWARD_NAMES, begin_means, reward_weights, weighted_reward

ETA = 0.01


def ratio(mean: float, risk: float, square: float) -> float:
    return mean / max(risk, square / 10) ** 0.5 if square > 0 else 0.0


def naive_rewards(equity: list[float], traded: list[float], sigma: float) -> dict[str, list[float]]:
    """Every named reward from the equity curve and the market's deviation at the start, by the documented formulas."""
    out: dict[str, list[float]] = {name: [] for name in REWARD_NAMES}
    a, b, down, hits = 0.0, sigma**2, sigma**2 / 2, 0.0
    for t in range(1, len(equity)):
        r = math.log(equity[t] / equity[t - 1])
        out["log_return"].append(r)
        out["pnl"].append((equity[t] - equity[t - 1]) / equity[0])
        before = (ratio(a, b - a * a, b), ratio(a, down, b))
        a, b, down = (1 - ETA) * a + ETA * r, (1 - ETA) * b + ETA * r * r, (1 - ETA) * down + ETA * min(r, 0.0) ** 2
        out["differential_sharpe"].append((ratio(a, b - a * a, b) - before[0]) / ETA)
        out["downside"].append((ratio(a, down, b) - before[1]) / ETA)
        falls = [1 - equity[s] / max(equity[: s + 1]) for s in (t - 1, t)]
        out["drawdown"].append(-max(falls[1] - falls[0], 0.0))
        out["turnover"].append(-traded[t])
        hits += ETA * (np.sign(r) - hits)
        out["consistency"].append(hits)
    return out


@pytest.mark.parametrize("name", REWARD_NAMES)
def test_named_rewards_equal_their_formulas(market: cryptoenv.Market, name: str) -> None:
    env = gym.make("CryptoTrade-v0", market=market, reward=name).unwrapped
    _, info = env.reset(seed=3)
    start, rng = info["bar"], np.random.default_rng(3)
    equity, traded, rewards = [info["equity"]], [0.0], []
    for _ in range(400):
        _, reward, _, _, info = env.step(int(rng.integers(3)) if rng.random() < 0.2 else 2)
        rewards.append(reward)
        filled = 0.0 if info["fill_quantity"] == 0 else abs(info["fill_quantity"]) * info["fill_price"]
        traded.append(filled / equity[-1])
        equity.append(info["equity"])
    sigma = np.std(np.diff(np.log(market.bars["close"].to_numpy()))[start - 96 : start])
    expected = naive_rewards(equity, traded, float(sigma))[name]
    np.testing.assert_allclose(rewards, expected, rtol=1e-7, atol=1e-9)
    assert np.std(rewards) > 0


@pytest.mark.parametrize("name", ["differential_sharpe", "downside"])
def test_differential_rewards_do_not_explode(market: cryptoenv.Market, name: str) -> None:
    """Neither at the start nor after a thousand bars without a position; they add up to the ratio's change."""
    env = gym.make("CryptoTrade-v0", market=market, reward=name).unwrapped
    rng = np.random.default_rng(0)
    policies = [lambda t: rng.integers(3), lambda t: 2 if t % 400 >= 390 else 1, lambda t: 2 if t > 1500 else 1]
    for policy in policies:
        env.reset(seed=1)
        rewards = [env.step(int(policy(t)))[1] for t in range(2000)]
        assert 0.1 < np.abs(rewards).max() < 40.0
        assert abs(ETA * np.sum(rewards)) <= 10**0.5
        assert np.abs(rewards[:20]).max() < 10.0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-9, 1e-4, 0.01, 3.0]), min_size=1, max_size=60), st.randoms())
def test_differential_rewards_are_bounded(sizes: list[float], random: Any) -> None:
    for name in ("differential_sharpe", "downside"):
        account, weights = np.zeros(ACCOUNT_WIDTH), reward_weights(name)
        begin_means(account, random.choice([0.0, 1e-5, 0.01]), 1.0)
        account[PREVIOUS_EQUITY] = 1.0
        for size in sizes:
            account[EQUITY] = math.exp(random.choice([-1, 1]) * size)
            for _ in range(random.choice([1, 50])):
                assert abs(weighted_reward(account, weights, ETA)) <= 2 * 10**0.5 / ETA * (1 + 1e-9)


def test_weights_are_checked() -> None:
    assert reward_weights({"pnl": np.float32(2.0), "turnover": np.int64(1)})[[1, 5]].tolist() == [2.0, 1.0]
    for wrong in ({"pnl": 0.0}, {"pnl": True}, {"pnl": "1"}, {"pnl": np.float32("nan")}, {}):
        with pytest.raises(ValueError, match="reward"):
            reward_weights(wrong)


def test_weights_add_up(market: cryptoenv.Market) -> None:
    weights = {name: 0.5 + i for i, name in enumerate(REWARD_NAMES)}
    envs = {name: gym.make("CryptoTrade-v0", market=market, reward=name).unwrapped for name in REWARD_NAMES}
    both = gym.make("CryptoTrade-v0", market=market, reward=weights).unwrapped
    for env in (*envs.values(), both):
        env.reset(seed=1)
    for action in np.random.default_rng(0).integers(3, size=100):
        total = sum(weights[name] * env.step(action)[1] for name, env in envs.items())
        assert both.step(action)[1] == pytest.approx(total, rel=1e-9)


@njit
def cautious(account: NDArray[np.float64]) -> float:
    return math.log(account[EQUITY] / account[PREVIOUS_EQUITY]) - 0.01 * account[TURNOVER]


def plain(account: NDArray[np.float64]) -> float:
    return math.log(account[EQUITY] / account[PREVIOUS_EQUITY]) - 0.01 * account[TURNOVER]


def test_callables_in_both_environments(market: cryptoenv.Market) -> None:
    arguments: dict[str, Any] = {"market": market, "episode_bars": 20}
    jitted = gym.make("CryptoTrade-v0", reward=cautious, **arguments).unwrapped
    python = gym.make("CryptoTrade-v0", reward=plain, **arguments).unwrapped
    named = gym.make("CryptoTrade-v0", reward={"log_return": 1.0, "turnover": 0.01}, **arguments).unwrapped
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, reward=cautious, **arguments)
    for env in (jitted, python, named):
        env.reset(seed=8)
    envs.reset(seed=8)
    for action in np.random.default_rng(0).integers(3, size=20):
        reward = jitted.step(action)[1]
        assert reward == python.step(action)[1] == envs.step(np.array([action, 1]))[1][0]
        assert named.step(action)[1] == pytest.approx(reward, abs=1e-15)
    assert envs.step(np.array([0, 0]))[1].tolist() == [0.0, 0.0], "the step that begins anew pays nothing"


def test_plain_python_is_refused_by_the_vector_env(market: cryptoenv.Market) -> None:
    with pytest.raises(TypeError, match="numba"):
        gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, reward=plain)


def test_a_reward_callable_cannot_touch_the_account_or_return_nan(market: cryptoenv.Market) -> None:
    def thief(account: NDArray[np.float64]) -> float:
        account[EQUITY] = 1e9
        return 0.0

    env = gym.make("CryptoTrade-v0", market=market, reward=thief).unwrapped
    env.reset(seed=0)
    assert env.step(2)[4]["equity"] < 11_000
    broken = gym.make("CryptoTrade-v0", market=market, reward=lambda account: math.nan).unwrapped
    broken.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        broken.step(2)
    with pytest.raises(TypeError, match="callable"):
        gym.make("CryptoTrade-v0", market=market, reward=3.0)
