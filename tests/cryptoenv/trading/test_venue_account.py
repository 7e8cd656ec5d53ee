"""What a venue's fills do to an account: where they are the model's own, the same as the model's transition."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cryptoenv.trading import account as a
from cryptoenv.trading.config import RiskLimits, TradingConfig
from cryptoenv.trading.kernel import open_account, transition
from cryptoenv.trading.orders import slipped_price
from cryptoenv.trading.venue_account import adopt_account, fill_since, live_order, settle
from tests.cryptoenv.trading.test_kernel import check_invariants
from tests.naive.kernel_fuzz import BAR_SECONDS, random_config, random_prices

#: Sums over the episode in another order, and what only the model has.
OTHERWISE = [a.SLIPPAGE, a.STEP_SLIPPAGE, a.EVENTFUL, a.TURNOVER]


def test_settling_the_models_own_fills_is_the_transition() -> None:
    rng, filled = np.random.default_rng(4), 0
    for _ in range(40):
        prices = random_prices(rng, 60, wild=False)
        config = random_config(rng, prices[0, 3])
        config = replace(config, limits=RiskLimits(1.0, participation=1.0))  # no exits: the venue would report them
        p = config.parameters(BAR_SECONDS)
        told, settled = np.zeros(a.ACCOUNT_WIDTH), np.zeros(a.ACCOUNT_WIDTH)
        open_account(told, 10_000.0, prices[0, 3], 0.0)
        adopt_account(settled, 10_000.0, 0.0, math.nan, prices[0, 3])
        for t in range(59):
            target = float(rng.choice([0.0, 0.5, 1.0]))
            transition(told, prices, t, target, p)
            if told[a.RUINED] or told[a.EXIT_KIND]:
                break
            quantity, price = told[a.FILL_QUANTITY], told[a.FILL_PRICE]
            fill = [quantity, price, told[a.STEP_FEES], 0.0, 0.0]
            settle(settled, prices[t + 1], target, np.array([fill]), int(told[a.ORDER_STATUS]), p)
            np.testing.assert_allclose(np.delete(settled, OTHERWISE), np.delete(told, OTHERWISE), rtol=1e-9, atol=1e-9)
            filled += quantity != 0.0
    assert filled > 500


def test_an_account_that_is_adopted_has_what_it_holds_and_begins_with_its_equity() -> None:
    rng = np.random.default_rng(5)
    for quantity in (0.7, -0.7, 0.0):
        prices = random_prices(rng, 3, wild=False)
        close = prices[0, 3]
        config = TradingConfig(instrument="perpetual", limits=RiskLimits(5.0))
        account, cash, entry = np.zeros(a.ACCOUNT_WIDTH), 3.0 * close, 0.8 * close
        adopt_account(account, cash, quantity, entry, close)
        assert account[a.EQUITY] == account[a.START_EQUITY] == account[a.PEAK_EQUITY] == cash + quantity * close
        assert account[a.TARGET] == account[a.EXPOSURE] == quantity * close / account[a.EQUITY]
        assert account[a.ENTRY_PRICE] == (entry if quantity else 0.0)
        check_invariants(account, config, close)
        p = config.parameters(BAR_SECONDS)
        settle(account, prices[1], 0.0, np.array([[-quantity, prices[1, 0], 0.01, 0.0, 1.0]]), 1, p)
        assert account[a.QUANTITY] == 0.0 and account[a.EXIT_KIND] == (a.ExitKind.STOP_LOSS if quantity else 0)
        check_invariants(account, config, prices[1, 3])


def test_of_an_order_that_fills_in_parts_each_part_is_booked_once() -> None:
    """2 at 100, then 3 at 110: the second row is what came since, at its own price, and both make up the whole."""
    first = fill_since(-1.0, np.array([2.0, 100.0, 0.2, 0.0]), np.zeros(4), 1.0)
    assert first.tolist() == [-2.0, 100.0, 0.2, 0.0, 1.0]
    heard, booked = np.array([5.0, 530.0 / 5.0, 0.5, 0.01]), np.array([2.0, 200.0, 0.2, 0.0])
    np.testing.assert_allclose(fill_since(-1.0, heard, booked, 0.0), [-3.0, 110.0, 0.3, 0.01, 0.0], rtol=1e-12)
    nothing = fill_since(1.0, heard, np.array([5.0, 530.0, 0.5, 0.01]), 0.0)
    assert not nothing[[0, 2, 3, 4]].any()
    account, p = np.zeros(a.ACCOUNT_WIDTH), TradingConfig(instrument="perpetual").parameters(BAR_SECONDS)
    adopt_account(account, 1_000.0, 3.0, 90.0, 100.0)
    late = fill_since(1.0, heard, np.array([5.0, 530.0, 0.1, 0.01]), 2.0)  # a fee that was not known when it filled
    assert late.tolist() == [0.0, 106.0, pytest.approx(0.4), 0.0, 0.0]
    settle(account, np.array([100.0, 100.0, 100.0, 100.0, 1.0, 0.0, 0.0, 0.0]), math.nan, np.array([late]), 0, p)
    assert account[a.CASH] == pytest.approx(999.6) and account[a.FEES] == pytest.approx(0.4)
    assert account[a.QUANTITY] == 3.0 and account[a.FILL_QUANTITY] == 0.0 and account[a.EXIT_KIND] == 0.0


def test_a_live_purchase_can_be_paid_at_a_price_worse_by_the_bars_whole_impact() -> None:
    rng, capped = np.random.default_rng(6), 0
    for _ in range(300):
        close = float(10.0 ** rng.uniform(-3, 4))
        config = random_config(rng, close)
        costs = replace(config.costs, borrow=0.0, funding=0.0)
        config = replace(config, instrument="spot", costs=costs, limits=RiskLimits(1.0))
        p, sigma = config.parameters(BAR_SECONDS), float(rng.uniform(0.0, 0.1))
        account = np.zeros(a.ACCOUNT_WIDTH)
        open_account(account, 10_000.0, close, 0.0)
        quantity, status = live_order(account, 1.0, sigma, p)
        assert quantity >= 0.0 and (quantity > 0.0) == (status in (a.OrderStatus.FILLED, a.OrderStatus.CASH_CAPPED))
        worst = slipped_price(close, quantity, quantity, sigma, p) if quantity else 0.0
        assert quantity * worst * (1.0 + config.costs.fee) <= 10_000.0 * (1.0 + 1e-9)
        capped += status == a.OrderStatus.CASH_CAPPED
    assert capped > 20
