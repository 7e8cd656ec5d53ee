"""Updates of values that are written by hand go where autograd's go."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure
from torch.nn import functional

from agents.algorithms.dqn import DQNConfig, new_dqn
from agents.algorithms.fitted_q import FittedQConfig, new_fitted_q
from agents.algorithms.sac import SACConfig, new_sac, soft_target
from agents.algorithms.written_values import (
    Guides,
    actor_gradient,
    actor_losses,
    best_after,
    by_autograd,
    huber_gradient,
    pull_gradient,
    pull_loss,
    q_gradient,
    q_losses,
    q_targets,
    soft_targets,
)
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from pretrain import Extractor
from tests.agents.algorithms.test_sanity_worlds import COSTLY, WIDTH, markets

ROWS, STATES, ACTIONS = 200, 40, 4


def drawn(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert float((found - wanted).abs().max()) <= 2e-6 * float(wanted.abs().max())


def test_gradients_of_values_are_autograds() -> None:
    values, clone, target = drawn((ROWS + STATES, ACTIONS), (ROWS, ACTIONS), (ROWS,))
    told = (torch.arange(ROWS)[:, None] % ACTIONS, 2.0 * target, torch.arange(STATES) % ACTIONS)
    guides = Guides(0.3, 0.4, 0.2, 0.5)
    wanted, losses = by_autograd(lambda own: q_losses(own, told, clone, guides), values)
    gradient, found = q_gradient(values, told, clone, guides)
    same(gradient, wanted)
    torch.testing.assert_close(found, losses, check_dtype=False)
    planted, _ = q_gradient(values, told, clone, guides._replace(pull=0.31))
    assert float((planted - wanted).abs().max()) > 2e-6 * float(wanted.abs().max())


def test_gradients_of_an_actor_are_autograds() -> None:
    logits, first, second, clone = drawn(*4 * [(ROWS, ACTIONS)])
    own = logits.clone().requires_grad_()
    losses = actor_losses(own, (first, second), clone, 0.3)
    (losses[0] + 0.2 * losses[2]).backward()
    gradient, found = actor_gradient(logits, (first, second), clone, 0.3, 0.2)
    assert own.grad is not None
    same(gradient, own.grad)
    torch.testing.assert_close(found, torch.stack(losses).detach(), check_dtype=False)


def test_targets_are_the_usual_ones() -> None:
    own, averaged, rewards = drawn((ROWS, ACTIONS), (ROWS, ACTIONS), (ROWS, 1))
    ended = (torch.arange(ROWS) % 3 == 0).float()[:, None]
    following = averaged.gather(1, own.argmax(dim=1, keepdim=True))
    double = q_targets(own, averaged, rewards, ended, 0.9)
    torch.testing.assert_close(double, (rewards + (1 - ended) * 0.9 * following)[:, 0])
    samples = SimpleNamespace(rewards=rewards, dones=ended)
    wanted = soft_target(samples, own.log_softmax(1), torch.minimum(averaged, -averaged), torch.tensor(0.3), 0.9)
    torch.testing.assert_close(soft_targets(own, (averaged, -averaged), rewards, ended, 0.3, 0.9), wanted[:, 0])


def test_gradients_of_fitted_q_are_autograds() -> None:
    values, target, clone = drawn(*3 * [(ROWS, ACTIONS)])
    switching = torch.rand(ACTIONS, ACTIONS)
    torch.testing.assert_close(best_after(values, switching), (values[:, None, :] - switching).amax(dim=2))
    gradient, error = huber_gradient(values, target)
    loss = error + pull_gradient(values - 0.1, clone, 20.0, 0.3, gradient)
    wanted, losses = by_autograd(
        lambda own: (functional.smooth_l1_loss(own, target), 0.3 * pull_loss(own - 0.1, clone, 0.05)), values
    )
    same(gradient, wanted)
    assert float(loss) == pytest.approx(float(losses.sum()), rel=1e-5)


def made(name: str, extractor: Extractor, device: str = "cpu") -> Any:
    """An algorithm that is ready to learn; it stands elsewhere than the clone that pulls it."""
    world = markets("noise", 0, 2)
    shape = PolicyShape(WIDTH, 3, (16, 16))
    clone = Agent(extractor, new_policy(shape, 0), shape, COSTLY)
    small: dict[str, Any] = {"num_envs": 16, "prefill": 2_000, "buffer_size": 4_000, "batch_size": 64}
    if device == "meta":
        small["prefill"] = 0
    if name == "dqn":
        config = DQNConfig(**small, labelled=256, margin_weight=0.2, pull=0.3)
        found: Any = new_dqn(clone, world, config, seed=0, device=device)
    elif name == "sac":
        found = new_sac(clone, world, SACConfig(**small, warm_up=0, pull=0.3), seed=0, device=device)
    else:
        found = new_fitted_q(clone, world, FittedQConfig(steps=640, batch_size=64, pull=0.3), seed=0, device=device)
    found.set_logger(configure(None, []))
    return found


@pytest.mark.parametrize("name", ["dqn", "sac", "fitted_q"])
def test_a_learner_goes_where_autograds_goes(name: str, extractor: Extractor) -> None:
    written, usual = made(name, extractor), made(name, extractor)
    assert written._towers is not None
    usual._towers = None
    for algorithm in (written, usual):
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002 -- the replay draws from it
        if name == "fitted_q":
            algorithm.learn(5 * 64)
        else:  # the same transitions, so that the updates alone are compared
            before = copy.deepcopy(algorithm.policy.state_dict())
            algorithm._setup_learn(1_000, None)
            algorithm.train(6, 64)
            assert any(not torch.equal(before[key], value) for key, value in algorithm.policy.state_dict().items())
    for key, mine in written.policy.state_dict().items():
        torch.testing.assert_close(mine, usual.policy.state_dict()[key], rtol=1e-3, atol=2e-5, msg=key)
    assert written.logger.name_to_value.keys() == usual.logger.name_to_value.keys()


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("name", ["dqn", "sac", "fitted_q"])
def test_all_of_an_update_is_where_the_weights_are(
    name: str, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's "meta", which refuses what is elsewhere, and holds no numbers: those asked for are made up."""
    found = made(name, extractor, "meta")
    assert found._towers is not None and {weight.device.type for weight in found.policy.parameters()} == {"meta"}
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.5)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: np.full(self.shape, 0.5).tolist())
    if name == "fitted_q":
        found.optimizer.param_groups[0]["fused"] = None  # "meta" has no fused kernels
        found.learn(3 * 64)
    else:
        found._setup_learn(1_000, None)
        seen: Any = found.env.reset()
        after, rewards, dones, infos = found.env.step(np.zeros(16, np.int64))
        found.replay_buffer.add(seen, after, np.zeros(16, np.int64), rewards, dones, infos)
        found.train(2, 64)
    assert found._n_updates > 0
    table = found.policy.features_extractor if name == "fitted_q" else found._towers.features
    assert table.rows.device.type == "meta"
