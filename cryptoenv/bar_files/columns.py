"""Which column of a file is which: the names that exchanges and data sites use for time, prices and volumes."""

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptoenv.bar_files.numbers import NumberReading, number_columns
from cryptoenv.bars.errors import BarsError
from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.volume_identity import VolumeIdentity, volume_identity

TIME_NAMES = (
    "unix", "timestamp", "time", "date", "datetime", "opentime", "unixtime", "unixtimestamp", "ts", "t", "start",
    "starttime", "begin", "opentimestamp", "timestampms", "dateutc", "timeutc", "datetimeutc", "candledatetimeutc",
    "startedat", "starttimestamp", "opentimems", "snappedat",
)  # fmt: skip
_INDEX_NAMES = ("index", "unnamed0")  # what pandas writes for an index without a name
_PRICE_NAMES = {
    name: (name, name[0], f"{name}price", f"price{name}", f"{name[:4]}ingprice") for name in BAR_COLUMNS[:4]
}
_BASE_NAMES = (
    "volume", "vol", "v", "basevolume", "volumebase", "volumefrom", "baseassetvolume", "basevol", "volbase",
    "basetokenvolume", "homenotional", "candleacctradevolume", "volumecoin", "coinvolume",
)  # fmt: skip
_QUOTE_NAMES = (
    "quotevolume", "volumequote", "quoteassetvolume", "volumeto", "turnover", "quotevol", "volquote", "volccyquote",
    "foreignnotional", "candleacctradeprice", "tradeturnover", "quotetokenvolume", "cost", "notional",
)  # fmt: skip
_EITHER_NAMES = (
    "amount",
    "volccy",
    "volumeccy",
    "volcurrency",
    "sum",
    "value",
)  # coins at some venues, money at others
_MONEY = (
    "USD", "USDT", "USDC", "BUSD", "TUSD", "FDUSD", "USDP", "DAI", "UST", "EUR", "GBP", "JPY", "KRW", "TRY", "BRL",
    "AUD", "CAD", "CHF", "RUB", "IDR", "INR", "UAH", "NGN", "ZAR", "PLN", "MXN", "ARS",
)  # fmt: skip
_OF_CURRENCY = re.compile(
    r"^(?:vol|volume)[ _\-(\[]+([A-Za-z0-9]{2,10})[)\]]?$|^([A-Za-z0-9]{2,10})[ _\-]+vol(?:ume)?$", re.I
)
_OF_MONEY = re.compile(rf"^(?:vol(?:ume)?({'|'.join(_MONEY)})|({'|'.join(_MONEY)})vol(?:ume)?)$", re.I)
_SYMBOL_NAMES = ("symbol", "pair", "tic", "ticker", "market", "instrument")
_NO_CURRENCY = ("BASE", "QUOTE", "FROM", "TO", "CCY", "TICK", "REAL", "TAKER", "BUY", "SELL", "TOKEN", "ASSET")
_SURE_ROWS, _SURE_SHARE = 10, 0.99


@dataclass(frozen=True)
class ColumnChoice:
    """Columns of a file by what they are.

    Attributes:
        times: candidates for the time at which a bar opens, likeliest first; none where the index holds it.
        prices: the file's names of open, high, low, close.
        volume: the base volume's.
        quote_volume: the quote volume's, or None.
        notes: guesses, in words.
    """

    times: tuple[str, ...]
    prices: dict[str, str]
    volume: str
    quote_volume: str | None
    notes: tuple[str, ...]


def plain_name(column: object) -> str:
    """A column's name without case, spaces and punctuation: "Open time" -> "opentime"."""
    return re.sub(r"[^a-z0-9]", "", str(column).lower())


def plain_price(column: object) -> str | None:
    """Which price a column's name stands for: "Open" -> "open"; None for other names."""
    name = plain_name(column)
    return next((price for price, allowed in _PRICE_NAMES.items() if name in allowed), None)


def choose_columns(table: pd.DataFrame, time: str | None, volume: str | None) -> ColumnChoice:
    """Tells the columns of a file apart.

    Args:
        table: columns named as in the file.
        time: the time's column, where the user says which.
        volume: the base volume's column, where the user says which.

    Raises:
        BarsError: one is missing, there twice, or cannot be told from another; the message names the argument to give.
    """
    names: dict[str, list[str]] = {}
    for column in table.columns:
        names.setdefault(plain_name(column), []).append(column)
    for argument, given in (("time", time), ("volume", volume)):
        if given is not None and list(table.columns).count(given) != 1:
            raise BarsError(f"{argument}={given!r} is not one column of the file; columns are {list(table.columns)}")
    prices = {price: _single(names, allowed, price, table) for price, allowed in _PRICE_NAMES.items()}
    times = [c for name in TIME_NAMES for c in names.get(name, [])]
    times = times or [c for name in _INDEX_NAMES for c in names.get(name, [])]
    if isinstance(table.index, pd.DatetimeIndex):
        times = []
    elif time is None and not times:
        raise _missing("the time column", table)
    base, quote, notes = _volumes(table, names, prices, volume)
    return ColumnChoice((time,) if time else tuple(times), prices, base, quote, tuple(notes))


def _missing(what: str, table: pd.DataFrame) -> BarsError:
    prices = {plain_price(column) for column in table.columns} | {plain_name(column) for column in table.columns}
    alone = "open" in what and prices & {"close", "price", "prices"}
    hint = "; a close alone is no bar: it stands beside bars (join_exogenous, --exogenous FILE@DELAY)" if alone else ""
    return BarsError(
        f"{what} is missing; columns are {list(table.columns)[:20]}; needed: {', '.join(BAR_COLUMNS)} "
        f"and the time of the bar's open (timestamp, time, date, unix, Open time, ... or named with time=){hint}"
    )


