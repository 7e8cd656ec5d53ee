"""Extended forecasts: sampled paths, in which every row is drawn from the model and is its next input, all six of it.

Nothing is held constant and nothing of the future is read: what goes in is the past, and then what was drawn.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.tokens.channels import (
    BOUND,
    BUY,
    DEPTH,
    PERCENT,
    PREDICTED,
    RETURN,
    SELL,
    TURNOVER,
    channels,
    log_depth,
    normalised,
    target_scales,
)
from pretrain.tokens.model import Remembered, TokenModel
from pretrain.tokens.series import BUYS, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME

Floats = NDArray[np.float64]

#: Bounds of what is drawn: a return of a row, a trade of a hundred times the pool, a change of its depth.
LEAST: Final = torch.tensor([-3.0, 0.0, 0.0, 0.0, -4.0], dtype=torch.float64)
MOST: Final = torch.tensor([3.0, 9.3, 9.3, 9.3, 4.0], dtype=torch.float64)
PATHS_AT_ONCE: Final = 512


def drawn_at(quantiles: Tensor, levels: Tensor, place: Tensor) -> Tensor:
    """(P,) values at probabilities `place` (P,) of distributions given by quantiles (P, Q) at `levels` (Q,).

    Linear between the levels; beyond the outermost, exponential tails that go on from the last two.
    """
    right = torch.searchsorted(levels, place.contiguous()).clamp(1, len(levels) - 1)
    low, high = (quantiles.gather(1, index[:, None])[:, 0] for index in (right - 1, right))
    share = (place - levels[right - 1]) / (levels[right] - levels[right - 1])
    inside = low + share.clamp(0.0, 1.0) * (high - low)
    up = (quantiles[:, -1] - quantiles[:, -2]) / torch.log((1.0 - levels[-2]) / (1.0 - levels[-1]))
    down = (quantiles[:, 1] - quantiles[:, 0]) / torch.log(levels[1] / levels[0])
    above = torch.log((1.0 - levels[-1]) / (1.0 - place).clamp(min=1e-12)).clamp(min=0.0)
    below = torch.log(levels[0] / place.clamp(min=1e-12)).clamp(min=0.0)
    return inside + up * above - down * below


def sampled_paths(
    model: TokenModel,
    normalization: Floats,
    past: Floats,
    supply: float,
    *,
    steps: int,
    paths: int,
    seed: int,
) -> Floats:
    """(P, steps, 6) float64 features of rows to come, in the units and order of `FEATURES`.

    When a window is full, the network reads its newer half anew, as it reads windows in training.

    Args:
        model: in evaluation mode.
        normalization: (2, 6).
        past: (T, 6) rows up to the present; the last `seq_length` are read, and one more for the first return.
        supply: of the token.
        steps: rows ahead.
        paths: how many.
        seed: of what is drawn.
    """
    read = channels(past[-model.config.seq_length - 1 :])[-min(len(past), model.config.seq_length) :]
    rows = torch.from_numpy(normalised(read, normalization))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for first in range(0, paths, PATHS_AT_ONCE):
        count = min(PATHS_AT_ONCE, paths - first)
        place = torch.rand(steps, count, len(PREDICTED), generator=generator, dtype=torch.float64)
        with torch.inference_mode():
            parts.append(_Rolling(model, normalization, past[-1], float(np.log(supply))).roll(rows, place))
    return np.concatenate(parts)


class _Rolling:
    """The state of paths that go on from one present."""

    def __init__(self, model: TokenModel, normalization: Floats, present: Floats, log_supply: float) -> None:
        self._model, self._log_supply = model, log_supply
        self._device = next(model.parameters()).device
        self._centre, self._spread = (torch.from_numpy(part) for part in normalization)
        self._scales = torch.from_numpy(target_scales(normalization))
        self._levels = torch.tensor(model.config.quantiles, dtype=torch.float64)
        self._price = float(np.log(present[PRICE]))
        self._depth = float(log_depth(present[None])[0])

    def roll(self, rows: Tensor, place: Tensor) -> Floats:
        """(P, steps, 6) from normalised rows (n, 6) and probabilities (steps, P, 5)."""
        steps, count = place.shape[:2]
        length = self._model.config.seq_length
        seen = rows.expand(count, -1, -1).contiguous()
        price = torch.full((count,), self._price, dtype=torch.float64)
        depth = torch.full((count,), self._depth, dtype=torch.float64)
        out = torch.empty(count, steps, 6, dtype=torch.float64)
        hidden, state = self._begin(seen)
        for step in range(steps):
            drawn = self._draw(hidden, place[step])
            pool = torch.exp(0.5 * (depth + price))  # liquidity one row before
            price, depth = price + drawn[:, RETURN], depth + drawn[:, DEPTH]
            read = self._row(drawn, price, depth)
            out[:, step] = self._features(drawn, price, depth, pool)
            if step + 1 == steps:
                break
            seen = torch.cat([seen[:, 1 - length :], read[:, None]], dim=1)
            if state.rows == length:
                hidden, state = self._begin(seen[:, -(length // 2) :])
            else:
                hidden, state = self._model.extend(read.to(self._device), state)
        return out.numpy()

    def _begin(self, rows: Tensor) -> tuple[Tensor, Remembered]:
        return self._model.begin(rows.to(self._device))

    def _draw(self, hidden: Tensor, place: Tensor) -> Tensor:
        """(P, 5) a row of each path, one quantity after the other, unscaled."""
        known = hidden.new_zeros(len(hidden), len(PREDICTED))
        drawn = torch.empty(len(hidden), len(PREDICTED), dtype=torch.float64)
        for column in range(len(PREDICTED)):
            said = self._model.quantiles(hidden, known, column).double().cpu()
            value = drawn_at(said, self._levels, place[:, column]) * self._scales[column]
            drawn[:, column] = value.clamp(LEAST[column], MOST[column])
            known[:, column] = (drawn[:, column] / self._scales[column]).to(known)
        return drawn

    def _row(self, drawn: Tensor, price: Tensor, depth: Tensor) -> Tensor:
        """(P, 6) what the network reads of it."""
        columns = {PRICE: drawn[:, RETURN], VOLUME: drawn[:, TURNOVER], LIQUIDITY: 0.5 * (depth + price),
                   BUYS: drawn[:, BUY], SELLS: drawn[:, SELL], MARKET_CAP: price + self._log_supply}  # fmt: skip
        read = torch.stack([columns[place] for place in range(6)], dim=1)
        return ((read - self._centre) / self._spread).clamp(-BOUND, BOUND).float()

    def _features(self, drawn: Tensor, price: Tensor, depth: Tensor, pool: Tensor) -> Tensor:
        """(P, 6) the row in its own units."""
        traded = torch.expm1(drawn) / PERCENT * pool[:, None]
        columns = {PRICE: torch.exp(price), VOLUME: traded[:, TURNOVER] / torch.exp(price),
                   LIQUIDITY: torch.exp(0.5 * (depth + price)), BUYS: traded[:, BUY], SELLS: traded[:, SELL],
                   MARKET_CAP: torch.exp(price + self._log_supply)}  # fmt: skip
        return torch.stack([columns[place] for place in range(6)], dim=1)
