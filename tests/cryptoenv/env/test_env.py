"""The single environment: checkers, clock, seeds, options, errors."""

import math
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import cryptoenv
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.kernel import open_account, transition
from tests.naive.random_bars import random_bars

VARIANTS = [
    {"observation": "window"},
    {"observation": "index"},
    {"instrument": "spot", "actions": (0.0, 1.0)},
    {"instrument": "margin", "observation": "index"},
    {"actions": "continuous"},
    {"instrument": "spot", "actions": "continuous", "observation": "index"},
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_gymnasium_checker_is_green(market: cryptoenv.Market, arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("CryptoTrade-v0", market=market, **arguments).unwrapped)


@pytest.mark.parametrize("observation", ["window", "index"])
def test_gymnasium_checker_is_green_on_the_default_market(observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make("CryptoTrade-v0", observation=observation).unwrapped)


@pytest.mark.parametrize("arguments", VARIANTS)
def test_sb3_checker_is_green(market: cryptoenv.Market, arguments: dict[str, Any]) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*unconventional shape.*")
        if arguments.get("actions") == "continuous" and arguments.get("instrument") == "spot":
            # spot cannot be short: its Box(0, 1) is by design what SB3 would rather see as [-1, 1]
            warnings.filterwarnings("ignore", message=".*symmetric and normalized Box action.*")
        sb3_check_env(gym.make("CryptoTrade-v0", market=market, **arguments))


def test_plugin_syntax_makes_the_environment() -> None:
    env = gym.make("cryptoenv:CryptoTrade-v0")
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)


def run(env: gym.Env[Any, Any], seed: int, steps: int) -> list[Any]:
    """Everything an environment returns over `steps` of seeded random actions, over several episodes."""
    rng = np.random.default_rng(seed)
    seen: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        result = env.step(int(rng.integers(3)))
        seen.append(result)
        if result[2] or result[3]:
            seen.append(env.reset())
    return seen


