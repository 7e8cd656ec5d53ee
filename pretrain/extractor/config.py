"""What an extractor looks like and how it is trained: two frozen, validated configurations.

Shape legend of the package: `T` base bars, `B` windows in a batch, `K` timeframes, `W` bars in a window, `F` features,
`N` tokens, `D` model width, `P` held positions, `A` actions (= P), `H` horizons, `Q` quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types, section
from cryptoenv.market.market import Market
from pretrain.data.label_column import LabelColumn

ENCODERS = ("transformer", "lstm", "gru", "convolution", "flat")
MOST_TOKENS = 16_384
#: Far beyond what anybody trains, and small enough that nothing is built, or looped over, for ever.
_SIZES = {
    "width": Range(1, 16_384), "layers": Range(1, 256), "heads": Range(1, 1_024), "feedforward": Range(1, 65_536),
    "bar_width": Range(0, 16_384), "memory": Range(0, 16_384), "regimes": Range(0, 4_096),
    "window": Range(1, 1_000_000), "patches": Range(1, 1_000_000), "positions": Range(-1_000, 1_000),
    "horizons": Range(1, 10_000_000),
}  # fmt: skip
_LENGTHS = {"timeframes": 32, "positions": 128, "horizons": 256, "quantiles": 256, "label_columns": 64}
MOST_CLASSES = 256  #: of one column of labels


@dataclass(frozen=True)
class ExtractorConfig:
    """Architecture of an `ExtractorModel` and the market layout it reads.

    `encoder` is one of ENCODERS. For the "transformer", `window[k]` bars of `timeframes[k]` are cut into patches of
    `patches[k]` bars, each patch is one token, and one summary token is added; with `bar_width` > 0 every bar first
    goes through a layer of that many units. With `memory` > 0, a gated recurrent network of that many units runs over
    the base bars, and its state at the end of a patch is what the patch is made from. `feature_names` may stay empty
    until `for_market` fills it in. `positions` are the held exposures that action labels are conditioned on (and the
    targets chosen from). `horizons` (base bars) and `quantiles` belong to the direction and return heads; `regimes` is
    the number of regimes, 0 for no such head. `label_columns` are the columns of the user's own labels, each with a
    head; `label_classes[i]` names the classes of column i as its file does, or is empty where it holds numbers, which
    the head says in units of `label_scales[i]` = (centre, spread). `for_labels` fills them in.

    Raises:
        ConfigError: a value is out of range, or lengths do not agree.
    """

    timeframes: tuple[str, ...] = ("15m", "4h", "1d")
    window: tuple[int, ...] = (32, 16, 8)
    patches: tuple[int, ...] = (4, 4, 4)
    feature_names: tuple[tuple[str, ...], ...] = ()
    width: int = 32
    layers: int = 2
    heads: int = 2
    feedforward: int = 64
    dropout: float = 0.0
    encoder: str = "transformer"
    bar_width: int = 0
    memory: int = 0
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0)
    horizons: tuple[int, ...] = (4, 16, 96)
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)
    regimes: int = 0
    label_columns: tuple[str, ...] = later_field(())
    label_classes: tuple[tuple[str, ...], ...] = later_field(())
    label_scales: tuple[tuple[float, float], ...] = later_field(())

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _SIZES)
        for name, most in _LENGTHS.items():
            require(len(getattr(self, name)) <= most, name, getattr(self, name), f"at most {most} of them")
        count = len(self.timeframes)
        require(count > 0, "timeframes", self.timeframes, "at least one timeframe, by name")
        for name in ("window", "patches"):
            value = getattr(self, name)
            require(len(value) == count, name, value, f"one number per timeframe ({count})")
        for bars, patch in zip(self.window, self.patches, strict=True):
            require(bars % patch == 0, "patches", self.patches, f"each divides its window {self.window}")
        if self.feature_names:
            require(len(self.feature_names) == count, "feature_names", self.feature_names, "one tuple per timeframe")
            require(all(self.feature_names), "feature_names", self.feature_names, "at least one name per timeframe")
        require(self.tokens <= MOST_TOKENS, "window", self.window, f"at most {MOST_TOKENS} patches in all")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width={self.width}")
        require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "0 <= dropout < 1")
        require(len(self.positions) >= 2, "positions", self.positions, "at least two exposures")
        require(_increasing(self.positions), "positions", self.positions, "strictly increasing exposures")
        ahead = _increasing(self.horizons) and self.horizons != ()
        require(ahead, "horizons", self.horizons, "at least one whole number >= 1, strictly increasing")
        inside = len(self.quantiles) > 0 and _increasing((0.0, *self.quantiles, 1.0))
        require(inside, "quantiles", self.quantiles, "strictly increasing in (0, 1)")
        require(self.encoder in ENCODERS, "encoder", self.encoder, f"one of {ENCODERS}")
        fits = not self.memory or (self.encoder == "transformer" and not self.bar_width)
        require(fits, "memory", self.memory, "0 but for the encoder 'transformer' with bar_width=0")
        self._require_labels()

    def _require_labels(self) -> None:
        names, count = self.label_columns, len(self.label_columns)
        require(len(set(names)) == count and all(names), "label_columns", names, "names, each once")
        for name in ("label_classes", "label_scales"):
            value = getattr(self, name)
            require(len(value) == count, name, value, f"one entry per column of labels ({count})")
        for classes in self.label_classes:
            fits = len(classes) != 1 and len(classes) <= MOST_CLASSES and len(set(classes)) == len(classes)
            require(fits, "label_classes", classes, f"2 to {MOST_CLASSES} names, each once; none for numbers")
        for scale in self.label_scales:
            require(scale[1] > 0.0, "label_scales", scale, "a centre and a spread > 0")

    @property
    def tokens(self) -> int:
        """Tokens that the encoder sees: one per patch and one summary."""
        return 1 + sum(bars // patch for bars, patch in zip(self.window, self.patches, strict=True))

    def for_market(self, market: Market) -> Self:
        """This architecture with the feature names of `market`.

        Raises:
            ConfigError: the market has other timeframes, or other features than those already named.
        """
        same = market.timeframes == self.timeframes
        require(same, "timeframes", self.timeframes, f"the market has {market.timeframes}")
        named = self.feature_names in ((), market.feature_names)
        require(named, "feature_names", self.feature_names, f"the market has {market.feature_names}")
        return replace(self, feature_names=market.feature_names)

    def for_labels(self, columns: Sequence[LabelColumn], scales: tuple[tuple[float, float], ...]) -> Self:
        """This architecture with a head for each column of labels; as it is where there are none, or heads for them.

        Args:
            columns: what is learned.
            scales: centre and spread of each, which a head of numbers speaks in.

        Raises:
            ConfigError: it has heads for other columns or classes.
        """
        if not columns:
            return self
        given: dict[str, Any] = {
            "label_columns": tuple(column.name for column in columns),
            "label_classes": tuple(column.classes for column in columns),
        }
        for name, value in given.items():
            same = not self.label_columns or getattr(self, name) == value
            require(same, name, getattr(self, name), f"the labels have {value}")
        return self if self.label_columns else replace(self, **given, label_scales=scales)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The config from a parsed JSON object with exactly its fields.

        Raises:
            ConfigError: no object, an unknown or missing key, a wrong type, or a value out of range.
        """
        return section(values, cls, cls.__name__, complete=True)


def _increasing(values: tuple[float, ...]) -> bool:
    return all(a < b for a, b in pairwise(values))
