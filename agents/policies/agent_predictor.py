"""An agent as a model that predicts: what its extractor says of every bar, and which exposure it would take."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from agents.markets.embedded import EmbeddingTable
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.segmented_extractor import SegmentedExtractor
from cryptoenv.market.market import Market
from pretrain import ArtifactError, MarketLayout, Predictor
from pretrain.extractor.artifact import signed
from pretrain.fitting.blocks import Block
from pretrain.fitting.packing import Wanted

ACCOUNT = 5  #: numbers of an account observation


class AgentPredictor(Predictor):
    """An agent's predictions in one table: its extractor's, then what the agent would do that holds nothing.

    `agent_-1`, `agent_0`, `agent_+1`: by target exposure, adding up to 1: softmax of the agent's preferences, as
    `Agent.decide` gives them. `agent_target`: the exposure it would take, hysteresis included. Where an agent holds a
    position it may decide otherwise: `Agent.decide(bars, held=...)`. An agent whose actions are continuous has its
    target alone.

    Args:
        agent: a trained one.

    Raises:
        ArtifactError: an agent that reads a segmenter's states, too: `predictor_of` gives the predictor of any.
    """

    def __init__(self, agent: Agent) -> None:
        if isinstance(agent.extractor, SegmentedExtractor):
            raise ArtifactError("a block does not hold the segments that this agent reads: use predictor_of(agent)")
        self._begin(agent)

    def _begin(self, agent: Agent) -> None:
        self.agent = agent
        self.device = agent.extractor.device

    @property
    def layout(self) -> MarketLayout:
        """Timeframes, windows and features of its extractor."""
        return self.agent.extractor.layout

    @property
    def hash(self) -> str:
        """sha256 (hex) of its extractor."""
        return self.agent.extractor.hash

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the extractor, then the agent's."""
        positions = () if self.agent.continuous else self.agent.actions
        targets = tuple(f"agent_{signed(position)}" for position in positions)
        return (*self.agent.extractor.columns, *targets, "agent_target")

    def read(self, block: Block) -> NDArray[np.float32]:
        """(S, C) float32 predictions of a block (`Predictor.read`)."""
        extractor = self.agent.extractor
        embeddings = extractor.embedded(block).cpu().numpy()
        return np.concatenate([extractor.read(block), self._preferred(embeddings, len(embeddings))], axis=1)

    def read_several(self, wanted: Wanted) -> NDArray[np.float32]:
        """(n, C) float32 predictions of one decision of each block (`Predictor.read_several`)."""
        extractor = self.agent.extractor
        sigma = np.array([block.sigma[place] for block, place in wanted])
        out = np.zeros((len(wanted), len(self.columns)), np.float32)
        for batch, embedded in extractor.embedded_together(wanted):
            units = np.zeros(len(embedded))
            units[batch.rows] = sigma[batch.which]
            rows = embedded.cpu().numpy()
            said = np.concatenate([extractor.said(embedded, units), self._preferred(rows, len(rows))], axis=1)
            out[batch.which] = said[batch.rows]
        return out

    def _preferred(self, embeddings: NDArray[np.float32], together: int) -> NDArray[np.float32]:
        """(T, A + 1) float32 of the agent's columns, from embeddings (T, D), `together` rows at once."""
        policy = self.agent.decide_on(EmbeddingTable([embeddings]))
        starts = range(0, len(embeddings), together)
        return np.concatenate([self._of(policy, np.arange(start, start + together)) for start in starts])

    def _of(self, policy: AgentPolicy, places: NDArray[np.int64]) -> NDArray[np.float32]:
        index = np.stack([np.zeros(len(places), np.int64), places], axis=1)
        account = np.zeros((len(places), ACCOUNT), np.float32)
        parts = []
        if not self.agent.continuous:
            liking = torch.from_numpy(policy.preferences(index, account))
            parts.append(torch.softmax(liking.double(), dim=1).float().numpy())
        parts.append(policy.targets(index, account).astype(np.float32)[:, None])
        return np.concatenate(parts, axis=1)

    def to(self, device: str) -> Self:
        """The model, its extractor moved to a device; the policy's small network stays on the CPU."""
        self.device = self.agent.extractor.to(device).device
        return self

    def draw(self, market: Market, table: pd.DataFrame, folder: Path) -> tuple[Path, ...]:
        """The extractor's picture: as `Predictor.draw`."""
        return self.agent.extractor.draw(market, table, folder)
