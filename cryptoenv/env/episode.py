"""Episodes, jitted: where one starts, one step, and what an observation shows.

The single env (`cryptoenv.env.single_step`) runs these functions on one row, the vector env
(`cryptoenv.env.vector_rows`) on N rows: the same code, so that row `i` seeded with `seed + i` equals a single env
seeded so, bit for bit. Episode draws come from a counter hash of seed and episode number, not from a stream, so that
they do not depend on other rows.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.market.table import FIRST, LAST, align_of, feature_cells, prices_of
from cryptoenv.trading.account import (
    BARS_HELD,
    CLOSE_PRICE,
    DRAWDOWN,
    ENTRY_PRICE,
    EQUITY,
    EXPOSURE,
    HALTED,
    QUANTITY,
    RUINED,
    TARGET,
)
from cryptoenv.trading.config import EXPOSURE_LIMIT, MIN_NOTIONAL, REWARD_ADAPTATION, STEP_SIZE
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.orders import order_quantity, wanted_quantity
from cryptoenv.trading.rewards import begin_means, weighted_reward

# Columns of the clock, one int64 row per environment.
MARKET = 0  #: index of the market in the pool
BAR = 1  #: t, the bar whose close the last decision or mark was made at
END = 2  #: the bar at which the episode is truncated
EPISODE = 3  #: number of the episode since the last seeded reset
SEED = 4
ENDED = 5  #: 1 when the last step terminated or truncated
CLOCK_WIDTH = 6
SEED_MASK = 2**62 - 1  #: seeds are reduced to what the clock can hold
DRAWN = -1  #: stands for a market or start that is to be drawn
#: Salts of what is drawn for an episode: its market's place in a pool, its start, its market's number in a stream.
MARKET_DRAW, START_DRAW, STREAM_DRAW = 1, 2, 3

ACCOUNT_FIELDS = ("exposure", "target", "unrealised_return", "drawdown", "bars_held")
ACCOUNT_OBSERVATION = len(ACCOUNT_FIELDS)
BARS_HELD_SCALE = 16.0  #: `log2(1 + bars)` is divided by this


def _bars_held_seen(bars: int) -> float:
    """What an observation shows of the bars a position was held: `log2(1 + bars) / 16`, at most 1."""
    return min(math.log(1.0 + bars) / (math.log(2.0) * BARS_HELD_SCALE), 1.0)


_long_held_seen = njit(cache=True, error_model="numpy")(_bars_held_seen)
#: Of what is common: a logarithm costs as much as the rest of an observation.
BARS_HELD_SEEN = np.array([_bars_held_seen(bars) for bars in range(4096)], dtype=np.float32)


class World(NamedTuple):
    """What every row shares: the markets and the rules of trading.

    Attributes:
        table: (M, 5 + 3K) int64, `market_table`.
        parameters: (PARAMETER_WIDTH,) float64, `TradingConfig.parameters`.
        weights: (7,) float64, `reward_weights`.
    """

    table: NDArray[np.int64]
    parameters: NDArray[np.float64]
    weights: NDArray[np.float64]


class EpisodeRules(NamedTuple):
    """How episodes begin and end.

    Attributes:
        bars: steps until truncation. random_start: whether the start is drawn. cash: starting equity in quote.
        keeps_place: an env trades at the same place in the table in every episode, where a stream puts new markets.
    """

    bars: int
    random_start: bool
    cash: float
    keeps_place: bool = False


@njit(cache=True, error_model="numpy")
def _mix32(x: int) -> int:
    """A bijective 32-bit mixer (xor-shift and odd multiplications), in int64 so that nothing overflows."""
    x &= 0xFFFFFFFF
    x ^= x >> 16
    x = (x * 0x7FEB352D) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 0x2C1B3C6D) & 0xFFFFFFFF
    return x ^ (x >> 16)


@njit(cache=True, error_model="numpy")
def episode_draw(seed: int, episode: int, salt: int, bound: int) -> int:
    """An integer in [0, bound) that depends on seed, episode number and salt alone; `bound` < 2**31.

    Each of the three is hashed by itself before it is joined to what came before: a sum of two of them would make the
    draw of one seed (episode, salt) that of its neighbour.
    """
    x = _mix32(seed + 0x3243F6A8)
    x = _mix32(x ^ (seed >> 32))
    x = _mix32(x ^ _mix32(episode + 0x13198A2E))
    x = _mix32(x ^ (episode >> 32))
    x = _mix32(x ^ _mix32(salt + 0x24A1D5F3))
    return (x * bound) >> 32


@njit(cache=True, error_model="numpy")
def begin_episode(
    account: NDArray[np.float64],
    clock: NDArray[np.int64],
    world: World,
    rules: EpisodeRules,
    market: int,
    start: int,
    exposure: float,
) -> None:
    """Begin the episode numbered in `clock`; what is DRAWN comes from the hash of its seed and number.

    Args:
        account: (ACCOUNT_WIDTH,) float64, overwritten.
        clock: (CLOCK_WIDTH,) int64 with SEED and EPISODE set, and MARKET where rows keep their places; the rest is
            overwritten.
        world: the pool. rules: how long, where from, with how much.
        market: index in the pool, or DRAWN. start: first decision's bar, or DRAWN.
        exposure: signed fraction of equity already held at the start.
    """
    seed, episode = int(clock[SEED]), int(clock[EPISODE])
    if market == DRAWN:
        if rules.keeps_place:
            market = int(clock[MARKET])
        else:
            market = episode_draw(seed, episode, MARKET_DRAW, world.table.shape[0])
    first, last = int(world.table[market, FIRST]), int(world.table[market, LAST])
    if start == DRAWN:
        start = first
        if rules.random_start:
            start += episode_draw(seed, episode, START_DRAW, max(last - rules.bars - first + 1, 1))
    clock[MARKET] = market
    clock[BAR] = start
    clock[END] = min(start + rules.bars, last)
    clock[ENDED] = 0
    prices = prices_of(world.table, market)
    open_account(account, rules.cash, prices[start, CLOSE], exposure)
    begin_means(account, prices[start, SIGMA], world.parameters[EXPOSURE_LIMIT])


@njit(cache=True, error_model="numpy", inline="always")
def step_episode(account: NDArray[np.float64], clock: NDArray[np.int64], world: World, target: float) -> float:
    """One step of one environment; returns the reward. `clock[ENDED]` tells whether the episode is over.

    `account`: (ACCOUNT_WIDTH,), `clock`: (CLOCK_WIDTH,); both are overwritten. `target`: exposure.
    """
    transition(account, prices_of(world.table, clock[MARKET]), clock[BAR], target, world.parameters)
    clock[BAR] += 1
    if account[RUINED] == 1.0 or clock[BAR] >= clock[END]:
        clock[ENDED] = 1
    return weighted_reward(account, world.weights, world.parameters[REWARD_ADAPTATION])


@njit(cache=True, error_model="numpy", forceinline=True)
def observe_account(account: NDArray[np.float64], out: NDArray[np.float32], limit: float) -> None:
    """Write the (5,) float32 account observation: exposure, target, unrealised return, drawdown, bars held."""
    out[0] = min(max(account[EXPOSURE], -2.0 * limit), 2.0 * limit)
    out[1] = min(max(account[TARGET], -limit), limit)
    unrealised = account[QUANTITY] * (account[CLOSE_PRICE] - account[ENTRY_PRICE]) / account[EQUITY]
    out[2] = min(max(unrealised, -1.0), 1.0)
    out[3] = min(max(account[DRAWDOWN], 0.0), 1.0)
    held = int(account[BARS_HELD])
    out[4] = BARS_HELD_SEEN[held] if held < BARS_HELD_SEEN.size else _long_held_seen(held)


@njit(cache=True, error_model="numpy")
def copy_window(
    table: NDArray[np.int64], clock: NDArray[np.int64], timeframe: int, out: NDArray[np.float32], bars: int
) -> None:
    """Copy into `out` (W * F,) the features of a timeframe's last W = `bars` bars closed by now, oldest first."""
    market, cells = clock[MARKET], out.shape[0]
    first = align_of(table, market)[clock[BAR], timeframe] + 1 - bars
    source = feature_cells(table, market, timeframe, first * (cells // bars), cells)
    for i in range(cells):
        out[i] = source[i]


@njit(cache=True, error_model="numpy")
def mask_actions(
    account: NDArray[np.float64],
    sigma: float,
    actions: NDArray[np.float64],
    p: NDArray[np.float64],
    out: NDArray[np.bool_],
) -> None:
    """Which target exposures would be accepted, from what is known at the close alone.

    `account`: (ACCOUNT_WIDTH,), `actions`: (A,) exposures, `p`: (PARAMETER_WIDTH,); the mask is written to `out` (A,).

    An action is masked when its order would round to nothing or fall below the minimum notional; holding is always
    allowed. A tripped drawdown stop allows only the targets nearest to flat. At least one action stays allowed.
    """
    any_allowed = False
    nearest = math.inf
    for a in range(actions.shape[0]):
        nearest = min(nearest, abs(actions[a]))
    for a in range(actions.shape[0]):
        wanted = wanted_quantity(account, actions[a], sigma, p)
        order = order_quantity(account[QUANTITY], wanted, p[STEP_SIZE])
        refused = order == 0.0 or abs(order) * account[CLOSE_PRICE] < p[MIN_NOTIONAL]
        out[a] = wanted == account[QUANTITY] or not refused
        if account[HALTED] == 1.0 and abs(actions[a]) > nearest:
            out[a] = False
        any_allowed = any_allowed or out[a]
    if not any_allowed:
        out[:] = True


@njit(cache=True, error_model="numpy")
def mask_row(
    account: NDArray[np.float64],
    clock: NDArray[np.int64],
    world: World,
    actions: NDArray[np.float64],
    out: NDArray[np.bool_],
) -> None:
    """Write the (A,) action mask of one environment."""
    sigma = prices_of(world.table, clock[MARKET])[clock[BAR], SIGMA]
    mask_actions(account, sigma, actions, world.parameters, out)
