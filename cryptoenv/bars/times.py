"""The times in a file: seconds to nanoseconds since 1970, ISO 8601, dates as people write them; always to UTC."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptoenv.bars.errors import BarsError

_UTC_WORD = re.compile(r"\s*(?:UTC|GMT)$", re.IGNORECASE)
_UTC_ENDINGS = ("Z", ":00+00:00")  # of a time of day, not of a date: "2024-01-01" ends in neither
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}(?::?\d{2})?)$", re.IGNORECASE)
_SLASHED = re.compile(r"^(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?:[ T,]+(.*))?$")
_DATE = r"\d{4}-?\d{2}-?\d{2}|\d{4}[./]\d{2}[./]\d{2}|\d{1,2}([/.-])\d{1,2}\1\d{4}"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?(?:[AP]M))?(?:Z|\s?UTC|[+-]\d{2}:?\d{2})?"
# CryptoDataDownload before 2021: "2020-10-22 12-AM".
_TWELVE_HOURS = re.compile(r"^(\d{4}-\d{2}-\d{2}) (\d{1,2})((?::\d{2}){0,2})[- ]?([AP])M$", re.IGNORECASE)
_ALLOWED = (
    'allowed: ISO 8601 that says its offset (as "2024-01-01T00:00:00Z"), or whole numbers of seconds, milliseconds, '
    "microseconds or nanoseconds since 1970"
)
_ASK_TIME_ZONE = f'if it is, say so with time_zone="UTC", or name the zone it is in; {_ALLOWED}'
# 2009 and 2100 in seconds: the ranges of the units do not meet, so a number tells its own unit.
_EPOCH_FIRST, _EPOCH_LAST = 1_230_768_000, 4_102_444_800
_EPOCH_UNITS = (("seconds", 1), ("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9))


@dataclass(frozen=True)
class TimeReading:
    """How times that do not say it are to be read.

    Attributes:
        time_zone: of times without an offset, such as "UTC"; None asks.
        day_first: whether 03/04/2021 is the third of April; None asks where the file does not settle it.
    """

    time_zone: str | None = None
    day_first: bool | None = None


def joined_times(table: pd.DataFrame, names: tuple[str, str]) -> pd.Series:
    """Date and time of two columns as the text of one, (T,).

    Numbers are read as they are written: 20240131 as a date, 93000 or 930 as half past nine.

    Raises:
        BarsError: one of them is not one column of the table, or is no date or time of day.
    """
    for name in names:
        if list(table.columns).count(name) != 1:
            raise BarsError(
                f"time={names!r}: {name!r} is not one column of the file; columns are {list(table.columns)}"
            )
    date, clock = (_written(table[name]) for name in names)
    _refuse(~date.str.fullmatch(_DATE).fillna(False).to_numpy(dtype=bool), table[names[0]], "is no date", "a date")
    digits = clock.str.fullmatch(r"\d{1,6}").fillna(False)
    if digits.all():
        width = 6 if clock.str.len().max() > 4 else 4
        clock = clock.str.zfill(width).str.replace(r"(\d\d)(?=\d)", r"\1:", regex=True)
    _refuse(
        ~clock.str.fullmatch(_CLOCK).fillna(False).to_numpy(dtype=bool), table[names[1]], "is no time of day",
        "allowed: as 09:30, 09:30:00, 930 or 93000",
    )  # fmt: skip
    dashed = date.str.replace(r"^(\d{4})[./]?(\d{2})[./]?(\d{2})$", r"\1-\2-\3", regex=True)
    return (dashed + " " + clock).rename(f"{names[0]} {names[1]}")


def _written(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.dt.strftime("%Y-%m-%d").astype("string")
    if pd.api.types.is_float_dtype(values.dtype):
        values = values.astype("Int64")
    return values.astype("string").str.strip()


def utc_times(values: pd.Series, reading: TimeReading) -> tuple[pd.DatetimeIndex, str]:
    """UTC times (microseconds) of a column, and how they were read, in words.

    Args:
        values: (T,) numbers, text or datetimes; its name is used in errors.
        reading: settles what the column leaves open.

    Raises:
        BarsError: no time, or one that can be read in two ways; the message names row, column and the argument to give.
    """
    values = values.reset_index(drop=True)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return _in_utc(values, reading)
    if pd.api.types.is_bool_dtype(values.dtype):
        _refuse(np.ones(len(values), dtype=bool), values, "is no time")
    if not pd.api.types.is_numeric_dtype(values.dtype):
        if pd.to_numeric(values[:1], errors="coerce").isna().any():
            return _text_times(values, reading)
        numbers = pd.to_numeric(values, errors="coerce")
        _refuse(numbers.isna().to_numpy(), values, "is no number, as the first time is")
        values = pd.Series(numbers, name=values.name)
    return _epoch_times(values)


def _refuse(bad: np.ndarray, values: pd.Series, problem: str, allowed: str = _ALLOWED) -> None:
    if bad.any():
        row = int(bad.argmax())
        value = values.iloc[row]
        shown = value.item() if isinstance(value, np.generic) else value
        raise BarsError(f"row {row}, column {values.name!r}: {shown!r} {problem}; {allowed}")


def _epoch_times(values: pd.Series) -> tuple[pd.DatetimeIndex, str]:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse(~(numbers == np.floor(numbers)), values, "is no whole number of seconds, milliseconds or microseconds")
    whole = values.to_numpy(dtype=np.int64)
    micros, known, units = np.zeros(len(whole), dtype=np.int64), np.zeros(len(whole), dtype=bool), []
    for unit, per_second in _EPOCH_UNITS:
        mask = (whole >= _EPOCH_FIRST * per_second) & (whole < _EPOCH_LAST * per_second)
        if mask.any():
            micros[mask] = whole[mask] * (10**6 // per_second) if per_second <= 10**6 else whole[mask] // 1000
            units.append((unit, int(mask.sum())))
            known |= mask
    _refuse(~known, values, "is no time between 2009 and 2100 in any unit")
    how = units[0][0] if len(units) == 1 else "mixed units: " + ", ".join(f"{n} rows in {u}" for u, n in units)
    return _index(micros), f"{how} since 1970"


def _index(micros: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(micros.view("datetime64[us]"), tz="UTC", name="timestamp")


def _in_utc(values: pd.Series, reading: TimeReading) -> tuple[pd.DatetimeIndex, str]:
    _refuse(values.isna().to_numpy(), values, "is no time")
    index = pd.DatetimeIndex(values)
    if index.tz is not None:
        return index.tz_convert("UTC").as_unit("us").rename("timestamp"), f"times in {index.tz}"
    if reading.time_zone is None:
        _refuse(np.ones(len(values), dtype=bool), values, "does not say that it is UTC", _ASK_TIME_ZONE)
    try:
        local = index.tz_localize(reading.time_zone, ambiguous="raise", nonexistent="raise")
    except Exception as error:  # pytz and zoneinfo have their own classes
        raise BarsError(
            f"column {values.name!r} cannot be read with time_zone={reading.time_zone!r}: "
            f"{type(error).__name__}: {error}; allowed: a time zone in which each of these times exists once"
        ) from error
    said = f"times without a zone, read as {reading.time_zone}"
    return local.tz_convert("UTC").as_unit("us").rename("timestamp"), said


def _text_times(values: pd.Series, reading: TimeReading) -> tuple[pd.DatetimeIndex, str]:
    text = values.astype("string").str.strip()
    _refuse(text.isna().to_numpy(), values, "is no time")
    if text.str.endswith(_UTC_ENDINGS).all():
        parsed = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
        if parsed.notna().all():
            return pd.DatetimeIndex(parsed).as_unit("us").rename("timestamp"), "text in UTC"
    plain, how = text.str.replace(_UTC_WORD, "Z", regex=True), ""
    if _SLASHED.fullmatch(plain.iloc[0]):
        _refuse(~plain.str.fullmatch(_SLASHED).to_numpy(dtype=bool), values, "is written otherwise than the first date")
        plain, how = _year_first(plain, values, reading)
    if _TWELVE_HOURS.fullmatch(plain.iloc[0]):
        plain = plain.str.replace(_TWELVE_HOURS, _on_24_hours, regex=True)
    clock = plain.str.replace(r"^\d{4}-?\d{2}-?\d{2}", "", regex=True)
    offset = clock.str.contains(_OFFSET).to_numpy(dtype=bool) & (clock != "").to_numpy(dtype=bool)
    if offset.any():
        _refuse(~offset, values, "does not say its offset from UTC, as other rows do")
        parsed = pd.to_datetime(plain, format="ISO8601", utc=True, errors="coerce")
        _refuse(parsed.isna().to_numpy(), values, "is no time")
        zulu = bool(clock.str.contains(r"(?:Z|[+-]00:?(?:00)?)$", regex=True).all())
        said = "text in UTC" if zulu else "text with an offset, turned into UTC"
        return pd.DatetimeIndex(parsed).as_unit("us").rename("timestamp"), said + how
    parsed = pd.to_datetime(plain, format="ISO8601", errors="coerce")
    _refuse(parsed.isna().to_numpy(), values, "is no time")
    if reading.time_zone is None:
        _refuse(~offset, values, "does not say that it is UTC", _ASK_TIME_ZONE)
    index, said = _in_utc(pd.Series(parsed, name=values.name), reading)
    return index, said + how


def _on_24_hours(match: re.Match[str]) -> str:
    return f"{match[1]} {int(match[2]) % 12 + 12 * (match[4] in 'Pp'):02d}{match[3] or ':00'}"


def _year_first(text: pd.Series, values: pd.Series, reading: TimeReading) -> tuple[pd.Series, str]:
    # 03/04/2021: a number beyond 12 anywhere in the column settles which one is the day.
    parts = text.str.extract(_SLASHED)
    first, second = parts[0].astype(int).to_numpy(), parts[2].astype(int).to_numpy()
    day_first = reading.day_first
    if day_first is None:
        if (first > 12).any() == (second > 12).any():
            _refuse(
                np.ones(len(values), dtype=bool), values, "may be day/month or month/day",
                "say which with day_first=True or day_first=False",
            )  # fmt: skip
        day_first = bool((first > 12).any())
    day, month = (first, second) if day_first else (second, first)
    _refuse((month > 12) | (day > 31), values, f"is no date with day_first={day_first}")
    dates = parts[3] + "-" + pd.Series(month).astype(str).str.zfill(2) + "-" + pd.Series(day).astype(str).str.zfill(2)
    clock = parts[4].fillna("").str.strip()
    times = (dates + " " + clock).str.strip().astype("string")
    return times, f", {'day/month' if day_first else 'month/day'}"
