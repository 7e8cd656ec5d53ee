"""Values of configurations: of the types that the dataclass's fields are annotated with, finite, within a range.

What reads a file (a recipe, an artifact) and what constructs a configuration in Python are held to the same rules, so
that nothing is built, and no memory taken, for a value that cannot be meant.
"""

from __future__ import annotations

import math
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

MOST_ITEMS = 4_096  #: of a list in a configuration

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration value that is not allowed; the message names the field and what is allowed."""


class ConfigTypeError(ConfigError, TypeError):
    """A configuration value of a type that is not allowed."""


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included; `above` excludes `least`."""

    least: float
    most: float = math.inf
    above: bool = False

    def __str__(self) -> str:
        low = f"> {self.least:g}" if self.above else f">= {self.least:g}"
        return low if self.most == math.inf else f"{low} and <= {self.most:g}"

    def holds(self, value: float) -> bool:
        """Whether `value` lies in it; not a number does not."""
        return (self.least < value if self.above else self.least <= value) and value <= self.most


def later_field(default: Any) -> Any:
    """A dataclass field that came after files were written without it: `written_values` leaves its default out."""
    return field(default=default, metadata={"later": True})


def is_later(one: Any) -> bool:
    """Whether a dataclass field was made by `later_field`: a file may lack it."""
    return bool(one.metadata.get("later"))


def written_values(owner: Any) -> dict[str, Any]:
    """A dataclass as plain values, those within it too, without later fields that hold their default.

    What is written, and every hash of it, is thus the same as before those fields were there.
    """
    out = {}
    for one in fields(owner):
        value = getattr(owner, one.name)
        if not (is_later(one) and value == one.default):
            out[one.name] = _written(value)
    return out


def _written(value: Any) -> Any:
    """A value of a dataclass's field; dataclasses in a tuple are written, too."""
    if isinstance(value, tuple) and any(is_dataclass(item) for item in value):
        return tuple(_written(item) for item in value)
    return written_values(value) if is_dataclass(value) else value


def is_number(value: object) -> bool:
    """Whether it is a number of Python's or numpy's; truth values are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether it is a whole number of Python's or numpy's; truth values, and floats without a fraction, are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Refuses a value, with what is allowed.

    Raises:
        ConfigError: the condition does not hold.
    """
    if not condition:
        raise ConfigError(f"{name}={repr(value)[:200]} is not allowed: {allowed}")


def number(name: str, value: Any, allowed: Range, of: str = "numbers") -> float:
    """`value` as a float.

    Args:
        name: in messages.
        value: as it was given.
        allowed: where it may lie.
        of: what the numbers are, in words.

    Raises:
        ConfigTypeError: no number. ConfigError: outside the range.
    """
    if not is_number(value):
        raise ConfigTypeError(f"{name}={repr(value)[:200]} is not allowed: it must be a number; {of} {allowed}")
    require(allowed.holds(value), name, value, f"{of} {allowed}")
    return float(value)


def whole(name: str, value: Any, allowed: Range = Range(1), of: str = "whole numbers") -> int:
    """`value` as an int; arguments and errors as for `number`."""
    if not is_whole(value):
        raise ConfigTypeError(f"{name}={repr(value)[:200]} is not allowed: it must be a whole number; {of} {allowed}")
    require(allowed.holds(value), name, value, f"{of} {allowed}")
    return int(value)


def require_numbers(owner: Any, ranges: Mapping[str, Range]) -> None:
    """Checks attributes of a configuration that are numbers, numpy's too, within their ranges; None where its
    annotation says so.

    Raises:
        ConfigTypeError: no number. ConfigError: outside its range; the message names class and attribute.
    """
    hints = _hints(type(owner))  # type: ignore[arg-type]  # a class is hashable
    for name, allowed in ranges.items():
        value = getattr(owner, name)
        if value is not None or types.NoneType not in get_args(hints[name]):
            number(f"{type(owner).__name__}.{name}", value, allowed)


def require_counts(owner: object, **counts: int | tuple[int, ...] | None) -> None:
    """Checks parameters that count bars.

    Raises:
        ConfigError: one that is not a whole number >= 1 (or several of them); the message names it.
    """
    for name, given in counts.items():
        for count in given if isinstance(given, tuple) else () if given is None else (given,):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:  # numpy's would not go into YAML
                raise ConfigError(f"{type(owner).__name__}.{name} is {given!r}; allowed: whole numbers of bars >= 1")


