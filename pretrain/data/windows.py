"""Labelled windows of many markets, gathered in whole batches from the markets' own arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.market.market import Market
from cryptoenv.market.pool import MarketPool
from cryptoenv.market.table import MarketArrays, align_of, feature_cells, market_table
from pretrain.data.label_column import LabelColumn
from pretrain.data.labelled_market import NO_LABEL, LabelledMarket


class Batch(NamedTuple):
    """B windows and what they should tell.

    `windows`: one (B, W_k, F_k) float32 tensor per timeframe; `labels` (B, P) int64, -1 ignored; `returns` (B, H)
    float32 in units of sigma * sqrt(horizon), NaN ignored; `beliefs` (B, K) float32, probabilities of regimes, rows of
    zeros ignored (K = 0 where the teacher has none); `columns` (B, C) float32, the user's own labels: numbers of
    classes or values, NaN ignored (C = 0 where there are none).
    """

    windows: tuple[Tensor, ...]
    labels: Tensor
    returns: Tensor
    beliefs: Tensor
    columns: Tensor = torch.empty(0, 0)


@numba.njit(cache=True)
def _gather(
    table: NDArray[np.int64], market: NDArray[np.int64], t: NDArray[np.int64], timeframe: int, out: NDArray[np.float32]
) -> None:
    """Fills `out` (B, W, F) with the windows of one timeframe that were known at the close of base bars `t`."""
    width = out.shape[1] * out.shape[2]
    for i in range(len(t)):
        last = align_of(table, market[i])[t[i], timeframe]
        first_cell = (last + 1 - out.shape[1]) * out.shape[2]
        out[i] = feature_cells(table, market[i], timeframe, first_cell, width).reshape(out.shape[1:])


class WindowSource:
    """The windows of some markets, straight from `Market.features` and `Market.align` (memory-mapped ones too).

    Raises:
        ValueError: no markets, other timeframes or features in one of them, or too few bars for the windows.
    """

    def __init__(self, markets: Sequence[Market], window: tuple[int, ...]) -> None:
        self.window = window
        self._pool = MarketPool(tuple(markets))
        self._first = np.array([market.first_decision(window) for market in markets], np.int64)
        self._length = np.array([len(market) for market in markets], np.int64)
        self._table = self._addresses()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle: addresses of another process mean nothing here, so the table is made anew."""
        self.__dict__.update(state)
        self._table = self._addresses()

    def _addresses(self) -> NDArray[np.int64]:
        decidable = [(int(first), int(length) - 1) for first, length in zip(self._first, self._length, strict=True)]
        return market_table([MarketArrays(m.prices, m.align, m.features) for m in self._pool.markets], decidable)

    def gather(self, market: NDArray[np.int64], t: NDArray[np.int64], first_timeframe: int = 0) -> tuple[Tensor, ...]:
        """One (B, W_k, F_k) float32 tensor per timeframe, oldest bar first, as known at the close of base bar `t`.

        Args:
            market: (B,) int64 positions in the sequence of markets.
            t: (B,) int64 base rows.
            first_timeframe: number of the first timeframe that is wanted.

        Raises:
            IndexError: a row has no full window, or lies outside its market.
        """
        bad = (market < 0) | (t < self._first[market]) | (t >= self._length[market])
        if bad.any():
            i = int(bad.argmax())
            allowed = f"[{self._first[market[i]]}, {self._length[market[i]]})"
            raise IndexError(f"t={t[i]} of market {market[i]} has no full window: allowed is {allowed}")
        blocks = []
        names = self._pool.markets[0].feature_names
        for k in range(first_timeframe, len(self.window)):
            block = np.empty((len(t), self.window[k], len(names[k])), np.float32)
            _gather(self._table, market, t, k, block)
            blocks.append(torch.from_numpy(block))
        return tuple(blocks)


