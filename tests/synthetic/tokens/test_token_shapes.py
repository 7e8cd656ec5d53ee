"""The measures of `benchmarks.token_shapes` on a pump whose shape is known, and on the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.token_shapes import (
    BAR_SECONDS,
    PUMP_ALONE,
    SWAPS,
    compare,
    real_pumps,
    shape,
    synthetic_pumps,
)
from synthetic.tokens.market import TokenConfig


def test_the_measures_of_a_known_pump() -> None:
    close = np.array([1.0, 2.0, 4.0, 3.0, 1.9, 1.0, 1.0, 1.0, 1.0, 1.0])
    buys = np.array([3.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    sells = np.array([1.0, 1.0, 1.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    found = shape(pd.DataFrame({"close": close, "buys": buys, "sells": sells}))
    assert found == {
        "rise_seconds": 2 * BAR_SECONDS,
        "peak_multiple": 4.0,
        "half_life_seconds": 2 * BAR_SECONDS,
        "buy_share_before_peak": 0.75,
        "volume_concentration": 8 / 20,
    }
    table = pd.DataFrame([found])
    assert all(row["inside"] for row in compare(table, table))
    assert not any(row["inside"] for row in compare(table, table + 1.0))


def test_a_price_that_never_halves_has_no_half_life() -> None:
    pump = pd.DataFrame({"close": [1.0, 2.0, 1.5], "buys": 1.0, "sells": 1.0})
    assert shape(pump)["half_life_seconds"] == float("inf")


def test_real_swaps_become_bars(real_data: Path) -> None:
    if not (real_data / SWAPS).is_file():
        pytest.skip(f"{SWAPS} is not there")
    pumps = real_pumps(real_data / SWAPS)
    assert len(pumps) == 11 and all((pump["close"] > 0).all() and len(pump) <= 60 for pump in pumps)


def test_synthetic_pumps_lie_between_the_real_quartiles(real_data: Path) -> None:
    if not (real_data / SWAPS).is_file():
        pytest.skip(f"{SWAPS} is not there")
    real = pd.DataFrame(map(shape, real_pumps(real_data / SWAPS)))
    pumps = synthetic_pumps(TokenConfig(bar_seconds=BAR_SECONDS, bars=400, events=PUMP_ALONE), 15)
    rows = compare(real, pd.DataFrame(map(shape, pumps)))
    assert all(row["inside"] for row in rows), rows
