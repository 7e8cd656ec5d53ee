"""Every figure by hand, its defined values, and the refusals to tell what too few bars cannot."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest

from cryptoenv.analysis import drawdowns, returns
from cryptoenv.analysis.figures import BEYOND, LEAST_RETURNS, NO_LOSS, TOO_SHORT, figures, monthly_table
from cryptoenv.analysis.trades import trade_figures

CURVE = np.array([100.0, 110.0, 99.0, 104.0, 88.0, 120.0, 114.0])


def test_falls_by_hand() -> None:
    assert drawdowns.drawdown_curve(CURVE) == pytest.approx([0.0, 0.0, 0.1, 6 / 110, 0.2, 0.0, 0.05])
    assert drawdowns.max_drawdown(CURVE) == pytest.approx(0.2)
    assert drawdowns.longest_drawdown(CURVE) == 4  # from bar 1 to bar 5
    assert drawdowns.longest_drawdown([1.0, 2.0, 1.5, 1.6, 1.7]) == 3  # and not back
    assert drawdowns.longest_drawdown([1.0, 2.0, 2.0, 3.0]) == 0
    squares = 0.01 + (6 / 110) ** 2 + 0.04 + 0.0025
    assert drawdowns.ulcer_index(CURVE) == pytest.approx(math.sqrt(squares / 7))
    worst, last = drawdowns.deepest_drawdowns(CURVE)
    assert (worst.peak, worst.valley, worst.recovery) == (1, 4, 5)
    assert (last.peak, last.valley, last.recovery) == (5, 6, None)
    assert drawdowns.calmar_ratio(CURVE, 6.0) == pytest.approx(0.14 / 0.2)


def test_tails_by_hand() -> None:
    gains = np.arange(-10.0, 11.0) / 100.0  # 21 values: the 5% quantile is the second
    assert returns.value_at_risk(gains) == pytest.approx(-0.09)
    assert returns.conditional_value_at_risk(gains) == pytest.approx(-0.095)
    assert returns.tail_ratio(gains) == pytest.approx(1.0)
    assert returns.tail_ratio(np.full(30, 0.0)) == 0.0
    assert returns.beta(2.0 * gains + 0.01, gains) == pytest.approx(2.0)
    assert returns.information_ratio(gains, gains) == 0.0


def test_a_year_comes_from_the_length_of_a_bar() -> None:
    """Fifteen minutes and an hour against closed forms: not the calendar days that an index spans."""
    for timeframe, per_year in (("15m", 35_040.0), ("1h", 8_760.0), ("1d", 365.0)):
        assert returns.bars_per_year(timeframe) == per_year
        rate = 1.2 ** (1.0 / per_year) - 1.0
        year = np.cumprod(np.concatenate(([1.0], np.full(int(per_year), 1.0 + rate))))
        assert returns.annualised_return(year, per_year) == pytest.approx(0.2)
        swing = np.tile([0.01, -0.005], int(per_year) // 2)
        sharpe = 0.0025 / (0.0075 * math.sqrt(len(swing) / (len(swing) - 1))) * math.sqrt(per_year)
        assert returns.sharpe_ratio(swing, per_year) == pytest.approx(sharpe)
        half = figures(year[: int(per_year) // 2 + 1], per_year)
        assert half["annualised_return"] == pytest.approx(0.2)
        assert half["days"] == pytest.approx(365.0 * (int(per_year) // 2) / per_year)


def test_months_compound_to_the_whole() -> None:
    closes = pd.date_range("2021-01-30 00:00", periods=400, freq="6h", tz="UTC")
    equity = np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.01, 400)))
    milliseconds = closes.as_unit("ms").asi8
    months, gains = returns.period_returns(equity, milliseconds)
    assert np.prod(1.0 + gains) == pytest.approx(equity[-1] / equity[0])
    assert months.tolist() == [612, 613, 614, 615, 616]
    # A mark at midnight of the first belongs to the month that ends.
    january = equity[closes == pd.Timestamp("2021-02-01", tz="UTC")][0] / equity[0] - 1.0
    assert gains[0] == pytest.approx(january)
    table = monthly_table(equity, milliseconds)
    assert table.loc[2021, "year"] == pytest.approx(equity[-1] / equity[0] - 1.0)
    assert table.loc[2021, 1] == pytest.approx(january) and math.isnan(table.loc[2021, 12])


def test_trades_by_hand() -> None:
    told = trade_figures([10.0, -5.0, -1.0, 20.0, 0.0])
    assert (told.trades, told.win_rate, told.longest_losing_run) == (5, 0.4, 2)
    assert told.profit_factor == pytest.approx(5.0) and told.payoff == pytest.approx(5.0)
    assert told.win_loss_ratio == 1.0 and told.expectancy == pytest.approx(4.8)
    assert trade_figures([]).win_rate == 0.0 and trade_figures([]).profit_factor == 0.0
    assert trade_figures([1.0]).profit_factor == math.inf


def _trades(gains: list[float], open_last: bool = False) -> pd.DataFrame:
    size = len(gains)
    table = pd.DataFrame({"gain": gains, "return": gains, "bars": [3] * size, "open": [False] * size})
    if open_last:
        table.loc[size - 1, "open"] = True
    return table


@pytest.mark.parametrize("bars", [1, 2, LEAST_RETURNS - 1])
def test_too_few_bars_give_no_ratio(bars: int) -> None:
    curve = 100.0 * np.cumprod(1.0 + np.concatenate(([0.0], np.full(bars, 0.01) * (-1.0) ** np.arange(bars))))
    told = figures(curve, 8_760.0, benchmark=curve)
    for name in ("sharpe", "sortino", "volatility", "var_95", "cvar_95", "tail_ratio", "information_ratio", "beta"):
        assert told[name] == TOO_SHORT, name
    assert told["annualised_return"] == told["calmar"] == TOO_SHORT
    assert told["total_return"] == pytest.approx(curve[-1] / curve[0] - 1.0)
    json.dumps(told, allow_nan=False)


def test_less_than_a_month_is_not_put_on_a_year() -> None:
    curve = np.exp(np.cumsum(np.full(1000, 1e-4)))
    assert figures(curve, 35_040.0)["annualised_return"] == TOO_SHORT
    assert isinstance(figures(curve, 8_760.0)["annualised_return"], float)


@pytest.mark.parametrize(
    "curve",
    [np.full(3000, 7.0), np.concatenate((np.linspace(10.0, 0.01, 1500), np.full(1500, 0.01))),
     np.concatenate(([10.0, 5.0], np.zeros(2998))), np.array([1.0, 1.1]), np.geomspace(1.0, 1e300, 3000)],
)  # fmt: skip
def test_a_report_holds_no_nan(curve: np.ndarray) -> None:
    flat = np.zeros(len(curve) - 1)
    told = figures(curve, 8_760.0, exposure=flat, turnover=flat, trades=_trades([]), costs={"fees": 0.0})
    json.dumps(told, allow_nan=False)
    assert told["trades"] == 0.0 and told["win_rate"] == 0.0 and told["time_in_market"] == 0.0


def test_defined_values() -> None:
    flat = figures(np.full(3000, 7.0), 8_760.0, trades=_trades([5.0, -1.0], open_last=True))
    assert {flat[name] for name in ("sharpe", "sortino", "volatility", "max_drawdown", "calmar", "tail_ratio")} == {0.0}
    assert (flat["trades"], flat["profit_factor"]) == (1.0, NO_LOSS)  # the open one counts in nothing
    ruin = figures(np.concatenate(([10.0, 5.0], np.zeros(2998))), 8_760.0)
    assert (ruin["total_return"], ruin["annualised_return"], ruin["max_drawdown"]) == (-1.0, -1.0, 1.0)
    assert ruin["log_return"] == BEYOND
    assert figures(np.geomspace(1.0, 1e300, 3000), 35_040_000.0)["annualised_return"] in (BEYOND, TOO_SHORT)
    assert figures(np.geomspace(1.0, 1e300, 3000), 8_760.0)["annualised_return"] == BEYOND


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exposure": [1.0]}, r"exposure has shape \(1,\); allowed: \(6,\)"),
        ({"benchmark": [1.0, 2.0]}, "benchmark has shape"),
        ({"benchmark": [1.0, 2.0, 3.0, -1.0, 1.0, 1.0, 1.0]}, r"benchmark\[3\]"),
    ],
)
def test_arguments_that_make_no_sense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figures(CURVE, 365.0, **options)


def _series() -> pd.Series:
    rng = np.random.default_rng(3)
    gains = 0.0004 + 0.01 * rng.standard_t(4, 1500)
    return pd.Series(gains, index=pd.date_range("2020-01-01", periods=1500, freq="D"))


def test_empyrical_says_the_same() -> None:
    empyrical = pytest.importorskip("empyrical")
    series = _series()
    gains, curve = series.to_numpy(), np.cumprod(np.concatenate(([1.0], 1.0 + series.to_numpy())))
    ours = {
        "annual_return": returns.annualised_return(curve, 365.0),
        "annual_volatility": returns.volatility(gains, 365.0),
        "sharpe_ratio": returns.sharpe_ratio(gains, 365.0),
        "sortino_ratio": returns.sortino_ratio(gains, 365.0),
        "downside_risk": returns.downside_deviation(gains, 365.0),
        "calmar_ratio": drawdowns.calmar_ratio(curve, 365.0),
    }
    for name, value in ours.items():
        assert value == pytest.approx(getattr(empyrical, name)(series, annualization=365)), name
    assert drawdowns.max_drawdown(curve) == pytest.approx(-empyrical.max_drawdown(series))
    assert returns.value_at_risk(gains) == pytest.approx(empyrical.value_at_risk(gains))
    assert returns.conditional_value_at_risk(gains) == pytest.approx(empyrical.conditional_value_at_risk(gains))
    assert returns.tail_ratio(gains) == pytest.approx(empyrical.tail_ratio(series))
    assert returns.beta(gains, gains**2) == pytest.approx(empyrical.beta(series, series**2))


def test_quantstats_says_the_same() -> None:
    quantstats = pytest.importorskip("quantstats")
    series = _series()
    gains, curve = series.to_numpy(), np.cumprod(np.concatenate(([1.0], 1.0 + series.to_numpy())))
    stats = quantstats.stats
    assert returns.sharpe_ratio(gains, 365.0) == pytest.approx(stats.sharpe(series, periods=365))
    assert returns.sortino_ratio(gains, 365.0) == pytest.approx(stats.sortino(series, periods=365))
    assert returns.volatility(gains, 365.0) == pytest.approx(stats.volatility(series, periods=365))
    assert drawdowns.max_drawdown(curve) == pytest.approx(-stats.max_drawdown(series))
    assert returns.total_return(curve) == pytest.approx(stats.comp(series))
    told = trade_figures(gains)  # its "trades" are the returns that are not 0
    assert told.win_rate == pytest.approx(stats.win_rate(series))
    assert told.profit_factor == pytest.approx(stats.profit_factor(series))
    assert told.payoff == pytest.approx(stats.payoff_ratio(series))


def test_ffn_says_the_same() -> None:
    ffn = pytest.importorskip("ffn")
    series = _series()
    curve = np.cumprod(np.concatenate(([1.0], 1.0 + series.to_numpy())))
    prices = pd.Series(curve, index=pd.date_range("2019-12-31", periods=len(curve), freq="D"))
    gains = series.to_numpy()
    assert returns.sharpe_ratio(gains, 365.0) == pytest.approx(ffn.calc_sharpe(series, nperiods=365))
    assert returns.sortino_ratio(gains, 365.0) == pytest.approx(ffn.calc_sortino_ratio(series, nperiods=365))
    assert drawdowns.max_drawdown(curve) == pytest.approx(-ffn.calc_max_drawdown(prices))
    assert drawdowns.ulcer_index(curve) == pytest.approx(ffn.to_ulcer_index(prices) / 100.0)
