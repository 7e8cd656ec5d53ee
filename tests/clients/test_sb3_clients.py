"""Stable-Baselines3 and sb3-contrib learn on the environment, and what they store is what single envs return."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import QRDQN, TQC, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import DictReplayBuffer, DictRolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

import cryptoenv
from agents.algorithms.sb3_vec_env import Sb3VecEnv
from cryptoenv import RiskLimits
from tests.clients.rows import Rows, row, same

NUM_ENVS = 4
SEED = 5
STEPS = 40  #: per row and rollout
EPISODE = 15
SMALL = {"net_arch": [16]}
FEW_QUANTILES: dict[Any, dict[str, int]] = {QRDQN: {"n_quantiles": 20}, TQC: {"n_quantiles": 5}}
KINDS = ("single envs", "native")


def arguments(market: Any, **more: Any) -> dict[str, Any]:
    return {"market": market, "window": (6, 3, 2), "episode_bars": EPISODE, **more}


def vec_env(kind: str, given: dict[str, Any], num_envs: int = NUM_ENVS) -> VecEnv:
    """SB3's own DummyVecEnv of single envs, or the adapter of the native vector env."""
    if kind == "single envs":
        return make_vec_env("CryptoTrade-v0", num_envs, env_kwargs=given)
    return Sb3VecEnv(gym.make_vec("CryptoTrade-v0", num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **given))


