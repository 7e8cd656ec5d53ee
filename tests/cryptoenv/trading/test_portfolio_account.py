"""A portfolio's money against a plain-Python ledger, exactly, over fuzzed markets; of one asset, against the kernel."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryptoenv.bars.price_columns import CLOSE, SIGMA
from cryptoenv.trading import account as a
from cryptoenv.trading.config import TradingConfig
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.portfolio_account import (
    COMING,
    GONE,
    POSITION_WIDTH,
    SLATE_WIDTH,
    TRADED,
    limit_weights,
    open_portfolio,
    portfolio_transition,
)
from tests.naive import portfolio as naive
from tests.naive.kernel_fuzz import BAR_SECONDS, naive_bar, naive_rules, random_config, random_prices

STEPS = 6000
EPISODE = 120
Arrays = NDArray[np.float64]


def slate_of(prices: Arrays, t: int, there: NDArray[np.bool_], last: Arrays) -> Arrays:
    """(A, SLATE_WIDTH) from (T, A, 8) prices; `last` (A,): closes of assets that are not there."""
    slate = np.zeros((prices.shape[1], SLATE_WIDTH))
    slate[:, :8] = prices[t + 1]
    slate[:, SIGMA] = prices[t, :, SIGMA]
    slate[:, COMING] = np.where(there, TRADED, GONE)
    slate[~there, :8] = 0.0
    slate[~there, CLOSE] = last[~there]
    return slate


def books(account: Arrays) -> dict[str, float]:
    """What the two accounts must agree on to the last bit."""
    names = ("EQUITY", "CASH", "FEES", "SLIPPAGE", "FUNDING_PAID", "BORROW_PAID", "REALISED", "SHORTFALL")
    return {name: float(account[getattr(a, name)]) for name in (*names, "PEAK_EQUITY", "HALTED", "RUINED")}


def naive_books(book: naive.Portfolio) -> dict[str, float]:
    return {
        "EQUITY": book.equity, "CASH": book.cash, "FEES": book.fees, "SLIPPAGE": book.slippage,
        "FUNDING_PAID": book.funding, "BORROW_PAID": book.borrow, "REALISED": book.realised,
        "SHORTFALL": book.shortfall, "PEAK_EQUITY": book.peak, "HALTED": float(book.halted),
        "RUINED": float(book.ruined),
    }  # fmt: skip


def held(position: Arrays) -> tuple[Any, ...]:
    """What a position's two books must agree on."""
    fill = None if math.isnan(position[a.FILL_PRICE]) else (position[a.FILL_QUANTITY], position[a.FILL_PRICE])
    exit_price = None if math.isnan(position[a.EXIT_PRICE]) else position[a.EXIT_PRICE]
    kinds = a.OrderStatus(int(position[a.ORDER_STATUS])).name, a.ExitKind(int(position[a.EXIT_KIND])).name
    return (position[a.QUANTITY], position[a.ENTRY_PRICE], position[a.BARS_HELD], *kinds, fill, exit_price)


def naive_held(book: naive.Ledger) -> tuple[Any, ...]:
    return (book.held, book.entry, float(book.age), book.status, book.exit, book.fill, book.exit_price)


def check_invariants(account: Arrays, positions: Arrays, config: TradingConfig) -> None:
    """The equity identity to 1e-9 relative, and what may never happen."""
    unrealised = (positions[:, a.QUANTITY] * (positions[:, a.CLOSE_PRICE] - positions[:, a.ENTRY_PRICE])).sum()
    identity = account[a.START_EQUITY] + account[a.REALISED] + unrealised + account[a.SHORTFALL]
    identity -= account[a.FEES] + account[a.FUNDING_PAID] + account[a.BORROW_PAID]
    scale = max(account[a.START_EQUITY], account[a.EQUITY], abs(account[a.CASH]))
    assert abs(identity - account[a.EQUITY]) <= 1e-9 * scale
    assert np.isfinite(np.delete(account, [a.FILL_PRICE, a.EXIT_PRICE])).all()
    assert account[a.EQUITY] >= 1e-3 * account[a.START_EQUITY] * (1 - 1e-12)
    if config.instrument == "spot":
        assert account[a.CASH] >= -1e-9 * scale
        assert (positions[:, a.QUANTITY] >= 0.0).all()


def fuzzed_prices(rng: np.random.Generator, assets: int, wild: bool) -> Arrays:
    """(T, A, 8) prices near each other, so that one configuration's steps and ticks suit all."""
    first = random_prices(rng, EPISODE + 1, wild)
    columns = [first]
    for _ in range(assets - 1):
        other = random_prices(rng, EPISODE + 1, wild)
        factor = first[0, CLOSE] / other[0, CLOSE]
        other[:, :4] *= factor
        other[:, 4] /= factor
        columns.append(other)
    return np.stack(columns, axis=1)


def random_weights(rng: np.random.Generator, config: TradingConfig, last: list[float]) -> list[float]:
    """Hold, go flat in some, or anywhere, beyond the limits too."""
    limit, kind = config.limits.exposure, rng.random()
    if kind < 0.5:
        return last
    low = -limit if config.shorts_allowed else 0.0
    drawn = rng.uniform(low, limit, len(last)) * (rng.random(len(last)) < 0.8)
    return [float(x) for x in (np.sign(drawn) * limit if kind > 0.9 else drawn)]


