"""How a slow policy learns which limits serve a fast agent: from what it would have earned under each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agents.cloning.config_ranges import require_numbers
from agents.evaluation.composed_tuning import best_of
from agents.evaluation.rollout import RolloutRows, roll, whole_markets
from agents.markets.embedded import EmbeddedMarkets, TrainingMarkets
from agents.policies.agent import Agent
from agents.policies.composed.exposure_limiter import (
    Chosen,
    ExposureLimiter,
    LimitedPolicy,
    LimitNetwork,
    Limits,
    slow_bars,
)
from agents.seeds import spread_seed
from cryptoenv.files.typed_values import Range, require_ranges

#: Of what is learned in percent of equity per slow bar; the last never leaves the first limits.
LIMIT_MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, float("inf"))
PERCENT = 100.0


@dataclass(frozen=True)
class LimitsConfig:
    """How limits are learned.

    Attributes:
        limits: L pairs of lowest and highest exposure. Those of the fast agent's own range come first: the others are
            judged by how much better they are.
        timeframe: when a bar of it closes, limits are decided.
        hidden: width of the network's hidden layer.
        epochs: passes over all slow bars.
        batch_size: of them per gradient step.
        learning_rate: of AdamW at the start; it falls linearly to a tenth.
        weight_decay: of AdamW.

    Raises:
        ConfigError: a value of another type, or a number outside its range.
    """

    limits: Limits = ((-1.0, 1.0), (0.0, 1.0), (-1.0, 0.0), (0.0, 0.0))
    timeframe: str = "4h"
    hidden: int = 16
    epochs: int = 20
    batch_size: int = 1024
    learning_rate: float = 2e-3
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        require_numbers(self)
        require_ranges(self, {"hidden": Range(1, 4096)}, type(self).__name__)


def fit_limits(
    fast: Agent, markets: TrainingMarkets, config: LimitsConfig | None = None, *, seed: int
) -> ExposureLimiter:
    """Learn which limits to set for `fast` from rewards alone, and choose the margin on validation markets.

    The fast agent trades every training market once under each pair of limits, held all along. What a pair earned from
    one slow bar to the next, less what the first pair did, is what the slow policy learns to expect from the embedding
    at that bar. What it costs to go from one pair to another is left to the margin.

    Args:
        fast: trained, with one position on each side of flat at most.
        markets: to learn on, and to choose the margin by, embedded by the fast agent's extractor.
        config: limits, sizes and rates.
        seed: of weights and batches.
    """
    config = config or LimitsConfig()
    train, validation = markets.train, markets.validation
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spread_seed(seed, "weights"))
        slow = LimitNetwork(train.table.rows.shape[1], len(config.limits), config.hidden)
    limiter = ExposureLimiter(fast, slow, config.limits, config.timeframe)
    seen, gained = lessons(limiter, train)
    _regress(slow, seen, gained, config, np.random.default_rng(spread_seed(seed, "batches")))
    earned = best_of(
        lambda margins: limiter.with_margins(validation.labelled, validation.table, margins), LIMIT_MARGINS,
        validation.labelled, fast.settings,
    )  # fmt: skip
    return limiter.with_margin(LIMIT_MARGINS[int(earned.argmax())])


def lessons(limiter: ExposureLimiter, train: EmbeddedMarkets) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings (n, D) at slow bars, and by how many percent each pair of limits earned more than the first, (n, L).

    A slow bar's gain runs from its close to the close of the next slow bar.
    """
    labelled, count = train.labelled, len(limiter.limits)
    whole = whole_markets(labelled)
    rows = RolloutRows(np.tile(whole.market, count), np.tile(whole.start, count), whole.steps)
    length = sum(len(t.market) for t in labelled)
    every = Chosen(np.repeat(np.arange(count)[:, None], length, axis=1), train.table.offsets)
    fast = limiter.fast.on(labelled, train.table)
    policy = LimitedPolicy(limiter, fast, every, np.repeat(np.arange(count), len(labelled)))
    logs = PERCENT * np.log(roll(policy, labelled, rows, limiter.settings).equity).reshape(-1, count, len(labelled))
    seen, gained = [], []
    for m, one in enumerate(labelled):
        bars = slow_bars(one.market, limiter.timeframe)
        bars = bars[(bars >= one.first) & (bars <= one.first + whole.steps)]
        earned = np.diff(logs[bars - one.first, :, m], axis=0)
        seen.append(train.table.rows[train.table.offsets[m] + bars[:-1]])
        gained.append(earned - earned[:, :1])
    return np.concatenate(seen), np.concatenate(gained).astype(np.float32)


def _regress(
    slow: LimitNetwork, seen: NDArray[np.float32], gained: NDArray[np.float32], config: LimitsConfig,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Train `slow`, in place, to expect `gained` (n, L) of `seen` (n, D), by least squares on gains of unit size."""
    inputs, scale = torch.from_numpy(seen), float(gained.std()) or 1.0
    targets = torch.from_numpy(gained / scale)
    steps = config.epochs * max(len(seen) // config.batch_size, 1)
    optimizer = torch.optim.AdamW(slow.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    rates = np.linspace(config.learning_rate, 0.1 * config.learning_rate, steps)
    for rate, rows in zip(rates, _batches(len(seen), config, steps, rng), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = (slow(inputs[rows]) - targets[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        last = slow.values[-1]
        last.weight.mul_(scale)  # type: ignore[operator, union-attr]
        last.bias.mul_(scale)  # type: ignore[operator, union-attr]


def _batches(count: int, config: LimitsConfig, steps: int, rng: np.random.Generator) -> Sequence[NDArray[np.int64]]:
    """Rows of each gradient step, epoch after epoch in a new order."""
    per_epoch = steps // config.epochs
    size = min(config.batch_size, count)
    found: list[NDArray[np.int64]] = []
    for _ in range(config.epochs):
        order = rng.permutation(count)
        found += [order[k * size : (k + 1) * size] for k in range(per_epoch)]
    return found
