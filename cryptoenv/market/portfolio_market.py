"""`PortfolioMarket`: several assets on one clock, and the pool of them that a portfolio env trades.

Shapes: `A` assets, `M` portfolios, `K` timeframes. Nothing is copied: jitted code reads each asset's own arrays through
a table of addresses, an asset's bar being the portfolio's bar less the asset's offset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cryptoenv.bars.timeframe import timeframe_ms
from cryptoenv.market.market import Market
from cryptoenv.market.pool import DEFAULT_TIMEFRAMES, one_market
from cryptoenv.market.table import FIRST, LAST, MarketArrays, market_row
from synthetic.regimes.chain_task import RegimeTask
from synthetic.regimes.correlated_market import correlated_market
from synthetic.regimes.tasks import find_task, seeds_of


@dataclass(frozen=True, eq=False)
class PortfolioMarket:
    """Assets that are traded together.

    The clock runs from the first asset's first bar to the last one's last. Assets may begin later (listed) or end
    earlier (delisted); an asset is there from its first bar with whole windows to its last.

    Attributes:
        names: A names. markets: A markets of the same timeframes and features, on one grid.
    """

    names: tuple[str, ...]
    markets: tuple[Market, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.markets) or len(set(self.names)) != len(self.names):
            raise ValueError(f"names={self.names} must be different, one for each of the {len(self.markets)} markets")
        first = self.markets[0]
        for name, market in zip(self.names, self.markets, strict=True):
            for what in ("timeframes", "feature_names"):
                if getattr(market, what) != getattr(first, what):
                    raise ValueError(
                        f"asset {name!r} has {what} {getattr(market, what)}, asset {self.names[0]!r} has "
                        f"{getattr(first, what)}; all assets must agree"
                    )
        begins, ends = [m.start_ms for m in self.markets], [m.start_ms + len(m) * self._base for m in self.markets]
        if max(begins) >= max(ends) or min(ends) <= min(begins):
            raise ValueError("the assets share no clock")

    @classmethod
    def from_bars(
        cls,
        bars: Mapping[str, Any],
        timeframes: Sequence[str] | None = None,
        *,
        funding: Mapping[str, pd.Series] | None = None,
    ) -> Self:
        """Builds a portfolio.

        Args:
            bars: by the asset's name: bars (a DataFrame), a file of them, a `Market`, its folder, or a sample.
            timeframes: base first. None: ("15m", "4h", "1d") for bars, a `Market`'s own.
            funding: rates of perpetuals by the asset's name, as `Market.from_bars` takes them.

        Raises:
            ValueError, TypeError: no assets, or one that cannot be used; the asset is named.

        Example:
            >>> from cryptoenv.market.portfolio_market import PortfolioMarket
            >>> from synthetic.regimes.correlated_market import correlated_market
            >>> drawn = correlated_market(assets=2, days=2, seed=1)
            >>> market = PortfolioMarket.from_bars({name: sample.bars for name, sample in drawn.assets.items()})
            >>> market.names, len(market)
            (('asset-0', 'asset-1'), 5568)
        """
        if not isinstance(bars, Mapping) or not bars:
            raise TypeError("bars must be a dict of bars by the asset's name, with one asset at least")
        rates = dict(funding or {})
        unknown = sorted(set(rates) - set(bars))
        if unknown:
            raise ValueError(f"funding is given for {unknown}, which are no assets; assets are {sorted(bars)}")
        made = []
        for name, source in bars.items():
            try:
                made.append(one_market(source, None if timeframes is None else tuple(timeframes), rates.get(name)))
            except (ValueError, TypeError) as error:
                raise type(error)(f"asset {name!r}: {error}") from error
        return cls(tuple(str(name) for name in bars), tuple(made))

    @property
    def _base(self) -> int:
        return timeframe_ms(self.timeframes[0])

    @property
    def timeframes(self) -> tuple[str, ...]:
        """Timeframes of every asset, base first."""
        return self.markets[0].timeframes

    @property
    def start_ms(self) -> int:
        """Open of the clock's bar 0, milliseconds since the epoch."""
        return min(market.start_ms for market in self.markets)

    @property
    def offsets(self) -> tuple[int, ...]:
        """(A,) the clock's bar at which each asset's bar 0 lies."""
        return tuple((market.start_ms - self.start_ms) // self._base for market in self.markets)

    def __len__(self) -> int:
        return max(offset + len(market) for offset, market in zip(self.offsets, self.markets, strict=True))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def rows(self, window: tuple[int, ...]) -> NDArray[np.int64]:
        """(A, 5 + 3K + 1) int64: each asset's row of a market table, first and last bar by its own count, its offset.

        Raises:
            ValueError: an asset too short for the windows, or no bar to trade once all have been listed.
        """
        rows = []
        for name, offset, market in zip(self.names, self.offsets, self.markets, strict=True):
            try:
                span = (market.first_decision(window), len(market) - 1)
            except ValueError as error:
                raise ValueError(f"asset {name!r}: {error}") from error
            row = market_row(0, MarketArrays(market.prices, market.align, market.features), span)
            rows.append(np.append(row, offset))
        table = np.array(rows)
        if (table[:, FIRST] + table[:, -1]).max() >= (table[:, LAST] + table[:, -1]).max():
            raise ValueError("no bar is left to trade once the last asset has whole windows; bring more bars")
        return table


@dataclass(frozen=True)
class CorrelatedTask:
    """Synthetic portfolios: `assets` markets of a regime task whose noise has one common factor.

    Attributes:
        assets: A. task: name or parameters of a regime chain. correlation: of two assets' noise, in [0, 1).
    """

    assets: int = 4
    task: str | RegimeTask = "easy"
    correlation: float = 0.5

    def seed(self, split: str, number: int) -> int:
        """The seed of portfolio `number` of a family; its assets take it and the next ones."""
        name = f"portfolio-{find_task(self.task).name}"
        return seeds_of(name, split, 1)[0] + number * self.assets

    def draw(
        self, split: str, number: int, days: int, timeframes: tuple[str, ...] = DEFAULT_TIMEFRAMES
    ) -> PortfolioMarket:
        """Portfolio `number` of a family, of `days` tradable days."""
        drawn = correlated_market(self.task, self.assets, days, self.seed(split, number), self.correlation)
        markets = tuple(Market.from_bars(s.bars, timeframes, name=name) for name, s in drawn.assets.items())
        return PortfolioMarket(tuple(drawn.assets), markets)