def fuzz(seed: int, count: int) -> tuple[set[str], int, int]:
    """Hold both books against each other for `count` steps.

    Returns:
        Names of statuses and exits that came up, steps that liquidated several positions at once, and ruins.
    """
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    together = ruined = steps = 0
    while steps < count:
        assets = int(rng.integers(1, 5))
        prices = fuzzed_prices(rng, assets, wild=bool(rng.random() < 0.4))
        config = random_config(rng, prices[0, 0, CLOSE])
        p = config.parameters(BAR_SECONDS)
        limit = config.limits.exposure
        gross, net = float(rng.uniform(0.3, 1.0) * limit), float(rng.uniform(0.3, 1.0) * limit)
        ends = np.where(rng.random(assets) < 0.2, rng.integers(1, EPISODE, assets), EPISODE + 1)
        weights = random_weights(rng, config, [0.0] * assets)
        given = np.array([weights])
        limit_weights(given, gross, net)
        account, positions = np.zeros(a.ACCOUNT_WIDTH), np.zeros((assets, POSITION_WIDTH))
        open_portfolio(account, positions, 10_000.0, prices[0, :, CLOSE].copy(), given[0])
        start = naive.limited(weights, gross, net)
        book = naive.open_portfolio(naive_rules(config), 10_000.0, prices[0, :, CLOSE].tolist(), start)
        assert naive_books(book) == books(account)
        last = prices[0, :, CLOSE].copy()
        for t in range(EPISODE):
            weights = random_weights(rng, config, weights)
            given = np.array([weights])
            limit_weights(given, gross, net)
            there = t < ends
            slate = slate_of(prices, t, there, last)
            portfolio_transition(account, positions, slate, given[0], p)
            bars = [naive_bar(prices[t + 1, j]) if there[j] else None for j in range(assets)]
            naive.step(book, bars, prices[t, :, SIGMA].tolist(), naive.limited(weights, gross, net))
            assert books(account) == naive_books(book), (config, t)
            assert [held(row) for row in positions] == [naive_held(b) for b in book.books], (config, t)
            check_invariants(account, positions, config)
            last = slate[:, CLOSE]
            kinds = [b.exit for b in book.books]
            together += kinds.count("LIQUIDATION") > 1
            seen.update([b.status for b in book.books], kinds)
            steps += 1
            if book.ruined:
                ruined += 1
                break
    return seen, together, ruined


def test_a_portfolio_equals_the_naive_ledger_exactly() -> None:
    seen, together, ruined = fuzz(0, STEPS)
    assert {s.name for s in a.OrderStatus} | {k.name for k in a.ExitKind} <= seen, "the fuzz must reach everything"
    assert together > 3 and ruined > 1, "the fuzz must liquidate several at once, and ruin accounts"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_million_steps_equal_the_naive_ledger_exactly(seed: int) -> None:
    seen, together, ruined = fuzz(seed, 100_000)
    assert {s.name for s in a.OrderStatus} | {k.name for k in a.ExitKind} <= seen
    assert together > 5 and ruined > 5


def test_one_asset_is_the_kernel_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    for _ in range(max(STEPS // EPISODE // 2, 20)):
        prices = random_prices(rng, EPISODE + 1, wild=bool(rng.random() < 0.5))
        config = random_config(rng, prices[0, CLOSE])
        p = config.parameters(BAR_SECONDS)
        row, account, positions = np.zeros(a.ACCOUNT_WIDTH), np.zeros(a.ACCOUNT_WIDTH), np.zeros((1, POSITION_WIDTH))
        weights = random_weights(rng, config, [0.0])
        open_account(row, 10_000.0, prices[0, CLOSE], weights[0])
        open_portfolio(account, positions, 10_000.0, prices[0, CLOSE : CLOSE + 1].copy(), np.array(weights))
        own = [a.EXPOSURE, a.CLOSE_PRICE, a.FILL_PRICE, a.FILL_QUANTITY, a.EXIT_PRICE, a.ORDER_STATUS, a.EXIT_KIND,
               a.QUANTITY, a.ENTRY_PRICE, a.TARGET, a.BARS_HELD]  # fmt: skip
        whole = [i for i in range(a.ACCOUNT_WIDTH) if i not in own or i in (a.EXPOSURE, a.TARGET)]
        for t in range(EPISODE):
            weights = random_weights(rng, config, weights)
            transition(row, prices, t, weights[0], p)
            slate = slate_of(prices[:, None], t, np.array([True]), np.zeros(1))
            portfolio_transition(account, positions, slate, np.array(weights), p)
            np.testing.assert_array_equal(row[own], positions[0, own])
            np.testing.assert_array_equal(row[whole], account[whole])
            if row[a.RUINED]:
                break


def test_a_planted_penny_is_found() -> None:
    account, positions = np.zeros(a.ACCOUNT_WIDTH), np.zeros((2, POSITION_WIDTH))
    open_portfolio(account, positions, 10_000.0, np.array([10.0, 20.0]), np.array([0.5, 0.25]))
    check_invariants(account, positions, TradingConfig())
    account[a.FEES] += 0.01
    with pytest.raises(AssertionError):
        check_invariants(account, positions, TradingConfig())
