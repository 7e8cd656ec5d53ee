"""What a person looks at after a segmenter was trained, and after it predicted. Shape legend: `S` timescales, `C`
classes, `n` rows, `M` markets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms
from cryptoenv.files.durable_files import make_folder
from pretrain.data.labelled_market import LabelledMarket
from pretrain.fitting.drawing import CURVES, LINE, SECOND, draw_learning_curves, new_pyplot, save_figure
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.importance import Importance, pursuit_importance
from pretrain.segmenter.prediction_picture import (
    MACHINES,
    SEGMENTATION,
    UNUSUAL,
    draw_anomaly,
    draw_machines,
    draw_segmentation,
)
from pretrain.segmenter.scores import class_scores, confusion_counts, summary_scores
from pretrain.segmenter.training import held_rows

CONFUSION, IMPORTANCE, ERRORS = "confusion.png", "pursuit_importance.png", "errors_by_condition.png"
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
    first = held_out[0]
    draw_segmentation(segmenter.machines, first.market, tables[0], folder / SEGMENTATION, first.columns)
    draw_confusion(segmenter, held_out, folder / CONFUSION)
    draw_machines(segmenter.machines, tables, folder / MACHINES)
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
        error: pd.Series = (1.96 * by_market.std() / np.sqrt(by_market.count())).reindex(range(len(names)))
        means = means.where(counts >= LEAST_BARS)
        at = np.arange(len(names)) + (s - 0.5 * (len(scales) - 1)) * width
        axis.bar(at, means, width=0.92 * width, color=palette[s % len(palette)], label=scale,
                 yerr=error.where(means.notna()).fillna(0.0), error_kw={"elinewidth": 0.8})  # fmt: skip
    axis.set_xticks(range(len(names)), names, fontsize=8)
