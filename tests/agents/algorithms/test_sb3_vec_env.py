from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from agents.algorithms.sb3_vec_env import Sb3VecEnv
from agents.markets.expert_market import ExpertMarket, markets_of
from agents.settings import TradingSettings, vector_env
from cryptoenv import CryptoTradeVectorEnv

EPISODE = 7


def make(labelled: tuple[ExpertMarket, ...], settings: TradingSettings, scale: float = 1.0) -> Sb3VecEnv:
    envs = vector_env(
        markets_of(labelled), settings, num_envs=5, episode_bars=EPISODE, autoreset_mode=AutoresetMode.SAME_STEP
    )
    return Sb3VecEnv(envs, reward_scale=scale)


def test_episode_ends_carry_the_old_episode(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    envs = make(labelled, settings)
    envs.seed(3)
    observation = envs.reset()
    total = np.zeros(5)
    for step in range(1, 2 * EPISODE + 1):
        before = observation["index"].copy()
        observation, rewards, dones, infos = envs.step(np.full(5, step % 3))
        total += rewards
        assert dones.all() == (step % EPISODE == 0) == dones.any()
        for i, info in enumerate(infos):
            if not dones[i]:
                assert "terminal_observation" not in info
                continue
            assert info["TimeLimit.truncated"] is True
            assert info["terminal_observation"]["index"].tolist() == [before[i, 0], before[i, 1] + 1]
            assert info["terminal_observation"]["account"].shape == (5,)
            assert info["episode"]["l"] == EPISODE
            assert info["episode"]["r"] == pytest.approx(total[i], abs=1e-6)
            assert observation["index"][i].tolist() != info["terminal_observation"]["index"].tolist()
            assert observation["account"][i, 0] == 0.0
        total[dones] = 0.0


def test_spaces_and_dtypes(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    envs = make(labelled, settings)
    observation = envs.reset()
    assert envs.num_envs == 5
    assert observation["index"].dtype == np.int64
    assert envs.observation_space["account"].contains(observation["account"][0])
    assert envs.action_space.n == 3
    observation, rewards, dones, _ = envs.step(np.zeros(5, dtype=np.int64))
    assert rewards.dtype == np.float32
    assert dones.dtype == np.bool_


def test_the_seed_decides_the_episodes(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    seen = []
    for seed in (11, 11, 12):
        envs = make(labelled, settings)
        envs.seed(seed)
        starts = [envs.reset()["index"].copy()]
        for _ in range(3 * EPISODE):
            starts.append(envs.step(np.ones(5, dtype=np.int64))[0]["index"].copy())
        seen.append(np.stack(starts))
    assert (seen[0] == seen[1]).all()
    assert (seen[0] != seen[2]).any()


def test_rewards_are_scaled(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    rewards = []
    for scale in (1.0, 100.0):
        envs = make(labelled, settings, scale)
        envs.seed(0)
        envs.reset()
        rewards.append(envs.step(np.full(5, 2))[1])
    assert rewards[1] == pytest.approx(100.0 * rewards[0], rel=1e-6)
    assert (rewards[0] != 0.0).all()


def test_other_autoreset_modes_are_refused(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    envs = vector_env(markets_of(labelled), settings, num_envs=2, episode_bars=EPISODE)
    with pytest.raises(ValueError, match="SAME_STEP"):
        Sb3VecEnv(envs)


def test_reused_memory_is_refused(labelled: tuple[ExpertMarket, ...]) -> None:
    envs = CryptoTradeVectorEnv(2, markets_of(labelled), autoreset_mode=AutoresetMode.SAME_STEP, copy=False)
    with pytest.raises(ValueError, match="copy=True"):
        Sb3VecEnv(envs)
    with pytest.raises(TypeError, match="copy=3"):
        CryptoTradeVectorEnv(2, markets_of(labelled), copy=3)  # type: ignore[arg-type]


def test_what_rows_share_cannot_be_set(labelled: tuple[ExpertMarket, ...], settings: TradingSettings) -> None:
    envs = make(labelled, settings)
    assert envs.get_attr("num_envs") == [5] * 5
    assert envs.env_is_wrapped(object) == [False] * 5
    with pytest.raises(AttributeError, match=r"'costs' cannot be set.*set_costs\(\)"):
        envs.set_attr("costs", 1)
    with pytest.raises(AttributeError, match="render"):
        envs.env_method("render")
