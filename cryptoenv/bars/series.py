"""A market's bars of every timeframe, with further columns joined as of the time their values became known."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptoenv.bars.alignment import ending_rows
from cryptoenv.bars.array_checks import require_magnitudes
from cryptoenv.bars.bars import (
    bar_opens_ms,
    bars_timeframe,
    filled_rows,
    higher_bars,
    indexed_bars,
    require_few_gaps,
    require_multiple,
    require_usual_grid,
    validate_bars,
)
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.exogenous import USUAL
from cryptoenv.bars.staleness import REFERENCE, StaleAfter, StaleLimits
from cryptoenv.bars.timeframe import timeframe_ms


class Series(NamedTuple):
    """Gapless bars of one timeframe.

    Attributes:
        start_ms: open of the first bar, milliseconds since the epoch.
        ohlcv: (T, 5) float64.
        columns: (T, C) float64, each the last value known at the bar's close.
    """

    start_ms: int
    ohlcv: np.ndarray
    columns: np.ndarray


def base_series(
    bars: pd.DataFrame,
    timeframe: str,
    columns: tuple[str, ...] = (),
    reference: pd.DataFrame | None = None,
    given: str | None = None,
    stale_after: StaleAfter = USUAL,
) -> Series:
    """Gapless bars of the base timeframe, aggregated from finer ones where need be.

    Args:
        bars: open, high, low, close, volume on a UTC index, and the further `columns`.
        timeframe: of the base.
        columns: further columns wanted.
        reference: bars of the reference market; its close becomes the last column.
        given: the bars' own timeframe, where it is known; found out where None.
        stale_after: how long the last value of a column may stand, as `Market.from_bars` has it.

    Raises:
        BarsError: bars, columns or reference that cannot be used; the message names row and column.
    """
    bars = indexed_bars(bars)
    source = bars_timeframe(bars, given)
    require_multiple(source, timeframe)
    valid = validate_bars(bars, source)
    opens, step, base = bar_opens_ms(valid), timeframe_ms(source), timeframe_ms(timeframe)
    require_usual_grid(opens, source)
    require_few_gaps(opens, base)
    require_magnitudes(pd.DatetimeIndex(valid.index), valid.to_numpy())
    start, ohlcv = int(opens[0]), filled_rows(opens, valid.to_numpy(copy=True), step)
    if base != step:
        start, ohlcv = higher_bars(start, ohlcv, step, base)
    if len(ohlcv) == 0:
        raise BarsError(f"{len(valid)} bars of {source} hold no whole bar of {timeframe}; more bars are needed")
    closes = start + base * np.arange(1, len(ohlcv) + 1, dtype=np.int64)
    limits = StaleLimits.of(stale_after, columns + (() if reference is None else (REFERENCE,)))
    return Series(start, ohlcv, known_columns(bars, source, limits, reference, closes))


def series_of(timeframes: Sequence[str], base: Series) -> tuple[Series, ...]:
    """The base and its longer timeframes, whole bars only; `timeframes` names the base first."""
    step, out = timeframe_ms(timeframes[0]), [base]
    for timeframe in timeframes[1:]:
        higher = timeframe_ms(timeframe)
        start, rows = higher_bars(base.start_ms, base.ohlcv, step, higher)
        ends = ending_rows(np.arange(len(rows)), start, higher, base.start_ms, step)
        out.append(Series(start, rows, base.columns[ends]))
    return tuple(out)


def known_columns(
    bars: pd.DataFrame, timeframe: str, limits: StaleLimits, reference: pd.DataFrame | None, closes_ms: np.ndarray
) -> np.ndarray:
    """The last value of each column that was known at each close.

    Args:
        bars: validated but for its further columns; their values become known when their bar ends.
        timeframe: of `bars`.
        limits: of the further columns wanted; NaN in them means that nothing new became known.
        reference: bars of the reference market, of any timeframe; its closes are the last column of `limits` then.
        closes_ms: (T,) int64, when the market's bars close.

    Returns:
        (T, C) float64, the columns of `limits`.

    Raises:
        BarsError: a column that is missing or holds no numbers, infinity, no value at the first close, or a hole in
            it (`StaleLimits.ages`); reference bars that cannot be used, do not cover the
            closes, or have a hole. Holes of the bars themselves do not count.
    """
    out = np.empty((len(closes_ms), len(limits.names)))
    names = limits.names if reference is None else limits.names[:-1]
    opens = bar_opens_ms(bars)
    step = timeframe_ms(timeframe)
    ends = opens + step
    for k, name in enumerate(names):
        values = _numbers(bars, name)
        known = ~np.isnan(values)
        ages = limits.ages(k, ends[known], step)
        rows = _rows_as_of(ends[known], ages, closes_ms, opens, f"column {name!r}")
        out[:, k] = values[known][rows]
    if reference is not None:
        out[:, -1] = _reference(reference, limits, closes_ms, opens)
    return out


def _numbers(bars: pd.DataFrame, name: str) -> np.ndarray:
    if list(bars.columns).count(name) != 1:
        raise BarsError(f"column {name!r}, which the feature spec names, is not there once in {list(bars.columns)}")
    column = bars[name]
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise BarsError(f"column {name!r} holds {column.dtype}; allowed: numbers, NaN where nothing is new")
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        position = int(np.isinf(values).argmax())
        raise BarsError(f"row {position} ({bars.index[position].isoformat()}), column {name!r}: infinite")
    return values


def _reference(
    reference: pd.DataFrame, limits: StaleLimits, closes_ms: np.ndarray, opens_ms: np.ndarray
) -> np.ndarray:
    try:
        timeframe = bars_timeframe(reference)
        valid = validate_bars(reference, timeframe)
    except BarsError as error:
        raise BarsError(f"reference: {error}") from error
    step = timeframe_ms(timeframe)
    ends = bar_opens_ms(valid) + step
    if ends[-1] + step <= closes_ms[-1]:
        raise BarsError(
            f"reference ends at {_moment(ends[-1])}, the bars at {_moment(closes_ms[-1])}; "
            "bring reference bars up to there, or cut the bars"
        )
    ages = limits.ages(len(limits.names) - 1, ends, step)
    rows = _rows_as_of(ends, ages, closes_ms, opens_ms, "reference")
    return np.asarray(valid["close"].to_numpy(copy=True)[rows], dtype=np.float64)


def _rows_as_of(
    known_ms: np.ndarray, ages_ms: np.ndarray, closes_ms: np.ndarray, opens_ms: np.ndarray, what: str
) -> np.ndarray:
    """(T,) rows of the values that stand at each close, none of them older than its age where a bar was given."""
    rows = np.searchsorted(known_ms, closes_ms, side="right") - 1
    if rows[0] < 0:
        begin = "never" if len(known_ms) == 0 else f"at {_moment(known_ms[0])}"
        raise BarsError(
            f"{what} is first known {begin}, after the first bar's close at {_moment(closes_ms[0])}; cut the bars"
        )
    given = np.zeros(len(closes_ms), dtype=np.bool_)
    within = np.searchsorted(closes_ms, opens_ms, side="right")
    given[within[within < len(given)]] = True
    base = closes_ms[1] - closes_ms[0] if len(closes_ms) > 1 else 0
    counted = np.concatenate([[0], np.cumsum(given)])  # time in which there were bars: their own gaps do not count
    unseen = counted[1:] - counted[np.searchsorted(closes_ms, known_ms[rows], side="right")]
    stale = given & (unseen * base >= ages_ms[rows])
    if stale.any():
        at = int(stale.argmax())
        last = rows[at]
        until = _moment(known_ms[last + 1]) if last + 1 < len(known_ms) else "the end"
        raise BarsError(
            f"{what} has a hole from {_moment(known_ms[last])} to {until}: its last value is "
            f"{pd.Timedelta(int(closes_ms[at] - known_ms[last]), unit='ms')} old at "
            f"{_moment(closes_ms[at])}; bring what is missing, cut the bars, "
            "or say with stale_after= how long it may stand"
        )
    return rows


def _moment(time_ms: int) -> str:
    return pd.Timestamp(int(time_ms), unit="ms", tz="UTC").isoformat()
