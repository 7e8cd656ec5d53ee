"""How well an extractor recognises chart patterns when they are confirmed, kind by kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from cryptoenv.market.market import Market
from pretrain.data.teachers import RECOGNISED
from pretrain.extractor.artifact import Extractor
from synthetic import PATTERN_KINDS, PatternSample

WITHIN = 8  #: bars that a call may come after the confirmation, or before it


def recognised(extractor: Extractor, market: Market) -> NDArray[np.int64]:
    """(T,) int64 likeliest of `RECOGNISED` at each bar, 0 ("none") before the first decision.

    Args:
        extractor: pretrained with the teacher "patterns".
        market: of its timeframes and features.

    Raises:
        ValueError: its regimes are not patterns. ArtifactError: the market does not fit the extractor.
    """
    kind, regimes = extractor.provenance.label_kind, extractor.config.regimes
    if regimes < len(RECOGNISED):
        raise ValueError(f"regimes={regimes} ({kind}): an extractor that knows patterns has {len(RECOGNISED)} or more")
    with torch.no_grad():
        logits = extractor.model.predict(torch.from_numpy(extractor.embed(market))).regime_logits
    assert logits is not None
    found = logits[:, : len(RECOGNISED)].argmax(dim=1).numpy()
    found[: market.first_decision(extractor.config.window)] = 0
    return np.asarray(found, np.int64)


def recognition(said: Sequence[NDArray[np.int64]], samples: Iterable[PatternSample], first: int) -> pd.DataFrame:
    """Precision and recall at confirmation, a row for each kind.

    A call is the first of consecutive bars that a kind is said at. It is right where it comes from `WITHIN` bars before
    the confirmation of such a pattern on, and not after its end. A pattern is recognised where a bar at most `WITHIN`
    from its confirmation says its kind.

    Args:
        said: (T,) of each sample, as `recognised` gives them.
        samples: markets that the extractor has not seen.
        first: bar from which confirmations and calls count.

    Returns:
        Columns `patterns` (confirmed ones), `recall`, `calls`, `precision` (NaN without patterns or calls).
    """
    counts = pd.DataFrame(0, index=list(PATTERN_KINDS), columns=["patterns", "found", "calls", "right"])
    for told, sample in zip(said, samples, strict=True):
        confirmed = sample.spans[sample.spans["confirmation"] >= first + WITHIN]
        begins = np.flatnonzero((told[1:] != told[:-1]) & (told[1:] > 0)) + 1
        begins = begins[begins >= first]
        for place, kind in enumerate(PATTERN_KINDS, start=1):
            mine = confirmed[confirmed["kind"] == kind]
            at, end = mine["confirmation"].to_numpy(), mine["end"].to_numpy()
            near = [(told[t - WITHIN : t + WITHIN + 1] == place).any() for t in at.tolist()]
            calls = begins[told[begins] == place]
            right = ((calls[:, None] >= at - WITHIN) & (calls[:, None] <= end)).any(axis=1)
            counts.loc[kind] += [len(mine), sum(near), len(calls), int(right.sum())]
    shares = {"recall": counts["found"] / counts["patterns"], "precision": counts["right"] / counts["calls"]}
    table = counts.assign(**shares)
    return table[["patterns", "recall", "calls", "precision"]]
