"""What a person looks at: one table and one picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import dates as mdates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from agents.evaluation.rollout import Rollout
from agents.markets.expert_market import ExpertMarket
from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import write_figure

LONG_COLOUR, SHORT_COLOUR, PRICE_COLOUR = "#2a9d5c", "#d1495b", "#333333"
LINE_COLOURS = ("#1f4e9c", "#e07b00", "#7b4fa3", "#888888", "#00838f", "#b8a000", "#c06c84")


def draw(found: Mapping[str, Rollout], labelled: ExpertMarket, row: int, *, agent: str, title: str, path: Path) -> None:
    """Draw price with the agent's position, equity of every method, and drawdown, into a PNG file.

    Args:
        found: rollouts of the methods, all over the same rows.
        labelled: the market of row `row`.
        row: which row of the rollouts to show.
        agent: the method whose position and drawdown are shown.
        title: of the picture.
        path: file to write.
    """
    chosen = found[agent]
    start, steps = int(chosen.rows.start[row]), chosen.rows.steps
    times = labelled.market.bars.index[start : start + steps + 1]
    figure = Figure(figsize=(13, 10), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.4))
    _draw_price(axes[0], times, labelled.market.prices[start : start + steps + 1, CLOSE], chosen.exposure[:, row])
    axes[0].set_title(f"{title}: price and position of the agent ({agent})", loc="left")
    _draw_equity(axes[1], times, {name: rollout.equity[:, row] for name, rollout in found.items()}, agent)
    _draw_drawdown(axes[2], times, {name: found[name].equity[:, row] for name in (agent, "buy and hold")})
    axes[2].xaxis.set_major_formatter(mdates.ConciseDateFormatter(axes[2].xaxis.get_major_locator()))
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.margins(x=0.0)
    write_figure(figure, path, dpi=110)


def _draw_price(axis: Axes, times: pd.Index, close: NDArray[np.float64], exposure: NDArray[np.float64]) -> None:
    """The close, over a background that is green while long and red while short."""
    axis.plot(times, close, color=PRICE_COLOUR, linewidth=0.9, label="close")
    low, high = float(close.min()), float(close.max())
    room = 0.04 * (high - low)
    held = np.append(exposure, exposure[-1])
    for side, colour, name in ((1.0, LONG_COLOUR, "long"), (-1.0, SHORT_COLOUR, "short")):
        axis.fill_between(
            times, low - room, high + room, where=held * side > 0.05, color=colour, alpha=0.22, step="post",
            linewidth=0, label=name,
        )  # fmt: skip
    axis.set_ylim(low - room, high + room)
    axis.set_ylabel("price")
    axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)


def _draw_equity(axis: Axes, times: pd.Index, equity: Mapping[str, NDArray[np.float64]], agent: str) -> None:
    """Equity relative to its start, on a logarithmic axis; the agent's line is the thick one."""
    others = [name for name in equity if name != agent]
    colours = dict(zip([agent, *others], LINE_COLOURS, strict=False))
    shown = {name: values / values[0] for name, values in equity.items()}
    for name in [*others, agent]:
        width, span = (2.2, " in all") if name == agent else (1.1, "")  # said once: seven names just fit in a line
        axis.plot(
            times, shown[name], color=colours.get(name, "#aaaaaa"), linewidth=width,
            label=f"{name} ({100 * (shown[name][-1] - 1):+.1f}%{span})",
        )  # fmt: skip
    axis.axhline(1.0, color="black", linewidth=0.6)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(MaxNLocator(7))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    in_view = np.concatenate([values for name, values in shown.items() if name != "random"])
    axis.set_ylim(0.97 * in_view.min(), 1.03 * in_view.max())
    axis.set_ylabel("equity / start (log)")
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(
        [handles[-1], *handles[:-1]], [labels[-1], *labels[:-1]], loc="lower left", bbox_to_anchor=(0.0, 1.0),
        ncols=len(labels), fontsize=8, frameon=False, columnspacing=1.0, handlelength=1.2,
    )  # fmt: skip


def _draw_drawdown(axis: Axes, times: pd.Index, equity: Mapping[str, NDArray[np.float64]]) -> None:
    """Loss from the highest equity so far, in percent."""
    for (name, values), colour in zip(equity.items(), (LINE_COLOURS[0], LINE_COLOURS[3]), strict=True):
        drawdown = 100.0 * (values / np.maximum.accumulate(values) - 1.0)
        axis.plot(times, drawdown, color=colour, linewidth=1.0, label=name)
        axis.fill_between(times, drawdown, 0.0, color=colour, alpha=0.15, linewidth=0)
    axis.set_ylabel("drawdown, %")
    axis.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=9, frameon=False)
