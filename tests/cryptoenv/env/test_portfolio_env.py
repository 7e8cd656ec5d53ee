"""`CryptoPortfolio-v0`: one asset is `CryptoTrade-v0`, rows are single envs, checkers, delisting, refusals."""

import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import cryptoenv
from cryptoenv import (
    Costs,
    EnvState,
    ExitKind,
    OrderStatus,
    PortfolioLimits,
    PortfolioMarket,
    RiskLimits,
    StateError,
    VenueRules,
)
from cryptoenv.env.episode import BAR
from cryptoenv.env.portfolio import vector
from cryptoenv.env.portfolio.saved_state import PortfolioState
from cryptoenv.trading.account import CLOSE_PRICE, EQUITY
from synthetic.regimes.correlated_market import correlated_market
from tests.cryptoenv.env.test_env import same

TIMEFRAMES = ("15m", "4h")
WINDOW = (8, 4)


@pytest.fixture(scope="module")
def bars() -> dict[str, pd.DataFrame]:
    drawn = correlated_market(assets=3, days=12, seed=5)
    return {name: sample.bars.iloc[-4000:] for name, sample in drawn.assets.items()}


@pytest.fixture(scope="module")
def market(bars: dict[str, pd.DataFrame]) -> PortfolioMarket:
    return PortfolioMarket.from_bars(bars, TIMEFRAMES)


def made(market: Any, **arguments: Any) -> Any:
    return gym.make("CryptoPortfolio-v0", market=market, window=WINDOW, episode_bars=60, **arguments)


@pytest.mark.parametrize("instrument", ["spot", "perpetual"])
def test_one_asset_is_the_trading_env_to_the_last_bit(market: PortfolioMarket, instrument: Any) -> None:
    one = PortfolioMarket(market.names[:1], market.markets[:1])
    arguments: dict[str, Any] = {
        "instrument": instrument,
        "limits": RiskLimits(exposure=1.0 if instrument == "spot" else 5.0, participation=1e-3, stop_loss=0.01),
        "rules": VenueRules(step_size=0.01, min_notional=5.0),
        "reward": {"log_return": 1.0, "differential_sharpe": 0.1, "turnover": 0.01},
    }
    ours = made(one, **arguments)
    theirs = gym.make("CryptoTrade-v0", market=market.markets[0], window=WINDOW, episode_bars=60,
                      actions="continuous", **arguments)  # fmt: skip
    rng = np.random.default_rng(0)
    for seed in (3, None, None):
        seen, info = ours.reset(seed=seed)
        other, their_info = theirs.reset(seed=seed)
        done = False
        while not done:
            for name in TIMEFRAMES:
                np.testing.assert_array_equal(seen[name][0], other[name])
            np.testing.assert_array_equal(seen["assets"][0, :4], other["account"][[0, 1, 2, 4]])
            assert seen["account"][3] == other["account"][3]
            for name in ("equity", "exposure", "fees", "slippage", "funding", "borrow", "step_fees", "bar", "ruined"):
                assert info[name] == their_info[name], name
            for name in ("order_status", "exit_kind", "fill_quantity"):
                assert info[name][0] == their_info[name], name
            action = rng.uniform(ours.action_space.low[0], 1.0, 1).astype(np.float32)
            seen, reward, terminated, truncated, info = ours.step(action)
            other, their_reward, their_end, their_cut, their_info = theirs.step(action)
            assert (reward, terminated, truncated) == (their_reward, their_end, their_cut)
            done = terminated or truncated


