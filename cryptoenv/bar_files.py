"""Bars from a file: CSV, JSON, Parquet or Feather as people have them; what had to be guessed is reported."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.bar_file_columns import ColumnChoice, choose_columns
from cryptoenv.bar_file_formats import RawTable, read_raw_table
from cryptoenv.bar_file_times import TimeReading, utc_times
from cryptoenv.bars import BarsError, bars_timeframe, validate_bars
from cryptoenv.price_columns import BAR_COLUMNS
from cryptoenv.volume_identity import volume_identity

QUOTE_VOLUME = "quote_volume"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImportReport:
    """How a file was read; `print` it.

    Attributes:
        path: of the file.
        form: "CSV", "JSON", "Parquet" or "Feather".
        rows: of the table.
        columns: what is what: "timestamp", "open", ..., "volume" and "quote_volume" by the file's own names.
        times: how times were read.
        left_aside: further columns of the file, which were not read.
        notes: guesses, in words.
    """

    path: str
    form: str
    rows: int
    columns: dict[str, str]
    times: str
    left_aside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        renamed = ", ".join(f"{name} = {column!r}" for name, column in self.columns.items())
        lines = [f"{self.path}: {self.form}, {self.rows} rows", f"columns: {renamed}", f"times: {self.times}"]
        if self.left_aside:
            lines.append(f"left aside: {', '.join(self.left_aside)}")
        return "\n  ".join([*lines, *(f"guessed: {note}" for note in self.notes)])


def import_bars(
    path: str | Path,
    *,
    time: str | None = None,
    volume: str | None = None,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    time_zone: str | None = None,
    day_first: bool | None = None,
) -> tuple[pd.DataFrame, ImportReport]:
    """A file's table in the form of bars, its values as they are: the input of `clean`.

    The format is told by content (gzip and zip too), columns by the names that exchanges and data sites use, the unit
    of times by their size. What can be read in two ways is an error that names the argument which settles it.

    Args:
        path: a CSV, JSON, Parquet or Feather file.
        time: column of the time at which each bar OPENS.
        volume: column of the base volume (coins).
        columns: names of all columns, in order, for a file that does not name them, or not as one would.
        keep: further columns of the file to keep under their own names (exogenous features).
        time_zone: of times that do not say theirs, e.g. "UTC".
        day_first: whether 03/04/2021 is the third of April.

    Returns:
        The table: index `timestamp` in UTC, in the file's order, nothing dropped; open, high, low, close, volume, where
        the file has it quote_volume, then `keep`. And the report.

    Raises:
        FileNotFoundError: no such file.
        BarsError: not a table, or something is missing or ambiguous; the message starts with the path.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    try:
        raw = read_raw_table(file.read_bytes(), tuple(columns) if columns is not None else None)
        table = raw.table.rename(columns=lambda name: str(name).strip())
        if len(table) == 0 and len(table.columns) > 1:
            raise BarsError("the table has no rows; at least 2 bars are needed")
        choice = choose_columns(table, time, volume)
        index, times, time_column = _times(table, choice, TimeReading(time_zone, day_first))
        bars = _bars(table, choice, keep).set_axis(index, axis=0)
        if not raw.named:
            _require_price_order(bars)
    except BarsError as error:
        raise BarsError(f"{file}: {error}") from error
    used = {"timestamp": time_column, **choice.prices, "volume": choice.volume}
    if choice.quote_volume is not None:
        used[QUOTE_VOLUME] = choice.quote_volume
    report = _report(file, raw, table, used, times, (*raw.notes, *choice.notes), keep)
    _LOG.info("%s", report)
    return bars, report


def _report(
    file: Path, raw: RawTable, table: pd.DataFrame, used: dict[str, str], times: str, notes: tuple[str, ...],
    keep: Sequence[str],
) -> ImportReport:  # fmt: skip
    aside = tuple(str(c) for c in table.columns if c not in used.values() and c not in keep)
    return ImportReport(str(file), raw.form, len(table), used, times, aside, notes)


