"""What a segmenter looks like, which features it reads, and how its state machines are chosen: frozen, validated.

Shape legend of the room: `T` base bars, `B` windows, `S` timescales, `C` classes, `D` model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.features import FeatureSpec, TimeframeFeatures
from cryptoenv.features.pursuit.family import Pursuit
from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types
from pretrain.data.label_column import LabelColumn
from pretrain.networks.encoder_config import EncoderConfig

JOINS = ("tokens", "separate", "concatenation")
MOST_CLASSES, MOST_TIMESCALES, MOST_HIDDEN = 64, 16, 4_096


@dataclass(frozen=True)
class SegmenterConfig(EncoderConfig):
    """Architecture of a `SegmenterModel`: an encoder (`EncoderConfig`), how it joins timeframes, and its heads.

    `join` is "tokens" (the patches of all timeframes are the tokens of one encoder), "separate" (an encoder for each
    timeframe, their embeddings joined by a layer) or "concatenation" (the n-th patches of all timeframes, counted back
    from now, are one token; all have equally many). `timescales` are S names, each with a head over the C `classes`;
    `for_labels` fills them in. With `hidden` > 0 the heads say how likely each of so many hidden states is, and what a
    state says of the classes is learned beside: a probability of a class is the sum over the states that lead to it.

    Raises:
        ConfigError: a value is out of range, or lengths do not agree.
    """

    timeframes: tuple[str, ...] = ("15m", "1h", "4h")
    window: tuple[int, ...] = (30, 30, 30)
    patches: tuple[int, ...] = (1, 1, 1)
    join: str = "tokens"
    timescales: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    hidden: int = later_field(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"hidden": Range(0, MOST_HIDDEN)})
        require(self.join in JOINS, "join", self.join, f"one of {JOINS}")
        counts = {bars // patch for bars, patch in zip(self.window, self.patches, strict=True)}
        even = self.join != "concatenation" or len(counts) == 1
        require(even, "patches", self.patches, f"as many patches of each window {self.window}, where they are joined")
        alone = not self.memory or self.join == "tokens"
        require(alone, "memory", self.memory, "0 but for join='tokens', where one memory reads the base bars")
        require(len(self.timescales) <= MOST_TIMESCALES, "timescales", self.timescales, f"at most {MOST_TIMESCALES}")
        for name in ("timescales", "classes"):
            value = getattr(self, name)
            require(len(set(value)) == len(value) and all(value), name, value, "names, each once")
        both = bool(self.timescales) == bool(self.classes)
        require(both, "classes", self.classes, "as there are timescales, or neither until the labels are known")
        fits = not self.classes or 2 <= len(self.classes) <= MOST_CLASSES
        require(fits, "classes", self.classes, f"2 to {MOST_CLASSES} of them")

    def for_labels(self, columns: Sequence[LabelColumn]) -> Self:
        """This architecture with a head for each column of labels.

        Raises:
            ConfigError: no column, one of numbers, columns whose classes differ, or heads for others.
        """
        require(len(columns) > 0, "labels", (), "at least one column of classes, one per timescale")
        first = columns[0]
        for column in columns:
            classes = f"classes; column {column.name!r} of the labels holds numbers"
            require(len(column.classes) > 1, "labels", column.name, classes)
            same = f"the classes of column {first.name!r}, {first.classes}: each timescale has the same"
            require(column.classes == first.classes, f"labels {column.name!r}", column.classes, same)
        given = {"timescales": tuple(column.name for column in columns), "classes": first.classes}
        for name, value in given.items():
            had = getattr(self, name)
            require(had in ((), value), name, had, f"the labels have {value}")
        return replace(self, timescales=given["timescales"], classes=given["classes"])


@dataclass(frozen=True)
class SegmenterFeatures:
    """What a segmenter reads of each timeframe.

    Attributes:
        indicators: the default features of the package.
        pursuit: those of the rolling orthogonal matching pursuit of the closes.
        pursuit_window: bars per pursued window, one number per timeframe; slower cycles and narrower scales than a
            window can hold are left out of its dictionary.
        sparsity: atoms chosen per window.

    Raises:
        ConfigError: neither kind of features, or a value out of range.
    """

    indicators: bool = True
    pursuit: bool = True
    pursuit_window: tuple[int, ...] = (64, 48, 32)
    sparsity: int = 8

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, {"pursuit_window": Range(16, 4_096), "sparsity": Range(1, 15)})
        require(self.indicators or self.pursuit, "features", "none", "indicators, pursuit, or both")

    def spec(self, timeframes: Sequence[str]) -> FeatureSpec:
        """The feature spec of a market of these timeframes, base first.

        Raises:
            ConfigError: timeframes finer than the base, or another number of them than of pursued windows.
        """
        durations = [timeframe_ms(name) for name in timeframes]
        for name, duration in zip(timeframes, durations, strict=True):
            require(duration >= durations[0], "timeframes", name, f"the base {timeframes[0]!r} or longer ones")
        count = len(self.pursuit_window)
        fits = not self.pursuit or count == len(timeframes)
        require(fits, "pursuit_window", self.pursuit_window, f"one number per timeframe of {tuple(timeframes)}")
        spec = FeatureSpec()
        for position, name in enumerate(timeframes):
            role = spec.role(position, durations)
            if not self.indicators:
                role = TimeframeFeatures(role.volatility_bars, role.warm_up_bars)
            if self.pursuit:
                role = replace(role, pursuit=_pursuit(self.pursuit_window[position], self.sparsity))
            spec = spec.with_timeframe(name, role)
        return spec


def _pursuit(window: int, sparsity: int) -> Pursuit:
    usual = Pursuit()
    cycles = tuple(value for value in usual.cycles if value < window / 2)
    scales = tuple(value for value in usual.scales if value <= window / 4)
    return Pursuit(window=window, sparsity=sparsity, cycles=cycles, scales=scales)


@dataclass(frozen=True)
class MachineChoice:
    """How the state machines of a segmenter are chosen.

    Attributes:
        tune: choose `enter`, `leave` and `minimum_dwell` of each timescale on the validation part; else those here.
        enter, leave, minimum_dwell, allowed: as of `StateMachine`.
        agreement: timescales that must be in a state before the market as a whole is; a majority where None.
        most_changes: in tuning, how often a machine may change its state, in units of the labels' own changes.

    Raises:
        ConfigError: a value is out of range.
    """

    tune: bool = True
    enter: float = 0.5
    leave: float = 0.4
    minimum_dwell: int = 4
    allowed: tuple[tuple[str, ...], ...] = ()
    agreement: int | None = None
    most_changes: float = 1.5

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, {"minimum_dwell": Range(1, 10**6), "most_changes": Range(0.0, above=True)})
        require(self.leave < self.enter, "leave", self.leave, f"below enter={self.enter:g}: thresholds must not cross")
