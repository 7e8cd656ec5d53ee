"""The picture of a walk-forward: equity of every seed per market over the judged folds, and efficiency of each fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import dates as mdates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agents.evaluation.backtest.backtesting import buy_and_hold
from agents.evaluation.walk_forward.findings import Findings
from agents.evaluation.walk_forward.stitched import Stitched
from cryptoenv.files.durable_files import write_figure

COLOURS = ("#1f4e9c", "#e07b00", "#7b4fa3", "#00838f", "#b8a000", "#c06c84")
MOST_POINTS = 6000


def draw_walk_forward(found: Findings, stitched: Sequence[Stitched], path: Path) -> None:
    """Draw it into a PNG file: a panel per market, and one of what folds earned where they learned and were judged.

    Args:
        found: what it says.
        stitched: one record per seed.
        path: file to write.
    """
    markets = stitched[0].backtests
    figure = Figure(figsize=(12, 3.0 * len(markets) + 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(markets) + 1, 1, squeeze=False)[:, 0]
    for number, (axis, first) in enumerate(zip(panels, markets, strict=False)):
        times = first.closes_ms.astype("datetime64[ms]")
        shown = np.unique(np.linspace(0, len(times) - 1, min(len(times), MOST_POINTS)).astype(np.int64))
        for record in stitched:
            colour = COLOURS[record.seed % len(COLOURS)]
            axis.plot(times[shown], record.backtests[number].equity[shown], color=colour, linewidth=0.9,
                      label=f"seed {record.seed}")  # fmt: skip
        axis.plot(times[shown], buy_and_hold(first).equity[shown], color="#888888", linewidth=0.9, label="buy and hold")
        axis.axhline(first.desk.cash, color="black", linewidth=0.7, linestyle="--")
        for step in stitched[0].steps[:-1]:
            axis.axvline(times[int(step)], color="#bbbbbb", linewidth=0.6)
        axis.set_title(f"{first.name}: one account over all folds (grey lines: another agent takes over)", loc="left")
        axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axis.xaxis.get_major_locator()))
        axis.legend(frameon=False, loc="upper left", ncols=4)
        axis.margins(x=0.0)
    mean = found.folds.groupby("fold")[["train_per_day", "test_per_day"]].mean() * 100.0
    place = np.arange(len(mean))
    panels[-1].bar(place - 0.2, mean["train_per_day"], 0.4, label="where it learned", color="#9ab3d5")
    panels[-1].bar(place + 0.2, mean["test_per_day"], 0.4, label="where it is judged", color="#1f4e9c")
    panels[-1].axhline(0.0, color="black", linewidth=0.7)
    panels[-1].set_xticks(place, [f"fold {fold}" for fold in mean.index])
    panels[-1].set_ylabel("net log-return, % a day")
    panels[-1].legend(frameon=False)
    write_figure(figure, path, dpi=100)