def _single(names: dict[str, list[str]], allowed: tuple[str, ...], what: str, table: pd.DataFrame) -> str:
    for name in allowed:
        found = names.get(name, [])
        if len(found) > 1:
            raise BarsError(f"column {what!r} is there more than once: {found}; allowed: one")
        if found:
            return found[0]
    raise _missing(f"column {what!r}", table)


def _volumes(
    table: pd.DataFrame, names: dict[str, list[str]], prices: dict[str, str], given: str | None
) -> tuple[str, str | None, list[str]]:
    base, quote, either = (
        [c for name in group for c in names.get(name, [])] for group in (_BASE_NAMES, _QUOTE_NAMES, _EITHER_NAMES)
    )
    named_base, symbol = list(base), _symbol(table, names)
    for column, currency in _currency_columns(table):
        side = _side(currency, symbol)
        if side == "quote":
            quote.append(column)
        elif side == "base" or not named_base:
            base.append(column)
    base, quote, either = (list(dict.fromkeys(group)) for group in (base, quote, either))
    if given is not None:
        return _as_told(table, given, [c for c in (*quote, *either, *base) if c != given], prices)
    candidates = base + quote + either
    if not candidates:
        raise _missing("column 'volume'", table)
    named = len(base) == 1 and len(quote) <= 1 and not (either and not quote)
    if named and not (quote and _fits_no_row(table, (base[0], quote[0]), prices)):
        return base[0], (quote or [None])[0], []  # type: ignore[list-item]
    pairs = [pair for pair in itertools.permutations(candidates, 2) if _proves(table, pair, prices)]
    if len({pair[0] for pair in pairs}) == 1:
        first, second = min(pairs, key=lambda pair: pair[1] not in quote)
        return first, second, [f"{first!r} is the base volume: {second!r} / it lies between low and high"]
    raise BarsError(_unknown_volume(table, candidates, bool(base), prices))


def _as_told(
    table: pd.DataFrame, given: str, others: list[str], prices: dict[str, str]
) -> tuple[str, str | None, list[str]]:
    # The user says which volume is the base one; a quote volume is taken beside it if no row speaks against it.
    proved = [other for other in others if _proves(table, (given, other), prices)]
    possible = proved or [other for other in others if not _fits_no_row(table, (given, other), prices)]
    quote = possible[0] if proved or (len(others) == 1 and possible) else None
    aside = [other for other in others if other != quote and _fits_no_row(table, (given, other), prices)]
    return given, quote, [f"{other!r} does not fit {given!r} and the price in any row: left aside" for other in aside]


def _unknown_volume(table: pd.DataFrame, candidates: list[str], any_base: bool, prices: dict[str, str]) -> str:
    if not any_base and len(candidates) == 1:
        return (
            f"{candidates[0]!r} is the only volume and seems to be in the quote currency; the base volume (coins) is "
            f"needed; if it is that, say so with volume={candidates[0]!r}"
        )
    say = f"say which one is with volume={candidates[-1]!r} or another of them"
    if all(_fits_no_row(table, pair, prices) for pair in itertools.combinations(candidates, 2)):
        return (
            f"columns {candidates} may each be the base volume (coins), but fit the price in no row, whichever is "
            f"which: one of them is in another unit, such as contracts; if a column holds coins, {say}"
        )
    return f"columns {candidates} may each be the base volume (coins), and their values do not tell; {say}"


def _currency_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    matches = [
        (column, _OF_CURRENCY.match(str(column).strip()) or _OF_MONEY.match(plain_name(column)))
        for column in table.columns
    ]
    found = [(column, (match[1] or match[2]).upper()) for column, match in matches if match]
    return [(column, currency) for column, currency in found if currency not in _NO_CURRENCY]


def _symbol(table: pd.DataFrame, names: dict[str, list[str]]) -> str:
    for name in _SYMBOL_NAMES:
        for column in names.get(name, []):
            symbols = table[column].dropna().unique()
            if len(symbols) > 1:
                raise BarsError(
                    f"column {column!r} holds {len(symbols)} markets ({', '.join(map(str, symbols[:3]))}, ...); "
                    "allowed: one market per file"
                )
            if len(symbols) == 1:
                return re.sub(r"[^A-Z0-9]", "", str(symbols[0]).upper())
    return ""


def _side(currency: str, symbol: str) -> str:
    if symbol and symbol.startswith(currency) != symbol.endswith(currency):
        return "base" if symbol.startswith(currency) else "quote"
    if currency in _MONEY:
        return "quote"
    return "unknown"


def _identity(table: pd.DataFrame, pair: tuple[str, ...], prices: dict[str, str]) -> VolumeIdentity:
    columns = number_columns(table[list(dict.fromkeys((*pair, prices["low"], prices["high"])))], NumberReading())[0]
    arrays = (pd.to_numeric(columns[c], errors="coerce") for c in (*pair, prices["low"], prices["high"]))
    return volume_identity(*(column.to_numpy(dtype=np.float64, na_value=np.nan) for column in arrays))


def _proves(table: pd.DataFrame, pair: tuple[str, str], prices: dict[str, str]) -> bool:
    identity = _identity(table, pair, prices)
    right, others = int(identity.right.sum()), int(identity.swapped.sum()) + int(identity.neither.sum())
    return right >= _SURE_ROWS and right >= _SURE_SHARE * (right + others)


def _fits_no_row(table: pd.DataFrame, pair: tuple[str, ...], prices: dict[str, str]) -> bool:
    # Nearly: a bar's price may happen to be the size of a contract.
    identity = _identity(table, pair, prices)
    neither, fits = int(identity.neither.sum()), int(identity.right.sum()) + int(identity.swapped.sum())
    return neither > 0 and neither >= _SURE_SHARE * (neither + fits)
