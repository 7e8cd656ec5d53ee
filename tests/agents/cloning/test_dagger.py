"""DAgger: the states a clone comes to by itself, labelled and learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.cloning.behaviour_cloning import CloningConfig, clone
from agents.cloning.dagger import DaggerConfig, dagger
from agents.cloning.demonstrations import Demonstrations, collect
from agents.markets.embedded import EmbeddedMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.heads import bind, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.trading_policy import TablePolicy, held_position
from agents.settings import TradingSettings
from pretrain import Extractor

QUICK = CloningConfig(samples=4_096, epochs=3, batch_size=256, learning_rate=1e-2)


@pytest.fixture(scope="module")
def train(extractor: Extractor, labelled: tuple[ExpertMarket, ...]) -> EmbeddedMarkets:
    return EmbeddedMarkets.of(extractor, labelled, progress=False)


def test_a_visitor_decides_where_the_states_are(train: EmbeddedMarkets, settings: TradingSettings) -> None:
    always_short = TablePolicy([np.zeros_like(t.labels) for t in train.labelled], settings.positions)
    found = collect(train.labelled, settings, samples=6_400, seed=0, num_envs=64, visitor=always_short, progress=False)
    held = held_position(found.account, settings.positions)
    assert (held == 0).mean() > 0.98  # all but the first states, which are flat
    labels = np.stack([t.labels for t in train.labelled])
    np.testing.assert_array_equal(found.actions, labels[found.index[:, 0], found.index[:, 1], held])
    labelled_all = collect(
        train.labelled, settings, samples=6_400, seed=0, num_envs=64, visitor=always_short, teacher_share=1.0,
        progress=False,
    )  # fmt: skip
    after = held_position(labelled_all.account, settings.positions)[64:]
    np.testing.assert_array_equal(after, labelled_all.actions[:-64])  # the teacher's own trades


def test_a_clone_learns_what_to_do_where_its_mistakes_lead(
    extractor: Extractor, train: EmbeddedMarkets, settings: TradingSettings
) -> None:
    """Cloned from flat states alone, it knows nothing of held positions; DAgger shows them to it."""
    everything = collect(train.labelled, settings, samples=12_000, seed=1, num_envs=64, progress=False)
    flat = held_position(everything.account, settings.positions) == settings.flat
    narrow = Demonstrations(everything.index[flat], everything.account[flat], everything.actions[flat])
    shape = PolicyShape(extractor.width, 3)
    agent = Agent(extractor, new_policy(shape, 0), shape, settings)
    bind(agent.policy, train.table)
    clone(agent.policy, narrow, QUICK, seed=0, progress=False)

    def agreement() -> float:
        own = AgentPolicy(agent, agent.policy)
        seen = collect(train.labelled, settings, samples=6_400, seed=9, num_envs=64, visitor=own, progress=False)
        return float((own.act(seen.index, seen.account) == seen.actions).mean())

    before = agreement()
    config = DaggerConfig(rounds=2, samples=6_400, epochs=3)
    found = dagger(agent, narrow, train, config, QUICK, seed=0, progress=False)
    assert len(found) > len(narrow) + 10_000
    assert agreement() > before + 0.05


def test_seeds_and_bad_numbers(extractor: Extractor, train: EmbeddedMarkets, settings: TradingSettings) -> None:
    weights = []
    for seed in (3, 3, 4):
        shape = PolicyShape(extractor.width, 3)
        agent = Agent(extractor, new_policy(shape, 0), shape, settings)
        bind(agent.policy, train.table)
        first = collect(train.labelled, settings, samples=2_048, seed=0, num_envs=64, progress=False)
        config = DaggerConfig(rounds=1, samples=2_048, epochs=1)
        dagger(agent, first, train, config, replace(QUICK, batch_size=128), seed=seed, progress=False)
        weights.append(torch.cat([p.flatten() for p in agent.policy.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    with pytest.raises(ValueError, match="rounds=-1"):
        DaggerConfig(rounds=-1)
