"""Recipes: everything that decides a pretrained extractor, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cryptoenv.files.typed_values import ConfigError, Range, later_field, require, require_ranges, require_types
from pretrain.data.rewards import REWARDS, RewardsConfig
from pretrain.data.teachers import OWN_LABELS, TEACHERS
from pretrain.extractor.config import ExtractorConfig
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.market_inputs import MarketInputs
from pretrain.fitting.recipe import EXTRACTOR, MarketRecipe
from pretrain.fitting.recipe import RECIPES as RECIPES  # where it was before
from synthetic import TASKS

_COUNTS = {
    "markets": Range(1, 1_000_000), "validation_markets": Range(1, 1_000_000), "days": Range(1, 36_500),
    "seed": Range(0, 2**63 - 1),
}  # fmt: skip


@dataclass(frozen=True)
class Recipe(MarketRecipe):
    """What to pretrain on, and how.

    Attributes:
        task: synthetic task whose "extractor" seeds are learnt from.
        markets: how many of them.
        validation_markets: of the "validation" seeds, to stop early on and choose weights by.
        days: tradable days of each market.
        teacher: "rewards" (`pretrain.data.rewards`), which takes markets as it needs them, of at most so many;
            "oracle", which does so, too, where `architecture.values` is "alone", and then teaches its values beside its
            actions; "path" or "horizon" (`pretrain.data.teachers`); "patterns", which learns from pattern markets
            whatever the task, and wants `architecture.regimes` of at least 21 (none and twenty kinds); or "labels":
            one's own, which stand in files beside the bars (`pretrain.data.own_labels`).
        seed: of weights, batches and dropout.
        architecture: of the extractor.
        training: its optimiser and budget.
        model: "extractor".
        inputs: features, and for bars of one's own reference and exogenous columns; `architecture` has the timeframes
            that they name.
        rewards: how the teacher "rewards" learns, and what trading costs there.

    Raises:
        ConfigError: a count that is not positive, an unknown task or teacher, or other timeframes in `inputs` than in
            `architecture`.
    """

    SECTIONS: ClassVar[Mapping[str, type[Any]]] = {
        "architecture": ExtractorConfig, "training": PretrainingConfig, "rewards": RewardsConfig,
    }  # fmt: skip

    task: str = "standard"
    markets: int = 192
    validation_markets: int = 24
    days: int = 60
    teacher: str = "oracle"
    seed: int = 0
    architecture: ExtractorConfig = field(default_factory=ExtractorConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)
    model: str = later_field(EXTRACTOR)
    inputs: MarketInputs = field(default_factory=MarketInputs)
    rewards: RewardsConfig = later_field(RewardsConfig())  # noqa: RUF009 -- frozen

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _COUNTS)
        for name, allowed in (
            ("task", tuple(TASKS)), ("teacher", (*TEACHERS, OWN_LABELS, REWARDS)), ("model", (EXTRACTOR,)),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown; choose one of {allowed}")
        self.require_timeframes()
        told = self.architecture.values
        require(told == "none" or self.streams, "values", told, "'none', but where rewards or the oracle teach")

    @property
    def streams(self) -> bool:
        """Whether markets are made as they are needed and read in stretches: what teaches values of positions."""
        return self.teacher == REWARDS or (self.teacher == "oracle" and self.architecture.values == "alone")
