"""The files of a series: Parquet parts named by their content, written whole or not at all.

A part holds one UTC month or year (`SeriesKey.period_unit`) and is called <period>-<SHA-256>.parquet, so a new version
of it never overwrites the old one; which version counts is what the manifest says.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cryptoenv.files.durable_files import NotRegularError, read_regular
from cryptoenv.store.key import SeriesKey, StoreError
from cryptoenv.store.rows import Rows

_MOST_ROWS = 1_000_000  # of a part: a month of minutes has 44,640 rows, a year of hours 8,784
_MOST_BYTES = 64 * 8 * _MOST_ROWS
_PERIOD = {"M": re.compile("(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])"), "Y": re.compile("(19|20|21)[0-9]{2}")}
_PART_NAME = re.compile(r"(\d{4}(?:-\d{2})?)-([0-9a-f]{64})\.parquet")


class CorruptPartError(StoreError):
    """A file of a series that is missing or not what was written."""


@dataclass(frozen=True)
class Part:
    """One Parquet file of a series, as the manifest has it.

    Attributes:
        period: UTC month or year, e.g. "2024-01", "2024".
        sha256: of the file's bytes, hexadecimal.
        rows: number of rows.
        first_ms: open of the first row, milliseconds since the epoch.
        last_ms: open of the last row.
        size: bytes of the file.
    """

    period: str
    sha256: str
    rows: int
    first_ms: int
    last_ms: int
    size: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.period}-{self.sha256}.parquet"


def part_problem(key: SeriesKey, part: Part) -> str | None:
    """What cannot be in a manifest's entry, whatever the file holds: it comes from a file and names another."""
    numbers = {name: getattr(part, name) for name in ("rows", "first_ms", "last_ms", "size")}
    if not (isinstance(part.period, str) and _PERIOD[key.period_unit].fullmatch(part.period)):
        return f"a part's period is {part.period!r}"
    if not (isinstance(part.sha256, str) and re.fullmatch("[0-9a-f]{64}", part.sha256)):
        return f"the SHA-256 of part {part.period} is {part.sha256!r}"
    for name, number in numbers.items():
        if type(number) is not int or (number < 0 and name in ("rows", "size")):
            return f"{name} of part {part.period} is {number!r}"
    start, end = period_span(key, part.period)
    if not start <= part.first_ms <= part.last_ms < end:
        return f"part {part.period} goes from {part.first_ms} to {part.last_ms} ms, which is not in its period"
    if not 1 <= part.rows <= (part.last_ms - part.first_ms) // key.step_ms + 1:
        return f"part {part.period} has {part.rows} rows, more than there is time for, or none"
    return None


def periods_of(key: SeriesKey, opens_ms: np.ndarray) -> np.ndarray:
    """(T,) datetime64 in months or years: the part that each open (T,) int64 belongs to."""
    return opens_ms.view("datetime64[ms]").astype(f"datetime64[{key.period_unit}]")


def period_span(key: SeriesKey, period: str) -> tuple[int, int]:
    """The times of the bars that OPEN in a period, [start, end) in ms, on the grid of the series."""
    first = np.datetime64(period, key.period_unit)
    step, offset = key.step_ms, key.grid_ms
    start, end = (int(p.astype("datetime64[ms]").astype(np.int64)) for p in (first, first + 1))
    return start + (offset - start) % step, end + (offset - end) % step


def named_part(path: Path) -> tuple[str, str] | None:
    """Period and SHA-256 in the name of a part; None for any other file."""
    match = _PART_NAME.fullmatch(path.name)
    return (match[1], match[2]) if match else None


def part_bytes(key: SeriesKey, rows: Rows) -> bytes:
    """A part as a file; equal rows give equal bytes (of one pyarrow release), whatever the order they came in."""
    columns = [pa.array(rows.opens).cast(pa.timestamp("ms", tz="UTC"))]
    columns += [pa.array(np.ascontiguousarray(column)) for column in rows.values.T]
    sink = pa.BufferOutputStream()
    table = pa.table(columns, names=["timestamp", *key.columns])
    pq.write_table(table, sink, compression="zstd", use_dictionary=False)
    return sink.getvalue().to_pybytes()


def describe_part(rows: Rows, period: str, content: bytes) -> Part:
    """The manifest's entry of a part with these rows and bytes."""
    return described_part(rows, period, hashlib.sha256(content).hexdigest(), len(content))


def described_part(rows: Rows, period: str, sha256: str, size: int) -> Part:
    """The same where the bytes are a file whose SHA-256 and size are known."""
    return Part(period, sha256, len(rows), int(rows.opens[0]), int(rows.opens[-1]), size)


def rows_of(key: SeriesKey, path: Path, sha256: str) -> Rows:
    """The rows of a part, once its bytes are what was written.

    Raises:
        FileNotFoundError: no such file.
        CorruptPartError: other bytes than those written, a link or a pipe, or not a part of this series.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
    except NotRegularError as error:
        raise CorruptPartError(f"{error}; `cryptoenv data repair` moves it to quarantine as it is") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CorruptPartError(
            f"{path}: the SHA-256 is not that of the bytes written ({len(content)} bytes now); `cryptoenv data repair` "
            "moves the file to quarantine and marks its time as missing, so that the next download fetches it again"
        )
    try:
        table = _table(key, content)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise CorruptPartError(f"{path}: not a part of {key} ({error}); `cryptoenv data repair` moves it") from error
    opens = table.column("timestamp").cast(pa.int64()).to_numpy()
    values = np.empty((len(opens), len(key.columns)), order="F")  # a DataFrame keeps its columns one after another
    for position, column in enumerate(key.columns):
        values[:, position] = table.column(column).to_numpy()
    return Rows(opens, values)


def _table(key: SeriesKey, content: bytes) -> pa.Table:
    """The columns of a part, once it says of itself that they fit into memory: a foreign one may unpack to anything."""
    file = pq.ParquetFile(pa.BufferReader(content))
    found = file.metadata
    size = sum(found.row_group(k).total_byte_size for k in range(found.num_row_groups))
    if found.num_rows > _MOST_ROWS or size > _MOST_BYTES:
        raise ValueError(f"{found.num_rows} rows, {size} bytes unpacked; at most {_MOST_ROWS} and {_MOST_BYTES}")
    return file.read(columns=["timestamp", *key.columns], use_threads=False)
