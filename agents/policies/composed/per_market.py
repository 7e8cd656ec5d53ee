"""An agent of its own for each market, as adaptation leaves them: one policy that asks each about its market alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from agents.markets.embedded import EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.trading_policy import held_position


class PerMarketPolicy:
    """Decisions of M clones, the m-th on market m, all in one pass.

    Args:
        agents: M agents with a clone's head, of one shape, with the same settings and extractor.
        table: embeddings of the M markets, in their order.

    Raises:
        ValueError: agents that differ in more than weights and margin, or another number of them than markets.
    """

    def __init__(self, agents: Sequence[Agent], table: EmbeddingTable) -> None:
        first = agents[0]
        for one in agents:
            if (one.head, one.shape, one.settings) != ("actor", first.shape, first.settings):
                raise ValueError(f"{one} is not of the kind of {first}: heads 'actor' of one shape, the same settings")
        if len(agents) != len(table.offsets):
            raise ValueError(f"{len(agents)} agents do not fit {len(table.offsets)} markets: pass one for each")
        self.positions = first.settings.positions
        self._margins = np.array([one.margin for one in agents])
        self._rows, self._offsets = torch.from_numpy(table.rows), torch.from_numpy(table.offsets)
        states = [one.policy.state_dict() for one in agents]
        names = [f"mlp_extractor.policy_net.{2 * k}" for k in range(len(first.shape.hidden))] + ["action_net"]
        self._layers = [
            tuple(torch.stack([state[f"{name}.{part}"] for state in states]) for part in ("weight", "bias"))
            for name in names
        ]

    def preferences(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, A) float32, larger is better, for rows (market, bar) (N, 2) with account observations (N, 5)."""
        market, bar = torch.from_numpy(index[:, 0]), torch.from_numpy(index[:, 1])
        with torch.no_grad():
            found = torch.cat([self._rows[self._offsets[market] + bar], torch.from_numpy(account)], dim=1)[:, :, None]
            for k, (weight, bias) in enumerate(self._layers):
                found = torch.baddbmm(bias[market][:, :, None], weight[market], found)
                if k < len(self._layers) - 1:
                    found = found.tanh()
        liking: NDArray[np.float32] = found[:, :, 0].numpy()
        return liking

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.int64]:
        """Actions (N,) for rows `index` (N, 2) with account observations `account` (N, 5), with each one's margin."""
        liking, rows = self.preferences(index, account), np.arange(len(index))
        best, held = liking.argmax(axis=1), held_position(account, self.positions)
        found: NDArray[np.int64] = np.where(
            liking[rows, best] - liking[rows, held] > self._margins[index[:, 0]], best, held
        )
        return found