def require_pair(owner: object, name: str) -> None:
    """Checks that a parameter, where it is not None, holds two numbers.

    Raises:
        ConfigError: it does not.
    """
    given = getattr(owner, name)
    if given is not None and len(given) != 2:
        raise ConfigError(f"{type(owner).__name__}.{name} is {given!r}; allowed: two whole numbers of bars >= 1")


def require_types(kind: type[Any], values: Mapping[str, Any], where: str = "") -> None:
    """Checks values against the annotations of `kind`'s fields; a dataclass within it checks itself.

    Truth values and words are no numbers, numbers are finite, and lists end.

    Raises:
        ConfigError: a value of another type; `where`, the field and its annotation are named.
    """
    hints = _hints(kind)  # type: ignore[arg-type]
    for name, value in values.items():
        if name in hints and not _is(value, hints[name]):
            word = isinstance(value, str) and "e" in value and value[:1] in "0123456789.+-"
            hint = "; YAML takes 3e-4 for a word: write 3.0e-4" if word else ""
            shown = f"{value!r}" if len(repr(value)) < 200 else f"{repr(value)[:200]}..."
            field = f"{where}: {name}" if where else name
            raise ConfigError(f"{field}={shown} is not allowed: it must be {_named(hints[name])}{hint}")


def require_ranges(owner: object, ranges: Mapping[str, Range], where: str = "") -> None:
    """Checks the numbers among `owner`'s attributes of these names, those within tuples too; None is left alone.

    Raises:
        ConfigError: a number outside its range.
    """
    for name, allowed in ranges.items():
        given = getattr(owner, name, None)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not allowed.holds(value):
                field = f"{where}: {name}" if where else name
                raise ConfigError(f"{field}={repr(given)[:200]} is not allowed: numbers {allowed}")


def known_values(values: object, known: Sequence[str], where: str) -> dict[str, Any]:
    """`values` as a dict whose keys are all in `known`.

    Raises:
        ConfigError: no mapping, or an unknown key; `where` and the known keys are named.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected keys and values, got {type(values).__name__}")
    if unknown := sorted(set(map(str, values)) - set(known)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}, known are {list(known)}")
    return dict(values)


def section(
    values: object,
    kind: type[T],
    where: str,
    *,
    base: T | None = None,
    further: Sequence[str] = (),
    without: Sequence[str] = (),
    complete: bool = False,
) -> T:
    """`kind` from a mapping of some of its fields; lists become tuples, the others are `base`'s or the defaults.

    Args:
        values: the mapping, as it was read.
        kind: a dataclass.
        where: names the mapping in messages.
        base: values of what the mapping leaves out.
        further: keys that the file may have beside them, and that were taken out before.
        without: fields that it may not have.
        complete: no field may be left out but those of later versions (`later_field`).

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type or out of range.
    """
    names = [item.name for item in fields(kind) if item.name not in without]  # type: ignore[arg-type]
    known = dict.fromkeys((*names, *further))
    given = {key: tupled(value) for key, value in known_values(values, tuple(known), where).items()}
    later = {item.name for item in fields(kind) if is_later(item)}  # type: ignore[arg-type]
    if complete and (missing := [name for name in names if name not in given.keys() | later]):
        raise ConfigError(f"{where}: missing key {missing[0]!r}")
    require_types(kind, given, where)
    if base is not None:
        given = {item.name: getattr(base, item.name) for item in fields(kind)} | given  # type: ignore[arg-type]
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def tupled(value: Any) -> Any:
    """Lists, at any depth, as tuples."""
    return tuple(tupled(item) for item in value) if isinstance(value, list) else value


@lru_cache(maxsize=64)
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _is(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_is(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str | int) and value in inner
    if origin is tuple:
        if not isinstance(value, tuple) or len(value) > MOST_ITEMS:
            return False
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(kinds) == len(value) and all(_is(item, one) for item, one in zip(value, kinds, strict=True))
    if origin is dict:
        return isinstance(value, dict) and all(_is(k, inner[0]) and _is(v, inner[1]) for k, v in value.items())
    if hint is float:
        return isinstance(value, float | int) and not isinstance(value, bool) and _finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return value is None if hint is types.NoneType else True


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _named(hint: Any) -> str:
    """An annotation as a person writes it."""
    if get_origin(hint) in (Union, types.UnionType):
        return " | ".join(_named(one) for one in get_args(hint))
    if get_origin(hint) is dict:
        return str(hint)
    if get_origin(hint) is tuple:
        return f"tuple[{', '.join('...' if one is Ellipsis else _named(one) for one in get_args(hint))}]"
    return "None" if hint is types.NoneType else getattr(hint, "__name__", str(hint))
