"""Gymnasium's own vector environments of our single env, and its wrappers over vector envs, against the native one."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import vector as vector_wrappers

import cryptoenv
from cryptoenv import RiskLimits
from tests.clients.rows import row, same

NUM_ENVS = 6
STEPS = 40
EPISODE = 9


def arguments(market: Any) -> dict[str, Any]:
    """100 times leverage, so that some rows are ruined while others are cut."""
    return {"market": market, "window": (4, 2, 2), "episode_bars": EPISODE, "actions": (-100.0, 0.0, 0.5),
            "limits": RiskLimits(exposure=100.0), "initial_cash": 100.0}  # fmt: skip


def native(market: Any, mode: AutoresetMode = AutoresetMode.NEXT_STEP, num_envs: int = NUM_ENVS) -> VectorEnv:
    return gym.make_vec("CryptoTrade-v0", num_envs, autoreset_mode=mode, **arguments(market))


def actions(steps: int = STEPS, num_envs: int = NUM_ENVS) -> np.ndarray:
    return np.random.default_rng(3).integers(3, size=(steps, num_envs))


def assert_same_info(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Same keys (but for presence masks) and, where a row has the key, the same values."""
    assert {key for key in theirs if not key.startswith("_")} == {key for key in ours if not key.startswith("_")}
    for name, values in theirs.items():
        if name.startswith("_") or name in ("final_obs", "final_info"):
            continue
        there = theirs[f"_{name}"]
        left, right = np.asarray(ours[name])[there], np.asarray(values)[there]
        assert np.array_equal(left.astype(np.float64), right.astype(np.float64), equal_nan=True), name


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("client", [AsyncVectorEnv, SyncVectorEnv])
def test_gymnasiums_vector_envs_equal_the_native_one(
    markets: list[cryptoenv.Market], client: Any, mode: AutoresetMode
) -> None:
    theirs = client([lambda: gym.make("CryptoTrade-v0", **arguments(markets))] * NUM_ENVS, autoreset_mode=mode)
    ours, ruined, cut = native(markets, mode), 0, 0
    try:
        assert ours.observation_space == theirs.observation_space
        assert ours.action_space == theirs.action_space
        left, right = ours.reset(seed=8), theirs.reset(seed=8)
        assert same(left[0], right[0])
        assert_same_info(left[1], right[1])
        for taken in actions():
            a, b = ours.step(taken), theirs.step(taken)
            assert same(a[0], b[0])
            assert all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in (1, 2, 3))
            assert_same_info(a[4], b[4])
            ruined, cut = ruined + int(a[2].sum()), cut + int(a[3].sum())
            if mode == AutoresetMode.SAME_STEP and (a[2] | a[3]).any():
                assert (a[4]["_final_obs"] == b[4]["_final_obs"]).all()
                assert_same_info(a[4]["final_info"], b[4]["final_info"])
                for i in np.flatnonzero(a[2] | a[3]):
                    assert same(a[4]["final_obs"][i], b[4]["final_obs"][i])
    finally:
        theirs.close()
    assert ruined > 2
    assert cut > 2


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_record_episode_statistics(market: cryptoenv.Market, mode: AutoresetMode) -> None:
    """Returns are log(equity at the end / at the start), lengths the bars traded, reset steps not counted."""
    plain, envs = native(market, mode), vector_wrappers.RecordEpisodeStatistics(native(market, mode))
    plain.reset(seed=2)
    envs.reset(seed=2)
    finished = cut = 0
    for taken in actions():
        _, _, terminated, truncated, info = plain.step(taken)
        shown = envs.step(taken)[4]
        ended = terminated | truncated
        assert ("episode" in shown) == ended.any()
        if not ended.any():
            continue
        equity = (info["final_info"] if mode == AutoresetMode.SAME_STEP else info)["equity"]
        assert (shown["_episode"] == ended).all()
        assert shown["episode"]["r"][ended] == pytest.approx(np.log(equity[ended] / 100.0), abs=1e-5)
        assert (shown["episode"]["l"][truncated] == EPISODE).all()
        assert (shown["episode"]["l"][terminated] <= EPISODE).all()
        finished, cut = finished + int(ended.sum()), cut + int(truncated.sum())
    assert finished == envs.episode_count
    assert 2 < cut < finished


def test_flatten_observation(market: cryptoenv.Market) -> None:
    plain, envs = native(market), vector_wrappers.FlattenObservation(native(market))
    expected, flat = plain.reset(seed=2)[0], envs.reset(seed=2)[0]
    for taken in actions(EPISODE + 3):
        assert envs.observation_space.contains(flat)
        for i in range(NUM_ENVS):
            assert (gym.spaces.flatten(plain.single_observation_space, row(expected, i)) == flat[i]).all()
        expected, flat = plain.step(taken)[0], envs.step(taken)[0]


def test_normalize_reward(market: cryptoenv.Market) -> None:
    """One positive factor on all rows of a step; observations and ends as they were."""
    plain, envs = native(market), vector_wrappers.NormalizeReward(native(market))
    plain.reset(seed=2)
    envs.reset(seed=2)
    scaled = []
    for taken in actions():
        a, b = plain.step(taken), envs.step(taken)
        assert same(a[0], b[0])
        assert (a[2] == b[2]).all() and (a[3] == b[3]).all()
        moved = a[1] != 0.0
        assert np.ptp(b[1][moved] / a[1][moved]) < 1e-6 * np.abs(b[1][moved] / a[1][moved]).max()
        assert ((b[1] / np.where(moved, a[1], 1.0))[moved] > 0.0).all()
        scaled.append(b[1])
    assert 0.1 < np.std(scaled) < 10.0


def test_infos_as_a_list(market: cryptoenv.Market) -> None:
    plain, envs = native(market), vector_wrappers.DictInfoToList(native(market))
    assert [info["bar"] for info in envs.reset(seed=2)[1]] == plain.reset(seed=2)[1]["bar"].tolist()
    for taken in actions(EPISODE + 3):
        expected, infos = plain.step(taken)[4], envs.step(taken)[4]
        for i in range(NUM_ENVS):
            assert infos[i].keys() == expected.keys()
            assert infos[i]["equity"] == expected["equity"][i]
            assert (infos[i]["action_mask"] == expected["action_mask"][i]).all()
