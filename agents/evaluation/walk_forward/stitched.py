"""The judged parts as one record: agents change at the borders of folds, the account and what it holds go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.algorithms.threads import one_thread
from agents.evaluation.backtest.backtesting import Backtest, backtest
from agents.evaluation.backtest.deciders import agent_desk, decisions_of, unlabelled
from agents.evaluation.rollout import RolloutRows
from agents.evaluation.walk_forward.plan import judged_rows
from agents.markets.embedded import EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.trading_policy import TradingPolicy
from agents.settings import TradingSettings
from cryptoenv.market.market import Market
from pretrain.data.folds import Border


class AgentPerFold:
    """Decisions of one agent after the other, each over its fold, for rows that all step at the same moments.

    Args:
        policies: one per fold, in order; they share their positions.
        steps: (folds,) number of the first step of each.
    """

    def __init__(self, policies: Sequence[TradingPolicy], steps: NDArray[np.int64], first_row: int) -> None:
        self._policies, self._steps, self._first_row = tuple(policies), steps, first_row
        self.positions = getattr(policies[0], "positions", None)
        self.continuous = bool(getattr(policies[0], "continuous", False))

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,) of the fold's agent."""
        step = int(index[0, 1]) - self._first_row
        fold = int(np.searchsorted(self._steps, step, side="right")) - 1
        return self._policies[fold].act(index, account)


@dataclass(frozen=True)
class Stitched:
    """One seed's record over all folds.

    Attributes:
        seed: its number.
        backtests: one per market, from the first judged decision to the last.
        steps: (folds + 1,) int64, the step at which each fold begins, and the number of steps.
    """

    seed: int
    backtests: tuple[Backtest, ...]
    steps: NDArray[np.int64]

    def log_returns(self) -> NDArray[np.float64]:
        """(markets, folds) net log-returns."""
        return np.stack([np.diff(np.log(one.equity[self.steps])) for one in self.backtests])

    def days(self) -> NDArray[np.float64]:
        """(days,) net returns of whole days, markets with equal weight."""
        shared: NDArray[np.float64] = np.mean([one.days() for one in self.backtests], axis=0)
        return shared


@one_thread()
def stitch(
    seed: int,
    agents: Sequence[Agent],
    markets: Sequence[Market],
    table: EmbeddingTable,
    borders: Sequence[Border],
    settings: TradingSettings,
) -> Stitched:
    """Trade all judged parts in a row, every market on an account of its own that is opened once.

    A position that is held at a border goes on into the next fold and costs nothing there; what the next agent would
    rather hold costs what a trade costs.

    Args:
        seed: its number.
        agents: one per fold.
        markets: whole ones.
        table: their embeddings.
        borders: of the folds.
        settings: costs and limits.
    """
    rows = np.stack([judged_rows(market, borders) for market in markets])
    steps = rows[0] - rows[0, 0]
    labelled = [unlabelled(market, settings) for market in markets]
    policy = AgentPerFold([agent.decide_on(table) for agent in agents], steps[:-1], int(rows[0, 0]))
    starts = RolloutRows(np.arange(len(markets), dtype=np.int64), rows[:, 0].copy(), int(steps[-1]))
    found = decisions_of(policy, labelled, starts, settings)
    backtests = []
    for number, market in enumerate(markets):
        first = int(rows[number, 0])
        targets = np.full(len(market), np.nan)
        targets[first : first + starts.steps] = found.targets[:, number]
        last = first + starts.steps - 1
        name = market.name or f"market {number}"
        backtests.append(backtest(market, targets, agent_desk(settings), first=first, last=last, name=name))
    return Stitched(seed, tuple(backtests), steps)
