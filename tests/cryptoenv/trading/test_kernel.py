"""The kernel's money against a plain-Python ledger, exactly, over fuzzed markets, instruments and limits."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from cryptoenv.trading import account as a
from cryptoenv.trading.config import TradingConfig
from cryptoenv.trading.kernel import open_account, transition
from tests.naive import kernel as naive
from tests.naive.kernel_fuzz import BAR_SECONDS, naive_bar, naive_rules, random_config, random_prices
from tests.naive.trajectory_digest import trajectory_digest

STEPS = int(os.environ.get("CRYPTOENV_KERNEL_STEPS", "100000"))
EPISODE = 250


def random_target(rng: np.random.Generator, config: TradingConfig, last: float) -> float:
    """Hold, go to a level, or anywhere allowed."""
    limit = config.limits.exposure
    low = -limit if config.shorts_allowed else 0.0
    kind = rng.random()
    if kind < 0.6:
        return last
    return float(rng.choice([low, 0.0, limit])) if kind < 0.85 else float(rng.uniform(low, limit))


def books(account: NDArray[np.float64]) -> dict[str, float]:
    """What the two accounts must agree on to the last bit."""
    names = ("EQUITY", "CASH", "QUANTITY", "ENTRY_PRICE", "FEES", "SLIPPAGE", "FUNDING_PAID", "BORROW_PAID", "REALISED")
    return {
        name: float(account[getattr(a, name)]) for name in (*names, "SHORTFALL", "BARS_HELD", "PEAK_EQUITY", "HALTED")
    }


def naive_books(book: naive.Ledger) -> dict[str, float]:
    return {
        "EQUITY": book.equity,
        "CASH": book.cash,
        "QUANTITY": book.held,
        "ENTRY_PRICE": book.entry,
        "FEES": book.fees,
        "SLIPPAGE": book.slippage,
        "FUNDING_PAID": book.funding,
        "BORROW_PAID": book.borrow,
        "REALISED": book.realised,
        "SHORTFALL": book.shortfall,
        "BARS_HELD": float(book.age),
        "PEAK_EQUITY": book.peak,
        "HALTED": float(book.halted),
    }


def check_invariants(account: NDArray[np.float64], config: TradingConfig, close: float) -> None:
    """The equity identity to 1e-9 relative, and what may never happen."""
    unrealised = account[a.QUANTITY] * (close - account[a.ENTRY_PRICE])
    identity = account[a.START_EQUITY] + account[a.REALISED] + unrealised + account[a.SHORTFALL]
    identity -= account[a.FEES] + account[a.FUNDING_PAID] + account[a.BORROW_PAID]
    scale = max(account[a.START_EQUITY], account[a.EQUITY], abs(account[a.CASH]))
    assert abs(identity - account[a.EQUITY]) <= 1e-9 * scale
    assert np.isfinite(np.delete(account, [a.FILL_PRICE, a.EXIT_PRICE])).all()
    assert account[a.EQUITY] >= 1e-3 * account[a.START_EQUITY] * (1 - 1e-12)
    if config.instrument == "spot":
        assert account[a.CASH] >= 0.0
        assert account[a.QUANTITY] >= 0.0


def test_kernel_equals_the_naive_ledger_exactly() -> None:
    rng = np.random.default_rng(0)
    statuses: set[str] = set()
    exits: set[str] = set()
    ruined = steps = 0
    while steps < STEPS:
        prices = random_prices(rng, EPISODE + 1, wild=bool(rng.random() < 0.4))
        config = random_config(rng, prices[0, 3])
        p = config.parameters(BAR_SECONDS)
        account = np.zeros(a.ACCOUNT_WIDTH)
        low = -config.limits.exposure if config.shorts_allowed else 0.0
        exposure = float(rng.choice([0.0, rng.uniform(low, config.limits.exposure)]))
        open_account(account, 10_000.0, prices[0, 3], exposure)
        book = naive.open_ledger(naive_rules(config), 10_000.0, float(prices[0, 3]), exposure)
        target = exposure
        for t in range(EPISODE):
            target = random_target(rng, config, target)
            fees, slippage = account[a.FEES], account[a.SLIPPAGE]
            transition(account, prices, t, target, p)
            naive.step(book, naive_bar(prices[t + 1]), float(prices[t, 5]), target)
            assert books(account) == naive_books(book), (config, t)
            assert a.OrderStatus(int(account[a.ORDER_STATUS])).name == book.status
            assert a.ExitKind(int(account[a.EXIT_KIND])).name == book.exit
            assert (account[a.FILL_QUANTITY], account[a.FILL_PRICE]) == book.fill if book.fill else True
            assert math.isnan(account[a.FILL_PRICE]) == (book.fill is None)
            assert account[a.STEP_FEES] == account[a.FEES] - fees
            assert account[a.FEES] >= fees
            assert account[a.SLIPPAGE] >= slippage
            check_invariants(account, config, prices[t + 1, 3])
            statuses.add(book.status)
            exits.add(book.exit)
            steps += 1
            if book.ruined:
                ruined += 1
                break
        moved = sum(abs(m[3]) for m in book.movements)
        assert book.equity_from_scratch(book.close) == pytest.approx(book.equity, abs=1e-12 * moved)
        realised, entry = book.profit_from_scratch()
        assert account[a.REALISED] == pytest.approx(realised, abs=1e-12 * moved)
        assert account[a.ENTRY_PRICE] == pytest.approx(entry, rel=1e-9)
    assert statuses == {s.name for s in a.OrderStatus}, "the fuzz must reach every order status"
    assert exits == {k.name for k in a.ExitKind} - {"SETTLEMENT"}, "the fuzz must reach every kind of exit"
    assert ruined > 3, "the fuzz must ruin accounts"


def test_a_planted_penny_is_found() -> None:
    rng = np.random.default_rng(1)
    prices = random_prices(rng, 3, wild=False)
    config = TradingConfig()
    account = np.zeros(a.ACCOUNT_WIDTH)
    open_account(account, 10_000.0, prices[0, 3], 0.5)
    book = naive.open_ledger(naive_rules(config), 10_000.0, float(prices[0, 3]), 0.5)
    transition(account, prices, 0, 1.0, config.parameters(BAR_SECONDS))
    naive.step(book, naive_bar(prices[1]), float(prices[0, 5]), 1.0)
    assert books(account) == naive_books(book)
    account[a.FEES] += 0.01
    assert books(account) != naive_books(book)
    with pytest.raises(AssertionError):
        check_invariants(account, config, prices[1, 3])


def test_jitted_equals_unjitted_bit_for_bit() -> None:
    digests = set()
    for disabled in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-m", "tests.naive.trajectory_digest"],
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        digests.add(run.stdout)
    assert len(digests) == 1
    assert trajectory_digest(seed=6, rounds=1) not in digests, "another seed must give another digest"
