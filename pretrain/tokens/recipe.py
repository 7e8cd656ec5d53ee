"""Recipes of token forecasters: everything that decides one, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from cryptoenv.files.typed_values import ConfigError, Range, require, require_ranges, require_types
from pretrain.data.splits import HOWS, How, SplitRule
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.recipe import ModelRecipe
from pretrain.tokens.config import TokenModelConfig
from synthetic.tokens.events import EventCounts
from synthetic.tokens.market import TokenConfig

TOKENS: Final = "tokens"
ROWS_PER_EVENTS: Final = 1_000
"""Rows for which a synthetic token that is learned from has the events of `EventCounts()` once: it is a busy one."""
_COUNTS = {
    "num_tokens": Range(1, 100_000), "timesteps": Range(20, 10_000_000), "seed": Range(0, 2**63 - 1),
    "chances_weight": Range(0.0), "overlap": Range(1, 16_384),
}  # fmt: skip


def design_training() -> PretrainingConfig:
    """The founding design's: 30 epochs of single windows at 2.2e-6."""
    return PretrainingConfig(
        epochs=30.0, batch=1, learning_rate=2.2e-6, validate_every=500, validation_windows=32, patience=1_000
    )


@dataclass(frozen=True)
class TokenRecipe(ModelRecipe):
    """What to learn from, and how; the defaults are the founding design's.

    Attributes:
        num_tokens: synthetic tokens, where no data are given.
        timesteps: rows of each.
        split_strategy: "time", "token", "mixed" or "strict" (`pretrain.data.splits.SplitRule`).
        split_fractions: train, validation, test.
        train_token_ratio: share of tokens that is learned from in "token" and "mixed"; None: as the fractions say.
        overlap: windows of training that a row lies in, at most `seq_length`. A window teaches all of its rows, not its
            last alone: an epoch shows a row so many times.
        chances_weight: of the chances of pumps and rises against the next row.
        seed: of the tokens, the split, weights, batches and dropout.
        architecture: of the model.
        training: optimiser and budget.
        model: "tokens".

    Raises:
        ConfigError: a value that is not allowed.
    """

    SECTIONS: ClassVar[Mapping[str, type[Any]]] = {"architecture": TokenModelConfig, "training": PretrainingConfig}

    num_tokens: int = 5
    timesteps: int = 4_000
    split_strategy: str = "time"
    split_fractions: tuple[float, float, float] = (0.4, 0.2, 0.4)
    train_token_ratio: float | None = None
    overlap: int = 10
    chances_weight: float = 10.0
    seed: int = 0
    architecture: TokenModelConfig = field(default_factory=TokenModelConfig)
    training: PretrainingConfig = field(default_factory=design_training)
    model: str = TOKENS

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _COUNTS)
        require(self.model == TOKENS, "model", self.model, f"{TOKENS!r}")
        require(self.split_strategy in HOWS, "split_strategy", self.split_strategy, f"one of {HOWS}")
        try:
            self.rule  # noqa: B018 -- it checks itself
        except ValueError as error:
            raise ConfigError(f"split_strategy, split_fractions or train_token_ratio: {error}") from error

    @property
    def rule(self) -> SplitRule:
        """How rows are split; what the chances look ahead is purged."""
        how: How = self.split_strategy  # type: ignore[assignment]
        ahead = self.architecture.pump_ahead
        return SplitRule(how, self.split_fractions, ahead, 0, self.seed, self.train_token_ratio)

    @property
    def stride(self) -> int:
        """Rows from a window of training to the next."""
        return max(1, self.architecture.seq_length // self.overlap)

    @property
    def world(self) -> TokenConfig:
        """The synthetic market."""
        events = EventCounts().times(max(1, self.timesteps // ROWS_PER_EVENTS))
        return TokenConfig(tokens=self.num_tokens, bars=self.timesteps, events=events)
