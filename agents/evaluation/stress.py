"""Stress: the same decisions where trading costs more, comes later, or meets a market that behaves worse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.evaluation.backtest.backtesting import Backtest, Desk, traded_again
from cryptoenv.bars.price_columns import CLOSE, FUNDING, HIGH, LOW, OPEN, VOLUME
from cryptoenv.market.market import Market
from cryptoenv.trading.config import Costs

AS_IT_IS = "as it is"
DELAYS = (1, 2, 3, 4)


@dataclass(frozen=True)
class StressConfig:
    """How bad it gets.

    Attributes:
        fees: factor of fees. slippage: of half-spread and impact. funding: of funding, the market's series included.
        delays: bars by which every decision is carried out later.
        missing: share of the bars in which nothing can be traded.
        crash: fall within one bar, from which the price comes back at its close. crashes: how many, at random.
        seed: of what is drawn.
    """

    fees: float = 2.0
    slippage: float = 5.0
    funding: float = 5.0
    delays: tuple[int, ...] = DELAYS
    missing: float = 0.05
    crash: float = 0.3
    crashes: int = 3
    seed: int = 0


def stressed(found: Backtest, config: StressConfig | None = None) -> Iterator[Backtest]:
    """The backtest as it is, then under each stress, named by it. Decisions stay what they were.

    Args:
        found: a backtest.
        config: how bad it gets.
    """
    config = config or StressConfig()
    costs = found.desk.trading.costs
    yield replace(found, name=AS_IT_IS)
    yield _at(found, replace(costs, fee=min(costs.fee * config.fees, 0.5)), f"fees x{config.fees:g}")
    slipped = replace(
        costs, half_spread=min(costs.half_spread * config.slippage, 0.5), impact=costs.impact * config.slippage
    )
    yield _at(found, slipped, f"slippage x{config.slippage:g}")
    for bars in config.delays:
        name = f"{bars} bar{'s' if bars > 1 else ''} late"
        yield traded_again(found, delayed(found.targets, bars), name)
    rng = np.random.default_rng(config.seed)
    prices = _without_trading(found, config.missing, rng)
    yield traded_again(found, found.targets, f"{100.0 * config.missing:g}% bars missing", market=prices)
    crashed = _with_crashes(found, config.crash, config.crashes, rng)
    name = f"{config.crashes} crashes of {100.0 * config.crash:g}%"
    yield traded_again(found, found.targets, name, market=crashed)
    if found.desk.trading.instrument == "perpetual":
        yield _with_funding(found, config.funding)


def delayed(targets: NDArray[np.float64], bars: int) -> NDArray[np.float64]:
    """Targets (S,) carried out so many bars later; before the first one nothing is held."""
    return np.concatenate((np.zeros(bars), targets[: len(targets) - bars])) if bars < len(targets) else 0.0 * targets


def _at(found: Backtest, costs: Costs, name: str) -> Backtest:
    trading = replace(found.desk.trading, costs=costs)
    return traded_again(found, found.targets, name, desk=replace(found.desk, trading=trading))


def _traded_rows(found: Backtest) -> NDArray[np.int64]:
    first = found.trace.first + 1
    return np.arange(first, first + len(found.targets), dtype=np.int64)


def _other_prices(market: Market, prices: NDArray[np.float64]) -> Market:
    return replace(market, prices=prices, folder=None)


def _without_trading(found: Backtest, share: float, rng: np.random.Generator) -> Market:
    """Some bars flat at the close before them and without volume, as an outage leaves them."""
    prices = found.market.prices.copy()
    rows = _traded_rows(found)
    for row in np.sort(rng.choice(rows, round(share * len(rows)), replace=False)):
        prices[row, OPEN : CLOSE + 1] = prices[row - 1, CLOSE]
        prices[row, VOLUME] = 0.0
    return _other_prices(found.market, prices)


def _with_crashes(found: Backtest, fall: float, count: int, rng: np.random.Generator) -> Market:
    """Bars whose low, or for who is short whose high, is far from where they open and close."""
    prices = found.market.prices.copy()
    held = found.trace.column("exposure")
    rows = _traded_rows(found)
    exposed = rows[np.concatenate(([False], held[:-1] != 0.0))]  # a crash while nothing is held is none
    if len(exposed) == 0:
        return found.market
    for row in rng.choice(exposed, min(count, len(exposed)), replace=False):
        long = held[row - rows[0] - 1] > 0.0
        if long:
            prices[row, LOW] = min(prices[row, LOW], prices[row, OPEN] * (1.0 - fall))
        else:
            prices[row, HIGH] = max(prices[row, HIGH], prices[row, OPEN] * (1.0 + fall))
    return _other_prices(found.market, prices)


def _with_funding(found: Backtest, factor: float) -> Backtest:
    """The market's rates and the constant one times `factor`; where there are none, 0.01% per 8 hours times it."""
    prices = found.market.prices.copy()
    costs = found.desk.trading.costs
    prices[:, FUNDING] = np.clip(prices[:, FUNDING] * factor, -0.5, 0.5)
    rate = costs.funding if costs.funding or found.market.funding_series else 1e-4
    funding = float(np.clip(rate * factor, -0.1, 0.1)) if not found.market.funding_series else 0.0
    trading = replace(found.desk.trading, costs=replace(costs, funding=funding))
    desk: Desk = replace(found.desk, trading=trading)
    market = _other_prices(found.market, prices)
    return traded_again(found, found.targets, f"funding x{factor:g}", desk=desk, market=market)


def stress_table(runs: list[Backtest]) -> pd.DataFrame:
    """A row per stress: total return, Sharpe ratio, drawdown, costs, forced exits, and what changed in log-return."""
    base = runs[0]
    lines = {}
    for one in runs:
        told = one.figures()
        exits = one.trace.column("exit_kind")
        lines[one.name] = {
            "total_return": told["total_return"], "sharpe": told["sharpe"], "max_drawdown": told["max_drawdown"],
            "cost_share": told["cost_share"], "stopped": float((exits == 1).sum()),
            "liquidated": float((exits == 3).sum()), "ruined": told["ruined"],
            "change": one.log_return - base.log_return,
        }  # fmt: skip
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("stress")
