"""Properties of the money, searched by Hypothesis rather than drawn once."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, HIGH, LOW, OPEN, VOLUME
from cryptoenv.trading import account as a
from cryptoenv.trading.config import Costs, RiskLimits, Sizing, TradingConfig, VenueRules
from cryptoenv.trading.exits import liquidation_price
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.orders import slipped_price
from tests.cryptoenv.trading.test_kernel import check_invariants

fractions = st.floats(0.0, 1.0)


@st.composite
def price_rows(draw: st.DrawFn) -> NDArray[np.float64]:
    """2 to 12 valid price rows, with jumps up to a factor of 20, empty bars and funding."""
    prices = np.zeros((draw(st.integers(2, 12)), 8))
    close = draw(st.floats(1e-6, 1e6))
    for row in prices:
        opened = close * draw(st.sampled_from([1.0, 1.0, 0.999, 1.02, 0.5, 20.0, 0.05]))
        closed = opened * draw(st.floats(0.3, 3.0))
        row[OPEN], row[CLOSE] = opened, closed
        row[HIGH] = max(opened, closed) * (1.0 + draw(fractions))
        row[LOW] = min(opened, closed) * (1.0 - 0.9 * draw(fractions))
        row[VOLUME] = draw(st.sampled_from([0.0, 1e-3, 1.0, 1e6])) * 1e4 / opened
        row[5:] = draw(fractions), draw(st.floats(-0.01, 0.01)), draw(st.sampled_from([0.0, 1.0]))
        close = closed
    return prices


@st.composite
def configs(draw: st.DrawFn) -> TradingConfig:
    """Any valid trading configuration."""
    instrument = draw(st.sampled_from(["spot", "margin", "perpetual"]))
    perpetual = instrument == "perpetual"
    maybe = st.none() | st.floats(0.001, 0.9)
    return TradingConfig(
        instrument=instrument,
        costs=Costs(
            draw(st.floats(0, 0.05)),
            draw(st.floats(0, 0.05)),
            draw(st.floats(0, 5)),
            draw(st.floats(0, 0.1)) if instrument == "margin" else 0.0,
            draw(st.floats(-0.01, 0.01)) if perpetual else 0.0,
            draw(st.floats(0, 0.1)),
        ),
        limits=RiskLimits(
            draw(st.floats(0.1, 20.0)) if perpetual else draw(st.floats(0.1, 1.0)),
            draw(st.floats(1e-4, 1.0)),
            draw(maybe),
            draw(maybe),
            draw(maybe),
            draw(st.floats(0, 1)),
        ),
        rules=VenueRules(
            draw(st.sampled_from([0.0, 0.01, 3.0])),
            draw(st.sampled_from([0.0, 0.01])),
            draw(st.sampled_from([0.0, 50.0])),
            draw(st.floats(0, 0.04)),
        ),
        sizing=Sizing(draw(st.floats(0.1, 1.0)), draw(st.none() | st.floats(0.01, 5.0))),
    )


def walk(prices: NDArray[np.float64], config: TradingConfig, levels: list[float]) -> list[NDArray[np.float64]]:
    """The account after every step until ruin; level 0 is the lowest exposure allowed, 1 the highest."""
    p = config.parameters(900.0)
    account = np.zeros(a.ACCOUNT_WIDTH)
    open_account(account, 10_000.0, prices[0, CLOSE], 0.0)
    rows = [account.copy()]
    low = -config.limits.exposure if config.shorts_allowed else 0.0
    for t in range(len(prices) - 1):
        target = low + levels[t % len(levels)] * (config.limits.exposure - low)
        transition(account, prices, t, target, p)
        rows.append(account.copy())
        if account[a.RUINED]:
            break
    return rows


# 4e11 steps are held here, where neighbouring doubles lie 5e-5 of a step apart
ENDLESS = np.array(
    [
        [1e-6, 1e-6, 1e-6, 1e-6, 0.0, 0.0, 0.0, 0.0],
        [1e-6, 1.5e-6, 1e-6, 1.5e-6, 1e10, 0.0, 0.0, 0.0],
        [1.5e-6, 1.5e-6, 1.5e-6, 1.5e-6, 1e10 / 1.5, 0.0, 0.0, 0.0],
    ]
)
FINE_STEPS = TradingConfig(
    instrument="spot",
    costs=Costs(fee=0.0, half_spread=0.0, impact=0.0, borrow=0.0, funding=0.0, liquidation_fee=0.0),
    limits=RiskLimits(exposure=1.0, participation=0.25),
    rules=VenueRules(step_size=0.01, tick_size=0.0, min_notional=0.0, maintenance_margin=0.0),
    sizing=Sizing(fraction=1.0, volatility=None),
)


@example(ENDLESS, FINE_STEPS, [1.0])
@settings(max_examples=400, deadline=None)
@given(price_rows(), configs(), st.lists(fractions, min_size=1, max_size=5))
def test_books_balance_and_costs_are_never_negative(
    prices: NDArray[np.float64], config: TradingConfig, levels: list[float]
) -> None:
    rows = walk(prices, config, levels)
    for t, (before, after) in enumerate(pairwise(rows)):
        check_invariants(after, config, prices[t + 1, CLOSE])
        assert after[a.FEES] >= before[a.FEES]
        assert after[a.SLIPPAGE] >= before[a.SLIPPAGE]
        assert after[a.BORROW_PAID] >= before[a.BORROW_PAID]
        assert after[a.EQUITY] >= 1e-3 * after[a.START_EQUITY] * (1 - 1e-12)
        if prices[t + 1, VOLUME] == 0.0:
            assert after[a.FILL_QUANTITY] == 0.0, "nothing fills without volume"
            assert after[a.EXIT_KIND] in {a.ExitKind.NONE, a.ExitKind.LIQUIDATION}
        step = config.rules.step_size
        if step > 0.0 and after[a.FILL_QUANTITY] != 0.0:
            assert abs(after[a.FILL_QUANTITY]) >= step * (1 - 1e-12) or after[a.FILL_QUANTITY] == -before[a.QUANTITY]
        if step > 0.0:
            # Beyond some 1e9 steps doubles around a multiple of the step lie further apart than the kernel's dust.
            off = abs(after[a.QUANTITY] - round(after[a.QUANTITY] / step) * step)
            near = np.spacing(abs(after[a.QUANTITY])) if abs(after[a.QUANTITY]) > 1e9 * step else 0.0
            assert off <= near, "a flat start stays on the grid"
        if after[a.FILL_QUANTITY] != 0.0:
            cap = config.limits.participation * prices[t + 1, VOLUME]
            assert abs(after[a.FILL_QUANTITY]) <= cap * (1 + 1e-12)
            side = np.sign(after[a.FILL_QUANTITY])
            assert side * (after[a.FILL_PRICE] - prices[t + 1, OPEN]) >= 0.0


@settings(max_examples=400, deadline=None)
@given(price_rows(), configs(), st.lists(fractions, min_size=1, max_size=5))
def test_liquidation_is_never_later_than_the_bar_that_crosses(
    prices: NDArray[np.float64], config: TradingConfig, levels: list[float]
) -> None:
    p = config.parameters(900.0)
    for t, account in enumerate(walk(prices, config, levels)[1:], start=1):
        if account[a.QUANTITY] == 0.0:
            continue
        level = liquidation_price(account, account, p)
        if level > 0.0 and account[a.QUANTITY] > 0.0:
            assert prices[t, LOW] > level * (1 - 1e-12)
        elif level > 0.0:
            assert prices[t, HIGH] < level * (1 + 1e-12)


@settings(max_examples=200, deadline=None)
@given(
    configs(),
    st.floats(0, 1),
    st.floats(0, 1),
    st.lists(st.sampled_from([0.0, 1e-5, 0.03, 0.4]), max_size=8),
)
def test_flat_asked_for_long_enough_in_bars_that_trade_is_flat(
    config: TradingConfig, level: float, tolerance: float, drought: list[float]
) -> None:
    config = dataclasses.replace(
        config,
        limits=dataclasses.replace(config.limits, participation=0.5, rebalance_tolerance=tolerance),
        rules=dataclasses.replace(config.rules, min_notional=0.0),
    )
    units = 10_000.0 * config.limits.exposure / 100.0
    volumes = [10.0 * units, *(scarce * units for scarce in drought), *[0.5 * units + 10.0] * 10]
    prices = np.full((len(volumes) + 1, 8), 100.0)
    prices[1:, VOLUME], prices[:, 5], prices[:, 6:] = volumes, 0.01, 0.0
    account, p = np.zeros(a.ACCOUNT_WIDTH), config.parameters(900.0)
    open_account(account, 10_000.0, 100.0, 0.0)
    low = -config.limits.exposure if config.shorts_allowed else 0.0
    transition(account, prices, 0, low + level * (config.limits.exposure - low), p)
    for t in range(1, len(volumes)):
        transition(account, prices, t, 0.0, p)
    assert account[a.QUANTITY] == 0.0


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([0.1, 0.7, 1.1, 0.001, 1e-8]), st.lists(fractions, min_size=2, max_size=60))
def test_steps_of_quantity_leave_no_dust(step: float, levels: list[float]) -> None:
    config = TradingConfig(
        costs=Costs(0.0, 0.0, 0.0), limits=RiskLimits(rebalance_tolerance=0.0), rules=VenueRules(step_size=step)
    )
    prices = np.full((len(levels) + 2, 8), 100.0)
    prices[:, VOLUME], prices[:, 6:] = 1e9, 0.0
    account, p = np.zeros(a.ACCOUNT_WIDTH), config.parameters(900.0)
    open_account(account, 10_000.0, 100.0, 0.0)
    for t, level in enumerate([*levels, 0.5]):
        transition(account, prices, t, round(2 * level - 1, 2), p)
        filled, held = account[a.FILL_QUANTITY], account[a.QUANTITY]
        assert filled == 0.0 or abs(filled) >= step * (1 - 1e-9)
        assert math.isclose(held, round(held / step) * step, rel_tol=1e-12)
    assert account[a.QUANTITY] == 0.0


@settings(max_examples=200, deadline=None)
@given(price_rows(), configs(), st.lists(fractions, min_size=1, max_size=5))
def test_the_same_walk_twice_is_the_same_bits(
    prices: NDArray[np.float64], config: TradingConfig, levels: list[float]
) -> None:
    first, second = walk(prices, config, levels), walk(prices.copy(), config, levels)
    assert [row.tobytes() for row in first] == [row.tobytes() for row in second]


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-8, 1e8), st.floats(1e-8, 1e6), st.floats(1e-3, 1e9), st.floats(0, 2), configs())
def test_slippage_grows_with_size_and_is_adverse(
    price: float, quantity: float, volume: float, sigma: float, config: TradingConfig
) -> None:
    p = config.parameters(900.0)
    small, large = (
        slipped_price(price, quantity, volume, sigma, p),
        slipped_price(price, 4 * quantity, volume, sigma, p),
    )
    assert price <= small <= large
    sold = slipped_price(price, -quantity, volume, sigma, p)
    assert 0.0 < sold <= price * (1 + 1e-12)