class WindowDataset:
    """All labelled decision rows of some markets; a batch is gathered at once.

    Args:
        markets: with the same timeframes, features and number of positions.
        window: bars per timeframe.
        horizons: base bars ahead of which returns are targets.
        whole: also the rows without a label between labelled ones.

    Raises:
        ValueError: no markets, markets that differ, or one without a labelled decision.
    """

    def __init__(
        self,
        markets: Sequence[LabelledMarket],
        window: tuple[int, ...],
        horizons: tuple[int, ...],
        *,
        whole: bool = False,
    ) -> None:
        if not markets:
            raise ValueError("at least one labelled market is needed")
        self.markets = tuple(markets)
        first = markets[0]
        for number, item in enumerate(markets):
            if item.labels.shape[1] != first.labels.shape[1] or item.label_kind != first.label_kind:
                raise ValueError(f"labels of market {number} differ in kind or number of positions from market 0's")
            if item.regimes != first.regimes:
                raise ValueError(f"market {number} has beliefs of {item.regimes} regimes, market 0 of {first.regimes}")
            _require_same_columns(item.columns, first.columns, number)
        rows = [item.decisions(window, whole=whole) for item in markets]
        self.window = window
        self.source = WindowSource([item.market for item in markets], window)
        self.market = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
        self.t = np.concatenate(rows)
        self.labels = np.concatenate([item.labels[r] for item, r in zip(markets, rows, strict=True)])
        self.returns = np.concatenate(
            [future_returns(item.market.prices, item.end, r, horizons) for item, r in zip(markets, rows, strict=True)]
        )
        self.beliefs = np.concatenate([_beliefs(item, r) for item, r in zip(markets, rows, strict=True)])
        self.columns = np.concatenate([_columns(item, r) for item, r in zip(markets, rows, strict=True)])

    def __len__(self) -> int:
        return len(self.t)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(R,) bool: rows that have any label."""
        return (self.labels != NO_LABEL).any(axis=1) | ~np.isnan(self.columns).all(axis=1)

    @property
    def hash(self) -> str:
        """sha256 (hex) over the markets, their labels and the rows used."""
        digest = hashlib.sha256()
        for item in self.markets:
            digest.update(f"{item.market.hash} {item.label_kind} {item.start} {item.end}".encode())
            digest.update(np.ascontiguousarray(item.labels).tobytes())
            digest.update(b"" if item.beliefs is None else np.ascontiguousarray(item.beliefs).tobytes())
            for column in item.columns:
                digest.update(repr((column.name, column.classes)).encode() + column.values.tobytes())
        return digest.hexdigest()

    def batch(self, rows: NDArray[np.int64], first_timeframe: int = 0) -> Batch:
        """The windows (from `first_timeframe` on) and targets of dataset rows `rows`, (B,) int64 in [0, len(self))."""
        return Batch(
            windows=self.source.gather(self.market[rows], self.t[rows], first_timeframe),
            labels=torch.from_numpy(self.labels[rows].astype(np.int64)),
            returns=torch.from_numpy(self.returns[rows]),
            beliefs=torch.from_numpy(self.beliefs[rows].astype(np.float32)),
            columns=torch.from_numpy(self.columns[rows]),
        )

    def feature_rows(self) -> list[NDArray[np.float32]]:
        """Per timeframe, (R_k, F_k) float32: every bar that some window of the dataset shows, once per market."""
        parts: list[list[NDArray[np.float32]]] = [[] for _ in self.window]
        for number, item in enumerate(self.markets):
            ends = item.market.align[self.t[self.market == number]]
            for k, bars in enumerate(self.window):
                parts[k].append(item.market.features[k][ends[0, k] - bars + 1 : ends[-1, k] + 1])
        return [np.concatenate(part) for part in parts]


def process_share() -> tuple[int, int]:
    """Number of this process and how many share a batch: (0, 1) unless the run is distributed."""
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank(), torch.distributed.get_world_size()) if shared else (0, 1)


class Batched(Protocol):
    """Rows that are taken in batches."""

    def __len__(self) -> int: ...

    def batch(self, rows: NDArray[np.int64]) -> Any:
        """The batch of rows `rows`, (B,) int64 in [0, len(self))."""


class OrderedBatches:
    """The batches of `rows`, (R,) int64, of a dataset, in their order, each row once; in a data loader's place."""

    def __init__(self, dataset: Batched, size: int, rows: NDArray[np.int64]) -> None:
        self._dataset = dataset
        self._parts = np.array_split(rows, math.ceil(len(rows) / size))

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Any]:
        return map(self._dataset.batch, self._parts)


class Counted:
    """`count` batches, of which it knows how many it gave: `state_dict` says so, and after `load_state_dict` the rest
    follow."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._start = 0
        self._given = 0

    def __len__(self) -> int:
        return self._count

    def state_dict(self) -> dict[str, int]:
        """How far it is."""
        return {"given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._start = state["given"]

    def _begin(self) -> int:
        """The number of the first batch of a pass; the next pass begins at 0."""
        start, self._start = self._start, 0
        return start


class ShuffledBatches(Counted):
    """`count` batches of at most `size` windows: passes over the dataset, each in a new order drawn from `seed`.

    Every process of a distributed run gives its own share of each batch.
    """

    def __init__(self, dataset: Batched, size: int, count: int, seed: int) -> None:
        super().__init__(count)
        self._dataset = dataset
        self._size = min(size, len(dataset))
        self._seed = seed

    def __iter__(self) -> Iterator[Any]:
        rank, world = process_share()
        rng = np.random.default_rng(self._seed)
        per_pass = len(self._dataset) // self._size
        start = self._begin()
        for number in range(self._count):
            place = number % per_pass
            if place == 0:
                order = rng.permutation(len(self._dataset))
            self._given = number + 1
            if number >= start:
                yield self._dataset.batch(order[place * self._size + rank : (place + 1) * self._size : world])


def future_returns(
    prices: NDArray[np.float64], end: int, rows: NDArray[np.int64], horizons: tuple[int, ...]
) -> NDArray[np.float32]:
    """(R, H) float32 log-returns over each horizon in units of sigma_t * sqrt(horizon); NaN where they end past `end`.

    Args:
        prices: (T, 8) float64, `Market.prices`.
        end: first row that is not to be looked at.
        rows: (R,) int64 decisions.
        horizons: H base bars ahead.
    """
    out = np.full((len(rows), len(horizons)), np.nan, np.float32)
    for column, horizon in enumerate(horizons):
        sigma = prices[rows, SIGMA]
        known = (rows + horizon < end) & (sigma > 0.0)
        start = rows[known]
        moved = np.log(prices[start + horizon, CLOSE]) - np.log(prices[start, CLOSE])
        out[known, column] = moved / (sigma[known] * np.sqrt(horizon))
    return out


def _beliefs(item: LabelledMarket, rows: NDArray[np.int64]) -> NDArray[np.float16]:
    return np.zeros((len(rows), 0), np.float16) if item.beliefs is None else item.beliefs[rows]


def _columns(item: LabelledMarket, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    out = np.empty((len(rows), len(item.columns)), np.float32)
    for number, column in enumerate(item.columns):
        out[:, number] = column.values[rows]
    return out


def _require_same_columns(found: Sequence[LabelColumn], first: Sequence[LabelColumn], number: int) -> None:
    for name in ("name", "classes"):
        given, wanted = ([getattr(column, name) for column in columns] for columns in (found, first))
        if given != wanted:
            raise ValueError(f"labels of market {number} have the {name} {given}, those of market 0 {wanted}")
