"""Pictures of forecasts over the price: what was said of each bar before it came, and fans of several steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.analysis.forecast_scores import quantile_function
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.fitting.drawing import LINE, SECOND, SHOWN_BARS, new_pyplot, save_figure
from pretrain.fitting.predicting import Predictor
from pretrain.forecaster.config import ForecasterConfig

PREDICTED, FAN = "predicted_vs_actual.png", "fan.png"
BANDS = ((0.05, 0.95, 0.15), (0.1, 0.9, 0.22), (0.25, 0.75, 0.35))  #: levels and how dark they are
FANS = 3


def draw_predictions(
    forecaster: Predictor, config: ForecasterConfig, market: Market, folder: Path, table: pd.DataFrame | None = None
) -> tuple[Path, ...]:
    """`predicted_vs_actual.png` and `fan.png` of a market's last bars.

    Args:
        forecaster: it predicts and forecasts.
        config: its architecture.
        market: of its layout.
        folder: made where it does not exist.
        table: `forecaster.predict(market)` or its last rows, where they are at hand.
    """
    make_folder(folder)
    table = forecaster.predict(market) if table is None else table
    draw_predicted(config, market, table, folder / PREDICTED)
    draw_fans(forecaster, config, market, folder / FAN)
    return folder / PREDICTED, folder / FAN


def draw_predicted(config: ForecasterConfig, market: Market, table: pd.DataFrame, path: Path) -> None:
    """Closes of the last days, and the band that was said of each a horizon before: two horizons."""
    pyplot = new_pyplot()
    closes = pd.Series(market.prices[:, CLOSE], market.bars.index)
    shown = [h for h in config.horizons if h < SHOWN_BARS // 3][-2:] or list(config.horizons[:1])
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(11.0, 3.4 * len(shown)), layout="constrained", squeeze=False)
    step = pd.Timedelta(timeframe_ms(config.timeframes[0]), unit="ms")
    for axis, horizon in zip(axes[:, 0], shown, strict=True):
        rows = table.iloc[-SHOWN_BARS:]
        times, origin = pd.DatetimeIndex(rows.index) + horizon * step, closes.reindex(rows.index).to_numpy()
        values = rows[[f"return_{horizon}_q{100.0 * q:g}" for q in config.quantiles]].to_numpy(np.float64)
        for low, high, dark in BANDS:
            edges = quantile_function(np.array(config.quantiles), values, np.array([low, high]))
            axis.fill_between(times, origin * np.exp(edges[:, 0]), origin * np.exp(edges[:, 1]), color=LINE, alpha=dark,
                              linewidth=0, label=f"{100 * (high - low):.0f}% band")  # fmt: skip
        median = quantile_function(np.array(config.quantiles), values, np.array([0.5]))[:, 0]
        axis.plot(times, origin * np.exp(median), color=SECOND, linewidth=1.0, label="median")
        known = closes.reindex(times)
        axis.plot(times, known.to_numpy(), color="black", linewidth=0.9, label="close")
        axis.set_title(f"said {horizon} bars of {config.timeframes[0]} before: {market.name or 'market'}", fontsize=10)
        axis.set_ylabel("price")
        axis.margins(x=0.01)
    axes[0, 0].legend(frameon=False, fontsize=8, ncols=5, loc="upper left")
    save_figure(pyplot, figure, path)


def draw_fans(forecaster: Predictor, config: ForecasterConfig, market: Market, path: Path) -> None:
    """The price before and after three origins, the last one at the market's end, and the bands of each step."""
    pyplot = new_pyplot()
    steps = min(config.steps or config.horizons[-1], 96)
    first = market.first_decision(config.layout_window) + 96
    last = len(market) - 1
    rows = sorted({max(last - k * (steps + 1), min(first, last)) for k in range(FANS)})
    index = market.bars.index
    table = forecaster.forecast(market, steps, origins=[index[row] for row in rows])
    figure, axes = pyplot.subplots(1, len(rows), figsize=(4.6 * len(rows), 3.6), layout="constrained", squeeze=False)
    for axis, row in zip(axes[0], rows, strict=True):
        one = table[table["origin"] == index[row]]
        close = market.prices[row, CLOSE]
        ahead = np.concatenate([[0], one["step"].to_numpy()])
        values = one[[f"price_q{100.0 * q:g}" for q in config.quantiles]].to_numpy(np.float64)
        for low, high, dark in BANDS:
            edges = quantile_function(np.array(config.quantiles), values, np.array([low, high]))
            edges = np.vstack([[close, close], edges])
            axis.fill_between(ahead, edges[:, 0], edges[:, 1], color=LINE, alpha=dark, linewidth=0,
                              label=f"{100 * (high - low):.0f}%")  # fmt: skip
        axis.plot(ahead, np.concatenate([[close], one["price_mean"].to_numpy()]), color=SECOND, label="mean")
        around = np.arange(max(row - steps, 0), min(row + steps, last) + 1)
        axis.plot(around - row, market.prices[around, CLOSE], color="black", linewidth=0.9, label="close")
        axis.axvline(0.0, color="#888888", linewidth=0.7)
        axis.set_title(f"{index[row]:%Y-%m-%d %H:%M}", fontsize=10)
        axis.set_xlabel(f"bars of {config.timeframes[0]} from the origin")
    axes[0, 0].set_ylabel("price")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=len(labels), loc="outside upper center")
    save_figure(pyplot, figure, path)
