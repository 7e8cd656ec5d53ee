"""`FeatureSpec`: which features a market has, with which parameters, as a value: compared, hashed, written as YAML."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS, timeframe_ms
from cryptoenv.features.custom import FeatureFunction
from cryptoenv.features.families.across import AcrossTimeframes
from cryptoenv.features.families.breakouts import Breakouts
from cryptoenv.features.families.calendar import Calendar
from cryptoenv.features.families.columns import REFERENCE, Exogenous, Reference
from cryptoenv.features.families.indicators import Momentum, Trend, Volatility
from cryptoenv.features.families.slow import SlowLevels
from cryptoenv.features.families.windowed import Candles, Returns, Volume
from cryptoenv.features.pursuit.family import Pursuit
from cryptoenv.features.view import Family, Setting
from cryptoenv.files.typed_values import known_values, require_counts, require_types, section, written_values

ROLES = ("base", "higher", "daily", "single")
_BY_NAME = "timeframes"
_FAMILIES: dict[str, Any] = {
    "returns": Returns,
    "candles": Candles,
    "volume": Volume,
    "volatility": Volatility,
    "trend": Trend,
    "momentum": Momentum,
    "calendar": Calendar,
    "slow": SlowLevels,
    "breakouts": Breakouts,
    "across": AcrossTimeframes,
    "reference": Reference,
    "exogenous": Exogenous,
    "pursuit": Pursuit,
}


@dataclass(frozen=True)
class TimeframeFeatures:
    """Families of one timeframe; None leaves a family out.

    Attributes:
        volatility_bars: memory of the volatility v that most features are measured in.
        warm_up_bars: what recursive indicators start from, before the UTC day (from one day on: before the bar).
        custom: the user's own features.
    """

    volatility_bars: int = 96
    warm_up_bars: int = 192
    returns: Returns | None = None
    candles: Candles | None = None
    volume: Volume | None = None
    volatility: Volatility | None = None
    trend: Trend | None = None
    momentum: Momentum | None = None
    calendar: Calendar | None = None
    slow: SlowLevels | None = None
    breakouts: Breakouts | None = None
    across: AcrossTimeframes | None = None
    reference: Reference | None = None
    exogenous: Exogenous | None = None
    pursuit: Pursuit | None = None
    custom: tuple[FeatureFunction, ...] = ()

    def __post_init__(self) -> None:
        require_counts(self, volatility_bars=self.volatility_bars, warm_up_bars=self.warm_up_bars)

    def families(self) -> Iterator[Family]:
        """The families that are there, in the order of their columns."""
        for name in _FAMILIES:
            family = getattr(self, name)
            if family is not None:
                yield family
        yield from self.custom

    def pursued_columns(self) -> tuple[str, ...]:
        """What the pursuit reads that is neither a column of bars, nor the reference, nor a feature beside it."""
        if self.pursuit is None:
            return ()
        setting = Setting(HOUR_MS, (DAY_MS,), (REFERENCE,))
        others = [family for family in self.families() if family is not self.pursuit]
        beside = {*BAR_COLUMNS, REFERENCE, *(name for family in others for name in family.names(setting))}
        return tuple(name for name in self.pursuit.columns if name not in beside)


def _intraday(**more: Any) -> TimeframeFeatures:
    return TimeframeFeatures(
        returns=Returns(), candles=Candles(), volume=Volume(), volatility=Volatility(), trend=Trend(),
        momentum=Momentum(), reference=Reference(), **more,
    )  # fmt: skip


def _base() -> TimeframeFeatures:
    slow = {"slow": SlowLevels(), "breakouts": Breakouts(), "across": AcrossTimeframes()}
    return _intraday(calendar=Calendar(weekday=False), **slow)


def _daily() -> TimeframeFeatures:
    return replace(
        _intraday(), volatility_bars=30, warm_up_bars=40, returns=Returns(long=30), volume=Volume(long=40),
        reference=Reference(bars=30),
    )  # fmt: skip


@dataclass(frozen=True)
class FeatureSpec:
    """Which features a market has, by the role of the timeframe; `FeatureSpec()` is the default set.

    Attributes:
        base: of the first timeframe of several, where it is below one day.
        higher: of the other timeframes below one day.
        daily: of timeframes of a day and more.
        single: of the only timeframe of a market, where it is below one day. By default without what has a memory of
            weeks, so that a few days of bars make a market.
        timeframes: of timeframes by name, such as (("4h", TimeframeFeatures(...)),), instead of their role's;
            `with_timeframe` adds one.

    Raises:
        ValueError: no timeframe, or one that is there twice.
    """

    base: TimeframeFeatures = field(default_factory=_base)
    higher: TimeframeFeatures = field(default_factory=_intraday)
    daily: TimeframeFeatures = field(default_factory=_daily)
    single: TimeframeFeatures = field(default_factory=_intraday)
    timeframes: tuple[tuple[str, TimeframeFeatures], ...] = ()

    def __post_init__(self) -> None:
        durations = [timeframe_ms(name) for name, _ in self.timeframes]
        for name, _ in self.timeframes:
            if durations.count(timeframe_ms(name)) > 1:
                raise ValueError(f"timeframes names {name!r} twice; allowed: each timeframe once")

    @classmethod
    def none(cls) -> Self:
        """The empty spec: a market of prices only."""
        empty = TimeframeFeatures()
        return cls(empty, empty, empty, empty)

    def role(self, position: int, durations_ms: Sequence[int]) -> TimeframeFeatures:
        """The features of the timeframe at a position (the base is 0) among the durations of a market's timeframes."""
        for name, features in self.timeframes:
            if timeframe_ms(name) == durations_ms[position]:
                return features
        if durations_ms[position] >= DAY_MS:
            return self.daily
        return self.higher if position else self.base if len(durations_ms) > 1 else self.single

    def with_timeframe(self, timeframe: str, features: TimeframeFeatures) -> Self:
        """The spec with other features for one timeframe, by its name, whichever role it has.

            spec.with_timeframe("4h", replace(spec.higher, trend=Trend(averages=(50, 200))))

        Raises:
            ValueError: no timeframe.
        """
        duration = timeframe_ms(timeframe)
        kept = tuple(one for one in self.timeframes if timeframe_ms(one[0]) != duration)
        return replace(self, timeframes=(*kept, (timeframe, features)))

    def require_timeframes(self, timeframes: Sequence[str]) -> None:
        """Refuses features by name for a timeframe that a market lacks.

        Raises:
            ValueError: names it.
        """
        durations = [timeframe_ms(name) for name in timeframes]
        for name, _ in self.timeframes:
            if timeframe_ms(name) not in durations:
                raise ValueError(f"the feature spec names the timeframe {name!r}; the market has {tuple(timeframes)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """Further columns of bars that its features read."""
        roles: list[TimeframeFeatures] = [getattr(self, role) for role in ROLES]
        roles += [features for _, features in self.timeframes]
        named = [role.exogenous.columns for role in roles if role.exogenous is not None]
        named += [role.pursued_columns() for role in roles]
        return tuple(dict.fromkeys(column for columns in named for column in columns))

    def with_functions(self, *functions: FeatureFunction, roles: Sequence[str] = ROLES) -> Self:
        """The spec with the user's features added to the roles; those of the same name are replaced.

        Where all roles are meant, timeframes that have features by their name get them too.

        Raises:
            ValueError: an unknown role. TypeError: not made with `feature`.
        """
        for role in roles:
            if role not in ROLES:
                raise ValueError(f"role {role!r} is unknown; allowed: {', '.join(ROLES)}")
        for function in functions:
            if not isinstance(function, FeatureFunction):
                raise TypeError(f"{function!r} is no feature; allowed: functions decorated with @feature(name, ...)")
        names = {function.name for function in functions}

        def added(given: TimeframeFeatures) -> TimeframeFeatures:
            kept = tuple(function for function in given.custom if function.name not in names)
            return replace(given, custom=kept + functions)

        changed: dict[str, Any] = {role: added(getattr(self, role)) for role in roles}
        if set(roles) == set(ROLES):
            changed["timeframes"] = tuple((name, added(features)) for name, features in self.timeframes)
        return replace(self, **changed)

    @property
    def hash(self) -> str:
        """sha256 (hex) of the spec: two specs with one hash make the same features."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for JSON and YAML; a user's function is there by name and digest, without code."""
        out = {role: _plain(getattr(self, role)) for role in ROLES}
        by_name = {name: _plain(features) for name, features in self.timeframes}
        return out | ({_BY_NAME: by_name} if by_name else {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], functions: Sequence[FeatureFunction] = ()) -> Self:
        """The spec of `to_dict`; a role or family that is left out has no features, a parameter its default.

        Args:
            content: as of `to_dict`.
            functions: code of the user's features that the spec names.

        Raises:
            ValueError: an unknown key, a value that is not allowed, or a function whose code is not the spec's.
        """
        known_values(content, (*ROLES, _BY_NAME), "feature spec")
        code = {function.name: function for function in functions}
        roles = {role: _role(content.get(role), role, code) for role in ROLES}
        by_name = content.get(_BY_NAME) or {}
        if not isinstance(by_name, Mapping):
            raise ValueError(f"{_BY_NAME} is {by_name!r:.200}; allowed: features by the name of a timeframe")
        named = tuple((str(name), _role(features, str(name), code)) for name, features in by_name.items())
        return cls(**roles, timeframes=named)

    def to_yaml(self) -> str:
        """The spec as readable YAML."""
        import yaml

        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None))

    @classmethod
    def from_yaml(cls, text: str, functions: Sequence[FeatureFunction] = ()) -> Self:
        """The spec from YAML; arguments and errors as `from_dict`."""
        from cryptoenv.files.bounded_yaml import parse_yaml

        content = parse_yaml(text, "the feature spec")
        return cls.from_dict({} if content is None else content, functions)


