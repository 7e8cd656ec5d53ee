"""Bars from a file: CSV or Parquet, gzipped or not, told apart by content rather than by name."""

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.bars import BarsError, bars_timeframe, require_utc, validate_bars
from cryptoenv.price_columns import BAR_COLUMNS

_TIME_COLUMNS = ("timestamp", "time", "date", "datetime", "open_time")
_UTC_ENDINGS = ("Z", "+00:00", "+0000", "+00", "-00:00", " UTC")
_TIME_ALLOWED = (
    'allowed: text in UTC that says so (ISO 8601 ending in Z or +00:00, as "2024-01-01T00:00:00Z"), '
    "or whole numbers of seconds, milliseconds or microseconds since 1970"
)
_EPOCH_UNITS = (("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000))
_EPOCH_FIRST, _EPOCH_LAST = (
    1_230_768_000,
    4_102_444_800,
)  # 2009 and 2100 in seconds: the ranges of the units do not meet


def read_bars(path: str | Path) -> pd.DataFrame:
    """Bars from a CSV or Parquet file, plain or gzipped.

    The file has columns open, high, low, close, volume (any case; further columns are left aside) and the time at which
    each bar OPENS in a column called timestamp, time, date, datetime or open_time (or, in Parquet, in the index).

    Returns:
        Bars as `validate_bars` returns them: (T, 5) float64 on a UTC index. Gaps stay gaps.

    Raises:
        FileNotFoundError: no such file.
        BarsError: not a table, a column is missing, or what `validate_bars` refuses; the message starts with the path.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    try:
        bars = _with_time_index(_read_table(file))
        return validate_bars(bars, bars_timeframe(bars))
    except BarsError as error:
        raise BarsError(f"{file}: {error}") from error


def _read_table(file: Path) -> pd.DataFrame:
    try:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[:4] == b"PAR1":
            table = pd.read_parquet(io.BytesIO(content))
        else:
            table = pd.read_csv(io.BytesIO(content), skipinitialspace=True)
    except (OSError, EOFError, ValueError, UnicodeDecodeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        problem = f"not a table ({type(error).__name__}: {reason})"
        raise BarsError(f"{problem}; allowed: CSV or Parquet, gzipped or not") from error
    table.columns = pd.Index([str(column).strip().lower() for column in table.columns])
    return table


def _with_time_index(table: pd.DataFrame) -> pd.DataFrame:
    if isinstance(table.index, pd.DatetimeIndex):
        return table
    times = [column for column in _TIME_COLUMNS if column in table.columns]
    missing = [column for column in BAR_COLUMNS if column not in table.columns]
    if not times or missing:
        what = f"column {missing[0]!r}" if missing else "the time column"
        raise BarsError(
            f"{what} is missing; columns are {list(table.columns)[:12]}; needed: {', '.join(BAR_COLUMNS)} "
            f"and the time of the bar's open as one of {', '.join(_TIME_COLUMNS)}"
        )
    if len(table) == 0:
        raise BarsError("the table has no rows; at least 2 bars are needed")
    column = times[0]
    if list(table.columns).count(column) > 1:
        raise BarsError(f"column {column!r} is there more than once; needed: one time column")
    return table.set_index(_utc_times(table[column], column))


def _utc_times(values: pd.Series, column: str) -> pd.DatetimeIndex:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return require_utc(pd.DatetimeIndex(values), f"column {column!r}")
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        return _epoch_times(values.to_numpy(dtype=np.float64, na_value=np.nan), values, column)
    text = values.astype("string").str.strip()
    naive = ~text.str.endswith(_UTC_ENDINGS).fillna(False).to_numpy(dtype=bool)
    _refuse(naive, values, column, "does not say that it is UTC")
    parsed = pd.to_datetime(text.str.removesuffix(" UTC"), format="ISO8601", utc=True, errors="coerce")
    _refuse(parsed.isna().to_numpy(), values, column, "is no time")
    return pd.DatetimeIndex(parsed)


def _refuse(bad: np.ndarray, values: pd.Series, column: str, problem: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise BarsError(f"row {row}, column {column!r}: {values.iloc[row]!r} {problem}; {_TIME_ALLOWED}")


def _epoch_times(numbers: np.ndarray, values: pd.Series, column: str) -> pd.DatetimeIndex:
    for unit, per_second in _EPOCH_UNITS:
        first, last = _EPOCH_FIRST * per_second, _EPOCH_LAST * per_second
        if first <= numbers[0] < last:
            wrong = ~((numbers >= first) & (numbers < last)) | (numbers != np.floor(numbers))
            _refuse(wrong, values, column, f"is no whole number of {unit} between 2009 and 2100, the unit of row 0")
            return pd.DatetimeIndex(values.to_numpy(dtype=np.int64).view(f"datetime64[{unit}]"), tz="UTC")
    _refuse(np.ones(1, dtype=bool), values, column, "is no time between 2009 and 2100 in any unit")
    raise AssertionError("unreachable: the line above raises")
