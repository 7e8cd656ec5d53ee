"""What a forecaster looks like: a frozen, validated configuration.

Shape legend of the room: `B` windows, `W` base bars of a window, `K` timeframes, `F` features, `D` width, `H` horizons,
`Q` quantiles, `N` tokens, `P` paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.files.typed_values import Range, later_field, require, require_ranges, require_types, section
from cryptoenv.market.market import Market
from pretrain.networks.encoder_config import HYBRID_PARTS

#: Networks that say something at every bar of a window, and can go on bar by bar where they keep a cache.
SEQUENTIAL = ("gpt", "attention")
#: Encoders of Hugging Face's, built with fresh weights (`published_networks`).
PUBLISHED = ("patchtst", "informer", "series_transformer")
NETWORKS = (*SEQUENTIAL, "hybrid", "transformer", "lstm", "gru", "convolution", "flat", *PUBLISHED)
#: Foundation models of others that are judged on the same rows (`external`).
EXTERNAL = ("fracast", "chronos", "kronos")
TIMESCALES = ("tokens", "channels")
TOKENS = ("bars", "bins")
CLASSES = ("down", "flat", "up")
MOST_TOKENS = 16_384
RETURN = "return_1"  #: feature of a bar's own return, in units of the volatility
CALENDAR = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")  #: features of a bar's time alone
_SIZES = {
    "width": Range(1, 16_384), "layers": Range(1, 256), "heads": Range(1, 1_024), "feedforward": Range(1, 65_536),
    "window": Range(1, 16_384), "horizons": Range(1, 100_000), "steps": Range(0, 8_192), "bins": Range(2, 4_096),
    "deadband": Range(0.0, 1.0), "patch": Range(1, 16_384),
}  # fmt: skip
_LENGTHS = {"timeframes": 32, "horizons": 64, "quantiles": 256}


@dataclass(frozen=True)
class ForecasterConfig:
    """Architecture of a `ForecasterModel` and the windows it reads.

    Attributes:
        timeframes: the base first.
        window: bars read of each timeframe. With `timescales` "channels", 1 of each but the base.
        feature_names: filled in by `for_market`.
        network: one of NETWORKS. "gpt" is a GPT-2 with one token per bar; "attention" is one layer of attention in its
            place (the ablation of Tan et al. 2024); the others read a window as a whole.
        timescales: of "gpt" and "attention": higher timeframes as "tokens" before the base bars, those that had ended
            when the first of these closed; or as "channels" of each base bar, the one that had ended at its close.
        tokens: of "gpt": "bars" reads a bar's own return as a number, "bins" as one of `bins` tokens, and learns the
            next one by cross-entropy (numbers as tokens).
        width, layers, heads, feedforward, dropout: of the network.
        patch: base bars of a patch of the networks "transformer" and "patchtst".
        horizons: base bars ahead, strictly increasing; the first is 1 where paths are sampled.
        quantiles: levels in (0, 1).
        steps: longest path that is sampled, base bars; 0 for none (and always 0 but for "gpt").
        bins: number of return tokens.
        deadband: log-return within which a move counts as none (what trading it would cost).
        ablate: parts of the network "hybrid" to leave out: "attention", "gate", "indicators", "convolution".

    Raises:
        ConfigError: a value is out of range, or values do not fit each other.
    """

    timeframes: tuple[str, ...] = ("15m", "4h", "1d")
    window: tuple[int, ...] = (60, 8, 4)
    feature_names: tuple[tuple[str, ...], ...] = ()
    network: str = "gpt"
    timescales: str = "tokens"
    tokens: str = "bars"
    width: int = 64
    layers: int = 2
    heads: int = 4
    feedforward: int = 128
    dropout: float = 0.1
    patch: int = 4
    horizons: tuple[int, ...] = (1, 4, 16, 96)
    quantiles: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99)
    steps: int = 96
    bins: int = 64
    deadband: float = 0.0022
    ablate: tuple[str, ...] = later_field(())

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        require_ranges(self, _SIZES)
        for name, most in _LENGTHS.items():
            value = getattr(self, name)
            require(0 < len(value) <= most, name, value, f"one to {most} of them")
        count = len(self.timeframes)
        require(len(self.window) == count, "window", self.window, f"one number per timeframe ({count})")
        for name, allowed in (("network", NETWORKS), ("timescales", TIMESCALES), ("tokens", TOKENS)):
            require(getattr(self, name) in allowed, name, getattr(self, name), f"one of {allowed}")
        require(all(map(timeframe_ms, self.timeframes)), "timeframes", self.timeframes, "names such as 15m")
        if self.feature_names:
            require(len(self.feature_names) == count, "feature_names", self.feature_names, "one tuple per timeframe")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width={self.width}")
        require(0.0 <= self.dropout < 1.0, "dropout", self.dropout, "0 <= dropout < 1")
        for name, values in (("horizons", self.horizons), ("quantiles", (0.0, *self.quantiles, 1.0))):
            increasing = all(a < b for a, b in pairwise(values))
            require(increasing, name, getattr(self, name), "strictly increasing" + " in (0, 1)" * (name == "quantiles"))
        self._require_paths()

    def _require_paths(self) -> None:
        paths = self.network == "gpt"
        require(paths or self.steps == 0, "steps", self.steps, "0 but for the network 'gpt', which samples paths")
        require(not self.steps or self.horizons[0] == 1, "horizons", self.horizons, "1 first, where paths are sampled")
        require(paths or self.tokens == "bars", "tokens", self.tokens, "'bars' but for the network 'gpt'")
        fits = self.timescales == "tokens" or self.network in SEQUENTIAL
        require(fits, "timescales", self.timescales, f"'tokens' but for the networks {SEQUENTIAL}")
        one = self.timescales == "tokens" or set(self.window[1:]) <= {1}
        require(one, "window", self.window, "1 of every higher timeframe, where they are channels")
        known = set(self.ablate) <= set(HYBRID_PARTS if self.network == "hybrid" else ())
        require(known, "ablate", self.ablate, f"parts of the network 'hybrid': {', '.join(HYBRID_PARTS)}")
        ends = max((wide - bars for wide, bars in zip(self.layout_window, self.window, strict=True)), default=0)
        require(ends < 64, "window", self.window, "fewer than 64 bars of a higher timeframe that end within window[0]")
        even = self.network not in ("transformer", "patchtst") or self.window[0] % self.patch == 0
        require(even, "patch", self.patch, f"a divisor of window[0]={self.window[0]}")
        require(self.tokens_in_all <= MOST_TOKENS, "window", self.window, f"at most {MOST_TOKENS} tokens and steps")

    @property
    def sequential(self) -> bool:
        """Whether it says something at every base bar of a window."""
        return self.network in SEQUENTIAL

    @property
    def prefix(self) -> int:
        """Tokens of higher timeframes before those of the base bars."""
        return sum(self.window[1:]) if self.sequential and self.timescales == "tokens" else 0

    @property
    def tokens_in_all(self) -> int:
        """Places for tokens: the window's and those of a path."""
        return self.prefix + self.window[0] + self.steps

    @property
    def layout_window(self) -> tuple[int, ...]:
        """Bars per timeframe that a decision needs, so that what had ended at the window's first bar is among them."""
        if not self.sequential:
            return self.window
        base = timeframe_ms(self.timeframes[0])
        spans = (-(-(self.window[0] - 1) * base // timeframe_ms(name)) for name in self.timeframes[1:])
        return (self.window[0], *(bars + span for bars, span in zip(self.window[1:], spans, strict=True)))

    def for_timeframes(self, timeframes: tuple[str, ...]) -> Self:
        """This architecture on other timeframes: each has the window of the one in its place, those beyond the last the
        last one's."""
        if timeframes == self.timeframes:
            return self
        window = tuple(self.window[min(place, len(self.window) - 1)] for place in range(len(timeframes)))
        return replace(self, timeframes=timeframes, window=window, feature_names=())

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

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The config from a parsed JSON object with exactly its fields.

        Raises:
            ConfigError: no object, an unknown or missing key, a wrong type, or a value out of range.
        """
        return section(values, cls, cls.__name__, complete=True)
