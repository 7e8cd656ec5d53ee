"""What identifies a series in a store, and its folder: exchange/symbol/timeframe."""

import re
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cryptoenv.bars.price_columns import BAR_COLUMNS
from cryptoenv.bars.timeframe import DAY_MS, HOUR_MS, grid_offset_ms, timeframe_ms

FUNDING = "funding"
RATE = "rate"

# "/" and ":" have a character of their own; what is not plain is %XX of its UTF-8 bytes, and so is a leading dot.
_PLAIN = frozenset(string.ascii_letters + string.digits + "-.")
_SHORT = {"/": "_", ":": "+"}
_LONG = {short: char for char, short in _SHORT.items()}
_FOLDER = re.compile(r"([A-Za-z0-9.\-_+]|%[0-9A-F]{2})+")


class StoreError(ValueError):
    """A store, a series or a request that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, order=True)
class SeriesKey:
    """One series: bars of a timeframe, or the funding rates of a perpetual (timeframe "funding").

    Attributes:
        exchange: id as ccxt has it, e.g. "binance".
        symbol: as ccxt has it, e.g. "BTC/USDT", "BTC/USDT:USDT" for the perpetual.
        timeframe: "1m", "4h", ... or "funding".
        offset_ms: where the grid of bars longer than a day starts at the venue, in ms after the epoch (weeks that open
            on Thursday: 0); None for Mondays. A series that exists has its own, whatever is said here.

    Raises:
        StoreError: an empty name, a timeframe that is not known, or an offset that it cannot have.
    """

    exchange: str
    symbol: str
    timeframe: str
    offset_ms: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name in ("exchange", "symbol", "timeframe"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise StoreError(f"{name} is {value!r}; allowed: a name, e.g. binance, BTC/USDT, 1m")
        if not self.is_funding:
            try:
                timeframe_ms(self.timeframe)
            except ValueError as error:
                raise StoreError(f'{error}, or "{FUNDING}" for funding rates') from error
        offset = self.offset_ms
        if offset is None:
            return
        if self.step_ms <= DAY_MS or type(offset) is not int or offset % HOUR_MS or not 0 <= offset < self.step_ms:
            raise StoreError(f"{self}: offset_ms is {offset!r}; allowed: whole hours within a bar longer than a day")

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol} {self.timeframe}"

    @property
    def is_funding(self) -> bool:
        """Whether the series holds funding rates."""
        return self.timeframe == FUNDING

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the series: `rate`, or the five of bars."""
        return (RATE,) if self.is_funding else BAR_COLUMNS

    @property
    def step_ms(self) -> int:
        """Duration of a bar; 1 for funding rates, which have no grid (venues change the interval)."""
        return 1 if self.is_funding else timeframe_ms(self.timeframe)

    @property
    def grid_ms(self) -> int:
        """Where the grid of its bars starts, ms after the epoch."""
        return grid_offset_ms(self.step_ms) if self.offset_ms is None else self.offset_ms

    @property
    def period_unit(self) -> Literal["M", "Y"]:
        """What one Parquet file holds: a UTC month ("M") of bars below an hour, a UTC year ("Y") of anything else."""
        return "M" if not self.is_funding and self.step_ms < HOUR_MS else "Y"

    def folder(self, store: Path) -> Path:
        """The folder of the series in a store.

        Raises:
            StoreError: it, or one above it in the store, is a link: a foreign store must not lead out of itself.
        """
        folder = store / file_name(self.exchange) / file_name(self.symbol) / self.timeframe
        for place in (folder, *folder.parents[:2]):
            refuse_link(place)
        return folder


def refuse_link(folder: Path) -> None:
    """Raises StoreError where a link stands in the place of a store's folder."""
    if folder.is_symlink():
        raise StoreError(
            f"{folder} is a link; a store's folders are its own: put what it points to in its place (the store's "
            "topmost folder may be a link)"
        )


def file_name(name: str) -> str:
    """A name as a file name, e.g. BTC/USDT:USDT -> BTC_USDT+USDT; `name_of` is the inverse."""
    return "".join(_written(char, position) for position, char in enumerate(name))


def _written(char: str, position: int) -> str:
    if char in _PLAIN and (char != "." or position):
        return char
    return _SHORT.get(char) or "".join(f"%{byte:02X}" for byte in char.encode())


def name_of(folder: str) -> str | None:
    """The name that `file_name` made `folder` of; None where it made none."""
    if not _FOLDER.fullmatch(folder):
        return None
    raw = re.sub(r"%([0-9A-F]{2})|(.)", lambda m: chr(int(m[1], 16)) if m[1] else _LONG.get(m[2], m[2]), folder)
    try:
        name = raw.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return name if file_name(name) == folder else None


def key_of(exchange: str, symbol: str, timeframe: str) -> SeriesKey | None:
    """The key whose folder is exchange/symbol/timeframe; None for a folder that belongs to no series."""
    names = name_of(exchange), name_of(symbol)
    try:
        return SeriesKey(names[0] or "", names[1] or "", timeframe)
    except StoreError:
        return None
