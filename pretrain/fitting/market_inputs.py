"""What a recipe says of the markets themselves: timeframes, features, what goes beside bars, how they are split.

Pretraining, agents and every command read it here, and make markets here: one `MarketMaker` for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from cryptoenv.bars.bars import indexed_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import USUAL, duration_us, join_exogenous
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import DAY_MS, timeframe_ms, validate_timeframes
from cryptoenv.features.families.columns import Exogenous
from cryptoenv.features.spec import FeatureSpec
from cryptoenv.files.bounded_json import parse_json
from cryptoenv.files.bounded_yaml import YamlError, read_yaml
from cryptoenv.files.typed_values import ConfigError, require, require_types, section
from cryptoenv.market.market import Market
from cryptoenv.market.stored_bars import bars_at, name_of_place, values_at
from pretrain.fitting.artifact_folder import ArtifactError
from pretrain.fitting.market_layout import MarketLayout, spec_difference

FRACTIONS = (0.6, 0.2, 0.2)  #: of a history's decidable bars: to learn from, to choose by, to look at once
FRACTIONS_ALLOWED = "three shares above 0 that add up to 1, train, validation and test, such as 0.6,0.2,0.2"


@dataclass(frozen=True)
class ExogenousSource:
    """Values beside the bars, from a file or a store's series.

    Attributes:
        path: of a file with a column of times, or of a store's series (STORE/EXCHANGE/SYMBOL/TIMEFRAME).
        known_after: from a value's timestamp to the moment it was public (`cryptoenv.join_exogenous`). It must be said
            of values at regular times; a store's bars are known when they close where it is not said.
        stale_after: age beyond which a value counts no more: a duration, or "usual".
        columns: which of its columns; under other names where it is a mapping, {"close": "eth_close"}, which is kept as
            pairs. None is all.
        time_zone: of a file's times that do not say theirs, e.g. "UTC".

    Raises:
        ConfigError: a value of another type, or no duration.
    """

    path: str
    known_after: str | None = None
    stale_after: str = USUAL
    columns: tuple[str, ...] | tuple[tuple[str, str], ...] | dict[str, str] | None = None
    time_zone: str | None = None

    def __post_init__(self) -> None:
        require_types(type(self), vars(self), "exogenous")
        if isinstance(self.columns, dict):
            object.__setattr__(self, "columns", tuple(self.columns.items()))
        for name, given in (("known_after", self.known_after), ("stale_after", self.stale_after)):
            if given is not None and given != USUAL:
                try:
                    duration_us(name, given)
                except BarsError as error:
                    raise ConfigError(f"exogenous: {error}") from error

    @classmethod
    def read(cls, text: str) -> Self:
        """One of the command line: `FILE`, or `FILE@KNOWN_AFTER` as in greed.csv@1d."""
        path, at, after = text.rpartition("@")
        if not at or Path(text).exists():
            return cls(text)
        return cls(path, after)

    @property
    def given(self) -> dict[str, Any]:
        """What it says, as plain values for a recipe's file."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        if self.columns and not isinstance(next(iter(self.columns)), str):
            told["columns"] = dict(told["columns"])
        return told

    def values(self) -> tuple[pd.DataFrame, str | None]:
        """(V, C) float64 values on a UTC index, under the names they are joined by, and when each was public.

        Raises:
            BarsError: values that cannot be used, a column that is not there, or bars that would be known before they
                close. FileNotFoundError: no such file.
        """
        found, timeframe = values_at(Path(self.path), self.time_zone)
        names = {str(name): str(name) for name in found.columns}
        if self.columns is not None:
            named = [(one, one) if isinstance(one, str) else one for one in self.columns]
            if missing := [old for old, _ in named if old not in names]:
                raise BarsError(f"{self.path}: no column {missing[0]!r} of numbers; it has {list(names)}")
            names = dict(named)
        return found[list(names)].rename(columns=names), self._delay(timeframe)

    def _delay(self, timeframe: str | None) -> str | None:
        """`known_after`; of a store's bars, of this timeframe, their close where nothing is said."""
        if timeframe is None:
            return self.known_after
        closes = timeframe_ms(timeframe)
        if self.known_after is not None and duration_us("known_after", self.known_after) < closes * 1000:
            raise BarsError(
                f"{self.path}: known_after={self.known_after!r}, but its bars are stamped with their open and known "
                f"when they close, {timeframe} later at the earliest"
            )
        return self.known_after or f"{closes}ms"


