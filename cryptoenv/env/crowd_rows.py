"""N accounts that share a market, jitted: one step of all, and what they show; the same for crowds on many markets."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import BAR, MARKET, World, observe_account
from cryptoenv.market.table import prices_of
from cryptoenv.trading.account import RUINED
from cryptoenv.trading.config import EXPOSURE_LIMIT, REWARD_ADAPTATION
from cryptoenv.trading.rewards import weighted_reward
from cryptoenv.trading.shared_market import transition_together


@njit(cache=True, error_model="numpy")
def step_crowd(
    accounts: NDArray[np.float64], clock: NDArray[np.int64], world: World, targets: NDArray[np.float64],
    trades: NDArray[np.bool_], notes: NDArray[np.float64], rewards: NDArray[np.float64],
) -> None:  # fmt: skip
    """One step of all: accounts (N, ACCOUNT_WIDTH), clock (CLOCK_WIDTH,) and rewards (N,) are overwritten.

    `targets` (N,) exposures of those that `trades` (N,); `notes`: (N, NOTES_WIDTH), overwritten.
    """
    prices = prices_of(world.table, clock[MARKET])
    transition_together(accounts, prices, clock[BAR], targets, trades, notes, world.parameters)
    clock[BAR] += 1
    for i in range(accounts.shape[0]):
        if trades[i]:
            rewards[i] = weighted_reward(accounts[i], world.weights, world.parameters[REWARD_ADAPTATION])


@njit(cache=True, error_model="numpy")
def see_accounts(accounts: NDArray[np.float64], limit: float, out: NDArray[np.float32]) -> None:
    """Write the (N, 5) observations of (N, ACCOUNT_WIDTH) accounts."""
    for i in range(accounts.shape[0]):
        observe_account(accounts[i], out[i], limit)


@njit(cache=True, error_model="numpy")
def step_crowds(
    accounts: NDArray[np.float64], clocks: NDArray[np.int64], world: World, targets: NDArray[np.float64],
    trades: NDArray[np.bool_], notes: NDArray[np.float64], rewards: NDArray[np.float64], seen: NDArray[np.float32],
) -> None:  # fmt: skip
    """One step of M crowds of N accounts, each on a market of its own, and what their accounts show.

    Args:
        accounts: (M, N, ACCOUNT_WIDTH) float64, clocks: (M, CLOCK_WIDTH) int64, both overwritten. world: the markets.
        targets: (M, N) exposures asked for. trades: (M, N), who trades; one that is ruined no longer does.
        notes: (N, NOTES_WIDTH), rewards: (M, N), seen: (M, N, 5) float32, all overwritten.
    """
    for m in range(clocks.shape[0]):
        step_crowd(accounts[m], clocks[m], world, targets[m], trades[m], notes, rewards[m])
        see_accounts(accounts[m], world.parameters[EXPOSURE_LIMIT], seen[m])
        for i in range(accounts.shape[1]):
            if accounts[m, i, RUINED] == 1.0:
                trades[m, i] = False
