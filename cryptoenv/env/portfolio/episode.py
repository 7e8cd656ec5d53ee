"""Episodes of portfolios, jitted: N rows at once; the single env is one row. Shapes: `N` envs, `A` assets, `W` window.

Episode draws are those of `cryptoenv.env.episode`, by the counter hash of seed and episode number; money is
`cryptoenv.trading.portfolio_account`'s.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, PRICE_COLUMNS, SIGMA, VOLUME
from cryptoenv.env.episode import (
    BAR,
    BARS_HELD_SEEN,
    DRAWN,
    END,
    ENDED,
    EPISODE,
    MARKET,
    MARKET_DRAW,
    SEED,
    START_DRAW,
    EpisodeRules,
    episode_draw,
)
from cryptoenv.market.table import BARS, FIRST, LAST, align_of, feature_cells, prefetch_prices, prices_of
from cryptoenv.trading.account import (
    BARS_HELD,
    BORROW_PAID,
    CASH,
    CLOSE_PRICE,
    DRAWDOWN,
    ENTRY_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    EXPOSURE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    FUNDING_PAID,
    ORDER_STATUS,
    QUANTITY,
    RUINED,
    SLIPPAGE,
    STEP_BORROW,
    STEP_FEES,
    STEP_FUNDING,
    STEP_SLIPPAGE,
    TARGET,
)
from cryptoenv.trading.borrowed_memory import (
    LINE,
    bool_at,
    float32_at,
    float64_at,
    int8_at,
    int64_at,
    stream_end,
    stream_line,
)
from cryptoenv.trading.config import EXPOSURE_LIMIT, REWARD_ADAPTATION
from cryptoenv.trading.portfolio_account import (
    ABSENT,
    COMING,
    GONE,
    SLATE_WIDTH,
    TRADED,
    open_portfolio,
    portfolio_transition,
)
from cryptoenv.trading.rewards import begin_means, weighted_reward

ASSET_FIELDS = ("exposure", "target", "unrealised_return", "bars_held", "tradable")
ACCOUNT_FIELDS = ("cash", "gross", "net", "drawdown")
#: What infos show of the account, then of each asset: float64 columns in this order.
ACCOUNT_SHOWN = {
    "equity": EQUITY, "cash": CASH, "exposure": EXPOSURE, "fees": FEES, "slippage": SLIPPAGE, "funding": FUNDING_PAID,
    "borrow": BORROW_PAID, "step_fees": STEP_FEES, "step_slippage": STEP_SLIPPAGE, "step_funding": STEP_FUNDING,
    "step_borrow": STEP_BORROW,
}  # fmt: skip
ASSET_SHOWN = {
    "exposures": EXPOSURE, "quantities": QUANTITY, "closes": CLOSE_PRICE, "fill_price": FILL_PRICE,
    "fill_quantity": FILL_QUANTITY, "exit_price": EXIT_PRICE, "targets": TARGET,
}  # fmt: skip
_ACCOUNT_COLUMNS, _ASSET_COLUMNS = tuple(ACCOUNT_SHOWN.values()), tuple(ASSET_SHOWN.values())
PRICE_WIDTH = len(PRICE_COLUMNS)
STREAMED_CELLS = 2_000_000  #: of windows that no cache keeps (8 MB): these are written past the caches


class PortfolioWorld(NamedTuple):
    """What every row shares.

    Attributes:
        table: (M * A, 5 + 3K + 1) int64: of asset j of portfolio m, row m * A + j: `market_row`, then its offset.
        parameters: (PARAMETER_WIDTH,). weights: (7,) of rewards. limits: (2,) gross and net, float64.
        all_listed: episodes begin once every asset was there.
    """

    table: NDArray[np.int64]
    parameters: NDArray[np.float64]
    weights: NDArray[np.float64]
    limits: NDArray[np.float64]
    all_listed: bool


class PortfolioRows(NamedTuple):
    """The state of N environments.

    Attributes:
        accounts: (N, ACCOUNT_WIDTH) float64. positions: (N, A, POSITION_WIDTH) float64. clocks: (N, CLOCK_WIDTH) int64.
        targets: (N, A) float64.
    """

    accounts: NDArray[np.float64]
    positions: NDArray[np.float64]
    clocks: NDArray[np.int64]
    targets: NDArray[np.float64]


class PortfolioSeen(NamedTuple):
    """What a step leaves to show; arrays by row.

    Attributes:
        rewards: (N,). terminated, truncated: (N,) bool. assets: (N, A, 5) float32. account: (N, 4) float32.
        places: (N, 2) int64, market and bar. shown: (N, 11) float64. held: (N, A, 7) float64. kinds: (2, N, A) int8.
        tradable: (N, A) bool. ruined: (N,) bool.
    """

    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    assets: NDArray[np.float32]
    account: NDArray[np.float32]
    places: NDArray[np.int64]
    shown: NDArray[np.float64]
    held: NDArray[np.float64]
    kinds: NDArray[np.int8]
    tradable: NDArray[np.bool_]
    ruined: NDArray[np.bool_]


@njit(cache=True, error_model="numpy", forceinline=True)
def _rows_disowned(rows: PortfolioRows) -> PortfolioRows:
    """The same memory without owners, whose references numba counts at every slice."""
    n, assets, width = rows.positions.shape
    return PortfolioRows(
        float64_at(rows.accounts.ctypes.data, (n, rows.accounts.shape[1])),
        float64_at(rows.positions.ctypes.data, (n, assets, width)),
        int64_at(rows.clocks.ctypes.data, (n, rows.clocks.shape[1])),
        float64_at(rows.targets.ctypes.data, (n, assets)),
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _world_disowned(world: PortfolioWorld) -> PortfolioWorld:
    return PortfolioWorld(
        int64_at(world.table.ctypes.data, (world.table.shape[0], world.table.shape[1])),
        float64_at(world.parameters.ctypes.data, (world.parameters.shape[0],)),
        float64_at(world.weights.ctypes.data, (world.weights.shape[0],)),
        float64_at(world.limits.ctypes.data, (2,)),
        world.all_listed,
    )


@njit(cache=True, error_model="numpy", forceinline=True)
def _seen_disowned(seen: PortfolioSeen) -> PortfolioSeen:
    n, assets, fields = seen.assets.shape
    return PortfolioSeen(
        float64_at(seen.rewards.ctypes.data, (n,)),
        bool_at(seen.terminated.ctypes.data, (n,)),
        bool_at(seen.truncated.ctypes.data, (n,)),
        float32_at(seen.assets.ctypes.data, (n, assets, fields)),
        float32_at(seen.account.ctypes.data, (n, seen.account.shape[1])),
        int64_at(seen.places.ctypes.data, (n, 2)),
        float64_at(seen.shown.ctypes.data, (n, seen.shown.shape[1])),
        float64_at(seen.held.ctypes.data, (n, assets, seen.held.shape[2])),
        int8_at(seen.kinds.ctypes.data, (2, n, assets)),
        bool_at(seen.tradable.ctypes.data, (n, assets)),
        bool_at(seen.ruined.ctypes.data, (n,)),
    )


@njit(cache=True, error_model="numpy")
def portfolio_span(table: NDArray[np.int64], market: int, assets: int, all_listed: bool) -> tuple[int, int]:
    """First and last bar of portfolio `market` on its clock; `table`: (M * A, 5 + 3K + 1), see `PortfolioWorld`."""
    offset = table.shape[1] - 1
    first, last = -1, 0
    for row in range(market * assets, (market + 1) * assets):
        begins = table[row, FIRST] + table[row, offset]
        if first < 0 or (begins > first) == all_listed:
            first = begins
        last = max(last, table[row, LAST] + table[row, offset])
    return int(first), int(last)


@njit(cache=True, error_model="numpy", forceinline=True)
def _presence(table: NDArray[np.int64], row: int, bar: int) -> float:
    """Whether the asset at `row` of the table is there at the close of the clock's `bar`."""
    own = bar - table[row, table.shape[1] - 1]
    if own < table[row, FIRST]:
        return ABSENT
    return TRADED if own <= table[row, LAST] else GONE


