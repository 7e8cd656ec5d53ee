"""What a person looks at after pretraining: five pictures, saved with the run.

All draw from held-out markets but the learning curves, which come from the run's TensorBoard log.
Shape legend: `R` decisions, `P` held positions, `A` actions, `H` horizons, `Q` quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.files.durable_files import make_folder
from pretrain.data.labelled_market import NO_LABEL, LabelledMarket
from pretrain.data.windows import WindowDataset
from pretrain.extractor.artifact import Extractor, signed
from pretrain.extractor.model import Predictions
from pretrain.fitting.batches import evenly_spread
from pretrain.fitting.drawing import (
    CURVES,
    LINE,
    LONG,
    SECOND,
    SHORT,
    SHOWN_BARS,
    colours,
    draw_learning_curves,
    new_pyplot,
    reliability,
    save_figure,
    shades,
)

CONFUSION, ATTENTION = "label_confusion.png", "attention.png"
CALIBRATION, DECISIONS = "calibration.png", "decisions.png"
ATTENDED = 512  #: decisions that attention is averaged over


def draw_run(extractor: Extractor, held_out: Sequence[LabelledMarket], folder: Path, log: Path) -> tuple[Path, ...]:
    """Draw everything into `folder`.

    Args:
        extractor: trained.
        held_out: markets that it was not trained on.
        folder: made where it does not exist.
        log: folder of the run's TensorBoard events.

    Returns:
        The files written. Attention is drawn for the transformer only.
    """
    make_folder(folder)
    draw_learning_curves(log, folder / CURVES)
    dataset, predictions = _predicted(extractor, held_out)
    draw_confusion(extractor, dataset, predictions, folder / CONFUSION)
    draw_calibration(extractor, dataset, predictions, folder / CALIBRATION)
    draw_decisions(extractor, held_out[0], folder / DECISIONS)
    names = [CURVES, CONFUSION, CALIBRATION, DECISIONS]
    if extractor.config.encoder == "transformer":
        draw_attention(extractor, dataset, folder / ATTENTION)
        names.append(ATTENTION)
    return tuple(folder / name for name in names)


def _predicted(extractor: Extractor, held_out: Sequence[LabelledMarket]) -> tuple[WindowDataset, Predictions]:
    """The held-out decisions, and what the heads say about each (R first)."""
    dataset = WindowDataset(held_out, extractor.config.window, extractor.config.horizons)
    parts = [extractor.embed(item.market)[dataset.t[dataset.market == m]] for m, item in enumerate(held_out)]
    with torch.inference_mode():
        return dataset, extractor.model.predict(torch.from_numpy(np.concatenate(parts)))


def confusion(logits: NDArray[np.float32], labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """(P, A, A): of the decisions whose label is row i, the share in which column j was the likeliest; NaN if none.

    Args:
        logits: (R, P, A) float32.
        labels: (R, P) int8, -1 ignored.
    """
    positions, actions = logits.shape[1:]
    counts = np.zeros((positions, actions, actions))
    for p in range(positions):
        known = labels[:, p] != NO_LABEL
        np.add.at(counts[p], (labels[known, p], logits[known, p].argmax(axis=1)), 1.0)
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=2, keepdims=True)


def draw_confusion(extractor: Extractor, dataset: WindowDataset, predictions: Predictions, path: Path) -> None:
    """What was asked for against what was answered, per held position."""
    positions = extractor.config.positions
    shares = confusion(predictions.action_logits.numpy(), dataset.labels)
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(
        1, len(positions), figsize=(3.1 * len(positions), 3.4), layout="constrained", squeeze=False
    )
    names = [signed(position) for position in positions]
    for axis, held, table in zip(axes[0], names, shares, strict=True):
        axis.imshow(table, vmin=0.0, vmax=1.0, cmap="Blues")
        for (i, j), share in np.ndenumerate(table):
            text = "–" if np.isnan(share) else f"{100 * share:.0f}%"
            axis.text(j, i, text, ha="center", va="center", color="white" if share > 0.6 else "black", fontsize=9)
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(names)), names)
        axis.set_title(f"holding {held}", fontsize=10)
        axis.set_xlabel("predicted target")
    axes[0, 0].set_ylabel("label")
    save_figure(pyplot, figure, path)


def draw_attention(extractor: Extractor, dataset: WindowDataset, path: Path) -> None:
    """Where the summary looks: mean attention per patch, by timeframe and age."""
    config = extractor.config
    rows = evenly_spread(len(dataset), ATTENDED)
    with torch.inference_mode():
        weights = extractor.model.attention(dataset.batch(rows).windows).mean(dim=0).numpy()
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(
        1, len(config.timeframes), figsize=(3.4 * len(config.timeframes), 2.8), layout="constrained", sharey=True,
        squeeze=False,
    )  # fmt: skip
    start = 1
    for axis, timeframe, bars, patch in zip(axes[0], config.timeframes, config.window, config.patches, strict=True):
        count = bars // patch
        share = weights[start : start + count]
        start += count
        ages = bars - patch * (np.arange(count) + 0.5)
        axis.bar(-ages, 100.0 * share, width=0.85 * patch, color=LINE)
        axis.set_title(f"{timeframe}: {100.0 * share.sum():.0f}% of attention", fontsize=10)
        axis.set_xlabel(f"{timeframe} bars ago")
        axis.set_xlim(-bars, 0)
        axis.xaxis.set_major_formatter(lambda value, _: f"{abs(value):.0f}")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("attention per patch, %")
    figure.suptitle(f"the summary itself keeps {100.0 * weights[0]:.0f}%", fontsize=9)
    save_figure(pyplot, figure, path)


def draw_calibration(extractor: Extractor, dataset: WindowDataset, predictions: Predictions, path: Path) -> None:
    """Said against seen: probabilities that a return is positive, and how often returns lie below each quantile."""
    config = extractor.config
    returns = dataset.returns
    said = torch.sigmoid(predictions.direction_logits).numpy()
    quantiles = predictions.return_quantiles.numpy()
    pyplot = new_pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    for axis in (left, right):
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axis.grid(alpha=0.25)
    for h, (horizon, colour) in enumerate(zip(config.horizons, colours(len(config.horizons)), strict=True)):
        known = np.isfinite(returns[:, h])
        middle, seen = reliability(said[known, h], returns[known, h] > 0.0)
        left.plot(middle, seen, marker="o", markersize=3.5, linewidth=1.2, color=colour, label=f"{horizon} bars")
        below = [(returns[known, h] < quantiles[known, h, q]).mean() for q in range(len(config.quantiles))]
        right.plot(config.quantiles, below, marker="o", markersize=4, linewidth=1.2, color=colour)
    left.set_xlabel("probability said that the return is positive")
    left.set_ylabel("share seen")
    left.legend(frameon=False, fontsize=8)
    right.set_xlabel("quantile said")
    right.set_ylabel("share of returns below it")
    save_figure(pyplot, figure, path)


def draw_decisions(extractor: Extractor, item: LabelledMarket, path: Path) -> None:
    """The last days of a held-out market: price, what the label and the extractor would hold, and how sure it is."""
    market, positions = item.market, np.array(extractor.config.positions)
    logits = extractor.action_logits(market)
    stop = item.end
    start = max(item.start, market.first_decision(extractor.config.window), stop - SHOWN_BARS)
    flat = int(np.abs(positions).argmin())
    shown = {"label": _held(item.labels[start:stop], flat), "extractor": _held(logits[start:stop].argmax(axis=2), flat)}
    chance = torch.softmax(torch.from_numpy(logits[start:stop, flat]), dim=1).numpy()
    times = market.bars.index[start:stop]
    pyplot = new_pyplot()
    figure, axes = pyplot.subplots(
        3, 1, figsize=(10.0, 6.0), height_ratios=(3, 1.3, 1.3), sharex=True, layout="constrained"
    )
    axes[0].plot(times, market.prices[start:stop, CLOSE], color="#333333", linewidth=0.9)
    low, high = axes[0].get_ylim()
    held = positions[shown["extractor"]]
    for side, colour, name in ((1.0, LONG, "extractor long"), (-1.0, SHORT, "extractor short")):
        axes[0].fill_between(times, low, high, where=held * side > 0, color=colour, alpha=0.18, step="post",
                             linewidth=0, label=name)  # fmt: skip
    axes[0].set_ylim(low, high)
    axes[0].set_ylabel("close")
    axes[0].legend(ncols=2, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    for (name, indices), colour in zip(shown.items(), (SECOND, LINE), strict=True):
        axes[1].step(times, positions[indices], where="post", color=colour, linewidth=1.2, label=name)
    axes[1].set_ylabel("target")
    axes[1].legend(ncols=2, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.95))
    axes[2].stackplot(times, chance.T, colors=shades(positions), labels=[signed(p) for p in positions])
    axes[2].set_ylim(0, 1)
    axes[2].set_ylabel("probability\nfrom flat")
    axes[2].legend(ncols=len(positions), frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.0, 0.95))
    save_figure(pyplot, figure, path)


def _held(targets: NDArray[np.integer], held: int) -> NDArray[np.int64]:
    """(R,) position after each decision of a table (R, P), from `held` on; an unknown target keeps it."""
    out = np.empty(len(targets), np.int64)
    for t, row in enumerate(targets):
        held = int(row[held]) if row[held] != NO_LABEL else held
        out[t] = held
    return out
