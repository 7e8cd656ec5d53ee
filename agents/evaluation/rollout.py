"""Run a policy through the native vector env and keep what it earned, bar by bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from agents.markets.expert_market import ExpertMarket, markets_of
from agents.policies.trading_policy import TradingPolicy
from agents.settings import TradingSettings, vector_env
from cryptoenv.bars.price_columns import CLOSE

Seen = dict[str, NDArray[Any]]  #: observations of N rows, (N, ...) each
Decide = Callable[[Seen], NDArray[Any]]  #: actions (N,), or exposures (N, 1) where they are continuous


@dataclass(frozen=True)
class Sight:
    """What the env shows a policy, "index" or "window", and whether its actions are exposures."""

    observation: str = "index"
    continuous: bool = False


@dataclass(frozen=True)
class RolloutRows:
    """Where N rows of a rollout begin: `market` (N,) and `start` (N,) int64, for `steps` decisions each."""

    market: NDArray[np.int64]
    start: NDArray[np.int64]
    steps: int


@dataclass(frozen=True)
class Rollout:
    """What N rows earned over S steps; step `s` of row `n` is decided at bar `start[n] + s`.

    Attributes:
        rows: where the rows began.
        equity: (S + 1, N) float64, quote currency; the first line is the start.
        exposure: (S, N) float64, held over the bar after each decision, as a fraction of equity at its open.
        turnover: (S, N) float64, notional traded in the step, stops and liquidations included, as a fraction of equity
            before it.
        log_returns: (S, N) float64, of the market's close over the same bars.
    """

    rows: RolloutRows
    equity: NDArray[np.float64]
    exposure: NDArray[np.float64]
    turnover: NDArray[np.float64]
    log_returns: NDArray[np.float64]

    @property
    def realised(self) -> NDArray[np.float64]:
        """(N,) net log-return of each row."""
        return np.log(self.equity[-1] / self.equity[0])

    def expected(self, labelled: Sequence[ExpertMarket]) -> NDArray[np.float64]:
        """(N,) net log-return with each bar's return of the held position replaced by its conditional mean.

        `log(1 + x (e^r - 1)) = x r + (x - x^2) / 2 r^2 + O(r^3)`: the first two terms, which have known conditional
        means, are taken out of the realised return and their means are put in. Unbiased for any causal policy, since
        the position is chosen before the bar; the variance of the bar's noise is gone.

        Raises:
            ValueError: a market without truth (real bars).
        """
        drift, second = _truth_of_rows(labelled, self.rows)
        x, r = self.exposure, self.log_returns
        curvature = (x - x * x) / 2.0
        correction = x * (drift - r) + curvature * (second - r * r)
        return self.realised + correction.sum(axis=0)


def whole_markets(labelled: Sequence[ExpertMarket]) -> RolloutRows:
    """One row per market, from its first decision that counts to its end.

    Raises:
        ValueError: markets with different numbers of decisions.
    """
    steps = {t.steps for t in labelled}
    if len(steps) != 1:
        raise ValueError(f"markets with different numbers of decisions cannot share a rollout: {sorted(steps)}")
    starts = np.array([t.first for t in labelled], dtype=np.int64)
    return RolloutRows(np.arange(len(labelled), dtype=np.int64), starts, steps.pop())


def rows_by_length(labelled: Sequence[ExpertMarket]) -> list[RolloutRows]:
    """The whole of every market, a row each, in one rollout per number of decisions: own markets differ in length."""
    found: dict[int, list[int]] = {}
    for number, one in enumerate(labelled):
        found.setdefault(one.steps, []).append(number)
    return [
        RolloutRows(np.array(numbers), np.array([labelled[n].first for n in numbers], dtype=np.int64), steps)
        for steps, numbers in found.items()
    ]


def blocks(labelled: Sequence[ExpertMarket], steps: int) -> RolloutRows:
    """Every market cut into blocks of `steps` decisions, a row each (the rest of a market is left out).

    Many short rows are much faster to roll than few long ones; each starts flat, for every policy alike.
    """
    market, start = [], []
    for i, t in enumerate(labelled):
        count = max(t.steps // steps, 1)
        market += [i] * count
        start += [t.first + b * min(steps, t.steps) for b in range(count)]
    shortest = min(t.steps for t in labelled)
    return RolloutRows(np.array(market, dtype=np.int64), np.array(start, dtype=np.int64), min(steps, shortest))


def decided_by(policy: TradingPolicy) -> Decide:
    """The policy's decisions on observations "index"."""
    return lambda seen: policy.act(seen["index"], seen["account"])


