"""N portfolios stepped by several threads: what is written down of a step on the board of jobs, and read of it.

The results are the bits of one thread.
"""

from functools import cache

import numpy as np
from numba import cfunc, njit
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, EpisodeRules
from cryptoenv.env.job_board import (
    BLOCK_SIGNATURE,
    BYTES,
    COPYING,
    FUNCTION,
    JOB,
    JOB_WIDTH,
    KIND,
    OWN,
    SCRATCH,
    STEPPING,
    share,
)
from cryptoenv.env.portfolio.episode import (
    ACCOUNT_FIELDS,
    ACCOUNT_SHOWN,
    ASSET_FIELDS,
    ASSET_SHOWN,
    PortfolioRows,
    PortfolioSeen,
    PortfolioWorld,
    copy_some_portfolio_windows,
    step_some_portfolios,
)
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import bool_at, float32_at, float64_at, int8_at, int64_at
from cryptoenv.trading.config import PARAMETER_WIDTH
from cryptoenv.trading.portfolio_account import POSITION_WIDTH, SLATE_WIDTH
from cryptoenv.trading.rewards import REWARD_NAMES

N, ASSETS, BLOCK = range(OWN, OWN + 3)  #: rows; of each; rows in a block
_RESTART, _BARS, _RANDOM, _CASH, _ALL_LISTED = range(OWN + 3, OWN + 8)
_ROWS, _WORLD, _SEEN = OWN + 8, OWN + 12, OWN + 18  #: addresses; of the world's table its shape too
_OUT = OWN + 8  #: of copying windows
BLOCK_ASSETS = 128  #: assets of all the rows in a block, about
OUT_WIDTH = 3  #: address, W and F of windows
WINDOW_CELLS = 65_536  #: cells of windows in one block, about
_TOLD, _HELD, _REWARDS = len(ACCOUNT_SHOWN), len(ASSET_SHOWN), len(REWARD_NAMES)
_FIELDS, _SHARED = len(ASSET_FIELDS), len(ACCOUNT_FIELDS)


@njit(cache=True, error_model="numpy")
def _step_block(job: NDArray[np.int64], block: int, scratch: int) -> None:
    n, assets = job[N], job[ASSETS]
    rows = PortfolioRows(
        float64_at(job[_ROWS], (n, ACCOUNT_WIDTH)),
        float64_at(job[_ROWS + 1], (n, assets, POSITION_WIDTH)),
        int64_at(job[_ROWS + 2], (n, CLOCK_WIDTH)),
        float64_at(job[_ROWS + 3], (n, assets)),
    )
    world = PortfolioWorld(
        int64_at(job[_WORLD], (job[_WORLD + 4], job[_WORLD + 5])),
        float64_at(job[_WORLD + 1], (PARAMETER_WIDTH,)),
        float64_at(job[_WORLD + 2], (_REWARDS,)),
        float64_at(job[_WORLD + 3], (2,)),
        job[_ALL_LISTED] == 1,
    )
    seen = PortfolioSeen(
        float64_at(job[_SEEN], (n,)),
        bool_at(job[_SEEN + 1], (n,)),
        bool_at(job[_SEEN + 2], (n,)),
        float32_at(job[_SEEN + 3], (n, assets, _FIELDS)),
        float32_at(job[_SEEN + 4], (n, _SHARED)),
        int64_at(job[_SEEN + 5], (n, 2)),
        float64_at(job[_SEEN + 6], (n, _TOLD)),
        float64_at(job[_SEEN + 7], (n, assets, _HELD)),
        int8_at(job[_SEEN + 8], (2, n, assets)),
        bool_at(job[_SEEN + 9], (n, assets)),
        bool_at(job[_SEEN + 10], (n,)),
    )
    cash = float64_at(job.ctypes.data + _CASH * BYTES, (1,))[0]
    rules = EpisodeRules(job[_BARS], job[_RANDOM] == 1, cash, False)
    first = block * job[BLOCK]
    last, restart = min(first + job[BLOCK], n), job[_RESTART] == 1
    if assets * SLATE_WIDTH <= SCRATCH:
        slate = float64_at(scratch, (assets, SLATE_WIDTH))
        step_some_portfolios(first, last, rows, world, rules, restart, seen, slate)
    else:
        step_some_portfolios(first, last, rows, world, rules, restart, seen, np.empty((assets, SLATE_WIDTH)))


def _step_at(job: int, block: int, scratch: int) -> None:
    _step_block(int64_at(job, (JOB_WIDTH,)), block, scratch)


