from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from synthetic import hindsight_oracle, regime_market
from synthetic.oracles.hindsight_oracle import _backward, _backward_three
from synthetic.oracles.plan import cost_matrix
from tests.naive import hindsight as naive

GRIDS = [((0.0, 1.0), 11), ((-1.0, 0.0, 1.0), 8), ((-1.0, -0.5, 0.0, 0.5, 1.0), 5), ((-2.0, 0.0, 3.0), 6)]
COSTS = [0.0, 0.0011, (0.004, 0.001), 0.03]


def random_bars(length: int, seed: int) -> pd.DataFrame:
    """Open and close with gaps between bars."""
    rng = np.random.default_rng(seed)
    steps = np.exp(np.cumsum(0.01 * rng.standard_t(3, 2 * length)))
    index = pd.date_range("2024-01-01", periods=length, freq="15min", tz="UTC", name="timestamp")
    return pd.DataFrame({"open": steps[::2], "close": steps[1::2]}, index=index)


@pytest.mark.parametrize(("positions", "length"), GRIDS)
@pytest.mark.parametrize("cost", COSTS)
def test_equals_trying_every_path(positions: tuple[float, ...], length: int, cost: float | tuple[float, float]) -> None:
    buy, sell = cost if isinstance(cost, tuple) else (cost, cost)
    for seed in range(3):
        bars = random_bars(length, seed)
        opens, closes = bars["open"].tolist(), bars["close"].tolist()
        oracle = hindsight_oracle(bars, cost, positions)
        for place, held in enumerate(positions):
            best = naive.best_return(opens, closes, positions, held, buy, sell)
            path = oracle.positions[oracle.path(held)[:-1]]
            assert naive.path_return(path, opens, closes, held, buy, sell) == pytest.approx(best, abs=1e-12)
            first = naive.best_return(opens, closes, positions, held, 0.0, 0.0, first=held)
            if cost == 0.0:
                assert oracle.values[0, place] == pytest.approx(first, abs=1e-12)
        # Q(0, held, a) = U(0, a) - cost(held -> a), for every first target.
        for place, target in enumerate(positions):
            forced = naive.best_return(opens, closes, positions, target, buy, sell, first=target)
            assert oracle.values[0, place] == pytest.approx(forced, abs=1e-12)


def test_the_comparison_notices_a_wrong_cost() -> None:
    bars = random_bars(8, 0)
    opens, closes = bars["open"].tolist(), bars["close"].tolist()
    oracle = hindsight_oracle(bars, (0.004, 0.001))
    swapped = naive.best_return(opens, closes, (-1.0, 0.0, 1.0), 0.0, 0.001, 0.004, first=1.0) + 0.001
    assert abs(oracle.values[0, 2] - swapped) > 1e-6


def test_funding_is_paid_on_the_value_at_the_open() -> None:
    """Following the plan bar by bar, with funding booked as cash, earns what the plan claims."""
    bars = random_bars(9, 1)
    rates = np.random.default_rng(2).normal(0.0, 0.01, len(bars))
    opens, closes = bars["open"].to_numpy(), bars["close"].to_numpy()

    def earned(path: tuple[float, ...]) -> float:
        total, held = 0.0, 0.0
        for t, target in enumerate(path):
            total -= 0.002 * abs(target - held)
            held = target
            total += np.log1p(held * (closes[t + 1] / opens[t + 1] - 1))
            if t + 2 < len(bars):
                # In units of equity at the close, of which `held` is invested.
                value = held * opens[t + 2] / closes[t + 1]
                total += np.log(1 - held + value - value * rates[t + 2])
        return total

    oracle = hindsight_oracle(bars, 0.002, funding=rates)
    best = max(itertools.product((-1.0, 0.0, 1.0), repeat=len(bars) - 1), key=earned)
    assert oracle.positions[oracle.path()[:-1]].tolist() == list(best)
    claimed = oracle.values[0, oracle.actions[0, 1]] - 0.002 * abs(best[0])
    assert claimed == pytest.approx(earned(best), abs=1e-12)
    without = hindsight_oracle(bars, 0.002)
    assert (without.values != oracle.values).any()
    assert (hindsight_oracle(bars, 0.002, funding=np.zeros(len(bars))).values == without.values).all()


