"""What a person looks at after a segmenter was trained, and after it predicted. Shape legend: `S` timescales, `C`
classes, `n` rows, `M` markets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.durable_files import make_folder
from cryptoenv.market.market import Market
from pretrain.data.labelled_market import LabelledMarket
from pretrain.fitting.drawing import CURVES, LINE, LONG, SECOND, SHORT, draw_learning_curves, new_pyplot, save_figure
from pretrain.segmenter.artifact import ANOMALY, Segmenter
from pretrain.segmenter.importance import Importance, pursuit_importance
from pretrain.segmenter.scores import class_scores, confusion_counts, summary_scores
from pretrain.segmenter.state_machine import StateMachine
from pretrain.segmenter.states import OVERALL
from pretrain.segmenter.training import held_rows

SEGMENTATION, CONFUSION, MACHINES = "segmentation.png", "confusion.png", "state_machine.png"
IMPORTANCE, ERRORS, UNUSUAL = "pursuit_importance.png", "errors_by_condition.png", "anomaly.png"
SHOWN_BARS = 1_440  #: base bars of a picture of states
_CALM, _OTHERS = "#c9c9c9", ("#7b4fa3", "#00838f", SECOND, LINE)
_NAMED = {"bull": LONG, "up": LONG, "bear": SHORT, "down": SHORT, "consolidation": _CALM, "range": _CALM}
LEAST_BARS = 100  #: of a condition that an error rate is told of


def draw_run(segmenter: Segmenter, held_out: Sequence[LabelledMarket], folder: Path, log: Path) -> tuple[Path, ...]:
    """Draw everything into `folder`.

    Args:
        segmenter: trained.
        held_out: markets with labels that it was not trained on.
        folder: made where it does not exist.
        log: folder of the run's TensorBoard events.

    Returns:
        The files written; those of the pursuit only where the segmenter reads one.
    """
    make_folder(folder)
    draw_learning_curves(log, folder / CURVES)
    tables = [segmenter.predict(item.market) for item in held_out]
    draw_segmentation(segmenter, held_out[0], tables[0], folder / SEGMENTATION)
    draw_confusion(segmenter, held_out, folder / CONFUSION)
    draw_machines(segmenter, tables, folder / MACHINES)
    draw_errors(segmenter, held_out, tables, folder / ERRORS)
    names = [CURVES, SEGMENTATION, CONFUSION, MACHINES, ERRORS]
    if segmenter.anomaly.quantiles:
        draw_anomaly(held_out[0].market, tables[0], folder / UNUSUAL)
        names.append(UNUSUAL)
    found = pursuit_importance(segmenter, held_out)
    if found:
        draw_importance(found, folder / IMPORTANCE)
        names.append(IMPORTANCE)
    return tuple(folder / name for name in names)


def draw_predictions(segmenter: Segmenter, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
    """Segmentation and machines, and anomalies where there are some, of predictions without labels."""
    make_folder(folder)
    plain = LabelledMarket(market, np.zeros((len(market), 1), np.int8))
    draw_segmentation(segmenter, plain, table, folder / SEGMENTATION)
    draw_machines(segmenter, [table], folder / MACHINES)
    names = [SEGMENTATION, MACHINES]
    if segmenter.anomaly.quantiles:
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


def draw_segmentation(segmenter: Segmenter, item: LabelledMarket, table: pd.DataFrame, path: Path) -> None:
    """The last days of a market: the price shaded by the state of the market, the states of every timescale below and,
    where they are known, the true ones under each."""
    shown = table.iloc[-SHOWN_BARS:]
    machines, colours = segmenter.machines, class_colours(segmenter.config.classes)
    numbers = machines.numbers(machines.probabilities(table))[-len(shown) :]
    rows = item.market.bars.index.get_indexer(shown.index)
    times = pd.DatetimeIndex(shown.index)
    truths = {column.name: np.where(column.known, np.nan_to_num(column.values), -1)[rows] for column in item.columns}
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
    close = item.market.prices[rows, CLOSE]
    axes[0].plot(times, close, color="#222222", linewidth=0.9)
    low, high = axes[0].get_ylim()
    for k, (name, colour) in enumerate(zip(machines.classes, colours, strict=True)):
        axes[0].fill_between(times, low, high, where=numbers[:, -1] == k, color=colour, alpha=0.22, step="post",
                             linewidth=0, label=name)  # fmt: skip
    axes[0].set_ylim(low, high)
    axes[0].set_ylabel("close")
    axes[0].set_title(f"{item.market.name or 'market'}: shaded by the state of the market as a whole", loc="left",
                      fontsize=10)  # fmt: skip
    axes[0].legend(ncols=len(colours), frameon=False, fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 1.12))
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


def draw_confusion(segmenter: Segmenter, held_out: Sequence[LabelledMarket], path: Path) -> None:
    """Per timescale, states against labels: counts, and shares of each label."""
    classes, scales = segmenter.config.classes, segmenter.config.timescales
    held = [held_rows(segmenter, item) for item in held_out]
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(
        1, len(scales), figsize=(3.9 * len(scales), 4.0), layout="constrained", squeeze=False
    )
    for s, (axis, scale) in enumerate(zip(axes[0], scales, strict=True)):
        counts = np.zeros((len(classes), len(classes)), np.int64)
        for rows in held:
            probabilities, labels = rows[s]
            counts += confusion_counts(labels, segmenter.machines.each[s].states_of(probabilities), len(classes))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axis.imshow(shares, vmin=0.0, vmax=1.0, cmap="Blues")
        for (i, j), share in np.ndenumerate(shares):
            axis.text(j, i, f"{100 * share:.0f}%\n{counts[i, j]:,}", ha="center", va="center", fontsize=9,
                      color="white" if share > 0.55 else "black")  # fmt: skip
        axis.set_xticks(range(len(classes)), classes, fontsize=8)
        axis.set_yticks(range(len(classes)), classes, fontsize=8, rotation=90, va="center")
        axis.set_xlabel("state")
        f1, told = class_scores(counts)["f1"], summary_scores(counts)
        each = ", ".join(f"{name} {value:.2f}" for name, value in zip(classes, f1, strict=True))
        axis.set_title(f"{scale}: balanced accuracy {told['balanced_accuracy']:.2f}\nF1 {each}", fontsize=9)
    axes[0, 0].set_ylabel("label")
    save_figure(pyplot, figure, path)


def draw_machines(segmenter: Segmenter, tables: Sequence[pd.DataFrame], path: Path) -> None:
    """The machine of every timescale, and the one over them: states with their thresholds, dwells and share of time;
    arrows for transitions, as thick as they were frequent."""
    machines = segmenter.machines
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
        axis.set_title(f"{title}{extra}", fontsize=11)
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
            tuple(places[i]), tuple(places[j]), arrowstyle="-|>", mutation_scale=14, shrinkA=41, shrinkB=41,
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
        axis.scatter(*places[k], s=5200, color=[fill], edgecolors=colours[k], linewidths=2.0, zorder=3)
        rule = f"in $\\geq$ {_row(machine.enter)[k]:.2f}, out < {_row(machine.leave)[k]:.2f}"
        dwell = f"stays $\\geq$ {_row(machine.minimum_dwell)[k]:g} bars"
        axis.text(*places[k], f"{name}\n{100 * share:.0f}% of bars\n{rule}\n{dwell}", ha="center", va="center",
                  fontsize=7.5, zorder=4)  # fmt: skip
    axis.set_xlim(-1.65, 1.65)
    axis.set_ylim(-1.5, 1.5)
    axis.set_aspect("equal")
    axis.axis("off")


def _row(value: Any) -> tuple[float, ...]:
    return tuple(value)


def draw_importance(found: Importance, path: Path) -> None:
    """What every pursuit feature is worth on held-out markets: macro-F1 lost when it is permuted, 95% intervals."""
    order = np.argsort(found.mean)[::-1]
    pyplot = new_pyplot()
    figure, axis = pyplot.subplots(figsize=(7.4, 1.4 + 0.24 * len(order)), layout="constrained")
    places = np.arange(len(order))
    colours = [LINE if found.low[k] > 0.0 else "#b0bccf" for k in order]
    axis.barh(places, found.mean[order], color=colours, height=0.72)
    axis.errorbar(found.mean[order], places, fmt="none", ecolor="#333333", elinewidth=0.9, capsize=2,
                  xerr=np.abs(np.stack([found.mean - found.low, found.high - found.mean])[:, order]))  # fmt: skip
    axis.axvline(0.0, color="#333333", linewidth=0.8)
    axis.set_yticks(places, [found.names[k] for k in order], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"macro-F1 lost when permuted (of {found.score:.3f}), 95% over {found.markets} markets")
    axis.set_title("pursuit features on all timeframes together; the last is all of them at once", fontsize=9,
                   loc="left")  # fmt: skip
    axis.spines[["top", "right"]].set_visible(False)
    save_figure(pyplot, figure, path)


def draw_errors(
    segmenter: Segmenter, held_out: Sequence[LabelledMarket], tables: Sequence[pd.DataFrame], path: Path
) -> None:
    """Where it errs: share of wrong states by volatility tercile, by strength of the trend, by bars since the label
    changed."""
    frames = [
        _conditions(segmenter, item, table, number)
        for number, (item, table) in enumerate(zip(held_out, tables, strict=True))
    ]
    whole = pd.concat(frames, ignore_index=True)
    scales = segmenter.config.timescales
    edges = np.quantile(whole["volatility"], [1 / 3, 2 / 3])
    strength = np.quantile(whole["trend"], [0.25, 0.5, 0.75])
    ages = np.array([4, 16, 64, 256])
    groups = [
        ("volatility of the last day", np.digitize(whole["volatility"], edges), ["low", "middle", "high"]),
        ("strength of the last day's trend", np.digitize(whole["trend"], strength),
         ["weakest\nquarter", "2nd", "3rd", "strongest"]),
    ]  # fmt: skip
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(1, 3, figsize=(11.5, 3.6), layout="constrained", sharey=True)
    width = 0.8 / len(scales)
    palette = [LINE, SECOND, "#7b4fa3", "#00838f"]
    for axis, (title, group, names) in zip(axes, groups, strict=False):
        _bars(axis, whole, scales, [group] * len(scales), names, width, palette)
        axis.set_title(title, fontsize=10)
    aged = [np.digitize(whole[f"age_{scale}"], ages) for scale in scales]
    _bars(axes[2], whole, scales, aged, ["< 4", "4-15", "16-63", "64-255", "256 +"], width, palette)
    axes[2].set_title("bars since the label changed", fontsize=10)
    axes[0].set_ylabel("share of wrong states")
    axes[0].legend(frameon=False, fontsize=8)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(0.0, None)
    save_figure(pyplot, figure, path)


def _conditions(segmenter: Segmenter, item: LabelledMarket, table: pd.DataFrame, number: int) -> pd.DataFrame:
    """Per row of a market: volatility, strength of the trend; per timescale whether it erred, and the label's age."""
    rows = item.market.bars.index.get_indexer(table.index)
    inside = (rows >= item.start) & (rows < item.end)
    close = pd.Series(np.log(item.market.prices[:, CLOSE]))
    day = max(2, round(DAY_MS / timeframe_ms(item.market.timeframes[0])))
    steps = close.diff()
    spread = steps.rolling(day, min_periods=2).std().fillna(0.0).to_numpy()
    moved = close.diff(day).abs().fillna(0.0).to_numpy()
    out = pd.DataFrame({"market": number, "volatility": spread[rows], "trend": (moved / np.maximum(
        spread * np.sqrt(day), 1e-12))[rows]})  # fmt: skip
    numbers = segmenter.machines.numbers(segmenter.machines.probabilities(table))
    for s, column in enumerate(item.columns):
        label = np.where(column.known, np.nan_to_num(column.values), -1)
        begins = np.concatenate([[True], label[1:] != label[:-1]])
        age = np.arange(len(label)) - np.maximum.accumulate(np.where(begins, np.arange(len(label)), 0))
        out[f"wrong_{column.name}"] = np.where(label[rows] >= 0, numbers[:, s] != label[rows], np.nan)
        out[f"age_{column.name}"] = age[rows]
    return out[inside]


