"""Files of dated texts: CSV, or one JSON object per line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas as pd

from cryptoenv.files.bounded_json import parse_json

TIMES = ("timestamp", "time", "date", "datetime", "published", "published_at", "created_at")
TEXTS = ("text", "title", "body", "headline", "content")
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".ndjson", ".jsonl.gz")
MOST_CHARACTERS = 100_000  #: of one text


class TextsError(ValueError):
    """Texts that cannot be used; the message names file, row or column, and what is allowed."""


def read_texts(path: str | Path) -> pd.DataFrame:
    """Texts of a file, in the order of their times.

    Args:
        path: of a CSV file with a header, or of JSON lines, gzip too. Of the columns, the first of `TIMES` (UTC; ISO
            8601, or seconds or milliseconds since 1970) and the first of `TEXTS` are read.

    Returns:
        (n, 1) column `text` on a UTC index `timestamp`, increasing; several texts may have one time.

    Raises:
        TextsError: another ending, no such column, a time that is none, or an empty or endless text.
        FileNotFoundError: no such file.
    """
    file = Path(path)
    if not file.name.lower().endswith(ENDINGS):
        raise TextsError(f"{file}: texts are read from {', '.join(ENDINGS)}")
    try:
        table = pd.read_csv(file) if ".csv" in file.name.lower() else pd.DataFrame(_objects(file))
    except FileNotFoundError:
        raise
    except (ValueError, pd.errors.ParserError, UnicodeDecodeError, OSError) as error:
        raise TextsError(f"{file}: {' '.join(str(error).split())[:200]}") from error
    times = _moments(table[_column(table, TIMES, file)], file)
    texts = table[_column(table, TEXTS, file)]
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
            said = "empty" if not isinstance(text, str) or not text.strip() else f"{len(text):,} characters"
            raise TextsError(f"{file}: text of row {row} is {said}; allowed: 1 to {MOST_CHARACTERS:,} characters")
    out = pd.DataFrame({"text": texts.to_numpy()}, pd.DatetimeIndex(times, name="timestamp"))
    return out.sort_index(kind="stable")


def _objects(file: Path) -> list[dict[str, Any]]:
    """The object on each line; empty lines are nothing.

    Raises:
        ValueError: a line that holds none, by its number.
    """
    data, found = file.read_bytes(), []
    for number, line in enumerate((gzip.decompress(data) if file.suffix == ".gz" else data).splitlines(), start=1):
        if line.strip():
            one = parse_json(line, f"line {number}")
            if not isinstance(one, dict):
                raise ValueError(f"line {number} holds {type(one).__name__}, no object")
            found.append(one)
    return found


def _column(table: pd.DataFrame, names: tuple[str, ...], file: Path) -> str:
    found = {str(name).lower(): str(name) for name in table.columns}
    for name in names:
        if name in found:
            return found[name]
    raise TextsError(f"{file}: none of the columns {', '.join(names)} is among {list(table.columns)}")


def _moments(values: pd.Series[Any], file: Path) -> pd.DatetimeIndex:
    moments: Any
    unit: Any
    try:
        if pd.api.types.is_numeric_dtype(values):
            unit = "ms" if float(values.abs().max()) > 1e11 else "s"
            moments = pd.to_datetime(values, unit=unit, utc=True)
        else:
            moments = pd.to_datetime(values, utc=True, format="ISO8601")
    except (ValueError, TypeError, OverflowError) as error:
        raise TextsError(f"{file}: column {values.name!r}: {' '.join(str(error).split())[:200]}") from error
    if moments.isna().any():
        raise TextsError(f"{file}: row {int(moments.isna().to_numpy().argmax())} has no time")
    return pd.DatetimeIndex(moments)
