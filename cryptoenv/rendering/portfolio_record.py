"""What an episode of a portfolio showed at every bar, and its text panel. Shapes: `A` assets, `n` bars."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.portfolio_market import PortfolioMarket
from cryptoenv.rendering.record import drawdown, money_text, price_text
from cryptoenv.trading.account import (
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXPOSURE,
    INFO_WIDTH,
    ORDER_STATUS,
    RUINED,
    ExitKind,
    OrderStatus,
)

_FIRST_ROWS = 256
MOST_LINES = 12  #: assets that the text panel lists, the largest positions first


class PortfolioRecord:
    """What `info` showed at every bar of one episode; its memory grows with the episode and goes with it.

    Attributes:
        market: what is traded. label: of it. start: bar of the first decision, by the portfolio's clock.
    """

    def __init__(self, market: PortfolioMarket, label: str, start: int) -> None:
        self.market, self.label, self.start = market, label, start
        self._accounts = np.empty((_FIRST_ROWS, INFO_WIDTH))
        self._exposures = np.empty((_FIRST_ROWS, len(market.names)))
        self._closes = np.empty((_FIRST_ROWS, len(market.names)))
        self._positions = np.empty((len(market.names), INFO_WIDTH))
        self._count = 0

    def append(self, account: NDArray[np.float64], positions: NDArray[np.float64]) -> None:
        """Add a bar: (INFO_WIDTH,) float64 of the account, (A, INFO_WIDTH) of the positions."""
        if self._count == len(self._accounts):
            for name in ("_accounts", "_exposures", "_closes"):
                rows = getattr(self, name)
                setattr(self, name, np.concatenate([rows, np.empty_like(rows)]))
        self._accounts[self._count] = account
        self._exposures[self._count], self._closes[self._count] = positions[:, EXPOSURE], positions[:, CLOSE_PRICE]
        self._positions[:] = positions
        self._count += 1

    @property
    def equity(self) -> NDArray[np.float64]:
        """(n,) at each close; the first of the reset."""
        return self._accounts[: self._count, EQUITY]

    @property
    def exposures(self) -> NDArray[np.float64]:
        """(n, A) signed fractions of equity."""
        return self._exposures[: self._count]

    @property
    def closes(self) -> NDArray[np.float64]:
        """(n, A); 0 before an asset has one."""
        return self._closes[: self._count]

    @property
    def positions(self) -> NDArray[np.float64]:
        """(A, INFO_WIDTH) of the last bar."""
        return self._positions

    @property
    def bar(self) -> int:
        """Index of the last bar."""
        return self.start + self._count - 1

    @property
    def ruined(self) -> bool:
        """Whether the account is."""
        return bool(self._accounts[self._count - 1, RUINED])

    @property
    def held(self) -> NDArray[np.float64]:
        """(n,) equity of who bought equal parts of the assets that had a price at the start, at no cost, and held."""
        there = self.closes[0] > 0.0
        if not there.any():
            return np.full(self._count, float(self.equity[0]))
        return np.asarray(self.equity[0] * (self.closes[:, there] / self.closes[0, there]).mean(axis=1))

    @property
    def time(self) -> datetime:
        """UTC close of the last bar."""
        step = timeframe_ms(self.market.timeframes[0])
        return datetime.fromtimestamp((self.market.start_ms + (self.bar + 1) * step) / 1000.0, UTC)


def portfolio_text(record: PortfolioRecord) -> str:
    """The "ansi" frame: the account, then a line for each of its largest positions."""
    equity, exposures = record.equity, record.exposures[-1]
    falls, base = drawdown(equity), record.market.timeframes[0]
    since = record.bar - record.start
    lines = [
        f"{record.label} {base}  {record.time:%Y-%m-%d %H:%M} UTC  bar {record.bar} ({since} since the start)"
        f"{'  RUINED' if record.ruined else ''}",
        f"equity    {money_text(float(equity[-1]))} ({equity[-1] / equity[0] - 1.0:+z.2%}; equal parts held "
        f"{record.held[-1] / record.held[0] - 1.0:+z.2%})  drawdown {falls[-1]:.2%} (worst {falls.max():.2%})",
        f"exposure  gross {np.abs(exposures).sum():.2f}  net {exposures.sum():+z.2f}",
    ]
    largest = sorted(np.argsort(-np.abs(exposures), kind="stable")[:MOST_LINES].tolist())
    for j in largest:
        row = record.positions[j]
        status, left = OrderStatus(int(row[ORDER_STATUS])), ExitKind(int(row[EXIT_KIND]))
        told = [kind.name.lower().replace("_", " ") for kind in (status, left) if kind]
        price = price_text(row[CLOSE_PRICE]) if row[CLOSE_PRICE] > 0.0 else "-"
        line = f"{record.market.names[j]:>12.12s} {row[EXPOSURE]:+z8.3f}  {price:>12s}  {', '.join(told)}"
        lines.append(line.rstrip())
    if len(exposures) > MOST_LINES:
        lines.append(f"{'':>12s} and {len(exposures) - MOST_LINES} smaller ones")
    return "\n".join(lines) + "\n"
