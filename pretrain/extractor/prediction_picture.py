"""Predictions of an extractor over the price, as `cryptoenv predict` draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.drawing import LINE, SHOWN_BARS, colours, new_pyplot, save_figure, shades

PREDICTIONS = "predictions.png"


def draw_predictions(
    config: ExtractorConfig, classes: Sequence[str], market: Market, table: pd.DataFrame, folder: Path
) -> tuple[Path, ...]:
    """The last days of an extractor's `predict(market)`: price and its expected quantiles, chances of a rise, targets.

    Args:
        config: of the extractor that made the table.
        classes: names of its targets.
        market: what it was made of.
        table: predictions, the last rows of which are drawn.
        folder: made where it does not exist.

    Returns:
        The file made.
    """
    make_folder(folder)
    shown = table.iloc[-SHOWN_BARS:]
    rows = market.bars.index.searchsorted(shown.index)
    close = market.prices[rows, CLOSE]
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(
        3, 1, figsize=(10.0, 6.6), height_ratios=(3, 1.3, 1.3), sharex=True, layout="constrained"
    )
    axes[0].plot(shown.index, close, color="#333333", linewidth=0.9, label="close")
    horizon = config.horizons[len(config.horizons) // 2]
    low, high = (shown[f"return_{horizon}_q{100.0 * q:g}"] for q in (config.quantiles[0], config.quantiles[-1]))
    name = f"{100.0 * (config.quantiles[-1] - config.quantiles[0]):.0f}% of closes {horizon} bars later, said"
    axes[0].fill_between(shown.index, close * np.exp(low), close * np.exp(high), color=LINE, alpha=0.15, linewidth=0,
                         label=name)  # fmt: skip
    axes[0].set_ylabel("close")
    for ahead, colour in zip(config.horizons, colours(len(config.horizons)), strict=True):
        axes[1].plot(shown.index, shown[f"up_{ahead}"], color=colour, linewidth=1.0, label=f"{ahead} bars")
    axes[1].axhline(0.5, color="#999999", linewidth=0.8)
    axes[1].set_ylabel("probability\nof a rise")
    chances = [shown[f"action_{target}"] for target in classes]
    axes[2].stackplot(shown.index, chances, colors=shades(np.array(config.positions)), labels=classes)
    axes[2].set_ylabel("target, probability\nfrom flat")
    for axis in axes[1:]:
        axis.set_ylim(0, 1)
    for axis in axes:
        axis.legend(ncols=5, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.95))
    save_figure(pyplot, figure, folder / PREDICTIONS)
    return (folder / PREDICTIONS,)
