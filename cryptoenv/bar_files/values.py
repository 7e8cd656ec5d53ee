"""Values by time from a file that holds no bars: sentiment, on-chain figures, another market's close."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cryptoenv.bar_files.columns import TIME_NAMES, plain_name
from cryptoenv.bar_files.formats import read_raw_table
from cryptoenv.bar_files.numbers import NumberReading, number_columns
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.times import TimeReading, utc_times


def read_values(path: str | Path, *, time_zone: str | None = None) -> pd.DataFrame:
    """The columns of numbers of a file, by its time column: what `join_exogenous` takes.

    Args:
        path: a CSV, JSON, Parquet or Feather file, plain, gzipped or zipped, with a column of times.
        time_zone: of times that do not say theirs, e.g. "UTC".

    Returns:
        (V, C) float64 on a UTC index, under the file's own names; columns that hold text are left out. A file that is
        newest first is turned round.

    Raises:
        FileNotFoundError: no such file. BarsError: no table, no column of times, or none of numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    try:
        table = read_raw_table(file.read_bytes()).table.rename(columns=lambda name: str(name).strip())
        times, table = _times(table)
        index = utc_times(times, TimeReading(time_zone))[0]
        numbers, _ = number_columns(table, NumberReading())
        kept = [name for name in numbers.columns if pd.api.types.is_numeric_dtype(numbers[name].dtype)]
        kept = [name for name in kept if not pd.api.types.is_bool_dtype(numbers[name].dtype)]
        if not kept:
            raise BarsError(f"no column of numbers beside {times.name!r} in {list(table.columns)}")
    except BarsError as error:
        raise BarsError(f"{file}: {error}") from error
    found = numbers[kept].astype("float64").set_axis(index, axis=0)
    return found[::-1] if len(found) > 1 and index[0] > index[-1] else found


def _times(table: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """The times, and the table without them."""
    if isinstance(table.index, pd.DatetimeIndex):
        return table.index.to_series().rename(str(table.index.name or "timestamp")), table
    by_name = {plain_name(name): str(name) for name in table.columns}
    column = next((by_name[name] for name in TIME_NAMES if name in by_name), None)
    if column is None:
        raise BarsError(f"no column of times in {list(table.columns)}; needed: one, as 'timestamp'")
    return table[column], table.drop(columns=column)
