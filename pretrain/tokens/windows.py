"""Windows of tokens to learn from, and what comes after each of their rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pretrain.data.splits import Span
from pretrain.tokens.channels import channels, fitted_normalization, next_rows, normalised, target_scales
from pretrain.tokens.config import TokenModelConfig
from pretrain.tokens.series import PRICE, SeriesError, TokenSeries
from pretrain.tokens.task import TokenBatch

Floats = NDArray[np.float64]


def first_decision(config: TokenModelConfig) -> int:
    """The first row that has a whole window behind it."""
    return config.seq_length - 1


def known_chances(token: TokenSeries, config: TokenModelConfig) -> Floats:
    """(T, 2) whether a pump starts, and the price rises by `config.rise`, within the next `pump_ahead` rows; else 0.

    NaN where the rows ahead are not all there, and for pumps of a token of which none are known.
    """
    rows, ahead = len(token), config.pump_ahead
    out = np.full((rows, 2), np.nan)
    decided = max(0, rows - ahead)
    if token.pumps is not None:
        starts = np.zeros(rows + 1)
        for first, _, _ in token.pumps:
            starts[first + 1] += 1
        total = np.cumsum(starts)  # pumps that have started before row t
        out[:decided, 0] = total[1 + ahead : 1 + ahead + decided] > total[1 : 1 + decided]
    if decided:
        price = token.values[:, PRICE]
        highest = np.lib.stride_tricks.sliding_window_view(price[1:], ahead).max(axis=1)
        out[:decided, 1] = highest[:decided] >= (1.0 + config.rise) * price[:decided]
    return out


def normalization_of(tokens: Sequence[TokenSeries], spans: Sequence[Span]) -> Floats:
    """(2, 6) centres and spreads of the rows of training, `Span.market` being the place in `tokens`."""
    return fitted_normalization(channels(tokens[s.market].values)[s.start : s.stop] for s in spans)


class TokenWindows:
    """The windows that end in the rows of some spans; a `Batched` of `pretrain.data.windows`.

    A row is learned from where it lies in a span (and, in the span a token begins with, before its first whole window).

    Args:
        tokens: all of them.
        spans: `Span.market` is the place in `tokens`.
        normalization: (2, 6).
        config: of the model.
        stride: rows from a window's end to the next one's; a span's last row ends one.

    Raises:
        SeriesError: no window is whole.
    """

    def __init__(
        self,
        tokens: Sequence[TokenSeries],
        spans: Sequence[Span],
        normalization: Floats,
        config: TokenModelConfig,
        stride: int = 1,
    ) -> None:
        self.length = config.seq_length
        self._rows, self._targets, self._chances, ends = [], [], [], []
        scales = target_scales(normalization)
        first = first_decision(config)
        digest = hashlib.sha256(normalization.tobytes())
        for number, span in enumerate(spans):
            token = tokens[span.market]
            learned = np.zeros(len(token), bool)
            learned[0 if span.start <= first else span.start : span.stop] = True
            targets = np.where(learned[:, None], next_rows(token.values) / scales, np.nan).astype(np.float32)
            chances = np.where(learned[:, None], known_chances(token, config), np.nan).astype(np.float32)
            self._rows.append(normalised(channels(token.values), normalization))
            self._targets.append(targets)
            self._chances.append(chances)
            last = np.arange(min(span.stop, len(token) - 1) - 1, max(span.start, first) - 1, -stride)[::-1]
            ends.append(np.column_stack([np.full(len(last), number), last]))
            for part in (token.times, token.values, targets, chances):
                digest.update(part.tobytes())
        self.ends = np.concatenate(ends) if ends else np.empty((0, 2), np.int64)
        if not len(self.ends):
            raise SeriesError(f"no window of {config.seq_length} rows is whole: take a smaller seq_length or more rows")
        self.hash = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ends)

    def usual(self, quantiles: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
        """(5, Q) quantiles of what is predicted of the rows that are learned from, and (2,) means of the chances (a
        half where none is known)."""
        targets = np.concatenate([part[np.isfinite(part[:, 0])] for part in self._targets])
        chances = np.concatenate(self._chances)
        known = np.isfinite(chances)
        share = (np.where(known, chances, 0.0).sum(axis=0) + 0.5) / (known.sum(axis=0) + 1.0)
        levels = np.quantile(targets, quantiles, axis=0).T
        return torch.from_numpy(levels.astype(np.float32)), torch.from_numpy(share.astype(np.float32))

    def batch(self, rows: NDArray[np.int64]) -> TokenBatch:
        """The windows of these numbers, (B,) int64: B windows of W rows, as `TokenBatch` has them."""
        cut = [(number, slice(end - self.length + 1, end + 1)) for number, end in self.ends[rows]]
        parts = (self._rows, self._targets, self._chances)
        return TokenBatch(*(torch.from_numpy(np.stack([part[n][window] for n, window in cut])) for part in parts))