@pytest.mark.parametrize(
    ("mode", "copy"),
    [(AutoresetMode.NEXT_STEP, True), (AutoresetMode.SAME_STEP, True), (AutoresetMode.SAME_STEP, False)],
)
def test_rows_are_single_envs_later_episodes_included(
    market: PortfolioMarket, mode: AutoresetMode, copy: bool
) -> None:
    wild: dict[str, Any] = {"limits": RiskLimits(exposure=20.0), "costs": Costs(fee=0.002)}
    envs = gym.make_vec("CryptoPortfolio-v0", num_envs=3, market=market, window=WINDOW, episode_bars=60,
                        autoreset_mode=mode, copy=copy, **wild)  # fmt: skip
    singles = [made(market, **wild) for _ in range(3)]
    seen, infos = envs.reset(seed=7)
    for i, env in enumerate(singles):
        own, _ = env.reset(seed=7 + i)
        assert all((seen[name][i] == own[name]).all() for name in own)
    rng, ended = np.random.default_rng(1), [False] * 3
    for _ in range(150):
        actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        seen, rewards, terminated, truncated, infos = envs.step(actions)
        for i, env in enumerate(singles):
            if mode == AutoresetMode.NEXT_STEP and ended[i]:
                (own, info), reward, over = env.reset(), 0.0, False
            else:
                own, reward, end, cut, info = env.step(actions[i])
                over = end or cut
                assert (terminated[i], truncated[i]) == (end, cut)
                if mode == AutoresetMode.SAME_STEP and over:
                    assert all((infos["final_obs"][i][name] == own[name]).all() for name in own)
                    own, info = env.reset()
            ended[i] = over
            assert rewards[i] == reward
            assert all((seen[name][i] == own[name]).all() for name in own)
            assert infos["equity"][i] == info["equity"]
            np.testing.assert_array_equal(infos["exposures"][i], info["exposures"])
            np.testing.assert_array_equal(infos["fill_price"][i], info["fill_price"])


def test_several_threads_step_to_the_bits_of_one(market: PortfolioMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector, "PARALLEL_ROWS", 1)
    monkeypatch.setattr(vector, "PARALLEL_CELLS", 1)
    found: dict[int, list[Any]] = {}
    for threads in (1, 4):
        envs: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=301, market=market, window=WINDOW, episode_bars=30,
                                 stagger=True, limits=RiskLimits(exposure=8.0, stop_loss=0.02))  # fmt: skip
        envs.unwrapped._threads = threads
        rng = np.random.default_rng(0)
        found[threads] = [envs.reset(seed=4)] + [envs.step(rng.uniform(-1, 1, (301, 3))) for _ in range(40)]
    assert same(found[1], found[4])
    over = np.array([step[3] for step in found[1][1:]])
    assert over[:30].any(axis=1).sum() > 20, "staggered episodes end at different times"
    assert (over.sum(axis=0) >= 1).all()


def test_results_stay_as_they_are_unless_asked_otherwise(market: PortfolioMarket) -> None:
    """Memory that nobody refers to is used again; a view, a column of an info or a tensor is a reference."""
    envs: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=40, market=market, window=WINDOW, episode_bars=60)
    env, rng = made(market), np.random.default_rng(0)
    envs.reset(seed=0)
    env.reset(seed=0)
    kept, copied, places = [], [], set()
    for t in range(150):
        seen, rewards, _, _, info = envs.step(rng.uniform(-1, 1, (40, 3)))
        one, _, over, cut, told = env.step(rng.uniform(-1, 1, 3))
        places.add(seen["15m"].__array_interface__["data"][0])
        some = [seen["15m"][3], rewards[:2], info["equity"][::7], one["4h"][1], told["fill_price"], info["tradable"]]
        if t % 9 == 0:
            kept.append(some)
            copied.append([array.copy() for array in some])
        if over or cut:
            env.reset()
    assert same(kept, copied)
    assert len(places) < 60, "memory is used again"
    reuses: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=4, market=market, window=WINDOW, copy=False)
    first = reuses.reset(seed=0)[0]["15m"]
    assert reuses.step(np.zeros((4, 3)))[0]["15m"] is first


