"""How good forecasts of prices are: errors, direction and coverage at several steps ahead, per token.

Every method says quantiles of the log-return over `s` rows: (N, S, Q) for N origins, S steps, Q levels. Its point
forecast is the median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pretrain.data.splits import Span
from pretrain.tokens.artifact import TokenForecaster
from pretrain.tokens.series import PRICE, TokenSeries

Floats = NDArray[np.float64]

STEPS: Final = (1, 10, 100, 1_000, 3_000)
LEVELS: Final = (0.025, 0.1, 0.5, 0.9, 0.975)
MEDIAN: Final = LEVELS.index(0.5)
BANDS: Final = {"coverage_80": (1, 3), "coverage_95": (0, 4)}
MEASURES: Final = ("mae", "rmse", "mape", "log_error", "direction", *BANDS)


@dataclass(frozen=True)
class Origin:
    """A present to forecast from: `token` is a place in a sequence of tokens, `row` its last known row."""

    token: int
    row: int


def spread_origins(tokens: Sequence[TokenSeries], spans: Sequence[Span], each: int, ahead: int) -> tuple[Origin, ...]:
    """At most `each` origins a span, evenly spread over the rows that `ahead` rows follow (over all, where none)."""
    found = []
    for span in spans:
        last = min(span.stop, len(tokens[span.market])) - 1
        latest = last - ahead if last - ahead >= span.start else last - 1
        rows = np.unique(np.linspace(span.start, max(latest, span.start), each).round().astype(int))
        found += [Origin(span.market, int(row)) for row in rows]
    return tuple(found)


def true_returns(tokens: Sequence[TokenSeries], origins: Sequence[Origin], steps: Sequence[int]) -> Floats:
    """(N, S) log-returns that came; NaN where the row is not there."""
    out = np.full((len(origins), len(steps)), np.nan)
    for n, origin in enumerate(origins):
        price = tokens[origin.token].values[:, PRICE]
        for s, step in enumerate(steps):
            if origin.row + step < len(price):
                out[n, s] = np.log(price[origin.row + step] / price[origin.row])
    return out


def said_by(
    forecaster: TokenForecaster,
    tokens: Sequence[TokenSeries],
    origins: Sequence[Origin],
    steps: Sequence[int],
    *,
    paths: int = 64,
    seed: int = 0,
) -> Floats:
    """(N, S, Q) what a forecaster's sampled paths say."""
    presents = [(tokens[origin.token], origin.row) for origin in origins]
    drawn = forecaster.forecasts(presents, steps=max(steps), paths=paths, seed=seed)
    return said_in(drawn, np.array([token.values[row, PRICE] for token, row in presents]), steps)


def said_in(paths: Floats, present: Floats, steps: Sequence[int]) -> Floats:
    """(N, S, Q) what sampled paths (N, P, most steps, 6) from prices (N,) say."""
    chosen = np.log(paths[:, :, np.array(steps) - 1, PRICE] / present[:, None, None])
    return np.moveaxis(np.quantile(chosen, LEVELS, axis=1), 0, -1)


def errors(said: Floats, truth: Floats, present: Floats) -> dict[str, Floats]:
    """Per origin and step (N, S): what `MEASURES` are means of; NaN where the truth is not there.

    `mae`: absolute error of the price; `rmse`: squared, of the price; `mape`: absolute over the true price, in percent;
    `log_error`: absolute, of the log-return; `direction`: 1 where the median's sign is the truth's, NaN where either is
    0; `coverage_80`, `coverage_95`: 1 where the truth lies in the band.

    Args:
        said: (N, S, Q) quantiles at `LEVELS`.
        truth: (N, S) log-returns.
        present: (N,) prices.
    """
    median = said[..., MEDIAN]
    real, expected = (present[:, None] * np.exp(part) for part in (truth, median))
    off = np.abs(expected - real)
    sure = (np.sign(median) != 0) & (np.sign(truth) != 0)
    found = {
        "mae": off, "rmse": off**2, "mape": 100.0 * off / real, "log_error": np.abs(median - truth),
        "direction": np.where(sure, (np.sign(median) == np.sign(truth)).astype(float), np.nan),
    }  # fmt: skip
    for name, (low, high) in BANDS.items():
        found[name] = ((said[..., low] <= truth) & (truth <= said[..., high])).astype(float)
    unknown = np.isnan(truth)
    return {name: np.where(unknown, np.nan, values) for name, values in found.items()}


def summary(found: dict[str, Floats], steps: Sequence[int]) -> dict[str, dict[str, float | None]]:
    """Means over origins by measure and step ("1", "10", ...); None where no origin has a truth."""
    out: dict[str, dict[str, float | None]] = {}
    for name, values in found.items():
        row: dict[str, float | None] = {}
        for s, step in enumerate(steps):
            known = values[:, s][np.isfinite(values[:, s])]
            figure = float(known.mean()) if len(known) else None
            row[str(step)] = float(np.sqrt(figure)) if name == "rmse" and figure is not None else figure
        out[name] = row
    return out


def outlook(paths: Floats, present: float) -> dict[str, list[float]]:
    """How far, when, and what then, by sampled paths: quantiles (at `LEVELS`) over them.

    `peak_multiple`: the highest price ahead over the present one (1 where it never rises); `rows_to_peak`: rows until
    it; `fall_after`: the share that the price loses from the peak to its lowest price thereafter.

    Args:
        paths: (P, steps, 6).
        present: the last known price.
    """
    price = np.concatenate([np.full((len(paths), 1), present), paths[:, :, PRICE]], axis=1)
    peak = price.argmax(axis=1)
    highest = price.max(axis=1)
    after = np.array([path[row:].min() for path, row in zip(price, peak, strict=True)])
    fall = 1.0 - after / highest
    found = {"peak_multiple": highest / present, "rows_to_peak": peak.astype(float), "fall_after": fall}
    return {name: [float(value) for value in np.quantile(values, LEVELS)] for name, values in found.items()}
