"""An extractor whose embeddings go on with the states of a segmenter: `features: {segments: RUN}` of an agent's recipe.

Shape legend: `T` bars, `D` width of an embedding, `E` columns of segments, `S` timescales, `C` classes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.market.market import Market
from pretrain import ArtifactError, Extractor
from pretrain.segmenter.artifact import Segmenter

SEGMENTER = "segmenter"  #: folder beside the extractor's


class SegmentedExtractor(Extractor):
    """An extractor with a segmenter: rows of both are what an agent reads.

    What is added to a bar is known when it closes: S * C probabilities of classes, then for each of the S machines and
    the one over them C numbers, 1 for the state that it is in. Machines begin at the first bar of a market that the
    segmenter can decide at, so that states depend on where a history starts until they have once changed since.

    Args:
        extractor: brings network, scaler and features.
        segmenter: of the same base timeframe; its markets are made of the same bars.

    Raises:
        ArtifactError: the base timeframes differ, or the segmenter needs more than bars.
    """

    whole_history = True

    def __init__(self, extractor: Extractor, segmenter: Segmenter) -> None:
        super().__init__(extractor.model, extractor.scaler, extractor.provenance, extractor.features)
        base, own = extractor.config.timeframes[0], segmenter.config.timeframes[0]
        if base != own:
            raise ArtifactError(f"segments are of {own} bars, the extractor reads {base}: train a segmenter on {base}")
        if segmenter.layout.columns:
            raise ArtifactError(
                f"segments need {segmenter.layout.columns} beside the bars, which agents do not give it"
            )
        self.segmenter = segmenter

    @property
    def segment_width(self) -> int:
        """E."""
        scales, classes = len(self.segmenter.config.timescales), len(self.segmenter.config.classes)
        return (2 * scales + 1) * classes

    @property
    def width(self) -> int:
        """D + E."""
        return super().width + self.segment_width

    @property
    def hash(self) -> str:
        """sha256 (hex) over extractor and segmenter."""
        return hashlib.sha256(f"{super().hash} {self.segmenter.hash}".encode()).hexdigest()

    def embed(self, market: Market) -> NDArray[np.float32]:
        """(T, D + E) float32; as `Extractor.embed`, and 0 where the segmenter cannot decide yet."""
        return np.concatenate([super().embed(market), self.segment_rows(market)], axis=1)

    def segment_rows(self, market: Market) -> NDArray[np.float32]:
        """(T, E) float32: what the segmenter says of every bar; no row depends on later bars."""
        own = self.segmenter.market(market.bars[["open", "high", "low", "close", "volume"]], name=market.name)
        table = self.segmenter.predict(own)
        machines = self.segmenter.machines
        chances = machines.probabilities(table)
        return self.placed(market.bars.index, table.index, chances, machines.numbers(chances))

    def placed(
        self, index: pd.Index, told: pd.Index, chances: NDArray[np.float64], numbers: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """(n, E) float32 rows of the bars `index`, 0 where nothing is told.

        Args:
            index: n bars by their opens.
            told: m bars of which the segmenter says something.
            chances: (m, S, C) probabilities.
            numbers: (m, S + 1) states, by their places in the classes.
        """
        out = np.zeros((len(index), self.segment_width), np.float32)
        if not len(told):
            return out
        states = np.eye(len(self.segmenter.machines.classes), dtype=np.float32)[numbers]
        rows = index.get_indexer(told)
        found = np.concatenate([chances.reshape(len(told), -1), states.reshape(len(told), -1)], axis=1)
        out[rows[rows >= 0]] = found[rows >= 0]
        return out

    def save(self, folder: str | Path) -> Path:
        """Writes the extractor into `folder`, and the segmenter beside it."""
        place = super().save(folder)
        self.segmenter.save(place.parent / SEGMENTER)
        return place


def load_extractor(source: Extractor | str | Path, segments: str | Path | None = None) -> Extractor:
    """An extractor, by its folder ("default": the one that ships), with a segmenter's states where one is named.

    Args:
        source: the extractor, or its folder.
        segments: folder of a segmenter, or of the run that made it; None: none.

    Raises:
        ArtifactError: as `Extractor.load`, `segments` holds another model, or the two do not fit.
    """
    extractor = source if isinstance(source, Extractor) else Extractor.load(source)
    if segments is None:
        return extractor
    from pretrain.loading import load

    found = load(segments)
    if not isinstance(found, Segmenter):
        raise ArtifactError(f"features: segments: {segments} holds a {type(found).__name__}; a segmenter is needed")
    return SegmentedExtractor(extractor, found)
