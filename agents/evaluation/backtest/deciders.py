"""What models and agents would have asked for, bar by bar: targets that a backtest trades."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation.backtest.backtesting import Desk
from agents.evaluation.rollout import Rollout, RolloutRows, Seen, Sight, decided_by, roll_seen
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.trading_policy import TradingPolicy
from agents.settings import TradingSettings
from cryptoenv.market.market import Market
from cryptoenv.trading.config import TradingConfig


@dataclass(frozen=True)
class Decided:
    """Decisions of N rows over S steps: what was asked for, and what came of it in the environment.

    Attributes:
        targets: (S, N) float64 exposures.
        rollout: of the same rows.
    """

    targets: NDArray[np.float64]
    rollout: Rollout


def unlabelled(market: Market, settings: TradingSettings) -> ExpertMarket:
    """A market to be traded, about which nothing is known beforehand."""
    nothing = np.full((len(market), len(settings.positions)), -1, dtype=np.int8)
    return ExpertMarket(market, nothing, market.first_decision(settings.window), label_kind="none")


def decisions_of(
    policy: TradingPolicy, labelled: list[ExpertMarket], rows: RolloutRows, settings: TradingSettings
) -> Decided:
    """Run a policy through the environment and keep what it asked for."""
    asked: list[NDArray[Any]] = []
    decide, continuous = decided_by(policy), bool(getattr(policy, "continuous", False))

    def noted(seen: Seen) -> NDArray[Any]:
        actions = decide(seen)
        asked.append(np.asarray(actions).copy())
        return actions

    rollout = roll_seen(noted, labelled, rows, settings, Sight(continuous=continuous))
    if continuous:  # shares of the exposure limit
        shares = np.stack(asked)[:, :, 0].astype(np.float32).astype(np.float64)
        return Decided(shares * settings.limits.exposure, rollout)
    return Decided(np.asarray(settings.positions)[np.stack(asked)], rollout)


@one_thread()
def agent_targets(agent: Agent, market: Market, settings: TradingSettings | None = None) -> NDArray[np.float64]:
    """(T,) float64 targets of an agent that trades a market from its first decidable bar to its end; NaN before it.

    Args:
        agent: whose.
        market: of its layout.
        settings: costs and limits that it meets, other than its own.
    """
    settings = settings or agent.settings
    labelled = [unlabelled(market, settings)]
    first, steps = labelled[0].first, labelled[0].steps
    rows = RolloutRows(np.zeros(1, dtype=np.int64), np.array([first], dtype=np.int64), steps)
    found = decisions_of(agent.on(labelled), labelled, rows, settings)
    targets = np.full(len(market), np.nan)
    targets[first : first + steps] = found.targets[:, 0]
    return targets


def agent_desk(settings: TradingSettings, cash: float = 10_000.0) -> Desk:
    """The desk at which a backtest is the environment that an agent trades in, bit for bit."""
    trading = TradingConfig(
        settings.instrument, settings.costs, settings.limits, settings.rules, settings.sizing,
        settings.reward_adaptation,
    )  # fmt: skip
    return Desk(trading, cash, stay_out=False)


def settings_at(desk: Desk, settings: TradingSettings) -> TradingSettings:
    """An agent's settings with what another desk charges and allows."""
    trading = desk.trading
    return replace(
        settings, instrument=trading.instrument, costs=trading.costs, limits=trading.limits, rules=trading.rules,
        sizing=trading.sizing,
    )  # fmt: skip