@pytest.mark.parametrize("moments", [8, pytest.param(3_000, marks=pytest.mark.slow)])
def test_a_state_goes_on_bit_for_bit(market: PortfolioMarket, moments: int) -> None:
    wild: dict[str, Any] = {"limits": RiskLimits(exposure=20.0, stop_loss=0.02), "costs": Costs(fee=0.002)}
    env, other, rng = made(market, **wild), made(market, **wild), np.random.default_rng(moments)
    envs: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=3, market=market, window=WINDOW, episode_bars=60, **wild)
    last = env.reset(seed=3)
    for moment in range(moments):
        for action in rng.uniform(-1, 1, (int(rng.integers(1, 40)), 3)):
            step = env.step(action)
            last = env.reset() if step[2] or step[3] else (step[0], step[4])
        state = env.unwrapped.get_state()
        if moment % 2:
            state = PortfolioState.from_bytes(state.to_bytes())
        assert same(other.unwrapped.set_state(state), last)
        seen, _ = envs.unwrapped.set_state(state[[0, 0, 0]])
        (twin,) = env.unwrapped.branch(1)
        assert twin.setup.portfolio(0) is market, "branches share the market"
        actions = rng.uniform(-1, 1, (70, 3))
        futures = []
        for one in (env.unwrapped, other.unwrapped, twin):
            steps = []
            for action in actions:
                steps.append(one.step(action))
                if steps[-1][2] or steps[-1][3]:
                    break
            futures.append(steps)
        assert same(futures[0], futures[1]) and same(futures[0], futures[2])
        for action, step in zip(actions, futures[0], strict=False):
            seen, rewards, *_ = envs.step(np.tile(action, (3, 1)))
            assert rewards[1] == step[1] and same({k: v[2] for k, v in seen.items()}, step[0])
        last = env.reset()
    assert [one.get_state().to_bytes() == envs.unwrapped.get_state().to_bytes() for one in envs.unwrapped.branch(2)]


def test_a_state_that_does_not_belong_is_refused(market: PortfolioMarket, bars: dict[str, pd.DataFrame]) -> None:
    env = made(market).unwrapped
    with pytest.raises(RuntimeError, match="call reset"):
        env.get_state()
    env.reset(seed=1)
    env.step(np.array([0.3, -0.3, 0.2]))
    state, before = env.get_state(), env.get_state().to_bytes()
    changed = bars["asset-2"].copy()
    changed.iloc[-1, changed.columns.get_loc("volume")] += 1.0
    positions, far, gone = state.positions.copy(), state.clocks.copy(), state.positions.copy()
    positions[0, 1, EQUITY], far[0, BAR], gone[0, 2, CLOSE_PRICE] = np.nan, 10**9, 3.0
    refused: list[tuple[Any, Any, str]] = [
        (made(PortfolioMarket.from_bars({**bars, "asset-2": changed}, TIMEFRAMES)), state, "portfolio|market 0"),
        (made(PortfolioMarket(market.names[:2], market.markets[:2])), state, "market 0 of this env"),
        (env, replace(state, version="0.0.9"), r"taken by version 0\.0\.9"),
        (env, state[[0, 0]], "2 rows and the env 1"),
        (env, replace(state, positions=positions), "of asset 1 is nan|asset 1 is nan"),
        (env, replace(state, positions=gone), "the close of asset 2"),
        (env, replace(state, clocks=far), "the bar is 1000000000"),
        (env, replace(state, targets=state.targets + 9.0), "the target exposure of asset 0"),
    ]
    for refusing, given, why in refused:
        with pytest.raises(StateError, match=why):
            refusing.unwrapped.set_state(given)
    with pytest.raises(StateError, match="is a PortfolioState, and what is asked for is a EnvState"):
        EnvState.from_bytes(before)
    with pytest.raises(TypeError, match="get_state"):
        env.set_state(before)
    assert env.get_state().to_bytes() == before


def test_reset_options_hold_for_one_row_or_for_all(market: PortfolioMarket) -> None:
    envs: Any = gym.make_vec("CryptoPortfolio-v0", num_envs=2, market=market, window=WINDOW)
    _, info = envs.reset(seed=0, options={"start": [3900, 3950], "weights": [[0.5, 0.0, 0.0], [0.0, 0.0, -0.4]]})
    assert info["bar"].tolist() == [3900, 3950] and info["exposures"][:, 2].tolist() == [0.0, -0.4]
    _, info = envs.reset(options={"start": 3901, "weights": [0.1, 0.1, 0.1]})
    assert info["bar"].tolist() == [3901, 3901] and info["exposures"].tolist() == [[0.1] * 3] * 2
    with pytest.raises(ValueError, match=r"row 1: options\['start'\]=1 is outside"):
        envs.reset(options={"start": [3900, 1]})
    with pytest.raises(ValueError, match=r"\['weights'\]=\[0.1\] must be 3 numbers"):
        envs.reset(options={"weights": [0.1]})
    envs.unwrapped.set_costs(Costs(fee=0.0, half_spread=0.0, impact=0.0))
    assert not envs.step(np.full((2, 3), 0.3))[4]["fees"].any()


