"""The single portfolio env's step: one jitted call that takes addresses, and results in blocks of fresh memory.

As in `cryptoenv.env.single_step`: unboxing arrays, and allocating them one by one, costs more than the step.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH, EpisodeRules
from cryptoenv.env.portfolio.episode import (
    ACCOUNT_FIELDS,
    ACCOUNT_SHOWN,
    ASSET_FIELDS,
    ASSET_SHOWN,
    PortfolioRows,
    PortfolioSeen,
    PortfolioWorld,
    copy_portfolio_windows,
    see_portfolios,
    step_portfolios,
)
from cryptoenv.env.portfolio.spec import PortfolioSpec
from cryptoenv.env.recycled_memory import RecycledMemory
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import bool_at, float32_at, float64_at, int8_at, int64_at
from cryptoenv.trading.config import PARAMETER_WIDTH
from cryptoenv.trading.portfolio_account import POSITION_WIDTH, limit_weights
from cryptoenv.trading.rewards import REWARD_NAMES

# The wiring: addresses of the state, the world and the block of results, then sizes, then four words per timeframe.
_STATE, _WORLD, _SEEN = 0, 4, 8
_ASSETS, _TABLE_ROWS, _TABLE_WIDTH, _ALL_LISTED = range(19, 23)
WINDOWS, PER_WINDOW = 23, 3  #: address of the block's windows, W, F
BLOCK_BYTES, MOST_ROWS = 4_194_304, 64  #: what a new block costs is shared by its rows
_FIELDS, _SHARED = len(ASSET_FIELDS), len(ACCOUNT_FIELDS)
_TOLD, _HELD, _REWARDS = len(ACCOUNT_SHOWN), len(ASSET_SHOWN), len(REWARD_NAMES)


@njit(cache=True, error_model="numpy")
def _state(w: NDArray[np.int64]) -> PortfolioRows:
    assets = w[_ASSETS]
    return PortfolioRows(
        float64_at(w[_STATE], (1, ACCOUNT_WIDTH)),
        float64_at(w[_STATE + 1], (1, assets, POSITION_WIDTH)),
        int64_at(w[_STATE + 2], (1, CLOCK_WIDTH)),
        float64_at(w[_STATE + 3], (1, assets)),
    )


@njit(cache=True, error_model="numpy")
def _world(w: NDArray[np.int64]) -> PortfolioWorld:
    return PortfolioWorld(
        int64_at(w[_WORLD], (w[_TABLE_ROWS], w[_TABLE_WIDTH])),
        float64_at(w[_WORLD + 1], (PARAMETER_WIDTH,)),
        float64_at(w[_WORLD + 2], (_REWARDS,)),
        float64_at(w[_WORLD + 3], (2,)),
        w[_ALL_LISTED] == 1,
    )


@njit(cache=True, error_model="numpy")
def _seen(w: NDArray[np.int64], r: int) -> PortfolioSeen:
    """Row `r` of the block, as what one env shows."""
    assets = w[_ASSETS]
    return PortfolioSeen(
        float64_at(w[_SEEN] + r * 8, (1,)),
        bool_at(w[_SEEN + 1] + r, (1,)),
        bool_at(w[_SEEN + 2] + r, (1,)),
        float32_at(w[_SEEN + 3] + r * assets * _FIELDS * 4, (1, assets, _FIELDS)),
        float32_at(w[_SEEN + 4] + r * _SHARED * 4, (1, _SHARED)),
        int64_at(w[_SEEN + 5] + r * 16, (1, 2)),
        float64_at(w[_SEEN + 6] + r * _TOLD * 8, (1, _TOLD)),
        float64_at(w[_SEEN + 7] + r * assets * _HELD * 8, (1, assets, _HELD)),
        int8_at(w[_SEEN + 8] + r * 2 * assets, (2, 1, assets)),
        bool_at(w[_SEEN + 9] + r * assets, (1, assets)),
        bool_at(w[_SEEN + 10] + r, (1,)),
    )


@njit(cache=True, error_model="numpy")
def _windows(w: NDArray[np.int64], rows: PortfolioRows, table: NDArray[np.int64], r: int) -> None:
    for k in range((w.shape[0] - WINDOWS) // PER_WINDOW):
        column = WINDOWS + k * PER_WINDOW
        bars, width = w[column + 1], w[column + 2]
        place = w[column] + r * w[_ASSETS] * bars * width * 4
        copy_portfolio_windows(rows.clocks, table, k, float32_at(place, (1, w[_ASSETS], bars, width)))


@njit(cache=True, error_model="numpy")
def see_portfolio(w: NDArray[np.int64], r: int) -> None:
    """Write what the env shows into row `r` of the block. `w`: the wiring, (WINDOWS + 3K,) int64."""
    rows, world = _state(w), _world(w)
    see_portfolios(rows, world, _seen(w, r))
    _windows(w, rows, world.table, r)


@njit(cache=True, error_model="numpy")
def step_portfolio(w: NDArray[np.int64], r: int) -> tuple[float, bool, bool]:
    """Step toward the targets, and show it in row `r` of the block. `w`: the wiring, (WINDOWS + 3K,) int64.

    Returns:
        Reward, terminated, truncated.
    """
    rows, world, seen = _state(w), _world(w), _seen(w, r)
    step_portfolios(rows, world, EpisodeRules(1, False, 1.0, False), False, seen)
    _windows(w, rows, world.table, r)
    return float(seen.rewards[0]), bool(seen.terminated[0]), bool(seen.truncated[0])


@njit(cache=True, error_model="numpy")
def ask_weights(
    values: NDArray[np.float64], low: float, exposure: float, gross: float, net: float, targets: NDArray[np.float64]
) -> bool:
    """Write the targets, (1, A), that weights (A,) ask for; False, and nothing written, where one is out of range."""
    for j in range(values.shape[0]):
        if not low <= values[j] <= 1.0:
            return False
    for j in range(values.shape[0]):
        targets[0, j] = values[j] * exposure
    limit_weights(targets, gross, net)
    return True


class PortfolioMemory:
    """Memory for what a single env shows, a block of rows at a time; none is given again while it is in use.

    Args:
        setup: of the env. rows: its state, which stays where it is.
    """

    def __init__(self, setup: PortfolioSpec, rows: PortfolioRows) -> None:
        assets, world = len(setup.names), setup.world
        self._kept = (rows, world)  # alive while the wiring points to them
        self._assets, self._memory = assets, RecycledMemory()
        shapes = {name: tuple(setup.observation_space[name].shape or ()) for name in setup.timeframes
                  if setup.observation == "window"}  # fmt: skip
        self._shapes, self._with_index = shapes, setup.observation == "index"
        self.wiring = np.zeros(WINDOWS + PER_WINDOW * len(shapes), dtype=np.int64)
        for place, array in enumerate((*rows, world.table, world.parameters, world.weights, world.limits)):
            self.wiring[place] = array.ctypes.data
        self.wiring[_ASSETS : _ALL_LISTED + 1] = (assets, *world.table.shape, world.all_listed)
        for k, shape in enumerate(shapes.values()):
            self.wiring[WINDOWS + k * PER_WINDOW + 1 : WINDOWS + (k + 1) * PER_WINDOW] = shape[1:]
        size = 4 * sum(int(np.prod(shape)) for shape in shapes.values()) + assets * 90 + 200
        self._rows = min(max(BLOCK_BYTES // size, 1), MOST_ROWS)

    def renew(self) -> Iterator[tuple[int, dict[str, NDArray[Any]], Any, Any, dict[str, NDArray[Any]]]]:
        """Allocate the next block; of each row: number, observation (A, F) by name, account, market and bar, assets."""
        n, a, fresh = self._rows, self._assets, self._memory.array
        block = (
            np.empty(n), np.empty(n, np.bool_), np.empty(n, np.bool_), fresh("assets", (n, a, _FIELDS), np.float32),
            fresh("account", (n, _SHARED), np.float32), fresh("index", (n, 2), np.int64), np.empty((n, _TOLD)),
            fresh("held", (n, a, _HELD), np.float64), fresh("kinds", (n, 2, a), np.int8),
            fresh("tradable", (n, a), np.bool_), np.empty(n, np.bool_),
        )  # fmt: skip
        self._block = block  # some of it nobody else keeps
        windows = [fresh(name, (n, *shape), np.float32) for name, shape in self._shapes.items()]
        self.wiring[_SEEN : _SEEN + len(block)] = [array.ctypes.data for array in block]
        for k, array in enumerate(windows):
            self.wiring[WINDOWS + k * PER_WINDOW] = array.ctypes.data
        _, _, _, assets, account, index, shown, held, kinds, tradable, _ = block
        names = (*self._shapes, *(("index",) if self._with_index else ()), "assets", "account")
        arrays = [*windows, *([index] if self._with_index else []), assets, account]
        seen = [dict(zip(names, row)) for row in zip(*arrays)]  # noqa: B905 (equal by construction, hot)
        fields = (*ASSET_SHOWN, "order_status", "exit_kind", "tradable")
        columns = [*(held[:, :, c] for c in range(_HELD)), kinds[:, 0], kinds[:, 1], tradable]
        told = [dict(zip(fields, row)) for row in zip(*columns)]  # noqa: B905
        return zip(range(n), seen, shown, index, told, strict=True)