def same(left: Any, right: Any) -> bool:
    """Exact equality of nested observations and infos, NaN equal to NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(x, y) for x, y in zip(left, right, strict=True))
    return bool(np.array_equal(left, right, equal_nan=np.asarray(left).dtype.kind == "f"))


def test_same_seed_same_trajectory_over_episodes(markets: list[cryptoenv.Market]) -> None:
    first = run(gym.make("CryptoTrade-v0", market=markets, episode_bars=50), 3, 170)
    again = run(gym.make("CryptoTrade-v0", market=markets, episode_bars=50), 3, 170)
    other = run(gym.make("CryptoTrade-v0", market=markets, episode_bars=50), 4, 170)
    assert same(first, again)
    assert not same(first, other)
    again[5][4]["equity"] += 1e-9
    assert not same(first, again)


def test_a_pickled_environment_goes_on_the_same(market: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    env.reset(seed=1)
    env.step(2)
    copy = pickle.loads(pickle.dumps(env))
    assert same(env.step(0), copy.step(0))


def test_env_steps_are_the_kernels(market: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    _, info = env.reset(seed=5)
    account = np.zeros(ACCOUNT_WIDTH)
    open_account(account, 10_000.0, info["close"], 0.0)
    p = cryptoenv.TradingConfig().parameters(900.0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        action = int(rng.integers(3))
        before, t = account[0], info["bar"]
        _, reward, _, _, info = env.step(action)
        transition(account, market.prices, t, float(action - 1), p)
        assert info["equity"] == account[0]
        assert reward == math.log(account[0] / before)


def test_windows_show_closed_bars_only(market: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=market, window=(5, 3, 2)).unwrapped
    observation, info = env.reset(seed=2)
    ends = [
        market.bars.index[0] + (np.arange(len(f)) + 1) * step
        for f, step in zip(
            market.features, [np.timedelta64(15, "m"), np.timedelta64(4, "h"), np.timedelta64(1, "D")], strict=True
        )
    ]
    for _ in range(200):
        now = market.bars.index[info["bar"]] + np.timedelta64(15, "m")
        for k, (timeframe, window) in enumerate(zip(market.timeframes, (5, 3, 2), strict=True)):
            last = int(np.searchsorted(ends[k], now, side="right")) - 1
            assert ends[k][last] <= now
            np.testing.assert_array_equal(observation[timeframe], market.features[k][last - window + 1 : last + 1])
        observation, _, _, _, info = env.step(1)


def test_reset_options(markets: list[cryptoenv.Market]) -> None:
    env = gym.make("CryptoTrade-v0", market=markets).unwrapped
    observation, info = env.reset(seed=0, options={"market": 2, "start": 5500, "exposure": -0.5})
    assert (info["market"], info["bar"], info["exposure"]) == (2, 5500, -0.5)
    assert observation["account"][0] == np.float32(-0.5)
    assert info["close"] == markets[2].bars["close"].iloc[5500]
    assert env.reset(options={"market": 1})[1]["market"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": 10}, ["first decidable bar", "market 0 is"]),
        ({"market": 1}, ["market", "[0, 0]"]),
        ({"market": 0.5}, ["market", "whole number"]),
        ({"exposure": 2.0}, ["exposure", "[-1.0, 1.0]"]),
        ({"exposure": math.nan}, ["exposure"]),
        ({"begin": 1}, ["begin", "market", "start", "exposure"]),
        ({"start": 10_000_000}, ["start", "last bar"]),
    ],
)
def test_bad_reset_options(market: cryptoenv.Market, options: dict[str, Any], words: list[str]) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    env.reset(seed=0)
    before = env.step(2)[4]["equity"]
    with pytest.raises((ValueError, TypeError)) as error:
        env.reset(options=options)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert env._account[0] == before, "a refused reset changes nothing"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"actions": (0.0, 2.0)}, ["actions[1]=2.0", "[-1.0, 1.0]"]),
        ({"instrument": "spot", "actions": (-1.0, 0.0, 1.0)}, ["actions[0]=-1.0", "spot"]),
        ({"actions": (1.0,)}, ["at least two"]),
        ({"actions": "box"}, ["continuous"]),
        ({"instrument": "futures"}, ["futures", "perpetual"]),
        ({"observation": "image"}, ["image", "window", "index"]),
        ({"reward": "profit"}, ["profit", "log_return"]),
        ({"reward": {"pnl": math.nan}}, ["pnl", "finite"]),
        ({"window": (32, 16)}, ["window", "15m"]),
        ({"window": (32, 16, 0)}, ["window", ">= 1"]),
        ({"window": (32, 16, 500)}, ["market 0", "1d"]),
        ({"episode_bars": 0}, ["episode_bars", ">= 1"]),
        ({"initial_cash": -5.0}, ["initial_cash", "1e-06", "1e+15"]),
        ({"initial_cash": 5e-324}, ["initial_cash", "1e-06", "1e+15"]),
        ({"initial_cash": math.nan}, ["initial_cash", "1e-06", "1e+15"]),
        ({"initial_cash": "x"}, ["initial_cash='x'", "number"]),
        ({"initial_cash": None}, ["initial_cash", "number"]),
        ({"actions": ("a", "b")}, ["actions=('a', 'b')", "numbers"]),
        ({"actions": ((1,), (2, 3))}, ["actions", "numbers"]),
        ({"actions": 5}, ["actions", "two"]),
        ({"timeframes": 5}, ["timeframes=5", "sequence"]),
        ({"timeframes": ()}, ["timeframes=()", "sequence"]),
        ({"reward": {"pnl": 0.0}}, ["reward", "not 0"]),
        ({"split": "test"}, ["split='test'", "named tasks"]),
        ({"timeframes": ("15m", "1h")}, ["timeframes", "from_bars"]),
        ({"timeframes": "15m"}, ["timeframes", "sequence"]),
        ({"split": "holdout"}, ["split", "validation"]),
        ({"render_mode": "video"}, ["render_mode", "video"]),
        ({"costs": 0.001}, ["costs", "Costs"]),
        ({"leverage": 5}, ["leverage"]),
    ],
)
def test_bad_arguments(market: cryptoenv.Market, arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        cryptoenv.CryptoTradeEnv(market, **arguments)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: cryptoenv.Costs(fee=-0.1), ["Costs.fee", ">= 0", "0.5"]),
        (lambda: cryptoenv.Costs(fee=math.nan), ["Costs.fee"]),
        (lambda: cryptoenv.RiskLimits(take_profit=-0.1), ["take_profit"]),
        (lambda: cryptoenv.RiskLimits(participation=0.0), ["participation"]),
        (lambda: cryptoenv.Sizing(volatility=0.0), ["volatility"]),
        (lambda: cryptoenv.TradingConfig("spot", limits=cryptoenv.RiskLimits(exposure=2.0)), ["exposure", "spot"]),
        (lambda: cryptoenv.TradingConfig("spot", costs=cryptoenv.Costs(borrow=0.1)), ["borrow", "margin"]),
        (lambda: cryptoenv.TradingConfig("margin", costs=cryptoenv.Costs(funding=0.1)), ["funding", "perpetual"]),
    ],
)
def test_bad_trading_rules(build: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        build()
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("options", ["abc", 5, [1]])
def test_reset_options_that_are_no_dict(market: cryptoenv.Market, options: Any) -> None:
    with pytest.raises(TypeError, match="options must be a dict"):
        cryptoenv.CryptoTradeEnv(market).reset(options=options)


@pytest.mark.parametrize("action", [0, np.int64(2), np.uint8(1), np.array(1)])
def test_whole_numbers_of_every_kind_are_actions(market: cryptoenv.Market, action: Any) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    env.reset(seed=0)
    assert env.step(action)[0]["account"][1] == float(action) - 1.0


@pytest.mark.parametrize(
    "action", [-1, 3, 1.5, math.nan, None, "buy", np.array([1, 2]), "1", b"1", True, np.True_, np.array([1]), {}]
)
def test_bad_discrete_actions_name_the_bar(market: cryptoenv.Market, action: Any) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    _, info = env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"at bar {info['bar']} is not allowed"):
        env.step(action)


@pytest.mark.parametrize(
    "action", [np.array([math.nan]), [1.5], [0.1, 0.2], math.inf, "0.5", b"1", True, np.array([True]), {}, None]
)
def test_bad_continuous_actions_name_the_bar(market: cryptoenv.Market, action: Any) -> None:
    env = gym.make("CryptoTrade-v0", market=market, actions="continuous").unwrapped
    _, info = env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"at bar {info['bar']} is not allowed"):
        env.step(action)


TRAJECTORY = """import hashlib
import gymnasium as gym, numpy as np
import cryptoenv
from tests.naive.random_bars import random_bars

