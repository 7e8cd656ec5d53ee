"""A rule over a grid of its values, in one jitted pass, and what choosing the best of them is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Backtest, Desk, backtest
from agents.evaluation.backtest.rule import Grid, Rule, grid_of
from cryptoenv.analysis.overfitting import BLOCKS, backtest_overfitting, data_snooping
from cryptoenv.analysis.returns import simple_returns
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.trading.replay import SWEEP_NAMES, Opening, Swept, sweep

LEAST_DAYS = 2 * BLOCKS  #: that overfitting is told from


@dataclass(frozen=True)
class Sweep:
    """Rules on one market.

    Attributes:
        market: what was traded. desk: how. rules: K of them.
        grid: their lines.
        swept: what they came to; marks of equity a day apart.
        first: bar of the first decision.
    """

    market: Market
    desk: Desk
    rules: tuple[Rule, ...]
    grid: Grid
    swept: Swept
    first: int

    @cached_property
    def days(self) -> NDArray[np.float64]:
        """(days, K) net returns of days after the first decision."""
        whole = self.swept.marks[:, : 1 + (len(self.market) - 1 - self.first) // day_bars(self.market)]
        return np.stack([simple_returns(equity) for equity in whole], axis=1)

    @property
    def best(self) -> int:
        """Number of the rule that earned most."""
        return int(self.swept.column("log_return").argmax())

    @cached_property
    def sharpes(self) -> NDArray[np.float64]:
        """(K,) Sharpe ratios per day, 0 of a rule that never traded."""
        scatter = self.days.std(axis=0, ddof=1) if len(self.days) > 1 else np.zeros(len(self.rules))
        found = np.zeros(len(self.rules))
        np.divide(self.days.mean(axis=0), scatter, out=found, where=scatter > 1e-12)
        return found

    def table(self) -> pd.DataFrame:
        """A row per rule, the best first: its values, its figures, and its Sharpe ratio per day."""
        table = pd.DataFrame(self.swept.figures, columns=list(SWEEP_NAMES))
        table.insert(0, "rule", [rule.words for rule in self.rules])
        table["sharpe_per_day"] = self.sharpes
        return table.sort_values("log_return", ascending=False, kind="stable").reset_index(drop=True)

    def backtest(self, number: int | None = None, last: int | None = None) -> Backtest:
        """One of the rules bar by bar; the best where None."""
        chosen = self.best if number is None else number
        targets = self.grid.targets(chosen)
        targets[: self.first] = np.nan  # a sweep asks for nothing before its first decision
        name = self.rules[chosen].words
        return backtest(self.market, targets, self.desk, first=self.first, last=last, name=name)

    def luck(self, seed: int = 0) -> dict[str, Any]:
        """How likely the best of these rules is luck: probability of overfitting, and tests for data snooping.

        Left out where there are fewer than two rules or than `LEAST_DAYS` days.
        """
        if len(self.rules) < 2 or len(self.days) < LEAST_DAYS:
            return {}
        over = backtest_overfitting(self.days)
        snooped = data_snooping(self.days, seed=seed)
        return {
            "probability_of_overfitting": over.probability,
            "probability_of_loss_out_of_sample": over.loss,
            "reality_check": snooped.reality_check,
            "superior_predictive_ability": snooped.spa,
        }


def day_bars(market: Market) -> int:
    """Bars of a day, 1 where a bar is longer."""
    return max(DAY_MS // timeframe_ms(market.timeframes[0]), 1)


def sweep_rules(
    rules: Sequence[Rule],
    market: Market,
    desk: Desk | None = None,
    *,
    first: int = 0,
    table: pd.DataFrame | None = None,
) -> Sweep:
    """Run rules over a market, all of them in one jitted pass.

    Args:
        rules: K of them.
        market: what is traded, to its end.
        desk: how.
        first: bar of the first decision.
        table: columns for rules of the kind "threshold".

    Raises:
        ValueError: no bar to trade in, a column that is missing, a short target on spot.
    """
    desk = desk or Desk()
    grid = grid_of(rules, market, shorts=desk.trading.shorts_allowed, table=table)
    desk.bounded(grid.rules[:, 3:].ravel())
    limit = desk.trading.limits.exposure
    grid.rules[:, 3:] = np.clip(grid.rules[:, 3:], -limit, limit)
    swept = sweep(
        market.prices, grid.lines, grid.rules, desk.parameters(market), first=first, opening=Opening(desk.cash),
        stay_out=desk.stay_out, every=day_bars(market),
    )  # fmt: skip
    return Sweep(market, desk, tuple(rules), grid, swept, first)