def test_looking_changes_nothing_and_shows_the_weights(market: PortfolioMarket) -> None:
    seen, frames = {}, []
    for mode in (None, "rgb_array", "ansi"):
        env = made(market, render_mode=mode)
        found = [env.reset(seed=1)]
        for action in np.repeat([[0.6, 0.0, 0.0], [0.0, -0.6, 0.3]], 15, axis=0):
            found.append(env.step(action))
            if mode and len(found) % 15 == 1:
                frames.append(env.render())
        seen[mode] = found
        env.close()
    assert same(seen[None], seen["rgb_array"]) and same(seen[None], seen["ansi"])
    assert frames[0].shape == (600, 800, 3) and frames[0].dtype == np.uint8 and (frames[0] != frames[1]).any()
    blue = lambda frame: int((frame[230:380, :, 2].astype(int) - frame[230:380, :, 0] > 90).sum())  # noqa: E731
    assert blue(frames[0]) > 2000, "the first asset's weight is drawn in its colour"
    assert "asset-1   -0.6" in frames[3] and "drawdown" in frames[3] and "filled" not in frames[3]
    with pytest.raises(RuntimeError, match="reset"):
        made(market, render_mode="rgb_array").render()
    with pytest.raises(ValueError, match="video"):
        made(market, render_mode="video")


@pytest.mark.parametrize("arguments", [{}, {"actions": "simplex"}, {"observation": "index", "instrument": "spot"}])
def test_gymnasiums_checker_passes(market: PortfolioMarket, arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*human.*|.*not within the obs.*")
        check_env(made(market, render_mode="ansi", **arguments).unwrapped)


def test_an_asset_that_is_delisted_settles_and_one_that_is_listed_later_waits(bars: dict[str, pd.DataFrame]) -> None:
    short = {**bars, "asset-1": bars["asset-1"].iloc[:-300], "asset-2": bars["asset-2"].iloc[200:]}
    portfolio = PortfolioMarket.from_bars(short, TIMEFRAMES)
    env = gym.make("CryptoPortfolio-v0", market=portfolio, window=WINDOW, episode_bars=10_000, random_start=False,
                   all_listed=False)  # fmt: skip
    seen, info = env.reset(seed=0)
    assert info["tradable"].tolist() == [True, True, False] and not seen["15m"][2].any()
    kinds, done = [], False
    while not done:
        _, _, _, done, info = env.step(np.full(3, 1 / 3, dtype=np.float32))
        kinds.append(info["exit_kind"][1])
        if not info["tradable"][2]:
            assert info["quantities"][2] == 0.0 and info["order_status"][2] == OrderStatus.NO_VOLUME
    assert info["bar"] == 3999 and kinds.count(ExitKind.SETTLEMENT) == 1
    assert kinds.index(ExitKind.SETTLEMENT) == 4000 - 300 - env.unwrapped.setup.world.table[0, 3] - 1
    assert info["quantities"][1] == 0.0 and info["quantities"][2] > 0.0
    assert info["targets"][1] > 0.0 and info["order_status"][1] == OrderStatus.NO_VOLUME


def test_a_bar_without_volume_is_masked_and_fills_nothing(bars: dict[str, pd.DataFrame]) -> None:
    quiet = bars["asset-1"].copy()
    quiet.loc[quiet.index[-50:], "volume"] = 0.0
    env = made(PortfolioMarket.from_bars({**bars, "asset-1": quiet}, TIMEFRAMES))
    _, info = env.reset(seed=0, options={"start": 3955})
    assert info["tradable"].tolist() == [True, False, True]
    seen, _, _, _, info = env.step(np.array([0.3, 0.3, 0.3]))
    assert info["order_status"].tolist() == [OrderStatus.FILLED, OrderStatus.NO_VOLUME, OrderStatus.FILLED]
    assert seen["assets"][:, 4].tolist() == [1.0, 0.0, 1.0] and info["exposures"][1] == 0.0


def test_weights_beyond_the_limits_are_scaled_down(market: PortfolioMarket) -> None:
    env = made(market, limits=RiskLimits(exposure=2.0), portfolio_limits=PortfolioLimits(gross=1.5, net=0.5))
    env.reset(seed=0)
    info = env.step(np.array([1.0, 1.0, -1.0], dtype=np.float32))[4]
    np.testing.assert_allclose(info["targets"], [0.5, 0.5, -0.5])
    info = env.step(np.array([1.0, 0.0, 0.0], dtype=np.float32))[4]
    np.testing.assert_allclose(info["targets"], [0.5, 0.0, 0.0])
    simplex = made(market, actions="simplex", instrument="spot")
    simplex.reset(seed=0)
    info = simplex.step(np.array([0.5, 0.5, 0.0, 1.0]))[4]
    np.testing.assert_allclose(info["targets"], [0.25, 0.25, 0.0])
    assert not simplex.step(np.zeros(4))[4]["targets"].any()


@pytest.mark.parametrize(
    ("action", "said"),
    [([0.1, np.nan, 0.1], "asset 1"), ([0.1, 0.1], "shape"), ([2.0, 0.0, 0.0], "asset 0"), ("abc", "shape")],
)
def test_what_is_no_action_is_refused(market: PortfolioMarket, action: Any, said: str) -> None:
    env = made(market)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(3))
    env.reset(seed=0)
    before = env.unwrapped._rows.accounts.copy()
    with pytest.raises(ValueError, match=said):
        env.step(action)
    np.testing.assert_array_equal(env.unwrapped._rows.accounts, before)