class Rollouts(BaseCallback):
    """Copies of every rollout buffer, and of the policy that filled it, before the update."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[DictRolloutBuffer, Any]] = []

    def _on_rollout_end(self) -> None:
        self.seen.append((copy.deepcopy(self.model.rollout_buffer), copy.deepcopy(self.model.policy)))

    def _on_step(self) -> bool:
        return True


def parameters(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.policy.parameters()])


def assert_learned(before: torch.Tensor, model: Any) -> None:
    after = parameters(model)
    assert torch.isfinite(after).all()
    assert (before != after).float().mean() > 0.1


def on_policy_rollouts(model: Any) -> list[tuple[DictRolloutBuffer, Any]]:
    """Two rollouts with their updates."""
    before, recorder = parameters(model), Rollouts()
    model.learn(2 * STEPS * NUM_ENVS, callback=recorder)
    assert model.num_timesteps == 2 * STEPS * NUM_ENVS
    assert len(recorder.seen) == 2
    assert_learned(before, model)
    return recorder.seen


def bootstrap(model: Any, policy: Any, observation: dict[str, Any]) -> float:
    """gamma * V(last observation), what SB3 adds to the reward of a truncated episode."""
    with torch.no_grad():
        return model.gamma * float(policy.predict_values(policy.obs_to_tensor(observation)[0])[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("observation", ["window", "index"])
@pytest.mark.parametrize("actions", [(-1.0, 0.0, 1.0), "continuous"])
def test_ppo(markets: list[cryptoenv.Market], kind: str, observation: str, actions: Any) -> None:
    given = arguments(markets, observation=observation, actions=actions)
    model = PPO("MultiInputPolicy", vec_env(kind, given), n_steps=STEPS, batch_size=80, n_epochs=2, gamma=0.9,
                policy_kwargs=SMALL, seed=SEED, device="cpu")  # fmt: skip
    rows, ends = Rows(NUM_ENVS, SEED, **given), 0
    for buffer, policy in on_policy_rollouts(model):
        for t in range(STEPS):
            for i in range(NUM_ENVS):
                assert same(rows.observations[i], row({k: v[t] for k, v in buffer.observations.items()}, i))
            taken = buffer.actions[t]
            taken = taken[:, 0].astype(int) if actions != "continuous" else np.clip(taken, -1.0, 1.0)
            for i, (last, reward, terminated, truncated, _) in enumerate(rows.step(taken)):
                assert not terminated
                expected = reward + (bootstrap(model, policy, last) if truncated else 0.0)
                assert buffer.rewards[t, i] == pytest.approx(expected, rel=1e-5, abs=1e-7)
                ends += truncated
    assert ends == NUM_ENVS * (2 * STEPS // EPISODE)


@pytest.mark.parametrize("kind", KINDS)
def test_maskable_ppo_obeys_the_masks(market: cryptoenv.Market, kind: str) -> None:
    given = arguments(market, limits=RiskLimits(drawdown_stop=0.004), episode_bars=STEPS)
    model = MaskablePPO("MultiInputPolicy", vec_env(kind, given), n_steps=STEPS, batch_size=80, n_epochs=2,
                        policy_kwargs=SMALL, seed=SEED, device="cpu")  # fmt: skip
    rows, blocked = Rows(NUM_ENVS, SEED, **given), 0
    for buffer, _ in on_policy_rollouts(model):
        masks = buffer.action_masks.reshape(STEPS, NUM_ENVS, 3).astype(bool)
        taken = buffer.actions[..., 0].astype(int)
        for t in range(STEPS):
            assert (masks[t] == rows.masks()).all()
            assert masks[t, np.arange(NUM_ENVS), taken[t]].all()
            blocked += int((~masks[t]).sum())
            rows.step(taken[t])
    assert blocked > STEPS


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_ppo(market: cryptoenv.Market, kind: str) -> None:
    given = arguments(market)
    model = RecurrentPPO("MultiInputLstmPolicy", vec_env(kind, given), n_steps=STEPS, batch_size=80, n_epochs=1,
                         policy_kwargs={**SMALL, "lstm_hidden_size": 8}, seed=SEED, device="cpu")  # fmt: skip
    rows = Rows(NUM_ENVS, SEED, **given)
    begun = np.ones(NUM_ENVS, dtype=bool)
    for buffer, _ in on_policy_rollouts(model):
        assert buffer.hidden_states_pi.shape == (STEPS, 1, NUM_ENVS, 8)
        for t in range(STEPS):
            assert (buffer.episode_starts[t].astype(bool) == begun).all()
            results = rows.step(buffer.actions[t, :, 0].astype(int))
            begun = np.array([terminated or truncated for _, _, terminated, truncated, _ in results])
            expected = np.array([reward for _, reward, *_ in results])
            assert buffer.rewards[t, ~begun] == pytest.approx(expected[~begun], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("algorithm", "observation"), [(DQN, "window"), (DQN, "index"), (QRDQN, "window"), (SAC, "window"), (TQC, "window")]
)
def test_replay_holds_what_single_envs_return(
    markets: list[cryptoenv.Market], kind: str, algorithm: Any, observation: str
) -> None:
    """Ruin (100 times leverage) and truncation, some rows at once: last observations, `dones` and `timeouts` right."""
    continuous = algorithm in (SAC, TQC)
    actions = "continuous" if continuous else (-100.0, 0.0, 0.5)
    given = arguments(markets, observation=observation, actions=actions, limits=RiskLimits(exposure=100.0),
                      initial_cash=100.0)  # fmt: skip
    model = algorithm("MultiInputPolicy", vec_env(kind, given), buffer_size=1000, learning_starts=20, batch_size=32,
                      train_freq=2, seed=SEED, device="cpu",
                      policy_kwargs=SMALL | FEW_QUANTILES.get(algorithm, {}))  # fmt: skip
    before = parameters(model)
    model.learn(2 * STEPS * NUM_ENVS)
    assert_learned(before, model)
    buffer = model.replay_buffer
    assert isinstance(buffer, DictReplayBuffer)
    assert buffer.pos == 2 * STEPS
    rows, ruins, cuts = Rows(NUM_ENVS, SEED, **given), 0, 0
    for t in range(buffer.pos):
        for i in range(NUM_ENVS):
            assert same(rows.observations[i], row({k: v[t] for k, v in buffer.observations.items()}, i))
        taken = model.policy.unscale_action(buffer.actions[t]) if continuous else buffer.actions[t, :, 0]
        for i, (last, reward, terminated, truncated, _) in enumerate(rows.step(taken)):
            assert same(last, row({k: v[t] for k, v in buffer.next_observations.items()}, i))
            assert buffer.rewards[t, i] == np.float32(reward)
            assert buffer.dones[t, i] == (terminated or truncated)
            assert buffer.timeouts[t, i] == truncated
            ruins, cuts = ruins + terminated, cuts + truncated
    assert ruins > 0
    assert cuts > 0


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_many_rows_at_once(markets: list[cryptoenv.Market], kind: str) -> None:
    """Rows truncated together, and in the same step others ruined: the VecEnv contract, against single envs."""
    given = arguments(markets, actions=(-100.0, 0.0, 0.5), limits=RiskLimits(exposure=100.0),
                      initial_cash=100.0, episode_bars=4)  # fmt: skip
    num_envs = 24
    envs = vec_env(kind, given, num_envs)
    envs.seed(SEED)
    envs.reset()
    rows = Rows(num_envs, SEED, **given)
    returns, lengths = np.zeros(num_envs), np.zeros(num_envs, dtype=int)
    rng, most, both = np.random.default_rng(0), 0, False
    for _ in range(60):
        taken = rng.integers(3, size=num_envs)
        observation, rewards, dones, infos = envs.step(taken)
        results = rows.step(taken)
        assert rewards.dtype == np.float32
        for i, (last, reward, terminated, truncated, _) in enumerate(results):
            returns[i], lengths[i] = returns[i] + reward, lengths[i] + 1
            assert same(rows.observations[i], row(observation, i))
            assert rewards[i] == np.float32(reward)
            assert dones[i] == (terminated or truncated) == ("terminal_observation" in infos[i])
            assert bool(infos[i].get("TimeLimit.truncated", False)) is truncated
            if dones[i]:
                assert same(last, infos[i]["terminal_observation"])
                assert infos[i]["episode"]["l"] == lengths[i]
                assert infos[i]["episode"]["r"] == pytest.approx(returns[i], abs=2e-6)
                returns[i], lengths[i] = 0.0, 0
        most = max(most, int(dones.sum()))
        both |= any(r[2] for r in results) and any(r[3] for r in results)
    assert most > num_envs // 3
    assert both


@pytest.mark.parametrize("kind", KINDS)
def test_reset_options_reach_the_rows(markets: list[cryptoenv.Market], kind: str) -> None:
    envs = vec_env(kind, arguments(markets, observation="index"))
    starts = [{"market": i % 2, "start": 5000 + i, "exposure": 0.5} for i in range(NUM_ENVS)]
    envs.set_options(starts)
    observation = envs.reset()
    assert observation["index"].tolist() == [[i % 2, 5000 + i] for i in range(NUM_ENVS)]
    assert observation["account"][:, 0] == pytest.approx(0.5)
    assert (envs.reset()["index"][:, 1] != 5000 + np.arange(NUM_ENVS)).any()  # options count once
    envs.set_options({"market": 1})
    assert (envs.reset()["index"][:, 0] == 1).all()


def test_rows_of_the_native_env_take_the_same_options(market: cryptoenv.Market) -> None:
    envs = vec_env("native", arguments(market))
    envs.set_options([{"start": 5000}, {}, {}, {}])
    with pytest.raises(ValueError, match=r"row 1 has the options \[\], row 0 has \['start'\]"):
        envs.reset()


def test_masks_of_the_native_env(market: cryptoenv.Market) -> None:
    envs = vec_env("native", arguments(market))
    envs.reset()
    assert envs.has_attr("action_masks")
    assert [mask.tolist() for mask in envs.env_method("action_masks", indices=[0, 2])] == [[True] * 3] * 2
    with pytest.raises(AttributeError, match="render_all"):
        envs.env_method("render_all")
    continuous = vec_env("native", arguments(market, actions="continuous"))
    assert not continuous.has_attr("action_masks")