@njit(cache=True, error_model="numpy")
def begin_row(
    i: int, rows: PortfolioRows, world: PortfolioWorld, rules: EpisodeRules, market: int, start: int,
    weights: NDArray[np.float64],
) -> None:  # fmt: skip
    """Begin the episode numbered in the clock of row `i`; what is DRAWN comes from the hash of its seed and number.

    `weights`: (A,) held from the start; those of assets that are not there stay cash.
    """
    clock, positions = rows.clocks[i], rows.positions[i]
    assets, table = positions.shape[0], world.table
    seed, episode = int(clock[SEED]), int(clock[EPISODE])
    if market == DRAWN:
        market = episode_draw(seed, episode, MARKET_DRAW, table.shape[0] // assets)
    first, last = portfolio_span(table, market, assets, world.all_listed)
    if start == DRAWN:
        start = first
        if rules.random_start:
            start += episode_draw(seed, episode, START_DRAW, max(last - rules.bars - first + 1, 1))
    clock[MARKET], clock[BAR], clock[END], clock[ENDED] = market, start, min(start + rules.bars, last), 0
    closes, held, sigma, there = np.zeros(assets), np.zeros(assets), 0.0, 0
    for j in range(assets):
        row = market * assets + j
        own = start - table[row, table.shape[1] - 1]
        if 0 <= own <= table[row, LAST]:
            closes[j] = prices_of(table, row)[own, CLOSE]
        if _presence(table, row, start) == TRADED:
            held[j] = weights[j]
            sigma += prices_of(table, row)[own, SIGMA]
            there += 1
    open_portfolio(rows.accounts[i], positions, rules.cash, closes, held)
    begin_means(rows.accounts[i], sigma / max(there, 1), world.parameters[EXPOSURE_LIMIT])


@njit(cache=True, error_model="numpy", forceinline=True)
def _lay_slate(rows: PortfolioRows, i: int, table: NDArray[np.int64], slate: NDArray[np.float64]) -> None:
    """Write what the step of row `i` reads of each asset."""
    positions = rows.positions[i]
    assets, bar, market = positions.shape[0], rows.clocks[i, BAR], rows.clocks[i, MARKET]
    for j in range(assets):
        row = market * assets + j
        own = bar - table[row, table.shape[1] - 1]
        coming = ABSENT if own < table[row, FIRST] else (TRADED if own < table[row, LAST] else GONE)
        slate[j, COMING] = coming
        if coming == TRADED:
            prices = prices_of(table, row)
            for c in range(PRICE_WIDTH):
                slate[j, c] = prices[own + 1, c]
            slate[j, SIGMA] = prices[own, SIGMA]
        else:
            slate[j, CLOSE] = positions[j, CLOSE_PRICE]
            if coming == ABSENT and own + 1 >= 0:
                slate[j, CLOSE] = prices_of(table, row)[own + 1, CLOSE]


@njit(cache=True, error_model="numpy", forceinline=True)
def _see(i: int, rows: PortfolioRows, world: PortfolioWorld, seen: PortfolioSeen) -> None:
    """Write what row `i` shows."""
    account, clock, table = rows.accounts[i], rows.clocks[i], world.table
    limit, gross, assets = world.parameters[EXPOSURE_LIMIT], 0.0, rows.positions.shape[1]
    for j in range(assets):
        position = rows.positions[i, j]
        row = clock[MARKET] * assets + j
        own = clock[BAR] - table[row, table.shape[1] - 1]
        there = table[row, FIRST] <= own <= table[row, LAST]
        tradable = there and prices_of(table, row)[own, VOLUME] > 0.0
        out = seen.assets[i, j]
        out[0] = min(max(position[EXPOSURE], -2.0 * limit), 2.0 * limit)
        out[1] = min(max(position[TARGET], -limit), limit)
        profit = position[QUANTITY] * (position[CLOSE_PRICE] - position[ENTRY_PRICE]) / account[EQUITY]
        out[2] = min(max(profit, -1.0), 1.0)
        bars = int(position[BARS_HELD])
        out[3] = BARS_HELD_SEEN[min(bars, BARS_HELD_SEEN.size - 1)]
        out[4] = 1.0 if tradable else 0.0
        gross += abs(position[EXPOSURE])
        seen.tradable[i, j] = tradable
        seen.kinds[0, i, j] = np.int8(position[ORDER_STATUS])
        seen.kinds[1, i, j] = np.int8(position[EXIT_KIND])
        for c in range(len(_ASSET_COLUMNS)):
            value = position[_ASSET_COLUMNS[c]]
            seen.held[i, j, c] = 0.0 if math.isnan(value) else value  # no price where nothing filled
    most = 2.0 * world.limits[0]
    seen.account[i, 0] = min(max(account[CASH] / account[EQUITY], -most), 1.0 + most)
    seen.account[i, 1] = min(gross, most)
    seen.account[i, 2] = min(max(account[EXPOSURE], -most), most)
    seen.account[i, 3] = min(max(account[DRAWDOWN], 0.0), 1.0)
    for c in range(len(_ACCOUNT_COLUMNS)):
        seen.shown[i, c] = account[_ACCOUNT_COLUMNS[c]]
    seen.places[i, 0], seen.places[i, 1] = clock[MARKET], clock[BAR]
    seen.ruined[i] = account[RUINED] == 1.0


@njit(cache=True, error_model="numpy")
def see_portfolios(rows: PortfolioRows, world: PortfolioWorld, seen: PortfolioSeen) -> None:
    """Write what all N rows show."""
    own, markets, out = _rows_disowned(rows), _world_disowned(world), _seen_disowned(seen)
    for i in range(rows.accounts.shape[0]):
        _see(i, own, markets, out)


@njit(cache=True, error_model="numpy")
def begin_portfolios(
    mask: NDArray[np.bool_],
    rows: PortfolioRows,
    world: PortfolioWorld,
    rules: EpisodeRules,
    markets: NDArray[np.int64],
    starts: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> None:
    """Begin the episode numbered in its clock in every row where `mask` is True; arrays are (N,), `weights` (N, A)."""
    for i in range(mask.shape[0]):
        if mask[i]:
            begin_row(i, rows, world, rules, markets[i], starts[i], weights[i])


@njit(cache=True, error_model="numpy", inline="always")
def _prefetch_row(clock: NDArray[np.int64], table: NDArray[np.int64], assets: int) -> None:
    """Ask for the prices of a row's assets, which lie anywhere in memory."""
    for j in range(assets):
        row = clock[MARKET] * assets + j
        own = clock[BAR] - table[row, table.shape[1] - 1]
        if 0 <= own < table[row, BARS]:
            prefetch_prices(table, row, own)


@njit(cache=True, error_model="numpy")
def step_some_portfolios(
    first: int, last: int, rows: PortfolioRows, world: PortfolioWorld, rules: EpisodeRules, restart: bool,
    seen: PortfolioSeen, slate: NDArray[np.float64],
) -> None:  # fmt: skip
    """Step rows `first` to `last` (exclusive) and write what they show.

    `restart` (NEXT_STEP): rows that had ended begin anew instead. `slate`: (A, SLATE_WIDTH), overwritten.
    """
    rows, world, seen = _rows_disowned(rows), _world_disowned(world), _seen_disowned(seen)
    assets = rows.positions.shape[1]
    slate = float64_at(slate.ctypes.data, (assets, SLATE_WIDTH))
    for i in range(first, last):
        clock, account = rows.clocks[i], rows.accounts[i]
        if i + 1 < last:
            _prefetch_row(rows.clocks[i + 1], world.table, assets)
        if restart and clock[ENDED] == 1:
            clock[EPISODE] += 1
            begin_row(i, rows, world, rules, DRAWN, DRAWN, np.zeros(assets))
            seen.rewards[i], seen.terminated[i], seen.truncated[i] = 0.0, False, False
        else:
            _lay_slate(rows, i, world.table, slate)
            portfolio_transition(account, rows.positions[i], slate, rows.targets[i], world.parameters)
            clock[BAR] += 1
            ruined = account[RUINED] == 1.0
            if ruined or clock[BAR] >= clock[END]:
                clock[ENDED] = 1
            seen.rewards[i] = weighted_reward(account, world.weights, world.parameters[REWARD_ADAPTATION])
            seen.terminated[i] = ruined
            seen.truncated[i] = clock[ENDED] == 1 and not ruined
        _see(i, rows, world, seen)


@njit(cache=True, error_model="numpy")
def step_portfolios(
    rows: PortfolioRows, world: PortfolioWorld, rules: EpisodeRules, restart: bool, seen: PortfolioSeen
) -> None:
    """Step all N rows and write what they show; with `restart` (NEXT_STEP) rows that had ended begin anew instead."""
    n, assets = rows.targets.shape
    step_some_portfolios(0, n, rows, world, rules, restart, seen, np.empty((assets, SLATE_WIDTH)))


@njit(cache=True, error_model="numpy")
def copy_some_portfolio_windows(
    first: int, last: int, clocks: NDArray[np.int64], table: NDArray[np.int64], timeframe: int,
    out: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the windows of rows `first` to `last` (exclusive) into `out`, (N, A, W, F); 0 for assets not there."""
    n, assets, bars, width = out.shape
    cells = bars * width
    windows = float32_at(out.ctypes.data, (n * assets, cells))
    own_clocks = int64_at(clocks.ctypes.data, (n, clocks.shape[1]))
    every = int64_at(table.ctypes.data, (table.shape[0], table.shape[1]))
    lines = cells * 4 // LINE
    streams = out.size >= STREAMED_CELLS and lines * LINE == cells * 4 and out.ctypes.data % LINE == 0
    for i in range(first, last):
        for j in range(assets):
            row, window = own_clocks[i, MARKET] * assets + j, windows[i * assets + j]
            own = own_clocks[i, BAR] - every[row, every.shape[1] - 1]
            if not every[row, FIRST] <= own <= every[row, LAST]:
                for c in range(cells):
                    window[c] = np.float32(0.0)
                continue
            begin = align_of(every, row)[own, timeframe] + 1 - bars
            source = feature_cells(every, row, timeframe, begin * width, cells)
            if streams:
                to, where = window.ctypes.data, source.ctypes.data
                for line in range(lines):
                    stream_line(to + line * LINE, where + line * LINE)
                continue
            for c in range(cells):
                window[c] = source[c]
    if streams:
        stream_end()


@njit(cache=True, error_model="numpy")
def copy_portfolio_windows(
    clocks: NDArray[np.int64], table: NDArray[np.int64], timeframe: int, out: NDArray[np.float32]
) -> None:
    """Write the (N, A, W, F) windows of a timeframe; zeros for assets that are not there."""
    copy_some_portfolio_windows(0, out.shape[0], clocks, table, timeframe, out)
