"""The vector env: every row is a single env, in every autoreset mode."""

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

import cryptoenv
from cryptoenv import EnvState, StateError
from cryptoenv.env.episode import BAR, END, ENDED, EPISODE, MARKET, SEED
from cryptoenv.trading.account import BARS_HELD, CLOSE_PRICE, EQUITY, EXIT_KIND, ORDER_STATUS, QUANTITY
from tests.cryptoenv.env.test_env import same

SCALARS = ("equity", "exposure", "close", "fill_price", "fill_quantity", "fees", "slippage", "funding", "borrow", "bar")


def row_of(batch: dict[str, Any], row: int) -> dict[str, Any]:
    """One row of batched observations or infos."""
    return {key: value[row] for key, value in batch.items()}


def assert_row_equals(single: Any, observation: dict[str, Any], info: dict[str, Any], row: int) -> None:
    """Observation and info of one row equal the single env's, exactly."""
    assert same(single[0], row_of(observation, row))
    assert same({k: float(single[-1][k]) for k in SCALARS}, {k: float(info[k][row]) for k in SCALARS})


@pytest.mark.parametrize("observation", ["window", "index"])
@pytest.mark.parametrize("reward", ["log_return", {"differential_sharpe": 1.0, "downside": 0.5, "consistency": 0.1}])
def test_rows_equal_single_envs_over_episodes(markets: list[cryptoenv.Market], observation: str, reward: Any) -> None:
    arguments: dict[str, Any] = {"market": markets, "observation": observation, "reward": reward, "episode_bars": 60}
    n, seed = 5, 11
    envs = gym.make_vec("CryptoTrade-v0", num_envs=n, **arguments)
    singles = [gym.make("CryptoTrade-v0", **arguments).unwrapped for _ in range(n)]
    seen, info = envs.reset(seed=seed)
    results: list[Any] = [env.reset(seed=seed + i) for i, env in enumerate(singles)]
    over = np.zeros(n, dtype=bool)
    rng = np.random.default_rng(0)
    for _ in range(190):
        for i in range(n):
            assert_row_equals(results[i], seen, info, i)
        actions = rng.integers(3, size=n)
        seen, rewards, terminated, truncated, info = envs.step(actions)
        for i, env in enumerate(singles):
            if over[i]:
                results[i] = env.reset()
                assert (rewards[i], terminated[i], truncated[i]) == (0.0, False, False)
            else:
                results[i] = env.step(actions[i])
                assert (rewards[i], terminated[i], truncated[i]) == results[i][1:4]
        over = terminated | truncated


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_autoreset_is_gymnasiums(markets: list[cryptoenv.Market], mode: AutoresetMode) -> None:
    arguments: dict[str, Any] = {"market": markets, "episode_bars": 7}
    native = gym.make_vec("CryptoTrade-v0", num_envs=3, autoreset_mode=mode, **arguments)
    reference = SyncVectorEnv([lambda: cryptoenv.CryptoTradeEnv(**arguments)] * 3, autoreset_mode=mode)
    assert native.metadata["autoreset_mode"] == mode
    assert native.observation_space == reference.observation_space
    assert native.action_space == reference.action_space
    assert same(native.reset(seed=4)[0], reference.reset(seed=4)[0])
    rng = np.random.default_rng(1)
    finals = 0
    for _ in range(40):
        actions = rng.integers(3, size=3)
        mine, theirs = native.step(actions), reference.step(actions)
        assert same(mine[:4], theirs[:4])
        assert ("final_obs" in mine[4]) == ("final_obs" in theirs[4])
        if "final_obs" in mine[4]:
            np.testing.assert_array_equal(mine[4]["_final_obs"], theirs[4]["_final_obs"])
            assert same(list(mine[4]["final_obs"]), list(theirs[4]["final_obs"]))
            assert mine[4]["final_info"].keys() == theirs[4]["final_info"].keys()
            assert same(mine[4]["final_info"]["_equity"], theirs[4]["final_info"]["_equity"])
            for i in np.flatnonzero(mine[4]["_final_info"]):
                assert mine[4]["final_info"]["equity"][i] == theirs[4]["final_info"]["equity"][i]
            finals += 1
    assert (finals > 3) == (mode == AutoresetMode.SAME_STEP)


def test_disabled_autoreset_asks_for_a_mask(market: cryptoenv.Market) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, autoreset_mode="Disabled", episode_bars=2)
    envs.reset(seed=0, options={"reset_mask": np.array([True, True])})
    envs.step(np.array([0, 1]))
    truncated = envs.step(np.array([0, 1]))[3]
    assert truncated.all()
    with pytest.raises(RuntimeError, match="row 0 has ended"):
        envs.step(np.array([0, 1]))
    bars = envs.reset(options={"reset_mask": np.array([True, False])})[1]["bar"]
    with pytest.raises(RuntimeError, match="row 1 has ended"):
        envs.step(np.array([0, 1]))
    after = envs.reset(options={"reset_mask": np.array([False, True])})[1]["bar"]
    assert after[0] == bars[0], "an unmasked row keeps its episode"


