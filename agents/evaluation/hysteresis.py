"""Hysteresis: how much better another position must look before it is taken, tuned on validation markets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.rollout import RolloutRows, blocks, roll
from agents.markets.embedded import embed
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.heads import bind, copy_of

VALIDATION_BLOCK = 480  #: decisions per block on validation markets
MARGINS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


@dataclass(frozen=True)
class MarginRollouts:
    """What a policy does on validation markets with each hysteresis of `MARGINS`, (M,) each.

    Attributes:
        earned: mean net log-return per row; expected where the truth is known, else realised.
        turnover: mean per bar, in units of equity.
        exposure: mean absolute exposure.
        cost: mean log-return lost to fees and spread per row, to first order.
    """

    earned: NDArray[np.float64]
    turnover: NDArray[np.float64]
    exposure: NDArray[np.float64]
    cost: NDArray[np.float64]

    def figures(self, number: int) -> dict[str, float]:
        """Turnover, exposure and cost of hysteresis `number`, for a log."""
        return {name: float(getattr(self, name)[number]) for name in ("turnover", "exposure", "cost")}


def margin_rollouts(agent: Agent, policy: Any, labelled: Sequence[ExpertMarket], rows: RolloutRows) -> MarginRollouts:
    """Run a policy over validation markets with every hysteresis at once.

    Args:
        agent: whose settings and kind of policy count.
        policy: with the embeddings of `labelled` bound.
        labelled: validation markets.
        rows: where to start and for how long.
    """
    count = len(MARGINS)
    every = RolloutRows(np.tile(rows.market, count), np.tile(rows.start, count), rows.steps)
    margins = np.repeat(MARGINS, len(rows.market))
    rollout = roll(AgentPolicy(agent, policy, margins), labelled, every, agent.settings)
    known = all(t.truth is not None for t in labelled)
    earned = rollout.expected(labelled) if known else rollout.realised
    turnover = rollout.turnover.mean(axis=0)
    exposure = np.abs(rollout.exposure).mean(axis=0)
    by_margin = [values.reshape(count, -1).mean(axis=1) for values in (earned, turnover, exposure)]
    cost = agent.settings.turnover_cost * rows.steps * by_margin[1]
    return MarginRollouts(by_margin[0], by_margin[1], by_margin[2], cost)


def tune_margin(agent: Agent, validation: Sequence[ExpertMarket]) -> Agent:
    """The agent with the hysteresis that earns most on validation markets."""
    policy = copy_of(agent.policy)
    bind(policy, embed(agent.extractor, validation, progress=False))
    earned = margin_rollouts(agent, policy, validation, blocks(validation, VALIDATION_BLOCK)).earned
    return agent.with_margin(MARGINS[int(earned.argmax())])
