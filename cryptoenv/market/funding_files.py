"""Funding rates from a file as exchanges and ccxt give it, or from a store's series; what is doubtful is refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from cryptoenv.bar_files.columns import TIME_NAMES, plain_name
from cryptoenv.bar_files.formats import read_raw_table
from cryptoenv.bar_files.numbers import NumberReading, number_columns
from cryptoenv.bar_files.reading import table_times
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.times import TimeReading
from cryptoenv.market.funding import FRACTION, checked_rates
from cryptoenv.store.key import RATE
from cryptoenv.store.places import series_at

PERCENT = "percent"
FundingSource = pd.Series | str | os.PathLike[str]
"""Rates on a UTC index, a file of them, or the folder of a store's series."""
FundingArgument = FundingSource | Sequence[FundingSource | None] | None
RATE_NAMES = ("fundingrate", "rate", "lastfundingrate", "realizedrate", "realizedfundingrate", "funding")
_TIMES = (
    "fundingtime", "calctime", "fundingratetimestamp", "fundingtimestamp", "settlementtime", "settletime",
    "fundingdate", *TIME_NAMES,
)  # fmt: skip
_SYMBOLS = ("symbol", "pair", "instid", "instrument", "contract", "coin", "market")
_PERCENT_WORDS = ("%", "percent", "pct")
_LOG = logging.getLogger(__name__)


def read_funding(
    path: str | Path,
    *,
    time: str | None = None,
    rate: str | None = None,
    time_zone: str | None = None,
    unit: Literal["fraction", "percent"] | None = None,
) -> pd.Series:
    """Funding rates of one perpetual, as `Market.from_bars(funding=...)` takes them.

    The format is told by content (CSV, JSON, Parquet, Feather; gzip and zip too), columns by the names that exchanges
    and ccxt's `fetch_funding_rate_history` use, the unit of times by their size. A file that is newest first is turned
    round, a row that is there twice is taken once, and stamps up to five minutes off are snapped to the whole hour at
    which the rate fell due.

    Args:
        path: a file, or the folder of a store's series (STORE/EXCHANGE/SYMBOL/funding).
        time: column of the time at which a rate fell due.
        rate: column of the rate.
        time_zone: of times that do not say theirs, e.g. "UTC".
        unit: "percent" where 0.01 means 0.01 %, "fraction" where 0.0001 does, and is not to be doubted; None takes
            fractions (percent where the column's name or its cells say so) and refuses what looks otherwise.

    Returns:
        (R,) float64 `rate`, fractions of the position's value that longs pay to shorts, on increasing UTC hours
        `timestamp`.

    Raises:
        FileNotFoundError: no such file.
        BarsError: not a table of one perpetual's rates, or something is missing, doubtful or ambiguous; the message
            starts with the path. StoreError: a folder that holds no series of rates.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from cryptoenv import read_funding
        >>> lines = ["symbol,fundingTime,fundingRate", "BTCUSDT,1704067200004,0.0001", "BTCUSDT,1704096000000,-0.00005"]
        >>> with TemporaryDirectory() as folder:
        ...     file = Path(folder, "funding.csv")
        ...     _ = file.write_text("\\n".join(lines))
        ...     rates = read_funding(file)
        >>> rates.index[0], rates.tolist()
        (Timestamp('2024-01-01 00:00:00+0000', tz='UTC'), [0.0001, -5e-05])
    """
    place = Path(path)
    if unit not in (None, FRACTION, PERCENT):
        raise BarsError(f'unit is {unit!r}; allowed: "fraction" or "percent"')
    if not place.exists():
        raise FileNotFoundError(f"no such file of funding rates: {place}")
    try:
        if place.is_dir():
            store, key = series_at(place, funding=True)
            return _checked(store.read(key)[RATE], unit)
        table = read_raw_table(place.read_bytes()).table
        return _checked(_rates(table.rename(columns=lambda name: str(name).strip()), time, rate, time_zone, unit), unit)
    except BarsError as error:
        raise BarsError(f"{place}: {error}") from error


def rates_by_market(funding: FundingArgument, markets: int) -> tuple[pd.Series | None, ...]:
    """The rates of each of several markets, read where a path is given.

    Args:
        funding: rates or a path, of the one market; or one for each, in their order, None where a market has none;
            None for no rates at all.
        markets: how many.

    Raises:
        ValueError: not one for each. TypeError: neither rates nor a path. BarsError, FileNotFoundError: a file of rates
            that cannot be used.
    """
    if funding is None:
        return (None,) * markets
    given: list[Any] = list(funding) if isinstance(funding, list | tuple) else [funding]
    if len(given) != markets:
        raise ValueError(
            f"funding is given {len(given)} times for {markets} market(s): each perpetual has rates of its own, give "
            "them in the order of the markets"
        )
    for one in given:
        if one is not None and not isinstance(one, str | os.PathLike | pd.Series):
            raise TypeError(f"funding is {type(one).__name__}; allowed: a pandas Series of rates, or a path")
    return tuple(one if one is None or isinstance(one, pd.Series) else read_funding(Path(one)) for one in given)


