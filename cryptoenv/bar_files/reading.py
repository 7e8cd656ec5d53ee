"""Bars from a file: CSV, JSON, Parquet or Feather as people have them; what had to be guessed is reported."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cryptoenv.bar_files.columns import ColumnChoice, choose_columns, plain_name
from cryptoenv.bar_files.formats import RawTable, read_raw_table
from cryptoenv.bar_files.numbers import NumberReading, number_columns
from cryptoenv.bar_files.unpacking import MOST_UNPACKED
from cryptoenv.bars.bars import bars_timeframe, validate_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.price_order import closes_precede
from cryptoenv.bars.times import TimeReading, joined_times, utc_times
from cryptoenv.bars.volume_identity import volume_identity

QUOTE_VOLUME = "quote_volume"
_LOG = logging.getLogger(__name__)
_ROWS_TO_TELL = 5_000
_ENDINGS = frozenset(f".{name}" for name in ("csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet", "pq", "feather",
                                              "arrow", "gz", "bz2", "xz", "zst", "zip"))  # fmt: skip


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
    time: str | Sequence[str] | None = None,
    volume: str | None = None,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    time_zone: str | None = None,
    day_first: bool | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    max_unpacked: int = MOST_UNPACKED,
) -> tuple[pd.DataFrame, ImportReport]:
    """A file's table in the form of bars, its values as they are: the input of `clean`.

    The format is told by content (gzip and zip too), columns by the names that exchanges and data sites use, the unit
    of times by their size. What can be read in two ways is an error that names the argument which settles it.

    Args:
        path: a CSV, JSON, Parquet or Feather file.
        time: column of the time at which each bar OPENS; two columns, ("Date", "Time"), are joined.
        volume: column of the base volume (coins).
        columns: names of all columns, in order, for a file that does not name them, or not as one would.
        keep: further columns of the file to keep under their own names (exogenous features).
        time_zone: of times that do not say theirs, e.g. "UTC".
        day_first: whether 03/04/2021 is the third of April.
        decimal: the mark before decimals, "." or ",", where the file leaves it open.
        thousands: the mark between thousands, ".", ",", "'" or " ", where the file leaves it open.
        max_unpacked: bytes that a gz, zip, Parquet or Feather file may unpack to.

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
        numbers = NumberReading(decimal, thousands)
        names = tuple(columns) if columns is not None else None
        raw = read_raw_table(file.read_bytes(), names, as_text=numbers.given, max_unpacked=max_unpacked)
        table = raw.table.rename(columns=lambda name: str(name).strip())
        if len(table) == 0 and len(table.columns) > 1:
            raise BarsError("the table has no rows; at least 2 bars are needed")
        if time is not None and not isinstance(time, str):
            table, time = _with_joined_times(table, tuple(time))
        choice = choose_columns(table, time, volume)
        index, times, time_column = table_times(table, choice.times, TimeReading(time_zone, day_first))
        bars, how = _bars(table, choice, keep, numbers)
        bars = bars.set_axis(index, axis=0)
        _require_open_and_close(bars, choice)
        if not raw.named:
            _require_price_order(bars)
    except BarsError as error:
        raise BarsError(f"{file}: {error}") from error
    used = {"timestamp": time_column, **choice.prices, "volume": choice.volume}
    if choice.quote_volume is not None:
        used[QUOTE_VOLUME] = choice.quote_volume
    report = _report(file, raw, table, used, times, (*raw.notes, *how, *choice.notes), keep)
    _LOG.info("%s", report)
    return bars, report


def _report(
    file: Path, raw: RawTable, table: pd.DataFrame, used: dict[str, str], times: str, notes: tuple[str, ...],
    keep: Sequence[str],
) -> ImportReport:  # fmt: skip
    aside = tuple(str(c) for c in table.columns if c not in used.values() and c not in keep)
    return ImportReport(str(file), raw.form, len(table), used, times, aside, notes)


def file_stem(path: Path) -> str:
    """What a market made from a file is called: its name without the endings of formats."""
    name = path
    while name.suffix.lower() in _ENDINGS and name.stem:
        name = name.with_suffix("")
    return name.name