def read_bars(
    path: str | Path,
    *,
    time: str | None = None,
    volume: str | None = None,
    columns: Sequence[str] | None = None,
    time_zone: str | None = None,
    day_first: bool | None = None,
    timeframe: str | None = None,
) -> pd.DataFrame:
    """Bars from a file that needs no repair: CSV, JSON, Parquet or Feather, plain, gzipped or zipped.

    Arguments as those of `import_bars`, which logs (INFO) what it guessed. A file that is newest first is turned round.

    Args:
        timeframe: of the bars, e.g. "1m", where so few of them are there that it cannot be told.

    Returns:
        Bars as `validate_bars` returns them: (T, 5) float64 on a UTC index. Gaps stay gaps.

    Raises:
        FileNotFoundError: no such file.
        BarsError: as `import_bars`; what `validate_bars` refuses; base and quote volume that are swapped. The message
            starts with the path.
    """
    bars, _ = import_bars(path, time=time, volume=volume, columns=columns, time_zone=time_zone, day_first=day_first)
    try:
        if len(bars) > 1 and (np.diff(bars.index.asi8) < 0).all():  # type: ignore[attr-defined]
            _LOG.info("%s: newest first: turned round", path)
            bars = bars[::-1]
        valid = validate_bars(bars, bars_timeframe(bars, timeframe))
        _require_base_volume(bars)
    except BarsError as error:
        raise BarsError(f"{path}: {error} (cryptoenv.clean repairs what is certain, and lists the rest)") from error
    return valid


def _times(table: pd.DataFrame, choice: ColumnChoice, reading: TimeReading) -> tuple[pd.DatetimeIndex, str, str]:
    if not choice.times:
        name = str(table.index.name or "index")
        return *utc_times(table.index.to_series().rename(name), reading), name
    column = choice.times[0]
    if list(table.columns).count(column) > 1:
        raise BarsError(f"column {column!r} is there more than once; needed: one time column")
    index, said = utc_times(table[column], reading)
    for other in choice.times[1:]:
        try:
            differs = np.asarray(utc_times(table[other], TimeReading("UTC", reading.day_first))[0] != index)
        except BarsError:
            continue
        if differs.any():
            row = int(differs.argmax())
            raise BarsError(
                f"columns {column!r} and {other!r} are different times, first in row {row}: "
                f"{table[column].iloc[row]!r} and {table[other].iloc[row]!r}; say which one is the bar's open in UTC "
                f"with time={column!r} or time={other!r}"
            )
    return index, said, column


def _bars(table: pd.DataFrame, choice: ColumnChoice, keep: Sequence[str]) -> pd.DataFrame:
    unknown = [column for column in keep if list(table.columns).count(column) != 1]
    if unknown:
        raise BarsError(f"keep names {unknown}; allowed: columns of the file, {list(table.columns)}")
    chosen = {**choice.prices, "volume": choice.volume}
    if choice.quote_volume is not None:
        chosen[QUOTE_VOLUME] = choice.quote_volume
    chosen |= {column: column for column in keep if column not in chosen}
    return pd.DataFrame({name: _numbers(table[column]) for name, column in chosen.items()})


def _numbers(values: pd.Series) -> pd.Series:
    # Text that holds numbers (JSON of exchanges) becomes numbers; other text stays and is refused by row later.
    if pd.api.types.is_bool_dtype(values.dtype):
        return values
    if not pd.api.types.is_numeric_dtype(values.dtype):
        numbers = pd.to_numeric(values, errors="coerce")
        if (numbers.isna() & values.notna()).any():
            return values
        values = numbers
    return values.astype("float64")


def _require_price_order(bars: pd.DataFrame) -> None:
    prices = bars[list(BAR_COLUMNS[:4])]
    if not all(pd.api.types.is_numeric_dtype(dtype) for dtype in prices.dtypes):
        raise BarsError("columns without names do not all hold numbers; say what they are with columns=")
    wrong = (prices["high"] < prices.max(axis=1)) | (prices["low"] > prices.min(axis=1))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise BarsError(
            f"columns have no names and are not in the order open, high, low, close: row {row} holds "
            f"{prices.iloc[row].tolist()}; say what they are, in order, with columns=, "
            f'such as columns=("timestamp", "low", "high", "open", "close", "volume")'
        )


def _require_base_volume(bars: pd.DataFrame) -> None:
    if QUOTE_VOLUME not in bars.columns:
        return
    values = (bars[c].to_numpy(dtype=np.float64) for c in ("volume", QUOTE_VOLUME, "low", "high"))
    swapped = volume_identity(*values).swapped
    if swapped.any():
        row = int(swapped.argmax())
        found = bars[["volume", QUOTE_VOLUME, "close"]].iloc[row].to_dict()
        raise BarsError(
            f"row {row} ({bars.index[row].isoformat()}) and {int(swapped.sum()) - 1} more: volume is in the quote "  # type: ignore[attr-defined]
            f"currency and quote volume in coins, by the price: {found}; allowed: volume in coins"
        )