GRANTED = """import gymnasium as gym, numba
import cryptoenv

def threads():
    return gym.make_vec("CryptoTrade-v0", num_envs=80, market="easy").unwrapped._threads

before = threads()
numba.set_num_threads(1)
print(before == min(numba.config.NUMBA_NUM_THREADS, __import__("os").cpu_count()), threads())
"""


def test_numba_says_how_many_threads_step() -> None:
    run = subprocess.run([sys.executable, "-c", GRANTED], capture_output=True, text=True, check=False, timeout=300)
    assert run.stdout.split() == ["True", "1"], run.stderr


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_gymnasiums_wrappers_understand_the_infos(market: cryptoenv.Market, mode: str) -> None:
    lists = []
    for vectorized in ("vector_entry_point", "sync"):
        how = {"autoreset_mode": mode}
        envs = gym.make_vec(
            "CryptoTrade-v0",
            num_envs=3,
            market=market,
            episode_bars=4,
            vectorization_mode=vectorized,
            **(how if vectorized == "vector_entry_point" else {"vector_kwargs": how}),
        )
        wrapped = DictInfoToList(RecordEpisodeStatistics(envs))
        infos = [wrapped.reset(seed=0)[1]] + [wrapped.step(np.array([0, 1, 2]))[4] for _ in range(9)]
        for info in infos:
            for row in info:
                row.get("episode", {}).pop("t", None)
        lists.append(infos)
    assert same(*lists)


def test_steps_of_an_episode_have_one_name(market: cryptoenv.Market) -> None:
    with pytest.raises(TypeError, match="episode_bars"):
        gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, max_episode_steps=3)


@pytest.mark.parametrize("actions", [np.array([True, False]), np.array(["0.5", "1"]), np.array([None, 1.0])])
def test_actions_that_are_no_numbers(market: cryptoenv.Market, actions: Any) -> None:
    for kind in ("continuous", (-1.0, 0.0, 1.0)):
        envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, actions=kind)
        envs.reset(seed=0)
        with pytest.raises(ValueError, match="numbers"):
            envs.step(actions)


def test_seed_list_and_options_per_row(markets: list[cryptoenv.Market]) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=3, market=markets, observation="index")
    listed, _ = envs.reset(seed=[7, 7, 9])
    assert same(row_of(listed, 0), row_of(listed, 1))
    single = cryptoenv.CryptoTradeEnv(markets, observation="index").reset(seed=9)[0]
    assert same(single, row_of(listed, 2))
    options = {"market": np.array([0, 1, 2]), "start": 5000, "exposure": np.array([0.0, 1.0, -1.0])}
    observation, info = envs.reset(options=options)
    assert observation["index"].tolist() == [[0, 5000], [1, 5000], [2, 5000]]
    assert info["exposure"].tolist() == [0.0, 1.0, -1.0]


def test_copies_are_fresh_and_reuse_is_announced(market: cryptoenv.Market) -> None:
    fresh = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market)
    first, _ = fresh.reset(seed=0)
    second = fresh.step(np.array([0, 2]))[0]
    assert not any(np.shares_memory(first[key], second[key]) for key in first)
    reused = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, copy=False)
    first, _ = reused.reset(seed=0)
    again = reused.step(np.array([0, 2]))[0]
    assert all(first[key] is again[key] for key in first)
    assert same(second, again)


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        (np.array([0, 3]), "row 1"),
        (np.array([-1, 0]), "row 0"),
        (np.array([0.0, 1.0]), "whole numbers"),
        (np.array([0, 1, 2]), "shape"),
    ],
)
def test_bad_actions_name_the_row(market: cryptoenv.Market, actions: Any, words: str) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        envs.step(actions)


def test_nan_continuous_action_names_the_row(market: cryptoenv.Market) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, actions="continuous")
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="row 1"):
        envs.step(np.array([[0.5], [np.nan]]))


def test_bad_row_options_name_the_row(market: cryptoenv.Market) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=market)
    with pytest.raises(ValueError, match=r"row 1.*first decidable bar"):
        envs.reset(options={"start": np.array([5500, 3])})
    with pytest.raises(ValueError, match="number or 2"):
        envs.reset(options={"start": np.array([5500, 5500, 5500])})
    with pytest.raises(ValueError, match="seed has 3"):
        envs.reset(seed=[1, 2, 3])


@pytest.mark.parametrize("seed", [2**62 - 2, 2**62 - 1, 2**63 - 1, 2**64, 2**70 + 5])
def test_huge_seeds_count_on_as_single_envs_do(markets: list[cryptoenv.Market], seed: int) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=4, market=markets)
    listed = gym.make_vec("CryptoTrade-v0", num_envs=4, market=markets)
    info, other = envs.reset(seed=seed)[1], listed.reset(seed=[seed + i for i in range(4)])[1]
    single = gym.make("CryptoTrade-v0", market=markets)
    singles = [single.reset(seed=seed + i)[1] for i in range(4)]
    for key in ("market", "bar"):
        assert info[key].tolist() == other[key].tolist() == [one[key] for one in singles]


