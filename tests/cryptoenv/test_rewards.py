"""Named rewards against plain formulas, and callables in both environments."""

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

import cryptoenv
from cryptoenv.account import EQUITY, PREVIOUS_EQUITY, TURNOVER
from cryptoenv.rewards import REWARD_NAMES

ETA = 0.01


def naive_rewards(equity: list[float], traded: list[float]) -> dict[str, list[float]]:
    """Every named reward from the equity curve alone, written from the papers' formulas."""
    out: dict[str, list[float]] = {name: [] for name in REWARD_NAMES}
    a = b = down = hits = 0.0
    for t in range(1, len(equity)):
        r = math.log(equity[t] / equity[t - 1])
        out["log_return"].append(r)
        out["pnl"].append((equity[t] - equity[t - 1]) / equity[0])
        variance = b - a * a
        out["differential_sharpe"].append(
            (b * (r - a) - a * (r * r - b) / 2) / variance**1.5 if variance >= 1e-12 else 0.0
        )
        if down < 1e-12:
            out["downside"].append(0.0)
        elif r > 0:
            out["downside"].append((r - a / 2) / math.sqrt(down))
        else:
            out["downside"].append((down * (r - a / 2) - a * r * r / 2) / down**1.5)
        falls = [1 - equity[s] / max(equity[: s + 1]) for s in (t - 1, t)]
        out["drawdown"].append(-max(falls[1] - falls[0], 0.0))
        out["turnover"].append(-traded[t])
        hits += ETA * (np.sign(r) - hits)
        out["consistency"].append(hits)
        a, b, down = a + ETA * (r - a), b + ETA * (r * r - b), down + ETA * (min(r, 0.0) ** 2 - down)
    return out


@pytest.mark.parametrize("name", REWARD_NAMES)
def test_named_rewards_equal_their_formulas(market: cryptoenv.Market, name: str) -> None:
    env = gym.make("CryptoTrade-v0", market=market, reward=name).unwrapped
    _, info = env.reset(seed=3)
    rng = np.random.default_rng(3)
    equity, traded, rewards = [info["equity"]], [0.0], []
    for _ in range(400):
        _, reward, _, _, info = env.step(int(rng.integers(3)) if rng.random() < 0.2 else 2)
        rewards.append(reward)
        filled = 0.0 if info["fill_quantity"] == 0 else abs(info["fill_quantity"]) * info["fill_price"]
        traded.append(filled / equity[-1])
        equity.append(info["equity"])
    expected = naive_rewards(equity, traded)[name]
    np.testing.assert_allclose(rewards, expected, rtol=1e-7, atol=1e-12)
    assert np.std(rewards) > 0


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
