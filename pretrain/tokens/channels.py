"""From a token's six features to what the network reads and predicts, and back.

Volume, buys and sells are measured against the pool, so that tokens of any currency and size look alike: the logarithm
of 1 plus the traded value in basis points of the liquidity one row before (in percent, the many small trades of who
gathers quietly would all be next to 0). Of price and liquidity the *changes* are
predicted: the return, and the change of the pool's depth `k = liquidity^2 / price`, which only deposits and withdrawals
move in a constant-product pool. Market cap is price times supply and never predicted.

Everything here is numpy in float64 over (..., rows, columns); `pretrain.tokens.rollout` does the same row by row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretrain.tokens.series import BUYS, FEATURES, LIQUIDITY, MARKET_CAP, PRICE, SELLS, VOLUME

Floats = NDArray[np.float64]

BASIS_POINTS: Final = 1e4
PREDICTED: Final = ("return", "buys", "sells", "volume", "depth")
"""What is predicted of the next row, in the order in which the head says it: each knows those before it."""
RETURN, BUY, SELL, TURNOVER, DEPTH = range(5)
INPUT_OF: Final = (PRICE, BUYS, SELLS, VOLUME, LIQUIDITY)
"""The input column whose spread each predicted one is scaled by (depth: by none, see `target_scales`)."""
BOUND: Final = 10.0  #: of a normalised input
NORMAL_IQR: Final = 1.349


def share_of_pool(value: Floats, liquidity: Floats) -> Floats:
    """log(1 + basis points of the pool) of traded values."""
    return np.log1p(BASIS_POINTS * value / liquidity)


def channels(values: Floats) -> Floats:
    """(T, 6) what the network reads of features (T, 6), before normalisation, in the order of `FEATURES`.

    Return since the row before (0 in the first row), turnover, log liquidity, buys, sells, log market cap.
    """
    before = np.concatenate([values[:1], values[:-1]])
    pool = before[:, LIQUIDITY]
    out = np.empty_like(values)
    out[:, PRICE] = np.log(values[:, PRICE] / before[:, PRICE])
    out[:, VOLUME] = share_of_pool(values[:, VOLUME] * values[:, PRICE], pool)
    out[:, LIQUIDITY] = np.log(values[:, LIQUIDITY])
    out[:, BUYS] = share_of_pool(values[:, BUYS], pool)
    out[:, SELLS] = share_of_pool(values[:, SELLS], pool)
    out[:, MARKET_CAP] = np.log(values[:, MARKET_CAP])
    return out


def log_depth(values: Floats) -> Floats:
    """(T,) logarithm of the pool's depth `k`."""
    return 2.0 * np.log(values[:, LIQUIDITY]) - np.log(values[:, PRICE])


def next_rows(values: Floats) -> Floats:
    """(T, 5) the predicted quantities of the row after each, `PREDICTED`, unscaled; NaN in the last row."""
    read = channels(values)
    out = np.full((len(values), len(PREDICTED)), np.nan)
    for column, source in enumerate(INPUT_OF):
        out[:-1, column] = read[1:, source]
    out[:-1, DEPTH] = np.diff(log_depth(values))
    return out


def fitted_normalization(parts: Iterable[Floats]) -> Floats:
    """(2, 6) centre and spread of every channel, from rows of training alone: medians, and quartiles as deviations.

    Args:
        parts: channels (R, 6) of the rows of training.

    Raises:
        ValueError: no rows.
    """
    rows = np.concatenate(list(parts))
    if not len(rows):
        raise ValueError("there are no rows of training to fit the normalisation on")
    low, middle, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / NORMAL_IQR
    deviation = rows.std(axis=0)
    spread = np.where(spread > 1e-3 * deviation, spread, deviation)  # more than half of the rows may be the same
    middle[PRICE] = 0.0
    return np.stack([middle, np.where(spread > 1e-9, spread, 1.0)])


def normalised(read: Floats, normalization: Floats) -> NDArray[np.float32]:
    """(..., 6) float32 channels as the network reads them."""
    return np.clip((read - normalization[0]) / normalization[1], -BOUND, BOUND).astype(np.float32)


def target_scales(normalization: Floats) -> Floats:
    """(5,) what the predicted quantities are divided by: the spread of their channel, 1 for depth."""
    scales = normalization[1][list(INPUT_OF)].copy()
    scales[DEPTH] = 1.0
    return scales


assert len(FEATURES) == 6 and len(PREDICTED) == len(INPUT_OF)
