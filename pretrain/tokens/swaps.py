"""Real tokens: swaps of a decentralised exchange, or bars with a pool's columns, read into rows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from pretrain.tokens.hdf5_store import METADATA, TokenStore
from pretrain.tokens.series import SeriesError, TokenSeries
from synthetic.tokens.market import TokenConfig

BAR_SECONDS: Final = 5
DUST: Final = 0.05  #: quote value below which a swap says nothing about the price
FEWEST_ROWS: Final = 8
#: What a column is called in files of swaps or bars.
NAMES: Final = {
    "address": ("address", "mint", "token", "pool", "symbol"),
    "price": ("price", "price_sol", "price_quote", "close"),
    "value": ("value", "sol", "quote", "quote_amount"),
    "tokens": ("tokens", "token_amount", "base_amount", "amount"),
    "market_cap": ("market_cap", "market_cap_sol"),
}
ENDINGS: Final = (".csv", ".csv.gz", ".parquet")


def read_tokens(path: str | Path, bar_seconds: int = BAR_SECONDS) -> tuple[TokenSeries, ...]:
    """The tokens of a store's folder, or of a file of swaps or bars.

    Swaps: `timestamp`, an address (`address`, `mint`, ...), `side` ("buy" or "sell"), `price`, quote `value` and
    `tokens`; a `venue` column that names several venues keeps those of the pool ("AMM" in their name). Bars:
    `timestamp`, `price` or `close`, `volume`, `buys`, `sells`, perhaps an address. Where there is no `liquidity`, it is
    that of a constant-product pool as pump.fun opens it; where there is no market cap, supply is a billion.

    Args:
        path: of the folder or file.
        bar_seconds: length of a row that swaps are put into.

    Raises:
        SeriesError: columns are missing, or no token has rows enough. FileNotFoundError: no such file.
        StoreError: a store that cannot be used.
    """
    place = Path(path)
    if place.is_dir():
        if not (place / METADATA).is_file():
            raise SeriesError(f"{place} is no store of tokens: it has no {METADATA}")
        return TokenStore(place).read_all()
    if not place.is_file():
        raise FileNotFoundError(f"{place}: no such file; allowed: a store's folder, or a file that ends in {ENDINGS}")
    if not place.name.lower().endswith(ENDINGS):
        raise SeriesError(f"{place}: allowed are a store's folder, or files that end in {', '.join(ENDINGS)}")
    table = _table(place)
    if "side" in table.columns:
        return _from_swaps(table, place, bar_seconds)
    return _from_bars(table, place)


def _table(place: Path) -> pd.DataFrame:
    """What is in a file, by time."""
    try:
        table = pd.read_parquet(place) if place.suffix.lower() == ".parquet" else pd.read_csv(place)
    except (ValueError, OSError) as error:  # pandas' and Arrow's own errors are ValueErrors
        raise SeriesError(f"{place} cannot be read as a table: {error}") from error
    if "timestamp" not in table.columns:
        table = table.reset_index()
    if "timestamp" not in table.columns:
        raise SeriesError(f"{place}: column 'timestamp' is missing; it has {list(table.columns)}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a format that pandas has to guess
            times = pd.to_datetime(table["timestamp"], utc=True)
    except (ValueError, TypeError) as error:
        raise SeriesError(f"{place}: column 'timestamp' holds no times: {error}") from error
    return table.assign(timestamp=times).sort_values("timestamp", kind="stable")


def _column(table: pd.DataFrame, name: str, place: Path, *, needed: bool = True) -> str | None:
    for known in NAMES[name]:
        if known in table.columns:
            return known
    if needed:
        raise SeriesError(f"{place}: a column of {name} is missing; it may be called {', '.join(NAMES[name])}")
    return None


def _supply(table: pd.DataFrame, price: str, cap: str | None) -> float:
    if "supply" in table.columns:
        return float(table["supply"].iloc[0])
    return TokenConfig().supply if cap is None else float((table[cap] / table[price]).median())


def _liquidity(price: pd.Series) -> pd.Series:
    """Of a constant-product pool with the reserves that pump.fun's pools open with."""
    config = TokenConfig()
    return np.sqrt(config.quote_reserve * config.token_reserve * price)


def _from_swaps(table: pd.DataFrame, place: Path, bar_seconds: int) -> tuple[TokenSeries, ...]:
    names = ("address", "price", "value", "tokens")
    address, price, value, amount = (str(_column(table, name, place)) for name in names)
    cap = _column(table, "market_cap", place, needed=False)
    sides = set(table["side"].unique())
    if not sides <= {"buy", "sell"}:
        raise SeriesError(f"{place}: side is {sorted(map(str, sides - {'buy', 'sell'}))[0]!r}; allowed: buy, sell")
    if "venue" in table.columns and table["venue"].nunique() > 1:
        table = table[table["venue"].str.contains("AMM")]
    found = []
    for name, mine in table.groupby(address, sort=True):
        start = mine["timestamp"].iloc[0].floor(f"{bar_seconds}s")
        number = ((mine["timestamp"] - start).dt.total_seconds() // bar_seconds).astype(int)
        bought = mine["side"] == "buy"
        rows = pd.DataFrame(
            {
                # the median of a row: swaps of one second come in no certain order
                "price": mine[price].where(mine[value] >= DUST).groupby(number).median(),
                "volume": mine[amount].groupby(number).sum(),
                "buys": mine[value].where(bought, 0.0).groupby(number).sum(),
                "sells": mine[value].where(~bought, 0.0).groupby(number).sum(),
            }
        ).reindex(np.arange(int(number.max()) + 1))
        rows = rows.assign(price=rows["price"].ffill()).fillna({"volume": 0.0, "buys": 0.0, "sells": 0.0})
        rows = rows[rows["price"].notna()]
        if len(rows) < FEWEST_ROWS:
            continue
        rows.index = pd.DatetimeIndex(start + pd.to_timedelta(rows.index * bar_seconds, unit="s"))
        rows["liquidity"] = _liquidity(rows["price"])
        found.append(TokenSeries.from_bars(rows, str(name), _supply(mine, price, cap), source=place.name))
    return _some(found, place)


def _from_bars(table: pd.DataFrame, place: Path) -> tuple[TokenSeries, ...]:
    address = _column(table, "address", place, needed=False)
    price = str(_column(table, "price", place))
    cap = _column(table, "market_cap", place, needed=False)
    groups = [(place.name, table)] if address is None else list(table.groupby(address, sort=True))
    found = []
    for name, mine in groups:
        rows = mine.set_index("timestamp").rename(columns={price: "price"})
        if (twice := rows.index.duplicated()).any():
            raise SeriesError(f"{place}: {name!s:.80} has two rows at {rows.index[twice][0]}")
        if "liquidity" not in rows.columns:
            rows = rows.assign(liquidity=_liquidity(rows["price"]))
        if len(rows) >= FEWEST_ROWS:
            found.append(TokenSeries.from_bars(rows, str(name), _supply(mine, price, cap), source=place.name))
    return _some(found, place)


def _some(found: list[TokenSeries], place: Path) -> tuple[TokenSeries, ...]:
    if not found:
        raise SeriesError(f"{place}: no token has {FEWEST_ROWS} rows or more")
    return tuple(found)
