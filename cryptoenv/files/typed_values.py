"""Values of configurations: of the types that the dataclass's fields are annotated with, finite, within a range.

What reads a file (a recipe, an artifact) and what constructs a configuration in Python are held to the same rules, so
that nothing is built, and no memory taken, for a value that cannot be meant.
"""

from __future__ import annotations

import math
import types
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MOST_ITEMS = 4_096  #: of a list in a configuration


class ConfigError(ValueError):
    """A configuration value that is not allowed; the message names the field and what is allowed."""


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included; `above` excludes `least`."""

    least: float
    most: float
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
            out[one.name] = written_values(value) if is_dataclass(value) else value
    return out


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
