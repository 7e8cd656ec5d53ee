"""A slow policy that says between which exposures a fast one may choose, decided anew when a longer bar closes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.torch_layers import create_mlp

from agents.markets.embedded import EmbeddingTable, embed
from agents.markets.expert_market import ExpertMarket
from agents.policies.agent import Agent, AgentPolicy
from agents.policies.composed.composed_agent import ComposedAgent, require_parts, whole_positions
from agents.settings import TradingSettings
from cryptoenv.files.typed_values import Range, number, require
from cryptoenv.market.market import Market
from pretrain import Extractor
from pretrain.fitting.artifact_folder import (
    ArtifactError,
    checked_weights,
    exact_keys,
    json_bytes,
    parsed,
    read_folder,
    require_format,
    require_header,
    weights_bytes,
    write_folder,
)

WEIGHTS, DESCRIPTION = "limits.safetensors", "limits.json"
FORMAT, FORMAT_VERSION = "cryptoenv-exposure-limits", 1
KEYS = ("format", "format_version", "fast", "limits", "timeframe", "margin", "hidden")
MOST_LIMITS, WIDEST = 64, 4096
Limits = tuple[tuple[float, float], ...]


class LimitNetwork(torch.nn.Module):
    """What each of L limits is worth until the next slow decision, in percent, from an embedding (B, D).

    Args:
        width: D. limits: L. hidden: width of the one hidden layer.
    """

    def __init__(self, width: int, limits: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.values = torch.nn.Sequential(*create_mlp(width, limits, [hidden], torch.nn.Tanh))

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """(B, L) from (B, D)."""
        found: torch.Tensor = self.values(embedding)
        return found


@dataclass(frozen=True)
class ExposureLimiter(ComposedAgent):
    """A fast agent within limits that a slow policy sets.

    When a bar of `timeframe` closes, the slow policy says what each pair of limits is worth until the next one does,
    and takes another pair than the one in force if it is worth more by the margin. At every base bar the fast agent
    chooses as it always does, and what it asks for is cut to the limits. It learns by `agents.fit_limits`.

    Attributes:
        fast: chooses at every bar, among positions with one on each side of flat at most.
        slow: what limits are worth.
        limits: L pairs of lowest and highest exposure; the first is in force before the first slow decision.
        timeframe: one of the fast agent's, longer than the base.
        margin: by how many percent of equity another pair must be better; infinite: the first holds for ever.

    Raises:
        ValueError: parts that do not go together, limits that are none.
    """

    fast: Agent
    slow: LimitNetwork
    limits: Limits
    timeframe: str = "4h"
    margin: float = 0.0

    def __post_init__(self) -> None:
        require_parts((self.fast,), "a limiter's fast agents")
        require_limits(self.limits, self.fast.settings)
        longer = self.fast.settings.timeframes[1:]
        require(self.timeframe in longer, "timeframe", self.timeframe, f"one of {longer}")
        number("margin", self.margin, Range(0.0))

    @property
    def settings(self) -> TradingSettings:
        """Of the fast agent."""
        return self.fast.settings

    @property
    def extractor(self) -> Extractor:
        """Of the fast agent; the slow policy reads the same embeddings."""
        return self.fast.extractor

    def on(self, labelled: Sequence[ExpertMarket], table: EmbeddingTable | None = None) -> LimitedPolicy:
        """Its decisions on these markets; `table`: their embeddings."""
        table = table or embed(self.extractor, labelled, progress=False)
        return LimitedPolicy(self, self.fast.on(labelled, table), self.chosen(labelled, table, (self.margin,)))

    def with_margins(
        self, labelled: Sequence[ExpertMarket], table: EmbeddingTable, margins: NDArray[np.float64]
    ) -> LimitedPolicy:
        """Its decisions with a margin for each row (N,)."""
        every, variant = np.unique(margins, return_inverse=True)
        fast = self.fast.on(labelled, table)
        return LimitedPolicy(self, fast, self.chosen(labelled, table, every.tolist()), variant)

    def with_margin(self, margin: float) -> ExposureLimiter:
        """The same with another margin."""
        return replace(self, margin=margin)

    def chosen(self, labelled: Sequence[ExpertMarket], table: EmbeddingTable, margins: Sequence[float]) -> Chosen:
        """Which limits are in force at each bar, for each of V margins."""
        rows = []
        for number_, one in enumerate(labelled):
            bars = slow_bars(one.market, self.timeframe)
            bars = bars[bars >= one.first]
            start = table.offsets[number_]
            with torch.no_grad():
                worth = self.slow(torch.from_numpy(table.rows[start + bars])).numpy().astype(np.float64)
            rows.append(np.stack([_in_force(worth, bars, len(one.market), margin) for margin in margins]))
        offsets = np.concatenate([[0], np.cumsum([each.shape[1] for each in rows])[:-1]]).astype(np.int64)
        return Chosen(np.concatenate(rows, axis=1), offsets)

    def save(self, folder: Path) -> None:
        """Write the slow part into `folder`, whole or not at all; the fast agent is saved by its own, and named."""
        described = {
            "format": FORMAT, "format_version": FORMAT_VERSION, "fast": _identity(self.fast),
            "limits": [list(pair) for pair in self.limits], "timeframe": self.timeframe,
            "margin": None if math.isinf(self.margin) else self.margin, "hidden": self.slow.hidden,
        }  # fmt: skip
        write_folder(folder, {WEIGHTS: weights_bytes(self.slow), DESCRIPTION: json_bytes(described)})

    @classmethod
    def load(cls, folder: Path, fast: Agent) -> ExposureLimiter:
        """Read what `save` wrote, after every check.

        Raises:
            ArtifactError: a file is missing, changed or unreadable; a value does not fit; or the limits were learned
                for another fast agent.
        """
        content = read_folder(folder, (WEIGHTS, DESCRIPTION))
        told = exact_keys(parsed(content[DESCRIPTION], DESCRIPTION), KEYS, DESCRIPTION)
        require_format(told, DESCRIPTION, (FORMAT, FORMAT_VERSION))
        if told["fast"] != _identity(fast):
            raise ArtifactError(f"the limits in {folder} were learned for another fast agent: {told['fast']!r}")
        require_header(content[WEIGHTS], WEIGHTS)
        try:
            limits = tuple((float(low), float(high)) for low, high in told["limits"])
            hidden, margin = int(told["hidden"]), math.inf if told["margin"] is None else float(told["margin"])
            require(1 <= hidden <= WIDEST, "hidden", hidden, f"from 1 to {WIDEST}")
            require_limits(limits, fast.settings)
            slow = LimitNetwork(fast.shape.embedding_width, len(limits), hidden)
            slow.load_state_dict(checked_weights(content[WEIGHTS], slow.state_dict(), WEIGHTS))
            return cls(fast, slow, limits, str(told["timeframe"]), margin)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{DESCRIPTION}: {error}") from error


@dataclass(frozen=True)
class Chosen:
    """Limits in force: `number` (V, sum of T) int64, by variant and bar; `offsets` (M,) int64, where markets begin."""

    number: NDArray[np.int64]
    offsets: NDArray[np.int64]


class LimitedPolicy:
    """Decisions of a limiter on given markets.

    Args:
        agent: the limiter.
        fast: the fast agent's decisions on them.
        chosen: the limits in force.
        variant: which of its variants counts, one per row (N,) int64; the first where None.
    """

    continuous = True

    def __init__(
        self, agent: ExposureLimiter, fast: AgentPolicy, chosen: Chosen, variant: NDArray[np.int64] | None = None
    ) -> None:
        self.positions = agent.settings.positions
        self._fast, self._chosen, self._variant = fast, chosen, variant
        self._limits = np.asarray(agent.limits, dtype=np.float64)
        self._levels = np.asarray(agent.settings.positions, dtype=np.float64)
        self._largest = float(agent.settings.limits.exposure)

    def in_force(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,) numbers of the limits at rows `index` (N, 2)."""
        variant = 0 if self._variant is None else self._variant
        found: NDArray[np.int64] = self._chosen.number[variant, self._chosen.offsets[index[:, 0]] + index[:, 1]]
        return found

    def act(self, index: NDArray[np.int64], account: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shares (N, 1) of the exposure limit, for rows `index` (N, 2) with account observations `account` (N, 5)."""
        told, _ = whole_positions(account, self.positions)
        asked = self._levels[self._fast.act(index, told)]
        low, high = self._limits[self.in_force(index)].T
        return (np.clip(asked, low, high) / self._largest).astype(np.float32)[:, None]


def require_limits(limits: Limits, settings: TradingSettings) -> None:
    """Check that limits are pairs of exposures that are allowed, with being flat among what each allows.

    Raises:
        ValueError: they are not.
    """
    least, most = settings.exposure_bounds
    fits = all(len(pair) == 2 and least <= pair[0] <= 0.0 <= pair[1] <= most for pair in limits)
    if not (1 <= len(limits) <= MOST_LIMITS and fits):
        raise ValueError(
            f"limits={limits} are not allowed: up to {MOST_LIMITS} pairs of a lowest exposure from {least:g} to 0 and "
            f"a highest from 0 to {most:g}"
        )


def slow_bars(market: Market, timeframe: str) -> NDArray[np.int64]:
    """Base bars (n,) at whose close a bar of a longer timeframe has just ended."""
    ended = market.align[:, market.timeframes.index(timeframe)]
    return np.flatnonzero(np.diff(ended, prepend=ended[0]) > 0).astype(np.int64)


def _in_force(worth: NDArray[np.float64], bars: NDArray[np.int64], length: int, margin: float) -> NDArray[np.int64]:
    """(T,) numbers of the limits in force at T = `length` bars, by what L are worth, (n, L), at slow bars (n,)."""
    found, now, since = np.zeros(length, dtype=np.int64), 0, 0
    for bar, row in zip(bars.tolist(), worth, strict=True):
        found[since:bar] = now
        best = int(row.argmax())
        if row[best] - row[now] > margin:
            now = best
        since = bar
    found[since:] = now
    return found


def _identity(fast: Agent) -> str:
    """sha256 (hex) of what a fast agent is: its weights, its margin and its extractor."""
    told: dict[str, Any] = {"extractor": fast.extractor.hash, "head": fast.head, "margin": fast.margin}
    return hashlib.sha256(json_bytes(told) + weights_bytes(fast.policy)).hexdigest()
