"""Recipes of segmenters: everything that decides one, in one YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from cryptoenv.files.typed_values import ConfigError, Range, require, require_ranges, require_types
from pretrain.data.teachers import OWN_LABELS
from pretrain.fitting.config import PretrainingConfig
from pretrain.fitting.market_inputs import MarketInputs
from pretrain.fitting.market_layout import MarketLayout
from pretrain.fitting.recipe import MarketRecipe
from pretrain.segmenter.classes import TEACHERS, Timescale, classes_of
from pretrain.segmenter.config import MachineChoice, SegmenterConfig, SegmenterFeatures
from synthetic import TASKS

SEGMENTER = "segmenter"
_COUNTS = {
    "markets": Range(1, 1_000_000), "validation_markets": Range(1, 1_000_000), "days": Range(1, 36_500),
    "seed": Range(0, 2**63 - 1), "balance": Range(0.0, 1.0),
}  # fmt: skip


@dataclass(frozen=True)
class SegmenterRecipe(MarketRecipe):
    """What to learn to segment, and how.

    Attributes:
        model: "segmenter".
        task: synthetic task whose "extractor" seeds are learnt from.
        markets: how many of them.
        validation_markets: of the "validation" seeds: to stop early on, to choose weights and thresholds by.
        days: tradable days of each market.
        teacher: where classes come from: "beliefs" (what the exact filter believes of the generator's regimes),
            "regimes" (the regimes themselves), "bars" (hindsight of bars alone, `synthetic.regime_labels`), or "labels"
            (the user's own, in files beside the bars).
        balance: classes are weighed by their share to this power, turned round: 0 not at all, 1 all count as much.
        seed: of weights, batches and dropout.
        start: folder of an extractor or a segmenter whose encoder the network begins with, "default" for the extractor
            that ships; None: it begins anew.
        timescales: S of them, with their mapping of regimes to classes, or of what is a stretch of bars.
        reads: what is read of each timeframe, where `inputs` name no features.
        architecture, training: of the network, of its optimiser and budget.
        machine: how the state machines are chosen.
        inputs: features, and for bars of one's own reference and exogenous columns.

    Raises:
        ConfigError: a value out of range, an unknown task or teacher, or timescales that differ in their classes.
    """

    SECTIONS: ClassVar[Mapping[str, type[Any]]] = {
        "architecture": SegmenterConfig, "training": PretrainingConfig, "reads": SegmenterFeatures,
        "machine": MachineChoice,
    }  # fmt: skip

    model: str = SEGMENTER
    task: str = "standard"
    markets: int = 96
    validation_markets: int = 12
    days: int = 60
    teacher: str = "beliefs"
    balance: float = 0.0
    seed: int = 0
    start: str | None = None
    timescales: tuple[Timescale, ...] = ()
    reads: SegmenterFeatures = field(default_factory=SegmenterFeatures)
    architecture: SegmenterConfig = field(default_factory=SegmenterConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)
    machine: MachineChoice = field(default_factory=MachineChoice)
    inputs: MarketInputs = field(default_factory=MarketInputs)

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _COUNTS)
        for name, allowed in (
            ("model", (SEGMENTER,)), ("task", tuple(TASKS)), ("teacher", (*TEACHERS, OWN_LABELS)),
        ):  # fmt: skip
            require(getattr(self, name) in allowed, name, getattr(self, name), f"one of {allowed}")
        names = [scale.name for scale in self.timescales]
        require(len(set(names)) == len(names), "timescales", tuple(names), "names, each once")
        if self.teacher != OWN_LABELS:
            require(bool(names), "timescales", (), "at least one; only labels of your own bring their own")
            classes_of(self.timescales, self.teacher)
        self.require_timeframes()

    @classmethod
    def of(cls, values: dict[str, Any], path: str) -> Self:
        """As `ModelRecipe.of`; each of the timescales is a section of its own."""
        listed = values.get("timescales", [])
        if not isinstance(listed, list):
            raise ConfigError(f"{path}: timescales={listed!r:.200} is not allowed: a list of them, each with a name")
        scales = tuple(Timescale.read(one, f"{path}: timescales[{k}]") for k, one in enumerate(listed))
        return super().of(values | {"timescales": scales}, path)

    def with_inputs(self, inputs: MarketInputs) -> Self:
        """As `MarketRecipe.with_inputs`; of other timeframes each has the pursued window of the one in its place."""
        told = super().with_inputs(inputs)
        windows, count = told.reads.pursuit_window, len(told.architecture.timeframes)
        if len(windows) == count:
            return told
        placed = tuple(windows[min(place, len(windows) - 1)] for place in range(count))
        return replace(told, reads=replace(told.reads, pursuit_window=placed))

    @property
    def layout(self) -> MarketLayout:
        """What its model sees of a market: features that were named, else those that `reads` says.

        Raises:
            ConfigError: features that cannot be used with its timeframes.
        """
        config = self.architecture
        if self.inputs.features is not None or self.inputs.exogenous:
            return super().layout
        inputs = replace(self.inputs, features=self.reads.spec(config.timeframes))
        return inputs.new_layout(config.timeframes, config.window)