def read_bars(
    path: str | Path,
    *,
    time: str | Sequence[str] | None = None,
    volume: str | None = None,
    columns: Sequence[str] | None = None,
    time_zone: str | None = None,
    day_first: bool | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    max_unpacked: int = MOST_UNPACKED,
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

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from cryptoenv import read_bars
        >>> lines = ["timestamp,open,high,low,close,volume"]
        >>> lines += [f"2024-01-01T0{hour}:00:00Z,100,101,99,100.5,3" for hour in range(5)]
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "hourly.csv")
        ...     _ = file.write_text("\\n".join(lines))
        ...     bars = read_bars(file)
        >>> bars.shape, bars.index[-1]
        ((5, 5), Timestamp('2024-01-01 04:00:00+0000', tz='UTC'))
    """
    bars, _ = import_bars(
        path, time=time, volume=volume, columns=columns, time_zone=time_zone, day_first=day_first, decimal=decimal,
        thousands=thousands, max_unpacked=max_unpacked,
    )  # fmt: skip
    try:
        if len(bars) > 1 and (np.diff(bars.index.asi8) < 0).all():  # type: ignore[attr-defined]
            _LOG.info("%s: newest first: turned round", path)
            bars = bars[::-1]
        valid = validate_bars(bars, bars_timeframe(bars, timeframe))
        _require_base_volume(bars)
    except BarsError as error:
        raise BarsError(f"{path}: {error} (cryptoenv.clean repairs what is certain, and lists the rest)") from error
    return valid


def table_times(
    table: pd.DataFrame, candidates: Sequence[str], reading: TimeReading
) -> tuple[pd.DatetimeIndex, str, str]:
    """UTC times of the rows of a table, how they were read, and the column's name.

    Args:
        table: T rows, named as in the file.
        candidates: columns of times, likeliest first, which must say the same; none where the index holds them.
        reading: settles what they leave open.

    Raises:
        BarsError: no times, or columns of different ones.
    """
    if not candidates:
        name = str(table.index.name or "index")
        return *utc_times(table.index.to_series().rename(name), reading), name
    column = candidates[0]
    if list(table.columns).count(column) > 1:
        raise BarsError(f"column {column!r} is there more than once; needed: one time column")
    try:
        index, said = utc_times(table[column], reading)
    except BarsError as error:
        raise BarsError(f"{error}{_date_beside(table)}") from error
    for other in candidates[1:]:
        try:
            differs = np.asarray(utc_times(table[other], TimeReading("UTC", reading.day_first))[0] != index)
        except BarsError:
            continue
        if differs.any():
            row = int(differs.argmax())
            raise BarsError(
                f"columns {column!r} and {other!r} are different times, first in row {row}: "
                f"{table[column].iloc[row]!r} and {table[other].iloc[row]!r}; say which one is meant (of bars: "
                f"their open), in UTC, with time={column!r} or time={other!r}"
            )
    return index, said, column


def _date_beside(table: pd.DataFrame) -> str:
    found = {plain_name(c): c for c in table.columns}
    if "date" not in found or "time" not in found:
        return ""
    return f"; date and time may stand in two columns: time=({found['date']!r}, {found['time']!r})"


def _with_joined_times(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[pd.DataFrame, str]:
    if len(names) != 2 or names[0] == names[1]:
        raise BarsError(f'time is {names!r}; allowed: a column, or those of date and time, as ("Date", "Time")')
    both = joined_times(table, (names[0], names[1]))
    return table.drop(columns=list(names)).assign(**{str(both.name): both}), str(both.name)


def _bars(
    table: pd.DataFrame, choice: ColumnChoice, keep: Sequence[str], numbers: NumberReading
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    unknown = [column for column in keep if list(table.columns).count(column) != 1]
    if unknown:
        raise BarsError(f"keep names {unknown}; allowed: columns of the file, {list(table.columns)}")
    chosen = {**choice.prices, "volume": choice.volume}
    if choice.quote_volume is not None:
        chosen[QUOTE_VOLUME] = choice.quote_volume
    own = pd.DataFrame({name: table[column] for name, column in chosen.items()})
    bars, notes = number_columns(own, numbers)
    further = {column: number_columns(table[[column]], numbers)[0][column] for column in keep if column not in chosen}
    return bars.assign(**further), notes


def _require_open_and_close(bars: pd.DataFrame, choice: ColumnChoice) -> None:
    columns = [bars[name].to_numpy()[:_ROWS_TO_TELL] for name in ("open", "close")]  # all would take a tenth longer
    if not all(pd.api.types.is_numeric_dtype(values.dtype) for values in columns):
        return
    times = bars.index[:_ROWS_TO_TELL].asi8  # type: ignore[attr-defined]
    order = np.argsort(times, kind="stable")
    if closes_precede(*(values[order].astype(np.float64) for values in columns)):
        raise BarsError(
            f"columns {choice.prices['open']!r} and {choice.prices['close']!r} are in each other's place: each close "
            "is near the open before it, no open is near the close before it; say what the columns are, in order, "
            'with columns=, such as columns=("timestamp", "close", "high", "low", "open", "volume")'
        )


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
