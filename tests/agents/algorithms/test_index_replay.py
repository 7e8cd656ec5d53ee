"""The buffer of indices gives what Stable-Baselines3's dictionary buffer gives, in a fraction of the memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer

from agents.algorithms.index_replay import IndexReplayBuffer
from agents.policies.policy_shape import observation_space

ENVS = 5


def stream(steps: int, seed: int) -> Any:
    """Transitions as an auto-resetting env gives them, with ends of both kinds."""
    rng = np.random.default_rng(seed)

    def fresh() -> dict[str, np.ndarray]:
        return {
            "index": rng.integers(0, 9_000, size=(ENVS, 2)),
            "account": rng.normal(size=(ENVS, 5)).astype(np.float32),
        }

    seen = fresh()
    for _ in range(steps):
        after = fresh()
        done = rng.random(ENVS) < 0.3
        infos: list[dict[str, Any]] = [{} for _ in range(ENVS)]
        last = {name: value.copy() for name, value in after.items()}
        for row in np.flatnonzero(done):
            infos[row]["TimeLimit.truncated"] = bool(rng.random() < 0.5)
            for name, value in fresh().items():
                last[name][row] = value[row]
        yield seen, last, rng.integers(3, size=ENVS), rng.normal(size=ENVS).astype(np.float32), done, infos
        seen = after


@pytest.mark.parametrize("resets", [1, 3])
@pytest.mark.parametrize("steps", [7, 40, 41, 95])
def test_samples_equal_those_of_the_dictionary_buffer(steps: int, resets: int) -> None:
    """With resets: as after a prefill, when learning begins with a reset of rows whose episodes had not ended."""
    arguments: Any = (40 * ENVS, observation_space(), spaces.Discrete(3), "cpu", ENVS)
    ours, theirs = IndexReplayBuffer(*arguments), DictReplayBuffer(*arguments)
    for transition in (t for reset in range(resets) for t in stream(steps, seed=10 * steps + reset)):
        ours.add(*transition)
        theirs.add(*transition)
    np.random.seed(1)  # noqa: NPY002 -- both draw from numpy's global state
    expected = theirs.sample(4_000)
    np.random.seed(1)  # noqa: NPY002 -- both draw from numpy's global state
    found = ours.sample(4_000)
    for name in ("index", "account"):
        assert torch.equal(found.observations[name], expected.observations[name].to(found.observations[name].dtype))
        mine, theirs_next = found.next_observations[name], expected.next_observations[name]
        assert torch.equal(mine, theirs_next.to(mine.dtype))
    assert torch.equal(found.actions, expected.actions)
    assert torch.equal(found.rewards, expected.rewards)
    assert torch.equal(found.dones, expected.dones)


def test_a_million_transitions_take_less_than_80_mb() -> None:
    buffer = IndexReplayBuffer(1_000_000, observation_space(), spaces.Discrete(3), "cpu", 500)
    assert buffer.buffer_size * 500 == 1_000_000
    assert buffer.nbytes < 45e6
    windows = 2 * 4 * (32 * 34 + 16 * 18 + 8 * 18 + 5)  # bytes of two window observations of the default env
    assert windows * 1_000_000 > 250 * buffer.nbytes


def test_demonstrations_stay_and_have_their_share() -> None:
    buffer = IndexReplayBuffer(40 * ENVS, observation_space(), spaces.Discrete(3), "cpu", ENVS)
    wide = DictReplayBuffer(500 * ENVS, observation_space(), spaces.Discrete(3), "cpu", ENVS)  # forgets nothing
    streams = [list(stream(12, seed=1)), list(stream(95, seed=2))]
    for number, transitions in enumerate(streams):
        for transition in transitions:
            buffer.add(*transition)
            wide.add(*transition)
        if number == 0:
            buffer.keep_demonstrations(0.5)
    kept = [*range(12), *range(12 + 95 - 28, 12 + 95)]  # the demonstrations and the last that fit beside them
    known = {
        tuple(wide.observations["index"][i, e]): tuple(wide.next_observations["index"][i, e])
        for i in kept for e in range(ENVS)
    }  # fmt: skip
    samples = buffer.sample(4_000)
    seen = [tuple(row) for row in samples.observations["index"].tolist()]
    assert [known[key] for key in seen] == [tuple(row) for row in samples.next_observations["index"].tolist()]
    demonstrated = {tuple(wide.observations["index"][i, e]) for i in range(12) for e in range(ENVS)}
    assert 0.6 < np.mean([key in demonstrated for key in seen]) < 0.7  # a half, and 12 of 40 of the rest
    with pytest.raises(ValueError, match="nothing but the prefill"):
        buffer.keep_demonstrations(0.5)
    with pytest.raises(ValueError, match="share=2"):
        buffer.keep_demonstrations(2)


def test_a_restored_buffer_samples_and_goes_on_alike() -> None:
    first, second = (
        IndexReplayBuffer(30 * ENVS, observation_space(), spaces.Discrete(3), "cpu", ENVS) for _ in range(2)
    )
    transitions = list(stream(80, seed=3))
    for transition in transitions[:50]:
        first.add(*transition)
    second.load_state_dict({name: array.copy() for name, array in first.state_dict().items()})
    for transition in transitions[50:]:
        first.add(*transition)
        second.add(*transition)
    for name, array in first.state_dict().items():
        np.testing.assert_array_equal(array, second.state_dict()[name])
    small = IndexReplayBuffer(10 * ENVS, observation_space(), spaces.Discrete(3), "cpu", ENVS)
    with pytest.raises(ValueError, match="has shape"):
        small.load_state_dict(first.state_dict())


def test_it_is_for_index_observations() -> None:
    windows = spaces.Dict({"15m": spaces.Box(-1, 1, (4, 2)), "account": spaces.Box(-1, 1, (5,))})
    with pytest.raises(ValueError, match="observation='index'"):
        IndexReplayBuffer(100, windows, spaces.Discrete(3))
