"""Extended forecasts: sampled paths, in which every row is drawn from the model and is its next input, all six of it.

Nothing is held constant and nothing of the future is read: what goes in is the past, and then what was drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.tokens.channels import (
    BASIS_POINTS,
    BOUND,
    BUY,
    DEPTH,
    PREDICTED,
    RETURN,
    SELL,
    TURNOVER,
    channels,
    normalised,
    target_scales,
)
from pretrain.tokens.model import Remembered, TokenModel
from pretrain.tokens.series import BUYS, FEATURES, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME

Floats = NDArray[np.float64]

#: Bounds of what is drawn: a return of a row, a trade of a hundred times the pool, a change of its depth.
LEAST: Final = torch.tensor([-3.0, 0.0, 0.0, 0.0, -4.0], dtype=torch.float64)
MOST: Final = torch.tensor([3.0, 13.9, 13.9, 13.9, 4.0], dtype=torch.float64)
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
    pasts: Sequence[tuple[Floats, float]],
    *,
    steps: int,
    paths: int,
    seed: int,
) -> Floats:
    """(N, P, steps, 6) float64 features of rows to come of N tokens, in the units and order of `FEATURES`.

    When a window is full, the network reads its newer half anew, as it reads windows in training.

    Args:
        model: in evaluation mode.
        normalization: (2, 6).
        pasts: of each token the rows (T, 6) up to its present and its supply; the last `seq_length` rows are read (as
            many of each token, where one has fewer), and one more for the first return.
        steps: rows ahead.
        paths: of each token.
        seed: of what is drawn; the n-th token draws from (seed, n).
    """
    length = min(model.config.seq_length, *(len(past) for past, _ in pasts))
    read = [channels(past[-length - 1 :])[-length:] for past, _ in pasts]
    rows = torch.from_numpy(normalised(np.stack(read), normalization))
    present = torch.from_numpy(np.stack([past[-1] for past, _ in pasts]))
    supply = torch.log(torch.tensor([supply for _, supply in pasts], dtype=torch.float64))
    owner = torch.arange(len(pasts)).repeat_interleave(paths)
    seeds = [int(np.random.SeedSequence((seed, n)).generate_state(1)[0]) for n in range(len(pasts))]
    places = torch.cat([_uniform(steps, paths, one) for one in seeds], dim=1)
    parts = []
    for first in range(0, len(owner), PATHS_AT_ONCE):
        mine = owner[first : first + PATHS_AT_ONCE]
        with torch.inference_mode():
            rolling = _Rolling(model, normalization, present[mine], supply[mine])
            pasts_here, past = torch.unique(mine, return_inverse=True)
            parts.append(rolling.roll(rows[pasts_here], past, places[:, first : first + PATHS_AT_ONCE]))
    return np.concatenate(parts).reshape(len(pasts), paths, steps, len(FEATURES))


def _uniform(steps: int, paths: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(steps, paths, len(PREDICTED), generator=generator, dtype=torch.float64)


class _Rolling:
    """The state of P paths: `present` (P, 6) features, `log_supply` (P,)."""

    def __init__(self, model: TokenModel, normalization: Floats, present: Tensor, log_supply: Tensor) -> None:
        self._model, self._log_supply = model, log_supply
        self._device = next(model.parameters()).device
        self._centre, self._spread = (torch.from_numpy(part) for part in normalization)
        self._scales = torch.from_numpy(target_scales(normalization))
        self._levels = torch.tensor(model.config.quantiles, dtype=torch.float64)
        self._price = torch.log(present[:, PRICE])
        self._depth = 2.0 * torch.log(present[:, LIQUIDITY]) - self._price

    def roll(self, pasts: Tensor, past: Tensor, place: Tensor) -> Floats:
        """(P, steps, 6) from normalised rows (N, n, 6), which of them each path goes on from, (P,), and probabilities
        (steps, P, 5)."""
        steps, count = place.shape[:2]
        length = self._model.config.seq_length
        price, depth = self._price, self._depth
        out = torch.empty(count, steps, len(FEATURES), dtype=torch.float64)
        hidden, state = self._begin(pasts)  # paths of one past read it once
        hidden, state = hidden[past], state.of(past.to(self._device))
        recent = [pasts[past]]
        for step in range(steps):
            drawn = self._draw(hidden, place[step])
            pool = torch.exp(0.5 * (depth + price))  # liquidity one row before
            price, depth = price + drawn[:, RETURN], depth + drawn[:, DEPTH]
            read = self._row(drawn, price, depth)
            out[:, step] = self._features(drawn, price, depth, pool)
            if step + 1 == steps:
                break
            recent.append(read[:, None])
            if state.rows == length:
                recent = [torch.cat(recent, dim=1)[:, -(length // 2) :]]
                hidden, state = self._begin(recent[0])
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
        traded = torch.expm1(drawn) / BASIS_POINTS * pool[:, None]
        columns = {PRICE: torch.exp(price), VOLUME: traded[:, TURNOVER] / torch.exp(price),
                   LIQUIDITY: torch.exp(0.5 * (depth + price)), BUYS: traded[:, BUY], SELLS: traded[:, SELL],
                   MARKET_CAP: torch.exp(price + self._log_supply)}  # fmt: skip
        return torch.stack([columns[place] for place in range(6)], dim=1)