def roll(
    policy: TradingPolicy, labelled: Sequence[ExpertMarket], rows: RolloutRows, settings: TradingSettings
) -> Rollout:
    """`roll_seen` for a policy that decides from (market, bar) and the account.

    Raises:
        ValueError: the policy's actions stand for other exposures than the settings', or for another order of them.
    """
    own = tuple(getattr(policy, "positions", settings.positions))
    if own != settings.positions:
        raise ValueError(f"actions differ: the policy's are {own}, in this order, the settings' {settings.positions}")
    sight = Sight(continuous=bool(getattr(policy, "continuous", False)))
    return roll_seen(decided_by(policy), labelled, rows, settings, sight)


def roll_seen(
    decide: Decide,
    labelled: Sequence[ExpertMarket],
    rows: RolloutRows,
    settings: TradingSettings,
    sight: Sight | None = None,
) -> Rollout:
    """Run a policy over `rows`, from flat, through the env; a row that is ruined keeps what the ruin left.

    Args:
        decide: for all rows at once.
        labelled: the markets that `rows.market` numbers.
        rows: where to start and for how long.
        settings: positions and costs.
        sight: what it sees and answers.
    """
    sight = sight or Sight()
    count = len(rows.market)
    # NEXT_STEP: a ruined row begins another episode, which is not looked at: ruin is final.
    envs = vector_env(
        markets_of(labelled), settings, num_envs=count, episode_bars=rows.steps, autoreset_mode=AutoresetMode.NEXT_STEP,
        observation=sight.observation, continuous=sight.continuous,
    )  # fmt: skip
    observation, info = envs.reset(seed=0, options={"market": rows.market, "start": rows.start, "exposure": 0.0})
    equity = np.empty((rows.steps + 1, count))
    exposure = np.empty((rows.steps, count))
    turnover = np.empty((rows.steps, count))
    solvent = np.ones(count, dtype=bool)
    returns = log_returns_of(labelled, rows)
    equity[0], held = info["equity"], np.zeros(count)
    for s in range(rows.steps):
        observation, _, terminated, _, info = envs.step(decide(observation))
        traded = np.abs(info["fill_quantity"]) * np.nan_to_num(info["fill_price"])
        closed = np.abs(held + info["fill_quantity"]) * np.nan_to_num(info["exit_price"])  # by a stop, or liquidated
        traded, held = traded + closed, info["exposure"] * info["equity"] / info["close"]
        equity[s + 1] = np.where(solvent, info["equity"], equity[s])
        exposure[s] = np.where(solvent, held_over_bars(info["exposure"], returns[s]), 0.0)
        turnover[s] = np.where(solvent, traded / equity[s], 0.0)
        solvent &= ~terminated
    envs.close()
    return Rollout(rows, equity, exposure, turnover, returns)


def held_over_bars(at_close: NDArray[np.float64], log_return: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exposure (N,) at the bar's open, given the one at its close: inverts `x' = x e^r / (1 + x (e^r - 1))`."""
    growth = np.exp(log_return)
    return at_close / (growth - at_close * (growth - 1.0))


def _bars_of_rows(rows: RolloutRows) -> NDArray[np.int64]:
    """(S, N) number of the bar over which each decision is held."""
    return rows.start[None, :] + 1 + np.arange(rows.steps, dtype=np.int64)[:, None]


def log_returns_of(labelled: Sequence[ExpertMarket], rows: RolloutRows) -> NDArray[np.float64]:
    """(S, N) log-return of the market over the bar in which each decision is held."""
    bars = _bars_of_rows(rows)
    out = np.empty(bars.shape)
    for n, m in enumerate(rows.market):
        close = labelled[m].market.prices[:, CLOSE]
        out[:, n] = np.log(close[bars[:, n]] / close[bars[:, n] - 1])
    return out


def _truth_of_rows(
    labelled: Sequence[ExpertMarket], rows: RolloutRows
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Drift and second moment (S, N) of the bars held."""
    bars = _bars_of_rows(rows)
    drift, second = np.empty(bars.shape), np.empty(bars.shape)
    for n, m in enumerate(rows.market):
        truth = labelled[m].truth
        if truth is None:
            raise ValueError(f"market {m} ({labelled[m].market.hash[:8]}) has no truth: only synthetic markets do")
        drift[:, n] = truth.drift[bars[:, n]]
        second[:, n] = truth.second_moment[bars[:, n]]
    return drift, second
