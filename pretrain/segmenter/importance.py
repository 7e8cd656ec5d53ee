"""What every pursuit feature is worth: macro-F1 lost on held-out markets when its values are permuted among decisions.

A feature is permuted on all timeframes together (Breiman 2001; permuted, not left out: the network is not trained
again). The last row permutes all pursuit features at once, since those that tell the same stand in for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.windows import WindowDataset
from pretrain.fitting.batches import evenly_spread
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.scores import confusion_counts, summary_scores

PREFIX = "pursuit_"
ALL = "all pursuit features"
ROWS = 192  #: decisions per market
MARKETS = 8  #: at most


@dataclass(frozen=True)
class Importance:
    """Macro-F1 (mean of the timescales) lost per feature, (F,) each: mean over markets and a 95% interval; `score`:
    unpermuted."""

    names: tuple[str, ...]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    score: float
    markets: int


def pursuit_importance(segmenter: Segmenter, held_out: Sequence[LabelledMarket], seed: int = 0) -> Importance | None:
    """What the pursuit features of a segmenter are worth; None where it reads none.

    The class is the likeliest one, not the machine's state: a permuted row has no past. Decisions are evenly spread
    over each market, at most ROWS of each of the first MARKETS.

    Args:
        segmenter: trained.
        held_out: markets with labels that it was not trained on.
        seed: of the permutations.
    """
    config = segmenter.config
    names = sorted({n for named in config.feature_names for n in named if n.startswith(PREFIX)})
    if not names:
        return None
    rng = np.random.default_rng(seed)
    chosen = list(held_out)[:MARKETS]
    lost = np.empty((len(chosen), len(names) + 1))
    scores = np.empty(len(chosen))
    for m, item in enumerate(chosen):
        dataset = WindowDataset([item], config.window, ())
        batch = dataset.batch(evenly_spread(len(dataset), ROWS))
        labels = batch.columns.nan_to_num(-1.0).long().numpy()
        order = torch.from_numpy(rng.permutation(len(labels)))
        scores[m] = _score(segmenter, batch.windows, labels)
        for f, feature in enumerate([{name} for name in names] + [set(names)]):
            lost[m, f] = scores[m] - _score(segmenter, _permuted(segmenter, batch.windows, feature, order), labels)
    mean = lost.mean(axis=0)
    half = 1.96 * lost.std(axis=0, ddof=1) / np.sqrt(len(chosen)) if len(chosen) > 1 else np.zeros_like(mean)
    return Importance((*names, ALL), mean, mean - half, mean + half, float(scores.mean()), len(chosen))


def _permuted(segmenter: Segmenter, windows: Sequence[Tensor], features: set[str], order: Tensor) -> list[Tensor]:
    out = []
    for window, named in zip(windows, segmenter.config.feature_names, strict=True):
        columns = [k for k, name in enumerate(named) if name in features]
        changed = window.clone()
        changed[:, :, columns] = window[order][:, :, columns]
        out.append(changed)
    return out


def _score(segmenter: Segmenter, windows: Sequence[Tensor], labels: NDArray[np.int64]) -> float:
    """Mean over the timescales of the macro-F1 of the likeliest classes."""
    with torch.inference_mode():
        said = segmenter.model.logits(segmenter.model(windows)).argmax(dim=-1).numpy()
    classes = len(segmenter.config.classes)
    found = [
        summary_scores(confusion_counts(labels[:, s], said[:, s], classes))["macro_f1"] for s in range(said.shape[1])
    ]
    return float(np.nanmean(found))
