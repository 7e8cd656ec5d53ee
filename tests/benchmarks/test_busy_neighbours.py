"""Beside busy processes the default steps about as fast as one thread (twelve times slower on threads that spin)."""

import os

import pytest

import cryptoenv
from benchmarks.support.busy_neighbours import measured, neighbours
from benchmarks.support.walk import walk_bars


@pytest.mark.slow
def test_never_far_below_serial() -> None:
    market = cryptoenv.Market.from_bars(walk_bars(20_000))
    ratios = []
    with neighbours(os.cpu_count() or 1):
        while len(ratios) < 3 and not any(ratio >= 0.8 for ratio in ratios):
            found = measured(market, 30)
            ratios.append(found["serial_median"] / found["default_median"])
    assert max(ratios) >= 0.8, ratios