def test_what_is_no_portfolio_is_refused(bars: dict[str, pd.DataFrame], market: PortfolioMarket) -> None:
    broken = bars["asset-1"].copy()
    broken.iloc[10, 3] = np.nan
    with pytest.raises(ValueError, match="asset-1"):
        PortfolioMarket.from_bars({**bars, "asset-1": broken}, TIMEFRAMES)
    with pytest.raises(TypeError, match="dict of bars"):
        cryptoenv.CryptoPortfolioEnv("BTC")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leverage"):
        made(market, instrument="spot", portfolio_limits=PortfolioLimits(gross=2.0))
    with pytest.raises(ValueError, match="weights"):
        made(market).reset(options={"weights": [0.9, 0.9, 0.0]})


def test_the_future_is_in_no_observation(bars: dict[str, pd.DataFrame]) -> None:
    poisoned = {name: frame.copy() for name, frame in bars.items()}
    for frame in poisoned.values():
        frame.iloc[3900:, :4] *= 3.0
    env, other = (made(PortfolioMarket.from_bars(b, TIMEFRAMES)) for b in (bars, poisoned))
    seen, _ = env.reset(seed=0, options={"start": 3890})
    their, _ = other.reset(seed=0, options={"start": 3890})
    for _ in range(9):
        assert all((seen[name] == their[name]).all() for name in seen)
        seen = env.step(np.array([0.5, -0.3, 0.2]))[0]
        their = other.step(np.array([0.5, -0.3, 0.2]))[0]
    assert (env.step(np.zeros(3))[0]["15m"] != other.step(np.zeros(3))[0]["15m"]).any()


def test_stable_baselines_checks_it_and_trains_on_it(market: PortfolioMarket) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_checker import check_env as sb3_check

    env = made(market, observation="window")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sb3_check(env.unwrapped)
        model = sb3.PPO("MultiInputPolicy", env, n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")
        before = [p.detach().clone() for p in model.policy.parameters()]
        model.learn(64)
    assert any((a != b).any() for a, b in zip(before, model.policy.parameters(), strict=True))


def test_correlated_markets_share_a_factor_and_nothing_else() -> None:
    drawn = correlated_market(assets=3, days=30, seed=1, correlation=0.6)
    returns = np.array([np.log(s.bars["close"] / s.bars["open"]).to_numpy() / s.truth["volatility"].to_numpy()
                        for s in drawn.assets.values()])  # fmt: skip
    between = np.corrcoef(returns)[np.triu_indices(3, 1)]
    assert (np.abs(between - 0.6) < 0.1).all()
    regimes = np.array([s.truth["regime"].to_numpy() for s in drawn.assets.values()])
    assert abs(np.corrcoef(regimes)[0, 1]) < 0.2
    again = correlated_market(assets=3, days=30, seed=1, correlation=0.6)
    assert all(s.bars.equals(again.assets[name].bars) for name, s in drawn.assets.items())
    alone = correlated_market(assets=2, days=30, seed=1, correlation=0.0)
    free = [np.log(s.bars["close"] / s.bars["open"]) for s in alone.assets.values()]
    assert abs(np.corrcoef(free)[0, 1]) < 0.05
