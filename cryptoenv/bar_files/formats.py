"""From the bytes of a file to a table as it stands there: CSV, JSON, Parquet, Feather; gzip and zip around them."""

import csv
import io
import json
import statistics
import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cryptoenv.bar_files.columns import plain_price
from cryptoenv.bar_files.numbers import has_marks
from cryptoenv.bar_files.unpacking import MOST_UNPACKED, feather_table, parquet_table, unpacked
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS

# Columns of rows that come without names: what ccxt and most exchanges give, and Binance's twelve.
ARRAY_COLUMNS = ("timestamp", *BAR_COLUMNS)
_BINANCE_FURTHER = ("close time", "quote volume", "trades", "taker buy volume", "taker buy quote volume", "ignore")
_MOST_HEADER_LINES = 20
_ONE_LEVEL = "allowed: one: bars.droplevel('Ticker', axis=1), or bars['BTC-USD'] of several tickers, before saving"
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


def read_raw_table(
    content: bytes, columns: tuple[str, ...] | None = None, *, as_text: bool = False, max_unpacked: int = MOST_UNPACKED
) -> RawTable:
    """The table in a file's bytes, told by content rather than by name.

    Args:
        content: of the whole file.
        columns: names of all columns, in order, instead of the file's own, if it has any.
        as_text: leave the numbers of a CSV as text, since its marks are not the usual ones.
        max_unpacked: bytes that a gz, zip, Parquet or Feather file may unpack to.

    Raises:
        BarsError: not a table of a known form.
    """
    try:
        raw = _read(unpacked(content, max_unpacked), columns, as_text, max_unpacked)
    except BarsError:
        raise
    except (
        Exception
    ) as error:  # zlib, zipfile, pyarrow, pandas and json each have their own, and more for damaged files
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise BarsError(f"not a table or a damaged one ({type(error).__name__}: {reason}); {_ALLOWED}") from error
    raw = _with_plain_names(raw)
    if columns is None:
        return raw
    if len(columns) != raw.table.shape[1]:
        raise BarsError(f"columns={columns!r} names {len(columns)} columns; the file has {raw.table.shape[1]}")
    return RawTable(raw.table.set_axis(list(columns), axis=1), raw.form, raw.named, raw.notes)


def _with_plain_names(raw: RawTable) -> RawTable:
    if isinstance(raw.table.columns, pd.MultiIndex):
        raise BarsError(f"columns have {raw.table.columns.nlevels} levels (a MultiIndex); {_ONE_LEVEL}")
    if isinstance(raw.table.index, pd.MultiIndex):
        return RawTable(raw.table.reset_index(), raw.form, raw.named, raw.notes)
    return raw


def _read(content: bytes, columns: tuple[str, ...] | None, as_text: bool, most: int) -> RawTable:
    if content[:4] == b"PAR1":
        return RawTable(parquet_table(content, most), "Parquet")
    if content[:6] == b"ARROW1" or content[:4] == b"FEA1":
        return RawTable(feather_table(content, most), "Feather")
    if b"\x00" in content:
        raise ValueError("it holds zero bytes, as text does not")
    if content[:64].decode("utf-8-sig", errors="replace").lstrip()[:1] in ("[", "{"):
        return _json_table(content.decode("utf-8-sig"), columns)
    return _csv_table(content, columns, as_text)


def _json_table(text: str, columns: tuple[str, ...] | None) -> RawTable:
    try:
        found = json.loads(text)
        if (paired := _pairs(found)) is not None:
            return RawTable(paired, "JSON", notes=("one list of times and numbers per column",))
        rows, path = _rows_within(found, ())
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


def _pairs(value: Any) -> pd.DataFrame | None:
    """What CoinGecko answers: {"prices": [[time, number], ...], "market_caps": ...}; None where it is something else.

    A time that a column has twice counts once, with what was said last.
    """
    if not (isinstance(value, dict) and value and all(isinstance(rows, list) for rows in value.values())):
        return None
    if not all(isinstance(row, list) and len(row) == 2 for rows in value.values() for row in rows):
        return None
    columns = {str(name): dict(rows) for name, rows in value.items()}  # type: ignore[arg-type]
    if not any(columns.values()):
        return None
    return pd.DataFrame(columns).sort_index().rename_axis("timestamp").reset_index()


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


