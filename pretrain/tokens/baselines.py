"""What price forecasts are compared with: persistence, drift, an autoregression, ridge regression.

Each is fitted on the rows of training alone and says (N, S, Q) quantiles of log-returns, as `pretrain.tokens.judging`
wants them. (The LSTM that is compared with is `TokenModelConfig(encoder="lstm")`.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pretrain.data.splits import Span
from pretrain.tokens.channels import channels
from pretrain.tokens.judging import LEVELS, MEDIAN, Origin
from pretrain.tokens.series import PRICE, TokenSeries

Floats = NDArray[np.float64]

LAGS = 8  #: of the autoregression
RIDGE_ROWS, RIDGE_PENALTY = 32, 10.0
RIDGE_MOST = 60_000  #: rows that it is fitted on, evenly spread over training
PATHS = 256


def _returns_over(tokens: Sequence[TokenSeries], spans: Sequence[Span], step: int) -> Floats:
    """(R,) log-returns over `step` rows that begin and end within the spans."""
    parts = []
    for span in spans:
        price = np.log(tokens[span.market].values[span.start : span.stop, PRICE])
        parts.append(price[step:] - price[:-step] if len(price) > step else np.empty(0))
    found = np.concatenate(parts)
    if len(found):
        return found
    whole = np.concatenate([np.diff(np.log(tokens[s.market].values[s.start : s.stop, PRICE])) for s in spans])
    return np.sqrt(step) * whole  # no span is so long: as if returns were independent


def persistence(
    tokens: Sequence[TokenSeries], train: Sequence[Span], origins: Sequence[Origin], steps: Sequence[int]
) -> Floats:
    """The last price; bands are the quantiles of training's returns about their median."""
    bands = [np.quantile(_returns_over(tokens, train, step), LEVELS) for step in steps]
    bands = [band - band[MEDIAN] for band in bands]
    return np.repeat(np.stack(bands)[None], len(origins), axis=0)


def drift(
    tokens: Sequence[TokenSeries], train: Sequence[Span], origins: Sequence[Origin], steps: Sequence[int]
) -> Floats:
    """The last price moved by training's mean return a row; bands as persistence's."""
    mean = float(_returns_over(tokens, train, 1).mean())
    return persistence(tokens, train, origins, steps) + mean * np.array(steps)[None, :, None]


def autoregression(
    tokens: Sequence[TokenSeries],
    train: Sequence[Span],
    origins: Sequence[Origin],
    steps: Sequence[int],
    *,
    seed: int = 0,
) -> Floats:
    """An AR(8) of returns by least squares, rolled forward with residuals drawn from training's."""
    lagged, wanted = [], []
    for span in train:
        r = np.diff(np.log(tokens[span.market].values[span.start : span.stop, PRICE]))
        if len(r) > LAGS:
            view = np.lib.stride_tricks.sliding_window_view(r, LAGS + 1)
            lagged.append(view[:, :-1])
            wanted.append(view[:, -1])
    design = np.column_stack([np.concatenate(lagged), np.ones(sum(map(len, lagged)))])
    target = np.concatenate(wanted)
    weights = np.linalg.lstsq(design, target, rcond=None)[0]
    residuals = target - design @ weights
    rng = np.random.default_rng(seed)
    past = np.zeros((len(origins), PATHS, LAGS))
    for n, origin in enumerate(origins):
        price = np.log(tokens[origin.token].values[max(0, origin.row - LAGS) : origin.row + 1, PRICE])
        past[n, :, LAGS - len(price) + 1 :] = np.diff(price)
    total = np.zeros((len(origins), PATHS))
    out = np.empty((len(origins), len(steps), len(LEVELS)))
    for step in range(1, max(steps) + 1):
        drawn = past @ weights[:-1] + weights[-1] + rng.choice(residuals, total.shape)
        total += drawn
        past = np.concatenate([past[:, :, 1:], drawn[:, :, None]], axis=2)
        if step in steps:
            out[:, list(steps).index(step)] = np.quantile(total, LEVELS, axis=1).T
    return out


def ridge(
    tokens: Sequence[TokenSeries], train: Sequence[Span], origins: Sequence[Origin], steps: Sequence[int]
) -> Floats:
    """A ridge regression a step, of the return over it on the last 32 rows of all channels; bands are residuals'.

    Where no span of training is long enough for a step, it says what persistence says.
    """
    fallback = persistence(tokens, train, origins, steps)
    present = np.stack([_recent(tokens[o.token], np.array([o.row]))[0] for o in origins])
    every = max(1, sum(span.stop - span.start for span in train) // RIDGE_MOST)
    for s, step in enumerate(steps):
        rows, wanted = [], []
        for span in train:
            price = np.log(tokens[span.market].values[:, PRICE])
            at = np.arange(max(span.start, RIDGE_ROWS), span.stop - step, every)
            if len(at):
                rows.append(_recent(tokens[span.market], at))
                wanted.append(price[at + step] - price[at])
        if not rows:
            continue
        x, y = np.concatenate(rows), np.concatenate(wanted)
        centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
        x = np.clip((x - centre) / spread, -10.0, 10.0)
        gram = x.T @ x + RIDGE_PENALTY * len(x) ** 0.5 * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x.T @ (y - y.mean()))
        band = np.quantile(y - y.mean() - x @ weights, LEVELS)
        said = np.clip((present - centre) / spread, -10.0, 10.0) @ weights + y.mean()
        fallback[:, s] = said[:, None] + band - band[MEDIAN]
    return fallback


def _recent(token: TokenSeries, rows: NDArray[np.int64]) -> Floats:
    """(R, 32 * 6) channels of the last rows up to each, zeros before the first."""
    read = channels(token.values)
    padded = np.concatenate([np.zeros((RIDGE_ROWS - 1, read.shape[1])), read])
    view = np.lib.stride_tricks.sliding_window_view(padded, RIDGE_ROWS, axis=0)
    return view[rows].reshape(len(rows), -1)


BASELINES = {"persistence": persistence, "drift": drift, "ar": autoregression, "ridge": ridge}
