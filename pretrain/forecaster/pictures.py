"""What a person looks at of forecasts: what came beside what was said, fans, errors by horizon, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import quantile_function
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import Part
from pretrain.fitting.drawing import (
    CURVES,
    LINE,
    SECOND,
    SHORT,
    SHOWN_BARS,
    draw_learning_curves,
    new_pyplot,
    save_figure,
)
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.evaluation import (
    HISTORICAL,
    PERSISTENCE,
    Forecasts,
    Truth,
    forecasts_of,
    held_out_rows,
    historical_forecasts,
    judge,
    persistence_forecasts,
    truth_of,
)

PREDICTED, FAN, ERRORS, CALIBRATION, GATES = (
    "predicted_vs_actual.png", "fan.png", "error_by_horizon.png", "calibration.png", "gates.png"
)  # fmt: skip
BANDS = ((0.05, 0.95, 0.15), (0.1, 0.9, 0.22), (0.25, 0.75, 0.35))  #: levels and how dark they are
MOST_ROWS = 6_000
FANS = 3


def draw_run(
    forecaster: Forecaster, held_out: Sequence[Part], folder: Path, log: Path | None = None, *, rows_are: str = ""
) -> tuple[Path, ...]:
    """Draw everything into `folder`, from parts that it was not trained on; learning curves from the run's log.

    `rows_are` says in the picture of calibration what these parts are.

    Returns:
        The files written.
    """
    make_folder(folder)
    dataset = held_out_rows(held_out, forecaster.config)
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), MOST_ROWS)).round().astype(np.int64))
    truth, said = truth_of(dataset, rows), forecasts_of(forecaster, dataset, rows)
    contenders = {
        "forecaster": said,
        PERSISTENCE: persistence_forecasts(truth, said.levels),
        HISTORICAL: historical_forecasts(truth, said.levels),
    }
    draw_errors(judge(truth, contenders), folder / ERRORS)
    shown = {name: contenders[name] for name in ("forecaster", HISTORICAL)}
    draw_calibration(truth, shown, folder / CALIBRATION, rows_are)
    part = held_out[0]
    market = part.market if part.end == len(part.market) else part.market.part(0, part.end)
    draw_predicted(forecaster, market, folder / PREDICTED)
    draw_fans(forecaster, market, folder / FAN)
    names = [ERRORS, CALIBRATION, PREDICTED, FAN]
    if log is not None:
        draw_learning_curves(log, folder / CURVES)
        names.append(CURVES)
    if forecaster.config.network == "hybrid" and not {"gate", "indicators"} & set(forecaster.config.ablate):
        draw_gates(forecaster, market, folder / GATES)
        names.append(GATES)
    return tuple(folder / name for name in names)


def draw_predictions(
    forecaster: Forecaster, market: Market, table: pd.DataFrame, folder: Path
) -> tuple[Path, ...]:
    """`predicted_vs_actual.png` and `fan.png` of a market's last bars."""
    make_folder(folder)
    draw_predicted(forecaster, market, folder / PREDICTED, table)
    draw_fans(forecaster, market, folder / FAN)
    return folder / PREDICTED, folder / FAN


