"""What a model sees of a market: timeframes, windows and the whole feature spec; and markets made that way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, Self

import pandas as pd

from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.timeframe import grid_offset_ms, timeframe_ms
from cryptoenv.features import FeatureFunction, FeatureSpec, FeatureStream, TimeframePlan, feature_plans
from cryptoenv.features.families.columns import REFERENCE
from cryptoenv.features.spec import ROLES
from cryptoenv.market.market import Market
from pretrain.fitting.artifact_folder import ArtifactError, exact_keys

KEYS = ("timeframes", "window", "features", "features_hash", "reference")


@dataclass(frozen=True)
class MarketLayout:
    """What a model sees of a market; every artifact carries one.

    Attributes:
        timeframes: K names, the base first.
        window: bars per timeframe that a decision reads.
        features: the spec that its features are made by.
        reference: whether they are taken against a reference market.

    Raises:
        ValueError: timeframes or features that cannot be used together.
    """

    timeframes: tuple[str, ...]
    window: tuple[int, ...]
    features: FeatureSpec
    reference: bool = False

    @classmethod
    def of(cls, market: Market, window: tuple[int, ...]) -> Self:
        """The layout of a market that a model learns from."""
        return cls.named(market.timeframes, window, market.feature_spec, market.feature_names)

    @classmethod
    def named(
        cls,
        timeframes: tuple[str, ...],
        window: tuple[int, ...],
        features: FeatureSpec,
        names: tuple[tuple[str, ...], ...],
    ) -> Self:
        """The layout whose features have these names, with a reference market or without.

        Raises:
            ArtifactError: `features` gives other names either way; the first timeframe that differs is named.
        """
        alone, against = cls(timeframes, window, features), cls(timeframes, window, features, reference=True)
        if names == against.feature_names != alone.feature_names:
            return against
        for timeframe, given, found in zip(timeframes, names, alone.feature_names, strict=True):
            if given != found:
                raise ArtifactError(f"feature_names of {timeframe!r} differ: {given}, but the features are {found}")
        return alone

    @cached_property
    def plans(self) -> tuple[TimeframePlan, ...]:
        """How the features of each timeframe are computed."""
        return feature_plans(self.features, self.timeframes, self.columns)

    @cached_property
    def feature_names(self) -> tuple[tuple[str, ...], ...]:
        """K tuples of F_k names."""
        return tuple(plan.names for plan in self.plans)

    @property
    def columns(self) -> tuple[str, ...]:
        """Further columns that bars must bring, "reference" (the close of the reference market) among them."""
        return self.features.columns + ((REFERENCE,) if self.reference else ())

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over timeframes, windows and features. Parameters at their defaults do not count, so that a
        version of cryptoenv that knows more of them gives the same digest."""
        told = [self.timeframes, self.window, self.reference, _chosen(self.features)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def market(
        self,
        bars: pd.DataFrame,
        *,
        reference: pd.DataFrame | None = None,
        funding: pd.Series | None = None,
        name: str = "",
        timeframe: str | None = None,
    ) -> Market:
        """The market of raw bars as the model needs it.

        Args:
            bars: as for `Market.from_bars`, with the further columns that the features read.
            reference: bars of the reference market, where the features are taken against one.
            funding, name, timeframe: as for `Market.from_bars`.

        Raises:
            BarsError: bars that cannot be used; a column or the reference that is missing.
            ArtifactError: a reference that the features have no use for.
        """
        if self.reference and reference is None:
            raise BarsError("its features are taken against a reference market: give its bars with reference=")
        if reference is not None and not self.reference:
            raise ArtifactError(
                "reference= was given, but no feature of the artifact is taken against one: leave it out"
            )
        for column in self.features.columns:
            if column not in bars.columns:
                raise BarsError(
                    f"column {column!r}, which the features read, is missing in {list(bars.columns)}: join it to the "
                    "bars (cryptoenv.join_exogenous), known when each bar closes"
                )
        return Market.from_bars(
            bars, self.timeframes, features=self.features, reference=reference, funding=funding, name=name,
            timeframe=timeframe,
        )  # fmt: skip

    def require(self, market: Market, window: tuple[int, ...] | None = None) -> None:
        """Refuse a market, or an environment's `window`, that the model was not trained for.

        Raises:
            ArtifactError: names what differs, what is needed and what was given.
        """
        given = {"timeframes": market.timeframes, "window": self.window if window is None else window}
        for name, value in given.items():
            if value != getattr(self, name):
                raise ArtifactError(f"{name} differ: the artifact needs {getattr(self, name)}, got {value}")
        if market.feature_spec.hash != self.features.hash:
            raise ArtifactError(
                f"features differ: the artifact needs the spec {self.features.hash[:12]}, the market has "
                f"{market.feature_spec.hash[:12]} ({spec_difference(self.features, market.feature_spec)}); build the "
                "market with artifact.market(bars)"
            )
        for timeframe, needed, found in zip(market.timeframes, self.feature_names, market.feature_names, strict=True):
            if needed != found:
                raise ArtifactError(f"feature_names of {timeframe!r} differ: the artifact needs {needed}, got {found}")

    def stream(self) -> FeatureStream:
        """An empty stream of its features."""
        return FeatureStream(self.timeframes, self.features, reference=self.reference)

    def decidable_ms(self, start_ms: int) -> int:
        """First close, milliseconds since 1970, at which a market that begins at `start_ms` has every window whole."""
        ends = []
        for plan, size in zip(self.plans, self.window, strict=True):
            duration = timeframe_ms(plan.timeframe)
            first = start_ms + (grid_offset_ms(duration) - start_ms) % duration
            ends.append(first + (plan.first_valid_row(first) + size) * duration)
        return max(ends)

    def to_dict(self) -> dict[str, Any]:
        """The layout as plain values, for the configuration of an artifact."""
        return {
            "timeframes": list(self.timeframes),
            "window": list(self.window),
            "features": self.features.to_dict(),
            "features_hash": self.features.hash,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, content: object, where: str, functions: Sequence[FeatureFunction] = ()) -> Self:
        """The layout of `to_dict`, after every check.

        Args:
            content: as of `to_dict`.
            where: what to call it in messages.
            functions: code of the user's features that the spec names.

        Raises:
            ArtifactError: a value that is not allowed, features that were changed since, or the code of a user's
                feature that is missing or another.
        """
        values = exact_keys(content, KEYS, where)
        for key, kind in (("timeframes", str), ("window", int)):
            listed = values[key]
            if not isinstance(listed, list) or not all(type(item) is kind for item in listed) or len(listed) > 32:
                raise ArtifactError(f"{where}: {key}={listed!r:.200} is not allowed: a list of {kind.__name__}")
        told = hashlib.sha256(json.dumps(values["features"], sort_keys=True).encode()).hexdigest()
        if told != values["features_hash"]:
            raise ArtifactError(f"{where}: features_hash is not that of features: they were changed since")
        if type(values["reference"]) is not bool:
            raise ArtifactError(f"{where}: reference={values['reference']!r:.200} is not allowed: true or false")
        try:
            features = FeatureSpec.from_dict(values["features"], functions)
            require_code(features)
            layout = cls(tuple(values["timeframes"]), tuple(values["window"]), features, values["reference"])
            if len(layout.plans) != len(layout.window) or min(layout.window) < 1:
                raise ValueError(f"window={layout.window}: a whole number of bars >= 1 for each timeframe")
        except ArtifactError:
            raise
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"{where}: {error}") from error
        return layout


