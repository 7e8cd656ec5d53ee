"""Spot equity equals vectorbt's, an independent party that runs in an interpreter of its own."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import cryptoenv
from benchmarks.vectorbt_parity import (
    SCENARIOS,
    TOLERANCE,
    Episode,
    compare,
    gapped_bars,
    largest_difference,
    parity,
    play,
    vectorbt_version,
)
from cryptoenv import OrderStatus

STEPS = 3000


@pytest.fixture(scope="module")
def vectorbt_python() -> str:
    """An interpreter that has vectorbt."""
    python = os.environ.get("CRYPTOENV_VECTORBT_PYTHON", sys.executable)
    if vectorbt_version(python) is None:
        pytest.skip(f"{python} has no vectorbt; name an interpreter that has in CRYPTOENV_VECTORBT_PYTHON")
    return python


@pytest.fixture(scope="module")
def episode() -> Episode:
    """Random targets on random bars."""
    market = cryptoenv.Market.from_bars(gapped_bars(1200), timeframes=("15m",))
    return play(market, SCENARIOS[0], 600, seed=0)


def check(rows: list[dict]) -> None:
    assert [row["scenario"]["name"] for row in rows] == [scenario.name for scenario in SCENARIOS]
    seen = set().union(*(row["statuses"] for row in rows))
    assert {"NONE", "FILLED", "PARTIAL", "CASH_CAPPED", "NO_VOLUME"} <= seen
    for row in rows:
        differences = row["differences"]
        assert row["orders"] > 100 and row["equity_end_over_start"] != 1.0
        assert differences["targets"] <= TOLERANCE and differences["fills"] <= TOLERANCE, row
        assert row["equal"]
        assert differences["valued_at_fill"] > TOLERANCE  # that the choice of price matters shows that it is compared


def test_equity_on_random_bars_is_vectorbts(vectorbt_python: str) -> None:
    check(parity(gapped_bars(2 * STEPS, seed=5), vectorbt_python, STEPS, seed=5))


def test_equity_on_real_bars_is_vectorbts(vectorbt_python: str, real_data: Path) -> None:
    file = real_data / "binance_spot_BTCUSDT_1h_2017_2024.csv.gz"
    if not file.is_file():
        pytest.skip(f"the bars are not there: {file.name}")
    check(parity(cryptoenv.read_bars(file).iloc[:8000], vectorbt_python, STEPS, seed=9))  # early bars: real outages


def test_an_interpreter_without_vectorbt_is_told(tmp_path: Path) -> None:
    assert vectorbt_version(str(tmp_path / "python")) is None


def test_the_orders_handed_over_are_the_ones_the_environment_filled(episode: Episode) -> None:
    """Orders are derived from targets and exposures alone; every fill must belong to one of them."""
    due = np.isfinite(episode.target)
    assert not (episode.fill[~due] != 0.0).any()
    assert 100 < due.sum() < len(due)
    assert {OrderStatus[name] for name in episode.statuses} >= {OrderStatus.NONE, OrderStatus.FILLED}
    assert sum(episode.statuses.values()) == len(due)


def naive_equity(episode: Episode, fee: float) -> np.ndarray:
    """Equity from the fills alone, in plain Python."""
    cash, held, equity = episode.scenario.cash, 0.0, []
    for quantity, opened, close in zip(episode.fill, episode.open, episode.close, strict=True):
        price = opened * (1.0 + np.sign(quantity) * episode.scenario.half_spread)
        cash -= quantity * price + fee * abs(quantity) * price
        held += quantity
        equity.append(cash + held * close)
    return np.array(equity)


def test_compare_finds_planted_differences(episode: Episode) -> None:
    fee = episode.scenario.fee
    right, dear = naive_equity(episode, fee), naive_equity(episode, 1.01 * fee)
    theirs = {"targets": right, "fills": right, "planted_fee": dear, "valued_at_fill": dear}
    assert compare(episode, theirs)["equal"]
    for name in ("targets", "fills"):
        late = right.copy()
        late[-1] *= 1.0 + 2e-9
        assert not compare(episode, {**theirs, name: late})["equal"]
    with pytest.raises(AssertionError, match="went unnoticed"):
        compare(episode, {**theirs, "planted_fee": right})


def test_nan_or_missing_bars_are_never_equal() -> None:
    ours = np.ones(3)
    assert largest_difference(ours, ours) == 0.0
    assert largest_difference(ours, np.array([1.0, np.nan, 1.0])) == np.inf
    assert largest_difference(ours, np.ones(2)) == np.inf