market = cryptoenv.Market.from_bars(random_bars(24, seed=1), ("15m", "1h"))
digest = hashlib.sha256(market.prices.tobytes())
arguments = {"market": market, "window": (8, 4), "episode_bars": 40, "reward": {"log_return": 1.0, "downside": 0.1}}
for observation in ("window", "index"):
    env = gym.make("CryptoTrade-v0", observation=observation, **arguments)
    seen, info = env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(100):
        for name in seen:
            digest.update(seen[name].tobytes())
        seen, reward, terminated, truncated, info = env.step(int(rng.integers(3)))
        assert type(reward) is type(info["equity"]) is float
        digest.update(repr((reward, terminated, truncated, info)).encode())
        if terminated or truncated:
            seen, info = env.reset()
print(digest.hexdigest())
"""


def test_jitted_trajectories_equal_unjitted_ones() -> None:
    digests = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled}
        command = [sys.executable, "-c", TRAJECTORY]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        digests.append(run.stdout)
    assert digests[0] == digests[1]


def test_step_before_reset_and_after_the_end_is_refused(market: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=market, episode_bars=2).unwrapped
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)
    env.reset(seed=0)
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)


def test_end_of_data_is_truncation(market: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=market).unwrapped
    env.reset(options={"start": len(market) - 3})
    assert env.step(1)[2:4] == (False, False)
    assert env.step(1)[2:4] == (False, True)


def test_bars_bring_their_own_timeframes() -> None:
    env = gym.make("CryptoTrade-v0", market=random_bars(40, seed=3), timeframes=("1h", "4h"), window=(8, 4))
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"1h", "4h", "account"}


def test_action_mask_follows_minimum_notional(market: cryptoenv.Market) -> None:
    rules = cryptoenv.VenueRules(min_notional=6_000.0)
    env = gym.make("CryptoTrade-v0", market=market, actions=(0.0, 0.5, 1.0), rules=rules).unwrapped
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [True, False, True]
    assert env.action_masks().tolist() == [True, False, True]
    _, _, _, _, info = env.step(1)
    assert info["order_status"] == cryptoenv.OrderStatus.BELOW_MIN_NOTIONAL


def test_default_actions_follow_instrument_and_limit(market: cryptoenv.Market) -> None:
    def levels(**arguments: Any) -> list[float]:
        return cryptoenv.CryptoTradeEnv(market, **arguments).setup.targets.tolist()

    assert levels() == [-1.0, 0.0, 1.0]
    assert levels(instrument="spot") == [0.0, 1.0]
    assert levels(limits=cryptoenv.RiskLimits(exposure=0.5)) == [-0.5, 0.0, 0.5]
    assert levels(limits=cryptoenv.RiskLimits(exposure=3.0)) == [-1.0, 0.0, 1.0]


def test_a_tensor_that_requires_grad_is_refused_by_name(market: cryptoenv.Market) -> None:
    torch = pytest.importorskip("torch")
    env = cryptoenv.CryptoTradeEnv(market, actions="continuous")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action at bar .*torch\.Tensor.*detach"):
        env.step(torch.tensor([0.5], requires_grad=True))
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, actions="continuous")
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: .*torch\.Tensor.*detach"):
        envs.step(torch.tensor([[0.5], [0.1]], requires_grad=True))
    env.step(torch.tensor([0.5]))
