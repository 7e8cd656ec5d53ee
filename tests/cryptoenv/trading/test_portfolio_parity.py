"""A portfolio's spot equity equals vectorbt's with shared cash; that party runs in an interpreter of its own."""

from pathlib import Path

import numpy as np
import pytest

import cryptoenv
from benchmarks.portfolio_parity import SCENARIOS, TOLERANCE, Episode, compare, parity, play
from benchmarks.vectorbt_parity import gapped_bars
from cryptoenv import OrderStatus, PortfolioMarket
from tests.cryptoenv.trading.test_vectorbt_parity import vectorbt_python  # noqa: F401 (a fixture)

STEPS = 2000
REAL = [f"binance_spot_{name}USDT_5m_2024.csv.gz" for name in ("SOL", "PEPE", "PEOPLE", "AMP")]


def walks(count: int) -> PortfolioMarket:
    return PortfolioMarket.from_bars({f"walk-{k}": gapped_bars(count, seed=k) for k in range(4)}, ("15m",))


@pytest.fixture(scope="module")
def episode() -> Episode:
    return play(walks(1000), SCENARIOS[0], 500, seed=0)


def check(market: PortfolioMarket, python: str) -> None:
    rows = parity(market, python, STEPS, seed=3)
    assert {"NONE", "FILLED", "PARTIAL", "CASH_CAPPED", "NO_VOLUME"} <= set().union(*(row["statuses"] for row in rows))
    for row in rows:
        assert row["orders"] > 100 and row["equal"] and row["differences"]["fills"] <= TOLERANCE, row
    assert max(row["differences"]["targets"] for row in rows[:3]) <= TOLERANCE < rows[3]["differences"]["targets"]


def test_equity_of_random_bars_is_vectorbts(vectorbt_python: str) -> None:  # noqa: F811
    check(walks(2 * STEPS), vectorbt_python)


def test_equity_of_real_bars_is_vectorbts(vectorbt_python: str, real_data: Path) -> None:  # noqa: F811
    files = [real_data / name for name in REAL]
    if not all(file.is_file() for file in files):
        pytest.skip("the bars are not there")
    bars = {file.name: cryptoenv.read_bars(file).iloc[:6000] for file in files}
    check(PortfolioMarket.from_bars(bars, ("5m",)), vectorbt_python)


def naive_equity(episode: Episode, fee: float) -> np.ndarray:
    """Equity from the fills alone, in plain Python."""
    cash, held, equity = episode.scenario.cash, np.zeros(4), []
    for quantity, opened, close in zip(episode.fill, episode.open, episode.close, strict=True):
        price = opened * (1.0 + np.sign(quantity) * episode.scenario.half_spread)
        cash -= float((quantity * price + fee * np.abs(quantity) * price).sum())
        held = held + quantity
        equity.append(cash + float(held @ close))
    return np.array(equity)


def test_orders_belong_to_targets_and_planted_differences_are_found(episode: Episode) -> None:
    due = np.isfinite(episode.target)
    assert not (episode.fill[~due] != 0.0).any() and 100 < due.sum() < due.size
    assert sum(episode.statuses.values()) == due.size and OrderStatus.FILLED.name in episode.statuses
    right, dear = (naive_equity(episode, fee) for fee in (episode.scenario.fee, 1.01 * episode.scenario.fee))
    theirs = {"targets": right, "fills": right, "planted_fee": dear, "in_column_order": dear}
    assert compare(episode, theirs)["equal"]
    for name in ("targets", "fills"):
        late = right.copy()
        late[-1] *= 1.0 + 2e-9
        assert not compare(episode, {**theirs, name: late})["equal"]
    with pytest.raises(AssertionError, match="went unnoticed"):
        compare(episode, {**theirs, "planted_fee": right})