def _bars(
    axis: Any,
    whole: pd.DataFrame,
    scales: Sequence[str],
    groups: Sequence[NDArray[np.integer]],
    names: Sequence[str],
    width: float,
    palette: Sequence[str],
) -> None:
    """Error rates per group and timescale, with 95% intervals over markets where there are several."""
    for s, (scale, group) in enumerate(zip(scales, groups, strict=True)):
        wrong = whole[f"wrong_{scale}"]
        by_market = wrong.groupby([whole["market"], pd.Series(group, whole.index)]).mean().unstack()
        counts = wrong.groupby(pd.Series(group, whole.index)).count().reindex(range(len(names)), fill_value=0)
        means = by_market.mean().reindex(range(len(names)))
        error = (1.96 * by_market.std() / np.sqrt(by_market.count())).reindex(range(len(names)))
        means = means.where(counts >= LEAST_BARS)
        at = np.arange(len(names)) + (s - 0.5 * (len(scales) - 1)) * width
        axis.bar(at, means, width=0.92 * width, color=palette[s % len(palette)], label=scale,
                 yerr=error.where(means.notna()).fillna(0.0), error_kw={"elinewidth": 0.8})  # fmt: skip
    axis.set_xticks(range(len(names)), names, fontsize=8)


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
    axes[0, 0].scatter(shown.index[unusual], close[unusual], s=14, color=SHORT, zorder=3,
                       label=f"{int(unusual.sum())} bars above the 99th percentile")  # fmt: skip
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
