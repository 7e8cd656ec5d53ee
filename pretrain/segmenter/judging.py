"""How good a segmenter is on markets it has not seen: beside the exact filter, where one knows the truth, and beside
what needs no model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.progress import tqdm
from pretrain.data.labelled_market import LabelledMarket
from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.classes import Timescale, class_beliefs, labelled_regimes
from pretrain.segmenter.scores import (
    change_scores,
    changes_of,
    class_scores,
    confusion_counts,
    probability_scores,
    summary_scores,
)
from pretrain.segmenter.training import held_rows
from synthetic import regime_market

STATES, LIKELIEST, FILTER, MAJORITY = "segmenter", "its likeliest class", "exact filter", "most common class"


class Said(NamedTuple):
    """What a method says of one market on one timescale: states (n,) and, where it gives some, probabilities (n, C)."""

    states: NDArray[np.integer]
    probabilities: NDArray[np.floating] | None
    labels: NDArray[np.integer]


def scores_of(said: Sequence[Said], classes: Sequence[str]) -> dict[str, float]:
    """All scores of a method on several markets together (`pretrain.segmenter.scores`)."""
    count = len(classes)
    counts = sum((confusion_counts(one.labels, one.states, count) for one in said), np.zeros((count, count), np.int64))
    found = summary_scores(counts)
    for name, values in class_scores(counts).items():
        found |= {f"{name}_{kind}": float(value) for kind, value in zip(classes, values, strict=True)}
    told = [one for one in said if one.probabilities is not None]
    if told:
        chances = np.concatenate([one.probabilities for one in told if one.probabilities is not None])
        found |= probability_scores(np.concatenate([one.labels for one in told]), chances)
    return found | change_scores([changes_of(one.labels, one.states) for one in said])


class Judged(NamedTuple):
    """What is judged on one market: its labels, and where it is synthetic what the exact filter believes, (T, S, C)."""

    item: LabelledMarket
    beliefs: NDArray[np.float64] | None = None


def judged_task(
    segmenter: Segmenter, timescales: Sequence[Timescale], task: str, seeds: Sequence[int], days: int,
    *, progress: bool = True,
) -> Iterable[Judged]:  # fmt: skip
    """The markets of a task by their seeds, with the true class of every bar and the exact filter's beliefs.

    Raises:
        ArtifactError: the markets do not fit the segmenter. ConfigError: its timescales have no mapping.
    """
    for seed in tqdm(seeds, desc="markets", unit="market", disable=not progress):
        sample = regime_market(task, days, seed)
        market = segmenter.market(sample.bars, name=sample.name)
        item = labelled_regimes(sample, market, timescales, segmenter.config.window, "regimes")
        yield Judged(item, class_beliefs(sample, timescales))


def said_of(segmenter: Segmenter, judged: Judged) -> dict[tuple[str, str], Said]:
    """By method and timescale, what is said of the rows that have labels."""
    found = {}
    config, item = segmenter.config, judged.item
    for s, (scale, (chances, labels)) in enumerate(zip(config.timescales, held_rows(segmenter, item), strict=True)):
        found[STATES, scale] = Said(segmenter.machines.each[s].states_of(chances), None, labels)
        found[LIKELIEST, scale] = Said(chances.argmax(axis=1), chances, labels)
        if judged.beliefs is not None:
            believed = judged.beliefs[item.end - len(labels) : item.end, s]
            found[FILTER, scale] = Said(believed.argmax(axis=1), believed, labels)
    return found


def score_table(segmenter: Segmenter, markets: Iterable[Judged]) -> pd.DataFrame:
    """Scores by timescale and method: the segmenter's states, its likeliest class, the exact filter's where it is
    known, and the class most common in these markets said at every bar.

    Returns:
        Indexed by `timescale` and `method`; columns as of `scores_of`, NaN where a method has none.
    """
    by_method: dict[tuple[str, str], list[Said]] = {}
    for judged in markets:
        for key, said in said_of(segmenter, judged).items():
            by_method.setdefault(key, []).append(said)
    classes, rows = segmenter.config.classes, {}
    for scale in segmenter.config.timescales:
        for method in (STATES, LIKELIEST, FILTER):
            if (method, scale) in by_method:
                rows[scale, method] = scores_of(by_method[method, scale], classes)
        own = [said.labels for said in by_method[STATES, scale]]
        common = int(np.bincount(np.concatenate([labels[labels >= 0] for labels in own])).argmax())
        rows[scale, MAJORITY] = scores_of([Said(np.full(len(x), common), None, x) for x in own], classes)
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["timescale", "method"])
    return table
