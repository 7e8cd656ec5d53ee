"""What an episode showed at every bar, and its summary in numbers and words."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.trading.account import (
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FILL_PRICE,
    FILL_QUANTITY,
    INFO_WIDTH,
    ORDER_STATUS,
    RUINED,
    ExitKind,
    OrderStatus,
)

if TYPE_CHECKING:
    pass

LONGEST_NAME = 28  #: characters of a market's name that are shown
_FIRST_ROWS = 256


class EpisodeRecord:
    """What `info` showed at every bar of one episode; its memory grows with the episode and goes with it.

    Attributes:
        market: what is traded. start: bar of the first decision.
    """

    def __init__(self, market: Market, label: str, start: int) -> None:
        self.market = market
        self.label = label
        self.start = start
        self._rows = np.empty((_FIRST_ROWS, INFO_WIDTH), dtype=np.float64)
        self._count = 0

    def append(self, shown: NDArray[np.float64]) -> None:
        """Add a bar: (INFO_WIDTH,) float64, the first columns of the account."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = shown
        self._count += 1

    @property
    def rows(self) -> NDArray[np.float64]:
        """(n, INFO_WIDTH) float64; row `i` belongs to bar `start + i`, row 0 to the reset."""
        return self._rows[: self._count]

    @property
    def bar(self) -> int:
        """Index of the last bar."""
        return self.start + self._count - 1


@dataclass(frozen=True)
class Summary:
    """The present of an episode in words and numbers.

    Attributes:
        name: market. timeframe: of the base bars. time: UTC close of the last bar. price: its close.
        exposure: signed fraction of equity. equity: in quote. change, hold: fraction won since the start by the account
            and by buying and holding (at no cost). drawdown, worst: fraction below the peak, now and at its deepest.
        order: the last order and what became of it. exit: the last intrabar exit, empty if there was none.
        ruined: whether the account is.
    """

    name: str
    timeframe: str
    time: datetime
    price: float
    exposure: float
    equity: float
    change: float
    hold: float
    drawdown: float
    worst: float
    order: str
    exit: str
    ruined: bool


def summarise(record: EpisodeRecord) -> Summary:
    """Summary of a record with at least one row."""
    rows, market = record.rows, record.market
    last = rows[-1]
    step = timeframe_ms(market.timeframes[0])
    drawdowns = drawdown(rows[:, EQUITY])
    return Summary(
        name=record.label if len(record.label) <= LONGEST_NAME else record.label[: LONGEST_NAME - 1] + "…",
        timeframe=market.timeframes[0],
        time=datetime.fromtimestamp((market.start_ms + (record.bar + 1) * step) / 1000.0, UTC),
        price=float(last[CLOSE_PRICE]),
        exposure=float(last[EXPOSURE]),
        equity=float(last[EQUITY]),
        change=float(last[EQUITY] / rows[0, EQUITY] - 1.0),
        hold=float(last[CLOSE_PRICE] / rows[0, CLOSE_PRICE] - 1.0),
        drawdown=float(drawdowns[-1]),
        worst=float(drawdowns.max()),
        order=_last_order(rows),
        exit=_last_exit(rows),
        ruined=bool(last[RUINED]),
    )


def drawdown(equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) fraction below the highest equity so far, of (n,) equity."""
    return 1.0 - equity / np.maximum.accumulate(equity)


def _last_order(rows: NDArray[np.float64]) -> str:
    dates = np.flatnonzero(rows[:, ORDER_STATUS])
    if dates.size == 0:
        return "none yet"
    row = rows[dates[-1]]
    status = OrderStatus(int(row[ORDER_STATUS])).name.lower().replace("_", " ")
    quantity = row[FILL_QUANTITY]
    side = "" if quantity == 0.0 else "buy " if quantity > 0.0 else "sell "
    price = f" at {price_text(row[FILL_PRICE])}" if quantity != 0.0 else ""
    return f"{side}{status}{price}, {_age(len(rows) - 1 - int(dates[-1]))}"


def _last_exit(rows: NDArray[np.float64]) -> str:
    dates = np.flatnonzero(rows[:, EXIT_KIND])
    if dates.size == 0:
        return ""
    row = rows[dates[-1]]
    kind = ExitKind(int(row[EXIT_KIND])).name.lower().replace("_", "-")
    return f"{kind} at {price_text(row[EXIT_PRICE])}, {_age(len(rows) - 1 - int(dates[-1]))}"


def _age(bars: int) -> str:
    return "now" if bars == 0 else f"{bars} bar{'s' if bars > 1 else ''} ago"


def price_text(price: float) -> str:
    """A price with five digits at least, two decimals at least."""
    decimals = 2 if price >= 100.0 else min(4 - math.floor(math.log10(price)), 12)
    return f"{price:,.{decimals}f}"


def money_text(amount: float) -> str:
    """An amount of quote currency, in a width that fits a line."""
    return f"{amount:,.2f}" if abs(amount) < 1e9 else f"{amount:.4g}"


def side_text(exposure: float) -> str:
    """ "long", "short" or "flat"."""
    return "long" if exposure > 0.0 else "short" if exposure < 0.0 else "flat"
