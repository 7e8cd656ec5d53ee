"""The states of a segmenter as bars close."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pretrain.segmenter.artifact import Segmenter
from pretrain.segmenter.state_machine import Memory


class SegmentStream:
    """The states of a segmenter as bars close, each as all of history from the same start gives it.

    Args:
        segmenter: the model.
        history: closed bars until now; the machines run through them.
        options: further arguments of `Predictor.stream`.
    """

    def __init__(self, segmenter: Segmenter, history: pd.DataFrame | None = None, **options: Any) -> None:
        self._machines = segmenter.machines
        self._memories: tuple[Memory, ...] | None = None
        self._stream = segmenter.stream(history, **options)
        if history is not None:
            market = segmenter.market(history, **options)
            if len(market) > market.first_decision(segmenter.config.window):
                for row in self._machines.probabilities(segmenter.predict(market)):
                    self._memories = self._machines.step(row, self._memories)

    def append(self, bar: pd.DataFrame | pd.Series | Mapping[str, Any]) -> pd.DataFrame:
        """Take in one closed bar, as `Predictor.predict_stream`: predictions and states of the rows that became known,
        columns of `Segmenter.columns`, then `state_columns`."""
        table = self._stream.append(bar)
        numbers = np.empty((len(table), len(self._machines.state_columns)), np.int8)
        for n, row in enumerate(self._machines.probabilities(table)):
            self._memories = self._machines.step(row, self._memories)
            numbers[n] = [memory.state for memory in self._memories]
        return table.join(self._machines.named(numbers, table.index))
