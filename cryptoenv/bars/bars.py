"""Bars: what everything starts from.

A DataFrame of T rows with a UTC index named `timestamp` (bar OPEN, on the timeframe's grid, strictly increasing) and
float64 columns open, high, low, close, volume. Further columns are left aside.

Shapes: `T` bars; `ohlcv` is (T, 5) float64 in that order of columns.
"""

import warnings

import numpy as np
import pandas as pd
from numba import njit

from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS, CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptoenv.bars.timeframe import (
    MINUTE_MS,
    WEEK_MS,
    coarser_run,
    detect_timeframe,
    grid_offset_ms,
    own_offset_ms,
    timeframe_ms,
    timeframe_name,
)

_UTC_NAMES = ("utc", "etc/utc", "utc+00:00", "zulu", "etc/zulu")
_COLUMNS = ", ".join(BAR_COLUMNS)
MOST_GAPS = 20  #: filled bars per bar that was given: beyond it the times are wrong
_FILLED_ANYWAY = 2_000_000  # rows, 80 MB: two years of minutes in which hardly anything was traded
_TIME = "timestamp"


def utc_index(start_ms: int, step_ms: int, count: int) -> pd.DatetimeIndex:
    """The index of `count` bars in a row, the first opening at `start_ms` since the epoch."""
    opens = start_ms + step_ms * np.arange(count, dtype=np.int64)
    return pd.DatetimeIndex((opens * 1000).view("datetime64[us]"), tz="UTC", name="timestamp")


def bars_frame(start_ms: int, step_ms: int, ohlcv: np.ndarray) -> pd.DataFrame:
    """Bars from `ohlcv` (T, 5) float64 that follow each other without a gap."""
    return pd.DataFrame(ohlcv, index=utc_index(start_ms, step_ms, len(ohlcv)), columns=list(BAR_COLUMNS), copy=False)


def bar_opens_ms(bars: pd.DataFrame) -> np.ndarray:
    """(T,) int64: opens of validated bars, milliseconds since the epoch."""
    return pd.DatetimeIndex(bars.index).as_unit("ms").asi8


