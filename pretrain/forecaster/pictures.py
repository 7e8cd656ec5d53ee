"""What a person looks at of forecasts: what came beside what was said, fans, errors by horizon, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.analysis.forecast_scores import quantile_function
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.data.forecast_windows import Part
from pretrain.fitting.drawing import (
    CURVES,
    LINE,
    SECOND,
    SHORT,
    draw_learning_curves,
    new_pyplot,
    save_figure,
)
from pretrain.forecaster.artifact import Forecaster
from pretrain.forecaster.evaluation import (
    FORECASTER,
    HISTORICAL,
    PERSISTENCE,
    TRACKED,
    Forecasts,
    Truth,
    beside_baselines,
    forecasts_of,
    held_out_rows,
    judge,
    truth_of,
)
from pretrain.forecaster.prediction_pictures import FAN, PREDICTED, draw_predictions

ERRORS, CALIBRATION, GATES = "error_by_horizon.png", "calibration.png", "gates.png"
MOST_ROWS = 6_000


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
    contenders = beside_baselines(FORECASTER, truth, said)
    draw_errors(judge(truth, {n: one for n, one in contenders.items() if n != TRACKED}), folder / ERRORS)
    with_bands = {n: one for n, one in contenders.items() if n != PERSISTENCE}
    draw_calibration(truth, with_bands, folder / CALIBRATION, rows_are)
    part = held_out[0]
    market = part.market if part.end == len(part.market) else part.market.part(0, part.end)
    draw_predictions(forecaster, forecaster.config, market, folder)
    names = [ERRORS, CALIBRATION, PREDICTED, FAN]
    if log is not None:
        draw_learning_curves(log, folder / CURVES)
        names.append(CURVES)
    if forecaster.config.network == "hybrid" and not {"gate", "indicators"} & set(forecaster.config.ablate):
        draw_gates(forecaster, market, folder / GATES)
        names.append(GATES)
    return tuple(folder / name for name in names)


def draw_errors(table: pd.DataFrame, path: Path) -> None:
    """Error of the mean and of the distribution by horizon, in units of historical volatility's; `judge`'s table."""
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(10.0, 3.6), layout="constrained")
    horizons = table.index.get_level_values("horizon").unique()
    names = table.index.get_level_values("contender").unique()
    persistence = table.loc[PERSISTENCE]
    for place, (name, colour) in enumerate(zip(names, (LINE, "#777777", SECOND), strict=False)):
        own = table.loc[name]
        # the first on top, on larger dots of the others: means that are not believed are persistence's
        size = 6 if place == 0 else 9
        line: dict[str, Any] = {"color": colour, "label": name, "zorder": 4 - place, "markersize": size}
        if name != HISTORICAL:  # whose mean is persistence's
            axes[0].plot(range(len(horizons)), own["rmse"] / persistence["rmse"], "o-", **line)
        if name != PERSISTENCE:
            ratio = own["crps_of_historical"]
            axes[1].plot(range(len(horizons)), ratio, "o-", **line)
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
