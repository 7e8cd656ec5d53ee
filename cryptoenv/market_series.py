"""A market's bars of every timeframe, with further columns joined as of the time their values became known."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptoenv.bars import (
    BarsError,
    bar_opens_ms,
    bars_timeframe,
    filled_rows,
    higher_bars,
    indexed_bars,
    require_few_gaps,
    require_multiple,
    validate_bars,
)
from cryptoenv.features.view import Series
from cryptoenv.market_checks import require_magnitudes
from cryptoenv.timeframe import timeframe_ms


def base_series(
    bars: pd.DataFrame,
    timeframe: str,
    columns: tuple[str, ...] = (),
    reference: pd.DataFrame | None = None,
    given: str | None = None,
) -> Series:
    """Gapless bars of the base timeframe, aggregated from finer ones where need be.

    Args:
        bars: open, high, low, close, volume on a UTC index, and the further `columns`.
        timeframe: of the base.
        columns: further columns wanted.
        reference: bars of the reference market; its close becomes the last column.
        given: the bars' own timeframe, where it is known; found out where None.

    Raises:
        BarsError: bars, columns or reference that cannot be used; the message names row and column.
    """
    bars = indexed_bars(bars)
    source = bars_timeframe(bars, given)
    require_multiple(source, timeframe)
    valid = validate_bars(bars, source)
    opens, step, base = bar_opens_ms(valid), timeframe_ms(source), timeframe_ms(timeframe)
    require_few_gaps(opens, base)
    require_magnitudes(pd.DatetimeIndex(valid.index), valid.to_numpy())
    start, ohlcv = int(opens[0]), filled_rows(opens, valid.to_numpy(copy=True), step)
    if base != step:
        start, ohlcv = higher_bars(start, ohlcv, step, base)
    if len(ohlcv) == 0:
        raise BarsError(f"{len(valid)} bars of {source} hold no whole bar of {timeframe}; more bars are needed")
    closes = start + base * np.arange(1, len(ohlcv) + 1, dtype=np.int64)
    return Series(start, ohlcv, known_columns(bars, source, columns, reference, closes))


def series_of(timeframes: Sequence[str], base: Series) -> tuple[Series, ...]:
    """The base and its longer timeframes, whole bars only; `timeframes` names the base first."""
    step, out = timeframe_ms(timeframes[0]), [base]
    for timeframe in timeframes[1:]:
        higher = timeframe_ms(timeframe)
        start, rows = higher_bars(base.start_ms, base.ohlcv, step, higher)
        ends = (start - base.start_ms) // step + higher // step * np.arange(1, len(rows) + 1) - 1
        out.append(Series(start, rows, base.columns[ends]))
    return tuple(out)


def known_columns(
    bars: pd.DataFrame, timeframe: str, names: tuple[str, ...], reference: pd.DataFrame | None, closes_ms: np.ndarray
) -> np.ndarray:
    """The last value of each column that was known at each close.

    Args:
        bars: validated but for its further columns; their values become known when their bar ends.
        timeframe: of `bars`.
        names: further columns wanted; NaN in them means that nothing new became known.
        reference: bars of the reference market, of any timeframe; its closes are the last column.
        closes_ms: (T,) int64, when the market's bars close.

    Returns:
        (T, C) float64, columns `names`, then the reference's close.

    Raises:
        BarsError: a column that is missing or holds no numbers, infinity, no value at the first close, or reference
            bars that cannot be used or do not cover the closes.
    """
    out = np.empty((len(closes_ms), len(names) + (reference is not None)))
    ends = bar_opens_ms(bars) + timeframe_ms(timeframe) if names else np.empty(0, dtype=np.int64)
    for k, name in enumerate(names):
        values = _numbers(bars, name)
        known = ~np.isnan(values)
        out[:, k] = _as_of(ends[known], values[known], closes_ms, f"column {name!r}")
    if reference is not None:
        out[:, -1] = _reference(reference, closes_ms)
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


def _reference(reference: pd.DataFrame, closes_ms: np.ndarray) -> np.ndarray:
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
    return _as_of(ends, valid["close"].to_numpy(copy=True), closes_ms, "reference")


def _as_of(known_ms: np.ndarray, values: np.ndarray, closes_ms: np.ndarray, what: str) -> np.ndarray:
    rows = np.searchsorted(known_ms, closes_ms, side="right") - 1
    if rows[0] < 0:
        begin = "never" if len(known_ms) == 0 else f"at {_moment(known_ms[0])}"
        raise BarsError(
            f"{what} is first known {begin}, after the first bar's close at {_moment(closes_ms[0])}; cut the bars"
        )
    return np.asarray(values[rows], dtype=np.float64)


def _moment(time_ms: int) -> str:
    return pd.Timestamp(int(time_ms), unit="ms", tz="UTC").isoformat()
