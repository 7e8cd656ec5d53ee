"""Scores of texts as one row per hour, stamped with the moment that the row is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.exogenous import duration_us

HOUR = "1h"
COLUMNS = ("sentiment_mean", "sentiment_count")


def hourly_scores(texts: pd.DataFrame, scores: NDArray[np.float64], delay: str = "5min") -> pd.DataFrame:
    """Mean score and number of the texts that became known in each hour.

    A text is known `delay` after its time; an hour's row is stamped with the hour's END, when the last of its texts is
    known, so that it is joined to bars with `known_after="0s"`. An hour without texts has count 0 and mean 0.

    Args:
        texts: (n, 1) on a UTC index, increasing (`read_texts`).
        scores: (n,) in [-1, 1].
        delay: from a text's time to the moment that it could be read.

    Returns:
        (hours, 2) float64, columns COLUMNS, on a UTC index `timestamp` of every hour from the first to the last.

    Raises:
        BarsError: an unreadable or negative delay. ValueError: no texts, or as many scores as there are not texts.
    """
    if len(texts) == 0 or len(texts) != len(scores):
        raise ValueError(f"{len(texts)} texts and {len(scores)} scores: as many of both, at least one")
    known = pd.DatetimeIndex(texts.index) + pd.Timedelta(duration_us("delay", delay), unit="us")
    ends = known.ceil(HOUR)
    grouped = pd.Series(scores, ends).groupby(level=0)
    hours = pd.date_range(ends[0], ends[-1], freq=HOUR, name="timestamp")
    table = pd.DataFrame({COLUMNS[0]: grouped.mean(), COLUMNS[1]: grouped.size()}).reindex(hours)
    return table.fillna(0.0).astype(np.float64)
