"""The renderer behind the modes of `CryptoPortfolioEnv.render`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.market.portfolio_market import PortfolioMarket
from cryptoenv.rendering.portfolio_record import PortfolioRecord, portfolio_text
from cryptoenv.rendering.renderer import Renderer


class PortfolioRenderer(Renderer):
    """Records an episode of a portfolio and shows it in one mode."""

    def begin(  # type: ignore[override]
        self, market: PortfolioMarket, label: str, bar: int, account: NDArray[np.float64], held: NDArray[np.float64]
    ) -> None:
        """Begin an episode at `bar`; `account` is (INFO_WIDTH,), `held` (A, INFO_WIDTH) of the positions."""
        self._record = PortfolioRecord(market, label, bar)
        self.record(account, held)

    def _text(self) -> str:
        return portfolio_text(self._record)

    def _chart_class(self) -> type[Any]:
        from cryptoenv.rendering.portfolio_chart import PortfolioChart

        return PortfolioChart
