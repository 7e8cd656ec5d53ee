"""What an agent is trained with: markets to learn on and to select on, and the extractor's embeddings of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.features_extractor import EmbeddingTable, embed
from agents.taught_market import TaughtMarket
from pretrain import Extractor


@dataclass(frozen=True)
class EmbeddedMarkets:
    """Markets with their labels, and the embeddings of their bars; the table numbers markets in this order."""

    taught: tuple[TaughtMarket, ...]
    table: EmbeddingTable

    def __repr__(self) -> str:
        return f"EmbeddedMarkets({len(self.taught)} markets)"

    @classmethod
    def of(cls, extractor: Extractor, taught: Sequence[TaughtMarket], *, progress: bool = True) -> EmbeddedMarkets:
        """Embed every decidable bar of every market once."""
        return cls(tuple(taught), embed(extractor, taught, progress=progress))


@dataclass(frozen=True)
class Material:
    """Markets to learn on (`train`), and others to choose weights and hysteresis by (`validation`)."""

    train: EmbeddedMarkets
    validation: EmbeddedMarkets
