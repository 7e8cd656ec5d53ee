"""The memory of N environments: accounts in blocks of `LANES`, column by column, so that a step takes several."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.env.episode import CLOCK_WIDTH
from cryptoenv.trading.account import ACCOUNT_WIDTH
from cryptoenv.trading.borrowed_memory import float64_apart_at
from cryptoenv.trading.plain_steps import LANES

FLOAT64_BYTES = 8
COLUMN_BYTES = LANES * FLOAT64_BYTES  #: from a column of an account to its next
BLOCK_BYTES = ACCOUNT_WIDTH * COLUMN_BYTES


class EnvRows(NamedTuple):
    """The state of N environments, as jitted code steps it.

    Attributes:
        accounts: (ceil(N / LANES), ACCOUNT_WIDTH, LANES) float64; row `i` is lane `i % LANES` of block `i // LANES`.
        clocks: (N, CLOCK_WIDTH) int64. targets: (N,) float64.
    """

    accounts: NDArray[np.float64]
    clocks: NDArray[np.int64]
    targets: NDArray[np.float64]


class RowStates(NamedTuple):
    """The same, an account after the other.

    Attributes:
        accounts: (N, ACCOUNT_WIDTH) float64. clocks: (N, CLOCK_WIDTH) int64. targets: (N,) float64.
    """

    accounts: NDArray[np.float64]
    clocks: NDArray[np.int64]
    targets: NDArray[np.float64]


def empty_rows(n: int) -> EnvRows:
    """Memory for `n` environments of which no episode was begun: zeros."""
    return EnvRows(
        np.zeros((-(-n // LANES), ACCOUNT_WIDTH, LANES), dtype=np.float64),
        np.zeros((n, CLOCK_WIDTH), dtype=np.int64),
        np.zeros(n, dtype=np.float64),
    )


def accounts_of(rows: EnvRows) -> NDArray[np.float64]:
    """(N, ACCOUNT_WIDTH) float64: a copy of the accounts, one after the other."""
    return rows.accounts.transpose(0, 2, 1).reshape(-1, ACCOUNT_WIDTH)[: len(rows.targets)].copy()


def states_of(rows: EnvRows) -> RowStates:
    """A copy of the state."""
    return RowStates(accounts_of(rows), rows.clocks.copy(), rows.targets.copy())


def put_states(rows: EnvRows, states: RowStates) -> None:
    """Overwrite the state."""
    padded = np.zeros((rows.accounts.shape[0] * LANES, ACCOUNT_WIDTH), dtype=np.float64)
    padded[: len(states.targets)] = states.accounts
    rows.accounts[:] = padded.reshape(-1, LANES, ACCOUNT_WIDTH).transpose(0, 2, 1)
    rows.clocks[:], rows.targets[:] = states.clocks, states.targets


@njit(cache=True, error_model="numpy", forceinline=True)
def account_at(accounts: int, row: int) -> NDArray[np.float64]:
    """The account of a row, (ACCOUNT_WIDTH,) float64, in the blocks at the address `accounts`."""
    address = accounts + (row // LANES) * BLOCK_BYTES + (row % LANES) * FLOAT64_BYTES
    return float64_apart_at(address, ACCOUNT_WIDTH, COLUMN_BYTES)