@dataclass(frozen=True)
class MarketInputs:
    """What a recipe says of markets; None is what the model's artifact says, and for a new model the defaults.

    Attributes:
        timeframes: names, the base first.
        features: what features are made by.
        reference: a file of bars, a saved market or a store's series that features are taken against.
        exogenous: values beside the bars. Without `features`, the base timeframe of the default ones reads all of them.
        funding: files or store's series of funding rates, one for each market, in their order (`read_funding`); charged
            where a perpetual is traded.
        split_fractions: shares in time of each market: to learn from, to choose by, to look at once. None: 0.6, 0.2,
            0.2.

    Raises:
        ConfigError: a value of another type, timeframes that cannot be used together, or fractions that are no shares.
    """

    timeframes: tuple[str, ...] | None = None
    features: FeatureSpec | None = None
    reference: str | None = None
    exogenous: tuple[ExogenousSource, ...] = ()
    funding: tuple[str, ...] = ()
    split_fractions: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        require_types(type(self), vars(self))
        if self.split_fractions is not None:
            require_fractions(self.split_fractions)
        fits = self.features is None or isinstance(self.features, FeatureSpec)
        require(fits, "features", self.features, "a FeatureSpec (read_features makes one of a mapping or a file)")
        if self.timeframes is not None:
            try:
                validate_timeframes(self.timeframes)
            except (TypeError, ValueError) as error:
                raise ConfigError(str(error)) from error

    @classmethod
    def read(cls, values: Mapping[str, Any], where: str) -> Self:
        """From the keys of a recipe, which are `INPUT_KEYS`.

        Args:
            values: `features` is a path or a mapping, `exogenous` one source or a list of them, each a path or the
                fields of `ExogenousSource`.
            where: what to call the recipe in messages.

        Raises:
            ConfigError: a value that is not allowed; a file of features that is not there.
        """
        given = {name: value for name, value in values.items() if value is not None}
        if isinstance(given.get("timeframes"), str):
            given["timeframes"] = timeframes_of(given["timeframes"])
        if isinstance(given.get("funding"), str):
            given["funding"] = (given["funding"],)
        if "split_fractions" in given:
            given["split_fractions"] = fractions_of(given["split_fractions"], where)
        if "features" in given:
            given["features"] = read_features(given["features"], where)
        if "exogenous" in given:
            one = given["exogenous"]
            listed = one if isinstance(one, list | tuple) else [one]
            given["exogenous"] = tuple(_source(item, f"{where}: exogenous") for item in listed)
        return section(given, cls, where)

    @property
    def given(self) -> dict[str, Any]:
        """What it says, as plain values for a recipe's file."""
        told: dict[str, Any] = {"timeframes": self.timeframes, "reference": self.reference}
        told["features"] = None if self.features is None else self.features.to_dict()
        told["exogenous"] = [one.given for one in self.exogenous]
        told["funding"] = list(self.funding)
        told["split_fractions"] = None if self.split_fractions is None else list(self.split_fractions)
        return {name: told[name] for name in INPUT_KEYS if told.get(name)}

    def over(self, earlier: MarketInputs) -> MarketInputs:
        """These where they say something, else what `earlier` says."""
        said = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) not in (None, ())}
        return replace(earlier, **said)

    @property
    def makes(self) -> bool:
        """Whether it says what a market is made of, so that a model of it is another one."""
        return bool(set(self.given) - {"funding", "split_fractions"})

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Shares in time: to learn from, to choose by, to look at once."""
        return self.split_fractions or FRACTIONS

    def require_own(self, what: str) -> None:
        """Refuse what is of bars of one's own alone, for `what` has none.

        Raises:
            ConfigError: funding rates or split fractions.
        """
        if self.funding:
            raise ConfigError(f"funding is of bars of your own, and {what}: leave it out")
        if self.split_fractions is not None:
            raise ConfigError(
                f"split_fractions split bars of your own in time, and {what}: leave them out (synthetic markets are "
                "split by seed family)"
            )

    @cached_property
    def values(self) -> tuple[tuple[pd.DataFrame, str | None], ...]:
        """The exogenous values, and when each was public; read once."""
        return tuple(one.values() for one in self.exogenous)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the exogenous columns."""
        return tuple(str(name) for table, _ in self.values for name in table.columns)

    def spec_for(self, timeframes: Sequence[str]) -> FeatureSpec:
        """The features of a new model of these timeframes.

        Raises:
            ConfigError: an exogenous column that no feature reads.
        """
        if self.features is None:
            return _with_columns(FeatureSpec(), self.columns, timeframes[0])
        for name in self.columns:
            if name not in self.features.columns:
                raise ConfigError(
                    f"exogenous column {name!r} is read by none of the features: name it in one of them "
                    f"(exogenous: {{columns: [{name}]}}), or leave it out; columns: says which ones a source brings"
                )
        return self.features

    @cached_property
    def reference_bars(self) -> pd.DataFrame | None:
        """Bars of the reference market, read once."""
        return None if self.reference is None else bars_at(Path(self.reference))

    def joined(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Bars with the exogenous columns: at each bar the last value that was known when it closed.

        Further columns that the bars have themselves stay as they are.

        Raises:
            BarsError: values whose times cannot be used, or that nobody knows the publication of.
        """
        if not self.exogenous:
            return bars
        bars = indexed_bars(bars)
        own = [name for name in bars.columns if name not in BAR_COLUMNS]
        for one, (table, delay) in zip(self.exogenous, self.values, strict=True):
            new = table.drop(columns=[name for name in own if name in table.columns])
            try:
                bars = join_exogenous(bars, new, known_after=delay, stale_after=one.stale_after)
            except BarsError as error:
                raise BarsError(f"{one.path}: {error}") from error
        return bars

    def new_layout(self, timeframes: tuple[str, ...], window: tuple[int, ...]) -> MarketLayout:
        """The layout of a model that is made anew.

        Raises:
            ConfigError: features that cannot be used with these timeframes, or a reference that none is taken against.
        """
        try:
            layout = MarketLayout(timeframes, window, self.spec_for(timeframes), self.reference is not None)
            if layout.reference and layout.feature_names == replace(layout, reference=False).feature_names:
                raise ConfigError("reference is given, but none of the features is taken against one: leave it out")
        except ConfigError:
            raise
        except ValueError as error:
            raise ConfigError(f"features: {error}") from error
        return layout

    def require_fits(self, layout: MarketLayout, owner: str) -> None:
        """Refuse what contradicts an artifact, by name: what the artifact says wins.

        Args:
            layout: of the artifact.
            owner: what to call it, as "the extractor default".

        Raises:
            ArtifactError: timeframes, features, a reference or exogenous columns that differ; what is needed is named.
        """
        anew = "pretrain one with them (cryptoenv pretrain --bars)"
        if self.timeframes is not None and self.timeframes != layout.timeframes:
            raise ArtifactError(
                f"timeframes differ: {owner} reads {layout.timeframes}, not {self.timeframes}; leave them out, or "
                f"{anew}"
            )
        if self.features is not None and self.features.hash != layout.features.hash:
            told = spec_difference(layout.features, self.features)
            raise ArtifactError(f"features differ: {owner} brings its own ({told}); leave them out, or {anew}")
        if self.reference is not None and not layout.reference:
            raise ArtifactError(f"reference: {owner} takes no feature against one; leave it out, or {anew}")
        for name in self.columns:
            if name not in layout.features.columns:
                raise ArtifactError(
                    f"exogenous column {name!r}: {owner} reads {layout.features.columns or 'none'}; leave it out, or "
                    f"{anew}"
                )


INPUT_KEYS = tuple(item.name for item in fields(MarketInputs))  #: what recipes call them


@dataclass(frozen=True)
class MarketMaker:
    """Makes every market of a model, for its recipe and for its commands.

    Attributes:
        layout: timeframes, windows and features.
        inputs: where the reference and the exogenous columns come from.
    """

    layout: MarketLayout
    inputs: MarketInputs = field(default_factory=MarketInputs)

    def market(
        self, bars: pd.DataFrame, *, name: str = "", timeframe: str | None = None, funding: pd.Series | None = None
    ) -> Market:
        """The market of bars, with funding rates of them; columns that they bring themselves are read as they are.

        Raises:
            BarsError: bars that cannot be used; a column or the reference that is missing.
        """
        bars, reference = self.inputs.joined(bars), self.inputs.reference_bars
        if self.layout.reference and reference is None:
            raise BarsError(
                "the features are taken against a reference market: name its bars (reference:, or --reference)"
            )
        if missing := [name for name in self.layout.features.columns if name not in bars.columns]:
            raise BarsError(
                f"the features read {missing[0]!r}, which the bars do not have: name a file of it (exogenous:, or "
                "--exogenous FILE@KNOWN_AFTER)"
            )
        return self.layout.market(bars, reference=reference, name=name, timeframe=timeframe, funding=funding)

    def market_at(self, path: Path, funding: pd.Series | None = None) -> Market:
        """The market of a file's bars, of a store's series or of a saved market's base bars, with their funding."""
        return self.market(self.bars_at(path), name=name_of_place(path), funding=funding)

    def bars_at(self, path: Path) -> pd.DataFrame:
        """The bars there, with those columns of the file that are read and that `inputs` do not bring."""
        named = self.inputs.columns
        return bars_at(path, [name for name in self.layout.features.columns if name not in named])


def require_synthetic(layout: MarketLayout) -> None:
    """Refuse features that read what synthetic markets do not have.

    Raises:
        ConfigError: a reference market, or further columns.
    """
    needs = "a reference market" if layout.reference else f"the columns {', '.join(layout.columns)}"
    if layout.columns:
        raise ConfigError(f"the features read {needs}, which synthetic markets do not have: name bars of your own")


def fractions_of(given: object, where: str) -> tuple[float, float, float]:
    """Shares of a text, "0.6,0.2,0.2", or of a list.

    Raises:
        ConfigError: three numbers above 0 that add up to 1 are not what it says.
    """
    parts = given.split(",") if isinstance(given, str) else given
    try:
        found = tuple(float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: split_fractions={given!r}: {FRACTIONS_ALLOWED}") from error
    require_fractions(found)
    return found  # type: ignore[return-value]


def require_fractions(fractions: Sequence[float]) -> None:
    """Check shares of a history: three of more than 0 that add up to 1.

    Raises:
        ConfigError: they are not.
    """
    if len(fractions) != 3 or not all(0.0 < share < 1.0 for share in fractions) or abs(sum(fractions) - 1.0) > 1e-9:
        raise ConfigError(f"split fractions {tuple(fractions)} are not allowed: {FRACTIONS_ALLOWED}")


def timeframes_of(text: str) -> tuple[str, ...]:
    """Timeframes of a text, "1m,15m": the base first."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def read_features(source: object, where: str) -> FeatureSpec:
    """A feature spec from a mapping, or from a YAML or JSON file by its path.

    Raises:
        ConfigError: no such file, or a spec that is not allowed; `where` and the file are named.
    """
    if isinstance(source, FeatureSpec):
        return source
    place = f"{where}: features"
    if isinstance(source, str | Path):
        file = Path(source)
        if not file.is_file():
            raise ConfigError(f"{place}: no such file: {file}")
        place = f"{place}: {file}"
        try:
            source = parse_json(file.read_bytes(), str(file)) if file.suffix == ".json" else read_yaml(file)
        except (YamlError, ValueError) as error:
            raise ConfigError(f"{place}: {error}") from error
    if not isinstance(source, Mapping) or not source:
        raise ConfigError(f"{place}: expected a feature spec, or the path of one, got {type(source).__name__}")
    try:
        return FeatureSpec.from_dict(source)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error


def _source(item: object, where: str) -> ExogenousSource:
    if isinstance(item, ExogenousSource):
        return item
    if isinstance(item, str):
        return ExogenousSource.read(item)
    return section(item, ExogenousSource, where)


def _with_columns(spec: FeatureSpec, columns: tuple[str, ...], base: str) -> FeatureSpec:
    """The spec whose base timeframe reads further columns as well."""
    if not columns:
        return spec
    roles = ("daily",) if timeframe_ms(base) >= DAY_MS else ("base", "single")
    family = Exogenous(columns=columns)
    return replace(spec, **{role: replace(getattr(spec, role), exogenous=family) for role in roles})
