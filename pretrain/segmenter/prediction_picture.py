"""Predictions of a segmenter as `cryptoenv predict` draws them: states over the price, machines, unusual windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import FancyArrowPatch, Patch
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.data.label_column import LabelColumn
from pretrain.fitting.drawing import LINE, LONG, SECOND, SHORT, new_pyplot, save_figure
from pretrain.segmenter.state_machine import StateMachine
from pretrain.segmenter.states import ANOMALY, OVERALL, Machines

SEGMENTATION, MACHINES, UNUSUAL = "segmentation.png", "state_machine.png", "anomaly.png"
SHOWN_BARS = 1_440  #: base bars of a picture of states
_CALM, _OTHERS = "#c9c9c9", ("#7b4fa3", "#00838f", SECOND, LINE)
_NAMED = {"bull": LONG, "up": LONG, "bear": SHORT, "down": SHORT, "consolidation": _CALM, "range": _CALM}


def draw_predictions(machines: Machines, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
    """Segmentation and machines, and anomalies where there are some, of predictions without labels."""
    make_folder(folder)
    draw_segmentation(machines, market, table, folder / SEGMENTATION)
    draw_machines(machines, [table], folder / MACHINES)
    names = [SEGMENTATION, MACHINES]
    if ANOMALY in table.columns:
        draw_anomaly(market, table, folder / UNUSUAL)
        names.append(UNUSUAL)
    return tuple(folder / name for name in names)


def class_colours(classes: Sequence[str]) -> list[str]:
    """A colour per class: green for bulls, red for bears, grey for what is between, others by their place."""
    return [_NAMED.get(name.lower(), _OTHERS[k % len(_OTHERS)]) for k, name in enumerate(classes)]


def _strip(axis: Any, times: pd.DatetimeIndex, numbers: NDArray[np.integer], colours: Sequence[str], name: str) -> None:
    """One row of states along time; unknown ones stay white."""
    shown = np.ma.masked_less(numbers[None].astype(np.int64), 0)
    left, right = (_day(moment) for moment in (times[0], times[-1]))
    axis.imshow(
        shown, aspect="auto", interpolation="nearest", cmap=ListedColormap(list(colours)), vmin=0,
        vmax=len(colours) - 1, extent=(left, right, 0.0, 1.0),
    )  # fmt: skip
    axis.set_yticks([0.5], [name])
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


def _day(moment: pd.Timestamp) -> float:
    from matplotlib.dates import date2num

    return float(date2num(moment))


def draw_segmentation(
    machines: Machines, market: Market, table: pd.DataFrame, path: Path, labels: Sequence[LabelColumn] = ()
) -> None:
    """The last days of a market: the price shaded by the state of the market, the states of every timescale below and,
    where they are known, the true ones under each."""
    shown = table.iloc[-SHOWN_BARS:]
    colours = class_colours(machines.classes)
    numbers = machines.numbers(machines.probabilities(table))[-len(shown) :]
    rows = market.bars.index.get_indexer(shown.index)
    times = pd.DatetimeIndex(shown.index)
    truths = {column.name: np.where(column.known, np.nan_to_num(column.values), -1)[rows] for column in labels}
    strips = [(OVERALL, numbers[:, -1])]
    for s, scale in enumerate(machines.timescales):
        strips.append((scale, numbers[:, s]))
        if scale in truths:
            strips.append((f"{scale} true", truths[scale].astype(np.int64)))
    pyplot = new_pyplot()
    heights = [3.6, 1.1, *[0.26] * len(strips)]
    figure, axes = pyplot.subplots(
        len(heights), 1, figsize=(11.0, 1.4 + sum(heights)), height_ratios=heights, sharex=True, layout="constrained"
    )
    close = market.prices[rows, CLOSE]
    axes[0].plot(times, close, color="#222222", linewidth=0.9)
    low, high = axes[0].get_ylim()
    axes[0].imshow(
        numbers[None, :, -1], aspect="auto", interpolation="nearest", cmap=ListedColormap(colours), vmin=0,
        vmax=len(colours) - 1, extent=(_day(times[0]), _day(times[-1]), low, high), alpha=0.25, zorder=0,
    )  # fmt: skip
    axes[0].set_ylim(low, high)
    axes[0].set_ylabel("close")
    axes[0].set_title(f"{market.name or 'market'}: shaded by the state of the market as a whole", loc="left",
                      fontsize=10)  # fmt: skip
    shown_classes = [Patch(color=colour, label=name) for name, colour in zip(machines.classes, colours, strict=True)]
    axes[0].legend(handles=shown_classes, ncols=len(colours), frameon=False, fontsize=8, loc="lower right",
                   bbox_to_anchor=(1.0, 0.99))  # fmt: skip
    longest = len(machines.timescales) - 1
    chances = machines.probabilities(shown)[:, longest]
    axes[1].stackplot(times, chances.T, colors=colours, linewidth=0, alpha=0.9)
    axes[1].set_ylim(0, 1)
    axes[1].set_ylabel(f"probability\n{machines.timescales[longest]}", fontsize=9)
    for axis, (name, own) in zip(axes[2:], strips, strict=True):
        _strip(axis, times, own, colours, name)
    axes[-1].set_xlim(times[0], times[-1])
    axes[-1].xaxis_date()
    save_figure(pyplot, figure, path)


def draw_machines(machines: Machines, tables: Sequence[pd.DataFrame], path: Path) -> None:
    """The machine of every timescale, and the one over them: states with their thresholds, dwells and share of time;
    arrows for transitions, as thick as they were frequent."""
    numbers = [machines.numbers(machines.probabilities(table)) for table in tables]
    named = list(zip((*machines.timescales, OVERALL), (*machines.each, machines.overall), strict=True))
    pyplot = new_pyplot()
    columns = min(len(named), 4)
    rows = -(-len(named) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(4.0 * columns, 4.3 * rows), layout="constrained",
                                   squeeze=False)  # fmt: skip
    for axis in axes.flat[len(named) :]:
        axis.set_visible(False)
    for s, (axis, (name, machine)) in enumerate(zip(axes.flat, named, strict=False)):
        _draw_machine(axis, machine, [own[:, s] for own in numbers])
        title = "the market as a whole" if name == OVERALL else name
        extra = f"\n{machine.agreement} of {len(machines.timescales)} timescales must agree" if name == OVERALL else ""
        axis.set_title(f"{title}{extra}", fontsize=11, y=0.93, pad=0.0)
    save_figure(pyplot, figure, path)


def _draw_machine(axis: Any, machine: StateMachine, sequences: Sequence[NDArray[np.integer]]) -> None:
    count = len(machine.states)
    colours = class_colours(machine.states)
    moves = np.zeros((count, count), np.int64)
    for own in sequences:
        changed = np.flatnonzero(own[1:] != own[:-1])
        np.add.at(moves, (own[changed], own[changed + 1]), 1)
    whole = np.concatenate(sequences)
    angles = np.pi * (0.5 + 2.0 * np.arange(count) / count) + np.pi
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for i, j in np.argwhere(machine.table):
        weight = moves[i, j] / max(moves.max(), 1)
        colour = "#333333" if moves[i, j] else "#bbbbbb"
        arrow = FancyArrowPatch(
            tuple(places[i]), tuple(places[j]), arrowstyle="-|>", mutation_scale=14, shrinkA=44, shrinkB=44,
            connectionstyle="arc3,rad=0.16", linewidth=0.8 + 3.2 * weight, color=colour,
            linestyle="-" if moves[i, j] else ":",
        )  # fmt: skip
        axis.add_patch(arrow)
        aside = np.array([places[j][1] - places[i][1], places[i][0] - places[j][0]])
        at = 0.5 * (places[i] + places[j]) + 0.17 * aside
        axis.text(*at, f"{moves[i, j]:,}", fontsize=8, ha="center", va="center", color=colour,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0})  # fmt: skip
    for k, name in enumerate(machine.states):
        share = (whole == k).mean()
        fill = (*to_rgb(colours[k]), 0.25 + 0.6 * float(share))
        axis.scatter(*places[k], s=6200, color=[fill], edgecolors=colours[k], linewidths=2.0, zorder=3)
        rule = f"in at {_row(machine.enter)[k]:.2f}\nout below {_row(machine.leave)[k]:.2f}"
        dwell = f"$\\geq$ {_row(machine.minimum_dwell)[k]:g} bars"
        axis.text(*places[k], f"{name}\n{100 * share:.0f}% of bars\n{rule}\n{dwell}", ha="center", va="center",
                  fontsize=7.2, zorder=4, linespacing=1.15)  # fmt: skip
    axis.set_xlim(-1.65, 1.65)
    axis.set_ylim(-1.5, 1.5)
    axis.set_aspect("equal")
    axis.axis("off")


def _row(value: Any) -> tuple[float, ...]:
    return tuple(value)


def draw_anomaly(market: Market, table: pd.DataFrame, path: Path) -> None:
    """The last days of a market: price, bars whose pursuit's error is above 99% of the training windows' marked, and
    the percentile below; right, how often each percentile came (even where the market is as the training was)."""
    shown = table.iloc[-SHOWN_BARS:]
    rows = market.bars.index.get_indexer(shown.index)
    close, percentile = market.prices[rows, CLOSE], shown[ANOMALY].to_numpy()
    unusual = percentile >= 99.0
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(2, 2, figsize=(11.0, 4.8), height_ratios=(1.6, 1.0), width_ratios=(4.0, 1.0),
                                   layout="constrained", sharex="col")  # fmt: skip
    axes[0, 0].plot(shown.index, close, color="#444444", linewidth=0.8)
    told = f"above the 99th percentile of the training windows: {int(unusual.sum())} bars"
    axes[0, 0].scatter(shown.index[unusual], close[unusual], s=14, color=SHORT, zorder=3,
                       label=told)  # fmt: skip
    axes[0, 0].set_ylabel("close")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.98))
    axes[1, 0].plot(shown.index, percentile, color=LINE, linewidth=0.5, alpha=0.6)
    smooth = pd.Series(percentile, shown.index).rolling(96, min_periods=1).mean()
    axes[1, 0].plot(shown.index, smooth, color=SECOND, linewidth=1.4, label="mean of 96 bars")
    axes[1, 0].axhline(99.0, color=SHORT, linewidth=0.8)
    axes[1, 0].set_ylim(0, 102)
    axes[1, 0].set_ylabel("anomaly, percentile")
    axes[1, 0].legend(frameon=False, fontsize=8, loc="lower left")
    axes[0, 1].set_visible(False)
    axes[1, 1].hist(table[ANOMALY], bins=20, range=(0, 100), density=True, color=LINE, alpha=0.7)
    axes[1, 1].axhline(0.01, color="#333333", linewidth=0.9, linestyle="--")
    axes[1, 1].set_xlabel("percentile")
    axes[1, 1].set_yticks([])
    axes[1, 1].set_title("all bars; dashed: as in training", fontsize=8)
    save_figure(pyplot, figure, path)
