"""What every position earns over a bar: the kernel's own, checked against plain arithmetic and the env's step."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cryptoenv.bars.price_columns import CLOSE, FUNDING, OPEN, PRICE_COLUMNS
from cryptoenv.trading.config import Costs, RiskLimits, TradingConfig
from cryptoenv.trading.kernel import RUIN_FRACTION
from cryptoenv.trading.position_returns import position_returns
from cryptoenv.trading.replay import Opening, replay

POSITIONS = (-1.0, -0.5, 0.0, 1.0)
FREE = TradingConfig(costs=Costs(fee=0.0, half_spread=0.0, impact=0.0), limits=RiskLimits(participation=1.0))


def walk(seed: int, *, gaps: bool = False, bars: int = 60) -> np.ndarray:
    """(T, 8) prices of a random walk whose opens gap or not; funding falls due every eighth bar."""
    rng = np.random.default_rng(seed)
    prices = np.zeros((bars, len(PRICE_COLUMNS)))
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, bars)))
    open_ = np.append(100.0, close[:-1]) * (np.exp(rng.normal(0.0, 0.004, bars)) if gaps else 1.0)
    prices[:, OPEN], prices[:, CLOSE] = open_, close
    prices[:, 1], prices[:, 2] = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    prices[:, 4], prices[:, 5] = 1e9, 0.01
    prices[::8, FUNDING] = 0.003
    return prices


def naive(prices: np.ndarray, row: int, exposure: float) -> float:
    """Bought at an open, marked at the next one, funding of that open paid: in plain arithmetic."""
    bought, sold = prices[row + 1, OPEN], prices[row + 1, CLOSE]
    worth = 1.0 + exposure * (sold / bought - 1.0)
    if row + 2 < len(prices):
        following = prices[row + 2, OPEN]
        worth = 1.0 + exposure * (following / bought - 1.0) - exposure * following / bought * prices[row + 2, FUNDING]
    return math.log(max(worth, RUIN_FRACTION))


@pytest.mark.parametrize("gaps", [False, True])
def test_returns_of_positions_are_those_of_plain_arithmetic(gaps: bool) -> None:
    prices = walk(1, gaps=gaps)
    found = position_returns(prices, POSITIONS, FREE.parameters(900.0))
    expected = [[naive(prices, row, exposure) for exposure in POSITIONS] for row in range(len(prices) - 1)]
    np.testing.assert_allclose(found[:-1], expected, rtol=1e-9, atol=1e-12)
    assert not found[-1].any() and not found[:, 2].any()
    assert np.abs(np.diff(found, axis=1)).max() > 0.0


def test_a_position_that_is_held_earns_what_the_environment_pays() -> None:
    """Held from open to close without cost, one step of a replay from flat, bar by bar (no gap, no funding)."""
    prices = walk(2)
    prices[:, FUNDING] = 0.0
    found = position_returns(prices, POSITIONS, FREE.parameters(900.0))
    for row in range(5, 20):
        for number, exposure in enumerate(POSITIONS):
            step = replay(prices, np.array([exposure]), FREE.parameters(900.0), first=row, opening=Opening(1e4, 0.0))
            assert math.log(step.equity[1] / step.equity[0]) == pytest.approx(found[row, number], abs=1e-12)


def test_stops_inside_the_bar_and_ruin_are_the_kernels() -> None:
    prices = walk(3)
    prices[10, CLOSE], prices[10, 2] = prices[10, OPEN] * 0.7, prices[10, OPEN] * 0.65
    prices[11, OPEN] = prices[10, CLOSE]
    stopped = TradingConfig(costs=FREE.costs, limits=RiskLimits(stop_loss=0.05))
    plain, safe = (position_returns(prices, (1.0,), one.parameters(900.0))[9, 0] for one in (FREE, stopped))
    assert safe == pytest.approx(math.log(0.95), abs=0.002) and plain < math.log(0.71)
    lost = position_returns(prices, (5.0,), FREE.parameters(900.0))[9, 0]
    assert lost >= math.log(RUIN_FRACTION) and lost < -1.5