@pytest.mark.parametrize("bad", [-1, 1.5, "2", True, np.float64(2.0)])
def test_bad_seeds_name_the_row_and_change_nothing(markets: list[cryptoenv.Market], bad: Any) -> None:
    envs, untouched = (gym.make_vec("CryptoTrade-v0", num_envs=3, market=markets) for _ in range(2))
    envs.reset(seed=4)
    untouched.reset(seed=4)
    with pytest.raises(ValueError, match=r"seed\[2\].*row 2"):
        envs.reset(seed=[7, None, bad])
    assert same(envs.reset(), untouched.reset())


@pytest.mark.parametrize(
    ("name", "column", "value", "words"),
    [
        ("clocks", BAR, 10**9, "the bar is 1000000000"),
        ("clocks", BAR, -1, "the bar is -1"),
        ("clocks", BAR, 0, "first decidable bar"),
        ("clocks", MARKET, 5, "the market is 5, which must be from 0 to"),
        ("clocks", MARKET, -1, "the market is -1"),
        ("clocks", END, 10**12, "the episode's last bar"),
        ("clocks", ENDED, 7, "ended episode"),
        ("clocks", EPISODE, -3, "the episode's number"),
        ("clocks", SEED, -3, "the seed"),
        ("accounts", BARS_HELD, -1.0, "the bars held"),
        ("accounts", BARS_HELD, 1e300, "the bars held"),
        ("accounts", EQUITY, 0.0, "equity"),
        ("accounts", QUANTITY, np.inf, f"column {QUANTITY}"),
        ("accounts", ORDER_STATUS, 99.0, "OrderStatus"),
        ("accounts", EXIT_KIND, 0.5, "ExitKind"),
        ("accounts", CLOSE_PRICE, 3.25, "the same markets"),
        ("targets", None, np.nan, "the target exposure"),
        ("targets", None, 40.0, "within +-1"),
    ],
)
def test_a_state_that_no_episode_has_is_refused_and_changes_nothing(
    markets: list[cryptoenv.Market], name: str, column: int | None, value: float, words: str
) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=3, market=markets, episode_bars=40).unwrapped
    envs.reset(seed=3)
    envs.step(np.array([0, 1, 2]))
    good = envs.get_state()
    bad = getattr(good, name).copy()
    bad[(1,) if column is None else (1, column)] = value
    with pytest.raises(StateError, match=f"row 1 of the state: .*{re.escape(words)}"):
        envs.set_state(replace(good, **{name: bad}))
    assert same(envs.get_state().to_arrays(), good.to_arrays())
    with pytest.raises(StateError, match="must be float64"):
        EnvState.from_arrays(good.to_arrays() | {"targets": good.targets.astype(np.float32)})
    with pytest.raises(StateError, match="no state of an env"):
        EnvState.from_arrays({"targets": good.targets})
    envs.set_state(EnvState.from_arrays(good.to_arrays()))


def test_a_state_of_other_markets_is_refused(markets: list[cryptoenv.Market]) -> None:
    envs = [gym.make_vec("CryptoTrade-v0", num_envs=2, market=market, episode_bars=40).unwrapped for market in markets]
    for one in envs:
        one.reset(seed=1)
    other = envs[1].get_state()
    with pytest.raises(StateError, match="are they the same markets"):
        envs[1].set_state(replace(envs[0].get_state(), markets=other.markets))


def test_rows_that_ended_begin_anew_even_after_an_interrupt(
    market: cryptoenv.Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception between the step and the new episodes of SAME_STEP must not let ended rows go on."""
    envs = gym.make_vec(
        "CryptoTrade-v0", num_envs=2, market=market, episode_bars=5, autoreset_mode=AutoresetMode.SAME_STEP
    ).unwrapped
    envs.reset(seed=1)
    for _ in range(4):
        envs.step(np.array([2, 2]))

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(envs, "_final", interrupted)
        envs.step(np.array([2, 2]))
    state = envs.get_state()
    first = state.clocks[:, END] - 5
    *_, info = envs.step(np.array([2, 2]))
    clocks = envs.get_state().clocks
    envs.set_state(state)  # of rows that had ended
    np.testing.assert_array_equal(envs.step(np.array([2, 2]))[4]["bar"], info["bar"])
    np.testing.assert_array_equal(clocks[:, EPISODE], 1)
    np.testing.assert_array_equal(info["bar"], clocks[:, END] - 4)
    assert (clocks[:, END] - 5 != first).any()


def test_costs_can_change_between_steps(markets: list[cryptoenv.Market]) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=2, market=markets, episode_bars=40).unwrapped
    envs.reset(seed=0)
    envs.set_costs(cryptoenv.Costs(fee=0.0, half_spread=0.0, impact=0.0))
    *_, info = envs.step(np.array([2, 0]))
    np.testing.assert_array_equal(info["fees"] + info["slippage"], 0.0)
    envs.set_costs(cryptoenv.Costs(fee=0.01))
    *_, info = envs.step(np.array([1, 1]))
    notional = np.abs(info["fill_quantity"]) * info["fill_price"]
    np.testing.assert_allclose(info["fees"], 0.01 * notional, rtol=1e-12)
