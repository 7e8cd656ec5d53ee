"""Exogenous columns (sentiment, on-chain figures, order-book imbalance) beside bars, as of the time they were known."""

import re

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import bars_timeframe, require_utc
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import timeframe_ms

USUAL = "usual"
RECENT = 10  #: distances that tell what is usual
_REGULAR_SHARE = 0.5  # of equal distances: months have 31 days often enough
_HOUR_US = 3_600_000_000


def join_exogenous(
    bars: pd.DataFrame,
    values: pd.DataFrame | pd.Series,
    *,
    known_after: str | pd.Timedelta | None = None,
    stale_after: str | pd.Timedelta | None = USUAL,
) -> pd.DataFrame:
    """Bars with further columns: at each bar the last value that was known when the bar closed.

    A value was known from its timestamp + `known_after` on. A day's figure stamped 00:00 at the START of its day,
    as most sources do, was known a day later at the earliest: known_after="1d" plus the time that publication takes.

    Args:
        bars: T rows on a UTC index (bar open), any columns.
        values: (V, C) numbers on a strictly increasing UTC index; a Series by its name. A missing value (NaN) says
            nothing: the value before it still stands.
        known_after: from a value's timestamp to the moment it was public, not negative. It must be said of values that
            come at regular times, which may be the beginnings of what they measure ("0s" where they are not); those
            at times of their own are taken to be public at once.
        stale_after: age, from the moment a value was public to the bar's close, beyond which it counts no more;
            "usual" for twice the distance that the values before it kept (`usual_ages`), None for none: a value
            stands until the next, however long that takes.

    Returns:
        A new table: the columns of `bars`, then those of `values`, float64, NaN where nothing was known or was stale.

    Raises:
        BarsError: times that are not UTC, unsorted or repeated; values that are no numbers or infinite; a column that
            bars have already; a negative or unreadable duration; regular times without `known_after`.

    Example:
        >>> import pandas as pd
        >>> from cryptoenv import join_exogenous
        >>> hours = pd.date_range("2024-01-02", periods=24, freq="1h", tz="UTC")
        >>> bars = pd.DataFrame({"close": 100.0}, hours)
        >>> days = pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC")  # a day's figure, stamped at its beginning
        >>> greed = pd.Series([20.0, 35.0], days, name="greed")
        >>> joined = join_exogenous(bars, greed, known_after="1d 6h")  # public six hours after the day has ended
        >>> joined["greed"].iloc[[4, 5, 23]].tolist()  # the bar of 05:00 is the first that closes at 06:00 or later
        [nan, 20.0, 20.0]
    """
    close = _closes(bars)
    table = values.to_frame() if isinstance(values, pd.Series) else values
    if not isinstance(table, pd.DataFrame):
        raise BarsError(f"values are {type(values).__name__}; allowed: a DataFrame or Series on a UTC index")
    _check_names(bars, table)
    delay = 0 if known_after is None else duration_us("known_after", known_after)
    limit = np.inf if stale_after is None or stale_after == USUAL else duration_us("stale_after", stale_after)
    known = _known_times(table, delay)
    if known_after is None:
        _require_times_of_their_own(known, table.index)
    joined = {}
    for column in table.columns:
        numbers = _finite(table[column])
        said = ~np.isnan(numbers)
        ages = usual_ages(known[said]) if stale_after == USUAL else np.full(said.sum(), limit)
        joined[column] = _as_of(close, known[said], numbers[said], ages)
    return bars.assign(**joined)


def usual_ages(known: np.ndarray) -> np.ndarray:
    """How long each value may stand, as far as could be told when it became known.

    Twice the second longest of the last ten distances: one figure may be late or missing, a hole is a hole.

    Args:
        known: (V,) int64, increasing, of any unit: when values became known.

    Returns:
        (V,) float64 of that unit, infinite for the first.
    """
    distances = pd.Series(np.diff(known, prepend=known[:1]), dtype=np.float64)
    distances.iloc[:1] = np.nan
    recent = distances.rolling(RECENT, min_periods=1).quantile(1.0 - 1.0 / RECENT, interpolation="lower")
    return (2.0 * recent).fillna(np.inf).to_numpy()


def _require_times_of_their_own(known: np.ndarray, index: pd.Index) -> None:
    if len(known) < 2:
        return
    distances, counts = np.unique(np.diff(known), return_counts=True)
    if counts.max() >= _REGULAR_SHARE * (len(known) - 1) or not (known % _HOUR_US).any():
        every = pd.Timedelta(int(distances[counts.argmax()]), unit="us")
        raise BarsError(
            f"values come at regular times (every {every}, the first at {index[0].isoformat()}): say with known_after "
            'when one was public, e.g. known_after="1d" for a figure of a day that is stamped with its beginning, '
            '"0s" where the time is the moment it was public'
        )


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


def duration_us(name: str, value: str | pd.Timedelta) -> int:
    """A duration in microseconds, rounded up.

    Raises:
        BarsError: none, or a negative one; the message calls it `name`.
    """
    # "1d" is how timeframes are written here; pandas wants "1D".
    letter = r"(?<![a-zA-Z])[dw](?![a-zA-Z])"  # the unit alone, wherever it stands: "1 d", "1d12h"
    spelled = re.sub(letter, lambda unit: unit[0].upper(), value) if isinstance(value, str) else value
    try:
        micros = -(-pd.Timedelta(spelled).as_unit("ns").value // 1000)
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise BarsError(f'{name}={value!r} is no duration; allowed: such as "0s", "15min", "1d"') from error
    if micros < 0:
        raise BarsError(f"{name}={value!r} is negative; allowed: >= 0 (a value is not known before its time)")
    return int(micros)


def _as_of(close: np.ndarray, known: np.ndarray, values: np.ndarray, ages: np.ndarray) -> np.ndarray:
    joined = np.full(len(close), np.nan)
    latest = np.searchsorted(known, close, side="right") - 1
    if len(known):
        found = (latest >= 0) & (close - known[latest] <= ages[latest])
        joined[found] = values[latest[found]]
    return joined
