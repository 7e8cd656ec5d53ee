"""An extractor that knows what positions are worth: a trader alone and in company, and the start of an agent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.logger import configure

from agents.algorithms.fitted_q import FittedQConfig, new_fitted_q
from agents.cloning.behaviour_cloning import CloningConfig
from agents.evaluation.extractor_trader import VALUE_MARGINS, ExtractorTrader
from agents.evaluation.rollout import roll, whole_markets
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.heads import bind, copy_of
from agents.policies.utility_head import ON_VALUES
from agents.settings import TradingSettings
from agents.training.checkpoint import Checkpoints
from agents.training.config import AgentTrainingConfig
from agents.training.pipeline import cloned, learn
from agents.training.value_teacher import agent_of_values, knows_values, taught_by_values
from pretrain import Extractor, ExtractorConfig
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.value_decisions import VALUE_DECISIONS, value_decisions
from pretrain.fitting.provenance import Provenance

WINDOW = (32, 1, 1)
SETTINGS = TradingSettings(window=WINDOW)


def knowing(labelled: tuple[ExpertMarket, ...], seed: int) -> Extractor:
    """An extractor whose values are some function of its memory: large enough that positions change."""
    market = labelled[0].market
    config = ExtractorConfig(window=WINDOW, patches=WINDOW, encoder="recurrent", memory=8, width=8, values="alone",
                             value_cost=SETTINGS.turnover_cost).for_market(market)  # fmt: skip
    scaler = RobustScaler.fit(config.timeframes, config.feature_names, market.features)
    torch.manual_seed(seed)
    model = ExtractorModel(config, scaler)
    assert model.value_head is not None
    torch.nn.init.normal_(model.value_head.weight, std=2.0)
    return Extractor(model, scaler, Provenance("test", ""), market.feature_spec)


@pytest.fixture(scope="module")
def values(labelled: tuple[ExpertMarket, ...]) -> Extractor:
    return knowing(labelled, 0)


def test_values_trade_by_themselves_with_a_hysteresis(labelled: tuple[ExpertMarket, ...], values: Extractor) -> None:
    for margin in (None, 2.0):
        trader = ExtractorTrader(values, SETTINGS, margin)
        rollout = roll(trader.on(labelled), labelled, whole_markets(labelled), SETTINGS)
        first, steps = labelled[0].first, labelled[0].steps
        table = value_decisions(
            values.values(labelled[0].market), SETTINGS.positions, SETTINGS.turnover_cost, margin or 1.0
        )
        held, expected = 1, []
        for t in range(first, first + steps):
            held = int(table[t, held])
            expected.append(SETTINGS.positions[held])
        np.testing.assert_allclose(rollout.exposure[:, 0], expected, atol=0.06)
        assert len(set(expected)) > 1
    tuned = ExtractorTrader(values, SETTINGS).tuned(labelled)
    assert tuned.margin in VALUE_MARGINS and tuned.extractor is values


def test_several_extractors_decide_by_the_mean_of_their_values(
    labelled: tuple[ExpertMarket, ...], values: Extractor
) -> None:
    other, market = knowing(labelled, 1), labelled[0].market
    found = ExtractorTrader(values, SETTINGS, beside=(other,)).says(market)
    np.testing.assert_allclose(found, (values.values(market) + other.values(market)) / 2.0, atol=1e-6)


def test_an_agent_begins_with_what_values_decide(labelled: tuple[ExpertMarket, ...], values: Extractor) -> None:
    """No label of the teacher is left: the clone does what the values do."""
    embedded = EmbeddedMarkets.of(values, labelled, progress=False)
    assert knows_values(values, SETTINGS) and not knows_values(values, replace(SETTINGS, positions=(0.0, 1.0)))
    taught = taught_by_values(values, embedded, SETTINGS)
    for before, after in zip(labelled, taught.labelled, strict=True):
        assert after.label_kind == VALUE_DECISIONS and not np.array_equal(before.labels, after.labels)
        expected = value_decisions(values.values(before.market), SETTINGS.positions, SETTINGS.turnover_cost)
        np.testing.assert_array_equal(after.labels[before.first :], expected[before.first :])
    config = CloningConfig(samples=12_000, epochs=5, batch_size=256, learning_rate=3e-3)
    agent = cloned(values, TrainingMarkets(taught, taught), SETTINGS, config, seed=0, progress=False)
    rows = whole_markets(labelled)
    policy = copy_of(agent.policy)
    bind(policy, taught.table)
    mine = roll(AgentPolicy(agent, policy, 0.0), labelled, rows, SETTINGS)
    theirs = roll(ExtractorTrader(values, SETTINGS).on(labelled), labelled, rows, SETTINGS)
    assert np.mean(np.abs(mine.exposure - theirs.exposure) < 0.1) > 0.85


def test_fitted_q_begins_exactly_with_the_values(labelled: tuple[ExpertMarket, ...], values: Extractor) -> None:
    """The very decisions of the values alone, before anything is learned; and what is added to them learns."""
    markets = TrainingMarkets(*2 * [EmbeddedMarkets.of(values, labelled, progress=False)])
    agent, rows = agent_of_values(values, markets, SETTINGS, seed=0), whole_markets(labelled)
    mine = roll(agent.decide_on(markets.train.table), labelled, rows, SETTINGS)
    trader = ExtractorTrader(values, SETTINGS).tuned(labelled)
    theirs = roll(trader.on(labelled), labelled, rows, SETTINGS)
    np.testing.assert_array_equal(mine.exposure, theirs.exposure)

    learner = new_fitted_q(agent, markets.train, FittedQConfig(steps=640, batch_size=64), seed=0)
    rows_of = torch.arange(8) + labelled[0].first
    embedding = learner.policy.embedding(rows_of)
    known = torch.from_numpy(values.values(labelled[0].market)[rows_of]) / trader.margin
    for network in (learner.policy.utility, learner.policy.averaged):
        torch.testing.assert_close(learner.policy.with_known(network(embedding), embedding), known)
    reward, last = torch.full((8, 3), 0.25), torch.ones(8, dtype=torch.bool)
    reward[:, 2] = 0.75
    expected = torch.tensor([0.0, 0.0, 0.5]).expand(8, 3)
    torch.testing.assert_close(learner._targets(rows_of, reward, last), expected)
    usual = new_fitted_q(agent, markets.train, FittedQConfig(steps=640, batch_size=64), seed=0)
    usual.use_autograd()
    for algorithm in (learner, usual):
        algorithm.set_logger(configure(None, []))
        torch.manual_seed(7)
        algorithm.learn(640)
    for name, weight in learner.policy.state_dict().items():
        torch.testing.assert_close(weight, usual.policy.state_dict()[name], rtol=1e-3, atol=2e-5, msg=name)
    assert learner.policy.known is not None
    torch.testing.assert_close(learner.policy.known.weight, agent.policy.known.weight)
    assert float(learner.policy.averaged[-1].weight.abs().max()) > 0.0
    assert learner._volatility is not None and len(learner._volatility) == len(learner._reward)


def test_a_trained_agent_on_values_is_saved_and_read(
    labelled: tuple[ExpertMarket, ...], values: Extractor, tmp_path: Path
) -> None:
    learning = FittedQConfig(steps=1_280, batch_size=64, evaluate_every=640)
    config = AgentTrainingConfig(learning=learning, settings=SETTINGS)
    found = learn("fitted_q", values, (labelled, labelled), config, seed=0, progress=False)
    assert found.clone.head == found.agent.head == ON_VALUES
    assert found.metrics["validation"][0][0] == 0
    found.agent.save(tmp_path / "agent")
    loaded = Agent.load(tmp_path / "agent", values)
    for name, weight in loaded.policy.state_dict().items():
        torch.testing.assert_close(weight, found.agent.policy.state_dict()[name])


def test_a_killed_training_on_values_ends_as_if_it_had_not_been(
    labelled: tuple[ExpertMarket, ...], values: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = FittedQConfig(steps=2_560, batch_size=64, evaluate_every=640)
    config = AgentTrainingConfig(learning=learning, settings=SETTINGS, checkpoint_every=640)
    markets = (labelled, labelled)
    whole = learn("fitted_q", values, markets, config, seed=0, progress=False)
    kept, times = Checkpoints.save, list[int]()

    def killed(*given: Any) -> None:
        kept(*given)
        times.append(1)
        if len(times) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoints, "save", killed)
        learn("fitted_q", values, markets, config, seed=0, out=tmp_path / "run", progress=False)
    again = learn("fitted_q", values, markets, config, seed=0, out=tmp_path / "run", resume=True, progress=False)
    assert again.metrics["validation"] == whole.metrics["validation"]
    for name, weight in whole.agent.policy.state_dict().items():
        assert torch.equal(weight, again.agent.policy.state_dict()[name])
