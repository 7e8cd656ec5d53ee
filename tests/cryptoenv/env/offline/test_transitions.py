"""Transitions of episodes: what follows what, and what replay buffers and d3rlpy are given."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from cryptoenv.env.offline import DataLayout, Episode, Transitions
from cryptoenv.env.offline.layout import FLAT, Part
from cryptoenv.files.typed_values import ConfigError


def episode(first: int, steps: int, *, ruined: bool = False, name: str = "15m") -> Episode:
    """Observations count on from `first`, so that what follows what can be read off."""
    numbers = np.arange(first, first + steps + 1, dtype=np.float32)
    ends = np.arange(steps) == steps - 1
    ones = np.ones((2, 3), np.float32)
    seen = {name: numbers[:, None, None] * ones, "account": numbers[:, None] * np.ones(5, np.float32)}
    return Episode(seen, np.arange(steps), numbers[:-1] / 7, ends & ruined, ends & (not ruined), "counting", 0, first)


def test_what_follows_is_of_the_same_episode() -> None:
    found = Transitions.of([episode(0, 3), episode(100, 2, ruined=True)])
    assert found.observations()["account"][:, 0].tolist() == [0, 1, 2, 100, 101]
    assert found.next_observations()["account"][:, 0].tolist() == [1, 2, 3, 101, 102]
    assert found.next_observations([4, 2])["15m"][:, 1, 2].tolist() == [102, 3]
    assert found.episode.tolist() == [0, 0, 0, 1, 1]
    arrays = found.arrays()
    assert arrays["terminals"].tolist() == [0, 0, 0, 0, 1] and arrays["timeouts"].tolist() == [0, 0, 1, 0, 0]
    assert arrays["observations"].shape == (5, 2 * 3 + 5)
    with pytest.raises(ValueError, match="no episodes"):
        Transitions.of([])


def test_index_observations_are_not_flattened() -> None:
    with pytest.raises(ValueError, match="index"):
        Transitions.of([episode(0, 2, name="index")]).flat()


@pytest.mark.parametrize("flat", [False, True])
def test_replay_buffers_are_given_the_same_transitions(flat: bool) -> None:
    found = Transitions.of([episode(0, 3), episode(100, 2, ruined=True)])
    found = found.flat() if flat else found
    boxes = {name: spaces.Box(-999, 999, array.shape[1:]) for name, array in found.seen.items()}
    kind, space = (ReplayBuffer, boxes[FLAT]) if flat else (DictReplayBuffer, spaces.Dict(boxes))
    buffer = kind(5, space, spaces.Discrete(3), device="cpu")
    found.fill(buffer)
    assert buffer.full
    sample = buffer._get_samples(np.arange(5))
    seen = {FLAT: sample.observations} if flat else sample.observations
    after = {FLAT: sample.next_observations} if flat else sample.next_observations
    for name in found.seen:
        assert np.array_equal(seen[name], found.observations()[name])
        assert np.array_equal(after[name], found.next_observations()[name])
    assert sample.dones.flatten().tolist() == [0, 0, 0, 0, 1]  # what time ended goes on, for a critic
    assert sample.actions.flatten().tolist() == found.actions.tolist()
    assert np.array_equal(sample.rewards.flatten(), found.rewards.astype(np.float32))
    for rows, size in ((2, 10), (1, 4)):
        with pytest.raises(ValueError, match="n_envs=1"):
            found.fill(kind(size, space, spaces.Discrete(3), device="cpu", n_envs=rows))


def test_a_layout_goes_through_json_and_a_wrong_one_is_named() -> None:
    layout = DataLayout("window", (Part("account", (2,), "float32", (-1.0, 0.0), (1.0, 2.0)),), (-1.0, 0.0))
    assert DataLayout.from_dict(layout.as_dict(), "x") == layout
    assert layout.observation_space["account"] == spaces.Box(np.float32([-1, 0]), np.float32([1, 2]))
    with pytest.raises(ConfigError, match="x: "):
        DataLayout.from_dict(layout.as_dict() | {"observation": "pixels"}, "x")
