"""Several agents on one market: alone it is `CryptoTrade-v0`, PettingZoo's tests pass, a crowd pays for itself."""

import copy
import math
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test
from pettingzoo.utils import parallel_to_aec

from cryptoenv import Costs, Market, OrderStatus, RiskLimits, VenueRules
from cryptoenv.bars.price_columns import OPEN, SIGMA, VOLUME
from cryptoenv.multi_agent import parallel_env
from synthetic import regime_market

WINDOW = (4, 2)
HEAVY = Costs(fee=0.0005, half_spread=0.0002, impact=1.0)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market.from_bars(regime_market("easy", days=6, seed=3).bars.iloc[-3600:], ("15m", "4h"))


def crowd(market: Market, agents: int, **arguments: Any) -> Any:
    return parallel_env(agents, market, window=WINDOW, **{"episode_bars": 80, **arguments})


CASES: list[dict[str, Any]] = [
    {"instrument": "spot", "rules": VenueRules(step_size=0.01, min_notional=5.0)},
    {"instrument": "margin", "costs": Costs(borrow=0.05), "observation": "index"},
    {
        "instrument": "perpetual", "actions": "continuous", "costs": Costs(impact=1.0, funding=0.001),
        "initial_cash": 1e7, "reward": {"log_return": 1.0, "differential_sharpe": 0.1, "turnover": 0.01},
        "limits": RiskLimits(exposure=20.0, participation=0.02, stop_loss=0.002, take_profit=0.002),
    },
]  # fmt: skip


@pytest.mark.parametrize("arguments", CASES, ids=["spot", "margin", "perpetual"])
def test_one_agent_is_the_trading_env_bit_for_bit(market: Market, arguments: dict[str, Any]) -> None:
    ours = crowd(market, 1, **arguments)
    theirs = gym.make("CryptoTrade-v0", market=market, window=WINDOW, episode_bars=80, **arguments)
    ours.action_space("trader_0").seed(1)
    assert ours.observation_space("trader_0") == theirs.observation_space
    kinds: set[Any] = set()
    for seed in (5, None, None):
        seen, info = ours.reset(seed=seed)
        other, other_info = theirs.reset(seed=seed)
        while True:
            assert data_equivalence(seen["trader_0"], other, exact=True)
            mine, told = dict(info["trader_0"]), dict(other_info)
            masks = [found.pop("action_mask", None) for found in (mine, told)]
            assert mine == told and np.array_equal(*masks)
            kinds |= {told["order_status"].name, told["exit_kind"].name}
            if not ours.agents:
                break
            action = ours.action_space("trader_0").sample()
            seen, rewards, ruined, truncated, info = ours.step({"trader_0": action})
            other, reward, *ends, other_info = theirs.step(action)
            assert (rewards["trader_0"], ruined["trader_0"], truncated["trader_0"]) == (reward, *ends)
    expected = {"spot": {"CASH_CAPPED"}, "margin": {"FILLED"}}
    assert kinds >= expected.get(arguments["instrument"], {"PARTIAL", "STOP_LOSS", "TAKE_PROFIT"})


