"""A table of where each market's arrays lie in memory, so that one small argument gives jitted code a whole pool.

Concatenating memory-mapped markets would cost their size; a row of addresses costs nothing. The pool that builds a
table keeps the arrays alive; a table never leaves its process.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import PRICE_COLUMNS
from cryptoenv.trading.borrowed_memory import float32_at, float64_at, int64_at, prefetch

# Columns of the table, one int64 row per market.
PRICES = 0  #: address of the (T, 8) float64 prices
BARS = 1  #: T
ALIGN = 2  #: address of the (T, K) int64 alignment
FIRST = 3  #: first decidable bar
LAST = 4  #: last bar
FEATURES = 5  #: then, per timeframe: address of the (T_k, F) float32 features, T_k, F
PER_TIMEFRAME = 3

PRICE_WIDTH = len(PRICE_COLUMNS)
FLOAT32_BYTES, FLOAT64_BYTES = 4, 8


@njit(cache=True, error_model="numpy")
def prices_of(table: NDArray[np.int64], market: int) -> NDArray[np.float64]:
    """The (T, 8) float64 prices of a market."""
    return float64_at(table[market, PRICES], (table[market, BARS], PRICE_WIDTH))


@njit(cache=True, error_model="numpy")
def prefetch_prices(table: NDArray[np.int64], market: int, bar: int) -> None:
    """Ask for the prices of `bar` and the next, a cache line each; `table` is (M, 5 + 3K)."""
    address = table[market, PRICES] + bar * PRICE_WIDTH * FLOAT64_BYTES
    prefetch(address)
    prefetch(address + PRICE_WIDTH * FLOAT64_BYTES)


@njit(cache=True, error_model="numpy")
def align_of(table: NDArray[np.int64], market: int) -> NDArray[np.int64]:
    """The (T, K) int64 alignment of a market."""
    return int64_at(table[market, ALIGN], (table[market, BARS], (table.shape[1] - FEATURES) // PER_TIMEFRAME))


@njit(cache=True, error_model="numpy")
def feature_cells(table: NDArray[np.int64], market: int, timeframe: int, first: int, count: int) -> NDArray[np.float32]:
    """`count` float32 cells, from cell `first`, of the row-major (T_k, F) features of a market's k-th timeframe."""
    address = table[market, FEATURES + PER_TIMEFRAME * timeframe] + first * FLOAT32_BYTES
    return float32_at(address, (count,))


class MarketArrays(NamedTuple):
    """What jitted code reads of a market, C order.

    Attributes:
        prices: (T, 8) float64. align: (T, K) int64. features: K arrays (T_k, F_k) float32.
    """

    prices: NDArray[np.float64]
    align: NDArray[np.int64]
    features: tuple[NDArray[np.float32], ...]


def market_row(number: int, arrays: MarketArrays, decidable: tuple[int, int]) -> NDArray[np.int64]:
    """The (5 + 3K,) int64 row of one market, given by its arrays, with its first and last bar.

    Raises:
        ValueError: an array whose dtype, shape or memory layout jitted code would misread; it is of market `number`.
    """
    prices, align, features = arrays
    row = np.zeros(FEATURES + PER_TIMEFRAME * len(features), dtype=np.int64)
    bars = prices.shape[0]
    _check(number, "prices", prices, np.float64, (bars, PRICE_WIDTH))
    _check(number, "align", align, np.int64, (bars, len(features)))
    row[:FEATURES] = (prices.ctypes.data, bars, align.ctypes.data, *decidable)
    for k, matrix in enumerate(features):
        _check(number, f"features[{k}]", matrix, np.float32, matrix.shape)
        column = FEATURES + PER_TIMEFRAME * k
        row[column : column + PER_TIMEFRAME] = (matrix.ctypes.data, *matrix.shape)
    return row


def without_addresses(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row, (5 + 3K,) as `row` is, of a market of the same shape that is not there yet."""
    blank = row.copy()
    blank[[PRICES, ALIGN, *range(FEATURES, len(row), PER_TIMEFRAME)]] = 0
    return blank


def market_table(markets: list[MarketArrays], decidable: list[tuple[int, int]]) -> NDArray[np.int64]:
    """The (M, 5 + 3K) int64 table of markets, each given as for `market_row`.

    Raises:
        ValueError: as `market_row`.
    """
    pairs = zip(markets, decidable, strict=True)
    return np.array([market_row(i, arrays, span) for i, (arrays, span) in enumerate(pairs)])


def _check(market: int, name: str, array: NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous or array.ndim != 2:
        raise ValueError(
            f"market {market}: {name} must be C-contiguous {np.dtype(dtype)} of shape {shape}, got {array.dtype} "
            f"{array.shape}"
        )