def _plain(role: TimeframeFeatures) -> dict[str, Any]:
    out: dict[str, Any] = {"volatility_bars": role.volatility_bars, "warm_up_bars": role.warm_up_bars}
    for name in _FAMILIES:
        family = getattr(role, name)
        if family is not None:
            out[name] = {key: list(v) if isinstance(v, tuple) else v for key, v in written_values(family).items()}
    if role.custom:
        out["custom"] = [
            {"name": f.name, "bound": f.bound, "memory": f.memory_bars, "digest": f.digest} for f in role.custom
        ]
    return out


def _role(content: Any, where: str, code: Mapping[str, FeatureFunction]) -> TimeframeFeatures:
    if content is None:
        return TimeframeFeatures()
    counts = ("volatility_bars", "warm_up_bars")
    known_values(content, (*counts, *_FAMILIES, "custom"), where)
    given: dict[str, Any] = {name: content[name] for name in counts if name in content}
    require_types(TimeframeFeatures, given, where)
    for name, family in _FAMILIES.items():
        if name in content:
            given[name] = section(content[name] if content[name] is not None else {}, family, f"{where}.{name}")
    custom = content.get("custom") or ()
    if not isinstance(custom, list | tuple):
        raise ValueError(f"{where}.custom is {custom!r:.200}; allowed: a list of features")
    given["custom"] = tuple(_function(entry, f"{where}.custom", code) for entry in custom)
    return TimeframeFeatures(**given)


def _function(content: Any, where: str, code: Mapping[str, FeatureFunction]) -> FeatureFunction:
    known_values(content, ("name", "bound", "memory", "digest"), where)
    if not isinstance(content.get("digest"), str | None):
        raise ValueError(f"{where}: digest is {content['digest']!r:.200}; allowed: the sha256 of the function")
    try:
        named = FeatureFunction(content["name"], content["bound"], content["memory"], content["digest"])
    except KeyError as error:
        raise ValueError(f"{where}: {error} is missing in {dict(content)}") from error
    found = code.get(named.name)
    if found is not None and found != named:
        raise ValueError(f"{where}: feature {named.name!r} was {named}, the function given is {found}")
    return found or named
