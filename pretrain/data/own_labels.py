"""A user's own labels: a file or a table of times, joined to the bars of a market.

Each column beside the time is something to learn, with a head of its own. Times are the OPEN of the bar that a label
is of; the extractor says it at that bar's close. An empty cell is no label.

A column holds, by what stands in it:

- classes, where it holds text, truth values, or at most `MOST_NUMBERED` different whole numbers: named as in the file;
- target exposures, where its name begins with exposure, target or position: the first such column also trains the
  head of actions, by the nearest of the positions; its own head has the exposures as classes where all of them are
  positions;
- numbers otherwise.

A column whose name ends with a longer timeframe of the market, as "trend_4h", and whose labels lie at least that far
apart is of the bars of that timeframe.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bar_files.columns import TIME_NAMES, plain_name, plain_price
from cryptoenv.bar_files.formats import read_raw_table
from cryptoenv.bar_files.reading import read_bars
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.timeframe import bar_open_ms, timeframe_ms
from cryptoenv.bars.times import TimeReading, utc_times
from cryptoenv.features.spec import FeatureSpec
from cryptoenv.market.market import Market
from pretrain.data.label_column import LabelColumn
from pretrain.data.labelled_market import LabelledMarket
from pretrain.data.splits import Span
from synthetic.labels.path import NO_LABEL

MOST_NUMBERED = 20  #: different whole numbers that are still classes
_EXPOSURES = ("exposure", "target", "position")
_OF_TIMEFRAME = re.compile(r"(?:^|[ _.\-])([1-9][0-9]*[a-zA-Z]+)$")
Table = pd.DataFrame | pd.Series | str | Path


class LabelsError(BarsError):
    """Labels that cannot be learned from; the message names row and column."""


def labelled_market(
    bars: Market | pd.DataFrame | str | Path,
    labels: Table,
    *,
    timeframes: Sequence[str] = ("15m", "4h", "1d"),
    features: FeatureSpec | None = None,
    positions: tuple[float, ...] = (-1.0, 0.0, 1.0),
    classes: Mapping[str, Sequence[str]] | None = None,
    time_zone: str | None = None,
) -> LabelledMarket:
    """A market with a user's own labels; what `fit_extractor` learns from.

    Args:
        bars: a market, or bars (a table or a file) that one is made of.
        labels: a table with the times as its index, or as a column; or a CSV, JSON, Parquet or Feather file of one.
        timeframes: of the market that is made, the base first.
        features: of the market that is made.
        positions: exposures that the action head chooses from.
        classes: classes by column, where others than the table's own are allowed; needed for several markets.
        time_zone: of times that do not say theirs, e.g. "UTC".

    Returns:
        The market with a `LabelColumn` per column; labels of actions where a column holds exposures, else none.

    Raises:
        FileNotFoundError: no such file.
        LabelsError: no time column, a time off the grid, outside the bars or there twice, a column without labels or
            with one and the same label, a class that is not allowed, an exposure beyond the positions.
        BarsError, ValueError: bars that no market can be made of.
    """
    if isinstance(bars, str | Path):
        bars = read_bars(bars)
    market = bars if isinstance(bars, Market) else Market.from_bars(bars, timeframes, features=features)
    where = f"{labels}: " if isinstance(labels, str | Path) else "labels: "
    try:
        table = _table(labels, TimeReading(time_zone))
        return _joined(market, table, positions, {} if classes is None else classes)
    except BarsError as error:
        raise LabelsError(f"{where}{error}") from error


def labelled_spans(markets: Sequence[LabelledMarket], spans: Sequence[Span]) -> tuple[LabelledMarket, ...]:
    """What some spans of `pretrain.data.splits` cut out of labelled markets, as the spans number them.

    Raises:
        LabelsError: a span without a label of any kind.
    """
    found = []
    for span in spans:
        item = markets[span.market]
        inside = slice(span.start, span.stop)
        if not (item.labels[inside] != NO_LABEL).any() and not any(c.known[inside].any() for c in item.columns):
            first, last = (f"{item.market.bars.index[row]:%Y-%m-%d %H:%M}" for row in (span.start, span.stop - 1))
            raise LabelsError(f"market {span.market} has no label from {first} to {last}; bring labels of all its time")
        found.append(
            LabelledMarket(item.market, item.labels, None, span.start, span.stop, item.label_kind, item.columns)
        )
    return tuple(found)


def classes_of(item: LabelledMarket) -> dict[str, tuple[str, ...]]:
    """The classes of its columns by name, for `labelled_market` of a further market."""
    return {column.name: column.classes for column in item.columns}


def _table(labels: Table, reading: TimeReading) -> pd.DataFrame:
    """Labels as they stand, on a UTC index of times, in the order of the table."""
    if isinstance(labels, str | Path):
        file = Path(labels)
        if not file.is_file():
            raise FileNotFoundError(f"no such file: {file}")
        labels = read_raw_table(file.read_bytes()).table
    table = labels.to_frame(labels.name or "label") if isinstance(labels, pd.Series) else labels
    table = table.rename(columns=lambda name: str(name).strip())
    for name in table.columns:
        if list(table.columns).count(name) > 1:
            raise LabelsError(f"column {name!r} is there more than once; allowed: once")
    by_name = {plain_name(name): str(name) for name in table.columns}
    column = next((by_name[name] for name in TIME_NAMES if name in by_name), None)
    if isinstance(table.index, pd.DatetimeIndex):
        times = table.index.to_series().rename(str(table.index.name or "timestamp"))
    elif column is None:
        raise LabelsError(f"no column of times in {list(table.columns)}; needed: the open of each bar, as 'timestamp'")
    else:
        times, table = table[column], table.drop(columns=column)
    kept = [name for name in table.columns if plain_price(name) is None and plain_name(name) != "volume"]
    if not kept:
        raise LabelsError(f"no column of labels beside {times.name!r}; needed: classes, exposures or numbers")
    return table[kept].set_axis(utc_times(times, reading)[0], axis=0)


@dataclass(frozen=True)
class _Place:
    """Where a column's labels stand: rows of the table, and of the market's base bars."""

    table: NDArray[np.int64]
    market: NDArray[np.int64]


def _joined(
    market: Market, table: pd.DataFrame, positions: tuple[float, ...], classes: Mapping[str, Sequence[str]]
) -> LabelledMarket:
    labels = np.full((len(market), len(positions)), NO_LABEL, np.int8)
    columns: list[LabelColumn] = []
    acted: str | None = None
    if missing := [name for name in classes if name not in table.columns]:
        raise LabelsError(f"column {missing[0]!r} is missing in {list(table.columns)}; the other labels have it")
    for name in table.columns:
        if classes and name not in classes:
            raise LabelsError(f"column {name!r} is none of those that the other labels have: {list(classes)}")
        cells = _cells(table[name])
        place = _place(market, table.index, cells, str(name))
        allowed = tuple(classes[name]) if name in classes else None
        column, exposures = _column(cells, place, (str(name), len(market)), positions, allowed)
        columns.append(column)
        if exposures is not None and acted is None:
            acted = str(name)
            nearest = np.abs(exposures[:, None] - np.array(positions)).argmin(axis=1)
            labels[place.market] = nearest[:, None].astype(np.int8)
    kind = "own labels: " + ", ".join(str(name) for name in table.columns)
    return LabelledMarket(market, labels, label_kind=kind, columns=tuple(columns))


def _cells(column: pd.Series) -> pd.Series:
    """Text stripped, empty text missing, whatever has a number in every cell as numbers."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_numeric_dtype(column.dtype):
        return column
    text = column.map(lambda cell: str(cell).strip(), na_action="ignore")
    text = text.where(text != "")
    numbers = pd.to_numeric(text, errors="coerce")
    return numbers if bool((numbers.notna() == text.notna()).all()) else text