def _csv_table(content: bytes, columns: tuple[str, ...] | None, as_text: bool) -> RawTable:
    head = content.split(b"\n", _MOST_HEADER_LINES + 1)[: _MOST_HEADER_LINES + 1]
    lines = b"\n".join(head).decode("utf-8-sig").split("\n")
    separator, widths = _separator(lines)
    # Lines above the table (CryptoDataDownload puts its address there) have fewer fields than the table.
    skipped = next((i for i, width in enumerate(widths) if width == _usual(widths)), 0)
    rows = [row for row in csv.reader(lines[skipped:-1] or lines[skipped:], delimiter=separator) if row]
    named = not rows or sum(map(_is_number, rows[0])) < len(BAR_COLUMNS)
    names = columns
    notes: list[str] = []
    if columns is None and not named:
        names, notes = _names_above(lines[:skipped], separator, rows)
    if skipped and not notes:
        notes.append(f"{skipped} line(s) above the table left out: {lines[0].strip()[:60]!r}")
    if named and len(rows) > 1 and rows[1][0].strip().lower() == "ticker":
        raise BarsError(f"columns have two levels, as yfinance writes them; {_ONE_LEVEL}")
    if separator != ",":
        notes.append(f"columns separated by {separator!r}")
    table = _pandas_csv(content, separator, skipped, named, as_text)
    if not as_text and any(has_marks(table[column]) for column in table.columns):
        table = _pandas_csv(content, separator, skipped, named, as_text=True)
    if named:
        return RawTable(table, "CSV", notes=tuple(notes))
    if names is not None and columns is None:
        return RawTable(table.set_axis(list(names), axis=1), "CSV", notes=tuple(notes))
    raw = _without_names(table, "CSV", columns)
    return RawTable(raw.table, raw.form, raw.named, (*notes, *raw.notes))


def _pandas_csv(content: bytes, separator: str, skipped: int, named: bool, as_text: bool) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are cut to the width of the header
        table: pd.DataFrame = pd.read_csv(
            io.BytesIO(content), encoding="utf-8-sig", sep=separator, skiprows=skipped, header=0 if named else None,
            skipinitialspace=True, index_col=False, dtype=str if as_text else None,
        )  # fmt: skip
    return table


def _names_above(lines: list[str], separator: str, rows: list[list[str]]) -> tuple[tuple[str, ...] | None, list[str]]:
    """The names in a line above rows of another width, fitted to them; None where no line holds names of prices.

    Raises:
        BarsError: names that may belong to the rows in more than one way, or in none.
    """
    for number in range(len(lines), 0, -1):
        names = [name.strip() for name in next(csv.reader([lines[number - 1]], delimiter=separator), [])]
        if len({"open", "high", "low", "close"} & set(map(plain_price, names))) == 4:
            break
    else:
        return None, []
    width = len(rows[0])
    if len(names) == width + 1 and not names[-1]:
        return tuple(names[:-1]), [f"line {number} ends in a separator that the rows lack"]
    ends_empty = all(len(row) == width and not row[-1].strip() for row in rows)
    if len(names) == width - 1 and ends_empty:
        return (*names, "(empty)"), [f"each row ends in a separator that line {number}, which names the columns, lacks"]
    leading, trailing = ["index", *names], [*names, "(unnamed)"]
    if len(names) == width - 1 and _plausible(leading, rows) and not _plausible(trailing, rows):
        return tuple(leading), [f"line {number} has no name for the first column, an index"]
    raise BarsError(
        f"line {number} names {len(names)} columns, the rows below it have {width} fields; mend the line, or name all "
        f"fields in order with columns=, such as columns={tuple(leading[:width])}"
    )


def _plausible(names: list[str], rows: list[list[str]]) -> bool:
    # Whether prices under these names could be prices of bars, and no name of a price stands over something else.
    at = {price: i for i, name in enumerate(names) if (price := plain_price(name)) is not None}
    for row in rows:
        try:
            prices = {price: float(row[i].replace(",", ".")) for price, i in at.items()}
        except (ValueError, IndexError):
            return False
        if not 0.0 < prices["low"] <= min(prices.values()) or prices["high"] < max(prices.values()):
            return False
    return True


def _usual(widths: list[int]) -> int:
    # Of the rows: the first line may be the names, in another number; the last may be cut off.
    rows = [width for width in widths[1:-1] if width] or [width for width in widths if width] or [0]
    return statistics.mode(rows)


def _separator(lines: list[str]) -> tuple[str, list[int]]:
    # The comma last: it may be a decimal one.
    for mark in ";\t|,":
        widths = [len(next(csv.reader([line], delimiter=mark), [])) for line in lines]
        if _usual(widths) >= len(BAR_COLUMNS):
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
