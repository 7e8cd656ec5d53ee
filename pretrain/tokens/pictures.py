"""Pictures of tokens and of forecasts: features, their correlations, the fan of an extended forecast, reliability."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cryptoenv.files.durable_files import make_folder
from pretrain.fitting.drawing import LINE, SECOND, SHORT, new_pyplot, reliability, save_figure
from pretrain.tokens.channels import channels
from pretrain.tokens.series import FEATURES, PRICE, TokenSeries

IMAGES, PREDICTIONS = "img", "predictions"
FEATURES_PICTURE, CORRELATIONS_PICTURE = "features.png", "correlations.png"
SHORT_PICTURE, EXTENDED_PICTURE = "prediction_short.png", "prediction_extended.png"
RELIABILITY_PICTURE: Final = "reliability.png"
BANDS: Final = ((0.025, 0.975, 0.15, "95 %"), (0.1, 0.9, 0.25, "80 %"), (0.25, 0.75, 0.35, "50 %"))
PAST_SHOWN: Final = 500

Floats = NDArray[np.float64]


def draw_features(token: TokenSeries, folder: Path) -> Path:
    """The six features over time, pumps shaded from start to peak."""
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(6, 1, figsize=(10.0, 8.4), sharex=True, layout="constrained")
    for column, (axis, name) in enumerate(zip(axes, FEATURES, strict=True)):
        axis.plot(token.index, token.values[:, column], color=LINE, linewidth=0.8)
        axis.set_ylabel(name.replace("_", " "), fontsize=9)
        axis.tick_params(labelsize=8)
        if name in ("price", "liquidity", "market_cap"):
            axis.set_yscale("log")
        for first, peak, last in token.pumps or ():
            axis.axvspan(token.index[first], token.index[peak], color=SECOND, alpha=0.35, linewidth=0)
            axis.axvspan(token.index[peak], token.index[last], color=SHORT, alpha=0.15, linewidth=0)
    told = "" if token.pumps is None else f"; pumps: {len(token.pumps)} (orange until the peak, red after it)"
    figure.suptitle(f"token {token.address}, {len(token):,} rows{told}", fontsize=10)
    return _saved(pyplot, figure, folder / FEATURES_PICTURE)


def draw_correlations(token: TokenSeries, folder: Path) -> Path:
    """Rank correlations (Spearman) of what the network reads of the six features."""
    read = channels(token.values)[1:]
    ranks = np.argsort(np.argsort(read, axis=0, kind="stable"), axis=0).astype(np.float64)
    ranks += 1e-9 * np.arange(len(ranks))[:, None]  # a feature that never changes has a rank all the same
    found = np.atleast_2d(np.corrcoef(ranks.T))
    pyplot = new_pyplot()
    figure, axis = pyplot.subplots(figsize=(5.6, 4.8), layout="constrained")
    shown = axis.imshow(found, vmin=-1, vmax=1, cmap="RdBu_r")
    names = ["return", "volume", "liquidity", "buys", "sells", "market cap"]
    axis.set_xticks(range(6), names, rotation=35, ha="right", fontsize=9)
    axis.set_yticks(range(6), names, fontsize=9)
    for row in range(6):
        for column in range(6):
            colour = "white" if abs(found[row, column]) > 0.6 else "black"
            axis.text(column, row, f"{found[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(shown, ax=axis, shrink=0.85, label="rank correlation")
    axis.set_title(f"token {token.address}", fontsize=10)
    return _saved(pyplot, figure, folder / CORRELATIONS_PICTURE)


def draw_forecast(token: TokenSeries, row: int, paths: Floats, file: Path) -> Path:
    """The fan of sampled prices from a row on, the true path as far as it is known, and persistence.

    Args:
        token: of the forecast.
        row: its present.
        paths: (P, steps, 6).
        file: of the picture.
    """
    steps = paths.shape[1]
    ahead = row + np.arange(steps + 1)
    now = token.values[row, PRICE]
    price = np.concatenate([np.full((len(paths), 1), now), paths[:, :, PRICE]], axis=1)
    pyplot = new_pyplot()
    figure, axis = pyplot.subplots(figsize=(10.0, 4.6), layout="constrained")
    for low, high, shade, name in BANDS:
        below, above = np.quantile(price, (low, high), axis=0)
        axis.fill_between(ahead, below, above, color=LINE, alpha=shade, linewidth=0, label=f"{name} of the paths")
    axis.plot(ahead, np.median(price, axis=0), color=LINE, linewidth=1.4, label="median")
    past = np.arange(max(0, row - PAST_SHOWN), row + 1)
    axis.plot(past, token.values[past, PRICE], color="#333333", linewidth=0.9)
    true = ahead[ahead < len(token)]
    axis.plot(true, token.values[true, PRICE], color="#333333", linewidth=0.9, label="true price")
    axis.axhline(now, xmin=0.0, color=SECOND, linestyle="--", linewidth=1.0, label="persistence")
    axis.axvline(row, color="#999999", linewidth=0.8)
    for first, peak, _ in token.pumps or ():
        if past[0] <= first <= ahead[-1]:
            axis.axvspan(first, peak, color=SECOND, alpha=0.2, linewidth=0)
    axis.set_yscale("log")
    axis.set_xlabel("row")
    axis.set_ylabel("price")
    axis.set_title(f"token {token.address}: {steps:,} rows ahead of row {row:,}", fontsize=10)
    axis.legend(frameon=False, fontsize=8, ncols=3, loc="best")
    return _saved(pyplot, figure, file)


def draw_reliability(said: dict[str, tuple[Floats, NDArray[np.bool_]]], file: Path) -> Path:
    """Share that came over the probability that was said, in ten groups of equally many rows.

    Args:
        said: by name, probabilities (R,) and what came (R,).
        file: of the picture.
    """
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(1, len(said), figsize=(4.2 * len(said), 4.0), layout="constrained", squeeze=False)
    for axis, (name, (chance, came)) in zip(axes[0], said.items(), strict=True):
        expected, seen = reliability(chance, came)
        most = 1.1 * max(float(expected.max()), float(seen.max()), 0.01)
        axis.plot([0, most], [0, most], color="#999999", linewidth=0.8)
        axis.plot(expected, seen, "o-", color=LINE, markersize=4, linewidth=1.2)
        axis.set(xlim=(0, most), ylim=(0, most), xlabel="probability said", ylabel="share seen", title=name)
    return _saved(pyplot, figure, file)


def _saved(pyplot: Any, figure: Any, file: Path) -> Path:
    make_folder(file.parent)
    save_figure(pyplot, figure, file)
    return file