def _place(market: Market, times: pd.Index, cells: pd.Series, name: str) -> _Place:
    """Rows of the labels of a column.

    Raises:
        LabelsError: none, or a time that no bar opens at, that is there twice, or that lies outside the bars.
    """
    rows = np.flatnonzero(cells.notna().to_numpy())
    if len(rows) == 0:
        raise LabelsError(f"column {name!r} holds no label at all; leave it out")
    opens = pd.DatetimeIndex(times[rows]).as_unit("us").asi8
    base = timeframe_ms(market.timeframes[0])
    timeframe = _timeframe(market, name, opens)
    duration = timeframe_ms(timeframe)

    def refuse(bad: NDArray[np.bool_], problem: str) -> None:
        if bad.any():
            row = rows[int(bad.argmax())]
            raise LabelsError(f"row {row} ({times[row].isoformat()}), column {name!r}: {problem}")

    grid = np.array([bar_open_ms(int(ms), duration) for ms in opens // 1000])
    refuse(grid * 1000 != opens, f"no bar of {timeframe} opens then; allowed: the open of a bar, in UTC")
    order = np.argsort(opens, kind="stable")
    twice = np.zeros(len(opens), np.bool_)
    twice[order[1:]] = np.diff(opens[order]) == 0
    refuse(twice, "this time is there twice; allowed: one label a bar")
    first, last = market.start_ms, market.start_ms + len(market) * base
    span = " to ".join(pd.Timestamp(ms, unit="ms", tz="UTC").isoformat() for ms in (first, last))
    outside = (grid < first) | (grid + duration > last)
    refuse(outside, f"this bar is not within the bars of the market, {span}; bring its bars, or cut the labels")
    return _Place(rows, (grid + duration - first) // base - 1)


def _timeframe(market: Market, name: str, opens: NDArray[np.int64]) -> str:
    """The timeframe whose bars a column's labels are of: the one its name ends with, where they lie that far apart."""
    found = _OF_TIMEFRAME.search(name)
    if found is None or found[1] not in market.timeframes or len(opens) < 2:
        return market.timeframes[0]
    usual = float(np.median(np.diff(np.sort(opens)))) / 1000.0
    return found[1] if usual >= timeframe_ms(found[1]) else market.timeframes[0]


def _column(
    cells: pd.Series,
    place: _Place,
    of: tuple[str, int],
    positions: tuple[float, ...],
    allowed: tuple[str, ...] | None,
) -> tuple[LabelColumn, NDArray[np.float64] | None]:
    """A column beside the bars, and its exposures where it holds such; `of`: its name, and the number of bars."""
    name, length = of
    told = cells.iloc[place.table]
    if told.nunique() < 2 and allowed is None:
        raise LabelsError(
            f"column {name!r}: all {len(told)} labels are {told.iloc[0]!r}; nothing is learned from that: leave it out"
        )
    values = np.full(length, np.nan, np.float32)
    exposures = _exposures(told, place, name, positions)
    names = None if allowed == () else _class_names(told, exposures, positions, named=bool(allowed))
    if names is None:
        values[place.market] = _numbers(told, place, name)
        return LabelColumn(name, (), values), exposures
    known = tuple(allowed) if allowed else _ordered(told, names, exposures, positions)
    number = {one: index for index, one in enumerate(known)}
    for row, one in zip(place.table, names, strict=True):
        if one not in number:
            where = f"row {row} ({cells.index[row].isoformat()}), column {name!r}"
            raise LabelsError(f"{where}: class {one!r} is unknown; the other labels have {list(known)}")
    values[place.market] = [number[one] for one in names]
    return LabelColumn(name, known, values), exposures


def _exposures(told: pd.Series, place: _Place, name: str, positions: tuple[float, ...]) -> NDArray[np.float64] | None:
    if not plain_name(name).startswith(_EXPOSURES) or not _is_numeric(told):
        return None
    found = _numbers(told, place, name)
    beyond = (found < positions[0]) | (found > positions[-1])
    if beyond.any():
        at = int(beyond.argmax())
        where = f"row {place.table[at]} ({told.index[at].isoformat()}), column {name!r}"
        allowed = f"{positions[0]:g} to {positions[-1]:g}"
        raise LabelsError(f"{where}: exposure {found[at]:g} is beyond the positions; allowed: {allowed}")
    return found


def _numbers(told: pd.Series, place: _Place, name: str) -> NDArray[np.float64]:
    found = pd.to_numeric(told, errors="coerce").to_numpy(dtype=np.float64)
    if not np.isfinite(found).all():
        at = int((~np.isfinite(found)).argmax())
        where = f"row {place.table[at]} ({told.index[at].isoformat()}), column {name!r}"
        raise LabelsError(f"{where}: {told.iloc[at]} is no finite number, as the other labels are")
    return found


def _class_names(
    told: pd.Series, exposures: NDArray[np.float64] | None, positions: tuple[float, ...], *, named: bool
) -> list[str] | None:
    """The class of each label, named as in the file; None where the column holds numbers. `named`: it has classes."""
    if not _is_numeric(told):
        return [str(cell) for cell in told]
    numbers = told.to_numpy(dtype=np.float64)
    whole = bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())
    few = whole and len(np.unique(numbers)) <= MOST_NUMBERED
    if named or (few if exposures is None else bool(np.isin(numbers, positions).all())):
        return [f"{one:.15g}" for one in numbers]
    return None


def _ordered(
    told: pd.Series, names: list[str], exposures: NDArray[np.float64] | None, positions: tuple[float, ...]
) -> tuple[str, ...]:
    """The classes: all positions of exposures, numbers by size, text by the alphabet."""
    if exposures is not None:
        return tuple(f"{one:.15g}" for one in positions)
    return tuple(sorted(set(names), key=float) if _is_numeric(told) else sorted(set(names)))


def _is_numeric(cells: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype)
