"""Stretches: runs of consecutive decisions, for encoders with a recurrent memory.

A window of W bars per decision repeats W - 1 of them for the next one. A memory that runs over the bars needs each bar
once: a stretch has `STRETCH` consecutive decisions and the W - 1 base bars before them, and the memory starts empty at
its first bar. Every decision has then seen at least the W bars that its window shows, and at most `STRETCH` more.
Shape legend: `C` stretches, `L` = W - 1 + STRETCH bars, `R` decisions of a stretch that go through the whole encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data.windows import Batch, Counted, WindowDataset, process_share

STRETCH = 512  #: decisions of a stretch
ROWS = 16  #: decisions of a stretch that a training step reads with the whole encoder; all of them train the memory


class StretchBatch(NamedTuple):
    """C stretches, and R decisions of each in full.

    `bars` (C, L, F_0) float32, base bars; `places` (C, R) int64, decisions counted from the stretch's first;
    `decisions`: windows and targets of those C * R decisions (without the base timeframe's window, which is a part of
    `bars`); `labels` (C, STRETCH, P) int64, of every decision, -1 ignored; `beliefs` (C, STRETCH, K) float32, too.
    """

    bars: Tensor
    places: Tensor
    decisions: Batch
    labels: Tensor
    beliefs: Tensor


def cut(bars: NDArray[np.float32], first: NDArray[np.int64], window: int, length: int = STRETCH) -> Tensor:
    """(C, window - 1 + length, F_0) float32: the base bars of stretches whose decisions begin at rows `first` (C,)."""
    places = first[:, None] + np.arange(1 - window, length)
    return torch.from_numpy(np.ascontiguousarray(bars[places]))


class StretchDataset:
    """The stretches of a window dataset's markets.

    Every run of `STRETCH` consecutive decisions of a market is one; a market with fewer gives none.

    Raises:
        ValueError: no market has enough consecutive decisions.
    """

    def __init__(self, windows: WindowDataset) -> None:
        self.windows = windows
        self._labelled = windows.labelled
        self._begin = np.searchsorted(windows.market, np.arange(len(windows.markets)))
        ends = np.append(self._begin[1:], len(windows))
        # a stretch from dataset row i has rows i ... i + STRETCH - 1, of one market and without holes
        last = np.minimum(np.arange(len(windows)) + STRETCH - 1, len(windows) - 1)
        whole = (np.arange(len(windows)) + STRETCH <= ends[windows.market]) & (
            windows.t[last] - windows.t == STRETCH - 1
        )
        self.starts = np.flatnonzero(whole)
        if len(self.starts) == 0:
            raise ValueError(f"no market has {STRETCH} consecutive labelled decisions, which a memory is trained on")

    def _on_labels(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where labels are rare: each decision moved to the next labelled one of its own part of the stretch."""
        if self._labelled.all():
            return places
        every = STRETCH // places.shape[1]
        part = places // every * every
        around = part[..., None] + (places[..., None] - part[..., None] + np.arange(every)) % every
        found = self._labelled[rows[:, None, None] + around].argmax(axis=-1)
        return np.take_along_axis(around, found[..., None], axis=-1)[..., 0]

    def batch(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> StretchBatch:
        """The stretches that start at dataset rows `rows` (C,), with decisions `places` (C, R) in full."""
        windows = self.windows
        places = self._on_labels(rows, places)
        bars = [
            cut(windows.markets[m].market.features[0], windows.t[row : row + 1], windows.window[0])
            for m, row in zip(windows.market[rows], rows, strict=True)
        ]
        every = rows[:, None] + np.arange(STRETCH)
        return StretchBatch(
            torch.cat(bars),
            torch.from_numpy(places),
            windows.batch((rows[:, None] + places).ravel(), first_timeframe=1),
            torch.from_numpy(windows.labels[every].astype(np.int64)),
            torch.from_numpy(windows.beliefs[every].astype(np.float32)),
        )


class ShuffledStretches(Counted):
    """`count` batches of `size // ROWS` stretches, drawn from `seed`; each stretch gives `ROWS` decisions in full.

    Every process of a distributed run gives its own share of each batch.
    """

    def __init__(self, dataset: StretchDataset, size: int, count: int, seed: int) -> None:
        super().__init__(count)
        self._dataset = dataset
        self._stretches = max(1, size // ROWS)
        self._seed = seed

    def __iter__(self) -> Iterator[StretchBatch]:
        rank, world = process_share()
        start = self._begin()
        every = STRETCH // ROWS
        for number in range(start, self._count):
            rng = np.random.default_rng((self._seed, number))
            rows = self._dataset.starts[rng.integers(len(self._dataset.starts), size=self._stretches)]
            places = np.arange(ROWS) * every + rng.integers(every, size=self._stretches)[:, None]
            self._given = number + 1
            yield self._dataset.batch(rows[rank::world], places[rank::world])


class OrderedStretches:
    """About `decisions` decisions of a dataset in batches of stretches that are evenly spread over it."""

    def __init__(self, dataset: StretchDataset, decisions: int, stretches: int = 48) -> None:
        count = max(1, min(len(dataset.starts), decisions // ROWS))
        spread = np.unique(np.linspace(0, len(dataset.starts) - 1, count).round().astype(np.int64))
        rows = dataset.starts[spread]
        self._dataset = dataset
        self._parts = np.array_split(rows, -(-len(rows) // stretches))

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[StretchBatch]:
        every = STRETCH // ROWS
        for rows in self._parts:
            yield self._dataset.batch(rows, np.tile(np.arange(ROWS) * every + every // 2, (len(rows), 1)))
