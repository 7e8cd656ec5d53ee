"""Numbers as people write them: decimal commas, and dots, commas, apostrophes or blanks between thousands."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptoenv.bars.errors import BarsError

_BLANKS = re.compile("[\u0020\u00a0\u202f\u2009]")
_LOOKS_NUMERIC = re.compile(r"[+-]?\d[\d.,'’\u0020\u00a0\u202f\u2009]*(?:[eE][+-]?\d+)?")
_MARKS = ".,' "
_ASK = 'say which mark is which with decimal="," and thousands=".", or the other way round'


@dataclass(frozen=True)
class NumberReading:
    """How numbers in text are to be read.

    Attributes:
        decimal: the mark before decimals, "." or ","; None where the file tells.
        thousands: the mark between thousands, ".", ",", "'" or " "; None where the file tells.

    Raises:
        BarsError: other marks, or one for both.
    """

    decimal: str | None = None
    thousands: str | None = None

    def __post_init__(self) -> None:
        if self.decimal not in (None, ".", ","):
            raise BarsError(f'decimal is {self.decimal!r}; allowed: "." or ","')
        if self.thousands is not None and (self.thousands not in tuple(_MARKS) or self.thousands == self.decimal):
            raise BarsError(f"thousands is {self.thousands!r}; allowed: one of {tuple(_MARKS)}, not the decimal mark")

    @property
    def given(self) -> bool:
        """Whether anything is said."""
        return self.decimal is not None or self.thousands is not None


def has_marks(column: pd.Series) -> bool:
    """Whether a column of text holds numbers that pandas would not read as they are meant."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return False
    text = column.dropna().astype(str)
    if not len(text) or not _LOOKS_NUMERIC.fullmatch(text.iloc[0].strip()):
        return False
    return bool(text.str.strip().str.contains(r"[,'’\u0020\u00a0\u202f\u2009]|\..*\.").any())


def number_columns(table: pd.DataFrame, reading: NumberReading) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns of numbers as float64, and what had to be found out, in words.

    The marks are the same in all columns, and are told by all of them together. A column with a cell that is no number
    stays as it is; whoever checks rows names it.

    Raises:
        BarsError: the marks can be read in two ways, or in none.
    """
    plain = {name: _plain(table[name]) for name in table.columns}
    if not reading.given and all(values is not None for values in plain.values()):
        return pd.DataFrame(plain, index=table.index), ()
    texts = {name: _unified(table[name]) for name in table.columns if _is_text(table[name])}
    cells = pd.Series(pd.concat(list(texts.values())).dropna().unique() if texts else [], dtype="str")
    decimal, thousands = _marks(cells[cells.str.fullmatch(_LOOKS_NUMERIC)], reading)
    out = {}
    for name in table.columns:
        values = plain[name] if name not in texts else _converted(texts[name], table[name], decimal, thousands)
        out[name] = table[name] if values is None else values
    said = {",": "decimal commas", ".": ""}[decimal], f"{thousands!r} between thousands" if thousands else ""
    note = ", ".join(filter(None, said))
    return pd.DataFrame(out, index=table.index), (note,) if note else ()


def _is_text(values: pd.Series) -> bool:
    return not pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_datetime64_any_dtype(values.dtype)


def _plain(values: pd.Series) -> pd.Series | None:
    # None where a cell is no number as it stands.
    if pd.api.types.is_bool_dtype(values.dtype):
        return values
    if not pd.api.types.is_numeric_dtype(values.dtype):
        numbers = pd.to_numeric(values, errors="coerce")
        if (numbers.isna() & values.notna()).any():
            return None
        values = numbers
    return values.astype("float64")


def _unified(values: pd.Series) -> pd.Series:
    text = values.astype("object").where(values.notna(), None)
    return text.map(lambda cell: None if cell is None else _BLANKS.sub(" ", str(cell).strip()).replace("’", "'"))


def _converted(text: pd.Series, values: pd.Series, decimal: str, thousands: str) -> pd.Series | None:
    plain = text.str.replace(thousands, "", regex=False) if thousands else text
    plain = plain.str.replace(",", ".", regex=False) if decimal == "," else plain
    numbers = pd.to_numeric(plain, errors="coerce")
    return None if (numbers.isna() & values.notna()).any() else pd.Series(numbers, index=values.index, dtype=np.float64)


def _marks(cells: pd.Series, reading: NumberReading) -> tuple[str, str]:
    # The decimal mark and the mark of thousands ("" for none) under which every cell is a number.
    decimals = (reading.decimal,) if reading.decimal else (".", ",")
    grouped = (reading.thousands,) if reading.thousands is not None else ("", *_MARKS)
    fits = [(d, t) for d in decimals for t in grouped if d != t and cells.str.fullmatch(_written_with(d, t)).all()]
    without = [pair for pair in fits if pair[1] == ""]
    used = [pair for pair in fits if pair[1] and cells.str.contains(pair[1], regex=False).any()]
    if without and without[0][0] == "." and not cells.str.contains(",", regex=False).any():
        return without[0]  # 1.250 is a number as it stands where nothing else speaks of thousands
    sure = without + used
    if len(sure) == 1:
        return sure[0]
    if fits and not sure:
        return fits[0]
    shown = cells[cells.str.contains(r"[.,' ]")][:3].tolist()
    if not sure:
        raise BarsError(f"numbers such as {shown} are written in more than one way; {_ASK}, if one of them is right")
    raise BarsError(f"numbers such as {shown} may be read in two ways; {_ASK}")


def _written_with(decimal: str, thousands: str) -> re.Pattern[str]:
    group = rf"|[1-9]\d{{0,2}}(?:{re.escape(thousands)}\d{{3}})+" if thousands else ""
    return re.compile(rf"[+-]?(?:\d+{group})(?:{re.escape(decimal)}\d*)?(?:[eE][+-]?\d+)?")
