"""From the bytes of a file to a table as it stands there: CSV, JSON, Parquet, Feather; gzip and zip around them."""

import csv
import gzip
import io
import json
import re
import statistics
import zipfile
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cryptoenv.bars import BarsError
from cryptoenv.price_columns import BAR_COLUMNS

# Columns of rows that come without names: what ccxt and most exchanges give, and Binance's twelve.
ARRAY_COLUMNS = ("timestamp", *BAR_COLUMNS)
_BINANCE_FURTHER = ("close time", "quote volume", "trades", "taker buy volume", "taker buy quote volume", "ignore")
_MOST_HEADER_LINES = 20
_DECIMAL_COMMA = re.compile(r"(?:^|[;\t|])\d+,\d+(?:[;\t|\r]|$)")
_ALLOWED = "allowed: CSV, JSON, Parquet or Feather, plain, gzipped or the only file in a zip"


@dataclass(frozen=True)
class RawTable:
    """A table as the file has it, and what had to be guessed to read it.

    Attributes:
        table: columns named as in the file.
        form: "CSV", "JSON", "Parquet" or "Feather".
        named: whether the file itself names its columns.
        notes: guesses, in words.
    """

    table: pd.DataFrame
    form: str
    named: bool = True
    notes: tuple[str, ...] = ()


def read_raw_table(content: bytes, columns: tuple[str, ...] | None = None) -> RawTable:
    """The table in a file's bytes, told by content rather than by name.

    Args:
        content: of the whole file.
        columns: names of all columns, in order, instead of the file's own, if it has any.

    Raises:
        BarsError: not a table of a known form.
    """
    try:
        raw = _read(_unpacked(content), columns)
    except BarsError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, csv.Error, RecursionError, OverflowError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BarsError(f"not a table ({type(error).__name__}: {reason}); {_ALLOWED}") from error
    if columns is None:
        return raw
    if len(columns) != raw.table.shape[1]:
        raise BarsError(f"columns={columns!r} names {len(columns)} columns; the file has {raw.table.shape[1]}")
    return RawTable(raw.table.set_axis(list(columns), axis=1), raw.form, raw.named, raw.notes)


def _unpacked(content: bytes) -> bytes:
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise BarsError(f"not a table (a zip with {len(names)} files: {names[:5]}); {_ALLOWED}")
            return archive.read(names[0])
    return content


def _read(content: bytes, columns: tuple[str, ...] | None) -> RawTable:
    if content[:4] == b"PAR1":
        return RawTable(pd.read_parquet(io.BytesIO(content)), "Parquet")
    if content[:6] == b"ARROW1" or content[:4] == b"FEA1":
        return RawTable(pd.read_feather(io.BytesIO(content)), "Feather")
    if b"\x00" in content:
        raise ValueError("it holds zero bytes, as text does not")
    if content[:64].decode("utf-8-sig", errors="replace").lstrip()[:1] in ("[", "{"):
        return _json_table(content.decode("utf-8-sig"), columns)
    return _csv_table(content, columns)


def _json_table(text: str, columns: tuple[str, ...] | None) -> RawTable:
    try:
        rows, path = _rows_within(json.loads(text), ())
    except json.JSONDecodeError as error:
        if not (error.msg == "Extra data" and text.lstrip().startswith("{")):
            raise
        rows, path = [json.loads(line) for line in text.splitlines() if line.strip()], ("one record per line",)
    notes = (f"rows found under {'.'.join(path)}",) if path else ()
    if rows and all(isinstance(row, list) for row in rows):
        raw = _without_names(pd.DataFrame(rows), "JSON", columns)
        return RawTable(raw.table, raw.form, raw.named, (*notes, *raw.notes))
    if rows and all(isinstance(row, dict) for row in rows):
        return RawTable(pd.DataFrame(rows), "JSON", notes=notes)
    raise ValueError("the JSON holds no list of arrays or of records")


def _rows_within(value: Any, path: tuple[str, ...]) -> tuple[list[Any], tuple[str, ...]]:
    # Exchanges wrap the rows, as {"result": {"list": [...]}}: follow the only way to a list of rows.
    if isinstance(value, list):
        return value, path
    if isinstance(value, dict):
        columns = {k: v for k, v in value.items() if isinstance(v, list) and v and not isinstance(v[0], list | dict)}
        if len(columns) >= len(ARRAY_COLUMNS) and len({len(v) for v in columns.values()}) == 1:
            return pd.DataFrame(columns).to_dict("records"), (*path, "one list per column")
        inner = [(k, v) for k, v in value.items() if isinstance(v, dict | list) and v]
        if len(inner) == 1:
            return _rows_within(inner[0][1], (*path, inner[0][0]))
    raise ValueError("the JSON holds no list of arrays or of records")


def _csv_table(content: bytes, columns: tuple[str, ...] | None) -> RawTable:
    head = content.split(b"\n", _MOST_HEADER_LINES + 1)[: _MOST_HEADER_LINES + 1]
    lines = b"\n".join(head).decode("utf-8-sig").split("\n")
    separator, widths = _separator(lines)
    # Lines above the table (CryptoDataDownload puts its address there) have fewer fields than the table.
    skipped = next((i for i, width in enumerate(widths) if width == statistics.mode(widths)), 0)
    notes = [f"{skipped} line(s) above the table left out: {lines[0].strip()[:60]!r}"] if skipped else []
    if separator != ",":
        notes.append(f"columns separated by {separator!r}")
    decimal = "." if separator == "," or not _DECIMAL_COMMA.search(lines[-1] or lines[-2]) else ","
    if decimal == ",":
        notes.append("decimal commas")
    fields = next(csv.reader([lines[skipped]], delimiter=separator), [])
    named = sum(map(_is_number, fields)) < len(BAR_COLUMNS)
    table = pd.read_csv(
        io.BytesIO(content), encoding="utf-8-sig", sep=separator, skiprows=skipped, header=0 if named else None,
        skipinitialspace=True, index_col=False, decimal=decimal,
    )  # fmt: skip
    if named:
        return RawTable(table, "CSV", notes=tuple(notes))
    raw = _without_names(table, "CSV", columns)
    return RawTable(raw.table, raw.form, raw.named, (*notes, *raw.notes))


def _separator(lines: list[str]) -> tuple[str, list[int]]:
    # The comma last: it may be a decimal one.
    for mark in ";\t|,":
        widths = [len(next(csv.reader([line], delimiter=mark), [])) for line in lines]
        if widths and statistics.mode(widths) >= len(BAR_COLUMNS):
            return mark, widths
    return ",", widths


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _without_names(table: pd.DataFrame, form: str, columns: tuple[str, ...] | None) -> RawTable:
    count = table.shape[1]
    if columns is not None:
        return RawTable(table, form)  # named by `read_raw_table`
    names = ARRAY_COLUMNS + _BINANCE_FURTHER if count == 12 else ARRAY_COLUMNS
    if count not in (len(ARRAY_COLUMNS), 12):
        raise BarsError(
            f"{count} columns without names; say what they are with columns=, in order, "
            f'such as columns={ARRAY_COLUMNS}; names you do not need may be anything, such as "-"'
        )
    named = table.set_axis(list(names), axis=1)
    whose = "Binance's order" if count == 12 else "the order of ccxt"
    return RawTable(named, form, False, (f"columns have no names: taken as {', '.join(ARRAY_COLUMNS)} ({whose})",))
