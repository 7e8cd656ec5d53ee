"""Gymnasium's wrappers over the single env."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers

import cryptoenv
from tests.clients.rows import same

EPISODE = 12


def make(market: cryptoenv.Market, **more: Any) -> gym.Env[Any, Any]:
    return gym.make("CryptoTrade-v0", market=market, window=(4, 2, 2), **{"episode_bars": EPISODE, **more})


def in_step(plain: gym.Env[Any, Any], wrapped: gym.Env[Any, Any], steps: int) -> Any:
    """Step both with the same actions over several episodes; yields what each returned, resets as (observation,)."""
    rng = np.random.default_rng(0)
    yield plain.reset(seed=6)[:1], wrapped.reset(seed=6)[:1]
    for _ in range(steps):
        action = rng.integers(3)
        left, right = plain.step(action), wrapped.step(action)
        yield left, right
        if left[2] or left[3]:
            yield plain.reset()[:1], wrapped.reset()[:1]


@pytest.mark.parametrize("observation", ["window", "index"])
def test_flatten_observation(market: cryptoenv.Market, observation: str) -> None:
    plain = make(market, observation=observation)
    wrapped = wrappers.FlattenObservation(make(market, observation=observation))
    assert wrapped.observation_space.shape == (gym.spaces.flatdim(plain.observation_space),)
    for left, right in in_step(plain, wrapped, 3 * EPISODE):
        assert right[0].shape == wrapped.observation_space.shape
        assert same(left[0], gym.spaces.unflatten(plain.observation_space, right[0]))
        assert left[1:4] == right[1:4]


def test_frame_stack(market: cryptoenv.Market) -> None:
    """The last three observations, oldest first, the first repeated at a reset; stacks kept do not change later."""
    plain, wrapped = make(market), wrappers.FrameStackObservation(make(market), 3)
    assert wrapped.observation_space["15m"].shape == (3, *plain.observation_space["15m"].shape)
    frames: list[dict[str, np.ndarray]] = []
    kept = []
    for left, right in in_step(plain, wrapped, 3 * EPISODE):
        frames = [left[0]] * 3 if len(left) == 1 else [*frames[1:], left[0]]
        expected = {name: np.stack([frame[name] for frame in frames]) for name in left[0]}
        assert same(expected, right[0])
        kept.append((expected, right[0]))
    assert all(same(expected, shown) for expected, shown in kept)


def test_normalize_reward(market: cryptoenv.Market) -> None:
    wrapped = wrappers.NormalizeReward(make(market))
    scaled = []
    for left, right in in_step(make(market), wrapped, 3 * EPISODE):
        assert same(left[0], right[0])
        if len(left) > 1:
            assert np.sign(left[1]) == np.sign(right[1])
            assert left[2:4] == right[2:4]
            scaled.append(float(right[1]))
    assert 0.1 < np.std(scaled) < 10.0


def test_record_episode_statistics(market: cryptoenv.Market) -> None:
    wrapped, episodes = wrappers.RecordEpisodeStatistics(make(market)), 0
    for left, right in in_step(make(market), wrapped, 3 * EPISODE):
        if len(left) > 1 and left[3]:
            shown = right[4]["episode"]
            assert shown["l"] == EPISODE
            assert shown["r"] == pytest.approx(np.log(left[4]["equity"] / 10_000.0), abs=1e-6)
            episodes += 1
    assert episodes == 3 == wrapped.episode_count


@pytest.mark.parametrize("by", ["make", "wrapper"])
def test_time_limit(market: cryptoenv.Market, by: str) -> None:
    """The wrapper cuts the episode first; the next one is the one that the env alone draws as its second."""
    wrapped = make(market, max_episode_steps=5) if by == "make" else wrappers.TimeLimit(make(market), 5)
    plain = make(market)
    plain.reset(seed=6)
    second = plain.reset()[0]
    wrapped.reset(seed=6)
    cuts = [wrapped.step(1)[2:4] for _ in range(5)]
    assert cuts == [(False, False)] * 4 + [(False, True)]
    assert same(second, wrapped.reset()[0])
    assert [wrapped.step(1)[3] for _ in range(5)] == [False] * 4 + [True]


def test_a_time_limit_longer_than_the_episode_changes_nothing(market: cryptoenv.Market) -> None:
    for left, right in in_step(make(market), wrappers.TimeLimit(make(market), 10 * EPISODE), 2 * EPISODE):
        assert left[1:4] == right[1:4]


def test_gymnasiums_checking_wrappers(market: cryptoenv.Market) -> None:
    """Registration leaves them out; who wants them can have them."""
    wrapped = wrappers.OrderEnforcing(wrappers.PassiveEnvChecker(make(market)))
    with pytest.raises(gym.error.ResetNeeded):
        wrapped.step(0)
    for left, right in in_step(make(market), wrapped, 2 * EPISODE):
        assert same(left[0], right[0])
