"""The predictor of an agent that reads a segmenter's states beside its extractor's embeddings.

States depend on all of history, so that no block holds them: a market is read whole, and a stream runs the segmenter
along. The agent's network reads rows in chunks of one shape, each at its place there, so that a stream has the same
bits. Shape legend: `D` width of an embedding, `E` columns of segments, `C` columns of the extractor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from agents.policies.agent import Agent
from agents.policies.agent_predictor import AgentPredictor
from agents.policies.segmented_extractor import SegmentedExtractor
from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from pretrain import ArtifactError, Extractor, MarketLayout, Predictor
from pretrain.fitting.blocks import Block
from pretrain.fitting.predicting import PredictionStream
from pretrain.segmenter.stream import SegmentStream

CHUNK = 16  #: rows that the agent's network reads together


class _Embedding(Predictor):
    """What an extractor says, and its embeddings beside it: C + D columns."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor, self.device = extractor, extractor.device

    @property
    def layout(self) -> MarketLayout:
        return self._extractor.layout

    @property
    def columns(self) -> tuple[str, ...]:
        width = self._extractor.config.width
        return (*self._extractor.columns, *(f"embedding_{number}" for number in range(width)))

    def read(self, block: Block) -> NDArray[np.float32]:
        return np.concatenate([self._extractor.read(block), self._extractor.embedded(block).cpu().numpy()], axis=1)

    def to(self, device: str) -> Self:
        self.device = self._extractor.to(device).device
        return self

    def draw(self, market: Market, table: pd.DataFrame, folder: Any) -> tuple[Any, ...]:
        return self._extractor.draw(market, table, folder)


class SegmentedPredictor(AgentPredictor):
    """An agent's predictions, as `AgentPredictor` gives them, where it reads segments.

    Its states begin at the first bar of what it is given that the segmenter can decide at.

    Args:
        agent: on a `SegmentedExtractor`.
    """

    def __init__(self, agent: Agent) -> None:
        assert isinstance(agent.extractor, SegmentedExtractor)
        self._begin(agent)
        self.segmented: SegmentedExtractor = agent.extractor
        self.embedding = _Embedding(agent.extractor)

    def read(self, block: Block) -> NDArray[np.float32]:
        """No block can be read alone: there are no (S, C) predictions of one.

        Raises:
            ArtifactError: always.
        """
        raise ArtifactError("a block does not hold the segments that this agent reads: predict a market, or stream")

    def to(self, device: str) -> Self:
        """The model, its extractor and its segmenter moved to a device."""
        self.device = self.embedding.to(device).device
        self.segmented.segmenter.to(device)
        return self

    def predict(self, source: Market | pd.DataFrame, *, reference: pd.DataFrame | None = None) -> pd.DataFrame:
        """As `Predictor.predict`."""
        market = source if isinstance(source, Market) else self.market(source, reference=reference)
        table = self.embedding.predict(source, reference=reference)
        rows = self.segmented.segment_rows(market)
        return self.joined(table, rows[market.bars.index.get_indexer(table.index)])

    def stream(
        self,
        history: pd.DataFrame | None = None,
        *,
        reference: pd.DataFrame | None = None,
        timeframe: str | None = None,
    ) -> PredictionStream:
        """As `Predictor.stream`."""
        embedded = self.embedding.stream(history, reference=reference, timeframe=timeframe)
        return _SegmentedStream(self, embedded, SegmentStream(self.segmented.segmenter, history, timeframe=timeframe))

    def joined(self, table: pd.DataFrame, segments: NDArray[np.float32]) -> pd.DataFrame:
        """The predictions of rows whose embeddings (n, C + D) and segments (n, E) are known."""
        if not len(table):
            return pd.DataFrame(np.zeros((0, len(self.columns)), np.float32), table.index, list(self.columns))
        values, count = table.to_numpy(np.float32), len(self.segmented.columns)
        whole = np.concatenate([values[:, count:], segments], axis=1)
        numbers = pd.DatetimeIndex(table.index).as_unit("ms").asi8 // timeframe_ms(self.layout.timeframes[0])
        chunks = np.unique(numbers // CHUNK, return_inverse=True)[1].ravel()
        places = chunks * CHUNK + numbers % CHUNK
        spread = np.zeros(((int(chunks[-1]) + 1) * CHUNK, whole.shape[1]), np.float32)
        spread[places] = whole
        said = np.concatenate([values[:, :count], self._preferred(spread, CHUNK)[places]], axis=1)
        return pd.DataFrame(said, index=table.index, columns=list(self.columns))


class _SegmentedStream(PredictionStream):
    """The predictions of a `SegmentedPredictor` as bars close."""

    def __init__(self, model: SegmentedPredictor, embedded: PredictionStream, segments: SegmentStream) -> None:
        self._predictor, self._embedded, self._segments = model, embedded, segments

    def append(self, bar: pd.DataFrame | pd.Series | Mapping[str, Any]) -> pd.DataFrame:
        """As `Predictor.predict_stream`."""
        table, told = self._embedded.append(bar), self._segments.append(bar)
        extractor = self._predictor.segmented
        machines = extractor.segmenter.machines
        codes = [told[name].cat.codes.to_numpy() for name in machines.state_columns]
        numbers = np.stack(codes, axis=1).astype(np.int64)
        rows = extractor.placed(table.index, told.index, machines.probabilities(told), numbers)
        return self._predictor.joined(table, rows)


def predictor_of(agent: Agent) -> AgentPredictor:
    """The predictor of an agent, whatever it reads."""
    return SegmentedPredictor(agent) if isinstance(agent.extractor, SegmentedExtractor) else AgentPredictor(agent)
