"""States go on bit for bit, wherever they are put back; what does not belong is refused by name."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import cryptoenv
from cryptoenv import Costs, CryptoTradeEnv, CryptoTradeVectorEnv, EnvState, StateError, spread_seeds
from cryptoenv.trading.config import RiskLimits
from tests.naive.random_bars import random_bars

ARGUMENTS: dict[str, Any] = {"market": "easy", "markets": 2, "days": 4, "window": (4, 2, 1), "episode_bars": 60}


def same(one: Any, other: Any) -> bool:
    """Whether observations, infos and numbers are equal, bit for bit; NaN equals itself."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray) and one.dtype == object:
        return all(map(same, one, other))
    if one is None:
        return other is None
    return bool(np.array_equal(np.asarray(one), np.asarray(other), equal_nan=np.asarray(one).dtype.kind == "f"))


def walk(env: Any, actions: np.ndarray) -> list[tuple]:
    """Steps of an env, through ends of episodes."""
    found = []
    for action in actions:
        step = env.step(action if isinstance(env, CryptoTradeVectorEnv) else int(action))
        found.append(step)
        if not isinstance(env, CryptoTradeVectorEnv) and (step[2] or step[3]):
            found.append(env.reset())
    return found


@pytest.mark.parametrize("moments", [12, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("markets", [2, "stream"])
def test_a_state_goes_on_bit_for_bit(moments: int, markets: int | str) -> None:
    rng = np.random.default_rng(moments)
    limits = RiskLimits(stop_loss=0.01, exposure=3.0)
    arguments = ARGUMENTS | {"markets": markets, "limits": limits, "actions": (-3.0, 0.0, 3.0)}
    env, other = CryptoTradeEnv(**arguments), CryptoTradeEnv(**arguments)
    last: tuple = env.reset(seed=3)
    for moment in range(moments if markets == 2 else moments // 6):
        for action in rng.integers(0, 3, rng.integers(1, 30)):
            step = env.step(int(action))
            last = (step[0], step[4])
            if step[2] or step[3]:
                last = env.reset()
        state = env.get_state()
        if moment % 2:
            state = EnvState.from_bytes(state.to_bytes())
        assert same(other.set_state(state), last)
        actions = rng.integers(0, 3, 70)
        future = walk(env, actions)
        assert all(map(same, future, walk(other, actions)))
        assert same(env.set_state(pickle.loads(pickle.dumps(state))), last)
        assert all(map(same, future, walk(env, actions)))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_rows_go_on_in_any_env(mode: str) -> None:
    rng = np.random.default_rng(1)
    make = lambda n: CryptoTradeVectorEnv(n, **ARGUMENTS, autoreset_mode=mode)  # noqa: E731
    envs, others = make(5), make(5)
    envs.reset(seed=11)
    walk(envs, rng.integers(0, 3, (70, 5)))
    state = envs.get_state()
    assert len(state) == 5 and state.to_bytes() == EnvState.from_bytes(state.to_bytes()).to_bytes()
    others.set_state(state)
    actions = rng.integers(0, 3, (70, 5))
    future = walk(envs, actions)
    assert all(map(same, future, walk(others, actions)))
    tried = make(3)  # one moment, three actions at once
    observation, _ = tried.set_state(state[[2, 2, 2]])
    assert same(observation["15m"][0], observation["15m"][2])
    single = CryptoTradeEnv(**ARGUMENTS)
    single.set_state(state[2])
    if not state.clocks[2, 5]:
        assert float(tried.step(np.arange(3))[1][1]) == single.step(1)[1]


def test_branches_are_apart() -> None:
    env = gym.make("CryptoTrade-v0", **ARGUMENTS)
    env.reset(seed=5)
    walk(env, np.array([2, 0, 1]))
    here: CryptoTradeEnv = env.unwrapped  # type: ignore[assignment]
    before = here.get_state().to_bytes()
    branches = here.branch(3)
    ends = [[one.step(action)[4]["equity"] for _ in range(5)][-1] for action, one in enumerate(branches)]
    assert len(set(ends)) == 3 and here.get_state().to_bytes() == before
    branches[0].setup.set_costs(Costs(fee=0.01))
    assert branches[1].setup.trading.costs == here.setup.trading.costs
    actions = np.random.default_rng(0).integers(0, 3, 100)
    (twin,) = here.branch(1)
    assert all(map(same, walk(here, actions), walk(twin, actions)))
    envs = CryptoTradeVectorEnv(4, **ARGUMENTS)
    with pytest.raises(RuntimeError, match="reset"):
        envs.branch(2)
    envs.reset(seed=0)
    one, two = envs.branch(2)
    many = np.random.default_rng(0).integers(0, 3, (70, 4))
    assert all(map(same, walk(one, many), walk(two, many)))
    with pytest.raises(ValueError, match="n=0"):
        envs.branch(0)


def test_what_does_not_belong_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    env = CryptoTradeEnv(**ARGUMENTS)
    with pytest.raises(RuntimeError, match="call reset"):
        env.get_state()
    env.reset(seed=1)
    state, before = env.get_state(), env.get_state().to_bytes()
    own = random_bars(100, 2)
    mine = CryptoTradeEnv(own, window=(4, 2, 1))
    refused: list[tuple[Any, Any, str]] = [
        (CryptoTradeEnv(**ARGUMENTS | {"market": "standard"}), state, "market . of this env is"),
        (CryptoTradeEnv(**ARGUMENTS, split="test"), state, "market . of this env is"),
        (mine, state, "the markets that the state was taken on"),
        (env, replace(state, version="0.0.9"), r"taken by version 0\.0\.9 and this is "),
        (env, state[[0, 0]], "2 rows and the env 1"),
        (env, replace(state, clocks=state.clocks + 10**6), "market"),
        (env, replace(state, accounts=state.accounts * np.nan), "must be finite"),
    ]
    for refusing, given, why in refused:
        with pytest.raises(StateError, match=why):
            refusing.set_state(given)
    with pytest.raises(TypeError, match="get_state"):
        env.set_state(before)  # type: ignore[arg-type]
    for damaged in (b"", b"nothing", before[:-40], before.replace(b"PK", b"KP")):
        with pytest.raises(StateError, match="no state of an env"):
            EnvState.from_bytes(damaged)
    with pytest.raises(StateError, match="accounts of the state must be"):
        replace(state, accounts=state.accounts[:, 1:])
    assert env.get_state().to_bytes() == before
    mine.reset(seed=0)
    changed = own.copy()
    changed.iloc[-1, changed.columns.get_loc("close")] = changed["high"].iloc[-1]
    with pytest.raises(StateError, match="market 0 of this env is"):
        CryptoTradeEnv(changed, window=(4, 2, 1)).set_state(mine.get_state())


def test_spread_seeds_share_no_episode_and_near_ones_are_warned_of() -> None:
    first, second = spread_seeds(0, 1024), spread_seeds(1, 1024)
    assert not set(first) & set(second) and len(set(first)) == 1024 and first[:7] == spread_seeds(0, 7)
    envs = CryptoTradeVectorEnv(8, **ARGUMENTS | {"markets": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs.reset(seed=np.random.SeedSequence(4))
        spread = envs.get_state()
        envs.reset(seed=spread_seeds(4, 8))
        assert envs.get_state().to_bytes() == spread.to_bytes()
        envs.reset(seed=100)
        envs.reset(seed=100)
        envs.reset(seed=108)
        CryptoTradeVectorEnv(8, **ARGUMENTS | {"markets": 3}, split="validation").reset(seed=101)
    with pytest.warns(UserWarning, match="seeds 100 and 103 share 5 of the 8 rows' episodes"):
        CryptoTradeVectorEnv(8, **ARGUMENTS | {"markets": 3}).reset(seed=103)
    single = CryptoTradeEnv(**ARGUMENTS | {"markets": 3})
    single.reset(seed=first[2])
    envs.reset(seed=first[:8])
    assert same(single.step(1)[1], envs.step(np.ones(8, dtype=np.int64))[1][2])
    with pytest.raises(ValueError, match="seed=-1"):
        cryptoenv.spread_seeds(-1, 2)
