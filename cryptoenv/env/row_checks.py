"""Whether the rows of a vector env are what an episode on its markets can have: jitted code trusts them blindly."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE
from cryptoenv.env.episode import BAR, END, ENDED, EPISODE, MARKET, SEED, SEED_MASK
from cryptoenv.env.lanes import RowStates
from cryptoenv.env.spec import EnvironmentSpec
from cryptoenv.market.market import Market
from cryptoenv.market.table import FIRST, LAST
from cryptoenv.trading.account import (
    BARS_HELD,
    CLOSE_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    FILL_PRICE,
    HALTED,
    ORDER_STATUS,
    PEAK_EQUITY,
    RUINED,
    START_EQUITY,
    ExitKind,
    OrderStatus,
)

MOST_EPISODES = 2**62  #: the number of an episode is hashed as int64
MAY_BE_NAN = (FILL_PRICE, EXIT_PRICE)


def _require(holds: NDArray[np.bool_], values: NDArray[Any], name: str, allowed: str) -> None:
    """Raise ValueError with the first row where `holds` (N,) is False; `values` (N,) are shown."""
    if not holds.all():
        row = int(np.argmin(holds))
        raise ValueError(f"row {row} of the state: {name} is {values[row]}, which must be {allowed}")


def check_rows(rows: RowStates, numbers: NDArray[np.int64], setup: EnvironmentSpec) -> list[Market]:
    """Check the values of a state of N environments against the markets and arguments it is to go on with.

    Args:
        rows: the state. numbers: (N,) what infos call the rows' markets. setup: of the env.

    Returns:
        The market of each row.

    Raises:
        ValueError: a value that no episode can have; row, column and what is allowed are named.
    """
    highest = setup.visits.count - 1
    _require((numbers >= 0) & (numbers <= highest), numbers, "the market", f"from 0 to {highest}")
    if setup.stream is not None:
        places = rows.clocks[:, MARKET]
        _require(places == np.arange(len(places)), places, "the market's place", "the row's own number")
    _check_clocks(rows.clocks, setup)
    _check_accounts(rows)
    limit = setup.limit
    _require(np.abs(rows.targets) <= limit, rows.targets, "the target exposure", f"within +-{limit}")
    markets = setup.visits.restored(numbers)
    bars, closes = rows.clocks[:, BAR].tolist(), rows.accounts[:, CLOSE_PRICE]
    prices = [market.prices[bar, CLOSE] for market, bar in zip(markets, bars, strict=True)]
    same = closes == np.array(prices)
    _require(same, closes, "the close", "the close of its bar in its market (are they the same markets?)")
    return markets


def _check_clocks(clocks: NDArray[np.int64], setup: EnvironmentSpec) -> None:
    market, bar, end = clocks[:, MARKET], clocks[:, BAR], clocks[:, END]
    first, last = setup.world.table[market, FIRST], setup.world.table[market, LAST]
    between = "from the market's first decidable bar to its last"
    _require((bar >= first) & (bar <= last), bar, "the bar", between)
    _require((end >= bar) & (end <= last), end, "the episode's last bar", "from the present bar to the market's last")
    ended, episode, seed = clocks[:, ENDED], clocks[:, EPISODE], clocks[:, SEED]
    _require((ended == 0) | (ended == 1), ended, "the mark of an ended episode", "0 or 1")
    _require((bar < end) | (ended == 1), bar, "the bar", "before the episode's last, unless it has ended")
    counted = (episode >= 0) & (episode < MOST_EPISODES)
    _require(counted, episode, "the episode's number", f"from 0 to {MOST_EPISODES - 1}")
    _require((seed >= 0) & (seed <= SEED_MASK), seed, "the seed", f"from 0 to {SEED_MASK}")


def _check_accounts(rows: RowStates) -> None:
    accounts = rows.accounts
    finite = np.isfinite(accounts)
    finite[:, MAY_BE_NAN] = True
    for row, column in np.argwhere(~finite)[:1]:
        value = accounts[row, column]
        raise ValueError(f"row {row} of the state: column {column} of its account is {value}, which must be finite")
    for column, name in ((EQUITY, "equity"), (PEAK_EQUITY, "the peak equity"), (START_EQUITY, "the starting equity")):
        _require(accounts[:, column] > 0.0, accounts[:, column], name, "above 0")
    for column, name in ((RUINED, "the mark of ruin"), (HALTED, "the mark of the drawdown stop")):
        _require(np.isin(accounts[:, column], (0.0, 1.0)), accounts[:, column], name, "0 or 1")
    for column, kinds in ((ORDER_STATUS, OrderStatus), (EXIT_KIND, ExitKind)):
        values, codes = accounts[:, column], [int(kind) for kind in kinds]
        _require(np.isin(values, codes), values, kinds.__name__, f"one of {codes}")
    held = accounts[:, BARS_HELD]
    _require((held >= 0.0) & (held < 2.0**31), held, "the bars held", "0 or more")
