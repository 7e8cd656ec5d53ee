"""Several agents that decide together, and hold less where they disagree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agents.markets.embedded import EmbeddingTable, embed
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.composed.composed_agent import ComposedAgent, require_parts, whole_positions
from agents.policies.heads import HEADS, bind, copy_of
from agents.policies.policy_shape import Observation
from agents.policies.trading_policy import TARGET_COLUMN
from agents.policies.value_heads import LOG_ODDS
from agents.settings import TradingSettings
from cryptoenv.files.typed_values import Range, require_numbers
from pretrain import Extractor

Views = Callable[[Observation], torch.Tensor]  #: preferences (K, N, A) of K views for N observations
WITHIN = 1e-6  #: float32 exposures nearer than this to a step are that step


@dataclass(frozen=True)
class EnsembleAgent(ComposedAgent):
    """Agents of one kind that decide together; how much they disagree says how much is held.

    What is held is chosen by the mean of the members' preferences, with hysteresis, as an `Agent` chooses. How much of
    it follows from how much each member prefers it to being flat: with mean `m` and standard deviation `s` of these
    leads over the members, the share is `m / (m + caution * s)`, rounded to `step`. With `caution=0` it is the whole
    position: a plain ensemble. One member with a quantile head (QR-DQN) stands for as many as it has quantiles: then
    it is the spread of what may come, not of opinions, that makes it cautious.

    Args:
        members: trained agents with the same settings, which choose among positions of one size per side.
        margin: hysteresis of the mean preference.
        caution: how much disagreement counts, 0 or more.
        step: shares of a position are multiples of this; it changes when the wanted share is a whole step away.

    Raises:
        ValueError: members that do not go together. ConfigError: a number outside its range.

    Example:
        >>> from dataclasses import replace
        >>> from agents.policies.agent import Agent
        >>> from agents.policies.composed.ensemble import share_of_agreement
        >>> import numpy as np
        >>> share_of_agreement(np.array([[4.0, 4.0], [2.0, -1.0], [3.0, 3.0]]), caution=1.0).round(2).tolist()
        [0.79, 0.48]
    """

    members: tuple[Agent, ...]
    margin: float = 0.0
    caution: float = 1.0
    step: float = 0.25

    def __post_init__(self) -> None:
        require_parts(self.members, "members")
        ranges = {"margin": Range(0.0), "caution": Range(0.0), "step": Range(0.0, 1.0, above=True)}
        require_numbers(self, ranges)

    @property
    def settings(self) -> TradingSettings:
        """Of the members."""
        return self.members[0].settings

    @property
    def extractor(self) -> Extractor:
        """Of the first member; others may have their own of the same layout."""
        return self.members[0].extractor

    def on(self, labelled: Sequence[ExpertMarket], table: EmbeddingTable | None = None) -> EnsemblePolicy:
        """Its decisions on these markets; `table`: their embeddings by the extractor that all members share."""
        tables = {} if table is None else {self.extractor.hash: table}
        views = []
        for member in self.members:
            if member.extractor.hash not in tables:
                tables[member.extractor.hash] = embed(member.extractor, labelled, progress=False)
            views.append(views_of(member, tables[member.extractor.hash]))
        return EnsemblePolicy(self, views)

    def changed(self, **changes: Any) -> EnsembleAgent:
        """The same members with another `margin`, `caution` or `step`."""
        return replace(self, **changes)


class EnsemblePolicy:
    """Decisions of an ensemble on given markets.

    Args:
        agent: the ensemble.
        views: of its members, with embeddings bound.
        margin, caution: instead of the agent's, one number or one per row (N,).
    """

    continuous = True

    def __init__(
        self,
        agent: EnsembleAgent,
        views: Sequence[Views],
        margin: float | NDArray[np.float64] | None = None,
        caution: float | NDArray[np.float64] | None = None,
    ) -> None:
        self._views, self._step = views, agent.step
        self._positions = np.asarray(agent.settings.positions, dtype=np.float64)
        self.positions = agent.settings.positions
        self._flat, self._limit = agent.settings.flat, float(agent.settings.limits.exposure)
        self._margin = agent.margin if margin is None else margin
        self._caution = agent.caution if caution is None else caution
        self._agent = agent

    def varied(self, margin: NDArray[np.float64] | None, caution: NDArray[np.float64] | None) -> EnsemblePolicy:
        """The same with a margin or caution for each row (N,)."""
        return EnsemblePolicy(self._agent, self._views, margin, caution)

    def preferences(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float64]:
        """(K, N, A) float64 of all views, for rows `index` (N, 2) with whole positions in `account` (N, 5)."""
        seen = {"index": torch.from_numpy(index), "account": torch.from_numpy(account)}
        with torch.no_grad():
            return torch.cat([view(seen) for view in self._views]).numpy().astype(np.float64)

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shares (N, 1) of the exposure limit, for rows `index` (N, 2) with account observations `account` (N, 5)."""
        told, held = whole_positions(account, self.positions)
        every = self.preferences(index, told)
        liking, rows = every.mean(axis=0), np.arange(len(index))
        best = liking.argmax(axis=1)
        chosen = np.where(liking[rows, best] - liking[rows, held] > self._margin, best, held)
        whole = self._positions[chosen]
        leads = every[:, rows, chosen] - every[:, rows, np.full(len(rows), self._flat)]
        wanted = share_of_agreement(leads, self._caution)
        target = account[:, TARGET_COLUMN].astype(np.float64)
        now = np.divide(target, whole, out=np.zeros(len(rows)), where=(chosen == held) & (whole != 0.0))
        steps = np.round(wanted / self._step) * self._step
        share = np.where((chosen == held) & (np.abs(wanted - now) < self._step - WITHIN), now, np.minimum(steps, 1.0))
        return (whole * share / self._limit).astype(np.float32)[:, None]


def share_of_agreement(leads: NDArray[np.float64], caution: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) shares in [0, 1] of a position, by how much each of K members prefers it to being flat.

    `m / (m + caution * s)` with mean `m` and standard deviation `s` of the leads over members; 0 where they would
    rather be flat on average, and the whole position where `caution` is 0.

    Args:
        leads: (K, N) float64. caution: a number, or one per row (N,).
    """
    mean, spread = leads.mean(axis=0), leads.std(axis=0)
    cautious = np.broadcast_to(np.asarray(caution, dtype=np.float64), mean.shape)
    below = np.maximum(mean, 0.0) + cautious * spread
    share = np.divide(np.maximum(mean, 0.0), below, out=np.zeros_like(mean), where=below > 0.0)
    found: NDArray[np.float64] = np.where(cautious == 0.0, 1.0, share)
    return found


def views_of(agent: Agent, table: EmbeddingTable) -> Views:
    """What an agent prefers, as one view, or one per quantile; on the markets whose embeddings `table` holds."""
    policy = copy_of(agent.policy)
    bind(policy, table)
    if agent.head == "quantile":
        return lambda seen: LOG_ODDS * policy.quantile_net_target(seen).movedim(1, 0)
    preferences, positions = HEADS[agent.head].preferences, agent.settings.positions
    return lambda seen: preferences(policy, seen, positions)[None]
