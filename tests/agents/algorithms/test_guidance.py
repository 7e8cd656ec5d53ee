"""The formulas by which a clone guides what learns after it, against plain arithmetic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agents.algorithms.exposures import INSIDE, ExposureActions, clone_by_likelihood
from agents.algorithms.fitted_q import CounterfactualQ, FittedQConfig
from agents.algorithms.off_policy import LabelledStates, copy_actor, margin_loss, pull_loss
from agents.algorithms.sac import actor_loss, soft_target
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.value_heads import LOG_ODDS
from agents.settings import TradingSettings
from cryptoenv.trading.config import Costs
from pretrain import Extractor
from synthetic import hindsight_oracle
from tests.agents.algorithms.test_sanity_worlds import market_of

RNG = np.random.default_rng(0)


def test_the_margin_loss_is_that_of_dqfd() -> None:
    values, expert = RNG.normal(size=(6, 3)), RNG.integers(3, size=6)
    expected = []
    for q, best in zip(values, expert, strict=True):
        expected.append(max(q[a] + (0.0 if a == best else 0.7) for a in range(3)) - q[best])
    found = margin_loss(torch.tensor(values), torch.tensor(expert), 0.7)
    assert float(found) == pytest.approx(np.mean(expected))
    clear = torch.tensor([[5.0, 0.0, 0.0]])
    assert float(margin_loss(clear, torch.tensor([0]), 0.7)) == 0.0


def test_the_pull_is_a_divergence() -> None:
    values, logits = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
    q = np.exp(values / 0.3) / np.exp(values / 0.3).sum(axis=1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (p * np.log(p / q)).sum(axis=1).mean()
    assert float(pull_loss(torch.tensor(values), torch.tensor(logits), 0.3)) == pytest.approx(expected)
    assert float(pull_loss(0.3 * torch.tensor(logits), torch.tensor(logits), 0.3)) == pytest.approx(0.0, abs=1e-12)


def test_discrete_sac_by_hand() -> None:
    logits = torch.tensor(RNG.normal(size=(4, 3))).log_softmax(dim=1)
    values, rewards = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 1))
    dones = np.array([[0.0], [1.0], [0.0], [0.0]])
    samples = SimpleNamespace(rewards=torch.tensor(rewards), dones=torch.tensor(dones))
    p, alpha = logits.exp().numpy(), 0.3
    soft = (p * (values - alpha * np.log(p))).sum(axis=1, keepdims=True)
    found = soft_target(samples, logits, torch.tensor(values), torch.tensor(alpha), 0.9)
    np.testing.assert_allclose(found.numpy(), rewards + (1.0 - dones) * 0.9 * soft)
    loss, entropy = actor_loss(logits, torch.tensor(values), torch.tensor(alpha))
    assert float(loss) == pytest.approx((p * (alpha * np.log(p) - values)).sum(axis=1).mean())
    assert float(entropy) == pytest.approx(-(p * np.log(p)).sum(axis=1).mean())


def test_a_value_network_starts_as_the_clones_log_odds() -> None:
    shape = PolicyShape(4, 3, (8, 8))
    clone, value = new_policy(shape, 1), new_policy(shape, 2, "value")
    copy_actor(clone, value.q_net.q_net, 1.0 / LOG_ODDS)
    seen = {"index": torch.zeros((7, 2), dtype=torch.int64), "account": torch.tensor(RNG.normal(size=(7, 5))).float()}
    with torch.no_grad():
        features = clone.extract_features(seen)
        raw = clone.action_net(clone.mlp_extractor.forward_actor(features))
        torch.testing.assert_close(LOG_ODDS * value.q_net(seen), raw)


def test_fitted_q_finds_the_optimum_of_a_known_world() -> None:
    """With every bar its own one-hot embedding, U is a table: fitted Q must agree with dynamic programming."""
    bars = 24
    settings = TradingSettings(timeframes=("15m",), window=(1,), costs=Costs(impact=0.0))
    labelled = market_of(RNG.normal(0.0, 0.004, 1_200), settings.turnover_cost)
    first = len(labelled.market) - 1 - bars
    labelled = type(labelled)(labelled.market, labelled.labels, first)
    rows = np.zeros((len(labelled.market), bars + 1), np.float32)
    rows[first + np.arange(bars + 1), np.arange(bars + 1)] = 1.0
    train = EmbeddedMarkets((labelled,), EmbeddingTable([rows]))
    gamma = 0.9
    config = FittedQConfig(
        steps=300_000, batch_size=96, learning_rate=3e-3, weight_decay=0.0, gamma=gamma, averaging=0.05, pull=0.0
    )
    shape = PolicyShape(bars + 1, 3, (64,))
    algorithm = CounterfactualQ(shape, config, settings.positions, settings.turnover_cost, 0)
    algorithm.teach_with(train)
    algorithm.set_logger(quiet())
    algorithm.learn(config.steps)
    close = labelled.market.prices[:, 3]
    positions, cost = np.array(settings.positions), 100.0 * settings.turnover_cost
    table = np.zeros((bars + 1, 3))
    for t in range(bars - 1, -1, -1):
        moved = close[first + t + 1] / close[first + t] - 1.0
        onward = (table[t + 1][None, :] - cost * np.abs(positions[:, None] - positions[None, :])).max(axis=1)
        table[t] = 100.0 * np.log1p(positions * moved) + (gamma * onward if t < bars - 1 else 0.0)
    with torch.no_grad():
        found = algorithm.policy.averaged(torch.eye(bars + 1)[:bars]).numpy()
    np.testing.assert_allclose(found, table[:bars], atol=0.05)


def quiet() -> Any:
    from stable_baselines3.common.logger import configure

    return configure(None, [])


def test_hindsight_and_fitted_q_mean_the_same_reward() -> None:
    """The last step's utilities are hindsight's values there: the reward of a bar is defined once."""
    labelled = market_of(RNG.normal(0.0, 0.004, 1_200), 0.0)
    oracle = hindsight_oracle(labelled.market.bars, cost=0.0, positions=(-1.0, 0.0, 1.0))
    settings = TradingSettings(timeframes=("15m",), window=(1,))
    algorithm = CounterfactualQ(PolicyShape(2, 3, (4,)), FittedQConfig(), settings.positions, 0.0, 0)
    algorithm.teach_with(
        EmbeddedMarkets((labelled,), EmbeddingTable([np.zeros((len(labelled.market), 2), np.float32)]))
    )
    last = algorithm._reward[-1].numpy()
    np.testing.assert_allclose(last, 100.0 * oracle.values[-2], rtol=1e-5)


def test_exposures_are_cloned_by_likelihood_and_snapped() -> None:
    policy = new_policy(PolicyShape(2, 3, (32,)), 0, "exposure")
    account = np.zeros((3_000, 5), np.float32)
    labels = RNG.integers(3, size=3_000)
    account[:, 3] = labels - 1.0  # tells the answer
    states = LabelledStates(
        torch.zeros((3_000, 2), dtype=torch.int64), torch.from_numpy(account), torch.from_numpy(labels)
    )
    torch.manual_seed(0)
    clone_by_likelihood(policy.actor, states, (-1.0, 0.0, 1.0), 300)
    seen = {"index": states.index[:50], "account": states.account[:50]}
    with torch.no_grad():
        found = policy.actor(seen, deterministic=True)[:, 0].numpy()
    np.testing.assert_allclose(found, INSIDE * (labels[:50] - 1.0), atol=0.15)

    class Heard:
        num_envs, render_mode = 3, None
        observation_space = action_space = None

        def step_async(self, actions: Any) -> None:
            self.actions = actions

    venv: Any = Heard()
    snapped = ExposureActions.__new__(ExposureActions)
    snapped.venv, snapped._positions, snapped._limit = venv, np.array([-1.0, 0.0, 0.5], np.float32), 1.0
    snapped.step_async(np.array([[-0.4], [0.3], [0.9]]))
    np.testing.assert_array_equal(venv.actions, [[0.0], [0.5], [0.5]])


def test_prefilling_mixes_the_clone_with_positions_held_at_random(
    extractor: Extractor, settings: TradingSettings
) -> None:
    from agents.algorithms.dqn import DQNConfig, new_dqn

    labelled = market_of(RNG.normal(0.0, 0.004, 1_500), settings.turnover_cost)
    own = TradingSettings(timeframes=("15m",), window=(8,))
    train = EmbeddedMarkets((labelled,), EmbeddingTable([np.zeros((len(labelled.market), 4), np.float32)]))
    shape = PolicyShape(4, 3, (8,))
    clone = Agent(extractor, new_policy(shape, 0), shape, own)
    with torch.no_grad():
        clone.policy.action_net.bias.copy_(torch.tensor([0.0, 0.0, 50.0]))  # always long
    config = DQNConfig(num_envs=16, prefill=8_000, buffer_size=16_000, labelled=256)
    algorithm = new_dqn(clone, train, config, seed=0)
    actions = algorithm.replay_buffer.arrays["actions"][:500, :, 0]
    assert algorithm.replay_buffer.pos == 500
    assert 0.5 < (actions == 2).mean() < 0.8  # half of the time by choice, else by chance in a third of cases
    assert (actions == 0).mean() > 0.1
    changes = (actions[1:] != actions[:-1]).mean()
    assert changes < 0.1  # positions are held for a while
