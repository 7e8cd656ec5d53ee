"""States of portfolio environments; see `cryptoenv.env.saved_state`. Shapes: `N` envs, `A` assets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.env.episode import BAR, CLOCK_WIDTH, MARKET
from cryptoenv.env.portfolio.episode import PortfolioRows, portfolio_span
from cryptoenv.env.portfolio.spec import PortfolioSpec
from cryptoenv.env.row_checks import check_account, check_clocks, check_position, require
from cryptoenv.env.saved_state import EnvState, StateError, check_belongs
from cryptoenv.files.package_version import PACKAGE_VERSION
from cryptoenv.trading.account import ACCOUNT_WIDTH, CLOSE_PRICE, QUANTITY
from cryptoenv.trading.portfolio_account import POSITION_WIDTH


@dataclass(frozen=True, eq=False)
class PortfolioState(EnvState):
    """Where N portfolio environments stand; an `EnvState` with positions.

    Attributes:
        accounts: (N, ACCOUNT_WIDTH) float64. clocks: (N, CLOCK_WIDTH) int64. targets: (N, A) float64.
        markets: N names of the rows' portfolios, 16 hex digits. version: of the package that took it.
        positions: (N, A, POSITION_WIDTH) float64.
    """

    FORMS: ClassVar[dict[str, tuple[type, tuple[int | None, ...]]]] = {
        "accounts": (np.float64, (ACCOUNT_WIDTH,)),
        "clocks": (np.int64, (CLOCK_WIDTH,)),
        "targets": (np.float64, (None,)),
        "positions": (np.float64, (None, POSITION_WIDTH)),
    }

    positions: NDArray[np.float64]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions.shape[1] != self.targets.shape[1]:
            raise StateError(f"the state has {self.positions.shape[1]} positions and {self.targets.shape[1]} targets")


def taken_portfolios(setup: PortfolioSpec, rows: PortfolioRows) -> PortfolioState:
    """The state of N environments, copied."""
    names = setup.market_names(rows.clocks[:, MARKET].tolist())
    return PortfolioState(
        rows.accounts.copy(), rows.clocks.copy(), rows.targets.copy(), names, PACKAGE_VERSION, rows.positions.copy()
    )


def put_portfolios(state: Any, setup: PortfolioSpec, rows: PortfolioRows) -> None:
    """Overwrite the state of N environments with one that belongs to them; another is refused and changes nothing.

    Raises:
        StateError: another number of rows or assets, another version's, of other markets, or of what no episode on them
            can have. TypeError: not a `PortfolioState`.
    """
    if not isinstance(state, PortfolioState):
        raise TypeError(
            f"a state is what get_state() gives or PortfolioState.from_bytes(...), got {type(state).__name__}"
        )
    check_belongs(state, len(rows.accounts), setup.count, setup.market_names)
    if state.targets.shape != rows.targets.shape:
        raise StateError(f"the state has {state.targets.shape[1]} assets and the env {rows.targets.shape[1]}")
    for market in np.unique(state.clocks[:, MARKET]).tolist():
        setup.make(market)
    try:
        _check(state, setup)
    except ValueError as error:
        raise StateError(str(error)) from error
    for name in PortfolioState.FORMS:
        getattr(rows, name)[:] = getattr(state, name)


def _check(state: PortfolioState, setup: PortfolioSpec) -> None:
    table, clocks, assets = setup.world.table, state.clocks, state.targets.shape[1]
    spans = [portfolio_span(table, market, assets, setup.world.all_listed) for market in clocks[:, MARKET].tolist()]
    first, last = np.array(spans).T
    check_clocks(clocks, first, last)
    check_account(state.accounts)
    limit = setup.trading.limits.exposure
    for j in range(assets):
        whose, position, target = f" of asset {j}", state.positions[:, j], state.targets[:, j]
        check_position(position, whose)
        require(np.abs(target) <= limit, target, f"the target exposure{whose}", f"within +-{limit}")
        held, closes = position[:, QUANTITY], position[:, CLOSE_PRICE]
        there, known = np.ones(len(held), dtype=np.bool_), closes.copy()
        for row, (market, bar) in enumerate(clocks[:, [MARKET, BAR]].tolist()):
            traded = setup.portfolio(market)
            own, prices = bar - traded.offsets[j], traded.markets[j].prices
            there[row] = own < len(prices) and bar >= 0
            if 0 <= own < len(prices):
                known[row] = prices[own, CLOSE]
        require(there | (held == 0.0), held, f"the quantity held{whose}", "0 after the asset's last bar")
        require(closes == known, closes, f"the close{whose}", "the close of its bar (are they the same markets?)")
