import json
import math

import numpy as np
import pytest

from cryptoenv import performance


def test_figures_by_hand() -> None:
    # Returns +10 %, -20 %, +25 %; mean 0.05, deviations 0.05, -0.25, 0.20.
    figures = performance([100.0, 110.0, 88.0, 110.0], bars_per_year=3.0)
    assert figures["total_return"] == pytest.approx(0.1)
    assert figures["annualised_return"] == pytest.approx(0.1)
    deviation = math.sqrt((0.05**2 + 0.25**2 + 0.20**2) / 2)
    assert figures["volatility"] == pytest.approx(deviation * math.sqrt(3))
    assert figures["sharpe"] == pytest.approx(0.05 / deviation * math.sqrt(3))
    assert figures["sortino"] == pytest.approx(0.05 / math.sqrt(0.2**2 / 3) * math.sqrt(3))
    assert figures["max_drawdown"] == pytest.approx(0.2)
    assert set(figures) == {"total_return", "annualised_return", "volatility", "sharpe", "sortino", "max_drawdown"}


def test_annualisation() -> None:
    assert performance([1.0, 1.1, 1.21], bars_per_year=1.0)["annualised_return"] == pytest.approx(0.1)
    assert performance([1.0, 1.1], bars_per_year=2.0)["annualised_return"] == pytest.approx(0.21)
    assert performance([1.0, 2.0], bars_per_year=35_040.0)["annualised_return"] == math.inf


def test_drawdown_is_from_the_highest_point_so_far() -> None:
    assert performance([1.0, 0.9, 2.0, 1.5, 1.0, 3.0, 2.9], 1.0)["max_drawdown"] == pytest.approx(0.5)
    assert performance([1.0, 2.0, 3.0], 1.0)["max_drawdown"] == 0.0


def test_flat_is_zero_throughout() -> None:
    assert set(performance([5.0] * 10, 365.0).values()) == {0.0}
    assert performance([5.0, 5.0], 365.0)["sharpe"] == 0.0


@pytest.mark.parametrize("rate", [1e-3, 1e-4, 1e-9, -1e-4, -1e-2, 1.0])
@pytest.mark.parametrize("bars", [1, 2, 250, 5000])
def test_growth_at_one_rate_varies_by_nothing(rate: float, bars: int) -> None:
    bars = min(bars, 100) if abs(rate) > 0.1 else bars
    multiplied = 100 * np.cumprod(np.r_[1.0, np.full(bars, 1 + rate)])
    for curve in (multiplied, np.exp(np.arange(bars + 1) * math.log1p(rate))):
        figures = performance(curve, 35_040)
        assert (figures["sharpe"], figures["volatility"]) == (0.0, 0.0)
        loss = rate < 0.0
        assert figures["sortino"] == pytest.approx(-math.sqrt(35_040) if loss else 0.0)
    single = performance(np.float32([1.0, *np.cumprod(np.full(bars, 1 + rate), dtype=np.float32)]), 35_040)
    assert single["sharpe"] == 0.0


def test_rounding_is_no_loss_and_no_volatility() -> None:
    flat = 1000.0 * (1.0 + 1e-16 * np.random.default_rng(0).integers(-2, 3, 500))
    figures = performance(flat, 35_040)
    assert (figures["sharpe"], figures["sortino"], figures["volatility"]) == (0.0, 0.0, 0.0)
    small = performance(1000.0 * np.cumprod(1.0 + 1e-9 * np.random.default_rng(0).standard_normal(500)), 35_040)
    assert small["volatility"] == pytest.approx(1e-9 * math.sqrt(35_040), rel=0.1)
    assert small["sharpe"] != 0.0


def test_ruin() -> None:
    figures = performance([10.0, 5.0, 0.0, 0.0], 3.0)
    assert (figures["total_return"], figures["annualised_return"], figures["max_drawdown"]) == (-1.0, -1.0, 1.0)
    assert figures["sharpe"] < 0.0
    json.dumps(figures, allow_nan=False)


def test_turnover_and_trades() -> None:
    figures = performance([1.0, 1.0, 1.0, 1.0], 12.0, turnover=[1.0, 0.0, 2.0], trades=[3.0, -1.0, 0.0, 0.5])
    assert (figures["turnover"], figures["turnover_per_year"]) == (3.0, 12.0)
    assert (figures["trades"], figures["win_rate"]) == (4.0, 0.5)
    assert performance([1.0, 1.0], 1.0, turnover=2.5, trades=[])["win_rate"] == 0.0
    assert performance([1.0, 1.0], 1.0, turnover=2.5)["turnover"] == 2.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], 1.0), r"equity has shape \(1,\); allowed: \(T \+ 1,\)"),
        (([[1.0, 1.0]], 1.0), "equity has shape"),
        (([1.0, math.nan], 1.0), r"equity\[1\] is .*nan"),
        (([1.0, -0.1], 1.0), r"equity\[1\] is .*-0.1"),
        (([0.0, 1.0], 1.0), r"equity\[0\] is .*0.0"),
        (([1.0, 0.0, 1.0], 1.0), "equity rises from 0"),
        (([1.0, 1.0], 0.0), "bars_per_year is 0.0"),
        (([1.0, 1.0], 1.0, [-1.0]), "turnover has .*-1.0"),
        (([1.0, 1.0], 1.0, None, [math.inf]), "trades has .*inf"),
    ],
)
def test_arguments_that_make_no_sense(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        performance(*arguments)
