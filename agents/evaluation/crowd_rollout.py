"""Copies of one policy that share every market they trade: what each earns when all pay for the impact of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.evaluation.rollout import Rollout, RolloutRows, held_over_bars, log_returns_of, whole_markets
from agents.markets.expert_market import ExpertMarket, markets_of
from agents.policies.trading_policy import TradingPolicy
from agents.settings import TradingSettings
from cryptoenv.env.crowd_rows import see_accounts, step_crowds
from cryptoenv.env.episode import ACCOUNT_OBSERVATION, BAR, CLOCK_WIDTH, MARKET, begin_episode
from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.trading.account import ACCOUNT_WIDTH, EQUITY, EXPOSURE, SLIPPAGE, TURNOVER
from cryptoenv.trading.shared_market import NOTES_WIDTH


@dataclass(frozen=True)
class CrowdRollout:
    """What M crowds of N copies earned.

    Attributes:
        rollout: a row per copy, the copies of a market one after the other: M * N rows.
        slippage: (M * N,) float64, spread and impact paid by each, a fraction of what it began with.
    """

    rollout: Rollout
    slippage: NDArray[np.float64]


def roll_crowd(
    policy: TradingPolicy,
    labelled: Sequence[ExpertMarket],
    settings: TradingSettings,
    copies: int,
    cash: NDArray[np.float64],
) -> CrowdRollout:
    """Run `copies` of a policy together over the whole of every market, from flat.

    Args:
        policy: chooses among the settings' positions; each copy sees its own account.
        labelled: M markets.
        settings: positions and costs; with impact, or the copies do not meet but in the bars' volume.
        copies: N on each market.
        cash: (M,) float64, quote currency that each copy on a market begins with.

    Raises:
        ValueError: markets of different lengths, or a policy that answers with exposures.
    """
    if getattr(policy, "continuous", False):
        raise ValueError("a crowd's policy must choose among positions, and this one answers with exposures")
    whole = whole_markets(labelled)
    count, shape = len(labelled), (len(labelled), copies)
    setup = EnvironmentSpec(
        markets_of(labelled), actions=settings.positions, observation="index", episode_bars=whole.steps,
        **settings.env_arguments,
    )  # fmt: skip
    accounts, clocks = np.zeros((*shape, ACCOUNT_WIDTH)), np.zeros((count, CLOCK_WIDTH), dtype=np.int64)
    setup.visits.prepare(clocks, np.arange(count), np.arange(count))
    for m in range(count):
        rules = setup.episode_rules._replace(cash=float(cash[m]))
        for i in range(copies):
            begin_episode(accounts[m, i], clocks[m], setup.world, rules, m, int(whole.start[m]), 0.0)
    levels = np.asarray(settings.positions, dtype=np.float64)
    trades, notes, rewards = np.ones(shape, dtype=np.bool_), np.zeros((copies, NOTES_WIDTH)), np.zeros(shape)
    seen = np.zeros((*shape, ACCOUNT_OBSERVATION), dtype=np.float32)
    see_accounts(accounts.reshape(-1, ACCOUNT_WIDTH), setup.limit, seen.reshape(-1, ACCOUNT_OBSERVATION))
    rows = RolloutRows(np.repeat(whole.market, copies), np.repeat(whole.start, copies), whole.steps)
    returns = log_returns_of(labelled, rows)
    equity, exposure = np.empty((whole.steps + 1, count * copies)), np.empty((whole.steps, count * copies))
    turnover = np.empty((whole.steps, count * copies))
    equity[0] = accounts[:, :, EQUITY].ravel()
    for s in range(whole.steps):
        index = np.repeat(clocks[:, [MARKET, BAR]], copies, axis=0)
        asked = policy.act(index, seen.reshape(-1, ACCOUNT_OBSERVATION))
        trading = trades.ravel().copy()
        step_crowds(accounts, clocks, setup.world, levels[asked].reshape(shape), trades, notes, rewards, seen)
        equity[s + 1] = accounts[:, :, EQUITY].ravel()
        exposure[s] = np.where(trading, held_over_bars(accounts[:, :, EXPOSURE].ravel(), returns[s]), 0.0)
        turnover[s] = np.where(trading, accounts[:, :, TURNOVER].ravel(), 0.0)
    paid = (accounts[:, :, SLIPPAGE] / cash[:, None]).ravel()
    return CrowdRollout(Rollout(rows, equity, exposure, turnover, returns), paid)