def kept_layout(
    content: object,
    where: str,
    architecture: tuple[tuple[str, ...], tuple[int, ...], tuple[tuple[str, ...], ...]],
    functions: Sequence[FeatureFunction] = (),
) -> MarketLayout:
    """The layout that an artifact keeps, which is that of its architecture: timeframes, windows, names of features.

    Raises:
        ArtifactError: as `MarketLayout.from_dict`, or the two differ.
    """
    layout = MarketLayout.from_dict(content, where, functions)
    for name, wanted in zip(("timeframes", "window"), architecture, strict=False):
        if getattr(layout, name) != wanted:
            raise ArtifactError(f"{where.partition(':')[0]}: {name} of market and of architecture differ")
    for timeframe, kept, named in zip(layout.timeframes, layout.feature_names, architecture[2], strict=True):
        if kept != named:
            raise ArtifactError(
                f"{where.partition(':')[0]}: feature_names of {timeframe!r} differ: the architecture has {named}, "
                f"features give {kept}"
            )
    return layout


def require_code(features: FeatureSpec) -> None:
    """Refuse a spec with a user's feature whose code is not there.

    Raises:
        ArtifactError: names it.
    """
    named = [(role, getattr(features, role)) for role in ROLES] + list(features.timeframes)
    for where, given in named:
        for function in given.custom:
            if function.function is None:
                raise ArtifactError(
                    f"feature {function.name!r} ({where}) is the user's own, and an artifact holds no code: pass it "
                    f"when loading, functions=[...], unchanged since (digest {str(function.digest)[:12]})"
                )


def _chosen(value: Any) -> Any:
    """A configuration as plain values without those that equal the defaults of their fields."""
    if isinstance(value, FeatureFunction):
        return [value.name, value.bound, value.memory_bars, value.digest]
    if isinstance(value, FeatureSpec):  # its roles have defaults that may change: they are said in full
        named = tuple(sorted(value.timeframes, key=lambda one: timeframe_ms(one[0])))  # a file keeps no order of them
        by_name = {"timeframes": _chosen(named)} if named else {}
        return {role: _chosen(getattr(value, role)) for role in ROLES} | by_name
    if is_dataclass(value):
        return {f.name: _chosen(getattr(value, f.name)) for f in fields(value) if not _is_default(value, f)}
    return [_chosen(item) for item in value] if isinstance(value, tuple | list) else value


def _is_default(owner: Any, field: Any) -> bool:
    return field.default is not MISSING and getattr(owner, field.name) == field.default


def spec_difference(needed: FeatureSpec, found: FeatureSpec) -> str:
    """The first value in which two specs differ, in words."""
    left, right = (dict(_leaves(spec.to_dict())) for spec in (needed, found))
    for path in [*left, *(path for path in right if path not in left)]:
        if left.get(path) != right.get(path):
            return f"{path} is {left.get(path, 'not there')} and {right.get(path, 'not there')}"
    return "in their order"


def _leaves(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield name, "there"
            yield from _leaves(value, name)
        else:
            yield name, value