def draw_predicted(forecaster: Forecaster, market: Market, path: Path, table: pd.DataFrame | None = None) -> None:
    """Closes of the last days, and the band that was said of each a horizon before: two horizons."""
    pyplot = new_pyplot()
    config, table = forecaster.config, forecaster.predict(market) if table is None else table
    closes = pd.Series(market.prices[:, CLOSE], market.bars.index)
    shown = [h for h in config.horizons if h < SHOWN_BARS // 3][-2:] or list(config.horizons[:1])
    figure, axes = pyplot.subplots(len(shown), 1, figsize=(11.0, 3.4 * len(shown)), layout="constrained", squeeze=False)
    step = pd.Timedelta(timeframe_ms(config.timeframes[0]), unit="ms")
    for axis, horizon in zip(axes[:, 0], shown, strict=True):
        rows = table.iloc[-SHOWN_BARS:]
        times, origin = rows.index + horizon * step, closes.reindex(rows.index).to_numpy()
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


def draw_fans(forecaster: Forecaster, market: Market, path: Path) -> None:
    """The price before and after three origins, the last one at the market's end, and the bands of each step."""
    pyplot = new_pyplot()
    config = forecaster.config
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


def draw_errors(table: pd.DataFrame, path: Path) -> None:
    """Error of the mean and of the distribution by horizon, in units of historical volatility's; `judge`'s table."""
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    horizons = table.index.get_level_values("horizon").unique()
    names = table.index.get_level_values("contender").unique()
    persistence = table.loc[PERSISTENCE]
    for name, colour in zip(names, (LINE, "#777777", SECOND), strict=False):
        own = table.loc[name]
        if name != HISTORICAL:  # whose mean is persistence's
            axes[0].plot(range(len(horizons)), own["rmse"] / persistence["rmse"], "o-", color=colour, label=name)
        if name != PERSISTENCE:
            ratio = own["crps_of_historical"]
            axes[1].plot(range(len(horizons)), ratio, "o-", color=colour, label=name)
            if name != HISTORICAL:
                axes[1].fill_between(range(len(horizons)), own["crps_low"], own["crps_high"], color=colour, alpha=0.2)
    axes[0].set_ylabel("RMSE of the return / persistence's")
    axes[1].set_ylabel("CRPS / historical volatility's (90% interval)")
    for axis in axes:
        axis.set_xticks(range(len(horizons)), [str(h) for h in horizons])
        axis.set_xlabel("bars ahead")
        axis.axhline(1.0, color="#aaaaaa", linewidth=0.7, zorder=0)
        axis.legend(frameon=False, fontsize=8)
    save_figure(pyplot, figure, path)


def draw_calibration(truth: Truth, said: dict[str, Forecasts], path: Path, rows_are: str = "") -> None:
    """How often returns fell below each quantile, per horizon: on the diagonal where bands are honest."""
    pyplot = new_pyplot()
    levels = np.linspace(0.02, 0.98, 49)
    figure, axes = pyplot.subplots(
        1, len(said), figsize=(4.4 * len(said), 4.2), layout="constrained", squeeze=False, sharey=True
    )
    shades = pyplot.get_cmap("viridis")(np.linspace(0.1, 0.85, len(truth.horizons)))
    for axis, (name, one) in zip(axes[0], said.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=0.8)
        for h, horizon in enumerate(truth.horizons):
            axis.plot(levels, _below(truth, one, h, levels), color=shades[h], label=f"{horizon} bars")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("level of the quantile")
        axis.set_aspect("equal")
    axes[0, 0].set_ylabel("share of returns below it")
    if rows_are:
        figure.suptitle(rows_are, fontsize=9)
    axes[0, 0].legend(frameon=False, fontsize=8)
    save_figure(pyplot, figure, path)


def _below(truth: Truth, said: Forecasts, h: int, levels: NDArray[np.float64]) -> Any:
    known = np.isfinite(truth.returns[:, h])
    edges = quantile_function(said.levels, said.quantiles[known, h], levels)
    return (truth.returns[known, h, None] <= edges).mean(axis=0)


def draw_gates(forecaster: Forecaster, market: Market, path: Path) -> None:
    """How much the hybrid lets each indicator through: mean weight, and where it lies in 80% of the decisions."""
    import torch

    from pretrain.data.windows import WindowSource
    from pretrain.networks.hybrid import HybridEncoder

    network = forecaster.model.network
    assert isinstance(network, HybridEncoder)
    first = market.first_decision(forecaster.config.layout_window)
    rows = np.unique(np.linspace(first, len(market) - 1, min(1000, len(market) - first)).round().astype(np.int64))
    windows = WindowSource([market], forecaster.config.layout_window).gather(np.zeros_like(rows), rows)
    with torch.inference_mode():
        scaled = forecaster.model.scaled([part.to(forecaster.device) for part in windows])
        gates = network.gates(scaled).cpu().numpy()
    order = np.argsort(gates.mean(axis=0))
    low, middle, high = np.quantile(gates, (0.1, 0.5, 0.9), axis=0)
    pyplot = new_pyplot()
    figure, axis = pyplot.subplots(figsize=(7.0, 1.0 + 0.2 * len(order)), layout="constrained")
    axis.barh(range(len(order)), (high - low)[order], left=low[order], color=LINE, alpha=0.35, height=0.7)
    axis.plot(middle[order], range(len(order)), "|", color=SHORT, markersize=7)
    axis.set_yticks(range(len(order)), [network.indicator_names[i] for i in order], fontsize=7)
    axis.set_xlabel("weight of the indicator: median and 80% of decisions")
    axis.set_xlim(0.0, 1.0)
    axis.margins(y=0.01)
    save_figure(pyplot, figure, path)
