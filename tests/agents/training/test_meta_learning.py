from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import agents
from agents.evaluation.rollout import blocks, roll
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.composed.per_market import PerMarketPolicy
from agents.policies.heads import HEADS, bind, copy_of, new_policy
from agents.policies.policy_shape import PolicyShape
from agents.settings import TradingSettings
from agents.training.meta_learning import AdaptationConfig, Lesson, ReptileConfig, adapted, lesson_of, reptile, states
from cryptoenv.bars.price_columns import CLOSE
from pretrain import Extractor

Labelled = tuple[ExpertMarket, ...]


@pytest.fixture(scope="module")
def embedded(extractor: Extractor, labelled: Labelled) -> EmbeddedMarkets:
    return EmbeddedMarkets.of(extractor, labelled, progress=False)


def agent(extractor: Extractor, settings: TradingSettings, seed: int = 0) -> Agent:
    shape = PolicyShape(extractor.width, len(settings.positions), hidden=(16,))
    return Agent(extractor, new_policy(shape, seed), shape, settings, margin=0.1)


def loss_of(one: Agent, table: EmbeddingTable, lesson: Lesson) -> float:
    """Cross-entropy on all states of a lesson."""
    policy = copy_of(one.policy)
    bind(policy, EmbeddingTable([table.rows]))
    exposures = torch.tensor(one.settings.positions)[lesson.held]
    with torch.no_grad():
        liking = HEADS["actor"].preferences(policy, states(lesson.rows, exposures), one.settings.positions)
        return float(torch.nn.functional.cross_entropy(liking, lesson.wanted))


def test_adapting_learns_the_bars_and_reads_none_after_them(
    extractor: Extractor, settings: TradingSettings, labelled: Labelled
) -> None:
    one, market = agent(extractor, settings), labelled[0].market
    first = labelled[0].first
    until = first + 200
    after, again = (agents.adapt(one, m, first=first, until=until, seed=3) for m in (market, market.part(0, until)))
    for mine, theirs, before in zip(
        after.policy.parameters(), again.policy.parameters(), one.policy.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
        assert before.grad is None
    table = EmbeddingTable([extractor.embed(market)])
    lesson = lesson_of(market.bars, 0, first, until, settings)
    assert int(lesson.rows.max()) < until - 15  # labels look 16 bars ahead, and none past the end
    assert loss_of(after, table, lesson) < loss_of(one, table, lesson)


def test_reptile_finds_where_few_steps_suffice(
    extractor: Extractor, settings: TradingSettings, labelled: Labelled
) -> None:
    """Planted: one number of the embedding tells what comes; on markets that it did not learn from, too."""
    tables = []
    for one in labelled:
        close = np.log(one.market.prices[:, CLOSE])
        ahead = np.append(close[16:], np.full(16, close[-1])) - close
        rows = np.zeros((len(close), 16), np.float32)
        rows[:, 0] = np.sign(ahead)
        tables.append(rows)
    planted = EmbeddedMarkets(labelled, EmbeddingTable(tables))
    begun = agent(extractor, settings)
    adaptation = AdaptationConfig(steps=2, batch_size=128, learning_rate=1e-2)
    config = ReptileConfig(tasks=60, rate=0.5, bars=200, adaptation=adaptation)
    tasks = EmbeddedMarkets(labelled[:2], EmbeddingTable(tables[:2]))
    learned, same = (reptile(begun, tasks, config, seed=0, progress=False) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(learned.policy.parameters(), same.policy.parameters(), strict=True))
    left = np.zeros((2, 4))
    for number, start in enumerate((begun, learned)):
        for m, one in enumerate(labelled):
            lesson = lesson_of(one.market.bars, int(planted.table.offsets[m]), one.first, one.first + 200, settings)
            there = adapted(start, planted.table, lesson, adaptation, np.random.default_rng(m))
            left[number, m] = loss_of(there, planted.table, lesson)
    assert (left[1] < 0.9 * left[0]).all(), left


def test_one_task_moves_the_weights_the_share_of_the_way(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets
) -> None:
    begun = agent(extractor, settings)
    ways = []
    for rate in (1.0, 0.25):
        learned = reptile(begun, embedded, ReptileConfig(tasks=1, rate=rate, bars=100), seed=5, progress=False)
        pairs = zip(learned.policy.parameters(), begun.policy.parameters(), strict=True)
        ways.append(torch.cat([(a - b).detach().ravel() for a, b in pairs]))
    assert ways[0].abs().max() > 0.0
    torch.testing.assert_close(ways[1], 0.25 * ways[0], rtol=1e-3, atol=1e-7)


def test_an_agent_for_each_market_decides_as_it_would_alone(
    extractor: Extractor, settings: TradingSettings, embedded: EmbeddedMarkets
) -> None:
    every = [agent(extractor, settings, seed).with_margin(0.02 * seed) for seed in range(4)]
    with torch.no_grad():
        for one in every:
            for weight in one.policy.parameters():
                weight.mul_(8.0)
    together = PerMarketPolicy(every, embedded.table)
    rows = blocks(embedded.labelled, 96)
    both = roll(together, embedded.labelled, rows, settings)
    for m, one in enumerate(every):
        alone = roll(one.on(embedded.labelled, embedded.table), embedded.labelled, rows, settings)
        np.testing.assert_array_equal(both.equity[:, rows.market == m], alone.equity[:, rows.market == m])
    with pytest.raises(ValueError, match="3 agents do not fit 4 markets"):
        PerMarketPolicy(every[:3], embedded.table)


def test_mistakes_are_named(extractor: Extractor, settings: TradingSettings, labelled: Labelled) -> None:
    one, market = agent(extractor, settings), labelled[0].market
    with pytest.raises(ValueError, match="takes a head 'actor'"):
        agents.adapt(replace(one, head="value"), market)
    with pytest.raises(ValueError, match="no label"):
        agents.adapt(one, market, first=labelled[0].first, until=labelled[0].first + 5)
    with pytest.raises(ValueError, match="rate"):
        ReptileConfig(rate=0.0)
