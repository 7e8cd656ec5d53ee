"""Timeframes: names such as "15m", "4h", "1d", "1w", and the UTC grid on which their bars open.

Bars of a timeframe open at whole multiples of it since the Unix epoch; weeks open on Mondays (the epoch was a
Thursday).
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday after the epoch

_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
_NAME = re.compile(r"([1-9][0-9]*)([mhdw])")
_ALLOWED = 'a whole number and one of m, h, d, w, such as "5m", "15m", "4h", "1d", "1w"'


def timeframe_ms(timeframe: str) -> int:
    """Duration of one bar in milliseconds.

    Raises:
        ValueError: not a timeframe, or below a day without dividing it (its bars would open at other times each day).
    """
    match = _NAME.fullmatch(timeframe) if isinstance(timeframe, str) else None
    if match is None:
        raise ValueError(f"timeframe {timeframe!r} is not known; allowed: {_ALLOWED}")
    duration = int(match[1]) * _UNIT_MS[match[2]]
    if duration < DAY_MS and DAY_MS % duration:
        raise ValueError(
            f"timeframe {timeframe!r} does not divide a day; allowed below 1d: 1m, 5m, 15m, 1h, 4h and the like"
        )
    return duration


def timeframe_name(duration_ms: int) -> str:
    """The shortest name of a duration, e.g. 900_000 -> "15m".

    Raises:
        ValueError: no timeframe has that duration.
    """
    for unit in ("w", "d", "h", "m"):
        if duration_ms > 0 and duration_ms % _UNIT_MS[unit] == 0:
            name = f"{duration_ms // _UNIT_MS[unit]}{unit}"
            timeframe_ms(name)
            return name
    raise ValueError(f"no timeframe lasts {duration_ms} ms; allowed: {_ALLOWED}")


def grid_offset_ms(duration_ms: int) -> int:
    """Where the grid of a duration starts, in ms after the epoch: a Monday for weeks, the epoch itself otherwise."""
    return MONDAY_MS if duration_ms % WEEK_MS == 0 else 0


def bar_open_ms(time_ms: int, duration_ms: int) -> int:
    """Open of the bar of that duration which `time_ms` (since the epoch) lies in."""
    return time_ms - (time_ms - grid_offset_ms(duration_ms)) % duration_ms


def validate_timeframes(timeframes: Sequence[str]) -> tuple[str, ...]:
    """The timeframes as a tuple, base first: each longer than the one before and made of whole bars of the base.

    Raises:
        ValueError: none given, not a sequence of names, not increasing, or not made of whole base bars.
    """
    if isinstance(timeframes, str) or len(timeframes) == 0:
        raise ValueError(
            f'timeframes is {timeframes!r}; allowed: a sequence of names, base first, such as ("15m", "4h", "1d")'
        )
    names = tuple(timeframes)
    durations = [timeframe_ms(name) for name in names]
    base = durations[0]
    for position, duration in enumerate(durations[1:], start=1):
        if duration <= durations[position - 1]:
            raise ValueError(
                f"timeframes {names}: {names[position]!r} is not longer than the one before; allowed: increasing"
            )
        if duration % base or (grid_offset_ms(duration) - grid_offset_ms(base)) % base:
            raise ValueError(f"timeframes {names}: a {names[position]!r} bar is not made of whole {names[0]!r} bars")
    return names


def detect_timeframe(index: pd.DatetimeIndex) -> str:
    """The timeframe of bars that open at `index`: their most frequent distance (gaps do not disturb it).

    Raises:
        ValueError: fewer than two bars, or that distance is no timeframe.
    """
    if len(index) < 2:
        raise ValueError(f"{len(index)} bar(s): at least 2 are needed to tell the timeframe")
    distances = np.diff(index.as_unit("ms").asi8)
    distances = distances[distances > 0]
    if distances.size == 0:
        raise ValueError("no bar opens later than the one before it; allowed: strictly increasing timestamps")
    values, counts = np.unique(distances, return_counts=True)
    return timeframe_name(int(values[counts.argmax()]))
