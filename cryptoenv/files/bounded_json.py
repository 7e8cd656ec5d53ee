"""JSON from somebody else: finite numbers, no key twice, and never more of it than is asked for."""

import json
import math
from typing import Any

MOST_BYTES = 4 * 1024 * 1024  #: of a text, where nothing else is asked for
MOST_LEVELS = 32  #: of lists and objects in each other
MOST_DIGITS = 100  #: of a whole number: any such is a finite float, too


class JsonError(ValueError):
    """A text that is no JSON, or more than is read; the message names it."""


def parse_json(data: bytes, where: str, most_bytes: int = MOST_BYTES) -> Any:
    """The value in `data`, UTF-8.

    Args:
        data: one JSON value.
        where: names the text in messages, e.g. its file.
        most_bytes: that are read.

    Raises:
        JsonError: no JSON, a number that is not finite or has more than `MOST_DIGITS` digits, a key given twice, more
            than `MOST_LEVELS` levels, or more bytes than are read.
    """
    if len(data) > most_bytes:
        raise JsonError(f"{where}: {len(data):,} bytes of JSON; at most {most_bytes:,} are read")
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_without_doubles,
        )
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{where} is no JSON: {error}") from error
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inside(outer)]
        if not level:
            return value
    raise JsonError(f"{where}: more than {MOST_LEVELS} levels of lists and objects in each other")


def _inside(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for place, name in enumerate(names) if name in names[:place])
        raise ValueError(f"key {doubled[:100]!r} is given twice")
    return values
