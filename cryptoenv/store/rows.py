"""Rows of a series in plain form: checked on the way in, merged with what is there, a DataFrame on the way out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from cryptoenv.bars.bars import require_utc, validate_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.store.key import RATE, SeriesKey, StoreError


@dataclass(frozen=True)
class Rows:
    """T rows of a series.

    Attributes:
        opens: (T,) int64, strictly increasing, milliseconds since the epoch.
        values: (T, C) float64, the columns of the series.
    """

    opens: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.opens)

    def between(self, start_ms: int, end_ms: int) -> Rows:
        """The rows that open in [start_ms, end_ms)."""
        first, last = np.searchsorted(self.opens, (start_ms, end_ms))
        return Rows(self.opens[first:last], self.values[first:last])


def no_rows(key: SeriesKey) -> Rows:
    """Zero rows of a series."""
    return Rows(np.empty(0, dtype=np.int64), np.empty((0, len(key.columns))))


def joined(key: SeriesKey, pieces: list[Rows]) -> Rows:
    """Pieces that follow each other in time, as one."""
    pieces = [no_rows(key), *pieces]
    return Rows(np.concatenate([p.opens for p in pieces]), np.concatenate([p.values for p in pieces]))


def frame_of(key: SeriesKey, rows: Rows) -> pd.DataFrame:
    """The rows as a DataFrame: float64 columns, index `timestamp` in UTC microseconds."""
    index = pd.DatetimeIndex((rows.opens * 1000).view("datetime64[us]"), tz="UTC", name="timestamp")
    return pd.DataFrame(rows.values, index=index, columns=list(key.columns), copy=False)


def checked_rows(key: SeriesKey, frame: pd.DataFrame, covered: tuple[int, int]) -> Rows:
    """The rows of a DataFrame that is right in every row and lies within `covered`.

    Raises:
        BarsError: the first row that is wrong, as in `validate_bars`; nothing of the frame may be stored then.
        StoreError: `covered` is empty or off the grid, or there are columns that the store does not keep.
    """
    _check_covered(key, covered)
    if not isinstance(frame, pd.DataFrame):
        raise BarsError(f"{key}: rows are {type(frame).__name__}; allowed: a DataFrame with columns {key.columns}")
    if further := [column for column in frame.columns if column not in key.columns]:
        raise StoreError(f"{key}: columns {further} cannot be stored; allowed: {', '.join(key.columns)} and no other")
    if len(frame) == 0:
        return no_rows(key)
    valid = _valid_rates(frame) if key.is_funding else validate_bars(frame, key.timeframe, key.grid_ms)
    opens = pd.DatetimeIndex(valid.index).as_unit("ms").asi8
    outside = (opens < covered[0]) | (opens >= covered[1])
    if outside.any():
        position = int(outside.argmax())
        raise BarsError(
            f"{key}: row {position} ({iso(int(opens[position]))}) is outside the covered range "
            f"[{iso(covered[0])}, {iso(covered[1])}); allowed: rows of that range"
        )
    return Rows(opens, valid.to_numpy(dtype=np.float64) + 0.0)  # + 0.0: one zero, so that equal rows are equal bytes


def _check_covered(key: SeriesKey, covered: tuple[int, int]) -> None:
    start, end = covered
    offset = key.grid_ms
    if not start < end or (start - offset) % key.step_ms or (end - offset) % key.step_ms:
        raise StoreError(
            f"{key}: covered is [{start}, {end}) ms; allowed: start before end, both on the grid of {key.timeframe}"
        )


def _valid_rates(frame: pd.DataFrame) -> pd.DataFrame:
    if list(frame.columns) != [RATE] or not pd.api.types.is_float_dtype(frame[RATE].dtype):
        raise BarsError(f"funding has columns {dict(frame.dtypes.astype(str))}; needed: one, {RATE!r}, float64")
    index = require_utc(frame.index, "funding")
    times = index.as_unit("ns").asi8
    rules = (
        (~np.isfinite(frame[RATE].to_numpy(dtype=np.float64, na_value=np.nan)), "finite rates"),
        (times % 1_000_000 != 0, "times in whole milliseconds"),
        (np.diff(times, prepend=times[0] - 1) <= 0, "strictly increasing times"),
    )
    for bad, allowed in rules:
        if bad.any():
            position = int(bad.argmax())
            where = f"funding row {position} ({index[position].isoformat()})"
            raise BarsError(f"{where}, column {RATE!r} is {frame[RATE].iloc[position]!r}; allowed: {allowed}")
    return frame


def merged_rows(key: SeriesKey, stored: Rows, new: Rows, first_row: int = 0) -> Rows:
    """Both, each row once; `stored` itself where `new` adds nothing. `first_row`: what errors call the first of `new`.

    Raises:
        StoreError: a row of `new` differs from the stored one of that time.
    """
    places = np.searchsorted(stored.opens, new.opens)
    known = np.zeros(len(new), dtype=bool)
    inside = places < len(stored)
    known[inside] = stored.opens[places[inside]] == new.opens[inside]
    differs = known.copy()
    differs[known] = (stored.values[places[known]] != new.values[known]).any(axis=1)
    if differs.any():
        position = int(differs.argmax())
        where = f"{key}: row {first_row + position} ({iso(int(new.opens[position]))})"
        raise StoreError(
            f"{where} is {_named(key, new.values[position])}, but the "
            f"store has {_named(key, stored.values[places[position]])}; nothing was stored. The venue changed a closed "
            "bar, or the bar was not closed when it was stored"
        )
    if known.all():
        return stored
    opens = np.concatenate((stored.opens, new.opens[~known]))
    order = np.argsort(opens, kind="stable")
    return Rows(opens[order], np.concatenate((stored.values, new.values[~known]))[order])


def _named(key: SeriesKey, values: np.ndarray) -> dict[str, float]:
    return dict(zip(key.columns, values.tolist(), strict=True))


def iso(time_ms: int) -> str:
    """Milliseconds since the epoch as text, e.g. 2024-01-01T00:00:00+00:00."""
    return pd.Timestamp(time_ms, unit="ms", tz="UTC").isoformat()


def instant_ms(time: str | int | datetime, argument: str) -> int:
    """A time in milliseconds since the epoch: text is UTC unless it names an offset, whole numbers are milliseconds.

    Raises:
        StoreError: not a time, or a datetime without a time zone.
    """
    if isinstance(time, int | np.integer) and not isinstance(time, bool):
        return int(time)
    allowed = f'{argument} is {time!r}; allowed: "2024-01-01", "2024-01-01T08:00Z", ms since 1970, an aware datetime'
    if not isinstance(time, str | datetime):
        raise StoreError(allowed)
    try:
        stamp = pd.Timestamp(time)
    except ValueError as error:
        raise StoreError(allowed) from error
    if pd.isna(stamp) or (stamp.tzinfo is None and not isinstance(time, str)):
        raise StoreError(allowed)
    stamp = stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp
    return int(stamp.as_unit("ns").value // 1_000_000)
