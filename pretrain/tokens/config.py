"""What a token forecaster looks like: a frozen, validated configuration."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

from cryptoenv.files.typed_values import Range, require, require_ranges, require_types, section
from pretrain.networks.encoder_config import EncoderConfig

EMBEDDINGS: Final = ("conv", "linear")
ENCODERS: Final = ("transformer", "lstm")
_SIZES = {
    "seq_length": Range(2, 16_384), "embed_size": Range(2, 4_096), "nhead": Range(1, 256),
    "dim_feedforward": Range(1, 65_536), "layers": Range(1, 64), "kernel": Range(1, 64), "head_width": Range(1, 4_096),
    "pump_ahead": Range(1, 100_000), "rise": Range(0.0, 1_000.0, above=True),
}  # fmt: skip
MOST_QUANTILES: Final = 64
MOST_SCALES: Final = 16


@dataclass(frozen=True)
class TokenModelConfig:
    """Architecture of a `TokenModel`.

    Attributes:
        seq_length: `L`, rows of a window, at least 2.
        embed_size: `D`, width of the network; even, and a multiple of `nhead`.
        nhead: heads of attention.
        dim_feedforward: units of the layer within each block.
        dropout: in [0, 1).
        layers: blocks.
        embedding: "conv" (a causal convolution over `kernel` rows) or "linear" (each row alone).
        kernel: rows that the convolution sees.
        scales: rows over which the embedded rows are averaged, beside each row; none: attention has to.
        encoder: "transformer", or "lstm" to compare with.
        head_width: units of the head's hidden layers.
        quantiles: levels that the head says, strictly increasing in (0, 1), the median among them.
        pump_ahead: `H`, rows ahead within which a pump starts, or the price rises.
        rise: by how much the price rises, as a fraction: 1.0 where it doubles.

    Raises:
        ConfigError: a value is out of range.
    """

    seq_length: int = 500
    embed_size: int = 64
    nhead: int = 4
    dim_feedforward: int = 256
    dropout: float = 0.0
    layers: int = 2
    embedding: str = "conv"
    kernel: int = 5
    scales: tuple[int, ...] = (4, 16, 64, 256)
    encoder: str = "transformer"
    head_width: int = 64
    quantiles: tuple[float, ...] = (
        0.005, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.995
    )  # fmt: skip
    pump_ahead: int = 30
    rise: float = 1.0

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _SIZES)
        require(self.embed_size % 2 == 0, "embed_size", self.embed_size, "an even number: half of it are sines")
        require(self.embed_size % self.nhead == 0, "nhead", self.nhead, f"a divisor of embed_size={self.embed_size}")
        require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "0 <= dropout < 1")
        require(self.embedding in EMBEDDINGS, "embedding", self.embedding, f"one of {EMBEDDINGS}")
        require(self.encoder in ENCODERS, "encoder", self.encoder, f"one of {ENCODERS}")
        few = len(self.scales) <= MOST_SCALES and all(1 <= scale <= 100_000 for scale in self.scales)
        require(few, "scales", self.scales, f"at most {MOST_SCALES} numbers of rows from 1 to 100000")
        levels = self.quantiles
        rising = all(a < b for a, b in pairwise((0.0, *levels, 1.0)))
        fits = 3 <= len(levels) <= MOST_QUANTILES and rising and 0.5 in levels
        allowed = f"3 to {MOST_QUANTILES} levels, strictly increasing in (0, 1), 0.5 among them"
        require(fits, "quantiles", levels, allowed)

    @property
    def blocks(self) -> EncoderConfig:
        """What the blocks of attention are built from."""
        return EncoderConfig(
            ("rows",), (self.seq_length,), (1,), width=self.embed_size, layers=self.layers, heads=self.nhead,
            feedforward=self.dim_feedforward, dropout=self.dropout,
        )  # fmt: skip

    @property
    def median(self) -> int:
        """Which of the quantiles it is."""
        return self.quantiles.index(0.5)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The config from a parsed JSON object with exactly its fields.

        Raises:
            ConfigError: no object, an unknown or missing key, a wrong type, or a value out of range.
        """
        given: Any = section(values, cls, cls.__name__, complete=True)
        return given
