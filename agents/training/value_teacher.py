"""What an agent begins with where its extractor knows what positions are worth: those values, or what they decide."""

from __future__ import annotations

from dataclasses import replace

import torch

from agents.evaluation.extractor_trader import ExtractorTrader
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.policies.agent import Agent
from agents.policies.heads import new_policy
from agents.policies.policy_shape import PolicyShape
from agents.policies.utility_head import ON_VALUES
from agents.settings import TradingSettings
from pretrain import Extractor
from pretrain.extractor.value_decisions import VALUE_DECISIONS, value_decisions


def knows_values(extractor: Extractor, settings: TradingSettings) -> bool:
    """Whether an extractor's values decide alone, and are of the positions that are traded."""
    return extractor.config.values == "alone" and extractor.config.positions == settings.positions


def taught_by_values(extractor: Extractor, markets: EmbeddedMarkets, settings: TradingSettings) -> EmbeddedMarkets:
    """The markets with what the extractor's own values would do in the place of their labels.

    No label of a teacher that knows more than bars is then cloned: head, values and extractor come from bars alone.

    Args:
        extractor: with values of the settings' positions.
        markets: with embeddings of this extractor, its columns first.
        settings: positions and costs.
    """
    model, found = extractor.model, []
    width = extractor.config.width
    for offset, labelled in zip(markets.table.offsets, markets.labelled, strict=True):
        rows = markets.table.rows[offset : offset + len(labelled.market), :width]
        with torch.inference_mode():
            values = model.values(torch.from_numpy(rows).to(extractor.device)).cpu().numpy()
        labels = value_decisions(values, settings.positions, settings.turnover_cost)
        found.append(replace(labelled, labels=labels, label_kind=VALUE_DECISIONS))
    return EmbeddedMarkets(tuple(found), markets.table)


def agent_of_values(
    extractor: Extractor, training_markets: TrainingMarkets, settings: TradingSettings, *, seed: int
) -> Agent:
    """An agent that decides exactly as its extractor's values do by themselves, their hysteresis tuned on validation.

    That is `m` times the cost; its head knows the values divided by `m`, less the cost, which decides the same. What
    learns on from it adds to those, and begins with adding nothing.

    Args:
        extractor: with values of the settings' positions.
        training_markets: with embeddings of this extractor, its columns first.
        settings: positions and costs.
        seed: of the weights that will learn.
    """
    scale = ExtractorTrader(extractor, settings).tuned(training_markets.validation.labelled).margin or 1.0
    width = training_markets.train.table.rows.shape[1]
    shape = PolicyShape(width, len(settings.positions))
    policy = new_policy(shape, seed, ON_VALUES, settings)
    values, model = policy.known, extractor.model
    assert model.value_head is not None
    with torch.no_grad():
        read = model.value_head.weight.shape[1]
        values.weight[:, :read] = (model.value_head.weight * model.held[:, None]).cpu() / scale
        values.bias.copy_(model.value_head.bias * model.held / scale)
    return Agent(extractor, policy, shape, settings, head=ON_VALUES)
