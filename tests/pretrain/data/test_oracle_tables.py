"""What the causal optimum says of every bar, in stretches, and what is learned from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretrain import ConfigError, FitOptions, PretrainingConfig, Recipe
from pretrain.data.rewards import Lanes, OracleMarkets, RewardsConfig
from pretrain.data.scaler import RobustScaler
from pretrain.extractor.config import ExtractorConfig
from pretrain.extractor.model import ExtractorModel
from pretrain.extractor.recipe_runs import pretrain_extractor
from pretrain.extractor.rewards_task import OracleTask, RewardLearner
from pretrain.extractor.value_decisions import value_decisions
from synthetic import filter_oracle, regime_market

WINDOW = (24, 1, 1)
LAYOUT = ExtractorConfig(
    window=WINDOW, patches=WINDOW, encoder="recurrent", memory=16, width=16, horizons=(4,), values="alone"
)
RECIPE = Recipe(
    task="easy", markets=2, validation_markets=1, days=10, teacher="oracle", architecture=LAYOUT,
    rewards=RewardsConfig(lanes=2, stretch=64, averaging=0.2),
    training=PretrainingConfig(steps=4, validate_every=2, learning_rate=1e-3),
)  # fmt: skip
COST = RECIPE.rewards.turnover_cost


@pytest.fixture(scope="module")
def source() -> OracleMarkets:
    return OracleMarkets("easy", 3, 10, RECIPE.layout.market, WINDOW, cost=COST, positions=LAYOUT.positions)


def test_a_stretch_tells_what_the_oracle_says_of_its_bars_and_values_decide_its_actions(source: OracleMarkets) -> None:
    lanes = Lanes(source.pool(0, 2), LAYOUT.positions, LAYOUT.horizons, RECIPE.rewards)
    told = lanes.stretch(24, 24).oracle
    assert told is not None
    oracle = filter_oracle(regime_market("easy", 10, source.seeds[1]), COST, LAYOUT.positions)
    rows = lanes.pieces[1].start + np.arange(24, 48)
    np.testing.assert_allclose(told.values[1], 100.0 * (oracle.values[rows] - oracle.values[rows, 1:2]), atol=1e-5)
    assert torch.equal(told.actions[1], torch.from_numpy(oracle.actions[rows].astype(np.int64)))
    torch.testing.assert_close(told.beliefs.sum(-1), torch.ones(2, 24), atol=2e-3, rtol=0.0)
    assert (value_decisions(told.values[1].numpy(), LAYOUT.positions, COST) == oracle.actions[rows]).all()


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_a_network_learns_what_it_is_told_values_or_actions(
    source: OracleMarkets, weights: tuple[float, float]
) -> None:
    lanes = Lanes(source.pool(0, 2), LAYOUT.positions, LAYOUT.horizons, RECIPE.rewards)
    market = lanes.pieces[0].market
    config = replace(LAYOUT.for_market(market), value_cost=COST, regimes=told_regimes(lanes))
    torch.manual_seed(0)
    model = ExtractorModel(config, RobustScaler.fit(config.timeframes, config.feature_names, market.features))
    learner = RewardLearner(model, 2)
    task = OracleTask(replace(RECIPE.rewards, value_weight=weights[0], action_weight=weights[1]), 0.01, 1.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    seen = []
    for _ in range(60):
        measured = task.measure(learner, lanes.stretch(0, 64))
        optimizer.zero_grad()
        measured.loss.backward()
        optimizer.step()
        seen.append({name: float(loss.detach()) for name, loss in measured.figures.items()})
    first, last = seen[0], seen[-1]
    told = "value" if weights[0] else "action"
    assert last[told] < 0.5 * first[told] and last["regime"] < 0.7 * first["regime"], (first, last)


def told_regimes(lanes: Lanes) -> int:
    table = lanes.pieces[0].oracle
    assert table is not None
    return table.beliefs.shape[1]


def test_the_recipe_of_such_a_training_makes_an_artifact_that_says_so() -> None:
    extractor = pretrain_extractor(RECIPE, FitOptions(progress=False))
    assert (extractor.config.values, extractor.provenance.label_kind) == ("alone", "filter oracle")
    assert extractor.provenance.metrics["bars"] == 4 * 2 * 64 and extractor.columns[-1] == "value_+1"


def test_values_are_taught_by_rewards_or_the_oracle_alone() -> None:
    with pytest.raises(ConfigError, match="values='alone' is not allowed"):
        replace(RECIPE, teacher="path")
    assert not replace(RECIPE, architecture=replace(LAYOUT, values="none")).streams
    wrong = replace(RECIPE, architecture=replace(LAYOUT, regimes=2))
    with pytest.raises(ConfigError, match="regimes=2 is not allowed"):
        pretrain_extractor(wrong, FitOptions(progress=False))