@pytest.mark.parametrize("cost", [0.0, 0.0011, (0.004, 0.001)])
def test_three_positions_unrolled_are_the_same_bytes(cost: float | tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    body = np.where(rng.random(3000) < 0.2, 0.0, 0.02 * rng.standard_t(2, 3000))
    gap = np.where(rng.random(3000) < 0.9, 0.0, 0.01 * rng.standard_normal(3000))
    for positions in ((-1.0, 0.0, 1.0), (0.0, 0.5, 3.0), (-2.0, -1.0, 2.0)):
        grid = np.array(positions)
        costs = cost_matrix(grid, cost)
        for general, unrolled in zip(
            _backward(body, gap, grid, costs), _backward_three(body, gap, grid, costs), strict=False
        ):
            assert general.tobytes() == unrolled.tobytes()


def test_log_returns_are_bars_without_gaps() -> None:
    bars = regime_market("easy", 2, 3).bars
    log_returns = np.log(bars["close"].to_numpy() / bars["open"].to_numpy())
    of_bars, of_returns = hindsight_oracle(bars), hindsight_oracle(log_returns)
    np.testing.assert_allclose(of_bars.values, of_returns.values, atol=1e-9)
    assert of_bars.values.shape == of_bars.actions.shape == (len(bars), 3)
    assert of_bars.values.dtype == np.float64 and of_bars.actions.dtype == np.int8
    assert (of_bars.values[-1] == 0).all() and of_bars.actions[-1].tolist() == [0, 1, 2]


def test_prohibitive_cost_never_trades() -> None:
    bars = regime_market("easy", 2, 3).bars
    assert (hindsight_oracle(bars, 1e9).actions == [0, 1, 2]).all()


def test_a_position_that_is_wiped_out_is_never_chosen() -> None:
    returns = np.array([0.0, 0.01, np.log(2.5), 0.01, -0.5])
    oracle = hindsight_oracle(returns, 0.001)
    assert oracle.values[1, 0] == -np.inf
    assert oracle.path(0.0).tolist()[1] == 2
    assert np.isfinite(oracle.values[:, 1:]).all()


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_series(length: int) -> None:
    oracle = hindsight_oracle(np.full(length, 0.5))
    assert oracle.values.shape == (length, 3)
    assert oracle.path().tolist() == [2, 2][2 - length :] if length == 2 else oracle.path().tolist() == [1] * length


def test_bad_arguments_are_named() -> None:
    bars = random_bars(5, 0)
    with pytest.raises(ValueError, match=r"cost \(sell\) is -0.1"):
        hindsight_oracle(bars, (0.1, -0.1))
    with pytest.raises(ValueError, match=r"cost \(buy\) is nan"):
        hindsight_oracle(bars, float("nan"))
    with pytest.raises(ValueError, match=r"positions is .* strictly increasing"):
        hindsight_oracle(bars, 0.1, (1.0, 0.0))
    with pytest.raises(ValueError, match=r"positions is .* finite"):
        hindsight_oracle(bars, 0.1, ())
    with pytest.raises(ValueError, match="log_returns is nan at place 1"):
        hindsight_oracle(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match=r"log_returns has shape \(2, 2\)"):
        hindsight_oracle(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"bars lack the columns \['open'\]"):
        hindsight_oracle(bars[["close"]])
    with pytest.raises(ValueError, match=r"open 0.0 at 2024-01-01 00:30"):
        hindsight_oracle(bars.assign(open=[1.0, 1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match=r"funding has shape \(4,\): it must be \(5,\)"):
        hindsight_oracle(bars, funding=np.zeros(4))
    with pytest.raises(ValueError, match="funding is inf at place 2"):
        hindsight_oracle(bars, funding=np.array([0.0, 0.0, np.inf, 0.0, 0.0]))
    with pytest.raises(ValueError, match=r"start is 0.3: .* \[-1.0, 0.0, 1.0\]"):
        hindsight_oracle(bars).path(0.3)
