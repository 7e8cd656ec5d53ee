"""The single env's step: one jitted call that takes one array, and observations in fresh memory.

Most of a small jitted call goes into unboxing its arguments, most of a small allocation into NumPy's overhead. So the
call is given a row of addresses (the wiring), and memory is allocated for a few dozen observations at once.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import (
    ACCOUNT_OBSERVATION,
    BAR,
    CLOCK_WIDTH,
    MARKET,
    World,
    copy_window,
    observe_account,
    step_episode,
)
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import float32_at, float64_at, int64_at
from cryptoenv.trading.config import EXPOSURE_LIMIT, PARAMETER_WIDTH
from cryptoenv.trading.rewards import REWARD_NAMES

# Columns of the wiring: addresses, unless said otherwise.
ACCOUNT, CLOCK, TABLE, PARAMETERS, WEIGHTS = range(5)
MARKETS, TABLE_WIDTH = 5, 6  #: shape of the market table
ACCOUNT_OFFSET, HAS_INDEX = 7, 8  #: cells before the account; 1: the first four cells are two int64
WINDOWS = 9  #: then, per timeframe: cells before the window, W, W * F
PER_WINDOW = 3

BLOCK_BYTES = 131_072  #: a block's size: what a new block costs is shared by its rows
BLOCK_ROWS = 64  #: at most
CELL_BYTES, INDEX_CELLS = 4, 4
WEIGHT_COUNT = len(REWARD_NAMES)

Observation = dict[str, NDArray[Any]]


@njit(cache=True, error_model="numpy")
def _world(wiring: NDArray[np.int64]) -> World:
    return World(
        int64_at(wiring[TABLE], (wiring[MARKETS], wiring[TABLE_WIDTH])),
        float64_at(wiring[PARAMETERS], (PARAMETER_WIDTH,)),
        float64_at(wiring[WEIGHTS], (WEIGHT_COUNT,)),
    )


@njit(cache=True, error_model="numpy")
def observe_single(wiring: NDArray[np.int64], row: int) -> None:
    """Write the observation into the row of a block at the address `row`.

    `wiring`: (WINDOWS + 3K,) int64, addresses and sizes of what is read.
    """
    account, clock = float64_at(wiring[ACCOUNT], (ACCOUNT_WIDTH,)), int64_at(wiring[CLOCK], (CLOCK_WIDTH,))
    world = _world(wiring)
    seen = float32_at(row + wiring[ACCOUNT_OFFSET] * CELL_BYTES, (ACCOUNT_OBSERVATION,))
    observe_account(account, seen, world.parameters[EXPOSURE_LIMIT])
    if wiring[HAS_INDEX] == 1:
        index = int64_at(row, (2,))
        index[0], index[1] = clock[MARKET], clock[BAR]
    for k in range((wiring.shape[0] - WINDOWS) // PER_WINDOW):
        column = WINDOWS + k * PER_WINDOW
        window = float32_at(row + wiring[column] * CELL_BYTES, (wiring[column + 2],))
        copy_window(world.table, clock, k, window, wiring[column + 1])


@njit(cache=True, error_model="numpy")
def step_single(wiring: NDArray[np.int64], target: float, row: int) -> float:
    """Step toward `target`, write the observation into the row at the address `row`; returns the reward.

    `wiring`: (WINDOWS + 3K,) int64, as for `observe_single`.
    """
    account, clock = float64_at(wiring[ACCOUNT], (ACCOUNT_WIDTH,)), int64_at(wiring[CLOCK], (CLOCK_WIDTH,))
    reward = step_episode(account, clock, _world(wiring), target)
    observe_single(wiring, row)
    return float(reward)  # un-jitted it is an np.float64


@njit(cache=True, error_model="numpy")
def _address(block: NDArray[np.float32]) -> int:
    """Where `block` begins (`block.ctypes` in Python takes three times as long)."""
    return int(block.ctypes.data)


class FreshMemory:
    """Memory for observations and action masks, a block of rows at a time.

    Every observation is a row of its own: rows never overlap and none is handed out twice. Keeping one keeps its block
    of at most 128 KiB alive: copy the one in a thousand that you keep for long.

    Args:
        shapes: per key, the shape of one observation; the keys are window names, then "account", or "index" and
            "account".
        actions: A; 0 where there are no masks.
        account: (ACCOUNT_WIDTH,) float64 and clock: (CLOCK_WIDTH,) int64, which the wiring points to.
        world: the same.
    """

    def __init__(
        self,
        shapes: dict[str, tuple[int, ...]],
        actions: int,
        account: NDArray[np.float64],
        clock: NDArray[np.int64],
        world: World,
    ) -> None:
        self._actions = actions
        self._kept = (account, clock, world)  # alive while the wiring points to them
        windows = [name for name in shapes if name not in ("index", "account")]
        self.wiring = np.zeros(WINDOWS + PER_WINDOW * len(windows), dtype=np.int64)
        self._places: dict[str, tuple[slice, tuple[int, ...]]] = {}
        cells = 0
        for name, shape in shapes.items():
            size = INDEX_CELLS if name == "index" else int(np.prod(shape))
            self._places[name] = (slice(cells, cells + size), shape)
            cells += size
        for k, name in enumerate(windows):
            place, shape = self._places[name]
            column = WINDOWS + k * PER_WINDOW
            self.wiring[column : column + PER_WINDOW] = place.start, shape[0], place.stop - place.start
        self._names = tuple(shapes)
        self._cells = cells + cells % 2  # whole int64s
        self._rows = min(max(1, BLOCK_BYTES // (self._cells * CELL_BYTES)), BLOCK_ROWS)
        for column, array in ((ACCOUNT, account), (CLOCK, clock), (TABLE, world.table)):
            self.wiring[column] = array.ctypes.data
        self.wiring[PARAMETERS], self.wiring[WEIGHTS] = world.parameters.ctypes.data, world.weights.ctypes.data
        self.wiring[MARKETS], self.wiring[TABLE_WIDTH] = world.table.shape
        self.wiring[ACCOUNT_OFFSET], self.wiring[HAS_INDEX] = self._places["account"][0].start, "index" in shapes

    def renew(self) -> Iterator[tuple[Observation, NDArray[np.bool_], int]]:
        """Allocate the next block; returns its rows, masks (A,) of ones, and the address that the row is written at.

        A row and its address go together: an interrupt between taking a row and filling it costs that row alone.
        """
        rows = self._rows
        block = np.empty((rows, self._cells), dtype=np.float32)
        first, size = _address(block), self._cells * CELL_BYTES
        views: list[NDArray[Any]] = [
            block[:, place].view(np.int64) if name == "index" else block[:, place].reshape(rows, *shape)
            for name, (place, shape) in self._places.items()
        ]
        names = self._names
        seen = [dict(zip(names, arrays)) for arrays in zip(*views)]  # noqa: B905 (equal by construction, hot)
        masks = np.ones((rows, self._actions), dtype=np.bool_)
        return zip(seen, masks, range(first, first + rows * size, size), strict=True)
