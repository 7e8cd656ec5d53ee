"""Whether the rows of a state are what an episode on an env's markets can have: jitted code trusts them blindly."""

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


def require(holds: NDArray[np.bool_], values: NDArray[Any], name: str, allowed: str) -> None:
    """Refuse values (N,) of a state where `holds` (N,) is False.

    Raises:
        ValueError: names the first such row, its value, and what is `allowed`.
    """
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
    require((numbers >= 0) & (numbers <= highest), numbers, "the market", f"from 0 to {highest}")
    if setup.stream is not None:
        places = rows.clocks[:, MARKET]
        require(places == np.arange(len(places)), places, "the market's place", "the row's own number")
    table, places = setup.world.table, rows.clocks[:, MARKET]
    check_clocks(rows.clocks, table[places, FIRST], table[places, LAST])
    check_account(rows.accounts)
    limit = setup.limit
    require(np.abs(rows.targets) <= limit, rows.targets, "the target exposure", f"within +-{limit}")
    markets = setup.visits.restored(numbers)
    bars, closes = rows.clocks[:, BAR].tolist(), rows.accounts[:, CLOSE_PRICE]
    prices = [market.prices[bar, CLOSE] for market, bar in zip(markets, bars, strict=True)]
    same = closes == np.array(prices)
    require(same, closes, "the close", "the close of its bar in its market (are they the same markets?)")
    return markets


def check_clocks(clocks: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]) -> None:
    """Check clocks (N, CLOCK_WIDTH) whose markets may be traded from bar `first` to `last`, (N,) each.

    Raises:
        ValueError: a value that no episode can have.
    """
    bar, end = clocks[:, BAR], clocks[:, END]
    between = "from the market's first decidable bar to its last"
    require((bar >= first) & (bar <= last), bar, "the bar", between)
    require((end >= bar) & (end <= last), end, "the episode's last bar", "from the present bar to the market's last")
    ended, episode, seed = clocks[:, ENDED], clocks[:, EPISODE], clocks[:, SEED]
    require((ended == 0) | (ended == 1), ended, "the mark of an ended episode", "0 or 1")
    require((bar < end) | (ended == 1), bar, "the bar", "before the episode's last, unless it has ended")
    counted = (episode >= 0) & (episode < MOST_EPISODES)
    require(counted, episode, "the episode's number", f"from 0 to {MOST_EPISODES - 1}")
    require((seed >= 0) & (seed <= SEED_MASK), seed, "the seed", f"from 0 to {SEED_MASK}")


def check_account(accounts: NDArray[np.float64]) -> None:
    """Check accounts, (N, ACCOUNT_WIDTH).

    Raises:
        ValueError: a value that no account can have.
    """
    check_position(accounts, "")
    for column, name in ((PEAK_EQUITY, "the peak equity"), (START_EQUITY, "the starting equity")):
        require(accounts[:, column] > 0.0, accounts[:, column], name, "above 0")
    ruined = accounts[:, RUINED]
    require(np.isin(ruined, (0.0, 1.0)), ruined, "the mark of ruin", "0 or 1")


def check_position(accounts: NDArray[np.float64], of: str) -> None:
    """Check what an account's row and one of a portfolio's assets have in common; (N, ACCOUNT_WIDTH) or wider.

    Raises:
        ValueError: a value that none can have; `of` says whose it is, where it is not the account's.
    """
    finite = np.isfinite(accounts)
    finite[:, MAY_BE_NAN] = True
    for row, column in np.argwhere(~finite)[:1]:
        value, whose = accounts[row, column], of.removeprefix(" of ") or "its account"
        raise ValueError(f"row {row} of the state: column {column} of {whose} is {value}, which must be finite")
    require(accounts[:, EQUITY] > 0.0, accounts[:, EQUITY], f"equity{of}", "above 0")
    halted = accounts[:, HALTED]
    require(np.isin(halted, (0.0, 1.0)), halted, f"the mark of the drawdown stop{of}", "0 or 1")
    for column, kinds in ((ORDER_STATUS, OrderStatus), (EXIT_KIND, ExitKind)):
        values, codes = accounts[:, column], [int(kind) for kind in kinds]
        require(np.isin(values, codes), values, f"{kinds.__name__}{of}", f"one of {codes}")
    held = accounts[:, BARS_HELD]
    require((held >= 0.0) & (held < 2.0**31), held, f"the bars held{of}", "0 or more")
