"""What an encoder looks like and which windows it reads: the part of a model's configuration that all models share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types, section
from cryptoenv.market.market import Market

ENCODERS = ("transformer", "lstm", "gru", "convolution", "flat", "gpt", "hybrid", "recurrent")
REMEMBERING = ("transformer", "recurrent")  #: encoders that may have a memory
#: Parts of the "hybrid" that can be left out.
HYBRID_PARTS = ("attention", "gate", "indicators", "convolution")
MOST_TOKENS = 16_384
#: Far beyond what anybody trains, and small enough that nothing is built, or looped over, for ever.
_SIZES = {
    "width": Range(1, 16_384), "layers": Range(1, 256), "heads": Range(1, 1_024), "feedforward": Range(1, 65_536),
    "bar_width": Range(0, 16_384), "memory": Range(0, 16_384), "window": Range(1, 1_000_000),
    "patches": Range(1, 1_000_000),
}  # fmt: skip
MOST_TIMEFRAMES = 32


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder and the market layout it reads.

    `encoder` is one of ENCODERS. For the "transformer" and the "gpt", `window[k]` bars of `timeframes[k]` are cut into
    patches of `patches[k]` bars, and each patch is one token; the transformer adds a summary token, the gpt reads the
    tokens in their order and says what its last one makes of those before it. With `bar_width` > 0 every bar first
    goes through a layer of that many units. With `memory` > 0, a gated recurrent network of that many units runs over
    the base bars, and its state at the end of a patch is what the patch is made from. `feature_names` may stay empty
    until `for_market` fills it in. The "hybrid" (`pretrain.networks.hybrid`) has `feedforward` channels and twice as
    many units in its LSTM; `ablate` names those of its HYBRID_PARTS that are left out. The "recurrent"
    (`pretrain.networks.recurrent_reader`) is a memory without attention: its base window is one patch, the bars that
    the memory has run over before a decision.

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
    ablate: tuple[str, ...] = later_field(())

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _SIZES)
        count = len(self.timeframes)
        require(count <= MOST_TIMEFRAMES, "timeframes", self.timeframes, f"at most {MOST_TIMEFRAMES} of them")
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
        require(self.encoder in ENCODERS, "encoder", self.encoder, f"one of {ENCODERS}")
        halves = self.encoder != "hybrid" or 2 * self.feedforward % self.heads == 0
        require(halves, "heads", self.heads, f"a divisor of 2 x feedforward={self.feedforward} in a hybrid")
        parts = HYBRID_PARTS if self.encoder == "hybrid" else ()
        require(set(self.ablate) <= set(parts), "ablate", self.ablate, f"parts of a hybrid: {', '.join(HYBRID_PARTS)}")
        fits = not self.memory or (self.encoder in REMEMBERING and not self.bar_width)
        require(fits, "memory", self.memory, "0 but for the encoder 'transformer' or 'recurrent', with bar_width=0")
        if self.encoder == "recurrent":
            require(self.memory > 0, "memory", self.memory, "at least 1 unit in the encoder 'recurrent'")
            whole = self.patches[0] == self.window[0]
            require(whole, "patches", self.patches, "the whole of the base window in the encoder 'recurrent'")

    @property
    def remembered(self) -> int:
        """Numbers that a memory keeps of what it read until a bar, 0 without one."""
        return 2 * self.memory if self.encoder == "recurrent" else self.memory

    @property
    def tokens(self) -> int:
        """Tokens that a transformer sees: one per patch and one summary."""
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

    def for_timeframes(self, timeframes: tuple[str, ...]) -> Self:
        """This architecture on other timeframes: each has the window and the patches of the one in its place, those
        beyond the last the last one's."""
        if timeframes == self.timeframes:
            return self
        last = len(self.timeframes) - 1
        window, patches = (
            tuple(sizes[min(place, last)] for place in range(len(timeframes))) for sizes in (self.window, self.patches)
        )
        return replace(self, timeframes=timeframes, window=window, patches=patches, feature_names=())

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The config from a parsed JSON object with exactly its fields.

        Raises:
            ConfigError: no object, an unknown or missing key, a wrong type, or a value out of range.
        """
        given: Any = section(values, cls, cls.__name__, complete=True)
        return given
