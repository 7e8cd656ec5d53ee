"""Judge a policy of one's own: scores against the causal optimum beside the baselines, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import pandas as pd

from agents.algorithms.threads import one_thread
from agents.evaluation.outside_policy import CONTINUOUS, INDEX, OBSERVATIONS, View
from agents.evaluation.rollout import Decide, Rollout, RolloutRows, decided_by, roll_seen, rows_by_length, whole_markets
from agents.evaluation.tables import (
    DEFAULT_SPLIT,
    baseline_policies,
    judging_markets,
    judging_parts,
    learned_before,
    plain_table,
    require_judged,
    rollouts,
    rollouts_of_each,
    run_maker,
    score_table,
    with_impact,
)
from agents.markets.expert_market import ExpertMarket, synthetic_markets
from agents.markets.own_markets import MarketSource, maker_for, own_markets, task_named
from agents.policies.agent import Agent
from agents.policies.composed.composed_agent import ComposedAgent
from agents.run_folders.run_folder import Run
from agents.settings import TradingSettings
from cryptoenv.market.market import Market
from pretrain.fitting.market_inputs import MarketMaker

POLICY = "policy"  #: the policy's line in the table


def score(
    policy: Any,
    market: MarketSource = "standard",
    split: str = DEFAULT_SPLIT,
    *,
    markets: int = 32,
    days: int = 60,
    seed: int = 0,
    observation: str | None = None,
    actions: tuple[float, ...] | str | None = None,
    settings: TradingSettings | None = None,
    batched: bool = True,
) -> pd.DataFrame:
    """Judge any policy on unseen markets of a benchmark task, or on markets of one's own.

    It trades the whole of every market once, from flat, all markets side by side. `score` is its expected net
    log-return as a share of the filter oracle's (the causal optimum, 1.0; flat is 0.0), `realised_score` the same from
    what was realised; both with a 95% bootstrap interval over markets.

    Args:
        policy: one of

            - a callable `(observation) -> actions`. It gets all N = `markets` rows at once, arrays (N, ...), and
              returns (N,) whole numbers, or (N, 1) exposures where actions are continuous. With `batched=False` it gets
              the observation of one row, as a single env gives it, and returns one action;
            - a model or policy of Stable-Baselines3 or sb3-contrib, recurrent ones too: `predict`, deterministic. Its
              spaces are checked, and say whether it observes windows, indices or flat arrays;
            - a torch module that gets the batch as tensors (a dict of them, or one (N, D) where flat) and returns
              (N, A) preferences, of which the largest wins, or (N, 1) exposures where actions are continuous;
            - an `Agent` or a `Run`, as `agents.evaluate` judges it.
        market: name of the task; or one or several markets of your own, as `agents.train` takes them, which are traded
            with the env's default market impact. Nobody knows the optimum there: the table holds net figures, no score.
        split: "validation" to choose by, "test" for final figures: the seed family of a task's markets, or the part in
            time of your own.
        markets: how many, of a task, 1 or more.
        days: tradable days of each, of a task, 1 or more.
        seed: of the random baseline and of the bootstrap; the markets are always the task's.
        observation: what the policy was trained on: "window" (the default; timeframe: (W, F) float32, and account (5,)
            float32), "index" (index (2,) int64, which is market and bar, and account), or "flat" (the window's arrays
            in one (D,) float32, in the order of `gymnasium.spaces.flatten`).
        actions: target exposures that action numbers stand for, or "continuous". The settings' positions where None.
        settings: timeframes, windows, instrument and costs; by default those of `TradingSettings`, whose windows and
            features are the env's defaults and whose costs, those of the score, have no market impact.
        batched: False calls a callable once per row.

    Returns:
        One line per method ("policy", the baselines and, on a task, the filter oracle), the columns of
        `agents.evaluate`.

    Raises:
        ValueError: an unknown task, split or observation; spaces that differ, with both; actions that the env refuses.
        TypeError: a policy of no such kind.

    Example:
        >>> import agents
        >>> import numpy as np
        >>> def always_flat(observation):
        ...     return np.full(len(observation["account"]), 1)  # position 1 of (-1, 0, 1)
        >>> table = agents.score(always_flat, "easy", split="validation", markets=2, days=3)
        >>> float(table.loc["policy", "score"]), float(table.loc["filter oracle", "score"])
        (0.0, 1.0)
    """
    task = task_named(market)
    settings = settings_for(agent_of(policy), task, settings, actions)
    judged = Judged.of(policy, observation, actions, settings, batched)
    if judged.agent is None:
        small = own_markets(market, settings)[0] if task is None else _small_market(task, split, settings)
        judged.view.check(policy, small)
    with one_thread():
        if task is None:
            return _on_own_markets(judged, market, split, seed)
        maker = judged.maker(market)
        layout = None if maker is None else maker.layout
        labelled, rule = judging_markets(task, split, markets, days, settings, layout=layout)
        mine = judged.rolled(labelled, whole_markets(labelled))
        found = {POLICY: mine} | rollouts(baseline_policies(labelled, settings, rule, seed), labelled, settings)
    return score_table(found, labelled, settings, seed=seed)


def agent_of(policy: Any) -> Agent | ComposedAgent | None:
    """The agent that a policy is or holds; None of any other kind."""
    return policy.agent if isinstance(policy, Run) else policy if isinstance(policy, Agent | ComposedAgent) else None


def settings_for(
    agent: Agent | ComposedAgent | None,
    task: str | None,
    settings: TradingSettings | None,
    actions: tuple[float, ...] | str | None,
) -> TradingSettings:
    """The settings that count, with the positions that actions stand for.

    Raises:
        ValueError: actions by an unknown name.
    """
    if settings is None:
        settings = TradingSettings() if agent is None else agent.settings
        settings = with_impact(settings) if task is None else settings
    if isinstance(actions, str) and actions != CONTINUOUS:
        raise ValueError(f"actions={actions!r} is unknown; pass {CONTINUOUS!r} or a tuple of target exposures")
    if actions is not None and not isinstance(actions, str):
        settings = replace(settings, positions=tuple(float(target) for target in actions))
    return settings


@dataclass(frozen=True)
class Judged:
    """A policy of any kind, and how it looks at a market."""

    policy: Any
    agent: Agent | ComposedAgent | None
    view: View
    batched: bool

    @classmethod
    def of(
        cls,
        policy: Any,
        observation: str | None,
        actions: tuple[float, ...] | str | None,
        settings: TradingSettings,
        batched: bool,
    ) -> Self:
        """As `score` is told.

        Raises:
            ValueError: an unknown observation; an agent that is to observe or trade other than it was trained to.
        """
        if observation not in (None, *OBSERVATIONS):
            raise ValueError(f"observation={observation!r} is unknown; choose one of {OBSERVATIONS}")
        agent = agent_of(policy)
        if agent is None:
            return cls(policy, None, View.of(policy, observation, actions, settings), batched)
        if (observation, actions) != (None, None) or settings.positions != agent.settings.positions:
            raise ValueError("an agent observes and trades what it was trained on: leave observation and actions out")
        return cls(policy, agent, View(INDEX, settings, agent.continuous), batched)

    def maker(self, market: MarketSource) -> MarketMaker | None:
        """What makes the markets that it reads; None where any will do."""
        if isinstance(self.policy, Run):
            return run_maker(self.policy, None, market)
        return maker_for(self.agent.extractor, None) if self.agent else None

    def rolled(self, labelled: Sequence[ExpertMarket], rows: RolloutRows) -> Rollout:
        """What it does on rows of these markets."""
        return roll_seen(self.decider(labelled), labelled, rows, self.view.settings, self.view.sight)

    def decider(self, labelled: Sequence[ExpertMarket]) -> Decide:
        """Its decisions on these markets."""
        if self.agent is None:
            return self.view.decider(self.policy, self.batched)
        return decided_by(self.agent.on(labelled))


def _on_own_markets(judged: Judged, market: MarketSource, split: str, seed: int) -> pd.DataFrame:
    """Net figures on that part of one's own markets."""
    settings = judged.view.settings
    learned = learned_before([judged.policy] if isinstance(judged.policy, Run) else [], split)
    parts, rule = judging_parts(market, split, settings, learned, maker=judged.maker(market))
    each = [judged.rolled(parts, rows) for rows in rows_by_length(parts)]
    others = rollouts_of_each(baseline_policies(parts, settings, rule, seed), parts, settings)
    return plain_table({POLICY: each} | others, settings)


def _small_market(task: str, split: str, settings: TradingSettings) -> Market:
    """One with the shapes of those to come: mistakes are found before they are made."""
    require_judged(split)
    return synthetic_markets(task, split, 1, 1, settings, progress=False)[0].market