def _rates(
    table: pd.DataFrame, time: str | None, rate: str | None, time_zone: str | None, unit: str | None
) -> pd.Series:
    """The column of rates, fractions, on the times of its rows, in their order."""
    if len(table) == 0:
        raise BarsError("the table has no rows; needed: funding rates and the times they fell due")
    _require_one_perpetual(table)
    named = _rate_column(table, rate)
    candidates = [time] if time is not None else _named(table, _TIMES)
    if time is not None and list(table.columns).count(time) != 1:
        raise BarsError(f"time={time!r} is not one column of the file; columns are {list(table.columns)}")
    if isinstance(table.index, pd.DatetimeIndex) and time is None:
        candidates = []
    elif not candidates:
        raise BarsError(f"no column of times in {list(table.columns)[:20]}; say which it is with time=")
    index, how, _ = table_times(table, candidates, TimeReading(time_zone))
    cells, percent = _without_signs(table[named])
    numbers = number_columns(cells.to_frame(), NumberReading())[0][named]
    if not pd.api.types.is_numeric_dtype(numbers.dtype):
        row = int(pd.to_numeric(numbers, errors="coerce").isna().to_numpy().argmax())
        raise BarsError(f"row {row}, column {named!r}: {numbers.iloc[row]!r} is no number; needed: funding rates")
    percent = percent or any(word in named.lower() for word in _PERCENT_WORDS)
    if percent and unit == FRACTION:
        raise BarsError(f'column {named!r} says percent, and unit="fraction" was given: leave unit out')
    scale = 0.01 if percent or unit == PERCENT else 1.0
    _LOG.info("funding rates in column %r%s, %s", named, ", percent" if scale != 1.0 else "", how)
    return pd.Series(numbers.to_numpy(dtype=np.float64) * scale, index, name=RATE)


def _named(table: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    return [str(column) for name in names for column in table.columns if plain_name(column) == name]


def _rate_column(table: pd.DataFrame, rate: str | None) -> str:
    if rate is not None:
        if list(table.columns).count(rate) != 1:
            raise BarsError(f"rate={rate!r} is not one column of the file; columns are {list(table.columns)}")
        return rate
    bare = {c: plain_name(c).removesuffix("percent").removesuffix("pct") for c in map(str, table.columns)}
    found = [column for name in RATE_NAMES for column, plain in bare.items() if plain == name]
    if not found:
        raise BarsError(f"no column of funding rates in {list(table.columns)[:20]}; say which it is with rate=")
    first = table[found[0]]
    for other in found[1:]:
        if isinstance(first, pd.DataFrame) or not first.equals(table[other]):
            raise BarsError(f"columns {found} may each hold the rates that were paid; say which with rate={found[0]!r}")
    return found[0]


def _without_signs(cells: pd.Series) -> tuple[pd.Series, bool]:
    """Cells without their per cent signs, and whether they had them."""
    if pd.api.types.is_numeric_dtype(cells.dtype):
        return cells, False
    text = cells.astype("string").str.strip()
    signed = text.str.endswith("%").fillna(False)
    if not signed.any():
        return cells, False
    if not bool((signed | text.isna()).all()):
        row = int((~signed & text.notna()).to_numpy().argmax())
        raise BarsError(f"row {row}, column {cells.name!r}: {cells.iloc[row]!r} has no per cent sign, as others have")
    return text.str.removesuffix("%").str.strip().astype(object), True


def _require_one_perpetual(table: pd.DataFrame) -> None:
    for column in _named(table, _SYMBOLS):
        several = table[column].dropna().unique()
        if len(several) > 1:
            raise BarsError(
                f"column {column!r} names {len(several)} perpetuals, {', '.join(map(str, several[:3]))}, ...: "
                "keep the rows of one"
            )


def _checked(rates: pd.Series, unit: str | None) -> pd.Series:
    """Rates oldest first, each once, on whole hours, doubted."""
    steps = np.diff(pd.DatetimeIndex(rates.index).asi8)
    if len(rates) > 1 and bool((steps < 0).all()):
        _LOG.info("funding rates are newest first: turned round")
        rates = rates[::-1]
    again = (np.diff(pd.DatetimeIndex(rates.index).asi8, prepend=0) == 0) & (rates == rates.shift()).to_numpy()
    if again.any():
        _LOG.info("%d row(s) of funding rates are there twice: taken once", int(again.sum()))
        rates = rates[~again]
    if unit is not None:
        rates.attrs["unit"] = FRACTION  # by the user's word
    times, values = checked_rates(rates)
    index = pd.DatetimeIndex((times * 1000).view("datetime64[us]"), tz="UTC", name="timestamp")
    out = pd.Series(values, index, name=RATE)
    out.attrs = dict(rates.attrs)
    return out
