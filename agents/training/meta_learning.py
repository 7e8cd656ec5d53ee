"""Reptile: weights from which an agent adapts to a market it has not seen within a few of its bars.

A task is a market; learning it means a few steps of cloning labels that are made from its own bars alone (what anybody
has of a new market: no truth, no oracle). Reptile (Nichol, Achiam and Schulman 2018, "On first-order meta-learning
algorithms", arXiv 1803.02999) learns one task after the other, and moves the weights a part of the way to where each
task took them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from agents.algorithms.written_passes import quicken
from agents.cloning.config_ranges import require_numbers
from agents.markets.embedded import EmbeddedMarkets, EmbeddingTable
from agents.policies.agent import Agent
from agents.policies.heads import HEADS, bind, copy_of
from agents.seeds import spread_seed
from agents.settings import TradingSettings
from cryptoenv.files.typed_values import Range, require_ranges, require_types
from cryptoenv.market.market import Market
from cryptoenv.progress import tqdm
from pretrain.data.teachers import bar_labels
from synthetic import NO_LABEL

ADAPTED_HEAD = "actor"  #: the head that clones have


@dataclass(frozen=True)
class AdaptationConfig:
    """How an agent adapts to a market.

    Attributes:
        steps: gradient steps.
        batch_size: states per step.
        learning_rate: of Adam, the same all along. Its means begin anew with every market.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    steps: int = 32
    batch_size: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_numbers(self)


@dataclass(frozen=True)
class ReptileConfig:
    """How Reptile learns.

    Attributes:
        tasks: how many are learned, one after the other.
        rate: share of the way to a task's weights that is gone at the start; it falls linearly to nothing.
        bars: of a market that a task has: as many as there will be of a new one.
        adaptation: how each is learned.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    tasks: int = 200
    rate: float = 0.1
    bars: int = 1_344
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        ranges = {"tasks": Range(1, 10**6), "rate": Range(0.0, 1.0, above=True), "bars": Range(1, 2**24)}
        require_ranges(self, ranges, type(self).__name__)


@dataclass(frozen=True)
class Lesson:
    """States of one market and what its own bars say was to be done: rows of the table (n,), held and wanted (n,)."""

    rows: torch.Tensor
    held: torch.Tensor
    wanted: torch.Tensor


def adapt(
    agent: Agent,
    market: Market,
    *,
    first: int | None = None,
    until: int | None = None,
    config: AdaptationConfig | None = None,
    seed: int = 0,
) -> Agent:
    """The agent after it has learned from the first bars of a market; the agent itself stays as it is.

    Args:
        agent: whose head is a clone's ("actor").
        market: as its extractor reads it; embedded anew.
        first: bar whose decision is the first that is learned; the first decidable one where None.
        until: bar after the last one that is looked at, labels included; the market's end where None.
        config: how it is learned.
        seed: of the batches.

    Raises:
        ValueError: another head, or too few bars for a label.
    """
    first = market.first_decision(agent.settings.window) if first is None else first
    until = len(market) if until is None else until
    table = EmbeddingTable([agent.extractor.embed(market)])
    lesson = lesson_of(market.bars, 0, first, until, agent.settings)
    return adapted(agent, table, lesson, config or AdaptationConfig(), np.random.default_rng(seed))


def reptile(
    agent: Agent, markets: EmbeddedMarkets, config: ReptileConfig | None = None, *, seed: int, progress: bool = True
) -> Agent:
    """The agent with weights from which it adapts to markets such as these.

    Args:
        agent: where it begins: a clone, or one with fresh weights.
        markets: the tasks; of each, a stretch of `config.bars` bars that is drawn anew every time.
        config: how it learns.
        seed: of what is drawn.
        progress: show a progress bar.

    Raises:
        ValueError: a head that is no clone's.
    """
    config, rng = config or ReptileConfig(), np.random.default_rng(spread_seed(seed, "reptile"))
    require_clone(agent)
    learned = copy_of(agent.policy)
    for number in tqdm(range(config.tasks), desc="reptile", unit="task", disable=not progress):
        m = int(rng.integers(len(markets.labelled)))
        one = markets.labelled[m]
        last = max(len(one.market) - config.bars, one.first + 1)
        first = int(rng.integers(one.first, last))
        lesson = lesson_of(
            one.market.bars, int(markets.table.offsets[m]), first, min(first + config.bars, len(one.market)),
            agent.settings,
        )  # fmt: skip
        there = adapted(replace(agent, policy=learned), markets.table, lesson, config.adaptation, rng).policy
        share = config.rate * (1.0 - number / config.tasks)
        with torch.no_grad():
            for mine, theirs in zip(learned.parameters(), there.parameters(), strict=True):
                mine.lerp_(theirs, share)
    return replace(agent, policy=learned)


def require_clone(agent: Agent) -> None:
    """Refuse an agent whose head is no clone's.

    Raises:
        ValueError: it is another.
    """
    if agent.head != ADAPTED_HEAD:
        raise ValueError(f"an agent adapts by cloning labels, which takes a head {ADAPTED_HEAD!r}, not {agent.head!r}")


def lesson_of(bars: pd.DataFrame, offset: int, first: int, until: int, settings: TradingSettings) -> Lesson:
    """What bars `first` to `until` (exclusive) teach, from each position that may be held; nothing later is looked at.

    `offset`: the row of bar 0 in the table of embeddings.

    Raises:
        ValueError: none of these bars has a label.
    """
    labels, _ = bar_labels("horizon", bars.iloc[first:until], settings.turnover_cost, settings.positions)
    at, held = np.nonzero(labels != NO_LABEL)
    if len(at) == 0:
        raise ValueError(f"bars {first} to {until} have no label: labels look ahead, so give more bars")
    told = (offset + first + at, held, labels[at, held])
    return Lesson(*(torch.from_numpy(np.asarray(part, np.int64)) for part in told))


def adapted(
    agent: Agent, table: EmbeddingTable, lesson: Lesson, config: AdaptationConfig, rng: np.random.Generator
) -> Agent:
    """`adapt` for a lesson whose rows `table` holds."""
    require_clone(agent)
    policy = copy_of(agent.policy)
    flat = EmbeddingTable([table.rows])
    bind(policy, flat)
    quicken(policy)
    exposures = torch.tensor(agent.settings.positions, dtype=torch.float32)
    weights = [weight for name, weight in policy.named_parameters() if _acts(name)]
    optimizer = torch.optim.Adam(weights, lr=config.learning_rate)
    for _ in range(config.steps):
        chosen = torch.from_numpy(rng.integers(len(lesson.rows), size=config.batch_size))
        observation = states(lesson.rows[chosen], exposures[lesson.held[chosen]])
        liking = HEADS[ADAPTED_HEAD].preferences(policy, observation, agent.settings.positions)
        loss = functional.cross_entropy(liking, lesson.wanted[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return replace(agent, policy=copy_of(policy))


def states(rows: torch.Tensor, exposure: torch.Tensor) -> dict[str, Any]:
    """Observations (B) at rows (B,) of a table of one market, with an exposure (B,) just taken."""
    account = torch.zeros((len(rows), 5))
    account[:, 0] = account[:, 1] = exposure
    return {"index": torch.stack([torch.zeros_like(rows), rows], dim=1), "account": account}


def _acts(name: str) -> bool:
    """Whether a weight of an actor-critic policy is of the actor."""
    return "value" not in name
