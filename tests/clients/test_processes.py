"""Environments in other processes: the same trajectories, and one copy of the market in memory."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import SubprocVecEnv

import cryptoenv
from tests.clients import worker
from tests.clients.rows import Rows, row, same

ARGUMENTS: dict[str, Any] = {"window": (6, 3, 2), "episode_bars": 12}


@pytest.fixture(scope="module")
def saved(market: cryptoenv.Market, tmp_path_factory: pytest.TempPathFactory) -> cryptoenv.Market:
    return market.save(tmp_path_factory.mktemp("market"))


def market_bytes(market: cryptoenv.Market) -> int:
    return sum(array.nbytes for array in (market.prices, market.align, *market.features))


def test_a_market_with_a_folder_pickles_by_its_folder(market: cryptoenv.Market, saved: cryptoenv.Market) -> None:
    assert len(pickle.dumps(saved)) < 1000
    assert len(pickle.dumps(market)) > market_bytes(market)
    for source in (saved, market):
        copied = pickle.loads(pickle.dumps(source))
        assert copied.hash == market.hash
        assert copied.folder == source.folder


@pytest.mark.parametrize("observation", ["window", "index"])
def test_a_pickled_env_gives_the_same_trajectory_in_a_spawned_process(
    market: cryptoenv.Market, saved: cryptoenv.Market, observation: str
) -> None:
    expected = worker.trajectory(gym.make("CryptoTrade-v0", market=market, observation=observation, **ARGUMENTS), 4, 60)
    env = gym.make("CryptoTrade-v0", market=saved, observation=observation, **ARGUMENTS)
    assert len(pickle.dumps(env)) < 20_000
    assert worker.in_spawned_process(worker.send_trajectory, env, 4, 60) == expected
    copied = pickle.loads(pickle.dumps(env))
    assert worker.in_spawned_process(worker.send_trajectory, copied, 4, 60) == expected


def test_a_pickle_of_a_running_env_goes_on_where_it_stood(saved: cryptoenv.Market) -> None:
    env = gym.make("CryptoTrade-v0", market=saved, **ARGUMENTS)
    worker.trajectory(env, 9, 17)  # five bars into the second episode
    elsewhere = worker.in_spawned_process(worker.send_trajectory, env, None, 40)
    assert elsewhere == worker.trajectory(env, None, 40)


def test_a_pickled_vector_env_goes_on_where_it_stood(saved: cryptoenv.Market) -> None:
    envs = gym.make_vec("CryptoTrade-v0", num_envs=3, market=saved, **ARGUMENTS)
    envs.reset(seed=1)
    for _ in range(5):
        envs.step(np.array([0, 1, 2]))
    copied = pickle.loads(pickle.dumps(envs))
    for _ in range(20):
        ours, theirs = envs.step(np.array([2, 0, 1])), copied.step(np.array([2, 0, 1]))
        assert all((ours[0][name] == theirs[0][name]).all() for name in ours[0])
        assert all((ours[k] == theirs[k]).all() for k in (1, 2, 3))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_subproc_vec_env_equals_single_envs(saved: cryptoenv.Market, start_method: str) -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.make("CryptoTrade-v0", market=saved, **ARGUMENTS)

    envs, rows = SubprocVecEnv([make] * 2, start_method=start_method), Rows(2, 3, market=saved, **ARGUMENTS)
    try:
        envs.seed(3)
        observation = envs.reset()
        for step in range(30):
            assert all(same(rows.observations[i], row(observation, i)) for i in range(2))
            taken = np.array([step % 3, (step // 2) % 3])
            observation, rewards, dones, infos = envs.step(taken)
            for i, (last, reward, terminated, truncated, info) in enumerate(rows.step(taken)):
                assert rewards[i] == reward
                assert dones[i] == (terminated or truncated)
                assert infos[i]["equity"] == info["equity"]
                if dones[i]:
                    assert infos[i]["TimeLimit.truncated"]
                    assert same(last, infos[i]["terminal_observation"])
    finally:
        envs.close()


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's smaps_rollup")
def test_a_worker_does_not_copy_a_saved_market(tmp_path: Path) -> None:
    """Every bar of a 700-day market visited: mapped, a worker has nearly none of it to itself; built there, all of it.

    Memory of its own is anonymous memory: pages of a file just written count as private and dirty until they are on
    disk, though they belong to the page cache.
    """
    market = worker.built(700)
    market.save(tmp_path)
    size = market_bytes(market)
    mapped = worker.in_spawned_process(worker.send_memory_growth, tmp_path)
    private = worker.in_spawned_process(worker.send_memory_growth, None)
    assert mapped["Anonymous"] < 0.2 * size
    assert private["Anonymous"] > 0.8 * size