def test_the_api_tests_of_pettingzoo_pass(market: Market) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*reset option 'options' is unknown")  # their test passes one
        parallel_api_test(crowd(market, 3), num_cycles=90)
        parallel_seed_test(lambda: crowd(market, 2, costs=HEAVY), num_cycles=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        api_test(parallel_to_aec(crowd(market, 2, episode_bars=20)), num_cycles=30)


def test_an_order_split_among_agents_costs_what_it_costs_whole(market: Market) -> None:
    """Four accounts of a quarter each, that do the same, are one: stops, volume shares and impact included."""
    arguments: dict[str, Any] = {
        "actions": "continuous", "costs": HEAVY,
        "limits": RiskLimits(participation=0.05, stop_loss=0.004, take_profit=0.006), "random_start": False,
    }  # fmt: skip
    four, one = crowd(market, 4, initial_cash=1e7, **arguments), crowd(market, 1, initial_cash=4e7, **arguments)
    four.reset(seed=0)
    one.reset(seed=0)
    rng, statuses = np.random.default_rng(4), set()
    while one.agents:
        action = np.array([rng.choice([-1.0, 0.0, 0.7, 1.0])], dtype=np.float32)
        *_, infos = four.step(dict.fromkeys(four.agents, action))
        *_, alone = one.step({"trader_0": action})
        statuses |= {alone["trader_0"]["order_status"].name, alone["trader_0"]["exit_kind"].name}
        assert sum(info["equity"] for info in infos.values()) == pytest.approx(alone["trader_0"]["equity"], rel=1e-9)
        assert {info["order_status"] for info in infos.values()} == {alone["trader_0"]["order_status"]}
    assert statuses >= {"PARTIAL", "FILLED", "STOP_LOSS", "TAKE_PROFIT"}


def test_fills_follow_the_square_root_of_each_sides_flow(market: Market) -> None:
    env = crowd(market, 3, costs=HEAVY, initial_cash=(3e5, 1e5, 2e5), limits=RiskLimits(participation=1.0))
    _, infos = env.reset(seed=1)
    before = infos["trader_0"]["bar"]
    *_, infos = env.step({"trader_0": 2, "trader_1": 2, "trader_2": 0})  # two buy, one sells
    bar, sigma = market.prices[before + 1], market.prices[before, SIGMA]
    bought = infos["trader_0"]["fill_quantity"] + infos["trader_1"]["fill_quantity"]
    sold = -infos["trader_2"]["fill_quantity"]
    assert min(bought, sold) > 0.0
    for names, flow, side in ((("trader_0", "trader_1"), bought, 1.0), (("trader_2",), sold, -1.0)):
        price = bar[OPEN] * (1.0 + side * (0.0002 + sigma * math.sqrt(flow / bar[VOLUME])))
        for name in names:
            assert infos[name]["fill_price"] == pytest.approx(price, rel=1e-12)


def test_volume_is_shared_in_proportion_and_the_rest_stays_due(market: Market) -> None:
    env = crowd(market, 2, initial_cash=(3e8, 1e8), limits=RiskLimits(participation=0.01))
    _, infos = env.reset(seed=1)
    before, filled = infos["trader_0"]["bar"], []
    for step in (1, 2):
        *_, infos = env.step({"trader_0": 2, "trader_1": 2})
        quantities = [infos[name]["fill_quantity"] for name in env.agents]
        assert sum(quantities) == pytest.approx(0.01 * market.prices[before + step, VOLUME])
        assert {info["order_status"] for info in infos.values()} == {OrderStatus.PARTIAL}
        filled.append(quantities)
    # both ask for more than the cap, which cuts them to the same: then they share it
    np.testing.assert_allclose(filled, [[sum(q) / 2.0] * 2 for q in filled])


def test_the_ruined_leave_and_trouble_nobody(market: Market) -> None:
    """The last that is left trades as if it were alone."""
    arguments: dict[str, Any] = {
        "limits": RiskLimits(exposure=100.0), "actions": (-100.0, 0.0, 1.0, 100.0), "random_start": False,
        "costs": HEAVY, "rules": VenueRules(maintenance_margin=0.001), "episode_bars": 400,
    }  # fmt: skip
    env, alone = crowd(market, 3, **arguments), crowd(market, 1, **arguments)
    env.reset(seed=0)
    lost: list[str] = []
    for _ in range(390):
        asked = {"trader_0": 0, "trader_1": 1, "trader_2": 3}
        _, _, ruined, truncated, infos = env.step({name: asked[name] for name in env.agents})
        lost += [name for name in ruined if ruined[name]]
        assert not any(truncated.values()) and set(infos) >= set(env.agents)
        assert all(infos[name]["ruined"] for name in ruined if ruined[name])
        if len(env.agents) == 1:
            break
    assert sorted(lost) == ["trader_0", "trader_2"] and env.agents == ["trader_1"]
    alone.reset(seed=0, options={"start": infos["trader_1"]["bar"], "market": 0})
    for action in (2, 1, 2):
        *_, infos = env.step({"trader_1": action})
        *_, theirs = alone.step({"trader_0": action})
        assert infos["trader_1"]["fill_price"] == theirs["trader_0"]["fill_price"] > 0.0


def test_copies_go_on_by_themselves_and_the_state_is_what_all_see(market: Market) -> None:
    env = crowd(market, 2)
    seen, _ = env.reset(seed=2)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        actions = {"trader_0": 2, "trader_1": 0}
        assert twin.step(actions)[1] == copy.deepcopy(env).step(actions)[1]
    windows = [seen["trader_0"][name].ravel() for name in ("15m", "4h")]
    np.testing.assert_array_equal(env.state(), np.concatenate([*windows, *(s["account"] for s in seen.values())]))
    assert env.state_space.contains(env.state())
    assert crowd(market, 2, render_mode="ansi", observation="index").render().count("trader_") == 2


def test_mistakes_are_named(market: Market) -> None:
    for arguments, told in (
        ({"agents": 0}, "agents=0"),
        ({"initial_cash": (1.0, 2.0, 3.0)}, "3 amounts"),
        ({"initial_cash": (1.0, -2.0)}, "initial_cash=-2"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ):
        with pytest.raises(ValueError, match=told):
            crowd(market, **{"agents": 2, **arguments})  # type: ignore[arg-type]
    env = crowd(market, 2)
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})
    env.reset(seed=0)
    for actions, told in (
        ({"trader_0": 1}, "lacking are \\['trader_1'\\]"),
        ({"trader_0": 1, "trader_1": 1, "me": 1}, "unknown \\['me'\\]"),
        ({"trader_0": 1, "trader_1": 3}, "action of trader_1 at bar .* from 0 to 2"),
        ({"trader_0": 1, "trader_1": float("nan")}, "trader_1"),
    ):
        with pytest.raises(ValueError, match=told):
            env.step(actions)
    with pytest.raises(ValueError, match="nobody"):
        env.reset(options={"exposure": {"nobody": 1.0}})
    _, infos = env.reset(options={"exposure": {"trader_1": -1.0}})
    assert [infos[name]["exposure"] for name in env.agents] == [0.0, -1.0]
