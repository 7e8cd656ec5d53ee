"""Gradients that are written by hand are autograd's; what is no such policy is left to autograd."""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import polyak_update

import cryptoenv
import synthetic
from agents.algorithms.ppo import CloneGuidedPPO
from agents.algorithms.sb3_vec_env import Sb3VecEnv
from agents.algorithms.towers import Follower, Tower, clip
from agents.algorithms.written_passes import WrittenLayers, quicken, slowly, tanh_
from agents.algorithms.written_ppo import (
    LOSSES,
    Rollout,
    Towers,
    Weights,
    drawn,
    drawn_by_torch,
    gradients_by_torch,
    losses_and_gradients,
    rollout_of,
)
from agents.markets.embedded import EmbeddingTable
from agents.policies.heads import actor_arguments, bind, new_policy
from agents.policies.policy_shape import PolicyShape

SHAPE = PolicyShape(embedding_width=6, actions=3, hidden=(16, 16))
STEPS, ENVS = 32, 8


def learner(market: cryptoenv.Market, seed: int = 0, **more: Any) -> CloneGuidedPPO:
    """PPO that has seen one rollout, and begins elsewhere than at the clone that pulls it."""
    rng = np.random.default_rng(seed)
    table = EmbeddingTable([rng.standard_normal((len(market.prices), 6), dtype=np.float32)])
    envs = gym.make_vec(
        "CryptoTrade-v0", num_envs=ENVS, market=market, observation="index", autoreset_mode=AutoresetMode.SAME_STEP,
        episode_bars=20,
    )  # fmt: skip
    arguments: dict[str, Any] = {
        "policy": "MultiInputPolicy", "policy_kwargs": actor_arguments(SHAPE), "n_steps": STEPS, "batch_size": 64,
        "n_epochs": 2, "seed": seed, "device": "cpu", "learning_rate": 3e-3, "pull": 0.3, "warm_up": 0,
    }  # fmt: skip
    clone = new_policy(SHAPE, 1)
    algorithm = CloneGuidedPPO(clone=clone, env=Sb3VecEnv(envs, 100.0), **arguments | more)  # type: ignore[arg-type]
    algorithm.bind(table)
    other = new_policy(SHAPE, 2)
    bind(other, table)
    algorithm.policy.load_state_dict(other.state_dict())
    with torch.no_grad():  # far enough from the clone and from what acts that every part of the loss counts
        algorithm.policy.action_net.weight.mul_(40.0)
    algorithm.set_logger(configure(None, []))
    algorithm.learn(STEPS * ENVS)
    return algorithm


@pytest.fixture(scope="module")
def market() -> Iterator[cryptoenv.Market]:
    bars = synthetic.regime_market("easy", days=3, seed=1).bars
    yield cryptoenv.Market.from_bars(bars, ("15m", "4h", "1d"))