@njit(cache=True, error_model="numpy")
def _copy_block(job: NDArray[np.int64], block: int) -> None:
    n, first = job[N], block * job[BLOCK]
    table = int64_at(job[_OUT], (job[_OUT + 1], job[_OUT + 2]))
    clocks, outs = int64_at(job[_OUT + 3], (n, CLOCK_WIDTH)), int64_at(job[_OUT + 4], (job[_OUT + 5], OUT_WIDTH))
    for k in range(outs.shape[0]):
        out = float32_at(outs[k, 0], (n, job[ASSETS], outs[k, 1], outs[k, 2]))
        copy_some_portfolio_windows(first, min(first + job[BLOCK], n), clocks, table, k, out)


def _copy_at(job: int, block: int, scratch: int) -> None:
    _copy_block(int64_at(job, (JOB_WIDTH,)), block)


@cache
def stepping_portfolios() -> int:
    """The address of what steps a block; compiled when it is first asked for."""
    return int(cfunc(BLOCK_SIGNATURE, cache=True)(_step_at).address or 0)


@cache
def copying_portfolios() -> int:
    """The address of what copies a block of windows."""
    return int(cfunc(BLOCK_SIGNATURE, cache=True)(_copy_at).address or 0)


@njit(cache=True, error_model="numpy")
def step_portfolios_shared(
    rows: PortfolioRows, world: PortfolioWorld, rules: EpisodeRules, restart: bool, seen: PortfolioSeen,
    board: NDArray[np.int64], function: int,
) -> None:  # fmt: skip
    """As `step_portfolios`, shared with who serves `board` (CELLS,); `function`: `stepping_portfolios()`."""
    job = board[JOB : JOB + JOB_WIDTH]
    n, assets = rows.targets.shape
    block = max(1, BLOCK_ASSETS // assets)
    job[KIND], job[FUNCTION], job[N], job[ASSETS], job[BLOCK] = STEPPING, function, n, assets, block
    job[_RESTART], job[_BARS] = restart, rules.bars
    job[_RANDOM], job[_ALL_LISTED] = rules.random_start, world.all_listed
    float64_at(job.ctypes.data + _CASH * BYTES, (1,))[0] = rules.cash
    job[_ROWS], job[_ROWS + 1] = rows.accounts.ctypes.data, rows.positions.ctypes.data
    job[_ROWS + 2], job[_ROWS + 3] = rows.clocks.ctypes.data, rows.targets.ctypes.data
    job[_WORLD], job[_WORLD + 1] = world.table.ctypes.data, world.parameters.ctypes.data
    job[_WORLD + 2], job[_WORLD + 3] = world.weights.ctypes.data, world.limits.ctypes.data
    job[_WORLD + 4], job[_WORLD + 5] = world.table.shape[0], world.table.shape[1]
    job[_SEEN], job[_SEEN + 1] = seen.rewards.ctypes.data, seen.terminated.ctypes.data
    job[_SEEN + 2], job[_SEEN + 3] = seen.truncated.ctypes.data, seen.assets.ctypes.data
    job[_SEEN + 4], job[_SEEN + 5] = seen.account.ctypes.data, seen.places.ctypes.data
    job[_SEEN + 6], job[_SEEN + 7] = seen.shown.ctypes.data, seen.held.ctypes.data
    job[_SEEN + 8], job[_SEEN + 9] = seen.kinds.ctypes.data, seen.tradable.ctypes.data
    job[_SEEN + 10] = seen.ruined.ctypes.data
    share(board, job, -(-n // block))


@njit(cache=True, error_model="numpy")
def copy_portfolio_windows_shared(
    clocks: NDArray[np.int64], table: NDArray[np.int64], assets: int, outs: NDArray[np.int64],
    board: NDArray[np.int64], function: int,
) -> None:  # fmt: skip
    """As `copy_portfolio_windows`, of all timeframes in one job, shared; `function`: `copying_portfolios()`.

    `outs`: (K, 3) int64: address, W and F of each timeframe's (N, A, W, F). Several jobs would leave helpers little.
    """
    job = board[JOB : JOB + JOB_WIDTH]
    n, cells = clocks.shape[0], 0
    for k in range(outs.shape[0]):
        cells += assets * outs[k, 1] * outs[k, 2]
    block = max(1, WINDOW_CELLS // cells)
    job[KIND], job[FUNCTION], job[N], job[ASSETS], job[BLOCK] = COPYING, function, n, assets, block
    job[_OUT], job[_OUT + 1], job[_OUT + 2] = table.ctypes.data, table.shape[0], table.shape[1]
    job[_OUT + 3], job[_OUT + 4], job[_OUT + 5] = clocks.ctypes.data, outs.ctypes.data, outs.shape[0]
    share(board, job, -(-n // block))
