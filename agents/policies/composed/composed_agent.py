"""What agents made of agents have in common: they answer with exposures, shares of the positions their parts know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agents.markets.embedded import EmbeddingTable
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent
from agents.policies.trading_policy import TARGET_COLUMN
from agents.settings import TradingSettings
from pretrain import Extractor

EXPOSURE_COLUMN = 0  #: of the account observation


class ExposurePolicy(Protocol):
    """Decides for N rows at once, with exposures."""

    continuous: bool

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shares (N, 1) of the exposure limit for rows `index` (N, 2) with account observations `account` (N, 5)."""
        ...


class ComposedAgent(ABC):
    """An agent made of agents; `agents.score` and `cryptoenv bench` judge it as they judge an `Agent`.

    Attributes:
        settings: timeframes, windows, positions and costs of its parts.
        extractor: whose features the markets that it reads are made with.
        continuous: True: it answers with exposures.
    """

    continuous = True

    @property
    @abstractmethod
    def settings(self) -> TradingSettings:
        """Of its parts."""

    @property
    @abstractmethod
    def extractor(self) -> Extractor:
        """What its parts read."""

    @abstractmethod
    def on(self, labelled: Sequence[ExpertMarket], table: EmbeddingTable | None = None) -> ExposurePolicy:
        """Its decisions on these markets (`table`: their embeddings, where they are at hand)."""


def require_parts(agents: Sequence[Agent], what: str) -> None:
    """Check that agents can be parts: one position at most on each side of flat, and the same for all.

    Between such positions an exposure says which of them is held, and how much of it.

    Raises:
        ValueError: none, other positions, several on one side, or an agent that answers with exposures itself.
    """
    if not agents:
        raise ValueError(f"{what} is empty: pass one agent at least")
    first = agents[0].settings
    for agent in agents:
        if agent.settings != first:
            raise ValueError(f"{what} differ in their settings: {agent.settings} and {first}")
    sides = np.sign(first.positions)
    if first.continuous or len(set(sides.tolist())) != len(sides):
        raise ValueError(
            f"{what} must choose among positions with one on each side of flat at most, such as (-1, 0, 1); theirs are "
            f"{'continuous' if first.continuous else first.positions}"
        )


def whole_positions(
    account: NDArray[np.float32], positions: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What parts, which know whole positions only, are told of accounts that hold some share of one.

    Args:
        account: (N, 5) float32 observations.
        positions: target exposures (A,), one on each side of flat at most.

    Returns:
        The observations as if the whole position were held (the very same where it is), and its index (N,).
    """
    levels = np.asarray(positions, dtype=np.float64)
    target = account[:, TARGET_COLUMN].astype(np.float64)
    side = np.sign(target)[:, None] == np.sign(levels)[None, :]
    held = np.where(side.any(axis=1), side.argmax(axis=1), np.abs(levels).argmin())
    whole = levels[held]
    partly = (whole != 0.0) & (np.abs(whole - target) > 1e-6)
    if not partly.any():
        return account, held
    told = account.copy()
    told[partly, EXPOSURE_COLUMN] *= (whole[partly] / target[partly]).astype(np.float32)
    told[partly, TARGET_COLUMN] = whole[partly].astype(np.float32)
    return told, held