@pytest.mark.parametrize("actor_learns", [True, False])
def test_gradients_are_autograds(market: cryptoenv.Market, actor_learns: bool) -> None:
    algorithm = learner(market)
    own, clone = Towers.of(algorithm.policy), Towers.of(algorithm._clone)
    assert own is not None and clone is not None
    steps = rollout_of(algorithm.rollout_buffer, own, clone, algorithm.device)
    chosen = torch.arange(STEPS * ENVS).flip(0)[:100]
    next(algorithm.rollout_buffer.get(1))  # has it flattened
    losses = algorithm._losses(algorithm.rollout_buffer._get_samples(chosen.numpy()), 0.05)  # type: ignore[arg-type]
    loss = 0.5 * losses["value_loss"]
    if actor_learns:
        loss = loss + losses["policy_gradient_loss"] - 0.02 * losses["entropy"] + 0.3 * losses["kl_to_clone"]
    weights = list(algorithm.policy.parameters())
    algorithm.policy.optimizer.zero_grad()
    loss.backward()
    wanted = [None if weight.grad is None else weight.grad.clone() for weight in weights]
    algorithm.policy.optimizer.zero_grad()
    parts = losses_and_gradients(own, steps.some(chosen), Weights(0.5, 0.02, 0.3, 0.05), actor_learns)
    found = dict(zip(LOSSES, parts, strict=True))
    assert 0.1 < float(found["clip_fraction"]) < 0.9, "both sides of the clipping must be seen"
    for name, value in losses.items():
        assert float(found[name]) == pytest.approx(float(value.detach()), rel=1e-5, abs=1e-6), name
    for gradient, weight in zip(wanted, weights, strict=True):
        assert (gradient is None) == (weight.grad is None)
        if gradient is not None and weight.grad is not None:
            assert float((gradient - weight.grad).abs().max()) <= 2e-6 * float(gradient.abs().max())
    losses_and_gradients(own, steps.some(chosen), Weights(0.51, 0.02, 0.3, 0.05), actor_learns)
    critic = own.critic.layers[0].weight
    planted = next(g for g, w in zip(wanted, weights, strict=True) if w is critic)
    assert planted is not None and critic.grad is not None
    assert float((planted - critic.grad).abs().max()) > 2e-6 * float(planted.abs().max()), "planted: to be seen"


def test_an_update_goes_where_autograds_goes(market: cryptoenv.Market) -> None:
    written = learner(market)
    written.train()
    by_autograd = learner(market)
    by_autograd._towers = None, None
    by_autograd.train()
    for mine, its in zip(written.policy.parameters(), by_autograd.policy.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=2e-4)
    assert written.logger.name_to_value.keys() == by_autograd.logger.name_to_value.keys()


def test_tanh_is_right_within_float32() -> None:
    values = torch.linspace(-12.0, 12.0, 40_001)
    assert float((tanh_(values.clone()) - torch.tanh(values)).abs().max()) < 3e-7
    assert torch.isnan(tanh_(torch.tensor([float("nan")]))).all()


def test_other_policies_are_left_to_autograd(market: cryptoenv.Market) -> None:
    policy = learner(market).policy
    assert Towers.of(policy) is not None
    policy.mlp_extractor.policy_net[1] = torch.nn.ReLU()
    assert Towers.of(policy) is None
    assert Towers.of(new_policy(SHAPE, 0, "gaussian")) is None


@pytest.mark.parametrize("trailing", [False, True])
def test_quickened_layers_are_as_they_were(trailing: bool) -> None:
    torch.manual_seed(0)
    parts = [torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3), torch.nn.Tanh()]
    usual = torch.nn.Sequential(*parts[: 4 if trailing else 3])
    holder, written = torch.nn.Module(), copy.deepcopy(usual)
    holder.net = written
    quicken(holder)
    assert type(written) is WrittenLayers and written.state_dict().keys() == usual.state_dict().keys()
    features, pull = torch.randn(50, 6), torch.randn(50, 3)
    for layers in (usual, written):
        (layers(features) * pull).sum().backward()
    for mine, its in zip(written.parameters(), usual.parameters(), strict=True):
        assert mine.grad is not None and its.grad is not None
        assert float((mine.grad - its.grad).abs().max()) <= 2e-6 * float(its.grad.abs().max())
    with torch.no_grad():
        torch.testing.assert_close(written(features), usual(features), rtol=0.0, atol=1e-6)
    features.requires_grad_()
    written(features).sum().backward()
    assert features.grad is not None, "features that learn are left to autograd"


def test_unusual_layers_are_left_as_they_are() -> None:
    for other in (torch.nn.ReLU(), torch.nn.LayerNorm(4)):
        holder = torch.nn.Sequential(torch.nn.Linear(3, 4), other, torch.nn.Linear(4, 2))
        quicken(holder)
        assert type(holder) is torch.nn.Sequential


