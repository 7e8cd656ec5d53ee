"""Exogenous columns (sentiment, on-chain figures, order-book imbalance) beside bars, as of the time they were known."""

import re

import numpy as np
import pandas as pd

from cryptoenv.bars import BarsError, bars_timeframe, require_utc
from cryptoenv.price_columns import BAR_COLUMNS
from cryptoenv.timeframe import timeframe_ms


def join_exogenous(
    bars: pd.DataFrame,
    values: pd.DataFrame | pd.Series,
    *,
    known_after: str | pd.Timedelta = "0s",
    stale_after: str | pd.Timedelta | None = None,
) -> pd.DataFrame:
    """Bars with further columns: at each bar the last value that was known when the bar closed.

    A value was known from its timestamp + `known_after` on. A day's figure stamped 00:00 at the START of its day,
    as most sources do, was known a day later at the earliest: known_after="1d" plus the time that publication takes.

    Args:
        bars: T rows on a UTC index (bar open), any columns.
        values: (V, C) numbers on a strictly increasing UTC index; a Series by its name. A missing value (NaN) says
            nothing: the value before it still stands.
        known_after: from a value's timestamp to the moment it was public, not negative.
        stale_after: age, from the moment a value was public to the bar's close, beyond which it counts no more; by
            default a value stands until the next.

    Returns:
        A new table: the columns of `bars`, then those of `values`, float64, NaN where nothing was known or was stale.

    Raises:
        BarsError: times that are not UTC, unsorted or repeated; values that are no numbers or infinite; a column that
            bars have already; a negative or unreadable duration.
    """
    close = _closes(bars)
    table = values.to_frame() if isinstance(values, pd.Series) else values
    if not isinstance(table, pd.DataFrame):
        raise BarsError(f"values are {type(values).__name__}; allowed: a DataFrame or Series on a UTC index")
    _check_names(bars, table)
    known = _known_times(table, _duration("known_after", known_after))
    limit = None if stale_after is None else _duration("stale_after", stale_after)
    joined = {column: _as_of(close, known, _finite(table[column]), limit) for column in table.columns}
    return bars.assign(**joined)


def _closes(bars: pd.DataFrame) -> np.ndarray:
    step_us = timeframe_ms(bars_timeframe(bars)) * 1000
    return pd.DatetimeIndex(bars.index).as_unit("us").asi8 + step_us


def _known_times(table: pd.DataFrame, delay_us: int) -> np.ndarray:
    index = require_utc(table.index, "values")
    # Rounded up: a value known within a microsecond was not known at its beginning.
    times = index.as_unit("us")
    micros = times.asi8 + np.asarray(times < index).astype(np.int64)
    wrong = np.diff(index.asi8) <= 0
    if wrong.any():
        row = int(wrong.argmax()) + 1
        problem = "repeats" if index[row] == index[row - 1] else "is earlier than"
        raise BarsError(
            f"values, row {row} ({index[row].isoformat()}) {problem} the time of the row before; "
            "allowed: strictly increasing timestamps"
        )
    return micros + delay_us


def _check_names(bars: pd.DataFrame, table: pd.DataFrame) -> None:
    for column in table.columns:
        if not isinstance(column, str) or not column:
            raise BarsError(f"values have a column named {column!r}; allowed: a name (a Series needs one too)")
        if column in bars.columns or column in BAR_COLUMNS or list(table.columns).count(column) > 1:
            raise BarsError(f"column {column!r} of values is there already; allowed: names that bars do not have")


def _finite(column: pd.Series) -> np.ndarray:
    if not pd.api.types.is_numeric_dtype(column.dtype):
        raise BarsError(f"column {column.name!r} of values holds {column.dtype}; allowed: numbers")
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        row = int(np.isinf(numbers).argmax())
        raise BarsError(f"values, row {row} ({column.index[row].isoformat()}), column {column.name!r} is infinite")
    return numbers


def _duration(name: str, value: str | pd.Timedelta) -> int:
    # "1d" is how timeframes are written here; pandas wants "1D".
    spelled = re.sub(r"(?<=\d)[dw]$", lambda unit: unit[0].upper(), value) if isinstance(value, str) else value
    try:
        micros = -(-pd.Timedelta(spelled).as_unit("ns").value // 1000)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BarsError(f'{name}={value!r} is no duration; allowed: such as "0s", "15min", "1d"') from error
    if micros < 0:
        raise BarsError(f"{name}={value!r} is negative: it would know values before they were known; allowed: >= 0")
    return int(micros)


def _as_of(close: np.ndarray, known: np.ndarray, values: np.ndarray, limit: int | None) -> np.ndarray:
    said = ~np.isnan(values)
    times, said_values = known[said], values[said]
    latest = np.searchsorted(times, close, side="right") - 1
    found = latest >= 0
    if limit is not None and len(times):
        found &= close - times[np.maximum(latest, 0)] <= limit
    joined = np.full(len(close), np.nan)
    joined[found] = said_values[latest[found]]
    return joined
