"""Timeframes: names such as "30s", "15m", "4h", "1d", "1w", and the UTC grid on which their bars open.

Bars of a timeframe open at whole multiples of it since the Unix epoch; weeks open on Mondays (the epoch was a
Thursday).
"""

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday after the epoch

_SHARE_OFF = 0.01
_LEAST_RUN, _FILES = 3, 1e6
_NEAR = 6
_UNIT_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
_NAME = re.compile(r"([1-9][0-9]*)([smhdw])")
_ALLOWED = 'a whole number and one of s, m, h, d, w, such as "30s", "5m", "15m", "4h", "1d", "1w"'


def timeframe_ms(timeframe: str) -> int:
    """Duration of one bar in milliseconds.

    Raises:
        ValueError: not a timeframe, or below a day without dividing it (its bars would open at other times each day).
    """
    match = _NAME.fullmatch(timeframe) if isinstance(timeframe, str) else None
    if match is None:
        month = isinstance(timeframe, str) and re.fullmatch("[1-9][0-9]*(?:M|mo|ME|MS)", timeframe)
        why = " (calendar months are of no fixed length: take days, and put them together)" if month else ""
        raise ValueError(f"timeframe {timeframe!r} is not known{why}; allowed: {_ALLOWED}")
    duration = int(match[1]) * _UNIT_MS[match[2]]
    if duration < DAY_MS and DAY_MS % duration:
        raise ValueError(
            f"timeframe {timeframe!r} does not divide a day; allowed below 1d: 30s, 1m, 5m, 15m, 1h, 4h and the like"
        )
    return duration


def timeframe_name(duration_ms: int) -> str:
    """The shortest name of a duration, e.g. 900_000 -> "15m".

    Raises:
        ValueError: no timeframe has that duration.
    """
    for unit in ("w", "d", "h", "m", "s"):
        odd = unit == "s" and DAY_MS % duration_ms if duration_ms > 0 else True  # 61 seconds are a mistake in the times
        if not odd and duration_ms % _UNIT_MS[unit] == 0:
            name = f"{duration_ms // _UNIT_MS[unit]}{unit}"
            timeframe_ms(name)
            return name
    raise ValueError(f"no timeframe lasts {duration_ms} ms; allowed: {_ALLOWED}")


def grid_offset_ms(duration_ms: int) -> int:
    """Where the grid of a duration starts, in ms after the epoch: a Monday for weeks, the epoch itself otherwise."""
    return MONDAY_MS if duration_ms % WEEK_MS == 0 else 0


def own_offset_ms(opens_ms: np.ndarray, duration_ms: int) -> int:
    """Where the grid starts that bars open on, in ms after the epoch.

    `opens_ms`: (T,) int64.

    Up to a day it is the usual one. Longer bars open as their venue has it: most of them, on whole hours, tell.
    """
    if duration_ms <= DAY_MS or len(opens_ms) == 0:
        return grid_offset_ms(duration_ms)
    phases, counts = np.unique(opens_ms % duration_ms, return_counts=True)
    most = int(phases[counts.argmax()])
    return grid_offset_ms(duration_ms) if most % HOUR_MS else most


def bar_open_ms(time_ms: int, duration_ms: int, offset_ms: int | None = None) -> int:
    """Open of the bar of that duration which `time_ms` (since the epoch) lies in; `offset_ms` is of another grid."""
    return time_ms - (time_ms - (grid_offset_ms(duration_ms) if offset_ms is None else offset_ms)) % duration_ms


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
    """The timeframe of bars that open at `index`: the longest whose distances nearly all opens keep.

    It starts from the most frequent distance, which gaps do not disturb. Where venues leave out bars without trades,
    that is a multiple of the timeframe: so it is divided until all but a hundredth of the opens (or one of them) lie a
    whole number of steps apart. Opens that all lie beside the grid by the same time keep their distance.

    Raises:
        ValueError: fewer than two bars, or no timeframe fits their distances.
    """
    if len(index) < 2:
        raise ValueError(f"{len(index)} bar(s): at least 2 are needed to tell the timeframe")
    opens = index.as_unit("us").asi8
    distances = np.diff(opens)
    distances = distances[distances > 0]
    if distances.size == 0:
        raise ValueError("no bar opens later than the one before it; allowed: strictly increasing timestamps")
    values, counts = np.unique(distances, return_counts=True)
    usual = int(values[counts.argmax()])
    others = max(1, int(_SHARE_OFF * len(opens)))
    for step in _steps_within(usual // 1000) if usual % 1000 == 0 else ():
        phases = np.unique(opens % (step * 1000), return_counts=True)[1]
        if len(opens) - int(phases.max()) <= others:
            return timeframe_name(step)
    return timeframe_name(usual // 1000)


def _steps_within(usual_ms: int) -> list[int]:
    # Timeframes that divide the usual distance, longest first; of those in seconds only the ones near it, or any times
    # that jitter by a second would be bars of one.
    minutes = _divisors(usual_ms, MINUTE_MS)
    seconds = [step for step in _divisors(usual_ms, SECOND_MS) if step % MINUTE_MS and usual_ms // step <= _NEAR]
    return [step for step in (*minutes, *seconds) if (step % DAY_MS == 0 if step >= DAY_MS else DAY_MS % step == 0)]


def _divisors(usual_ms: int, unit_ms: int) -> list[int]:
    count = usual_ms // unit_ms
    if usual_ms % unit_ms or count < 1:
        return []
    found = {d for low in range(1, math.isqrt(count) + 1) if count % low == 0 for d in (low, count // low)}
    return sorted((d * unit_ms for d in found), reverse=True)


def coarser_run(index: pd.DatetimeIndex, duration_ms: int) -> tuple[int, int, int] | None:
    """The longest run of bars that keep a distance of several durations, as bars of a longer timeframe do.

    Bars that are left out because nobody traded are left out by chance. What chance would not do in a million files
    (each bar there or not, however likely) is another timeframe in the same file, or times of another clock.

    Args:
        index: strictly increasing opens.
        duration_ms: of a bar.

    Returns:
        First and last row of the run, and its distance in ms; None where there is none.
    """
    steps = np.diff(index.as_unit("ms").asi8) // duration_ms
    if not (steps > 1).any():
        return None
    edges = np.concatenate([[0], np.flatnonzero(np.diff(steps)) + 1, [len(steps)]])
    lengths, ratios = np.diff(edges), steps[edges[:-1]].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Among all shares p of bars that are there, p = 1 / k makes a distance of k likeliest: p (1 - p)^(k - 1).
        evidence = lengths * (np.log(ratios) - (ratios - 1.0) * np.log1p(-1.0 / ratios))
    evidence = np.where(ratios > 1, evidence, 0.0)
    best = int(evidence.argmax())
    if lengths[best] < _LEAST_RUN or evidence[best] < math.log(_FILES * len(index)):
        return None
    return int(edges[best]), int(edges[best + 1]), int(ratios[best]) * duration_ms
