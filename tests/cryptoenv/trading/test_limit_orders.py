"""Limit orders on bars: against a plain rule, and what comes first inside a bar."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryptoenv.trading.account import (
    ACCOUNT_WIDTH,
    CASH,
    ENTRY_PRICE,
    EQUITY,
    EXIT_KIND,
    EXIT_PRICE,
    FEES,
    FILL_PRICE,
    FILL_QUANTITY,
    ORDER_STATUS,
    QUANTITY,
    REALISED,
    TARGET,
    ExitKind,
    OrderStatus,
)
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig, VenueRules
from cryptoenv.trading.kernel import open_account
from cryptoenv.trading.limit_orders import filled_in_all, left_of, limit_price, limit_transition

FEE = 0.0002


def stepped(
    bar: tuple[float, float, float, float, float], quantity: float, limit: float, held: float = 0.0, **limits: float
) -> np.ndarray:
    """The account after a bar in which a limit order rested; 10,000 at a close of 100."""
    config = TradingConfig(costs=Costs(half_spread=0.001, impact=0.0), limits=RiskLimits(**limits))
    account, prices = np.zeros(ACCOUNT_WIDTH), np.zeros((2, 8))
    prices[:, :4], prices[:, 4] = 100.0, 1e6
    prices[1, :5] = bar
    open_account(account, 10_000.0, 100.0, held * 100.0 / 10_000.0)
    limit_transition(account, prices, 0, np.array([quantity, limit, FEE]), 0.5, 0, config.parameters(900.0))
    return account


@pytest.mark.parametrize(
    ("bar", "quantity", "limit", "price"),
    [
        ((100.0, 101.0, 98.0, 99.0, 1e6), 10.0, 99.0, 99.0),  # traded through: its own price
        ((100.0, 101.0, 99.0, 99.5, 1e6), 10.0, 99.0, math.nan),  # touched alone
        ((98.0, 99.0, 97.0, 98.0, 1e6), 10.0, 99.0, 98.0 * 1.001),  # the open has passed it: at the open, slipped
        ((98.98, 99.5, 97.0, 98.0, 1e6), 10.0, 99.0, 99.0),  # never worse than its price
        ((100.0, 102.0, 99.0, 101.0, 1e6), -10.0, 101.0, 101.0),
        ((100.0, 101.0, 99.0, 101.0, 1e6), -10.0, 101.0, math.nan),
        ((103.0, 104.0, 102.0, 103.0, 1e6), -10.0, 101.0, 103.0 * 0.999),
        ((100.0, 101.0, 98.0, 99.0, 0.0), 10.0, 99.0, math.nan),  # nobody traded
    ],
)
def test_a_limit_fills_only_where_the_bar_trades_through_it(
    bar: tuple[float, float, float, float, float], quantity: float, limit: float, price: float
) -> None:
    account = stepped(bar, quantity, limit)
    if math.isnan(price):
        assert account[ORDER_STATUS] == OrderStatus.NO_VOLUME and account[QUANTITY] == 0.0
        assert account[CASH] == 10_000.0 and math.isnan(account[FILL_PRICE])
        return
    assert account[FILL_PRICE] == pytest.approx(price, rel=1e-12) and account[FILL_QUANTITY] == quantity
    assert account[CASH] == pytest.approx(10_000.0 - quantity * price - FEE * abs(quantity) * price, rel=1e-12)
    assert account[FEES] == pytest.approx(FEE * abs(quantity) * price) and account[TARGET] == 0.5


def test_a_bar_gives_a_share_of_its_volume_and_the_rest_goes_on() -> None:
    account = stepped((100.0, 101.0, 98.0, 99.0, 40.0), 10.0, 99.0)  # a tenth of 40
    assert account[FILL_QUANTITY] == 4.0 and account[ORDER_STATUS] == OrderStatus.PARTIAL
    heard = np.zeros(4)
    filled_in_all(heard, 4.0, 99.0, FEE)
    filled_in_all(heard, 2.0, 96.0, FEE)
    np.testing.assert_allclose(heard, [6.0, 98.0, FEE * (396.0 + 192.0), 0.0])
    assert left_of(-10.0, heard[0], 0.001) == -4.0 and left_of(10.0, 10.0 - 1e-13, 0.0) == 0.0


@pytest.mark.parametrize(
    ("bar", "held", "quantity", "limit", "kind", "at"),
    [
        # a stop and the sale above it in one bar: the stop came first
        ((100.0, 103.0, 94.0, 101.0, 1e6), 10.0, -10.0, 102.0, ExitKind.STOP_LOSS, 95.0),
        # bought on the way down, then stopped below
        ((100.0, 101.0, 90.0, 99.0, 1e6), 0.0, 10.0, 99.0, ExitKind.STOP_LOSS, 99.0 * 0.95),
        # bought in the bar whose high was before: no profit is taken in it
        ((100.0, 130.0, 98.0, 99.0, 1e6), 0.0, 10.0, 99.0, ExitKind.NONE, math.nan),
        # the sale is nearer than the profit: it fills, and nothing is left to close
        ((100.0, 130.0, 99.0, 99.0, 1e6), 10.0, -10.0, 101.0, ExitKind.NONE, math.nan),
        # the sale is not reached... the profit is not either; a short's stop above
        ((100.0, 106.0, 99.5, 99.6, 1e6), -10.0, 10.0, 99.0, ExitKind.STOP_LOSS, 105.0),
    ],
)
def test_the_unfavourable_comes_first_inside_a_bar(
    bar: tuple[float, float, float, float, float], held: float, quantity: float, limit: float, kind: ExitKind, at: float
) -> None:
    account = stepped(bar, quantity, limit, held, stop_loss=0.05, take_profit=0.1)
    assert account[EXIT_KIND] == kind
    if kind is ExitKind.STOP_LOSS:
        side = 1.0 if held + (quantity if held == 0.0 else 0.0) > 0.0 else -1.0
        assert account[EXIT_PRICE] == pytest.approx(at * (1.0 - 0.001 * side)) and account[QUANTITY] == 0.0
    else:
        assert account[QUANTITY] == held + quantity


def test_money_is_accounted_for_over_random_bars() -> None:
    draws = np.random.default_rng(5)
    config = TradingConfig(rules=VenueRules(step_size=0.01, tick_size=0.01), limits=RiskLimits(exposure=3.0))
    account, p = np.zeros(ACCOUNT_WIDTH), config.parameters(900.0)
    open_account(account, 10_000.0, 100.0, 0.0)
    close, fills = 100.0, 0
    for _ in range(2_000):
        opened, closed = close * (1 + draws.normal(0, 0.002)), close * (1 + draws.normal(0, 0.01))
        high, low = max(opened, closed) * (1 + draws.random() * 0.01), min(opened, closed) * (1 - draws.random() * 0.01)
        prices = np.array([[close] * 4 + [1e4, 0.01, 0.0, 0.0], [opened, high, low, closed, 500.0, 0.01, 0.0, 0.0]])
        side = 1.0 if draws.random() < 0.5 else -1.0
        if abs(account[QUANTITY]) > 60.0:
            side = -math.copysign(1.0, account[QUANTITY])
        limit = limit_price(side, close * 0.9999, close * 1.0001, float(draws.normal(0.002, 0.003)), 0.01)
        before = account.copy()
        limit_transition(account, prices, 0, np.array([side * 10.0, limit, FEE]), 0.0, 0, p)
        through = low < limit if side > 0 else high > limit
        assert (account[FILL_QUANTITY] != 0.0) == through
        if through:
            fills += 1
            assert (limit - account[FILL_PRICE]) * side >= -1e-9  # never worse than its price
            assert account[QUANTITY] == pytest.approx(before[QUANTITY] + account[FILL_QUANTITY], abs=1e-9)
            assert low <= account[FILL_PRICE] * (1 + 0.02) and account[FILL_PRICE] <= high * (1 + 0.02)
        unrealised = account[QUANTITY] * (closed - account[ENTRY_PRICE] if account[QUANTITY] else 0.0)
        whole = 10_000.0 + account[REALISED] + unrealised - account[FEES]
        assert account[EQUITY] == pytest.approx(whole, rel=1e-9)
        close = closed
    assert 500 < fills < 1_900
