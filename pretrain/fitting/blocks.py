"""Blocks: arrays of fixed shape that a model reads, cut from a market or grown bar by bar; the same bits either way.

A block is `STRETCH` consecutive decisions, bordered at multiples of `STRETCH` base bars since 1970, and the bars before
them that the first one's window shows. What is not there (later bars, decisions before the first) is zeros. Matrix
products round differently in other shapes, so a prediction is always computed in its whole block, at its place there:
alone, in a batch, or as bars close. No row depends on later bars, nor on the windows of other rows.
Shape legend: `S` = STRETCH, `L` = window[0] - 1 + S base bars.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features.families.windowed import rolling_sigma
from cryptoenv.market.market import SIGMA_BARS, Market
from pretrain.data.stretches import STRETCH
from pretrain.data.windows import WindowSource
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.transfer import to_device


class Block(NamedTuple):
    """S decisions and what is known at each.

    `bars` (1, L, F_0) float32, base bars, unscaled; `places` (1, S) int64: row i's window is `bars` from `places[i]`
    on; `higher`: (S, W_k, F_k) float32 per higher timeframe; `close` (S,) float64, quote currency; `sigma` (S,)
    float64: standard deviation of the last 96 log-returns; `opens_ms` (S,) int64: when each decision's bar opens;
    `decided` (S,) bool: rows that hold a decision.
    """

    bars: Tensor
    places: Tensor
    higher: tuple[Tensor, ...]
    close: NDArray[np.float64]
    sigma: NDArray[np.float64]
    opens_ms: NDArray[np.int64]
    decided: NDArray[np.bool_]

    def windows(self, bars: int) -> tuple[Tensor, ...]:
        """One (S, W_k, F_k) tensor per timeframe; `bars` is W_0."""
        base = self.bars[0].unfold(0, bars, 1).transpose(1, 2)[self.places[0]].contiguous()
        return (base, *self.higher)

    def to(self, device: torch.device) -> Block:
        """The same with its tensors on a device."""
        bars, places, *higher = (to_device(part, device) for part in (self.bars, self.places, *self.higher))
        return self._replace(bars=bars, places=places, higher=tuple(higher))


def _empty(layout: MarketLayout, start: int, start_ms: int) -> tuple[Block, int]:
    """A block of zeros whose first decision is row `start` of its market, and the market's row its bars begin with.

    `start_ms`: open of the market's row 0.
    """
    window = layout.window[0]
    begin = max(start + 1 - window, 0)
    places = np.clip(start + np.arange(STRETCH) - (begin + window - 1), 0, STRETCH - 1)
    counts = [len(names) for names in layout.feature_names]
    higher = zip(layout.window[1:], counts[1:], strict=True)
    block = Block(
        torch.zeros(1, window - 1 + STRETCH, counts[0]),
        torch.from_numpy(places[None]),
        tuple(torch.zeros(STRETCH, bars, count) for bars, count in higher),
        np.ones(STRETCH),
        np.zeros(STRETCH),
        start_ms + timeframe_ms(layout.timeframes[0]) * (start + np.arange(STRETCH, dtype=np.int64)),
        np.zeros(STRETCH, np.bool_),
    )
    return block, begin


def _anchor(start_ms: int, base: str) -> int:
    """A row, at or before 0, at which a block of a market that begins at `start_ms` starts."""
    return -(start_ms // timeframe_ms(base)) % STRETCH - STRETCH


def market_blocks(market: Market, layout: MarketLayout) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Block]]:
    """Every block of a market that holds a decision: (n,) the market's rows, (n,) their places in the block, the block.

    Raises:
        BarsError: too few bars for the windows.
    """
    first, anchor = market.first_decision(layout.window), _anchor(market.start_ms, layout.timeframes[0])
    source = WindowSource([market], layout.window)
    for start in range(anchor + (first - anchor) // STRETCH * STRETCH, len(market), STRETCH):
        block, begin = _empty(layout, start, market.start_ms)
        end = min(start + STRETCH, len(market))
        rows = np.arange(max(start, first), end)
        block.bars[0, : end - begin] = torch.from_numpy(market.features[0][begin:end].copy())
        for whole, part in zip(block.higher, source.gather(np.zeros_like(rows), rows, first_timeframe=1), strict=True):
            whole[rows - start] = part
        block.close[rows - start] = market.prices[rows, CLOSE]
        block.sigma[rows - start] = market.prices[rows, SIGMA]
        block.decided[rows - start] = True
        yield rows, rows - start, block


class GrowingBlock:
    """The block of the newest decision, as features of bars come one at a time."""

    def __init__(self, layout: MarketLayout, start_ms: int) -> None:
        self._layout = layout
        self._start_ms, self._anchor = start_ms, _anchor(start_ms, layout.timeframes[0])
        self._row = -1
        longest = (layout.window[0] - 1 + STRETCH, *layout.window[1:])
        self._rows: list[deque[NDArray[np.float32]]] = [deque(maxlen=bars) for bars in longest]
        self._closes: deque[float] = deque(maxlen=SIGMA_BARS + 1)

    @classmethod
    def after(cls, market: Market, layout: MarketLayout) -> GrowingBlock:
        """The block of a market's last bar."""
        out = cls(layout, market.start_ms)
        for rows, features in zip(out._rows, market.features, strict=True):
            rows.extend(features[-(rows.maxlen or 0) :])
        out._closes.extend(market.prices[-(SIGMA_BARS + 1) :, CLOSE].tolist())
        out._row = len(market) - 1
        return out

    def add(self, close: float, rows: dict[str, NDArray[np.float32]]) -> None:
        """Take in one base bar: its close, and what `FeatureStream.append` gave for it, (n, F) per timeframe."""
        for held, timeframe in zip(self._rows, self._layout.timeframes, strict=True):
            held.extend(rows[timeframe])
        self._closes.append(close)
        self._row += 1

    def newest(self) -> tuple[int, Block]:
        """The place of the newest bar's decision in its block, and the block (which holds no other decision)."""
        place = (self._row - self._anchor) % STRETCH
        block, begin = _empty(self._layout, self._row - place, self._start_ms)
        known = self._row - begin + 1
        base = np.array(self._rows[0], np.float32)[-known:]
        block.bars[0, :known] = torch.from_numpy(base)
        for whole, held in zip(block.higher, self._rows[1:], strict=True):
            whole[place] = torch.from_numpy(np.array(held, np.float32))
        block.close[place] = self._closes[-1]
        block.sigma[place] = rolling_sigma(np.array(self._closes), SIGMA_BARS)[-1]
        block.decided[place] = True
        return place, block
