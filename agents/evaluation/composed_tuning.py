"""Choosing how cautious an ensemble is, and how reluctant, on validation markets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.hysteresis import MARGINS, VALIDATION_BLOCK
from agents.evaluation.rollout import RolloutRows, blocks, roll
from agents.markets.embedded import EmbeddingTable
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.policies.agent import Agent
from agents.policies.composed.composed_agent import ExposurePolicy
from agents.policies.composed.ensemble import EnsembleAgent
from agents.policies.trading_policy import TradingPolicy
from agents.settings import TradingSettings
from pretrain import MarketLayout

TUNING_MARKETS = 16  #: validation markets of a task that an ensemble is tuned on for a table
CAUTIONS = (0.0, 0.25, 0.5, 1.0, 2.0)


def tune_ensemble(
    ensemble: EnsembleAgent, validation: Sequence[ExpertMarket], table: EmbeddingTable | None = None
) -> EnsembleAgent:
    """The ensemble with the hysteresis, then the caution, that earn most on validation markets.

    What is earned is expected where the truth is known, else realised. `table`: embeddings of `validation`.
    """
    policy = ensemble.changed(caution=0.0).on(validation, table)
    earned = best_of(lambda each: policy.varied(each, None), MARGINS, validation, ensemble.settings)
    margin = MARGINS[int(earned.argmax())]
    return tune_caution(ensemble.changed(margin=margin), validation, table)


def tune_caution(
    ensemble: EnsembleAgent, validation: Sequence[ExpertMarket], table: EmbeddingTable | None = None
) -> EnsembleAgent:
    """As `tune_ensemble`, leaving the hysteresis as it is."""
    policy = ensemble.on(validation, table)
    earned = best_of(lambda each: policy.varied(None, each), CAUTIONS, validation, ensemble.settings)
    return ensemble.changed(caution=CAUTIONS[int(earned.argmax())])


def best_of(
    made: Callable[[NDArray[np.float64]], ExposurePolicy],
    values: Sequence[float],
    validation: Sequence[ExpertMarket],
    settings: TradingSettings,
) -> NDArray[np.float64]:
    """(V,) mean log-return per block of validation markets with each of V values, all of them run at once.

    `made`: the policy, given a value for each row (N,).
    """
    rows = blocks(validation, VALIDATION_BLOCK)
    count = len(values)
    every = RolloutRows(np.tile(rows.market, count), np.tile(rows.start, count), rows.steps)
    rollout = roll(made(np.repeat(values, len(rows.market))), validation, every, settings)
    known = all(t.truth is not None for t in validation)
    earned = rollout.expected(validation) if known else rollout.realised
    return earned.reshape(count, -1).mean(axis=1)


def ensemble_lines(
    members: Sequence[Agent],
    task: str,
    labelled: Sequence[ExpertMarket],
    *,
    days: int,
    layout: MarketLayout | None = None,
) -> dict[str, TradingPolicy]:
    """What agents decide together on markets of a task, by name for a table: by their mean, and sized by agreement.

    Hysteresis and caution are chosen on validation markets of `days` days; where no caution does better, there is one
    line.

    Raises:
        ValueError: members that do not go together.
    """
    ensemble = EnsembleAgent(tuple(members))
    markets = synthetic_markets(
        task, "validation", TUNING_MARKETS, days, ensemble.settings, layout=layout, progress=False
    )
    tuned = tune_ensemble(ensemble, markets)
    name = f"ensemble of {len(members)}"
    lines: dict[str, TradingPolicy] = {name: tuned.changed(caution=0.0).on(labelled)}
    if tuned.caution > 0.0:
        lines[f"{name}, sized by agreement (caution {tuned.caution:g})"] = tuned.on(labelled)
    return lines
