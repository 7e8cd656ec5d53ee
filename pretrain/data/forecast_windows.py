"""Windows of markets and the returns that follow them: what a forecaster learns from.

Nothing after a row's bar is in its window. A return that ends outside the rows' own range is never a target, so that
nothing crosses the border of a split. Shape legend: `B` windows, `W` base bars, `H` horizons, `F` features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain.data.windows import WindowSource


@dataclass(frozen=True)
class Part:
    """Rows `start <= t < stop` of a market, by default those with a full window to the market's end."""

    market: Market
    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= len(self.market):
            found = f"rows [{self.start}, {self.end})"
            raise ValueError(f"{found} are not a range within the market's [0, {len(self.market)})")

    @property
    def end(self) -> int:
        """First row after the range."""
        return len(self.market) if self.stop is None else self.stop


def divided(
    parts: Sequence[Part], window: tuple[int, ...], share: float, gap: int
) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Every part in two, in time: the first `share` of its decisions, and those from `gap` bars after these on.

    Args:
        parts: of markets.
        window: bars per timeframe that a decision needs.
        share: in (0, 1).
        gap: base bars that neither has: the longest horizon, so that no return of the first reaches into the second.

    Raises:
        ValueError: a part is too short for two.
    """
    first, second = [], []
    for number, part in enumerate(parts):
        begin = max(part.start, part.market.first_decision(window))
        border = begin + int(share * (part.end - begin))
        if not begin < border or border + gap >= part.end:
            found = f"part {number} has {max(part.end - begin, 0)} decisions"
            raise ValueError(f"{found}: too few for two parts of them with {gap} bars between")
        first.append(Part(part.market, part.start, border))
        second.append(Part(part.market, border + gap, part.end))
    return tuple(first), tuple(second)


class ForecastBatch(NamedTuple):
    """B windows and what followed.

    `windows`: one (B, W_k, F_k) float32 tensor per timeframe; `closes_ms` (B,) int64: when the last base bar closed;
    `returns` (B, W, H) float32: log-returns from each bar of the window on, in units of sigma * sqrt(horizon), NaN
    where not known; W is 1, the last bar, unless every bar is wanted; `sigma` (B, W) float32: standard deviation of the
    last 96 log-returns at those bars.
    """

    windows: tuple[Tensor, ...]
    closes_ms: Tensor
    returns: Tensor
    sigma: Tensor


class ForecastDataset:
    """All rows of some parts that have a full window and a known return; a batch is gathered at once.

    Args:
        parts: of markets with the same timeframes and features.
        window: bars per timeframe of a window.
        horizons: base bars ahead of which returns are targets.
        every: returns from every bar of the window on, not from the last one alone.

    Raises:
        ValueError: no parts, markets that differ, or a part without a row.
    """

    def __init__(
        self, parts: Sequence[Part], window: tuple[int, ...], horizons: tuple[int, ...], *, every: bool = False
    ) -> None:
        if not parts:
            raise ValueError("at least one part of a market is needed")
        self.parts, self.window, self.horizons = tuple(parts), window, horizons
        self._back = np.arange(1 - window[0], 1) if every else np.zeros(1, np.int64)
        self.source = WindowSource([part.market for part in parts], window)
        self._targets = [_targets(part, horizons) for part in parts]
        rows = []
        for number, (part, targets) in enumerate(zip(parts, self._targets, strict=True)):
            first = max(part.start, part.market.first_decision(window))
            known = first + np.flatnonzero(np.isfinite(targets[first : part.end]).any(axis=1))
            if len(known) == 0:
                raise ValueError(
                    f"part {number} holds no row with a full window and a known return: rows [{part.start}, "
                    f"{part.end}), the first decision could be row {first}, horizons {horizons}"
                )
            rows.append(known)
        self.market = np.repeat(np.arange(len(rows)), [len(found) for found in rows])
        self.t = np.concatenate(rows)

    def __len__(self) -> int:
        return len(self.t)

    @property
    def hash(self) -> str:
        """sha256 (hex) over the markets and rows used."""
        digest = hashlib.sha256(repr((self.window, self.horizons)).encode())
        for part in self.parts:
            digest.update(f"{part.market.hash} {part.start} {part.end}".encode())
        return digest.hexdigest()

    def closes_ms(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) int64: when the last bar of each row's window closes, ms since 1970."""
        step = timeframe_ms(self.parts[0].market.timeframes[0])
        start = np.array([part.market.start_ms for part in self.parts], np.int64)
        return np.asarray(start[self.market[rows]] + step * (self.t[rows] + 1), np.int64)

    def returns(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(B, W, H) returns and (B, W) sigma of rows (B,), as in `ForecastBatch`."""
        returns = np.empty((len(rows), len(self._back), len(self.horizons)), np.float32)
        sigma = np.empty((len(rows), len(self._back)), np.float32)
        for number in np.unique(self.market[rows]):
            mine = self.market[rows] == number
            places = self.t[rows][mine, None] + self._back
            returns[mine] = self._targets[number][places]
            sigma[mine] = self.parts[number].market.prices[places, SIGMA]
        return returns, sigma

    def batch(self, rows: NDArray[np.int64]) -> ForecastBatch:
        """The windows and targets of dataset rows `rows`, (B,) int64 in [0, len(self))."""
        returns, sigma = self.returns(rows)
        return ForecastBatch(
            self.source.gather(self.market[rows], self.t[rows]),
            torch.from_numpy(self.closes_ms(rows)),
            torch.from_numpy(returns),
            torch.from_numpy(sigma),
        )

    def feature_rows(self) -> list[NDArray[np.float32]]:
        """Per timeframe, (R_k, F_k) float32: every bar that some window shows, once per part."""
        parts: list[list[NDArray[np.float32]]] = [[] for _ in self.window]
        for number, part in enumerate(self.parts):
            ends = part.market.align[self.t[self.market == number]]
            for k, bars in enumerate(self.window):
                parts[k].append(part.market.features[k][ends[0, k] - bars + 1 : ends[-1, k] + 1])
        return [np.concatenate(found) for found in parts]


def _targets(part: Part, horizons: tuple[int, ...]) -> NDArray[np.float32]:
    """(T, H) float32 log-returns in units of sigma_t * sqrt(horizon); NaN before the range, past it, and at rest."""
    prices = part.market.prices
    out = np.full((len(part.market), len(horizons)), np.nan, np.float32)
    close, sigma = np.log(prices[: part.end, CLOSE]), prices[:, SIGMA]
    for column, horizon in enumerate(horizons):
        rows = np.arange(part.start, max(part.end - horizon, part.start))
        rows = rows[sigma[rows] > 0.0]
        out[rows, column] = (close[rows + horizon] - close[rows]) / (sigma[rows] * np.sqrt(horizon))
    return out