def require_utc(index: pd.Index, what: str) -> pd.DatetimeIndex:
    """`index` as it is, once it is known to hold UTC times and no missing one; `what` names it in errors.

    Raises:
        BarsError: not a DatetimeIndex, naive, in another time zone, or a missing time.
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise BarsError(f"the index of {what} is {type(index).__name__}; allowed: a DatetimeIndex in UTC (bar open)")
    if index.tz is None:
        raise BarsError(
            f"the index of {what} has no time zone; allowed: UTC, e.g. index.tz_localize('UTC') if it is UTC"
        )
    if str(index.tz).lower() not in _UTC_NAMES:
        raise BarsError(f"the index of {what} is in {index.tz}; allowed: UTC, e.g. index.tz_convert('UTC')")
    missing = np.flatnonzero(index.isna())
    if missing.size:
        raise BarsError(f"the index of {what} has no time at position {missing[0]}; allowed: UTC times")
    return index


def indexed_bars(bars: pd.DataFrame) -> pd.DataFrame:
    """Bars by their times: a column `timestamp` (UTC times, or numbers since 1970) becomes the index where none is.

    Raises:
        BarsError: not a DataFrame, columns of several levels, or times in `timestamp` that cannot be read.
    """
    if not isinstance(bars, pd.DataFrame):
        raise BarsError(f"bars are {type(bars).__name__}; allowed: a DataFrame with columns {_COLUMNS}")
    if isinstance(bars.columns, pd.MultiIndex):
        raise BarsError(_levels(bars.columns))
    if isinstance(bars.index, pd.DatetimeIndex) or list(bars.columns).count(_TIME) != 1:
        return bars
    from cryptoenv.bars.times import TimeReading, utc_times  # which needs BarsError

    index, _ = utc_times(bars[_TIME], TimeReading())
    return bars.drop(columns=_TIME).set_axis(index, axis=0)


def _levels(columns: pd.MultiIndex) -> str:
    names = [level if level is not None else i for i, level in enumerate(columns.names)]
    prices = [len({str(c).lower() for c in columns.get_level_values(i)} & set(BAR_COLUMNS)) for i in range(len(names))]
    others = [i for i in range(len(names)) if i != max(range(len(names)), key=prices.__getitem__)]
    markets = list(dict.fromkeys(columns.droplevel([i for i in range(len(names)) if i not in others])))
    levels = f"columns have {'two' if len(names) == 2 else len(names)} levels (a MultiIndex), {names}"
    if len(markets) == 1:
        drop = names[others[0]] if len(others) == 1 else [names[i] for i in others]
        return f"{levels}; allowed: one: bars.droplevel({drop!r}, axis=1)"
    take = names[others[0]] if len(others) == 1 else [names[i] for i in others]
    return (
        f"{levels}, with {len(markets)} markets ({', '.join(map(str, markets[:3]))}{', ...' if markets[3:] else ''}); "
        f"allowed: one level and one market: bars.xs({markets[0]!r}, axis=1, level={take!r})"
    )


def validate_bars(bars: pd.DataFrame, timeframe: str, offset_ms: int | None = None) -> pd.DataFrame:
    """Checks bars and returns them in plain form: the five columns, float64, index `timestamp` in UTC microseconds.

    Args:
        bars: T rows, by their times or with a column `timestamp`; gaps (missing rows) are allowed, everything else
            must be right.
        timeframe: the bars' own timeframe, e.g. "5m".
        offset_ms: where its grid starts, ms after the epoch; None for the usual grid, and for bars longer than a day
            whichever grid of whole hours most of them open on (weeks of some venues open on Thursdays).

    Raises:
        BarsError: not a DataFrame, no rows, a missing or non-numeric column, a time that is naive, non-UTC, unsorted,
            duplicate or off the grid, NaN or infinity, a price <= 0, a volume < 0, high < low, open or close beyond.
    """
    bars = indexed_bars(bars)
    for column in BAR_COLUMNS:
        if list(bars.columns).count(column) != 1:
            found = "missing" if column not in bars.columns else "there more than once"
            lower = (
                "; bars.rename(columns=str.lower) has it" if column in map(str.lower, map(str, bars.columns)) else ""
            )
            hint = lower if found == "missing" else ""
            raise BarsError(f"column {column!r} is {found} in {list(bars.columns)}; needed once each: {_COLUMNS}{hint}")
        if not pd.api.types.is_numeric_dtype(bars[column].dtype) or pd.api.types.is_bool_dtype(bars[column].dtype):
            raise BarsError(_not_numbers(bars[column]))
    if len(bars) == 0:
        raise BarsError("bars have no rows; at least 2 are needed")
    index = require_utc(bars.index, "bars")
    _check_order(index)
    _check_times(index, timeframe, offset_ms)
    ohlcv = np.array(bars[list(BAR_COLUMNS)].to_numpy(dtype=np.float64, na_value=np.nan), order="C")
    _check_values(index, ohlcv)
    times = index.as_unit("us").tz_convert("UTC").rename("timestamp")
    return pd.DataFrame(ohlcv, index=times, columns=list(BAR_COLUMNS), copy=False)


def _not_numbers(column: pd.Series) -> str:
    wrong = pd.to_numeric(column, errors="coerce").isna().to_numpy()
    if not wrong.any() or pd.api.types.is_bool_dtype(column.dtype):
        return f"column {column.name!r} holds {column.dtype}, not numbers; allowed: float64"
    position = int(wrong.argmax())
    where = _row(column.index, position) if isinstance(column.index, pd.DatetimeIndex) else f"row {position}"
    return f"{where}, column {column.name!r}: {column.iloc[position]!r} is not a number; allowed: float64"


def _row(index: pd.DatetimeIndex, position: int) -> str:
    return f"row {position} ({index[position].isoformat()})"


def _check_order(index: pd.DatetimeIndex) -> None:
    distances = np.diff(index.asi8)
    wrong = distances <= 0
    if wrong.any():
        position = int(wrong.argmax())
        problem = "repeats the time of" if distances[position] == 0 else "is earlier than"
        raise BarsError(
            f"{_row(index, position + 1)} {problem} the row before; allowed: strictly increasing timestamps"
        )


def _check_times(index: pd.DatetimeIndex, timeframe: str, offset_ms: int | None) -> None:
    step = timeframe_ms(timeframe)
    opens = index.as_unit("ns").asi8
    offset = own_offset_ms(opens // 1_000_000, step) if offset_ms is None else offset_ms
    off = (opens - offset * 1_000_000) % (step * 1_000_000) != 0
    if off.any():
        allowed = f"opens at whole multiples of {timeframe} in UTC" + (", on Mondays" if step % WEEK_MS == 0 else "")
        raise BarsError(
            f"{_row(index, int(off.argmax()))} is off the {timeframe} grid; allowed: {allowed}{_of_closes(opens, step)}"
        )


def _pandas_name(step_ms: int) -> str:
    return f"{step_ms // MINUTE_MS}min" if step_ms % MINUTE_MS == 0 else f"{step_ms // 1000}s"


def _of_closes(opens_ns: np.ndarray, step_ms: int) -> str:
    # 23:59:59.999 or 23:59:59 all along: venues stamp a bar's close so.
    for before_ns, shown in ((1, "1ns"), (1_000, "1us"), (1_000_000, "1ms"), (1_000_000_000, "1s")):
        if not ((opens_ns + before_ns - grid_offset_ms(step_ms) * 1_000_000) % (step_ms * 1_000_000)).any():
            opened = f"index + pd.Timedelta('{shown}') - pd.Timedelta('{_pandas_name(step_ms)}')"
            return f"; these are times of the bars' CLOSE, their open is needed: {opened}, or another column"
    return ""


def _check_values(index: pd.DatetimeIndex, ohlcv: np.ndarray) -> None:
    open_, high, low, close, volume = ohlcv.T
    rules = [(~np.isfinite(ohlcv[:, i]), i, "finite numbers") for i in range(5)]
    rules += [(ohlcv[:, i] <= 0.0, i, "prices > 0") for i in (OPEN, HIGH, LOW, CLOSE)]
    rules += [
        (volume < 0.0, VOLUME, "volume >= 0"),
        (high < low, HIGH, "high >= low"),
        ((open_ > high) | (open_ < low), OPEN, "open within [low, high]"),
        ((close > high) | (close < low), CLOSE, "close within [low, high]"),
    ]
    for bad, column, allowed in rules:
        if bad.any():
            position = int(bad.argmax())
            values = dict(zip(BAR_COLUMNS, ohlcv[position].tolist(), strict=True))
            raise BarsError(f"{_row(index, position)}, column {BAR_COLUMNS[column]!r} of {values}; allowed: {allowed}")


def require_few_gaps(opens_ms: np.ndarray, step_ms: int, fewest: int = 0) -> None:
    """Refuses bars that leave so many gaps that their times must be wrong, before memory is taken for them.

    Args:
        opens_ms: (T,) int64, increasing.
        step_ms: duration of the bars that are to be filled in.
        fewest: bars that are filled in whatever the share of gaps.

    Raises:
        BarsError: more than `MOST_GAPS` bars for each that was given.
    """
    count = int(opens_ms[-1] - opens_ms[0]) // step_ms + 1
    if count > max(MOST_GAPS * len(opens_ms), fewest):
        first, last = (pd.Timestamp(int(ms), unit="ms", tz="UTC").isoformat() for ms in opens_ms[[0, -1]])
        raise BarsError(
            f"{len(opens_ms)} bars from {first} to {last} leave {count} bars of {timeframe_name(step_ms)}, "
            "nearly all of them gaps: check the times"
        )


def filled_rows(opens_ms: np.ndarray, ohlcv: np.ndarray, step_ms: int) -> np.ndarray:
    """One row per step from the first to the last open; missing bars are flat at the previous close, volume 0.

    Args:
        opens_ms: (T,) int64, increasing, on the grid.
        ohlcv: (T, 5) float64.
        step_ms: duration of a bar.

    Returns:
        (T', 5) float64 with T' >= T; `ohlcv` itself where nothing is missing.

    Raises:
        BarsError: millions of bars, nearly all of them gaps.
    """
    require_few_gaps(opens_ms, step_ms, _FILLED_ANYWAY)
    rows = (opens_ms - opens_ms[0]) // step_ms
    count = int(rows[-1]) + 1
    if count == len(ohlcv):
        return ohlcv
    latest = np.zeros(count, dtype=np.int64)
    latest[rows] = np.arange(len(ohlcv))
    latest = np.maximum.accumulate(latest)
    filled = np.repeat(ohlcv[latest, CLOSE][:, None], 5, axis=1)
    filled[:, VOLUME] = 0.0
    filled[rows] = ohlcv
    return filled


@njit(cache=True)
def aggregated_rows(ohlcv: np.ndarray, skip: int, ratio: int) -> np.ndarray:
    """Higher bars of `ratio` rows each from row `skip` on, (n, 5) float64; an unfinished last one is left out."""
    count = max((ohlcv.shape[0] - skip) // ratio, 0)
    out = np.empty((count, len(BAR_COLUMNS)))
    for k in range(count):
        first = skip + k * ratio
        high, low, volume = ohlcv[first, HIGH], ohlcv[first, LOW], 0.0
        for i in range(first, first + ratio):
            high = max(high, ohlcv[i, HIGH])
            low = min(low, ohlcv[i, LOW])
            volume += ohlcv[i, VOLUME]
        out[k, OPEN] = ohlcv[first, OPEN]
        out[k, HIGH] = high
        out[k, LOW] = low
        out[k, CLOSE] = ohlcv[first + ratio - 1, CLOSE]
        out[k, VOLUME] = volume
    return out


def higher_bars(start_ms: int, ohlcv: np.ndarray, step_ms: int, higher_ms: int) -> tuple[int, np.ndarray]:
    """Bars of `higher_ms` from gapless bars of `step_ms`: the open of the first in ms, and (n, 5) float64.

    Whole bars only: a leading one whose beginning is missing and a trailing one that has not ended are left out.
    """
    skip = int((grid_offset_ms(higher_ms) - start_ms) % higher_ms // step_ms)
    return start_ms + skip * step_ms, aggregated_rows(ohlcv, skip, higher_ms // step_ms)


def fill_gaps(bars: pd.DataFrame, timeframe: str | None = None) -> pd.DataFrame:
    """Bars with every missing one made explicit: flat at the previous close, zero volume (which cannot be traded).

    Args:
        bars: T rows; `timeframe` is detected where it is None.

    Raises:
        BarsError: as `validate_bars`.
    """
    timeframe = timeframe or bars_timeframe(bars)
    valid = validate_bars(bars, timeframe)
    opens = bar_opens_ms(valid)
    step = timeframe_ms(timeframe)
    return bars_frame(int(opens[0]), step, filled_rows(opens, valid.to_numpy(copy=True), step))


def aggregate(bars: pd.DataFrame, timeframe: str) -> pd.DataFrame:
    """Closed bars of a longer timeframe, gaps filled first. A bar is there only if the bars given cover all of it.

    Returns:
        Bars indexed by their OPEN; each became known at its END, open + timeframe.

    Raises:
        BarsError: as `validate_bars`, or `timeframe` is not made of whole bars of the given timeframe.
    """
    source = bars_timeframe(bars)
    filled = fill_gaps(bars, source)
    step, higher = timeframe_ms(source), timeframe_ms(timeframe)
    require_multiple(source, timeframe)
    require_usual_grid(bar_opens_ms(filled), source)
    start, rows = higher_bars(int(bar_opens_ms(filled)[0]), filled.to_numpy(copy=True), step, higher)
    return bars_frame(start, higher, rows)


def require_usual_grid(opens_ms: np.ndarray, timeframe: str) -> None:
    """Checks that bars open on the grid that other timeframes are aligned to; weeks of some venues do not.

    `opens_ms`: (T,) int64.

    Raises:
        BarsError: they do not.
    """
    step = timeframe_ms(timeframe)
    if (int(opens_ms[0]) - grid_offset_ms(step)) % step:
        first = pd.Timestamp(int(opens_ms[0]), unit="ms", tz="UTC")
        raise BarsError(
            f"these {timeframe} bars open on a grid of their venue's, the first on {first:%A, %Y-%m-%d %H:%M}; markets "
            "and longer bars are made on the usual one (weeks from Monday 00:00 UTC): use shorter bars, such as 1d"
        )


def require_multiple(source: str, timeframe: str) -> None:
    """Checks that a bar of `timeframe` is made of whole bars of `source`.

    Raises:
        BarsError: it is not.
    """
    step, higher = timeframe_ms(source), timeframe_ms(timeframe)
    if higher % step or (grid_offset_ms(higher) - grid_offset_ms(step)) % step:
        raise BarsError(
            f"{timeframe} bars cannot be made of {source} bars; allowed: {source} and whole multiples of it"
        )


def bars_timeframe(bars: pd.DataFrame, timeframe: str | None = None) -> str:
    """The timeframe of bars: the one given, or from their index.

    Args:
        bars: T rows, by their times or with a column `timestamp`.
        timeframe: what they are known to be; two timeframes in one table are not looked for then.

    Raises:
        BarsError: not a DataFrame, times that are naive, non-UTC, unsorted or duplicate, at no known distance, or of
            two timeframes.
        ValueError: `timeframe` is none.
    """
    index = require_utc(indexed_bars(bars).index, "bars")
    _check_order(index)
    if timeframe is not None:
        timeframe_ms(timeframe)
        return timeframe
    try:
        found = detect_timeframe(index)
    except ValueError as error:
        raise BarsError(f"{error}; if you know it, say it with timeframe=") from error
    two = two_timeframes(index, found)
    if two:
        raise BarsError(two)
    return found


def two_timeframes(index: pd.DatetimeIndex, timeframe: str) -> str:
    """What to say of bars of which some are of a longer timeframe; "" where nothing is to be said.

    Args:
        index: strictly increasing opens.
        timeframe: the shorter one.
    """
    run = coarser_run(index, timeframe_ms(timeframe))
    if run is None:
        return ""
    first, last, distance = run
    try:
        apart = timeframe_name(distance)
    except ValueError:
        apart = str(pd.Timedelta(distance, "ms"))
    return (
        f"bars of two timeframes, or times of another clock: from {_row(index, first)} to {_row(index, last)} they are "
        f"{apart} apart, elsewhere {timeframe}: a longer bar would be shown before it has "
        f"ended; allowed: one timeframe (if these really are {timeframe} bars, say timeframe={timeframe!r})"
    )


def warn_without_volume(volume: np.ndarray) -> None:
    """Warns where no bar of `volume` (T,) has any: no order would ever fill."""
    if len(volume) and not (volume > 0.0).any():
        warnings.warn(
            f"none of {len(volume)} bars has any volume: no order will ever fill (indices, mark prices and some "
            "vendors come without; fill in a volume of your own if orders shall fill)",
            stacklevel=3,
        )