def test_compiled_losses_are_torchs() -> None:
    torch.manual_seed(1)
    clone, actions = torch.randn(300, 5).log_softmax(1), torch.randint(5, (300,))
    actor, critic = Tower([torch.nn.Linear(2, 5)]), Tower([torch.nn.Linear(2, 1)])
    features = torch.randn(300, 2)
    logits = actor.forward(features)
    old = logits.log_softmax(1).gather(1, actions[:, None]).flatten() + 0.2 * torch.randn(300)
    batch = Rollout(features, actions, old, torch.randn(300), torch.randn(300), clone)
    weights = Weights(0.5, 0.02, 0.3, 0.1)
    of_logits, of_values, losses = gradients_by_torch(
        actor.forward(batch.features), critic.forward(batch.features), batch, weights
    )
    found = losses_and_gradients(Towers(actor, critic, None), batch, weights, True)  # type: ignore[arg-type]
    torch.testing.assert_close(found.float(), losses, rtol=1e-5, atol=1e-6)
    for tower, gradient in ((actor, of_logits), (critic, of_values)):
        wanted = gradient.T @ batch.features
        weight = tower.layers[0].weight.grad
        assert weight is not None
        assert float((weight - wanted).abs().max()) <= 2e-6 * float(wanted.abs().max())


def test_actions_are_drawn_as_often_as_they_are_likely() -> None:
    torch.manual_seed(2)
    logits = torch.tensor([0.3, -1.0, 1.2]).repeat(40_000, 1)
    actions, log_prob = drawn(logits)
    chances = logits[0].softmax(0).numpy()
    np.testing.assert_allclose(np.bincount(actions, minlength=3) / 40_000, chances, atol=0.01)
    np.testing.assert_allclose(log_prob.exp().numpy(), chances[actions], rtol=1e-5)
    several = torch.randn(500, 4)
    torch.manual_seed(3)
    mine, own = drawn(several)
    torch.manual_seed(3)
    its, theirs = drawn_by_torch(several, torch.rand(500))
    assert (mine == its.numpy()).all()
    torch.testing.assert_close(own, theirs)


def test_clipping_and_following_are_the_usual_ones() -> None:
    torch.manual_seed(4)
    nets = [torch.nn.Sequential(torch.nn.Linear(3, 20), torch.nn.Tanh(), torch.nn.Linear(20, 2)) for _ in range(3)]
    tower, features = Tower.of(list(nets[0])), torch.randn(30, 3)
    assert tower is not None
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1](features).sum().backward()
    torch.nn.utils.clip_grad_norm_(nets[1].parameters(), 0.5)
    tower.forward(features)
    tower.backward(torch.ones(30, 2))
    clip([tower], 0.5)
    for mine, its in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert mine.grad is not None and its.grad is not None
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-5, atol=1e-7)
    followers = [copy.deepcopy(nets[2]), copy.deepcopy(nets[2])]
    Follower(nets[0], followers[0], 0.1).follow()
    polyak_update(nets[0].parameters(), followers[1].parameters(), 0.1)
    for mine, its in zip(followers[0].parameters(), followers[1].parameters(), strict=True):
        assert torch.equal(mine, its)


def test_what_was_quickened_can_be_slowed() -> None:
    net = torch.nn.ModuleList([torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())])
    quicken(net)
    slowly(net)
    assert type(net[0]) is torch.nn.Sequential


def test_passes_need_no_processor() -> None:
    """Every operation has a form for other devices: on torch's "meta", which computes shapes alone."""
    policy = new_policy(SHAPE, 0).to("meta")
    towers = Towers.of(policy)
    assert towers is not None
    floats = torch.zeros(7, device="meta")
    batch = Rollout(
        torch.zeros((7, 11), device="meta"), torch.zeros(7, dtype=torch.int64, device="meta"), floats, floats, floats,
        torch.zeros((7, 3), device="meta"),
    )  # fmt: skip
    losses_and_gradients(towers, batch, Weights(0.5, 0.1, 0.1, 0.2), True)
    for layer in (*towers.actor.layers, *towers.critic.layers):
        assert layer.weight.grad is not None and layer.weight.grad.device.type == "meta"
        assert layer.weight.grad.shape == layer.weight.shape
